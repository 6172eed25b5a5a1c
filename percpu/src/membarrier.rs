//! A barrier on every CPU that runs a thread of this process: membarrier(2).
//!
//! Neither loom nor Miri knows the system call; under them, and elsewhere than on Linux, it is
//! never granted.

pub(crate) use imp::{barrier, is_granted};

#[cfg(all(target_os = "linux", not(miri), not(all(loom, feature = "loom"))))]
mod imp {
    use std::sync::OnceLock;

    use rustix::thread::{MembarrierCommand, membarrier};

    /// Registers the process, once, and tries a first barrier; whether both were allowed.
    pub(crate) fn is_granted() -> bool {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        let commands =
            [MembarrierCommand::RegisterPrivateExpedited, MembarrierCommand::PrivateExpedited];
        *GRANTED.get_or_init(|| commands.into_iter().all(|command| membarrier(command).is_ok()))
    }

    /// # Panics
    ///
    /// Panics if the kernel refuses: it was granted before.
    pub(crate) fn barrier() {
        membarrier(MembarrierCommand::PrivateExpedited).expect("a barrier that was granted before");
    }
}

#[cfg(not(all(target_os = "linux", not(miri), not(all(loom, feature = "loom")))))]
mod imp {
    pub(crate) fn is_granted() -> bool {
        false
    }

    pub(crate) fn barrier() {
        unreachable!("a barrier that was never granted")
    }
}
