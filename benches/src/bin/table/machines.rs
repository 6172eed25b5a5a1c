//! Large machines: how long they take to build, and what is resident of them afterwards.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{env, fs, io, process::Command};

use pagelab_allocator::{
    boot::MachineSpec,
    event::Silent,
    geometry::Geometry,
    gfp::ZoneType,
    page_alloc::PageAllocator,
    profile::KernelProfile,
    smp::SharedAllocator,
    units::{PageCount, Pfn, PfnRange},
};
use pagelab_percpu::Asymmetric;

use crate::{cells::Size, clock::Stopwatch};

/// The argument under which the command builds one machine and says how that went.
pub(crate) const BUILD: &str = "--build";

/// One thread or several drive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    Shared,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Plain, Self::Shared];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Shared => "shared",
        }
    }
}

/// Prints the sizes; each machine is built by a process of its own.
pub(crate) fn print(size: Size) {
    let sizes: &[u64] = if size.rounds == 1 { &[4] } else { &[4, 64, 1024] };
    println!("| machine | driven | build, ms | resident, MiB |\n|---|---|---|---|");
    for gib in sizes {
        for kind in Kind::ALL {
            let built = (0..size.rounds.min(3)).filter_map(|_| child(*gib, kind).ok());
            let fastest = built.min_by(|(a, _), (b, _)| a.total_cmp(b));
            let (time, resident) = fastest.expect("a machine can be built");
            println!("| {gib} GiB | {} | {time:.1} | {resident:.1} |", kind.name());
        }
    }
    println!();
}

fn child(gib: u64, kind: Kind) -> io::Result<(f64, f64)> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.args([BUILD, &gib.to_string(), kind.name()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    let pair = numbers.next().zip(numbers.next());
    pair.ok_or_else(|| io::Error::other("the child says no two numbers"))
}

/// The child: builds a machine, and prints milliseconds and mebibytes.
pub(crate) fn build(mut arguments: impl Iterator<Item = String>) {
    let gib: u64 = arguments.next().and_then(|gib| gib.parse().ok()).expect("a size in GiB");
    let kind = arguments.next().expect("plain or shared");
    let before = resident();
    let memory = PfnRange::from_len(Pfn::new(0), PageCount::new(gib << 18));
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
    let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    spec.cpus = 2;
    let watch = Stopwatch::start();
    let plain = PageAllocator::boot(&spec, Silent).expect("a machine");
    if kind == Kind::Plain.name() {
        report(watch, before);
        drop(plain);
    } else {
        let shared = SharedAllocator::<Asymmetric>::share(plain).expect("one zone");
        report(watch, before);
        drop(shared);
    }
}

fn report(watch: Stopwatch, before: f64) {
    let time = watch.elapsed().as_secs_f64() * 1e3;
    println!("{time} {}", resident() - before);
}

/// Mebibytes of this process in memory.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}
