//! What is true of every gate, whatever the machine and the memory.

use core::sync::atomic::{AtomicBool, Ordering};

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::catalogue::all;
use pagelab_allocator::hotplug::gate::{Candidate, Driver, Extends, Gate, Refusal, Verdict, View};
use pagelab_allocator::hotplug::platform::Mte;
use pagelab_allocator::hotplug::printk::Line;
use pagelab_allocator::hotplug::tdx::TdxMemblock;
use pagelab_allocator::hotplug::veto::Why;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::cases::{Case, cases};
use crate::fake::{Fake, refused, refused_if, warning};
use crate::way::{Judgement, errno, no, same};

/// Everything that a gate says to one case.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answers {
    verdicts: [Verdict; 5],
    probe: (Driver, Option<Line>),
    extends: Extends,
}

fn ask(gate: &dyn Gate, case: &Case) -> Answers {
    let (view, of) = (case.world.view(), &case.of);
    Answers {
        verdicts: [
            gate.create_region(view, of),
            gate.add(view, of),
            gate.online(view, of),
            gate.memremap(view, of),
            gate.place(view, of.caps, case.needs),
        ],
        probe: gate.probe(view, of, case.wanted),
        extends: gate.extends(view, of),
    }
}

impl Answers {
    fn refusals(&self) -> impl Iterator<Item = Refusal> {
        self.verdicts.clone().into_iter().filter_map(no)
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        self.refusals().filter_map(|refusal| refusal.line).chain(self.probe.1.clone())
    }

    /// Nothing that was open is closed.
    fn opens(&self, further: &Self) -> Judgement {
        for (before, after) in self.verdicts.iter().zip(&further.verdicts) {
            if *before == Verdict::Allow {
                same("was allowed", after, &Verdict::Allow)?;
            }
        }
        match (self.probe.0, further.probe.0) {
            (Driver::Kmem, after) => same("driver", after, Driver::Kmem),
            (Driver::Devdax, _) => Ok(()),
        }
    }
}

// ---- laws --------------------------------------------------------------------------------------

type Law = fn(&dyn Gate, &Case) -> Judgement;

const LAWS: [(&str, Law); 11] = [
    ("answers twice the same", twice),
    ("lets everything in where nothing is needed", featureless),
    ("prefers memory that can do more", more_able),
    ("lets in the parts of what it lets in", parts),
    ("lets no less in when firmware vouches for more", more_convertible),
    ("lets no less in when TDX has taken more", more_taken),
    ("gives reasons that are true", reasons),
    ("gives the errors of the entry points", errors),
    ("names the addresses that it speaks of", addresses),
    ("speaks when it chooses a driver, and chooses only devdax", drivers),
    ("extends TDX by what it lets in and firmware vouches for", extensions),
];

/// Asked again by somebody else; that nothing panics is tested with it.
fn twice(gate: &dyn Gate, case: &Case) -> Judgement {
    same("second answer", ask(gate, &case.clone()), ask(gate, case))
}

fn featureless(gate: &dyn Gate, case: &Case) -> Judgement {
    let mut case = case.clone();
    case.world.tdx = None;
    case.world.platform.relied_on = Caps::empty();
    if case.world.platform.mte == Mte::On {
        case.world.platform.mte = Mte::Disabled;
    }
    case.needs = Caps::empty();
    let open = ask(&Fake::OPEN, &case);
    same("answers", ask(gate, &case), open)
}

fn more_able(gate: &dyn Gate, case: &Case) -> Judgement {
    let mut able = case.clone();
    able.of.caps |= case.extra;
    able.needs -= case.extra;
    ask(gate, case).opens(&ask(gate, &able))
}

fn parts(gate: &dyn Gate, case: &Case) -> Judgement {
    let mut part = case.clone();
    let whole = case.of.range;
    let at = |share: u64| whole.start() + PageCount::new(whole.len().get() / 4 * share);
    part.of.range = PfnRange::new(at(case.part.0), at(case.part.0 + case.part.1));
    ask(gate, case).opens(&ask(gate, &part))
}

fn more_convertible(gate: &dyn Gate, case: &Case) -> Judgement {
    let mut more = case.clone();
    if let Some(tdx) = &mut more.world.tdx {
        tdx.cmrs.push(case.another);
        tdx.cmrs.sort_by_key(|cmr| cmr.start());
    }
    ask(gate, case).opens(&ask(gate, &more))
}

/// From nothing to something is another matter: an empty snapshot means that TDX is off.
fn more_taken(gate: &dyn Gate, case: &Case) -> Judgement {
    let mut more = case.clone();
    match &mut more.world.tdx {
        Some(tdx) if tdx.memlist().is_some_and(|list| !list.is_empty()) => {
            tdx.extend(TdxMemblock { range: case.another, node: case.of.node });
        }
        _ => return Ok(()),
    }
    ask(gate, case).opens(&ask(gate, &more))
}

fn reasons(gate: &dyn Gate, case: &Case) -> Judgement {
    ask(gate, case).refusals().try_for_each(|refusal| match is_true(refusal.why, case) {
        true => Ok(()),
        false => Err(format!("it is not so that {}", refusal.why)),
    })
}

fn is_true(why: Why, case: &Case) -> bool {
    let (of, tdx, platform) = (case.of, case.world.tdx.as_ref(), &case.world.platform);
    let list = tdx.and_then(|tdx| tdx.memlist()).unwrap_or_default();
    let one = list.iter().any(|piece| piece.range.covers(of.range));
    let taken: Vec<_> = list.iter().map(|piece| piece.range).collect();
    match why {
        Why::NotInSnapshot => !list.is_empty() && !one && !has_all(&taken, of.range),
        Why::ManyPieces => !one && has_all(&taken, of.range),
        Why::NotConvertible => tdx.is_some_and(|tdx| !has_all(&tdx.cmrs, of.range)),
        Why::ModuleInitialized => tdx.is_some_and(|tdx| tdx.memlist().is_some()),
        Why::Platform => tdx.is_some(),
        Why::Untagged => platform.mte == Mte::On,
        Why::Lacks(what) => !what.is_empty() && (what & of.caps).is_empty(),
        Why::BootMemory => false,
    }
}

/// Frame by frame, in steps that every range of the cases is made of.
fn has_all(pieces: &[PfnRange], range: PfnRange) -> bool {
    if pieces.iter().all(|piece| piece.end() < range.end()) {
        return range.is_empty();
    }
    let starts = range.blocks(crate::cases::STEP).filter(|pfn| range.contains(*pfn));
    let mut frames = starts.chain((!range.is_empty()).then_some(range.start()));
    frames.all(|pfn| pieces.iter().any(|piece| piece.contains(pfn)))
}

fn errors(gate: &dyn Gate, case: &Case) -> Judgement {
    let expected = [Errno::Inval, Errno::Inval, Errno::Perm, Errno::Inval, Errno::NoMem];
    let given = ask(gate, case).verdicts.map(errno);
    given.into_iter().zip(expected).try_for_each(|(given, expected)| match given {
        Some(given) => same("error", given, expected),
        None => Ok(()),
    })
}

/// The first number of a line is the first byte of the range; the second is the last or one more.
fn addresses(gate: &dyn Gate, case: &Case) -> Judgement {
    let (start, end) = case.world.view().addresses(case.of.range);
    let last = end.saturating_sub(1);
    ask(gate, case).lines().try_for_each(|line| {
        let numbers: Vec<_> = line.text.split("0x").skip(1).map(hex).collect();
        let good = [vec![Some(start), Some(end)], vec![Some(start), Some(last)]];
        if good.contains(&numbers) { Ok(()) } else { Err(line.text) }
    })
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}

fn drivers(gate: &dyn Gate, case: &Case) -> Judgement {
    let (driver, line) = gate.probe(case.world.view(), &case.of, case.wanted);
    same("lines", line.is_some(), driver != case.wanted)?;
    match case.wanted {
        Driver::Devdax => same("driver", driver, Driver::Devdax),
        Driver::Kmem => Ok(()),
    }
}

fn extensions(gate: &dyn Gate, case: &Case) -> Judgement {
    let view = case.world.view();
    if gate.extends(view, &case.of) == Extends::No {
        return Ok(());
    }
    same("add", gate.add(view, &case.of), Verdict::Allow)?;
    let mut tdx = case.world.tdx.clone().ok_or("there is no TDX")?;
    same("convertible", has_all(&tdx.cmrs, case.of.range), true)?;
    same("in use and without it", tdx.memlist().is_some(), true)?;
    same("has it already", tdx.is_tdx_memory(case.of.range), false)?;
    tdx.extend(TdxMemblock { range: case.of.range, node: case.of.node });
    same("has it then", tdx.is_tdx_memory(case.of.range), true)
}

// ---- looking for what breaks a law -------------------------------------------------------------

fn search(gate: &dyn Gate, law: Law, count: u32) -> Result<(), String> {
    // PROPTEST_CASES is 256 unless set: 2560 asks ten times as often.
    let count = count * Config::default().cases / 256;
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    TestRunner::new_with_rng(config, rng)
        .run(&cases(), |case| law(gate, &case).map_err(TestCaseError::fail))
        .map_err(|error| format!("{}: {error}", gate.name()))
}

#[test]
fn every_gate_keeps_every_law() {
    for gate in all() {
        for (law, check) in LAWS {
            search(gate, check, 2000).unwrap_or_else(|error| panic!("{law}: {error}"));
        }
    }
}

static TOGGLE: AtomicBool = AtomicBool::new(false);

fn refuses_small(_: View<'_>, of: &Candidate) -> Verdict {
    refused_if(of.range.len().get() < 0x1000, Why::Platform)
}

fn refuses_convertible(view: View<'_>, of: &Candidate) -> Verdict {
    let convertible = view.tdx.is_some_and(|tdx| tdx.is_convertible(of.range));
    refused_if(convertible, Why::Platform)
}

fn refuses_taken(view: View<'_>, of: &Candidate) -> Verdict {
    refused_if(view.tdx.is_some_and(|tdx| tdx.is_tdx_memory(of.range)), Why::Platform)
}

fn names_frames(view: View<'_>, of: &Candidate) -> Verdict {
    let text = format!("no {:#x}-{:#x}", of.range.start().get(), of.range.end().get());
    refused_if(view.tdx.is_some(), Why::Platform).saying(warning(text))
}

/// For each law, what breaks it.
const BREAKERS: [(&str, Fake); 12] = [
    (
        LAWS[0].0,
        Fake::adding("moody", |_, _| {
            refused_if(TOGGLE.fetch_xor(true, Ordering::Relaxed), Why::Platform)
        }),
    ),
    (LAWS[1].0, Fake::adding("shut", |_, _| refused(Why::Platform))),
    (
        LAWS[2].0,
        Fake::adding("no_dimms", |_, of| {
            refused_if(of.caps.contains(Caps::PERSISTENT), Why::Platform)
        }),
    ),
    (LAWS[3].0, Fake::adding("no_small", refuses_small)),
    (LAWS[4].0, Fake::adding("no_convertible", refuses_convertible)),
    (LAWS[5].0, Fake::adding("no_taken", refuses_taken)),
    (
        LAWS[6].0,
        Fake::adding("liar", |view, _| refused_if(view.tdx.is_some(), Why::NotConvertible)),
    ),
    (LAWS[7].0, Fake { name: "wrong_errno", online: |_, _| refused(Why::Platform), ..Fake::OPEN }),
    (LAWS[8].0, Fake::adding("frames", names_frames)),
    (LAWS[9].0, Fake { name: "silent", probe: |_, _, _| (Driver::Devdax, None), ..Fake::OPEN }),
    (
        LAWS[9].0,
        Fake {
            name: "eager",
            probe: |_, _, _| (Driver::Kmem, Some(warning(String::new()))),
            ..Fake::OPEN
        },
    ),
    (LAWS[10].0, Fake { name: "greedy", extends: Extends::Yes, ..Fake::OPEN }),
];

#[test]
fn canary_every_law_is_broken_by_somebody() {
    for (law, check) in LAWS {
        let breakers: Vec<_> = BREAKERS.iter().filter(|(name, _)| *name == law).collect();
        assert!(!breakers.is_empty(), "nobody breaks that a gate {law}");
        for (_, gate) in breakers {
            assert!(search(gate, check, 2000).is_err(), "{} {law}", gate.name);
        }
    }
}

#[test]
fn canary_a_gate_that_panics_is_found() {
    let add = |_: View<'_>, of: &Candidate| {
        let bytes = of.range.end().get().checked_mul(4096).map(Pfn::new);
        refused_if(bytes.expect("addresses have 64 bits") == Pfn::new(1), Why::Platform)
    };
    let clumsy = Fake::adding("clumsy", add);
    let found = search(&clumsy, twice, 2000).expect_err("frames reach up to the largest");
    assert!(found.contains("addresses have 64 bits"), "{found}");
}
