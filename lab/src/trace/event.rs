//! An event's text as a [`TraceEvent`].

use std::collections::BTreeMap;

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::units::{PageCount, Pfn};

use super::cursor::Cursor;
use super::error::{Fault, Why};
use super::fields::{Fields, check_frame, decimal, hexadecimal, number, pointer, words};
use super::marker::{BlockState, Marker, SnapPhase};
use super::page_map::PageMap;
use super::record::{
    EventName, Extfrag, Isolator, Migration, Scanned, Scanners, TraceEvent, VmapPages,
};

/// How many spellings of flags are remembered.
const SPELLINGS: usize = 8;

/// What reading events needs to remember between lines.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    names: BTreeMap<Box<[u8]>, EventName>,
    pages: PageMap,
    /// Flags as they were spelt lately.
    spellings: Vec<(Box<[u8]>, GfpFlags)>,
    /// Which of them to forget next.
    oldest: usize,
}

impl EventParser {
    pub(super) const fn page_map(&self) -> PageMap {
        self.pages
    }

    pub(super) const fn set_page_map(&mut self, pages: PageMap) {
        self.pages = pages;
    }

    /// The event `name` with the fields of `text`.
    #[inline]
    pub(super) fn parse(&mut self, name: &[u8], text: &[u8]) -> Result<TraceEvent, Fault> {
        match self.parse_frequent(name, text) {
            Some(event) => Ok(event),
            None => self.parse_any(name, text),
        }
    }

    /// The events that nearly all lines are, in the kernel's own layout; `None` for all else, which
    /// is then read field by field and complained about.
    #[inline]
    fn parse_frequent(&mut self, name: &[u8], text: &[u8]) -> Option<TraceEvent> {
        let name = name.strip_prefix(b"mm_page_")?;
        let mut cursor = Cursor(text);
        let page = cursor.hexadecimal(b"page=")?;
        let pfn = check_frame("pfn", cursor.hexadecimal(b" pfn=0x")?).ok()?;
        let order = cursor.order(b" order=")?;
        Some(match name {
            b"free" if cursor.is_empty() => TraceEvent::PageFree { pfn, order },
            b"free_batched" if cursor.is_empty() => TraceEvent::PageFreeBatched { pfn },
            b"alloc_zone_locked" => {
                let migratetype = cursor.digit(b" migratetype=")?;
                let percpu_refill = cursor.digit(b" percpu_refill=")? != 0;
                cursor.is_empty().then_some(())?;
                TraceEvent::ZoneLocked { pfn, order, migratetype, percpu_refill }
            }
            b"pcpu_drain" => {
                let migratetype = cursor.digit(b" migratetype=")?;
                cursor.is_empty().then_some(())?;
                TraceEvent::PcpuDrain { pfn, order, migratetype }
            }
            b"alloc" if pfn.get() != 0 => {
                let migratetype = cursor.digit(b" migratetype=")?;
                let gfp = self.gfp(cursor.rest(b" gfp_flags=")?)?;
                self.pages.learn(page, pfn);
                TraceEvent::PageAlloc { pfn, order, migratetype, gfp }
            }
            _ => return None,
        })
    }

    /// Flags by their names; the last spellings are remembered, since there are few.
    #[inline]
    fn gfp(&mut self, text: &[u8]) -> Option<GfpFlags> {
        let known = self.spellings.iter().find(|(spelling, _)| **spelling == *text);
        if let Some((_, flags)) = known {
            return Some(*flags);
        }
        let flags = GfpFlags::parse(core::str::from_utf8(text).ok()?).ok()?;
        if self.spellings.len() < SPELLINGS {
            self.spellings.push((text.into(), flags));
        } else {
            self.spellings[self.oldest % SPELLINGS] = (text.into(), flags);
            self.oldest += 1;
        }
        Some(flags)
    }

    fn parse_any(&mut self, name: &[u8], text: &[u8]) -> Result<TraceEvent, Fault> {
        let fields = Fields(text);
        Ok(match name {
            b"mm_page_alloc" => self.page_alloc(fields)?,
            b"mm_page_free" => {
                TraceEvent::PageFree { pfn: fields.pfn("pfn")?, order: fields.order("order")? }
            }
            b"mm_page_free_batched" => TraceEvent::PageFreeBatched { pfn: fields.pfn("pfn")? },
            b"mm_page_alloc_zone_locked" => TraceEvent::ZoneLocked {
                pfn: fields.pfn("pfn")?,
                order: fields.order("order")?,
                migratetype: fields.small("migratetype")?,
                percpu_refill: fields.flag("percpu_refill")?,
            },
            b"mm_page_pcpu_drain" => TraceEvent::PcpuDrain {
                pfn: fields.pfn("pfn")?,
                order: fields.order("order")?,
                migratetype: fields.small("migratetype")?,
            },
            b"mm_page_alloc_extfrag" => TraceEvent::Extfrag(extfrag(fields)?),
            b"bulk_enter" => TraceEvent::BulkEnter {
                gfp: fields.small("gfp")?,
                asked: u64::try_from(fields.signed("nr")?).unwrap_or(0),
            },
            b"bulk_exit" => TraceEvent::BulkExit { got: fields.count("got")? },
            b"vmap_pages" => TraceEvent::VmapPages(Box::new(self.vmap_pages(fields)?)),
            b"cma_alloc_start" => cma_alloc_start(fields)?,
            b"cma_alloc_finish" => cma_alloc_finish(fields)?,
            b"cma_release" => TraceEvent::CmaRelease { range: fields.run("pfn", "count")? },
            b"alloc_contig_range" => TraceEvent::ContigEnter {
                range: fields.range("start", "end")?,
                migratetype: fields.small("mt")?,
            },
            b"alloc_contig_range_ret" => TraceEvent::ContigExit { ret: fields.signed("ret")? },
            b"free_contig_range" => TraceEvent::ContigFree { range: fields.run("pfn", "nr")? },
            b"mm_compaction_begin" => TraceEvent::CompactionBegin(scanners(fields)?),
            b"mm_compaction_end" => TraceEvent::CompactionEnd(scanners(fields)?),
            b"mm_compaction_isolate_freepages" => TraceEvent::IsolateFreepages(scanned(text)?),
            b"mm_compaction_isolate_migratepages" => {
                TraceEvent::IsolateMigratepages(scanned(text)?)
            }
            b"free_one_page" => TraceEvent::FreeOnePage {
                pfn: fields.pfn("pfn")?,
                order: fields.order("order")?,
                arg: fields.small("arg5")?,
                flags: fields.find("arg6").map(|_| fields.small("arg6")).transpose()?,
            },
            b"set_pageblock_migratetype" => TraceEvent::SetPageblockType {
                pfn: self.page(fields)?,
                migratetype: fields.small("mt")?,
            },
            b"move_freepages_block" => TraceEvent::MoveFreepages {
                pfn: self.page(fields)?,
                migratetype: fields.small("mt")?,
            },
            b"move_freepages_block_isolate" => TraceEvent::MoveFreepagesIsolate {
                pfn: self.page(fields)?,
                migratetype: fields.small("mt")?,
            },
            b"move_freelist_head" => TraceEvent::TurnFreeList {
                pfn: self.page(fields)?,
                migratetype: fields.small("mt")?,
            },
            b"split_free_page" => TraceEvent::SplitFreePage {
                pfn: self.page(fields)?,
                order: fields.order("order")?,
                offset: PageCount::new(fields.count("off")?),
            },
            b"putback_isolated" => TraceEvent::PutbackIsolated {
                pfn: self.page(fields)?,
                order: fields.order("order")?,
                migratetype: fields.small("mt")?,
            },
            b"drain_pages_zone" => {
                TraceEvent::DrainPages { cpu: fields.small("cpu")?, zone: fields.number("zone")? }
            }
            b"mm_vmscan_kswapd_wake" => TraceEvent::KswapdWake,
            b"mm_vmscan_wakeup_kswapd" => TraceEvent::WakeupKswapd,
            b"mm_vmscan_kswapd_sleep" => TraceEvent::KswapdSleep,
            b"get_page_from_freelist_ret" => TraceEvent::NoPage {
                order: fields.order("order")?,
                gfp: fields.gfp()?,
                flags: AllocFlags::from_bits_truncate(fields.small("alloc_flags")?),
            },
            b"alloc_flags" => TraceEvent::TermsEnter {
                order: fields.order("order")?,
                gfp: fields.gfp()?,
                granted: AllocFlags::from_bits_truncate(fields.small("granted")?),
                barred: AllocFlags::from_bits_truncate(fields.small("barred")?),
            },
            b"alloc_flags_ret" => TraceEvent::TermsExit,
            b"balance_pgdat" => TraceEvent::BalanceEnter { highest: fields.zone("highest")? },
            b"balance_pgdat_ret" => TraceEvent::BalanceExit,
            b"isolate_free_page" => TraceEvent::IsolateFreePage {
                pfn: self.page(fields)?,
                order: fields.order("order")?,
            },
            b"offline_isolated" => TraceEvent::Offline { range: fields.range("start", "end")? },
            b"free_pages_core" => {
                TraceEvent::Online { pfn: self.page(fields)?, order: fields.order("order")? }
            }
            b"isolate_free_page_ret" => TraceEvent::IsolateFreePageExit {
                pages: fields.count("ret")?,
                caller: isolator(text),
            },
            b"mm_migrate_pages" => TraceEvent::MigratePages(Box::new(self.migration(fields)?)),
            b"tracing_mark_write" => TraceEvent::Marker(self.marker(text)?),
            b"print" => self.print(text)?,
            other => TraceEvent::Other(self.intern(other)),
        })
    }

    fn page_alloc(&mut self, fields: Fields<'_>) -> Result<TraceEvent, Fault> {
        let pfn = fields.pfn("pfn")?;
        let order = fields.order("order")?;
        let migratetype = fields.small("migratetype")?;
        let gfp = fields.gfp()?;
        if pfn.get() == 0 {
            return Ok(TraceEvent::PageAllocFailed { order, migratetype, gfp });
        }
        if let Some(page) = fields.find("page").and_then(pointer) {
            self.pages.learn(page, pfn);
        }
        Ok(TraceEvent::PageAlloc { pfn, order, migratetype, gfp })
    }

    /// The frame of the pointer in `page=`, if pointers can be converted.
    fn page(&self, fields: Fields<'_>) -> Result<Option<Pfn>, Fault> {
        let text = fields.get("page")?;
        let page = pointer(text).ok_or_else(|| ("page", Why::NotANumber(Why::excerpt(text))))?;
        Ok(self.pages.pfn(page))
    }

    fn vmap_pages(&self, fields: Fields<'_>) -> Result<VmapPages, Fault> {
        let (start, end) = (fields.number("addr")?, fields.number("end")?);
        let bytes =
            end.checked_sub(start).ok_or_else(|| ("end", Why::OutOfRange(format!("{end:#x}"))))?;
        let list = fields.get("pages")?;
        let list = list.strip_prefix(b"{").and_then(|l| l.strip_suffix(b"}"));
        let list = list.ok_or(("pages", Why::Missing))?;
        let mut pages = [None; 8];
        for (slot, text) in pages.iter_mut().zip(list.split(|b| *b == b',')) {
            let page =
                pointer(text).ok_or_else(|| ("pages", Why::NotANumber(Why::excerpt(text))))?;
            *slot = self.pages.pfn(page);
        }
        Ok(VmapPages { bytes, pages })
    }

    fn migration(&mut self, fields: Fields<'_>) -> Result<Migration, Fault> {
        Ok(Migration {
            succeeded: fields.number("nr_succeeded")?,
            failed: fields.number("nr_failed")?,
            thp_succeeded: fields.number("nr_thp_succeeded")?,
            thp_failed: fields.number("nr_thp_failed")?,
            thp_split: fields.number("nr_thp_split")?,
            split: fields.find("nr_split").map(|_| fields.number("nr_split")).transpose()?,
            reason: self.intern(fields.get("reason")?),
        })
    }

    /// trace-cmd and perf print markers as `print: function: text`.
    fn print(&mut self, text: &[u8]) -> Result<TraceEvent, Fault> {
        match text.strip_prefix(b"tracing_mark_write: ") {
            Some(marker) => Ok(TraceEvent::Marker(self.marker(marker)?)),
            None => Ok(TraceEvent::Other(self.intern(b"print"))),
        }
    }

    fn marker(&mut self, text: &[u8]) -> Result<Marker, Fault> {
        if let Some(list) = text.strip_prefix(b"MTE+ ") {
            return tags_on(list);
        }
        if let Some(found) = snapshot(text) {
            return Ok(found);
        }
        if let Some(found) = memory_block(text) {
            return Ok(found);
        }
        if let Some(found) = self.prot_mte(text) {
            return Ok(found);
        }
        Ok(Marker::Text(String::from_utf8_lossy(text).into()))
    }

    /// `MTE mmap|mprotect ADDR PAGES`; a program may well write other lines that begin so.
    fn prot_mte(&mut self, text: &[u8]) -> Option<Marker> {
        let mut words = words(text.strip_prefix(b"MTE ")?);
        let call = words.next().filter(|c| matches!(*c, b"mmap" | b"mprotect"))?;
        let address = pointer(words.next()?)?;
        let pages = PageCount::new(decimal(words.next()?)?);
        Some(Marker::ProtMte { call: self.intern(call), address, pages })
    }

    fn intern(&mut self, name: &[u8]) -> EventName {
        if let Some(known) = self.names.get(name) {
            return EventName::clone(known);
        }
        let fresh: EventName = String::from_utf8_lossy(name).into();
        // Names come from the kernel, so there are few; a file that is no trace has no end of them.
        if self.names.len() < 4096 {
            self.names.insert(name.into(), EventName::clone(&fresh));
        }
        fresh
    }
}

fn extfrag(fields: Fields<'_>) -> Result<Extfrag, Fault> {
    Ok(Extfrag {
        pfn: fields.pfn("pfn")?,
        alloc_order: fields.order("alloc_order")?,
        fallback_order: fields.order("fallback_order")?,
        alloc_migratetype: fields.small("alloc_migratetype")?,
        fallback_migratetype: fields.small("fallback_migratetype")?,
        change_ownership: fields.flag("change_ownership")?,
    })
}

fn scanners(fields: Fields<'_>) -> Result<Scanners, Fault> {
    Ok(Scanners {
        zone: fields.pfn("zone_start")?,
        migrate: fields.pfn("migrate_pfn")?,
        free: fields.pfn("free_pfn")?,
    })
}

/// `range=(0x1000 ~ 0x1200) nr_scanned=512 nr_taken=0`.
fn scanned(text: &[u8]) -> Result<Scanned, Fault> {
    const KEY: &str = "range";
    let range = text.strip_prefix(b"range=(").ok_or((KEY, Why::Missing))?;
    let close = range.iter().position(|b| *b == b')').ok_or((KEY, Why::Missing))?;
    let mut ends = words(&range[..close]).filter(|word| *word != b"~").map(|word| {
        let raw = number(word).ok_or_else(|| (KEY, Why::NotANumber(Why::excerpt(word))))?;
        check_frame(KEY, raw)
    });
    let mut end = || ends.next().unwrap_or(Err((KEY, Why::Missing)));
    let fields = Fields(text);
    Ok(Scanned {
        start: end()?,
        end: end()?,
        scanned: fields.count("nr_scanned")?,
        taken: fields.count("nr_taken")?,
    })
}

/// A return probe begins with `(caller+offset/length <- function)`.
fn isolator(text: &[u8]) -> Isolator {
    match text.strip_prefix(b"(isolate_freepages_block") {
        Some(_) => Isolator::BlockScan,
        None => Isolator::Other,
    }
}

fn cma_alloc_start(fields: Fields<'_>) -> Result<TraceEvent, Fault> {
    // Newer kernels say request_count, beside two other counts.
    let key = if fields.find("count").is_some() { "count" } else { "request_count" };
    Ok(TraceEvent::CmaAllocStart {
        count: PageCount::new(fields.number(key)?),
        align: fields.small("align")?,
    })
}

/// 6.12 prints an error number. 6.1 prints a null page for a failure, beside the frame tried last.
fn cma_alloc_finish(fields: Fields<'_>) -> Result<TraceEvent, Fault> {
    let count = PageCount::new(fields.number("count")?);
    let failed = match fields.find("errorno") {
        Some(_) => fields.signed("errorno")? != 0,
        None => fields.find("page").and_then(pointer) == Some(0),
    };
    let pfn = if failed { None } else { Some(fields.pfn("pfn")?) };
    Ok(TraceEvent::CmaAllocFinish { pfn, count })
}

fn tags_on(list: &[u8]) -> Result<Marker, Fault> {
    let frames = list.trim_ascii().split(|b| *b == b',').filter(|t| !t.is_empty()).map(|text| {
        let raw = hexadecimal(text.strip_prefix(b"0x").unwrap_or(text));
        let raw = raw.ok_or_else(|| ("MTE+", Why::NotANumber(Why::excerpt(text))))?;
        check_frame("MTE+", raw)
    });
    Ok(Marker::TagsOn(frames.collect::<Result<_, _>>()?))
}

/// `MEMBLOCK n set STATE`; `MEMBLOCK n rc CODE` is the writer's and means nothing here.
fn memory_block(text: &[u8]) -> Option<Marker> {
    let mut words = words(text.strip_prefix(b"MEMBLOCK ")?);
    let block = decimal(words.next()?)?;
    words.next().filter(|word| *word == b"set")?;
    let state = match words.next()? {
        b"offline" => BlockState::Offline,
        b"online" => BlockState::Online,
        b"online_kernel" => BlockState::OnlineKernel,
        b"online_movable" => BlockState::OnlineMovable,
        _ => return None,
    };
    Some(Marker::MemoryBlock { block, state })
}

/// `SNAP k begin LABEL|end|resume`.
fn snapshot(text: &[u8]) -> Option<Marker> {
    let mut words = words(text.strip_prefix(b"SNAP ")?);
    let index = u32::try_from(decimal(words.next()?)?).ok()?;
    let phase = match words.next()? {
        b"begin" => SnapPhase::Begin,
        b"end" => SnapPhase::End,
        b"resume" => SnapPhase::Resume,
        _ => return None,
    };
    Some(Marker::Snapshot { index, phase })
}
