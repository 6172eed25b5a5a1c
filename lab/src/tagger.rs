//! Which user pages become `PROT_MTE` besides those that the recording tagged.

use pagelab_allocator::gfp::GfpFlags;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::size::Share;

/// Chooses a share of the movable user allocations with a seeded generator (PCG XSL RR 128/64).
///
/// One number is drawn for every candidate, whatever the design does, so that all designs see the
/// same choice.
#[derive(Clone, Debug)]
pub struct Tagger {
    share: Share,
    rng: Pcg64,
}

impl Tagger {
    /// Chooses `share` of the candidates.
    #[must_use]
    pub fn new(share: Share, seed: u64) -> Self {
        Self { share, rng: Pcg64::seed_from_u64(seed) }
    }

    /// Whether the next allocation becomes `PROT_MTE`. Only user pages that can move are
    /// candidates; others are never chosen and draw no number.
    pub fn choose(&mut self, gfp: GfpFlags) -> bool {
        let (chosen, all) = (u32::from(self.share.per_10_000()), u32::from(Share::ALL));
        gfp.contains(GfpFlags::HIGHUSER_MOVABLE) && self.rng.random_ratio(chosen, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(share: &str, seed: u64) -> Vec<bool> {
        let mut tagger = Tagger::new(Share::parse(share).unwrap(), seed);
        (0..10_000).map(|_| tagger.choose(GfpFlags::HIGHUSER_MOVABLE)).collect()
    }

    #[test]
    fn the_share_is_kept_and_the_seed_decides() {
        let count = |c: &[bool]| c.iter().filter(|b| **b).count();
        assert_eq!((count(&chosen("0%", 1)), count(&chosen("100%", 1))), (0, 10_000));
        let quarter = chosen("25%", 1);
        assert!((2300..2700).contains(&count(&quarter)));
        assert_eq!(quarter, chosen("25%", 1));
        assert_ne!(quarter, chosen("25%", 2));
    }

    #[test]
    fn kernel_memory_is_never_chosen() {
        let mut tagger = Tagger::new(Share::parse("100%").unwrap(), 1);
        assert!(!tagger.choose(GfpFlags::KERNEL));
        assert!(!tagger.choose(GfpFlags::HIGHUSER));
    }
}
