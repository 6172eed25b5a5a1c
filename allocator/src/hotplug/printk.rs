//! What the kernel says: a log with levels and a rate limit. Linux: kernel/printk, lib/ratelimit.c.

use std::collections::BTreeMap;

/// How important a line is. Linux: `KERN_ERR` and its like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// `pr_err()`
    Err,
    /// `pr_warn()`
    Warn,
    /// `pr_info()`
    Info,
    /// `pr_debug()`: off unless asked for.
    Debug,
}

/// Whether what a gate prints is limited, for each gate by itself; other lines never are.
/// Linux: `printk_ratelimited()`, `pr_warn()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RateLimit {
    /// Every line.
    #[default]
    None,
    /// Ten lines of one place in five seconds. Linux: `DEFAULT_RATELIMIT_BURST`,
    /// `DEFAULT_RATELIMIT_INTERVAL`.
    Default,
}

const BURST: u64 = 10;
const INTERVAL_MS: u64 = 5000;

/// A line as a call site makes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    /// How important.
    pub level: Level,
    /// What it says, without a newline.
    pub text: String,
}

impl Line {
    /// A line.
    #[must_use]
    pub const fn new(level: Level, text: String) -> Self {
        Self { level, text }
    }
}

/// The log of a machine. Its clock is moved by the owner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log {
    visible: Vec<Line>,
    /// Lines below the threshold.
    hidden: u64,
    /// Lines that the rate limit kept back.
    suppressed: u64,
    debug: Debugging,
    limit: RateLimit,
    now_ms: u64,
    /// By place: when its window began, and the lines in it. Linux: `struct ratelimit_state`.
    windows: BTreeMap<&'static str, (u64, u64)>,
}

/// Whether `pr_debug()` prints. Linux: `dynamic_debug`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Debugging {
    /// It does not.
    #[default]
    Off,
    /// It does.
    On,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(debug: Debugging, limit: RateLimit) -> Self {
        Self { debug, limit, ..Self::default() }
    }

    /// Moves the clock forward.
    pub const fn advance_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Prints a line, or counts that its level is not printed.
    pub fn print(&mut self, line: Line) {
        if line.level == Level::Debug && self.debug == Debugging::Off {
            self.hidden += 1;
        } else {
            self.visible.push(line);
        }
    }

    /// Prints a line of a place that may be limited, or counts why not. What the limit applies to
    /// is what would be visible. Linux: `printk_ratelimited()`.
    pub fn print_ratelimited(&mut self, site: &'static str, line: Line) {
        let hidden = line.level == Level::Debug && self.debug == Debugging::Off;
        if hidden || self.limit == RateLimit::None || self.may_print(site) {
            self.print(line);
        } else {
            self.suppressed += 1;
        }
    }

    /// Linux: `___ratelimit()`.
    fn may_print(&mut self, site: &'static str) -> bool {
        let (began, printed) = self.windows.entry(site).or_insert((self.now_ms, 0));
        if self.now_ms - *began > INTERVAL_MS {
            (*began, *printed) = (self.now_ms, 0);
        }
        *printed += 1;
        *printed <= BURST
    }

    /// Lines that a reader of the log sees, in order.
    #[must_use]
    pub fn visible(&self) -> &[Line] {
        &self.visible
    }

    /// Number of lines of a level that is not printed.
    #[must_use]
    pub const fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Number of lines that the rate limit kept back.
    #[must_use]
    pub const fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warn() -> Line {
        Line::new(Level::Warn, "too much".to_owned())
    }

    #[test]
    fn ten_lines_in_five_seconds() {
        let mut log = Log::new(Debugging::Off, RateLimit::Default);
        (0..512).for_each(|_| log.print_ratelimited("gate", warn()));
        assert_eq!((log.visible().len(), log.suppressed()), (10, 502));
        log.advance_ms(5000);
        log.print_ratelimited("gate", warn());
        assert_eq!(log.visible().len(), 10, "the window lasts five seconds to the end");
        log.advance_ms(1);
        log.print_ratelimited("gate", warn());
        assert_eq!((log.visible().len(), log.suppressed()), (11, 503));
    }

    #[test]
    fn places_are_limited_one_by_one() {
        let mut log = Log::new(Debugging::Off, RateLimit::Default);
        (0..20).for_each(|_| log.print_ratelimited("one", warn()));
        log.print_ratelimited("two", warn());
        (0..20).for_each(|_| log.print(warn()));
        assert_eq!((log.visible().len(), log.suppressed()), (31, 10));
    }

    #[test]
    fn debug_lines_need_to_be_asked_for() {
        let line = Line::new(Level::Debug, "detail".to_owned());
        let mut log = Log::default();
        log.print(line.clone());
        assert_eq!((log.visible().len(), log.hidden()), (0, 1));
        let mut log = Log::new(Debugging::On, RateLimit::None);
        log.print(line);
        assert_eq!((log.visible().len(), log.hidden()), (1, 0));
    }
}
