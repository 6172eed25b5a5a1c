//! The part of a line before the event: task, CPU, time, name.

use super::comm::Comm;
use super::fields::{decimal, leading_digits};

/// A line taken apart, its event still text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) comm: Comm,
    pub(super) pid: u32,
    pub(super) cpu: u16,
    pub(super) timestamp: u64,
    /// The flags ask for another task to run.
    pub(super) need_resched: bool,
    /// The event's name without its group.
    pub(super) name: &'a [u8],
    /// The text after the name.
    pub(super) text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line apart; `None` when it is no event line.
    ///
    /// ```text
    /// ftrace:       COMM-PID [(TGID)] [CPU] [FLAGS] TIME: event: text
    /// perf script:  COMM PID[/TID]    [CPU]         TIME: group:event: text
    /// ```
    ///
    /// The name of a task may hold blanks, dashes and brackets, so the anchor is the first `[CPU]`
    /// with a task id before it and a time after it; what is left of the id is the name.
    #[inline]
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        Self::parse_usual(line).or_else(|| Self::parse_any(line))
    }

    /// A line of ftrace as nearly all are: every column where it is when the name of the task has
    /// at most 16 bytes, microseconds, no group before the event. `None` for all else.
    #[inline]
    fn parse_usual(line: &'a [u8]) -> Option<Self> {
        let (task, rest) = line.split_at_checked(Comm::MAX)?;
        let comm = Comm::new(task.trim_ascii());
        let (pid, rest) = leading_digits(rest.strip_prefix(b"-")?)?;
        let (cpu, rest) = leading_digits(rest.trim_ascii_start().strip_prefix(b"[")?)?;
        let (flags, rest) = rest.strip_prefix(b"] ")?.split_at_checked(5)?;
        let (seconds, rest) = leading_digits(rest.strip_prefix(b" ")?.trim_ascii_start())?;
        let (micros, rest) = rest.strip_prefix(b".")?.split_at_checked(6)?;
        let (fraction, none) = leading_digits(micros)?;
        let rest = rest.strip_prefix(b": ")?;
        let colon = rest.iter().position(|b| *b == b':')?;
        let (name, text) = (&rest[..colon], rest[colon + 1..].strip_prefix(b" ")?);
        let usual =
            none.is_empty() && !flags.contains(&b' ') && !name.contains(&b' ') && !name.is_empty();
        if !usual {
            return None;
        }
        Some(Self {
            comm,
            pid: u32::try_from(pid).ok()?,
            cpu: u16::try_from(cpu).ok()?,
            timestamp: seconds.checked_mul(1_000_000_000)?.checked_add(fraction * 1000)?,
            need_resched: matches!(flags[1], b'N' | b'n'),
            name,
            text: text.trim_ascii(),
        })
    }

    fn parse_any(line: &'a [u8]) -> Option<Self> {
        let mut from = 0;
        loop {
            let open = from + line[from..].iter().position(|b| *b == b'[')?;
            if let Some(parsed) = Self::parse_at(line, open) {
                return Some(parsed);
            }
            from = open + 1;
        }
    }

    fn parse_at(line: &'a [u8], open: usize) -> Option<Self> {
        let (before, after) = (&line[..open], &line[open + 1..]);
        let (cpu, after) = split_at_byte(after, b']')?;
        let cpu = u16::try_from(decimal(cpu)?).ok()?;
        let (timestamp, need_resched, after) = parse_time(after)?;
        let (comm, pid) = parse_task(before)?;
        let (name, text) = parse_name(after)?;
        Some(Self { comm, pid, cpu, timestamp, need_resched, name, text })
    }
}

/// The task's name and id at the end of `before`.
fn parse_task(before: &[u8]) -> Option<(Comm, u32)> {
    let mut task = before.trim_ascii_end();
    if task.ends_with(b")") {
        let open = task.iter().rposition(|b| *b == b'(')?;
        task = task[..open].trim_ascii_end();
    }
    let (name, pid) = split_digits(task);
    let pid = u32::try_from(decimal(pid)?).ok()?;
    let name = match name.strip_suffix(b"/") {
        Some(process) => split_digits(process).0,
        None => name,
    };
    let name = match name.strip_suffix(b"-") {
        Some(ftrace) => ftrace,
        None if name.ends_with(b" ") => name,
        None => return None,
    };
    Some((Comm::new(name.trim_ascii()), pid))
}

/// The text before the digits at its end, and those digits.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    text.split_at(text.len() - digits)
}

/// The time after the CPU and, in ftrace, one word of flags; whether the second of these asks for a
/// reschedule; and what follows the time's colon.
fn parse_time(after: &[u8]) -> Option<(u64, bool, &[u8])> {
    let after = after.strip_prefix(b" ")?.trim_ascii_start();
    if let Some((time, rest)) = parse_time_word(after) {
        return Some((time, false, rest));
    }
    let (flags, after) = split_at_byte(after, b' ')?;
    let need_resched = matches!(flags.get(1), Some(b'N' | b'n'));
    let (time, rest) = parse_time_word(after.trim_ascii_start())?;
    Some((time, need_resched, rest))
}

fn parse_time_word(text: &[u8]) -> Option<(u64, &[u8])> {
    let (time, rest) = split_at_byte(text, b':')?;
    Some((nanoseconds(time)?, rest.strip_prefix(b" ")?))
}

/// Seconds with up to nine decimal places as nanoseconds; without a point, a counting clock.
fn nanoseconds(time: &[u8]) -> Option<u64> {
    let Some((seconds, fraction)) = split_at_byte(time, b'.') else {
        return decimal(time);
    };
    let places = u32::try_from(fraction.len()).ok()?;
    let scale = 10_u64.checked_pow(9_u32.checked_sub(places)?)?;
    decimal(seconds)?.checked_mul(1_000_000_000)?.checked_add(decimal(fraction)? * scale)
}

/// The event's name without its group, and its text.
fn parse_name(after: &[u8]) -> Option<(&[u8], &[u8])> {
    let after = after.trim_ascii_start();
    let end = after.iter().position(|b| *b == b' ').unwrap_or(after.len());
    let name = after[..end].strip_suffix(b":")?;
    let name = match name.iter().rposition(|b| *b == b':') {
        Some(colon) => &name[colon + 1..],
        None => name,
    };
    (!name.is_empty()).then(|| (name, after[end..].trim_ascii()))
}

/// The parts before and after the first `byte`.
fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, comm: &str, pid: u32, cpu: u16, timestamp: u64, name: &str, text: &str) {
        let got = Line::parse(line.as_bytes()).expect("an event line");
        assert_eq!((got.comm.text().as_ref(), got.pid, got.cpu), (comm, pid, cpu));
        assert_eq!(got.timestamp, timestamp);
        assert_eq!((got.name, got.text), (name.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn both_formats_and_their_options() {
        let (t, e) = (6_615_088_000, "mm_page_free");
        check(
            "  init-1       [000] .....     6.615088: mm_page_free: a=1",
            "init",
            1,
            0,
            t,
            e,
            "a=1",
        );
        check("<idle>-0       [011] d..4.     6.615088: mm_page_free:", "<idle>", 0, 11, t, e, "");
        check("a-b c-77 [001] 6.615088: mm_page_free:    a=1", "a-b c", 77, 1, t, e, "a=1");
        check(
            "bash-1977 (   1970) [000] .... 6.615088: mm_page_free: a",
            "bash",
            1977,
            0,
            t,
            e,
            "a",
        );
        check(
            "bash-1977 (-------) [000] .... 6.615088: mm_page_free: a",
            "bash",
            1977,
            0,
            t,
            e,
            "a",
        );
        check("cc1   12 [003]     6.615088001: kmem:mm_page_free: a", "cc1", 12, 3, t + 1, e, "a");
        check("cc1 12/13 [003]     6.615088: kmem:mm_page_free: a", "cc1", 13, 3, t, e, "a");
        check(
            "w [0]-9 [003] ...    6.615088: mm_page_free: [001] b",
            "w [0]",
            9,
            3,
            t,
            e,
            "[001] b",
        );
        check("[1]-9 [003]    6615: mm_page_free: a", "[1]", 9, 3, 6615, e, "a");
    }

    /// The short way against the long one.
    #[test]
    fn usual_lines_are_lines() {
        let whole =
            "        workload-171     [000] dN..1    34.649125: mm_page_free: page=1 pfn=0x5";
        let usual = Line::parse_usual(whole.as_bytes()).expect("a usual line");
        assert!(usual.need_resched && usual.timestamp == 34_649_125_000);
        let mut taken = 0;
        for at in 0..whole.len() {
            for byte in [b' ', b'-', b'[', b'x', b'7', b':', b'.'] {
                let mut line = whole.as_bytes().to_vec();
                line[at] = byte;
                if let Some(usual) = Line::parse_usual(&line) {
                    let any = Line::parse_any(&line).map(|line| format!("{line:?}"));
                    assert_eq!(
                        Some(format!("{usual:?}")),
                        any,
                        "{}",
                        String::from_utf8_lossy(&line)
                    );
                    taken += 1;
                }
            }
        }
        assert!(taken > 100);
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "#",
            "[",
            "[]",
            "a-1 [0]",
            "a-1 [0] 1.0:",
            "a-1 [0] 1.0: x",
            "cpus=1",
            "a [0] 1.0: x: y",
            "a-1 [70000] 1.0: x: y",
            "a-1 [0] 1.0000000000: x: y",
            "-99999999999 [0] 1.0: x: y",
            "a-1 [0] 99999999999999999999: x: y",
        ] {
            assert!(Line::parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
