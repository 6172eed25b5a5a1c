//! Memory of one or several CXL devices in a window, and what all of it can do.
//! Linux: drivers/cxl/core/region.c.

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::printk::{Level, Line};
use pagelab_allocator::units::{PageCount, PfnRange};

use crate::hotplug::cfmws::{ALIGNMENT, Cfmws, PAGE_SHIFT};
use crate::hotplug::cxl_device::{CxlDevice, DeviceId};
use crate::hotplug::hdm::HdmType;
use crate::hotplug::missing_cap::{Cpus, Member, MissingCap, missing};
use crate::hotplug::root_decoder::RegionMode;

/// Why a region is not created.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The window is not for that: its decoder has no attribute to write to.
    #[error("the window has no regions of {0:?} memory")]
    NotOffered(RegionMode),
    /// Whole multiples of 256 MiB a way, in the window.
    #[error("frames {0} are no region of {1} ways in the window")]
    Range(PfnRange, usize),
    /// No such number of ways, or no power of two of them for each target of the window.
    #[error("{0} devices are no interleave set here")]
    Ways(usize),
    /// A device twice.
    #[error("{0} is in the set twice")]
    Twice(DeviceId),
    /// A decoder that was set up for other memory.
    #[error("{device} is set up for {has:?} memory in a region of {wants:?}")]
    Mode {
        /// The device.
        device: DeviceId,
        /// What the region is.
        wants: RegionMode,
        /// What the decoder is.
        has: RegionMode,
    },
    /// Memory of another coherence.
    #[error("{device} has {hdm} memory, the region is HDM-H")]
    Type {
        /// The device.
        device: DeviceId,
        /// Its memory.
        hdm: HdmType,
    },
    /// The device has less memory of that kind.
    #[error("{device} has {has} pages, its share is {share}")]
    Capacity {
        /// The device.
        device: DeviceId,
        /// Its memory.
        has: PageCount,
        /// What the region takes of each.
        share: PageCount,
    },
}

impl RegionError {
    /// What the call returns. Linux hides the attribute of a region that a window does not offer;
    /// a call past that is [`Errno::Inval`] here.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Type { .. } | Self::Capacity { .. } => Errno::NxIo,
            Self::NotOffered(_)
            | Self::Range(..)
            | Self::Ways(_)
            | Self::Twice(_)
            | Self::Mode { .. } => Errno::Inval,
        }
    }

    /// What is said about it: a debug line, so that nobody sees it who did not ask. Linux:
    /// `cxl_region_attach()`.
    #[must_use]
    pub fn line(self) -> Line {
        let text = match self {
            Self::Mode { device, wants, has } => {
                format!("{device} region mode: {} mismatch: {}", wants as u8, has as u8)
            }
            Self::Type { device, hdm } => {
                let wants = HdmType::HostOnly.decoder_type();
                format!("{device} type mismatch: {} vs {wants}", hdm.decoder_type())
            }
            other => other.to_string(),
        };
        Line::new(Level::Debug, text)
    }
}

/// A region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    range: PfnRange,
    mode: RegionMode,
    caps: Caps,
    missing: Vec<MissingCap>,
}

impl Region {
    /// Volatile memory of `members` at `range`. Linux: `create_ram_region_store()`.
    ///
    /// # Errors
    ///
    /// [`RegionError`], the first in the order in which a region is set up.
    pub fn create_ram(
        window: &Cfmws,
        range: PfnRange,
        members: &[Member<'_>],
        cpus: Cpus,
    ) -> Result<Self, RegionError> {
        Self::create(RegionMode::Ram, window, range, members, cpus)
    }

    /// Persistent memory of `members` at `range`. Linux: `create_pmem_region_store()`.
    ///
    /// # Errors
    ///
    /// [`RegionError`], the first in the order in which a region is set up.
    pub fn create_pmem(
        window: &Cfmws,
        range: PfnRange,
        members: &[Member<'_>],
        cpus: Cpus,
    ) -> Result<Self, RegionError> {
        Self::create(RegionMode::Pmem, window, range, members, cpus)
    }

    fn create(
        mode: RegionMode,
        window: &Cfmws,
        range: PfnRange,
        members: &[Member<'_>],
        cpus: Cpus,
    ) -> Result<Self, RegionError> {
        if !window.decoder_flags().contains(mode.needs()) {
            return Err(RegionError::NotOffered(mode));
        }
        let share = share(window, range, members.len())?;
        for (at, member) in members.iter().enumerate() {
            attach(mode, share, &members[..at], member)?;
        }
        let missing = missing(window, members, cpus);
        let kept = match mode {
            RegionMode::Ram => Caps::VOLATILE,
            RegionMode::Pmem => Caps::PERSISTENT,
        };
        let lacks: Caps = missing.iter().map(|missing| missing.cap).collect();
        let all = Caps::TAG | Caps::TEE | Caps::ATOMICS | Caps::NOTAG;
        Ok(Self { range, mode, caps: kept | all.difference(lacks), missing })
    }

    /// Its frames, of 4 KiB.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// Which memory of its devices it is.
    #[must_use]
    pub const fn mode(&self) -> RegionMode {
        self.mode
    }

    /// What every line of it can do.
    #[must_use]
    pub const fn caps(&self) -> Caps {
        self.caps
    }

    /// What it cannot do, with every reason.
    #[must_use]
    pub fn missing(&self) -> &[MissingCap] {
        &self.missing
    }

    /// Whether it stays as it is, without a driver: some of it is System RAM already, brought up by
    /// firmware. Linux: `cxl_region_probe()`.
    #[must_use]
    pub fn is_system_ram(&self, ram: &[PfnRange]) -> bool {
        self.mode == RegionMode::Ram && ram.iter().any(|ram| ram.overlaps(self.range))
    }
}

/// What each device of a set of `ways` gives. Linux: `interleave_ways_store()`, `alloc_hpa()`.
fn share(window: &Cfmws, range: PfnRange, ways: usize) -> Result<PageCount, RegionError> {
    let exist = matches!(ways, 1 | 2 | 3 | 4 | 6 | 8 | 12 | 16);
    let targets = window.targets().len();
    if !exist || !ways.is_multiple_of(targets) || !(ways / targets).is_power_of_two() {
        return Err(RegionError::Ways(ways));
    }
    let (ways_u64, align) = (ways as u64, ALIGNMENT >> PAGE_SHIFT);
    let whole = range.start().get().is_multiple_of(align)
        && range.len().get().is_multiple_of(align * ways_u64);
    if range.is_empty() || !whole || !window.range().covers(range) {
        return Err(RegionError::Range(range, ways));
    }
    Ok(PageCount::new(range.len().get() / ways_u64))
}

/// Linux: `cxl_region_attach()`.
fn attach(
    mode: RegionMode,
    share: PageCount,
    before: &[Member<'_>],
    member: &Member<'_>,
) -> Result<(), RegionError> {
    let CxlDevice { id: device, hdm, .. } = *member.device;
    if member.mode != mode {
        return Err(RegionError::Mode { device, wants: mode, has: member.mode });
    }
    if hdm != HdmType::HostOnly {
        return Err(RegionError::Type { device, hdm });
    }
    let has = mode.capacity(member.device);
    if has < share {
        return Err(RegionError::Capacity { device, has, share });
    }
    if before.iter().any(|other| other.device.id == device) {
        return Err(RegionError::Twice(device));
    }
    Ok(())
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
