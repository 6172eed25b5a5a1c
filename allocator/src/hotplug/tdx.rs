//! TDX of the host: what memory it could use, and what it does. Linux: arch/x86/virt/vmx/tdx/tdx.c.

use crate::hotplug::errno::Errno;
use crate::hotplug::memblock::Memblock;
use crate::hotplug::veto::Why;
use crate::units::{NodeId, Pfn, PfnRange};

/// A piece of the snapshot. Linux: `struct tdx_memblock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TdxMemblock {
    /// The frames.
    pub range: PfnRange,
    /// Their node.
    pub node: NodeId,
}

/// How far the module is. Linux: `enum tdx_module_status_t`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TdxState {
    /// Nobody has asked for it.
    Uninitialized,
    /// In use, with the memory that there was when it began.
    Initialized(Vec<TdxMemblock>),
    /// Initialization failed: TDX is off until the next boot.
    Failed(Errno),
}

/// TDX of a host that has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tdx {
    /// Memory that firmware found fit to be TDX memory, ascending. Linux: CMRs.
    pub cmrs: Vec<PfnRange>,
    state: TdxState,
}

/// The first megabyte is never TDX memory. Linux: `add_tdx_memblock()`'s caller.
const LOW_END: Pfn = Pfn::new(0x100);

impl Tdx {
    /// A host whose module nobody has asked for.
    #[must_use]
    pub const fn new(cmrs: Vec<PfnRange>) -> Self {
        Self { cmrs, state: TdxState::Uninitialized }
    }

    /// How far the module is.
    #[must_use]
    pub const fn state(&self) -> &TdxState {
        &self.state
    }

    /// The snapshot that initialization takes. Linux: `build_tdx_memlist()`.
    #[must_use]
    pub fn snapshot(memblock: &Memblock) -> Vec<TdxMemblock> {
        let piece = |region: &crate::hotplug::memblock::MemblockRegion| {
            let (start, end) = (region.range.start().max(LOW_END), region.range.end());
            (start < end)
                .then(|| TdxMemblock { range: PfnRange::new(start, end), node: region.node })
        };
        memblock.regions().iter().filter_map(piece).collect()
    }

    /// Initialization succeeded with this snapshot. Linux: `init_tdx_module()`.
    pub fn initialized(&mut self, snapshot: Vec<TdxMemblock>) {
        self.state = TdxState::Initialized(snapshot);
    }

    /// Initialization failed; the snapshot is gone.
    pub fn failed(&mut self, errno: Errno) {
        self.state = TdxState::Failed(errno);
    }

    /// Adds memory to the snapshot of a module in use: an extension that does not exist.
    ///
    /// # Panics
    ///
    /// Panics when the module is not in use.
    pub fn extend(&mut self, piece: TdxMemblock) {
        let TdxState::Initialized(list) = &mut self.state else {
            panic!("the module is not in use");
        };
        list.push(piece);
        list.sort_by_key(|piece| piece.range.start());
    }

    /// The snapshot, while the module is in use. Linux: `tdx_memlist`.
    #[must_use]
    pub fn memlist(&self) -> Option<&[TdxMemblock]> {
        match &self.state {
            TdxState::Initialized(list) => Some(list),
            TdxState::Uninitialized | TdxState::Failed(_) => None,
        }
    }

    /// Whether one piece of the snapshot has all of `range`. Linux: `is_tdx_memory()`.
    #[must_use]
    pub fn is_tdx_memory(&self, range: PfnRange) -> bool {
        self.memlist().is_some_and(|list| list.iter().any(|piece| piece.range.covers(range)))
    }

    /// What keeps `range` out, if the snapshot has memory and no one piece of it has the range.
    /// Linux: `tdx_memory_notifier()` without its verdict.
    #[must_use]
    pub fn outside(&self, range: PfnRange) -> Option<Why> {
        let list = self.memlist().filter(|list| !list.is_empty())?;
        let pieces = list.iter().map(|piece| piece.range);
        (!self.is_tdx_memory(range)).then(|| match together_cover(pieces, range) {
            true => Why::ManyPieces,
            false => Why::NotInSnapshot,
        })
    }

    /// Whether the module is in use and knows nothing of some of `range`; the first megabyte, which
    /// it never knows, is handed to nobody but the kernel.
    #[must_use]
    pub fn is_foreign(&self, range: PfnRange) -> bool {
        let high = PfnRange::new(range.start().max(LOW_END).min(range.end()), range.end());
        !high.is_empty() && self.outside(high) == Some(Why::NotInSnapshot)
    }

    /// Whether convertible memory has all of `range`, in one CMR or several that touch.
    #[must_use]
    pub fn is_convertible(&self, range: PfnRange) -> bool {
        together_cover(self.cmrs.iter().copied(), range)
    }
}

/// Whether `pieces`, ascending, have every frame of `range` between them.
fn together_cover(pieces: impl Iterator<Item = PfnRange>, range: PfnRange) -> bool {
    let next = |at, piece: PfnRange| if piece.contains(at) { piece.end() } else { at };
    pieces.fold(range.start(), next) >= range.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hotplug::memblock::{DriverManaged, MemblockRegion};

    const fn range(start: u64, end: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start), Pfn::new(end))
    }

    fn memblock(pieces: &[(PfnRange, u8)]) -> Memblock {
        let mut memblock = Memblock::default();
        for &(range, node) in pieces {
            let node = NodeId::new(node);
            memblock.add(MemblockRegion { range, node, managed: DriverManaged::No });
        }
        memblock
    }

    #[test]
    fn one_piece_of_the_snapshot_has_to_cover() {
        let snapshot =
            Tdx::snapshot(&memblock(&[(range(0, 0x1000), 0), (range(0x1000, 0x2000), 1)]));
        assert_eq!(snapshot[0].range, range(0x100, 0x1000), "without the first megabyte");
        let mut tdx = Tdx::new(vec![range(0, 0x1800), range(0x1800, 0x2000)]);
        assert!(!tdx.is_tdx_memory(range(0x100, 0x200)), "not in use yet");
        tdx.initialized(snapshot);
        assert!(tdx.is_tdx_memory(range(0x100, 0x1000)));
        assert!(tdx.is_tdx_memory(range(0x1000, 0x2000)));
        assert!(!tdx.is_tdx_memory(range(0xf00, 0x1100)), "two pieces");
        assert!(!tdx.is_tdx_memory(range(0x2000, 0x2100)));
        assert_eq!(tdx.outside(range(0x1000, 0x2000)), None);
        assert_eq!(tdx.outside(range(0xf00, 0x1100)), Some(Why::ManyPieces));
        assert_eq!(tdx.outside(range(0x1f00, 0x2100)), Some(Why::NotInSnapshot));
        assert!(tdx.is_convertible(range(0x100, 0x2000)) && !tdx.is_convertible(range(0, 0x2001)));
        tdx.failed(Errno::Io);
        assert!(!tdx.is_tdx_memory(range(0x100, 0x1000)));
        assert_eq!(tdx.outside(range(0x2000, 0x2100)), None, "nothing keeps anything out");
    }
}
