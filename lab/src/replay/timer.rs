//! When the recorded kernel's statistics timer ticked, which no event says.
//!
//! Linux: `vmstat_update()` asks to be called a second later, rounded to a full second of
//! `jiffies`. These start with the trace's clock, 300 seconds before their lower 32 bits overflow,
//! and so not at a full second: 2^32 is no multiple of the ticks in one. The work runs in a kernel
//! thread of ordinary priority, so it waits while a snapshot is taken, during which the recording
//! program lets nobody else run, and takes its turn right afterwards.

/// A second in nanoseconds. Linux: the default of `stat_interval`.
const SECOND: u64 = 1_000_000_000;

/// Ticks in a second. Linux: `CONFIG_HZ`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hz(pub u64);

impl Default for Hz {
    /// What Debian's kernels have.
    fn default() -> Self {
        Self(250)
    }
}

impl Hz {
    /// How long the recording program may go on before the scheduler looks again, in nanoseconds.
    /// Linux: a scheduler tick.
    const fn slice(self) -> u64 {
        SECOND / self.0
    }

    /// From the start of the clock to the first full second of `jiffies`, in nanoseconds.
    /// Linux: `INITIAL_JIFFIES`.
    const fn first_full_second(self) -> u64 {
        (self.0 - (1 << 32) % self.0) % self.0 * SECOND / self.0
    }
}

/// Whether another task waits for the CPU. Linux: `TIF_NEED_RESCHED`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// One does.
    Yes,
    /// None is seen to.
    No,
}

/// The timer of a recorded kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatTimer {
    hz: Hz,
    /// When it is due next; `None` before the first tick.
    due: Option<u64>,
    /// A snapshot is being taken.
    held: bool,
}

impl StatTimer {
    /// The timer of a kernel with so many ticks in a second.
    #[must_use]
    pub fn new(hz: Hz) -> Self {
        Self { hz, ..Self::default() }
    }

    /// A snapshot begins: nothing else runs until it is over.
    pub const fn hold(&mut self) {
        self.held = true;
    }

    /// A snapshot is over: what was due meanwhile gets its turn when the time slice at hand ends,
    /// unless it is seen to have had it before.
    pub fn release(&mut self, now: u64) {
        self.held = false;
        if self.due.is_none_or(|due| due <= now) {
            self.due = Some(now + self.hz.slice());
        }
    }

    /// Whether the timer has ticked by `now`. While another task is seen to wait for the CPU, that
    /// is the one with the timer's work, and it has not had its turn.
    #[inline]
    pub fn ticks(&mut self, now: u64, waiting: Waiting) -> bool {
        let Some(due) = self.due else { return false };
        if self.held || waiting == Waiting::Yes || now < due {
            return false;
        }
        self.tick(due);
        true
    }

    /// The timer has ticked: when it will do so again. Linux: `round_jiffies_relative()`.
    pub const fn tick(&mut self, now: u64) {
        let late = (now + SECOND - self.hz.first_full_second()) % SECOND;
        let full = now + SECOND - late;
        self.due = Some(if late < SECOND / 4 { full } else { full + SECOND });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = SECOND / 1000;

    #[test]
    fn ticks_are_at_full_seconds_and_wait_for_snapshots() {
        assert_eq!(Hz::default().first_full_second(), 816 * MS);
        assert_eq!(Hz(100).first_full_second(), 40 * MS);
        assert_eq!(Hz(1000).first_full_second(), 704 * MS);
        let mut timer = StatTimer::default();
        assert!(!timer.ticks(5 * SECOND, Waiting::No));
        timer.hold();
        timer.release(13_482 * MS);
        assert!(!timer.ticks(13_485 * MS, Waiting::No) && timer.ticks(13_486 * MS, Waiting::No));
        assert!(!timer.ticks(14_815 * MS, Waiting::No));
        assert!(timer.ticks(14_816 * MS, Waiting::No));
        timer.hold();
        assert!(!timer.ticks(16_500 * MS, Waiting::No));
        timer.release(17_000 * MS);
        assert!(timer.ticks(17_010 * MS, Waiting::No));
        // A second later it would be less than a quarter past the full one.
        assert!(!timer.ticks(17_815 * MS, Waiting::No) && timer.ticks(17_816 * MS, Waiting::No));
    }
}
