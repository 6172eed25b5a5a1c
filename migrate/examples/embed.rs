//! A host simulator that keeps translations of its own: a toy TLB over an [`Emulator`].
//!
//! The host asks [`Emulator::access`] on a miss, and forgets what moved since it last looked.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use pagelab_migrate::prelude::*;

const CPU: CpuId = CpuId::BOOT;
type Address = (SpaceId, VirtPage);

/// Translations that allow stores.
#[derive(Default)]
struct Tlb {
    entries: BTreeMap<Address, Pfn>,
    misses: u64,
}

impl Tlb {
    fn store(&mut self, emulator: &mut Emulator, at: Address) -> Result<(), Box<dyn Error>> {
        if self.entries.contains_key(&at) {
            return Ok(());
        }
        self.misses += 1;
        let pfn = emulator.access(CPU, at.0, at.1, Access::Write)?.translation.pfn;
        // Serving the miss may have moved other pages: forget them before adding this one.
        for moved in emulator.take_moves() {
            let old = PfnRange::block(moved.from, moved.order);
            self.entries.retain(|_, pfn| !old.contains(*pfn));
        }
        self.entries.insert(at, pfn);
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "an example shows its results")]
fn main() -> Result<(), Box<dyn Error>> {
    // 64 MiB of data, and behind it the 2 MiB that hold its tags.
    let data = PfnRange::from_len(Pfn::new(0x4_0000), PageCount::new(0x4000));
    let tags = PfnRange::from_len(data.end(), PageCount::new(0x200));
    let memory = PfnRange::new(data.start(), tags.end());
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
    let machine = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    let tags = Some(TagSpec::single(data, tags, Arc::new(CmaV3)));
    let mut emulator = Emulator::new(&EmulatorSpec { machine, tags }, Silent)?;

    // One program fills memory until its data reaches tag storage; another wants tags.
    let (plain, tagged) = (emulator.create_space(), emulator.create_space());
    let (base, mut tlb) = (VirtPage::new(0x1000), Tlb::default());
    let range = |pages| VirtRange::from_len(base, pages);
    emulator.mmap(plain, range(16_200), Prot::READ_WRITE, Backing::Anon)?;
    emulator.mmap(tagged, range(1024), Prot::TAGGED, Backing::Anon)?;
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
    println!("{} misses", tlb.misses);
    println!("{} tag blocks reserved", emulator.tags().ledger().blocks().reserved());
    println!("{} pages left tag storage for them", emulator.tags().stats().displaced_pages);
    Ok(emulator.check()?)
}
