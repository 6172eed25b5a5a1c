use pagelab_allocator::gfp::AllocFlags;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::Order;

use super::*;
use crate::alloc::FailureCause;
use crate::folio::{FolioId, FolioKind, PinTerm};
use crate::memory::Memory;
use crate::testing::{
    CPU, PROFILES, anon, check_all_returns, check_sound, fill, kernel, machine, range, thin_out,
    usual,
};

/// Odd frames hold anonymous pages, even ones are free.
fn checkered(profile: KernelProfile) -> (Memory, Vec<FolioId>) {
    checkered_by(profile, |pfn| pfn.get() % 2 == 1)
}

fn checkered_by(
    profile: KernelProfile,
    keep: impl Fn(pagelab_allocator::units::Pfn) -> bool,
) -> (Memory, Vec<FolioId>) {
    let mut memory = usual(profile, 1 << 14);
    let all = fill(&mut memory);
    let kept = thin_out(&mut memory, all, keep);
    memory.page_alloc.drain_all();
    (memory, kept)
}

/// Half of the memory is free, in single pages; a request of `order` gets its block nevertheless.
#[track_caller]
fn check_block_is_made(
    profile: KernelProfile,
    request: &AllocRequest,
    kind: FolioKind,
    futile: u64,
) {
    let (mut memory, _) = checkered(profile);
    let id = memory.alloc(CPU, request, kind).unwrap();
    assert!(memory.folios[id].pfn().is_aligned(request.order));
    let stats = memory.stats;
    assert_eq!((stats.compact_success, stats.compact_fail), (1, futile));
    assert_eq!(stats.compact_stall, 1 + futile);
    assert_eq!(stats.pgmigrate_success, u64::try_from(memory.log.moves.len()).unwrap());
    assert!(stats.pgmigrate_success >= request.order.pages().get() / 2);
    assert!(stats.compact_isolated >= 2 * stats.pgmigrate_success);
    check_sound(&memory);
    check_all_returns(memory);
}

#[test]
fn half_free_memory_yields_blocks() {
    for profile in PROFILES {
        for order in 1..=10 {
            check_block_is_made(profile, &anon(order), FolioKind::Anon, 0);
        }
        for order in 1..=10 {
            // Asynchronous runs only look at pageblocks of the request's own type.
            check_block_is_made(profile, &kernel(order), FolioKind::Kernel, 1);
        }
    }
}

#[test]
fn folios_move_up_and_free_memory_gathers_below() {
    for profile in PROFILES {
        let (mut memory, _) = checkered(profile);
        memory.alloc(CPU, &anon(4), FolioKind::Anon).unwrap();
        assert!(memory.log.moves.iter().all(|m| m.from < m.to), "{:?}", memory.log.moves);
    }
}

#[test]
fn pins_defeat_compaction_and_it_backs_off() {
    for profile in PROFILES {
        let (mut memory, kept) = checkered(profile);
        for id in &kept {
            memory.pin(CPU, *id, PinTerm::Short).unwrap();
        }
        let failure = memory.alloc(CPU, &anon(9), FolioKind::Anon).unwrap_err();
        assert_eq!(failure.cause, FailureCause::NoContiguity);
        assert_eq!(memory.stats.pgmigrate_success, 0);
        let stalls = memory.stats.compact_stall;
        let scanned = memory.stats.compact_migrate_scanned;
        assert!(stalls > 0 && scanned > 0);
        assert!(memory.compaction.zone(0).deferral.is_deferred(Order::of(9)));
        check_sound(&memory);
        for id in kept {
            memory.unpin(id, PinTerm::Short);
        }
        check_all_returns(memory);
    }
}

#[test]
fn without_free_memory_nothing_is_scanned() {
    for profile in PROFILES {
        let mut memory = machine(profile, 512, None);
        fill(&mut memory);
        let failure = memory.alloc(CPU, &anon(2), FolioKind::Anon).unwrap_err();
        assert_eq!(failure.cause, FailureCause::NoMemory);
        assert_eq!((memory.stats.compact_stall, memory.stats.compact_migrate_scanned), (0, 0));
        check_all_returns(memory);
    }
}

#[test]
fn memory_that_is_only_lent_is_named() {
    for profile in PROFILES {
        let lent = range(0x1100, 0x1180);
        let mut memory = machine(profile, 512, Some(lent));
        let all = fill(&mut memory);
        thin_out(&mut memory, all, |pfn| !lent.contains(pfn));
        memory.page_alloc.drain_all();
        let failure = memory.alloc(CPU, &kernel(0), FolioKind::Kernel).unwrap_err();
        assert_eq!(failure.cause, FailureCause::OnlyCmaFree);
        let barred = anon(2).barring(AllocFlags::CMA);
        let failure = memory.alloc(CPU, &barred, FolioKind::Anon).unwrap_err();
        assert_eq!(failure.cause, FailureCause::OnlyCmaFree);
        memory.alloc(CPU, &anon(2), FolioKind::Anon).unwrap();
        check_all_returns(memory);
    }
}

#[test]
fn requests_that_may_not_wait_are_not_compacted_for() {
    for profile in PROFILES {
        let (mut memory, _) = checkered(profile);
        let request = AllocRequest::new(Order::of(3), GfpFlags::ATOMIC);
        let failure = memory.alloc(CPU, &request, FolioKind::Kernel).unwrap_err();
        assert_eq!((failure.cause, memory.stats.compact_stall), (FailureCause::NoContiguity, 0));
        let noio = AllocRequest::new(Order::of(3), GfpFlags::NOIO);
        memory.alloc(CPU, &noio, FolioKind::Kernel).unwrap_err();
        assert_eq!(memory.stats.compact_stall, 0);
        check_all_returns(memory);
    }
}

#[test]
fn the_same_history_gives_the_same_frames() {
    for profile in PROFILES {
        let run = || {
            let (mut memory, _) = checkered(profile);
            let id = memory.alloc(CPU, &anon(9), FolioKind::Anon).unwrap();
            (memory.folios[id].pfn(), memory.log.moves, memory.stats)
        };
        assert_eq!(run(), run());
    }
}

#[test]
fn asynchronous_runs_look_for_targets_at_every_32nd_frame() {
    for profile in PROFILES {
        let (mut memory, _) = checkered_by(profile, |pfn| pfn.get() % 2 == 0);
        let mut mover = memory.mover(CPU);
        let (pages, result) = mover.direct_compact(&anon(9), CompactPriority::Async);
        assert_eq!((pages, result), (None, CompactResult::PartialSkipped));
        let (pages, _) = mover.direct_compact(&anon(9), CompactPriority::SyncLight);
        let pages = pages.unwrap();
        memory.page_alloc.free_pages(CPU, pages);
        check_all_returns(memory);
    }
}
