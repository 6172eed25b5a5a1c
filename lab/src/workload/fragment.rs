//! The injector: free memory is cut into pieces and kept so while another load runs.
//!
//! The stream cannot look at the machine. Whoever carries it out can: once before the load and once
//! a tick it is told to hold the target (`Hold`), and cuts or mends pageblocks as free memory asks
//! for. So all designs have the same operations, and each machine the same fragmentation.

use super::Workload;
use super::kbuild::Kbuild;
use super::script::Script;
use crate::logical::process::Hold;
use crate::size::Share;

/// What is cut, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentParams {
    /// Unusable free space index to reach at pageblock order, as a share. Chosen by the user;
    /// 75 % otherwise (assumed).
    pub target: Share,
    /// Share of the pages kept that cannot move; the others are anonymous memory that compaction
    /// can move away. Chosen by the user; 50 % otherwise (assumed).
    pub unmovable: Share,
}

/// See [`FragmentParams`].
#[derive(Debug)]
pub struct Fragment {
    params: FragmentParams,
    load: Kbuild,
}

impl Fragment {
    /// An injector beside a build.
    #[must_use]
    pub const fn new(params: FragmentParams, load: Kbuild) -> Self {
        Self { params, load }
    }

    fn hold(&self, script: &mut Script) {
        let FragmentParams { target: index, unmovable } = self.params;
        script.hold(Hold { index, unmovable });
    }
}

impl Workload for Fragment {
    fn begin(&mut self, script: &mut Script) {
        self.hold(script);
    }

    fn tick(&mut self, script: &mut Script, tick: u32) {
        if tick == 1 {
            self.load.begin(script);
        }
        self.load.tick(script, tick);
        self.hold(script);
    }
}
