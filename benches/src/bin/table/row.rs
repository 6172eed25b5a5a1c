//! The rows: which allocator.

use pagelab_benches::{
    BareList, BitmapAllocator, BuddySlab, BuddySystem, Floor, FrameAlloc, FrameAllocDepot, Mutexed,
    OneZone, PagelabShared, Peer, Shared, Swaps,
};
use pagelab_percpu::{Asymmetric, Locked};

use crate::{column::Column, crew::Rounds};

/// What an allocator is in the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Yardstick,
    Ours,
    Published,
}

/// One allocator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    rounds: fn(Column, usize) -> Rounds,
    only: &'static [Column],
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let mut swaps = Self::of::<Swaps>(Role::Yardstick);
        swaps.only = &[Column::Pair, Column::PairInHalf];
        vec![
            Self::of::<Floor>(Role::Yardstick),
            swaps,
            Self::of::<Mutexed<BareList>>(Role::Yardstick),
            Self::of::<PagelabShared<Asymmetric, OneZone>>(Role::Ours),
            Self::of::<PagelabShared<Locked, OneZone>>(Role::Ours),
            Self::of::<Mutexed<BuddySlab>>(Role::Published),
            Self::of::<Mutexed<BuddySystem>>(Role::Published),
            Self::of::<Mutexed<BitmapAllocator>>(Role::Published),
            Self::of::<FrameAlloc>(Role::Published),
            Self::of::<FrameAllocDepot>(Role::Published),
        ]
    }

    pub(crate) fn of<P: Shared + 'static>(role: Role) -> Self {
        let rounds = |column: Column, threads| column.rounds::<P>(threads);
        Self { name: <P as Peer>::name(), role, rounds, only: &Column::ALL }
    }

    /// What runs this row's cell, if it has one.
    pub(crate) fn cell(&self, column: Column, threads: usize) -> Option<Rounds> {
        self.only.contains(&column).then(|| (self.rounds)(column, threads))
    }
}
