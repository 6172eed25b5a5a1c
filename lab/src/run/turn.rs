//! One design's turn on a stage.

use std::collections::BTreeMap;

use pagelab_allocator::check::Violation;
use pagelab_allocator::event::{Event, Silent, Sink};
use pagelab_allocator::geometry::Geometry;

use super::RunError;
use super::boot::boot;
use super::counters::Counters;
use super::stage::Stage;
use crate::census::census;
use crate::contender::Contender;
use crate::drive::Driver;
use crate::emit::{Destination, NoRecord, Provenance, Recorder, Recording};
use crate::listener::Listener;
use crate::machine::{self, MachinePlan};
use crate::picture::picture;
use crate::progress::Progress;
use crate::report::{Claims, MachineFacts, Picture, Reclaimed, RunReport};
use crate::sample::{Maps, Sampler};

/// One design's turn.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The scene and its machine.
    pub stage: &'a Stage<'a>,
    /// The design.
    pub design: Contender,
    /// Who wants to know how far it is.
    pub progress: &'a Progress,
    /// Whether maps of the pageblocks are kept at some moments.
    pub maps: KeepMaps,
    /// How the machine is checked at its end.
    pub audit: Audit,
}

/// How a machine is checked at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audit {
    /// Everything is recomputed; then everything is freed, and has to be there again.
    Full,
    /// It is not.
    None,
}

/// Whether a report has maps of the pageblocks at some moments of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepMaps {
    /// It has.
    Yes,
    /// It has those of its beginning and its end only.
    No,
}

/// What a turn shows, and whether the machine was consistent at its end.
pub type Shown = (RunReport, Result<(), Violation>);

impl Turn<'_> {
    /// Carries the scene's operations out, and writes them down where `record` says.
    ///
    /// # Errors
    ///
    /// [`RunError`] when trace or machine are impossible.
    pub fn carry_out(&self, record: Option<&Destination>) -> Result<Shown, RunError> {
        let Some(record) = record else {
            return self.drive(Silent, &mut NoRecord);
        };
        let scene = self.stage.scene;
        let workload = format!("{} under {}", scene.trace, self.design);
        let provenance = Provenance { workload, seed: scene.seed, design: self.design };
        let mut recording = Recording::create(record, provenance)?;
        self.drive(Vec::<Event>::new(), &mut recording)
    }

    fn drive<K: Sink>(
        &self,
        kept: K,
        recorder: &mut impl Recorder<Listener<K>>,
    ) -> Result<Shown, RunError> {
        let &Turn { stage, design, progress, .. } = self;
        let listener = Listener::new(Geometry::PAGES_4K.pageblock_order(), kept);
        let (layout, mut driver) = boot(stage, design, listener)?;
        let maps = match self.maps {
            KeepMaps::Yes => Maps::Kept(layout.tags.tags),
            KeepMaps::No => Maps::Dropped,
        };
        let mut sampler = Sampler::new(&driver, layout.tags.lent(), stage.duration(), maps);
        let before = picture(&driver, layout.tags.tags);
        recorder.begin(&mut driver)?;
        let mut meter = progress.meter();
        for step in stage.steps()? {
            let step = step?;
            driver.step(&step);
            recorder.step(&mut driver, &step)?;
            sampler.step(&driver, step.timestamp);
            meter.step();
        }
        recorder.end(&mut driver)?;
        Ok(report(self, &layout, (driver, sampler), before))
    }
}

fn report<K: Sink>(
    turn: &Turn<'_>,
    layout: &machine::Layout,
    (mut driver, sampler): (Driver<Listener<K>>, Sampler),
    before: Picture,
) -> Shown {
    let &Turn { stage, design, .. } = turn;
    let machine = &stage.machine;
    let lent = sampler.lent(&driver);
    let barred_cma = sampler.barred(&driver);
    let tagged_peak_pages = sampler.tagged_peak();
    let (moments, maps) = sampler.into_moments(&driver);
    let report = RunReport {
        design: design.to_string(),
        machine: facts(machine, layout),
        lent,
        requests: *driver.requests(),
        tagging: *driver.tagging(),
        tagged_peak_pages,
        claims: driver.lends().then(|| claims(&driver)),
        barred_cma,
        reclaim: reclaimed(&driver),
        before,
        after: picture(&driver, layout.tags.tags),
        counters: Counters::of(&driver).named().collect(),
        extfrag: *driver.sink_mut().extfrag(),
        census: census(&driver, layout.memory, layout.tags.tags),
        moments,
        maps,
    };
    (report, audited(driver, turn.audit))
}

/// Whether the machine is consistent, and every page comes back.
fn audited<S: Sink>(mut driver: Driver<S>, audit: Audit) -> Result<(), Violation> {
    if audit == Audit::None {
        return Ok(());
    }
    driver.emulator().check()?;
    driver.release_all()?;
    driver.emulator().check()
}

fn facts(plan: &MachinePlan, layout: &machine::Layout) -> MachineFacts {
    let geometry = Geometry::PAGES_4K;
    MachineFacts {
        kernel: plan.profile.version(),
        page_size: geometry.page_size(),
        pageblock_pages: geometry.pageblock_pages().get(),
        pages: layout.memory.len().get(),
        carve_out_pages: layout.tags.tags.len().get(),
        tag_block_pages: (plan.block_size / geometry.page_size()).max(1),
        cma_pages: layout.cma.len().get(),
        boot_reserved_pages: layout.image.len().get(),
        background_pages: plan.background.allocated().get(),
    }
}

fn claims<S: Sink>(driver: &Driver<S>) -> Claims {
    let tags = driver.emulator().tags().stats();
    Claims {
        free: tags.claims_free,
        moved: tags.claims_moved,
        dropped: tags.claims_dropped,
        retries: tags.claim_retries,
        failed: BTreeMap::from([
            ("pinned", tags.claims_pinned),
            ("unmovable", tags.claims_unmovable),
            ("isolated", tags.claims_isolated),
            ("not_moved", tags.claims_not_moved),
            ("no_target", tags.claims_no_target),
        ]),
        displaced_pages: tags.displaced_pages,
        moved_tagged_pages: tags.fault_migrations,
    }
}

fn reclaimed<S: Sink>(driver: &Driver<S>) -> Reclaimed {
    let reclaim = driver.emulator().reclaim();
    let stats = reclaim.stats;
    Reclaimed {
        kswapd_wakes: stats.kswapd_wakes,
        stalls: stats.allocstall,
        writeback_stalls: stats.writeback_stalls,
        scanned: stats.pgscan_kswapd + stats.pgscan_direct,
        file: stats.pgsteal_file,
        anon: stats.pswpout,
        refault_file: stats.workingset_refault_file,
        refault_copied: driver.emulator().tags().clean().stats().hits,
        refault_anon: stats.workingset_refault_anon,
        contig_dropped: stats.contig_dropped,
        cached_end: reclaim.cache.pages(),
        swapped_end: reclaim.swap.used().get(),
        swap_memory_end: u64::try_from(reclaim.swap.pool().len()).unwrap_or(u64::MAX),
    }
}
