//! A sentence in the documentation.

use crate::hotplug::gate::Gate;

/// Everything joins; that it should not is written down, and whoever adds memory is to know.
/// Linux: no counterpart; turned down in 2022.
#[derive(Clone, Copy, Debug)]
pub struct Documented;

impl Gate for Documented {
    fn name(&self) -> &'static str {
        "documented"
    }

    fn about(&self) -> &'static str {
        "everything joins, and a document says that it should not"
    }
}
