//! A host simulator that keeps translations of its own: a toy TLB over an [`Emulator`].
//!
//! The host asks [`Emulator::access`] on a miss, and forgets what moved since it last looked.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Pfn, PfnRange};
use pagelab_migrate::emulator::{Emulator, EmulatorSpec, TagSpec};
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::{SpaceId, VirtPage};
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::vma::{Backing, Prot};

const CPU: CpuId = CpuId::BOOT;

/// Translations by space and page; only those that allow stores.
#[derive(Default)]
struct Tlb {
    entries: BTreeMap<(SpaceId, VirtPage), Pfn>,
    hits: u64,
    misses: u64,
}

impl Tlb {
    fn store(
        &mut self,
        emulator: &mut Emulator,
        at: (SpaceId, VirtPage),
    ) -> Result<Pfn, Box<dyn Error>> {
        if let Some(pfn) = self.entries.get(&at) {
            self.hits += 1;
            return Ok(*pfn);
        }
        self.misses += 1;
        let pfn = emulator.access(CPU, at.0, at.1, Access::Write)?.translation.pfn;
        // Serving the miss may have moved other pages: forget them before adding this one.
        self.shoot_down(emulator);
        self.entries.insert(at, pfn);
        Ok(pfn)
    }

    fn shoot_down(&mut self, emulator: &mut Emulator) {
        for moved in emulator.take_moves() {
            let old = PfnRange::block(moved.from, moved.order);
            self.entries.retain(|_, pfn| !old.contains(*pfn));
        }
    }
}

#[expect(clippy::print_stdout, reason = "an example shows its results")]
fn main() -> Result<(), Box<dyn Error>> {
    // 64 MiB of data, and the 2 MiB behind it that hold its tags.
    let frame = |n: u64| Pfn::new(0x4_0000 + n);
    let (data, tags) = (PfnRange::new(frame(0), frame(0x4000)), frame(0x4000));
    let tags = PfnRange::new(tags, frame(0x4200));
    let memory = PfnRange::new(data.start(), tags.end());
    let machine =
        MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_12, ZoneType::Normal, memory);
    let regions = vec![(data, tags)];
    let (formula, design) = (Formula::Intent, Arc::new(CmaV3));
    let tags = Some(TagSpec { regions, block_size: 4096, formula, design });
    let mut emulator = Emulator::new(&EmulatorSpec { machine, tags }, Silent)?;

    // One program fills memory until its data reaches tag storage; another wants tags.
    let (plain, tagged) = (emulator.create_space(), emulator.create_space());
    let base = VirtPage::new(0x1000);
    let range = |pages| pagelab_migrate::vma::VirtRange::from_len(base, pages);
    emulator.mmap(plain, range(16_200), Prot::READ_WRITE, Backing::Anon)?;
    emulator.mmap(tagged, range(1024), Prot::TAGGED, Backing::Anon)?;
    let mut tlb = Tlb::default();
    for n in 0..16_200 {
        tlb.store(&mut emulator, (plain, base.plus(n)))?;
    }
    emulator.madvise_dontneed(CPU, plain, range(2000))?;
    tlb.entries.retain(|(_, page), _| !range(2000).contains(*page));
    for n in (0..1024).chain(0..1024) {
        tlb.store(&mut emulator, (tagged, base.plus(n)))?;
    }
    for ((space, page), pfn) in &tlb.entries {
        let now = emulator.translate(*space, *page).map(|translation| translation.pfn);
        assert_eq!(now, Some(*pfn), "a stale translation");
    }
    emulator.check()?;
    let stats = emulator.tags().stats();
    println!("{} hits, {} misses", tlb.hits, tlb.misses);
    println!("{} tag blocks reserved", emulator.tags().ledger().blocks().reserved());
    println!("{} pages left tag storage for them", stats.displaced_pages);
    println!("{} pages still lie in it", emulator.usage().in_tag_storage);
    Ok(())
}
