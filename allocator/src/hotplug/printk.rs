//! What the kernel says: a log with levels and a rate limit. Linux: kernel/printk, lib/ratelimit.c.

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

/// Whether a call site prints every line. Linux: `printk_ratelimited()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RateLimit {
    /// Every line.
    #[default]
    None,
    /// Ten lines in five seconds. Linux: `DEFAULT_RATELIMIT_BURST`, `DEFAULT_RATELIMIT_INTERVAL`.
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
    window: Option<(u64, u64)>,
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

    /// Prints a line, or counts why not. What the rate limit applies to is what would be visible.
    pub fn print(&mut self, line: Line) {
        if line.level == Level::Debug && self.debug == Debugging::Off {
            self.hidden += 1;
        } else if self.may_print() {
            self.visible.push(line);
        } else {
            self.suppressed += 1;
        }
    }

    /// Linux: `___ratelimit()`.
    fn may_print(&mut self) -> bool {
        if self.limit == RateLimit::None {
            return true;
        }
        match &mut self.window {
            Some((began, printed)) if self.now_ms - *began <= INTERVAL_MS => {
                *printed += 1;
                *printed <= BURST
            }
            window => {
                *window = Some((self.now_ms, 1));
                true
            }
        }
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
        (0..512).for_each(|_| log.print(warn()));
        assert_eq!((log.visible().len(), log.suppressed()), (10, 502));
        log.advance_ms(5000);
        log.print(warn());
        assert_eq!(log.visible().len(), 10, "the window lasts five seconds to the end");
        log.advance_ms(1);
        log.print(warn());
        assert_eq!((log.visible().len(), log.suppressed()), (11, 503));
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
