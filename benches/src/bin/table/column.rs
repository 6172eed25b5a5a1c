//! The columns: which workload, and what it is called.

use pagelab_benches::Shared;

use crate::{
    crew::{Rounds, crew},
    work::{BulkAlloc, BulkFree, Claims, FreeRandom, Mixed, Pairs, PairsInHalf, Turnover},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Column {
    Pair,
    PairInHalf,
    BulkAlloc,
    BulkFree,
    Turnover,
    TurnoverOf1024,
    FreeRandom,
    HugePair,
    Mixed,
    ClaimHuge,
    ClaimPage,
}

impl Column {
    pub(crate) const ALL: [Self; 11] = [
        Self::Pair,
        Self::PairInHalf,
        Self::BulkAlloc,
        Self::BulkFree,
        Self::Turnover,
        Self::TurnoverOf1024,
        Self::FreeRandom,
        Self::HugePair,
        Self::Mixed,
        Self::ClaimHuge,
        Self::ClaimPage,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pair => "a",
            Self::PairInHalf => "a'",
            Self::BulkAlloc => "b alloc",
            Self::BulkFree => "b free",
            Self::Turnover => "c",
            Self::TurnoverOf1024 => "c2",
            Self::FreeRandom => "c3",
            Self::HugePair => "o9",
            Self::Mixed => "d2",
            Self::ClaimHuge => "f o9",
            Self::ClaimPage => "f o0",
        }
    }

    pub(crate) fn rounds<P: Shared + 'static>(self, threads: usize) -> Rounds {
        match self {
            Self::Pair => crew::<P, Pairs<P, 0>>(threads),
            Self::PairInHalf => crew::<P, PairsInHalf<P>>(threads),
            Self::BulkAlloc => crew::<P, BulkAlloc<P>>(threads),
            Self::BulkFree => crew::<P, BulkFree<P>>(threads),
            Self::Turnover => crew::<P, Turnover<P, 1>>(threads),
            Self::TurnoverOf1024 => crew::<P, Turnover<P, 1024>>(threads),
            Self::FreeRandom => crew::<P, FreeRandom<P>>(threads),
            Self::HugePair => crew::<P, Pairs<P, 9>>(threads),
            Self::Mixed => crew::<P, Mixed<P>>(threads),
            Self::ClaimHuge => crew::<P, Claims<P, 9>>(threads),
            Self::ClaimPage => crew::<P, Claims<P, 0>>(threads),
        }
    }
}
