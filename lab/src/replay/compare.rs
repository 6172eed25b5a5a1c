//! A machine's lists against those that were dumped.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::restore::{ListedBlock, ZoneState};
use pagelab_allocator::units::{Order, Pfn};

use super::plan::Level;
use crate::case::Dump;

/// What a snapshot says about a replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotVerdict {
    /// The snapshot's number.
    pub id: u32,
    /// Every buddy list is the same, in order.
    pub lists_equal: bool,
    /// Every pageblock has the same type.
    pub pageblocks_equal: bool,
    /// Every per-CPU list is the same, in order; `None` where they are not modelled.
    pub pcp_equal: Option<bool>,
    /// The texts of /proc/pagetypeinfo and /proc/buddyinfo are the same, byte for byte.
    pub pagetypeinfo_equal: bool,
    /// The first thing that differs, with both sides.
    pub difference: Option<Difference>,
}

impl SnapshotVerdict {
    /// Whether nothing that is modelled differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.lists_equal
            && self.pageblocks_equal
            && self.pcp_equal != Some(false)
            && self.pagetypeinfo_equal
    }
}

/// One list, pageblock or text that is not the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// What the emulator has.
    pub ours: String,
    /// What was dumped.
    pub theirs: String,
}

impl Difference {
    /// Both sides as they stand under a miss.
    #[must_use]
    pub fn told(self) -> (String, String) {
        (format!("{}: {}", self.what, self.ours), format!("{}: {}", self.what, self.theirs))
    }
}

/// A buddy list that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DifferentList {
    /// Kind of its zone.
    pub zone: ZoneType,
    /// Its order.
    pub order: Order,
    /// Its type.
    pub migratetype: MigrateType,
    /// The dumped blocks, head first.
    pub theirs: Vec<Pfn>,
    /// The emulator's.
    pub ours: Vec<Pfn>,
}

impl DifferentList {
    /// Where it differs.
    #[must_use]
    pub fn difference(&self) -> Difference {
        let what = format!("{} order {} {}", self.zone, self.order, self.migratetype);
        difference_of(what, &self.ours, &self.theirs)
    }

    /// Whether the blocks are the same, in another order.
    #[must_use]
    pub fn same_blocks(&self) -> bool {
        let sorted = |list: &[Pfn]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        sorted(&self.ours) == sorted(&self.theirs)
    }
}

/// Most frames of a list that a difference shows.
const SHOWN: usize = 24;

fn frames(list: &[Pfn], from: usize) -> String {
    let words: Vec<_> = list.iter().skip(from).take(SHOWN).map(ToString::to_string).collect();
    let more = list.len().saturating_sub(from + SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    if words.is_empty() { "empty".to_owned() } else { words.join(" ") + &rest }
}

fn difference_of(what: String, ours: &[Pfn], theirs: &[Pfn]) -> Difference {
    let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).map(|_| 1).sum::<usize>();
    let from = same.saturating_sub(2);
    let what = if from > 0 { format!("{what}, from entry {from}") } else { what };
    Difference { what, ours: frames(ours, from), theirs: frames(theirs, from) }
}

/// The frames of one list among the blocks of all.
fn list_of(blocks: &[ListedBlock], order: Order, mt: MigrateType) -> Vec<Pfn> {
    let own = blocks.iter().filter(|block| block.order == order && block.migratetype == mt);
    own.map(|block| block.pfn).collect()
}

/// Some blocks of the zone of one kind; none where there is no such zone.
fn blocks_of(
    zones: &[ZoneState],
    kind: ZoneType,
    blocks: impl Fn(&ZoneState) -> &[ListedBlock],
) -> &[ListedBlock] {
    zones.iter().find(|zone| zone.spec.kind == kind).map_or(&[], blocks)
}

/// The buddy lists that differ.
#[must_use]
pub fn different_lists(ours: &[ZoneState], dump: &Dump) -> Vec<DifferentList> {
    let mut found = Vec::new();
    for zone in ZoneType::ALL {
        let own = blocks_of(ours, zone, |zone| &zone.free);
        let theirs = blocks_of(&dump.machine.zones, zone, |zone| &zone.free);
        if own == theirs {
            continue;
        }
        for order in Order::ZERO.to(dump.machine.geometry.max_order()) {
            for mt in MigrateType::ALL {
                let (a, b) = (list_of(own, order, mt), list_of(theirs, order, mt));
                if a != b {
                    found.push(DifferentList { zone, order, migratetype: mt, theirs: b, ours: a });
                }
            }
        }
    }
    found
}

/// Compares a machine with a dump, its per-CPU lists where the level has any.
#[must_use]
pub fn compare<S: Sink>(
    alloc: &PageAllocator<S>,
    dump: &Dump,
    level: Level,
) -> (SnapshotVerdict, Vec<DifferentList>) {
    let with_pcp = level == Level::PerCpu;
    let state = alloc.state();
    let lists = different_lists(&state.zones, dump);
    let difference = lists.first().map(DifferentList::difference);
    let theirs = &dump.machine.zones;
    let block = theirs.iter().find_map(|zone| pageblock_difference(&state.zones, zone));
    let pcp = ZoneType::ALL.into_iter().find_map(|kind| pcp_difference(&state.zones, theirs, kind));
    let snapshot = alloc.snapshot();
    let text = text_difference(&snapshot.pagetypeinfo().to_string(), &dump.pagetypeinfo.text)
        .or_else(|| text_difference(&snapshot.buddyinfo().to_string(), &dump.buddyinfo.text));
    let verdict = SnapshotVerdict {
        id: dump.index,
        lists_equal: lists.is_empty(),
        pageblocks_equal: block.is_none(),
        pcp_equal: with_pcp.then_some(pcp.is_none()),
        pagetypeinfo_equal: text.is_none(),
        difference: difference.or(block).or(pcp.filter(|_| with_pcp)).or(text),
    };
    (verdict, lists)
}

fn pageblock_difference(ours: &[ZoneState], theirs: &ZoneState) -> Option<Difference> {
    let ours = ours.iter().find(|zone| zone.spec.kind == theirs.spec.kind);
    let ours = ours.map_or(&[][..], |zone| &zone.pageblocks);
    let differs = |(pfn, mt): &&(Pfn, MigrateType)| {
        let at = ours.binary_search_by_key(pfn, |(pfn, _)| *pfn);
        at.ok().and_then(|at| ours.get(at)).is_none_or(|(_, own)| own != mt)
    };
    let (pfn, mt) = theirs.pageblocks.iter().find(differs)?;
    let own = ours.iter().find(|(at, _)| at == pfn);
    Some(Difference {
        what: format!("pageblock {pfn}"),
        ours: own.map_or("absent".to_owned(), |(_, mt)| mt.to_string()),
        theirs: mt.to_string(),
    })
}

/// What the first CPU has on its lists.
fn cached(zone: &ZoneState) -> &[ListedBlock] {
    zone.pcp.first().map_or(&[], |pcp| &pcp.blocks)
}

fn pcp_difference(ours: &[ZoneState], theirs: &[ZoneState], kind: ZoneType) -> Option<Difference> {
    let (own, their) = (blocks_of(ours, kind, cached), blocks_of(theirs, kind, cached));
    let at = own.iter().zip(their).position(|(a, b)| a != b);
    let at = at.or((own.len() != their.len()).then_some(own.len().min(their.len())))?;
    let list = own.get(at).or(their.get(at))?;
    let (order, mt) = (list.order, list.migratetype);
    let what = format!("{kind} per-CPU list order {order} {mt}");
    Some(difference_of(what, &list_of(own, order, mt), &list_of(their, order, mt)))
}

fn text_difference(ours: &str, theirs: &str) -> Option<Difference> {
    if ours == theirs {
        return None;
    }
    let mut pairs = (1..).zip(ours.lines().zip(theirs.lines()));
    let differing = pairs.find(|(_, (a, b))| a != b);
    let (line, (a, b)) = differing.unwrap_or((0, ("another length", "another length")));
    Some(Difference {
        what: format!("line {line} of the text"),
        ours: a.to_owned(),
        theirs: b.to_owned(),
    })
}
