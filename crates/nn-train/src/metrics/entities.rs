//! Entities in sequences of tags.
//!
//! Source: Ramshaw & Marcus 1995, "Text chunking using transformation-based learning", and the rules of `conlleval` as the
//! Python package `seqeval` applies them where none is asked for: an entity that begins with `I-` is one.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;

/// A stretch of tokens with a name: `["B-person", "I-person", "O"]` has one of `person` at 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entity<'a> {
    /// What it is.
    pub kind: &'a str,
    /// Its first token.
    pub first: usize,
    /// Its last token.
    pub last: usize,
}

/// The entities of a sentence's tags: `O`, or one of `B-`, `I-`, `E-` and `S-` before a kind.
pub fn entities<T: AsRef<str>>(tags: &[T]) -> Vec<Entity<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let (mut before, mut kind_before) = ('O', "");
    for (i, tag) in tags.iter().map(AsRef::as_ref).chain(["O"]).enumerate() {
        let (place, kind) = parts(tag);
        let other = kind != kind_before;
        if ends(before, place, other) {
            found.extend(open.map(|(kind, first)| Entity { kind, first, last: i - 1 }));
            open = None;
        }
        if begins(before, place, other) {
            open = Some((kind, i));
        }
        (before, kind_before) = (place, kind);
    }
    found
}

/// Where in an entity a tag is, and of what kind that is.
fn parts(tag: &str) -> (char, &str) {
    let mut rest = tag.chars();
    let place = rest.next().unwrap_or('O');
    let kind = rest.as_str();
    let kind = kind.split_once('-').map_or(kind, |(_, kind)| kind);
    (place, if kind.is_empty() { "_" } else { kind })
}

/// Whether an entity ends before a tag.
fn ends(before: char, place: char, other_kind: bool) -> bool {
    match (before, place) {
        ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
        _ => before != 'O' && before != '.' && other_kind,
    }
}

/// Whether an entity begins with a tag.
fn begins(before: char, place: char, other_kind: bool) -> bool {
    match (before, place) {
        (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
        _ => place != 'O' && place != '.' && other_kind,
    }
}

/// Which entities of a sentence were found: those of the same kind from the same token to the same.
pub fn entities_found<T: AsRef<str>, P: AsRef<str>>(truth: &[T], predicted: &[P]) -> Found {
    found_by_kind(truth, predicted).into_values().fold(Found::default(), |mut sum, found| {
        sum += found;
        sum
    })
}

/// [`entities_found`] by their kinds.
pub fn found_by_kind<'a, T: AsRef<str>, P: AsRef<str>>(
    truth: &'a [T],
    predicted: &'a [P],
) -> BTreeMap<&'a str, Found> {
    let there: BTreeSet<Entity<'_>> = entities(truth).into_iter().collect();
    let mut kinds: BTreeMap<&str, Found> = BTreeMap::new();
    for entity in &there {
        kinds.entry(entity.kind).or_default().there += 1;
    }
    for entity in entities(predicted) {
        let found = kinds.entry(entity.kind).or_default();
        found.claimed += 1;
        found.hits += u64::from(there.contains(&entity));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_tags() {
        let of = |tags: &str| {
            let tags: Vec<&str> = tags.split(' ').collect();
            entities(&tags).iter().map(|e| format!("{}{}-{}", e.kind, e.first, e.last)).collect::<Vec<_>>()
        };
        assert_eq!(of("B-a I-a O B-b B-b"), ["a0-1", "b3-3", "b4-4"]);
        assert_eq!(of("I-a I-b I-b O I-a"), ["a0-0", "b1-2", "a4-4"]);
        assert_eq!(of("B-a I-a E-a S-b O"), ["a0-2", "b3-3"]);
        assert_eq!(of("O B-creative-work I-creative-work"), ["creative-work1-2"]);
        assert_eq!(of("B I O"), ["_0-1"]);
        assert_eq!(entities::<&str>(&[]), []);
    }

    #[test]
    fn an_entity_is_found_as_a_whole() {
        let truth = ["B-a", "I-a", "O", "B-b", "O", "B-b"];
        let predicted = ["B-a", "O", "O", "B-b", "O", "B-a"];
        let found = entities_found(&truth, &predicted);
        assert_eq!(found, Found { hits: 1, claimed: 3, there: 3 });
        let kinds = found_by_kind(&truth, &predicted);
        assert_eq!(kinds["b"], Found { hits: 1, claimed: 1, there: 2 });
    }
}
