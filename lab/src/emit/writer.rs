//! Lines of ftrace text.

use core::fmt;
use std::io::{self, Write};

use pagelab_allocator::event::Event;

use super::event::render;
use super::kernel::Kernel;

/// Who an event happens to. Linux: `current` and the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    /// The task's id; 0 is the idle task.
    pub pid: u32,
    /// The CPU.
    pub cpu: u16,
}

impl Task {
    /// Whoever takes the snapshots.
    pub const RECORDER: Self = Self { pid: 1, cpu: 0 };

    const fn name(self) -> &'static str {
        match self.pid {
            0 => "<idle>",
            _ => "task",
        }
    }
}

/// Writes events and markers as lines of ftrace text. Linux: kernel/trace/trace_output.c.
#[derive(Debug)]
pub struct TraceWriter<W: Write> {
    out: W,
    kernel: Kernel,
    lines: u64,
}

/// What ftrace puts above the first event, as far as it is known beforehand.
const HEADER: &str = "# tracer: nop\n#\n\
    #           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n\
    #              | |         |   |||||     |         |\n";

impl<W: Write> TraceWriter<W> {
    /// Starts a trace of `kernel`.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn new(mut out: W, kernel: Kernel) -> io::Result<Self> {
        out.write_all(HEADER.as_bytes())?;
        Ok(Self { out, kernel, lines: 0 })
    }

    /// Event lines so far, markers included.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The kernel whose words are used.
    #[must_use]
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Writes one event: one line, or two for a probe with entry and return.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn event(&mut self, task: Task, event: &Event) -> io::Result<()> {
        let Self { out, kernel, lines } = self;
        render(kernel, event, &mut |text| line(out, lines, task, text))
    }

    /// Writes what a program would write into `trace_marker`.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn marker(&mut self, task: Task, text: fmt::Arguments<'_>) -> io::Result<()> {
        let text = format_args!("tracing_mark_write: {text}");
        line(&mut self.out, &mut self.lines, task, text)
    }

    /// Ends the trace and hands the output back.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// One line; its time is the number of lines before it, in microseconds.
fn line(
    out: &mut impl Write,
    lines: &mut u64,
    task: Task,
    text: fmt::Arguments<'_>,
) -> io::Result<()> {
    let Task { pid, cpu } = task;
    let (seconds, micros) = (*lines / 1_000_000, *lines % 1_000_000);
    *lines += 1;
    writeln!(out, "{:>16}-{pid:<7} [{cpu:03}] ..... {seconds:>5}.{micros:06}: {text}", task.name())
}
