//! `key=value` fields of an event's text, and numbers in the kernel's spellings.

use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use super::error::{Fault, Why};

/// The text after an event's name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The value of `key`: everything up to the next blank. A comma that ends it is cut off.
    pub(super) fn find(self, key: &str) -> Option<&'a [u8]> {
        words(self.0).find_map(|word| {
            let value = word.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            Some(value.strip_suffix(b",").unwrap_or(value))
        })
    }

    /// Like [`Fields::find`].
    ///
    /// # Errors
    ///
    /// [`Why::Missing`].
    pub(super) fn get(self, key: &'static str) -> Result<&'a [u8], Fault> {
        self.find(key).ok_or((key, Why::Missing))
    }

    /// A number, decimal or `0x` hexadecimal.
    pub(super) fn number(self, key: &'static str) -> Result<u64, Fault> {
        let text = self.get(key)?;
        number(text).ok_or_else(|| (key, Why::NotANumber(Why::excerpt(text))))
    }

    /// A number of pages.
    pub(super) fn count(self, key: &'static str) -> Result<u64, Fault> {
        let raw = self.number(key)?;
        if raw > RANGE_LIMIT {
            return Err((key, Why::OutOfRange(raw.to_string())));
        }
        Ok(raw)
    }

    /// A number that fits `T`.
    pub(super) fn small<T: TryFrom<u64>>(self, key: &'static str) -> Result<T, Fault> {
        let raw = self.number(key)?;
        T::try_from(raw).map_err(|_| (key, Why::OutOfRange(raw.to_string())))
    }

    /// A number that may be negative.
    pub(super) fn signed(self, key: &'static str) -> Result<i32, Fault> {
        let text = self.get(key)?;
        core::str::from_utf8(text)
            .ok()
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| (key, Why::NotANumber(Why::excerpt(text))))
    }

    /// A flag printed as 0 or 1.
    pub(super) fn flag(self, key: &'static str) -> Result<bool, Fault> {
        Ok(self.number(key)? != 0)
    }

    /// A frame number.
    pub(super) fn pfn(self, key: &'static str) -> Result<Pfn, Fault> {
        check_frame(key, self.number(key)?)
    }

    /// A kind of zone, by its number.
    pub(super) fn zone(self, key: &'static str) -> Result<ZoneType, Fault> {
        let raw: usize = self.small(key)?;
        ZoneType::ALL.get(raw).copied().ok_or_else(|| (key, Why::OutOfRange(raw.to_string())))
    }

    /// The order of a block.
    pub(super) fn order(self, key: &'static str) -> Result<Order, Fault> {
        let raw = self.number(key)?;
        u8::try_from(raw)
            .ok()
            .and_then(Order::new)
            .ok_or_else(|| (key, Why::OutOfRange(raw.to_string())))
    }

    /// The frames from the frame of one field to the frame of another.
    pub(super) fn range(self, start: &'static str, end: &'static str) -> Result<PfnRange, Fault> {
        let (first, last) = (self.pfn(start)?, self.pfn(end)?);
        if last <= first || (last - first).get() > RANGE_LIMIT {
            return Err((end, Why::OutOfRange(last.to_string())));
        }
        Ok(PfnRange::new(first, last))
    }

    /// The frames from the frame of one field, as many as another says.
    pub(super) fn run(self, start: &'static str, len: &'static str) -> Result<PfnRange, Fault> {
        let (first, count) = (self.pfn(start)?, self.count(len)?);
        Ok(PfnRange::from_len(first, PageCount::new(count)))
    }

    /// `gfp_flags=`, in any version's names.
    pub(super) fn gfp(self) -> Result<GfpFlags, Fault> {
        const KEY: &str = "gfp_flags";
        let text = self.get(KEY)?;
        let text =
            core::str::from_utf8(text).map_err(|_| (KEY, Why::OutOfRange(Why::excerpt(text))))?;
        GfpFlags::parse(text).map_err(|unknown| (KEY, Why::Gfp(unknown)))
    }
}

/// Frames lie below this: 52 bits of physical address, the most that Linux can be built with,
/// leave 40. It keeps sums of frames and counts far from overflow.
const FRAME_LIMIT: u64 = 1 << 40;
/// Most pages of one range: page counts within an allocation are 32 bits wide.
const RANGE_LIMIT: u64 = 1 << 31;

/// `raw` as a frame number.
pub(super) fn check_frame(key: &'static str, raw: u64) -> Result<Pfn, Fault> {
    if raw >= FRAME_LIMIT {
        return Err((key, Why::OutOfRange(format!("{raw:#x}"))));
    }
    Ok(Pfn::new(raw))
}

/// The words of `text`, separated by blanks.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b' ').filter(|word| !word.is_empty())
}

/// Decimal, or hexadecimal after `0x`.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    match text.strip_prefix(b"0x") {
        Some(digits) => hexadecimal(digits),
        None => decimal(text),
    }
}

/// Decimal digits only.
#[inline]
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    // So few digits cannot overflow.
    if digits.is_empty() || digits.len() > 19 {
        return digits_in(digits, 10);
    }
    digits.iter().try_fold(0_u64, |all, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| all * 10 + u64::from(digit))
    })
}

/// The number that `text` begins with, and what follows it; `None` when it has no digits or more
/// than any number here.
#[inline]
pub(super) fn leading_digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut len = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit >= 10 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    (1..19).contains(&len).then(|| (value, &text[len..]))
}

/// Hexadecimal digits only.
pub(super) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits_in(digits, 16)
}

fn digits_in(digits: &[u8], base: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |all, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        all.checked_mul(u64::from(base))?.checked_add(u64::from(digit))
    })
}

/// A `struct page` pointer: hexadecimal with or without `0x`; 0 for the spellings of null.
pub(super) fn pointer(text: &[u8]) -> Option<u64> {
    match text {
        b"(null)" | b"(nil)" => Some(0),
        _ => hexadecimal(text.strip_prefix(b"0x").unwrap_or(text)),
    }
}
