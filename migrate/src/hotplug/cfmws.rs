//! A window of host addresses that CXL devices may be decoded into. Linux: drivers/cxl/acpi.c.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::printk::{Level, Line};
use pagelab_allocator::units::{Pfn, PfnRange};

use crate::hotplug::restrictions::{Contradiction, Restrictions};
use crate::hotplug::root_decoder::DecoderFlags;

/// How addresses choose among targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    /// By address bits.
    Modulo,
    /// By exclusive-or of address bits.
    Xor,
}

/// What the platform says about tags of a window. No specification has such a field; it stands for
/// an enumeration of windows that Arm or a device tree could add.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WindowTags {
    /// Nothing: ports and devices decide.
    #[default]
    Unstated,
    /// Memory of this window keeps no tags, whatever its devices can do.
    Never,
    /// The host keeps the tags in a carve-out, whatever its devices can do.
    CarveOut,
}

/// The fields as firmware has them. Linux: `struct acpi_cedt_cfmws`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawCfmws {
    /// First host address, in bytes.
    pub base_hpa: u64,
    /// Length in bytes.
    pub window_size: u64,
    /// Number of targets, encoded: 0 to 4 are powers of two, 8 to 10 three times those.
    pub interleave_ways: u8,
    /// 0 is modulo, 1 is exclusive-or.
    pub interleave_arithmetic: u8,
    /// Bytes in a row from one target, encoded: 256 shifted left by 0 to 6.
    pub granularity: u32,
    /// Window restrictions.
    pub restrictions: u16,
    /// Throttling group.
    pub qtg_id: u16,
    /// Host bridges in the order of interleaving.
    pub interleave_targets: Vec<u32>,
}

/// Why a window is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CfmwsError {
    /// Neither of the two that there are.
    #[error("interleave arithmetic {0} is neither 0 (modulo) nor 1 (XOR)")]
    Arithmetic(u8),
    /// The base is no multiple of 256 MiB.
    #[error("base {0:#x} is not a multiple of 256 MiB")]
    Base(u64),
    /// Neither is the size.
    #[error("window size {0:#x} is not a multiple of 256 MiB")]
    Size(u64),
    /// A window without memory, or past the end of all addresses.
    #[error("a window of {size:#x} bytes at {base:#x} holds nothing")]
    NoRoom {
        /// First address.
        base: u64,
        /// Length in bytes.
        size: u64,
    },
    /// An encoding that is not used.
    #[error("interleave ways {0} encode no number of targets")]
    Ways(u8),
    /// Fewer targets than ways.
    #[error("{listed} targets for {ways} ways")]
    Targets {
        /// Targets there are.
        listed: usize,
        /// Targets there have to be.
        ways: u8,
    },
    /// An encoding that is not used.
    #[error("granularity {0} encodes no number of bytes")]
    Granularity(u32),
    /// What rules itself out.
    #[error(transparent)]
    Restrictions(#[from] Contradiction),
}

impl CfmwsError {
    /// The field that is wrong.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Arithmetic(_) => "interleave_arithmetic",
            Self::Base(_) => "base_hpa",
            Self::Size(_) | Self::NoRoom { .. } => "window_size",
            Self::Ways(_) => "interleave_ways",
            Self::Targets { .. } => "interleave_targets",
            Self::Granularity(_) => "granularity",
            Self::Restrictions(_) => "restrictions",
        }
    }

    /// What the parser returns. Linux: `cxl_acpi_cfmws_verify()`.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::Inval
    }

    /// What Linux prints; nothing where it does not look.
    #[must_use]
    pub fn line(self) -> Option<Line> {
        let text = match self {
            Self::Arithmetic(raw) => format!("CFMWS Unknown Interleave Arithmetic: {raw}"),
            Self::Base(_) => "CFMWS Base HPA not 256MB aligned".to_owned(),
            Self::Size(_) => "CFMWS Window Size not 256MB aligned".to_owned(),
            Self::Ways(raw) => format!("CFMWS Interleave Ways ({raw}) invalid"),
            Self::Targets { listed, ways } => {
                let length = |targets: usize| FIXED_LENGTH + targets * TARGET_LENGTH;
                let (is, should) = (length(listed), length(usize::from(ways)));
                format!("CFMWS length {is} less than expected {should}")
            }
            _ => return None,
        };
        Some(Line::new(Level::Err, text))
    }
}

/// Bytes of a structure before its targets.
const FIXED_LENGTH: usize = 36;
/// Bytes of one target.
const TARGET_LENGTH: usize = 4;
/// What base and size are multiples of, in bytes.
pub const ALIGNMENT: u64 = 256 << 20;
/// Windows are a matter of 4 KiB pages, whatever the kernel's are.
pub(crate) const PAGE_SHIFT: u32 = 12;

/// A window that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cfmws {
    range: PfnRange,
    arithmetic: Arithmetic,
    granularity: u32,
    restrictions: Restrictions,
    reserved: u16,
    qtg_id: u16,
    targets: Vec<u32>,
    /// What the platform says about tags.
    pub tags: WindowTags,
}

impl Cfmws {
    /// Reads a window, in Linux's order of checks; contradictory restrictions come last, since
    /// Linux does not look for them. Linux: `cxl_acpi_cfmws_verify()`, `__cxl_parse_cfmws()`.
    ///
    /// # Errors
    ///
    /// The first field that is wrong.
    pub fn parse(raw: &RawCfmws) -> Result<Self, CfmwsError> {
        let arithmetic = match raw.interleave_arithmetic {
            0 => Arithmetic::Modulo,
            1 => Arithmetic::Xor,
            other => return Err(CfmwsError::Arithmetic(other)),
        };
        let range = window(raw.base_hpa, raw.window_size)?;
        let ways = ways(raw.interleave_ways).ok_or(CfmwsError::Ways(raw.interleave_ways))?;
        let listed = raw.interleave_targets.len();
        let targets = raw.interleave_targets.get(..usize::from(ways));
        let targets = targets.ok_or(CfmwsError::Targets { listed, ways })?.to_vec();
        let granularity =
            granularity(raw.granularity).ok_or(CfmwsError::Granularity(raw.granularity))?;
        let restrictions = Restrictions::parse(raw.restrictions)?;
        Ok(Self {
            range,
            arithmetic,
            granularity,
            restrictions,
            reserved: raw.restrictions & !Restrictions::all().bits(),
            qtg_id: raw.qtg_id,
            targets,
            tags: WindowTags::default(),
        })
    }

    /// The same window, about whose tags the platform says `tags`.
    #[must_use]
    pub fn stating(self, tags: WindowTags) -> Self {
        Self { tags, ..self }
    }

    /// Its frames, of 4 KiB.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// How addresses choose among targets.
    #[must_use]
    pub const fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Bytes in a row from one target.
    #[must_use]
    pub const fn granularity(&self) -> u32 {
        self.granularity
    }

    /// What it may be used for.
    #[must_use]
    pub const fn restrictions(&self) -> Restrictions {
        self.restrictions
    }

    /// Throttling group.
    #[must_use]
    pub const fn qtg_id(&self) -> u16 {
        self.qtg_id
    }

    /// Host bridges in the order of interleaving.
    #[must_use]
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// A word about restrictions that no specification defines. Linux says nothing: it ignores
    /// them, and whoever hoped for a bit that means tags would not notice.
    #[must_use]
    pub fn warning(&self) -> Option<Line> {
        let text = format!("CFMWS Window Restrictions {:#06x} reserved", self.reserved);
        (self.reserved != 0).then(|| Line::new(Level::Warn, text))
    }

    /// What the window's root decoder can do. Linux: `cfmws_to_decoder_flags()`.
    #[must_use]
    pub fn decoder_flags(&self) -> DecoderFlags {
        self.restrictions.decoder_flags()
    }
}

fn window(base: u64, size: u64) -> Result<PfnRange, CfmwsError> {
    if !base.is_multiple_of(ALIGNMENT) {
        return Err(CfmwsError::Base(base));
    }
    if !size.is_multiple_of(ALIGNMENT) {
        return Err(CfmwsError::Size(size));
    }
    match base.checked_add(size) {
        Some(end) if size != 0 => {
            Ok(PfnRange::new(Pfn::new(base >> PAGE_SHIFT), Pfn::new(end >> PAGE_SHIFT)))
        }
        _ => Err(CfmwsError::NoRoom { base, size }),
    }
}

/// Linux: `eiw_to_ways()`.
const fn ways(encoded: u8) -> Option<u8> {
    match encoded {
        0..=4 => Some(1 << encoded),
        8..=10 => Some(3 << (encoded - 8)),
        _ => None,
    }
}

/// Linux: `eig_to_granularity()`.
const fn granularity(encoded: u32) -> Option<u32> {
    if encoded > 6 { None } else { Some(256 << encoded) }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::units::PageCount;

    use super::*;

    fn raw(restrictions: u16) -> RawCfmws {
        RawCfmws {
            base_hpa: 0xc0_5000_0000,
            window_size: 0x10_0000_0000,
            interleave_ways: 1,
            interleave_arithmetic: 0,
            granularity: 0,
            restrictions,
            qtg_id: 3,
            interleave_targets: vec![7, 6],
        }
    }

    #[test]
    fn row_21_restrictions() {
        let window = Cfmws::parse(&raw(0x0006)).unwrap();
        assert_eq!(window.decoder_flags(), DecoderFlags::TYPE3 | DecoderFlags::RAM);
        assert_eq!(window.warning(), None);
        let refused = Cfmws::parse(&raw(0x0022)).unwrap_err();
        assert_eq!(refused, CfmwsError::Restrictions(Contradiction::HostOnly(0x22)));
        assert_eq!((refused.key(), refused.errno()), ("restrictions", Errno::Inval));
        assert_eq!(refused.line(), None, "Linux does not look");
        let window = Cfmws::parse(&raw(0x0021)).unwrap();
        assert_eq!(window.decoder_flags(), DecoderFlags::TYPE2);
    }

    #[test]
    fn row_21_reserved_bits_are_warned_about_and_do_nothing() {
        let window = Cfmws::parse(&raw(0x0046)).unwrap();
        let line = window.warning().unwrap();
        assert_eq!(line.level, Level::Warn);
        assert_eq!(line.text, "CFMWS Window Restrictions 0x0040 reserved");
        let without = Cfmws::parse(&raw(0x0006)).unwrap();
        assert_eq!(window.decoder_flags(), without.decoder_flags());
        assert_eq!(window.restrictions(), without.restrictions());
    }

    #[test]
    fn row_22_the_platform_may_say_something_about_tags() {
        let window = Cfmws::parse(&raw(0x0006)).unwrap();
        assert_eq!(window.tags, WindowTags::Unstated);
        assert_eq!(window.stating(WindowTags::Never).tags, WindowTags::Never);
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut RawCfmws), key: &str, line: Option<&str>) {
        let mut raw = raw(0x0006);
        change(&mut raw);
        let error = Cfmws::parse(&raw).unwrap_err();
        assert_eq!(error.key(), key, "{error}");
        assert_eq!(error.line().map(|line| line.text).as_deref(), line, "{error}");
    }

    #[test]
    fn fields_that_are_wrong() {
        let of = |raw: &RawCfmws| Cfmws::parse(raw).unwrap();
        let window = of(&raw(0x0006));
        assert_eq!(window.range().len(), PageCount::new(64 << 18));
        assert_eq!((window.targets(), window.granularity()), ([7, 6].as_slice(), 256));
        assert_eq!((window.arithmetic(), window.qtg_id()), (Arithmetic::Modulo, 3));
        let base = "CFMWS Base HPA not 256MB aligned";
        refused(|raw| raw.base_hpa += ALIGNMENT / 2, "base_hpa", Some(base));
        let size = "CFMWS Window Size not 256MB aligned";
        refused(|raw| raw.window_size += 4096, "window_size", Some(size));
        refused(|raw| raw.window_size = 0, "window_size", None);
        refused(|raw| raw.base_hpa = ALIGNMENT.wrapping_neg(), "window_size", None);
        let unknown = "CFMWS Unknown Interleave Arithmetic: 2";
        refused(|raw| raw.interleave_arithmetic = 2, "interleave_arithmetic", Some(unknown));
        let ways = "CFMWS Interleave Ways (5) invalid";
        refused(|raw| raw.interleave_ways = 5, "interleave_ways", Some(ways));
        let short = "CFMWS length 44 less than expected 48";
        refused(|raw| raw.interleave_ways = 8, "interleave_targets", Some(short));
        refused(|raw| raw.granularity = 7, "granularity", None);
    }

    #[test]
    fn the_first_wrong_field_is_named() {
        refused(
            |raw| {
                raw.base_hpa += 1;
                raw.window_size += 1;
                raw.restrictions = 0x22;
            },
            "base_hpa",
            Some("CFMWS Base HPA not 256MB aligned"),
        );
    }

    #[test]
    fn encodings_of_ways_and_granularity() {
        let all: Vec<_> = (0..=u8::MAX).filter_map(ways).collect();
        assert_eq!(all, [1, 2, 4, 8, 16, 3, 6, 12]);
        let all: Vec<_> = (0..20).filter_map(granularity).collect();
        assert_eq!(all, [256, 512, 1024, 2048, 4096, 8192, 16384]);
    }
}
