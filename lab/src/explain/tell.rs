//! Facts become lines.

use pagelab_allocator::event::Event;
use pagelab_allocator::fallback::{Extfrag, Ownership};
use pagelab_allocator::note::{Note as AllocNote, PerCpu, Raid};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{PageCount, Pfn};

use super::line::{Depth, Line};
use super::refill::{Refill, half_rule};
use super::witness::Fact;
use super::{flags, storage, sum};

/// Tells facts in their order.
#[derive(Debug)]
pub(super) struct Teller {
    profile: KernelProfile,
    lines: Vec<Line>,
    refill: Option<Refill>,
    freed: Freed,
    /// Ranges being emptied and compactions under way.
    inside: u32,
}

/// Frees in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Freed {
    blocks: u64,
    pages: u64,
    first: Option<Pfn>,
}

/// What happened, line by line, to a kernel of `profile`.
pub(super) fn tell<'f>(
    facts: impl IntoIterator<Item = &'f Fact>,
    profile: KernelProfile,
) -> Vec<Line> {
    let freed = Freed::default();
    let mut teller = Teller { profile, lines: Vec::new(), refill: None, freed, inside: 0 };
    for fact in facts {
        teller.hear(fact);
    }
    teller.flush();
    teller.lines
}

impl Teller {
    fn hear(&mut self, fact: &Fact) {
        match fact {
            Fact::Event(event) => self.event(event),
            Fact::Alloc(note) => self.alloc(note),
            Fact::Migrate(note) => self.say_all(storage::lines(note, self.profile)),
            Fact::Drive(_) => {}
        }
    }

    fn say_all(&mut self, lines: Vec<Line>) {
        lines.into_iter().for_each(|line| self.say(line));
    }

    /// Adds a line, as work for the request's sake while a range is emptied.
    fn say(&mut self, mut line: Line) {
        self.flush();
        if self.inside > 0 && line.depth == Depth::Own {
            line.depth = Depth::Inside;
        }
        self.lines.push(line);
    }

    fn flush(&mut self) {
        let Freed { blocks, pages, first } = core::mem::take(&mut self.freed);
        let (Some(first), true) = (first, self.inside == 0) else { return };
        let text = match blocks {
            1 => format!("{pages} pages at {first}"),
            _ => format!("{blocks} blocks, {pages} pages; the first is {first}"),
        };
        self.lines.push(Line::new("freed", "freed", text));
    }

    fn event(&mut self, event: &Event) {
        match *event {
            Event::PageFree { pfn, order } => self.freed.add(pfn, order.pages()),
            Event::PageAlloc { pfn, order, migratetype, .. } if self.inside == 0 => {
                let line = match pfn {
                    Some(pfn) => Line::new("page", "page", format!("{pfn}, order {order}")),
                    None => {
                        Line::new("page", "none", format!("none: order {order}, {migratetype}"))
                    }
                };
                self.say(line);
            }
            Event::Extfrag(raid) => self.raid(&raid),
            Event::WakeKswapd { order } if self.inside == 0 => {
                self.say(Line::new("kswapd", "woken", format!("asked for, for order {order}")));
            }
            Event::DrainPagesZone { kind, .. } if self.inside == 0 => {
                self.say(Line::new("per-CPU", "drained", format!("lists of zone {kind} drained")));
            }
            _ => self.range_event(event),
        }
    }

    /// Events of ranges, migration and compaction.
    fn range_event(&mut self, event: &Event) {
        match *event {
            Event::ContigEnter { range, migratetype } => {
                self.flush();
                let text = format!("{range} of {migratetype} pageblocks: isolated, to be emptied");
                self.say(Line::new("claim", "claim", text));
                self.inside += 1;
            }
            Event::ContigExit { ret } => {
                self.leave();
                let (kind, text) = match ret {
                    0 => ("claimed", "taken".to_owned()),
                    _ => ("not claimed", format!("not taken, {}", errno(ret))),
                };
                self.say(Line::new("", kind, text));
            }
            Event::CompactionBegin(scan) => {
                let text = format!("zone {}, {}", scan.zone, scan.mode);
                self.say(Line::new("compaction", "compaction", text));
                self.inside += 1;
            }
            Event::CompactionEnd { status, .. } => {
                self.leave();
                self.say(Line::new("", status, format!("ends: {status}")));
            }
            Event::MigratePages(all) if all.failed > PageCount::ZERO => {
                let text = format!("{} pages moved, {} not", all.succeeded, all.failed);
                self.say(Line::new("migration", "not all moved", text));
            }
            Event::CmaAllocStart { count, align } => {
                let text = format!("{count} pages, aligned to order {align}");
                self.say(Line::new("CMA", "cma", text));
            }
            Event::CmaBusyRetry { range, .. } => {
                self.say(Line::new("CMA", "cma busy", format!("{range} is busy: the next run")));
            }
            Event::CmaAllocFinish { pfn: Some(pfn), ret: 0, .. } => {
                self.say(Line::new("CMA", "cma got", format!("got {pfn}")));
            }
            Event::CmaAllocFinish { ret, .. } => {
                self.say(Line::new("CMA", "cma failed", format!("none, {}", errno(ret))));
            }
            _ => {}
        }
    }

    /// What was freed while a range was emptied is not told.
    fn leave(&mut self) {
        self.flush();
        self.inside = self.inside.saturating_sub(1);
    }

    fn raid(&mut self, raid: &Extfrag) {
        let owner = match raid.change_ownership {
            Ownership::Changed => "the pageblock is the requester's now",
            Ownership::Kept => "the pageblock keeps its type",
        };
        let (order, victim) = (raid.fallback_order, raid.fallback_migratetype);
        let text = format!("{} from an order {order} block of {victim}; {owner}", raid.pfn);
        self.raid_line(Line::new("raid", "raided", text));
    }

    fn raid_line(&mut self, line: Line) {
        match &mut self.refill {
            _ if self.inside > 0 => {}
            Some(refill) => refill.raid(line),
            None => self.say(line),
        }
    }

    fn alloc(&mut self, note: &AllocNote) {
        if self.inside > 0 {
            return;
        }
        match note {
            AllocNote::Walk { order, gfp, flags } => {
                let flags = flags::alloc_flags(*flags);
                let text = format!("{flags}\norder {order}, {}", gfp.text(self.profile));
                self.say(Line::new("walk", "walk", text));
            }
            AllocNote::Watermark { kind, node, mark, sum } => {
                self.say(sum::line((*kind, *node), *mark, sum.as_ref()));
            }
            AllocNote::PerCpu(what) => self.per_cpu(*what),
            AllocNote::CmaFirst { .. } => {
                let line = half_rule(note);
                match (&mut self.refill, line) {
                    (Some(refill), Some(line)) => refill.weigh(line),
                    (None, Some(line)) => self.say(line),
                    (_, None) => {}
                }
            }
            AllocNote::List { migratetype, found, .. } => match &mut self.refill {
                Some(refill) => refill.list(*migratetype, found.map(|(_, order)| order)),
                None => self.say(list(migratetype.name(), *found)),
            },
            AllocNote::Raid { raid, victims } => {
                let victims = victims.map(|(mt, largest)| match largest {
                    Some(order) => format!("{mt} up to order {order}"),
                    None => format!("{mt} empty"),
                });
                let how = match raid {
                    Raid::Move => "blocks of another type are to move here",
                    Raid::Claim => "a pageblock is to be claimed",
                    Raid::Steal => "a block is to be stolen",
                };
                self.raid_line(Line::new("raid", "raid", format!("{how}: {}", victims.join(", "))));
            }
            _ => {}
        }
    }

    fn per_cpu(&mut self, what: PerCpu) {
        match what {
            PerCpu::Hit => self.say(Line::new("per-CPU", "hit", "a block is ready")),
            PerCpu::Barred(needs) => {
                let text = format!("passed by: the movable list needs {}", flags::rights(needs));
                self.say(Line::new("per-CPU", "barred", text));
            }
            PerCpu::NoList => self.say(Line::new("per-CPU", "no list", "no list for that order")),
            PerCpu::Refill(wanted) => self.refill = Some(Refill::new(wanted)),
            PerCpu::Refilled(got) => {
                if let Some(refill) = self.refill.take() {
                    self.say_all(refill.end(got));
                }
            }
        }
    }
}

impl Freed {
    fn add(&mut self, pfn: Pfn, pages: PageCount) {
        self.blocks += 1;
        self.pages += pages.get();
        self.first.get_or_insert(pfn);
    }
}

fn list(name: &'static str, found: Option<(Pfn, pagelab_allocator::units::Order)>) -> Line {
    let text = match found {
        Some((pfn, order)) => format!("{name}: {pfn}, cut from order {order}"),
        None => format!("{name}: empty"),
    };
    Line::new("list", if found.is_some() { name } else { "empty" }, text)
}

/// The kernel's name of a negative error number.
fn errno(ret: i32) -> String {
    match ret {
        -12 => "-ENOMEM".to_owned(),
        -16 => "-EBUSY".to_owned(),
        -22 => "-EINVAL".to_owned(),
        _ => ret.to_string(),
    }
}
