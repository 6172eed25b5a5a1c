//! Where the published arithmetic and its intent differ.

use pagelab_allocator::units::{Order, PageCount};

use super::region::DATA_PER_TAG;

/// Which arithmetic to follow where the published code and its intent differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Formula {
    /// Every page counts in the block that holds its tags, and only there.
    #[default]
    Intent,
    /// RFC v1 and v2 as published: walks one block for every tag *page*, so blocks of several pages
    /// are reserved too often.
    AsCodedV2,
    /// RFC v3 as published: walks as many *pages* as there are blocks, so blocks of several pages
    /// are reserved too rarely; a zone split loses 31 data pages.
    AsCodedV3,
}

impl Formula {
    /// Tag blocks that an aligned allocation of `order` reserves when a block has `block_pages`.
    /// Linux (RFC): the loop bounds of `reserve_tag_storage()`.
    #[must_use]
    pub fn blocks(self, order: Order, block_pages: PageCount) -> u64 {
        let tag_pages = (order.pages().get() / DATA_PER_TAG).max(1);
        let blocks = tag_pages.div_ceil(block_pages.get());
        match self {
            Self::Intent => blocks,
            Self::AsCodedV2 => tag_pages,
            Self::AsCodedV3 => blocks.div_ceil(block_pages.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(order: u8, block_pages: u64, expected: [u64; 3]) {
        let got = [Formula::Intent, Formula::AsCodedV2, Formula::AsCodedV3].map(|formula| {
            formula.blocks(Order::of(order), PageCount::new(block_pages)) * block_pages
        });
        assert_eq!(got, expected, "order {order}, block of {block_pages}");
    }

    #[test]
    fn reserved_pages_as_intended_and_as_coded() {
        check(6, 2, [2, 4, 2]);
        check(9, 2, [16, 32, 8]);
        check(9, 1, [16, 16, 16]);
        check(9, 16, [16, 256, 16]);
        check(0, 1, [1, 1, 1]);
        check(5, 8, [8, 8, 8]);
        check(10, 8, [32, 256, 8]);
    }
}
