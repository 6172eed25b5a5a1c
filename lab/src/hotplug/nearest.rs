//! What somebody may have meant.

/// Letters that have to be changed, added or left out to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The known word that is most like `word`, if one is like it at all.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.chars().count() > 64 {
        return None;
    }
    let found = known.iter().map(|name| (distance(word, name), *name)).min_by_key(|(far, _)| *far);
    found.filter(|(far, name)| *far <= 1 + name.len() / 3).map(|(_, name)| name)
}

/// Words about an unknown word: the one that was meant, or all that there are.
#[must_use]
pub(super) fn unknown(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(name) => format!("{word:?} is unknown; {name:?} is meant?"),
        None if known.is_empty() => format!("{word:?} is unknown; there are none"),
        None => format!("{word:?} is unknown; there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_understood() {
        let known = ["tdx-notifier", "tdx-range", "ungated"];
        assert_eq!(
            unknown("tdx_notifer", &known),
            "\"tdx_notifer\" is unknown; \"tdx-notifier\" is meant?"
        );
        assert_eq!(nearest("tdx-range", &known), Some("tdx-range"));
        assert_eq!(nearest("zfs", &known), None);
        assert!(unknown("zfs", &known).ends_with("there are tdx-notifier, tdx-range, ungated"));
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
