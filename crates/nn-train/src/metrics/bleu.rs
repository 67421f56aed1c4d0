//! BLEU: how much of translations is in their references.
//!
//! Source: Papineni, Roukos, Ward & Zhu 2002, "BLEU: a method for automatic evaluation of machine translation", ACL, §2, in
//! the form of the Python package `sacrebleu`: Post 2018, "A call for clarity in reporting BLEU scores", arXiv:1804.08771.
//! Differs: one reference a sentence.

use std::collections::HashMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::tokens_13a::tokens_13a;

/// Words in the longest run that is compared.
const ORDER: usize = 4;

/// What becomes of capitals before words are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// They are kept.
    #[default]
    Kept,
    /// They become small letters.
    Lower,
}

/// Counts over sentences, of which the score is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bleu {
    /// Runs of one to four words of the translations that are in their references.
    correct: [u64; ORDER],
    /// Runs of one to four words.
    total: [u64; ORDER],
    /// Words of the translations.
    words: u64,
    /// Words of the references.
    reference: u64,
}

impl Bleu {
    /// Of a translation as plain text, whose words are told apart as `mteval-v13a` does it.
    pub fn of(translation: &str, reference: &str, case: Case) -> Self {
        let prepare = |text: &str| match case {
            Case::Kept => tokens_13a(text.trim_end()),
            Case::Lower => tokens_13a(text.to_lowercase().trim_end()),
        };
        Self::of_words(&prepare(translation), &prepare(reference))
    }

    /// Of a translation whose words are told apart already.
    pub fn of_words(translation: &[String], reference: &[String]) -> Self {
        let mut counts =
            Self { words: translation.len() as u64, reference: reference.len() as u64, ..Self::default() };
        for n in 1..=ORDER {
            let there = runs(reference, n);
            for (run, count) in runs(translation, n) {
                counts.total[n - 1] += count;
                // A run counts as often as the reference has it.
                counts.correct[n - 1] += count.min(there.get(run).copied().unwrap_or(0));
            }
        }
        counts
    }

    /// The geometric mean of the shares of runs of one to four words, times a penalty for brevity, in [0, 100]. The k-th
    /// share that is 0 is taken as that of `2⁻ᵏ` runs (smoothing `exp`).
    pub fn score(&self) -> f64 {
        // No run of four words, no score; nothing right, the lowest one.
        if self.correct.iter().all(|&n| n == 0) || self.total.contains(&0) {
            return 0.0;
        }
        let mut zero = 1.0;
        let mut logarithms = 0.0;
        for (&correct, &total) in self.correct.iter().zip(&self.total) {
            let correct = if correct == 0 {
                zero /= 2.0;
                zero
            } else {
                correct as f64
            };
            logarithms += (correct / total as f64).ln();
        }
        100.0 * self.brevity() * (logarithms / ORDER as f64).exp()
    }

    /// The penalty for translations shorter than their references: 1 where they are not.
    fn brevity(&self) -> f64 {
        let [words, reference] = [self.words, self.reference].map(|n| n as f64);
        if words < reference { (1.0 - reference / words).exp() } else { 1.0 }
    }
}

/// How often each run of `n` words is there.
fn runs(words: &[String], n: usize) -> HashMap<&[String], u64> {
    let mut runs = HashMap::new();
    for run in words.windows(n) {
        *runs.entry(run).or_default() += 1;
    }
    runs
}

impl AddAssign for Bleu {
    fn add_assign(&mut self, other: Self) {
        for n in 0..ORDER {
            self.correct[n] += other.correct[n];
            self.total[n] += other.total[n];
        }
        self.words += other.words;
        self.reference += other.reference;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_perfect_and_shorter_is_punished() {
        let whole = "The cat sat on the mat.";
        assert!((Bleu::of(whole, whole, Case::Kept).score() - 100.0).abs() < 1e-9);
        // All of it right, 6 of 7 words.
        let part = Bleu::of("The cat sat on the mat", whole, Case::Kept).score();
        assert!((part - 100.0 * (1.0f64 - 7.0 / 6.0).exp()).abs() < 1e-9, "{part}");
        let lower = |case| Bleu::of("the CAT sat on the mat.", whole, case).score();
        assert!(lower(Case::Kept) < 80.0 && (lower(Case::Lower) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_scores_nothing() {
        assert_eq!(Bleu::default().score(), 0.0);
        assert_eq!(Bleu::of("", "a b c d e", Case::Kept).score(), 0.0);
        assert_eq!(Bleu::of("v w x y z", "a b c d e", Case::Kept).score(), 0.0);
    }
}
