//! `pageblocks-*.txt`: the type of every pageblock at a snapshot.

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::Pfn;

use super::error::CaseError;
use super::text::CaseText;

/// One pageblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pageblock {
    /// Its zone.
    pub zone: ZoneType,
    /// First frame.
    pub pfn: Pfn,
    /// Linux: `get_pageblock_migratetype()`.
    pub migratetype: MigrateType,
}

/// Reads the lines of a file: `zone first_pfn migratetype skip_bit`; with the number of each.
///
/// # Errors
///
/// [`CaseError`] with the line.
pub fn parse(text: &CaseText) -> Result<Vec<(usize, Pageblock)>, CaseError> {
    let lines = (1..).zip(text.text.lines());
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let block = pageblock(line);
            let block = block.map(|block| (number, block));
            block.map_err(|(field, why)| CaseError::at(&text.file, number, field, why))
        })
        .collect()
}

fn pageblock(line: &str) -> Result<Pageblock, (&'static str, String)> {
    let mut words = line.split(' ');
    let mut word = |field| words.next().ok_or((field, "missing".to_owned()));
    let name = word("zone")?;
    let zone = ZoneType::ALL.into_iter().find(|kind| kind.name() == name);
    let zone = zone.ok_or_else(|| ("zone", format!("{name:?} is no zone")))?;
    let pfn = word("first_pfn")?;
    let raw = pfn.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let raw = raw.filter(|raw| *raw < 1 << 40);
    let raw = raw.ok_or_else(|| ("first_pfn", format!("{pfn:?} is no frame")))?;
    let name = word("migratetype")?;
    let migratetype =
        type_named(name).ok_or_else(|| ("migratetype", format!("{name:?} is no migratetype")))?;
    Ok(Pageblock { zone, pfn: Pfn::new(raw), migratetype })
}

/// The type that Linux's enumeration spells `name`, without its prefix.
pub(super) fn type_named(name: &str) -> Option<MigrateType> {
    MigrateType::ALL.into_iter().find(|mt| mt.name().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(usize, Pageblock)>, String> {
        let text = CaseText { file: "p".to_owned(), text: text.to_owned() };
        parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_is_a_pageblock() {
        let blocks = read("# zone first_pfn migratetype skip_bit\nDMA 0x200 MOVABLE 0\n").unwrap();
        let expected = Pageblock {
            zone: ZoneType::Dma,
            pfn: Pfn::new(0x200),
            migratetype: MigrateType::Movable,
        };
        assert_eq!(blocks, [(2, expected)]);
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = |text| read(text).unwrap_err();
        assert_eq!(
            error("DMA 0x0 CMA 0\nDMA x CMA 0"),
            "p:2: field `first_pfn`: \"x\" is no frame"
        );
        assert_eq!(error("X 0x0 CMA"), "p:1: field `zone`: \"X\" is no zone");
        assert_eq!(error("DMA 0x0"), "p:1: field `migratetype`: missing");
    }
}
