//! Gates by the words that people type.

use pagelab_allocator::hotplug::gate::{Gate, catalogue};

use super::nearest::unknown;

/// Every gate.
pub const ALL: &str = "all";

/// A gate by its name.
///
/// # Errors
///
/// Words about what was meant.
pub fn by_name(name: &str) -> Result<&'static dyn Gate, String> {
    catalogue::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = catalogue::all().iter().map(|gate| gate.name()).collect();
        format!("gate {}", unknown(name, &known))
    })
}

/// Gates by their names, or all of them.
///
/// # Errors
///
/// The position of the wrong word, and words about it.
pub fn by_names<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<&'static dyn Gate>, (usize, String)> {
    let mut gates: Vec<&'static dyn Gate> = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let more = match name {
            ALL => catalogue::all(),
            _ => vec![by_name(name).map_err(|why| (at, why))?],
        };
        for gate in more {
            if gates.iter().any(|other| other.name() == gate.name()) {
                return Err((at, format!("gate {:?} stands there twice", gate.name())));
            }
            gates.push(gate);
        }
    }
    Ok(gates)
}
