//! The part of a line before the event: task, CPU, time, name.

use super::fields::decimal;
use super::record::Comm;

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
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
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
