//! Fields in the order in which the kernel prints them, read from front to back.

use pagelab_allocator::units::Order;

/// What is left of an event's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    /// Whether everything was read.
    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All that follows `key`.
    #[inline]
    pub(super) fn rest(self, key: &[u8]) -> Option<&'a [u8]> {
        self.0.strip_prefix(key).filter(|rest| !rest.contains(&b' '))
    }

    /// Hexadecimal digits after `key`, at least one and at most sixteen.
    #[inline]
    pub(super) fn hexadecimal(&mut self, key: &[u8]) -> Option<u64> {
        let text = self.0.strip_prefix(key)?;
        let (mut value, mut len) = (0, 0);
        while let Some(digit) = text.get(len).copied().and_then(hexadecimal_digit) {
            value = value << 4 | u64::from(digit);
            len += 1;
        }
        self.0 = &text[len..];
        (1..=16).contains(&len).then_some(value)
    }

    /// One decimal digit after `key`, and no other behind it.
    #[inline]
    pub(super) fn digit(&mut self, key: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.strip_prefix(key)?.split_first()?;
        self.0 = rest;
        let ends = rest.first().is_none_or(|next| *next == b' ');
        (ends && first.is_ascii_digit()).then(|| first - b'0')
    }

    /// The order of a block after `key`: one digit, or 10.
    #[inline]
    pub(super) fn order(&mut self, key: &[u8]) -> Option<Order> {
        if let Some(rest) = self.0.strip_prefix(key)?.strip_prefix(b"10")
            && rest.first().is_none_or(|next| *next == b' ')
        {
            self.0 = rest;
            return Order::new(10);
        }
        Order::new(self.digit(key)?)
    }
}

#[inline]
const fn hexadecimal_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_order() {
        let mut cursor = Cursor(b"page=ffff pfn=0x1f order=10 migratetype=4 gfp=A|B");
        assert_eq!(cursor.hexadecimal(b"page="), Some(0xffff));
        assert_eq!(cursor.hexadecimal(b" pfn=0x"), Some(0x1f));
        assert_eq!(cursor.order(b" order="), Order::new(10));
        assert_eq!(cursor.digit(b" migratetype="), Some(4));
        assert_eq!(cursor.rest(b" gfp="), Some(&b"A|B"[..]));
    }

    #[test]
    fn anything_else_is_none() {
        assert_eq!(Cursor(b"page=0xff").hexadecimal(b"pfn="), None);
        assert_eq!(Cursor(b"pfn=").hexadecimal(b"pfn="), None);
        assert_eq!(Cursor(b"pfn=11111111111111111").hexadecimal(b"pfn="), None);
        assert_eq!(Cursor(b"order=12").order(b"order="), None);
        assert_eq!(Cursor(b"order=x").digit(b"order="), None);
        assert_eq!(Cursor(b"gfp=A b").rest(b"gfp="), None);
    }
}
