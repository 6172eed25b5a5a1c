//! Sizes and shares in the words that people type.

use core::fmt;

/// `text` in bytes: a decimal number, alone or with one of `KiB`, `MiB`, `GiB`, `TiB` (or `K`, `M`,
/// `G`, `T`, which mean the same, as on the kernel's command line).
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A share between none and all, in hundredths of a percent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(u16);

impl Share {
    /// What [`Share::per_10_000`] is when the share is everything.
    pub const ALL: u16 = 10_000;

    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Reads `37%`, `37` or `12.25%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('%').unwrap_or(text);
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return None;
        }
        let hundredths = format!("{part:0<2}").parse::<u16>().ok()?;
        let all = whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
        (all <= Self::ALL).then_some(Self(all))
    }

    /// A share of so many hundredths of a percent; none above [`Share::ALL`].
    #[must_use]
    pub const fn of_10_000(parts: u16) -> Option<Self> {
        if parts <= Self::ALL { Some(Self(parts)) } else { None }
    }

    /// The share in hundredths of a percent.
    #[must_use]
    pub const fn per_10_000(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole} %"),
            (whole, part) => write!(f, "{whole}.{part:02} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("0", Some(0)),
            ("512MiB", Some(512 << 20)),
            ("512M", Some(512 << 20)),
            ("16GiB", Some(16 << 30)),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("512MB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, expected) in [
            ("0", Some(0)),
            ("100%", Some(10_000)),
            ("12.5%", Some(1250)),
            ("12.05", Some(1205)),
            ("100.01", None),
            ("-1", None),
            ("1.", None),
            ("", None),
            ("700%", None),
            ("+5", None),
        ] {
            assert_eq!(Share::parse(text).map(Share::per_10_000), expected, "{text}");
        }
    }
}
