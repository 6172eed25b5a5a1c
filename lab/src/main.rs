//! The `pagelab` command: parse, plan, run, render, exit code.
//!
//! 0: it ran. 1: it ran and something that was promised did not hold. 2: it could not run.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use pagelab::case_meta::CaseMeta;
use pagelab::cli::Cli;
use pagelab::demo;
use pagelab::plan::{Output, Plan, TraceChoice};
use pagelab::survey::Survey;
use pagelab::trace::TraceReader;

const COULD_NOT_RUN: u8 = 2;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(words) => {
            let printed = words.print();
            return exit(printed, if words.use_stderr() { COULD_NOT_RUN } else { 0 });
        }
    };
    match run(&cli) {
        Ok(report) => exit(io::stdout().lock().write_all(report.as_bytes()), 0),
        Err(failure) => exit(writeln!(io::stderr(), "pagelab: {failure}"), COULD_NOT_RUN),
    }
}

/// The exit code; a reader that went away is no failure.
fn exit(printed: io::Result<()>, code: u8) -> ExitCode {
    match printed {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(COULD_NOT_RUN),
        _ => ExitCode::from(code),
    }
}

fn run(cli: &Cli) -> Result<String, Failure> {
    let plan = Plan::new(cli)?;
    let (meta, survey) = match &plan.trace {
        TraceChoice::Demo => {
            let reader = TraceReader::new(demo::NAME, demo::TRACE, plan.strictness)?;
            (Some(demo::meta()), Survey::new(reader)?)
        }
        TraceChoice::File(path) => {
            let meta = CaseMeta::beside(path)?;
            (meta, Survey::new(TraceReader::open(path, plan.strictness)?)?)
        }
    };
    Ok(render(&plan, meta.as_ref(), &survey))
}

fn render(plan: &Plan, meta: Option<&CaseMeta>, survey: &Survey) -> String {
    match plan.output {
        Output::Json => format!("{:#}\n", survey.json()),
        Output::Text => {
            let machine = meta.map_or_else(
                || "an unknown machine".to_owned(),
                |meta| format!("{} MiB, kernel {}", meta.mem_mib, meta.kernel),
            );
            format!("recorded on {machine}; seed {}\n{}", plan.seed, survey.text())
        }
    }
}
