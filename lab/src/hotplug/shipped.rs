//! The scenarios that are part of the program: the files of `lab/scenarios/hotplug/`.

use super::nearest::unknown;

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each, by name.
        pub const ALL: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../scenarios/hotplug/", $name, ".toml")))),*
        ];
    };
}

scenarios!["q01-log-volume",];

/// Every one.
const EVERY: &str = "all";

/// The scenario of that name, or all of them. The beginning of a name is enough.
///
/// # Errors
///
/// Words about what was meant.
pub fn named(word: &str) -> Result<Vec<(&'static str, &'static str)>, String> {
    if word == EVERY {
        return Ok(ALL.to_vec());
    }
    if let Some(found) = ALL.iter().find(|(name, _)| *name == word) {
        return Ok(vec![*found]);
    }
    let begun: Vec<_> = ALL
        .iter()
        .filter(|(name, _)| name.strip_prefix(word).is_some_and(|rest| rest.starts_with('-')))
        .copied()
        .collect();
    if begun.is_empty() {
        let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        return Err(format!("no file, and scenario {}", unknown(word, &known)));
    }
    Ok(begun)
}
