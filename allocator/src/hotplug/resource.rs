//! Who claims which addresses as system memory. Linux: kernel/resource.c.

use crate::units::{PageCount, PfnRange};

/// A claim on addresses. Linux: `struct resource`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// The frames.
    pub range: PfnRange,
    /// What it is called: `System RAM`, `System RAM (kmem)`.
    pub name: String,
}

/// Claims of system memory, ascending, without overlap. Linux: `iomem_resource`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resources {
    claims: Vec<Resource>,
}

/// How much of a range is system memory. Linux: `region_intersects()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intersects {
    /// Nothing of it. Linux: `REGION_DISJOINT`.
    Disjoint,
    /// A part of it. Linux: `REGION_MIXED`.
    Mixed,
    /// All of it. Linux: `REGION_INTERSECTS`.
    Whole,
}

impl Resources {
    /// Claims a range; false if some of it is taken. Linux: `register_memory_resource()`.
    pub fn request(&mut self, range: PfnRange, name: &str) -> bool {
        if self.claims.iter().any(|claim| claim.range.overlaps(range)) {
            return false;
        }
        let at = self.claims.partition_point(|claim| claim.range.start() < range.start());
        self.claims.insert(at, Resource { range, name: name.to_owned() });
        true
    }

    /// Ends the claims of a range; what they claim besides stays claimed.
    /// Linux: `release_mem_region_adjustable()`.
    pub fn release(&mut self, range: PfnRange) {
        let rest = |claim: Resource| {
            let left = claim.range.without(range).into_iter().filter(|part| !part.is_empty());
            left.map(move |range| Resource { range, name: claim.name.clone() })
        };
        self.claims = core::mem::take(&mut self.claims).into_iter().flat_map(rest).collect();
    }

    /// Whether a range is system memory.
    #[must_use]
    pub fn intersects(&self, range: PfnRange) -> Intersects {
        let parts = self.claims.iter().filter_map(|claim| claim.range.intersect(range));
        let pages: PageCount = parts.map(PfnRange::len).sum();
        match pages {
            none if none.get() == 0 => Intersects::Disjoint,
            all if all == range.len() => Intersects::Whole,
            _ => Intersects::Mixed,
        }
    }

    /// The claims, ascending.
    #[must_use]
    pub fn claims(&self) -> &[Resource] {
        &self.claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Pfn;

    #[test]
    fn a_part_of_a_claim_ends() {
        let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
        let mut claims = Resources::default();
        assert!(claims.request(range(0, 8), "System RAM") && claims.request(range(8, 12), "x"));
        claims.release(range(2, 4));
        let left: Vec<_> = claims.claims().iter().map(|claim| claim.range).collect();
        assert_eq!(left, [range(0, 2), range(4, 8), range(8, 12)]);
        assert!(claims.request(range(2, 4), "System RAM"), "it can be claimed again");
        claims.release(range(7, 9));
        assert_eq!(claims.intersects(range(7, 9)), Intersects::Disjoint);
        assert_eq!(claims.intersects(range(0, 7)), Intersects::Whole);
        claims.release(range(0, 12));
        assert!(claims.claims().is_empty());
    }
}
