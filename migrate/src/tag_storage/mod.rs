//! Tag storage: memory that holds MTE tags when tags are needed, and data otherwise.

pub mod blocks;
pub mod caches;
pub mod carveout;
pub mod cma;
pub mod design;
pub mod formula;
pub mod ledger;
pub mod map;
pub mod page_set;
pub mod placement;
pub mod region;

use pagelab_allocator::units::PageCount;

const ONE_PAGE: PageCount = PageCount::new(1);
