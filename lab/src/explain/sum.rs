//! The arithmetic of a watermark check, line by line.

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::units::{NodeId, PageCount};
use pagelab_allocator::watermark::{Mark, WatermarkSum};

use super::line::Line;

/// A check of a zone; `sum` is `None` when the request ignores watermarks.
pub(super) fn line(
    (kind, node): (ZoneType, NodeId),
    mark: Mark,
    sum: Option<&WatermarkSum>,
) -> Line {
    let zone = format!("zone {kind} of node {node}");
    let Some(sum) = sum else {
        return Line::new("watermark", "ignored", format!("{zone}: not looked at"));
    };
    let verdict = match (sum.is_ok(), sum.has_pages(), mark) {
        (true, ..) => "passes",
        (_, true, _) => "fails: no list has a block of that order",
        (false, false, Mark::High) => "not that high: the mark of the flags decides",
        (false, false, _) => "fails",
    };
    let mark = match mark {
        Mark::Min => "min",
        Mark::Low => "low",
        Mark::High => "high",
    };
    let text = format!("{zone}, {mark} mark: {verdict}\n{}", arithmetic(sum));
    let kind = match (sum.is_ok(), sum.has_pages()) {
        (true, _) => "passes",
        (false, true) => "no block",
        (false, false) => "too few",
    };
    Line::new("watermark", kind, text)
}

/// The sum on lines of their own.
fn arithmetic(sum: &WatermarkSum) -> String {
    let out = sum.unusable;
    let mut lines = vec![row(' ', sum.free, "free")];
    let parts = [
        (out.cma, "CMA, without ALLOC_CMA"),
        (out.metadata, "METADATA, without the right to it"),
        (out.highatomic, "highatomic, without a right to reserves"),
        (out.block, "the block's other pages"),
    ];
    for (pages, why) in parts.into_iter().filter(|(pages, _)| *pages > PageCount::ZERO) {
        lines.push(row('-', pages, why));
    }
    let usable = i128::from(sum.free.get()) - i128::from(out.pages().get());
    let floor = sum.floor().get();
    lines.push(format!("= {usable:>9}  usable"));
    let reserve = match sum.lowmem_reserve {
        PageCount::ZERO => String::new(),
        pages => format!(" + {pages} lowmem reserve"),
    };
    let mark = match sum.min == sum.mark {
        true if sum.boost > PageCount::ZERO => {
            format!("{} mark, {} of it boost", sum.mark, sum.boost)
        }
        true => format!("{} mark", sum.mark),
        false => format!("{} of the {} mark, as reserves are open", sum.min, sum.mark),
    };
    let compared = if usable > i128::from(floor) { ">" } else { "<=" };
    lines.push(format!("{compared:<2}{floor:>9}  to be kept: {mark}{reserve}"));
    lines.join("\n")
}

fn row(sign: char, pages: PageCount, what: &str) -> String {
    format!("{sign} {:>9}  {what}", pages.get())
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::watermark::{BlockThere, Unusable};

    use super::*;

    fn sum(cma: u64) -> WatermarkSum {
        WatermarkSum {
            free: PageCount::new(1000),
            unusable: Unusable { cma: PageCount::new(cma), ..Unusable::default() },
            mark: PageCount::new(250),
            boost: PageCount::ZERO,
            min: PageCount::new(250),
            lowmem_reserve: PageCount::ZERO,
            block: BlockThere::NotAsked,
        }
    }

    /// S7 of the facts: 1000 free, 800 of them CMA, a mark of 250.
    #[test]
    fn free_cma_does_not_count_without_alloc_cma() {
        let zone = (ZoneType::Normal, NodeId::new(0));
        let text = |cma| line(zone, Mark::Min, Some(&sum(cma))).text;
        assert_eq!(
            text(0),
            "zone Normal of node 0, min mark: passes\n\
             \x20      1000  free\n=      1000  usable\n>       250  to be kept: 250 mark"
        );
        assert_eq!(
            text(800),
            "zone Normal of node 0, min mark: fails\n\
             \x20      1000  free\n-       800  CMA, without ALLOC_CMA\n=       200  usable\n\
             <=      250  to be kept: 250 mark"
        );
    }

    #[test]
    fn a_reserve_and_an_opened_mark_are_shown() {
        let opened = WatermarkSum {
            min: PageCount::new(125),
            lowmem_reserve: PageCount::new(7),
            ..sum(900)
        };
        let text = line((ZoneType::Dma, NodeId::new(0)), Mark::Low, Some(&opened)).text;
        let last = "<=      132  to be kept: 125 of the 250 mark, as reserves are open \
                    + 7 lowmem reserve";
        assert_eq!(text.lines().last(), Some(last));
    }
}
