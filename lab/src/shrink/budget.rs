//! How often operations may still be carried out.

/// The runs of a search, of which there is an end. A run carries operations out under both designs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    runs: u64,
    most: u64,
}

/// The budget is spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spent;

impl Budget {
    /// So many runs, none of them spent.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self { runs: 0, most }
    }

    /// One run.
    ///
    /// # Errors
    ///
    /// [`Spent`] when there is none left.
    pub const fn spend(&mut self) -> Result<(), Spent> {
        if self.runs == self.most {
            return Err(Spent);
        }
        self.runs += 1;
        Ok(())
    }

    /// Runs so far.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }
}
