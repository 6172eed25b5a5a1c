//! The files of one snapshot.

use core::fmt::Write as _;

use pagelab_allocator::event::Sink;
use pagelab_migrate::emulator::Emulator;

use super::freelists::freelists;
use super::kernel::Kernel;
use super::out::packed;
use super::proc_text::{vmstat, zoneinfo};
use crate::partial::{PartialFolder, WriteError, at};

/// Which snapshot of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Snap {
    /// The first one, number 0.
    Begin,
    /// One on the way.
    Middle(usize),
    /// The last one.
    End(usize),
}

impl Snap {
    /// The snapshot's number.
    #[must_use]
    pub const fn number(self) -> usize {
        match self {
            Self::Begin => 0,
            Self::Middle(k) | Self::End(k) => k,
        }
    }

    /// The word that names its dumps: `begin`, a number, `end`.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Begin => "begin".to_owned(),
            Self::Middle(k) => k.to_string(),
            Self::End(_) => "end".to_owned(),
        }
    }
}

/// `zone first_pfn migratetype skip_bit`, one pageblock a line.
#[must_use]
pub fn pageblocks<S: Sink>(emulator: &Emulator<S>) -> String {
    let alloc = emulator.page_alloc();
    let mut text = "# zone first_pfn migratetype skip_bit\n".to_owned();
    for zone in alloc.zones() {
        for block in zone.span().blocks(alloc.geometry().pageblock_order()) {
            // The zone may begin inside its first pageblock.
            let inside = block.max(zone.span().start());
            let (kind, pfn) = (zone.kind(), block.get());
            let mt = Kernel::type_name(zone.buddy().migratetype(inside));
            let skip = u8::from(zone.is_skipped(inside));
            // Writing into a string does not fail.
            let _ = writeln!(text, "{kind} {pfn:#x} {mt} {skip}");
        }
    }
    text
}

/// Writes the dumps and the /proc files of a snapshot; changes nothing on the machine.
///
/// # Errors
///
/// [`WriteError`] names the file that could not be written.
pub fn write_snapshot<S: Sink>(
    folder: &PartialFolder,
    emulator: &Emulator<S>,
    kernel: &Kernel,
    snap: Snap,
) -> Result<(), WriteError> {
    let (k, word) = (snap.number(), snap.word());
    let lists = emulator.page_alloc().snapshot();
    for (name, text) in [
        ("buddyinfo", lists.buddyinfo().to_string()),
        ("pagetypeinfo", lists.pagetypeinfo().to_string()),
        ("zoneinfo", zoneinfo(emulator)),
        ("vmstat", vmstat(emulator)),
    ] {
        folder.write(&format!("snap-{k}.{name}.txt"), text.as_bytes())?;
    }
    for (name, text) in [
        (format!("freelists-{word}.json.zst"), freelists(emulator, kernel, k)),
        (format!("pageblocks-{word}.txt.zst"), pageblocks(emulator)),
    ] {
        folder.write(&name, &packed(&text).map_err(at(&folder.path(&name)))?)?;
    }
    Ok(())
}
