//! The host's end of a link to a CXL device.

/// Whether metadata passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Metadata {
    /// It is dropped.
    #[default]
    Dropped,
    /// It passes, and on a host it is where the tags go.
    Carried,
}

/// Whether atomic and exclusive accesses pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Atomics {
    /// They fail, or turn into accesses that are not atomic.
    #[default]
    Lost,
    /// They pass.
    Passed,
}

/// Whether the host can take a device into its trust boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HostTsp {
    /// It cannot.
    #[default]
    Absent,
    /// It can.
    Present,
}

/// A root port, with the decoders of its host bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RootPort {
    /// Whether tags of the CPUs go into extended metadata.
    pub metadata: Metadata,
    /// Whether atomic accesses go through.
    pub atomics: Atomics,
    /// Whether it speaks the protocol of trust.
    pub tsp: HostTsp,
}
