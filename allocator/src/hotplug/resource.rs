//! Who claims which addresses as system memory. Linux: kernel/resource.c.

use crate::units::PfnRange;

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

    /// Ends the claim of exactly this range. Linux: `release_memory_resource()`.
    pub fn release(&mut self, range: PfnRange) {
        self.claims.retain(|claim| claim.range != range);
    }

    /// Whether a range is system memory.
    #[must_use]
    pub fn intersects(&self, range: PfnRange) -> Intersects {
        let parts = self.claims.iter().filter_map(|claim| claim.range.intersect(range));
        let pages: crate::units::PageCount = parts.map(PfnRange::len).sum();
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
