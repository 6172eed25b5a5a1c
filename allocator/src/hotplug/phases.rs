//! Changes in two phases. Linux: `enum memory_block_action` and the notifier chain.

/// How often changes began, ended well and were called off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Phases {
    /// Linux: `MEM_GOING_ONLINE`.
    pub going_online: u64,
    /// Linux: `MEM_CANCEL_ONLINE`.
    pub cancel_online: u64,
    /// Linux: `MEM_ONLINE`.
    pub online: u64,
    /// Linux: `MEM_GOING_OFFLINE`.
    pub going_offline: u64,
    /// Linux: `MEM_CANCEL_OFFLINE`.
    pub cancel_offline: u64,
    /// Linux: `MEM_OFFLINE`.
    pub offline: u64,
}
