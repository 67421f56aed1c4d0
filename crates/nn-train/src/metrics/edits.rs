//! Error rates of words and characters.
//!
//! Source: Levenshtein 1966, "Binary codes capable of correcting deletions, insertions, and reversals".

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// How many words or characters are to be changed, left out or put in, and how many there should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    edits: u64,
    reference: u64,
}

impl Edits {
    /// Of any elements.
    pub fn of<T: PartialEq>(text: &[T], reference: &[T]) -> Self {
        Self { edits: distance(text, reference), reference: reference.len() as u64 }
    }

    /// Of words between spaces.
    pub fn of_words(text: &str, reference: &str) -> Self {
        let words = |text| str::split_whitespace(text).collect::<Vec<_>>();
        Self::of(&words(text), &words(reference))
    }

    /// Of characters, spaces in front and at the end not counted.
    pub fn of_characters(text: &str, reference: &str) -> Self {
        let characters = |text: &str| text.trim().chars().collect::<Vec<_>>();
        Self::of(&characters(text), &characters(reference))
    }

    /// Edits of all that should be there; above 1 where more is wrong than should be there. `None` if nothing should.
    pub fn rate(&self) -> Option<f64> {
        (self.reference > 0).then(|| self.edits as f64 / self.reference as f64)
    }
}

impl AddAssign for Edits {
    fn add_assign(&mut self, other: Self) {
        self.edits += other.edits;
        self.reference += other.reference;
    }
}

/// The fewest edits that make one of the other.
fn distance<T: PartialEq>(a: &[T], b: &[T]) -> u64 {
    // Of the first i of `a` to the first j of `b`, row by row.
    let mut row: Vec<u64> = (0..=b.len() as u64).collect();
    for (x, above) in a.iter().zip(1..) {
        let mut diagonal = std::mem::replace(&mut row[0], above);
        for (j, y) in (1..).zip(b) {
            let change = diagonal + u64::from(x != y);
            diagonal = row[j];
            row[j] = change.min(row[j] + 1).min(row[j - 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kitten_is_three_from_sitting() {
        assert_eq!(Edits::of_characters("kitten", " sitting "), Edits { edits: 3, reference: 7 });
        let mut edits = Edits::of_words("the cat  sat", "a cat sat down");
        edits += Edits::of_words("x", "");
        assert_eq!((edits, edits.rate()), (Edits { edits: 3, reference: 4 }, Some(0.75)));
        assert_eq!(Edits::default().rate(), None);
    }
}
