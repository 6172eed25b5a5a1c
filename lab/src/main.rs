//! The `pagelab` command: parse, plan, run, render, exit code.
//!
//! 0: it ran. 1: it ran and something that was promised did not hold. 2: it could not run.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use pagelab::cli::{
    Cli, Command, CompareWords, ExplainWords, HotplugWords, ReplayWords, ShrinkWords,
};
use pagelab::costs::CostModel;
use pagelab::emit::Destination;
use pagelab::experiment::files::ResultFiles;
use pagelab::experiment::{self, Results, jsonl, table};
use pagelab::explain;
use pagelab::explain::plan::ExplainPlan;
use pagelab::hotplug;
use pagelab::hotplug::files::HotplugFiles;
use pagelab::hotplug::plan::HotplugPlan;
use pagelab::hotplug::results::Ran;
use pagelab::metric;
use pagelab::partial::{self, PartialFile};
use pagelab::plan::file::PlanFile;
use pagelab::plan::{Output, Plan, Scene, TraceChoice};
use pagelab::replay::plan::{ReplayOutput, ReplayPlan};
use pagelab::replay::summary::Summary;
use pagelab::replay::{self, replay};
use pagelab::report::blocks::Colour;
use pagelab::report::{json, text};
use pagelab::run::{Outcome, run};
use pagelab::shrink;
use pagelab::shrink::plan::ShrinkPlan;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

const EXPECTATION_FAILED: u8 = 1;
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    leave_nothing_when_interrupted();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(words) => {
            let printed = words.print();
            return exit(printed, if words.use_stderr() { COULD_NOT_RUN } else { 0 });
        }
    };
    let done = match &cli.command {
        Some(Command::Replay(words)) => plan_and_replay(words),
        Some(Command::Explain(words)) => plan_and_explain(words),
        Some(Command::Shrink(words)) => plan_and_shrink(words),
        Some(Command::Hotplug(words)) => plan_and_hotplug(words),
        Some(Command::Metrics) => Ok(print(&metric::table(), 0)),
        None | Some(Command::Run { .. } | Command::Compare(_)) => plan_and_run(&cli),
    };
    done.unwrap_or_else(|failure| exit(writeln!(io::stderr(), "pagelab: {failure}"), COULD_NOT_RUN))
}

/// Who interrupts a run finds no half-written files; else the signals do what they always do.
fn leave_nothing_when_interrupted() {
    // Without a handler files may stay, which is no reason not to run.
    let hang_up = (!ignores(SIGHUP)).then_some(SIGHUP);
    let heard = [SIGINT, SIGTERM].into_iter().chain(hang_up);
    let Ok(mut signals) = Signals::new(heard) else { return };
    let wait = move || {
        for signal in signals.forever() {
            partial::abandon();
            let _ = emulate_default_handler(signal);
        }
    };
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
}

/// Whether the process was begun with the signal ignored, as by nohup: then it stays so. Where
/// /proc does not say, it was not.
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The exit code, or why there is nothing to show.
type Done = Result<ExitCode, Box<dyn std::error::Error>>;

fn plan_and_run(cli: &Cli) -> Done {
    let plan = match &cli.command {
        Some(Command::Compare(CompareWords { plan: Some(path), .. })) => {
            PlanFile::read(Path::new(path))?.plan(cli)?
        }
        _ => Plan::new(cli)?,
    };
    let costs = plan.costs.as_deref().map(CostModel::read).transpose()?;
    let inputs = inputs(cli, &plan);
    if let Some(Destination::Ftrace(path)) = &plan.record {
        partial::apart(path, &inputs)?;
    }
    let files = ResultFiles::create(&plan.files, &inputs)?;
    if plan.is_experiment() {
        let results = experiment::carry_out(&plan, costs.as_ref())?;
        files.write(&results)?;
        return Ok(report_experiment(&plan, &results));
    }
    Ok(report(&plan, &run(&plan)?))
}

/// The files that a run or a comparison reads.
fn inputs<'a>(cli: &'a Cli, plan: &'a Plan) -> Vec<&'a Path> {
    let typed = match &cli.command {
        Some(Command::Compare(words)) => words.plan.as_deref().map(Path::new),
        _ => None,
    };
    let read = plan.scenes.iter().take(1).flat_map(read_by);
    read.chain(typed).chain(plan.costs.as_deref()).collect()
}

/// The files that operations come from.
fn read_by(scene: &Scene) -> impl Iterator<Item = &Path> {
    let trace = match &scene.trace {
        TraceChoice::File(path) => Some(path.as_path()),
        TraceChoice::Demo | TraceChoice::Workload(_) => None,
    };
    trace.into_iter().chain(scene.ops.as_deref())
}

fn report_experiment(plan: &Plan, results: &Results) -> ExitCode {
    let printed = match plan.output {
        Output::Json => jsonl::write(results, &mut io::stdout().lock()),
        Output::Text => io::stdout().lock().write_all(table::render(results).as_bytes()),
    };
    for (design, scene, what) in &results.violations {
        let said = writeln!(io::stderr(), "pagelab: {design}, {scene}: inconsistent: {what}");
        if said.is_err() {
            break;
        }
    }
    exit(printed, if results.violations.is_empty() { 0 } else { EXPECTATION_FAILED })
}

fn plan_and_replay(words: &ReplayWords) -> Done {
    let plan = ReplayPlan::new(words)?;
    let summary = replay(&plan)?;
    Ok(report_replay(&plan, &summary))
}

fn plan_and_explain(words: &ExplainWords) -> Done {
    let plan = ExplainPlan::new(words)?;
    let explanation = explain::explain(&plan)?;
    let text = match plan.output {
        Output::Text => explain::text::render(&explanation),
        Output::Json => format!("{:#}\n", explain::text::json(&explanation)),
    };
    Ok(print(&text, 0))
}

fn plan_and_shrink(words: &ShrinkWords) -> Done {
    let plan = ShrinkPlan::new(words)?;
    let read: Vec<&Path> = read_by(&plan.scene).collect();
    plan.out.as_deref().map_or(Ok(()), |path| partial::apart(path, &read))?;
    let file = plan.out.as_deref().map(PartialFile::create).transpose()?;
    let shrunk = shrink::shrink(&plan)?;
    if let (Some(file), Some(found)) = (file, &shrunk.difference) {
        let text = shrink::text::file(&plan, found);
        file.write(|out| out.write_all(text.as_bytes()))?;
    }
    let code = if shrunk.difference.is_some() { 0 } else { EXPECTATION_FAILED };
    Ok(print(&shrink::text::render(&plan, &shrunk), code))
}

fn plan_and_hotplug(words: &HotplugWords) -> Done {
    let plan = HotplugPlan::new(words)?;
    if plan.scenarios.is_empty() {
        return Ok(print(&hotplug::list::render()?, 0));
    }
    let files = HotplugFiles::create(&plan)?;
    let gates = plan.gates.as_deref();
    let ran = plan.scenarios.iter().map(|scenario| Ran::carry_out(scenario.clone(), gates));
    let ran = ran.collect::<Result<Vec<_>, _>>()?;
    files.write(&ran)?;
    let failed = ran.iter().any(|ran| !ran.complaints().is_empty());
    let text = hotplug::table::render(&ran, plan.log_lines);
    Ok(print(&text, if failed { EXPECTATION_FAILED } else { 0 }))
}

fn report_replay(plan: &ReplayPlan, summary: &Summary) -> ExitCode {
    let text = match plan.output {
        ReplayOutput::Json => replay::json::render(summary),
        ReplayOutput::Text => replay::text::render(summary),
        ReplayOutput::Row => replay::table::render(summary),
    };
    let short = plan.require.is_some_and(|least| summary.exact_ratio() < least);
    let failed = short || plan.require_lists && !summary.lists_hold();
    print(&text, if failed { EXPECTATION_FAILED } else { 0 })
}

fn report(plan: &Plan, outcome: &Outcome) -> ExitCode {
    let text = match plan.output {
        Output::Json => json::render(&outcome.plan, &outcome.reports),
        Output::Text => text::render(&outcome.preface, &outcome.reports, colour()),
    };
    let printed = io::stdout().lock().write_all(text.as_bytes());
    for (design, what) in &outcome.violations {
        let said = writeln!(io::stderr(), "pagelab: {design}: inconsistent: {what}");
        if said.is_err() {
            break;
        }
    }
    exit(printed, if outcome.violations.is_empty() { 0 } else { EXPECTATION_FAILED })
}

/// Colours only where a person looks, and not when they asked for none.
fn colour() -> Colour {
    let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !asked_for_none { Colour::Ansi } else { Colour::Plain }
}

/// Prints all there is to say.
fn print(text: &str, code: u8) -> ExitCode {
    exit(io::stdout().lock().write_all(text.as_bytes()), code)
}

/// The exit code; a reader that went away is no failure.
fn exit(printed: io::Result<()>, code: u8) -> ExitCode {
    match printed {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "pagelab: cannot print: {cause}");
            ExitCode::from(COULD_NOT_RUN)
        }
        _ => ExitCode::from(code),
    }
}
