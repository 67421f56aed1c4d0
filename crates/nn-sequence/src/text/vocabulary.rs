//! The pieces that a model knows, numbered.

use std::collections::HashMap;

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::Units;

/// A token that stands for no piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Fills up short sequences.
    Padding,
    /// Any piece outside the vocabulary.
    Unknown,
    /// The beginning of a text.
    Start,
    /// The end of a text.
    End,
}

impl Special {
    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Padding => "<pad>",
            Self::Unknown => "<unk>",
            Self::Start => "<s>",
            Self::End => "</s>",
        }
    }
}

/// Options of [`Vocabulary::build`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VocabularyConfig<'a> {
    /// What texts are cut into.
    pub units: Units,
    /// The first tokens, in this order.
    pub special: &'a [Special],
    /// A piece must occur so often.
    pub min_count: usize,
    /// Pieces at most, the special ones not counted.
    pub most: usize,
}

impl Default for VocabularyConfig<'_> {
    fn default() -> Self {
        Self { units: Units::default(), special: &[], min_count: 1, most: usize::MAX }
    }
}

/// Pieces of text and their numbers, from 0 without a gap.
///
/// Build it from the training part alone, or evaluations know words that nobody was taught. As JSON it holds `units`, the
/// number of `special` tokens, and all `tokens` in order.
///
/// ```
/// use nn_sequence::text::{Special, Vocabulary, VocabularyConfig};
///
/// # fn main() -> nn_core::candle_core::Result<()> {
/// let cfg = VocabularyConfig { special: &[Special::Padding, Special::Unknown], ..VocabularyConfig::default() };
/// let words = Vocabulary::build(["A film, a good film.", "A play."], cfg);
/// assert_eq!(words.tokens(), ["<pad>", "<unk>", "a", ".", "film", ",", "good", "play"]);
/// assert_eq!(words.encode("a bad film")?, [2, 1, 4]);
/// assert_eq!(words.decode(&[2, 1, 4]), "a <unk> film");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Vocabulary {
    units: Units,
    special: usize,
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
}

/// A [`Vocabulary`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    units: Units,
    special: usize,
    tokens: Vec<String>,
}

impl From<Vocabulary> for Saved {
    fn from(Vocabulary { units, special, tokens, .. }: Vocabulary) -> Self {
        Self { units, special, tokens }
    }
}

impl TryFrom<Saved> for Vocabulary {
    type Error = String;

    fn try_from(Saved { units, special, tokens }: Saved) -> std::result::Result<Self, String> {
        let all = tokens.len();
        if u32::try_from(all).is_err() || special > all {
            return Err(format!("a vocabulary of {all} tokens, {special} of them special"));
        }
        let ids: HashMap<_, _> = tokens.iter().cloned().zip(0..).collect();
        if ids.len() < all {
            return Err(format!("{} of {all} tokens of the vocabulary are there twice", all - ids.len()));
        }
        Ok(Self { units, special, tokens, ids })
    }
}

impl Vocabulary {
    /// The pieces of `texts`: the most frequent first, equally frequent ones in the order of their letters.
    pub fn build<'a>(texts: impl IntoIterator<Item = &'a str>, cfg: VocabularyConfig<'_>) -> Self {
        Self::of_pieces(texts.into_iter().flat_map(|text| cfg.units.cut(text)), cfg)
    }

    /// [`Vocabulary::build`] of texts that are cut already.
    pub fn of_pieces<S: AsRef<str>>(pieces: impl IntoIterator<Item = S>, cfg: VocabularyConfig<'_>) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for piece in pieces {
            let piece = piece.as_ref();
            match counts.get_mut(piece) {
                Some(count) => *count += 1,
                None => drop(counts.insert(piece.to_owned(), 1)),
            }
        }
        let special: Vec<String> = cfg.special.iter().map(|token| token.name().to_owned()).collect();
        let own = |(piece, count): &(String, usize)| *count >= cfg.min_count && !special.contains(piece);
        let mut pieces: Vec<(String, usize)> = counts.into_iter().filter(own).collect();
        pieces.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        pieces.truncate(cfg.most.min(u32::MAX as usize - special.len()));
        let count = special.len();
        let tokens: Vec<String> = special.into_iter().chain(pieces.into_iter().map(|(p, _)| p)).collect();
        let ids = tokens.iter().cloned().zip(0..).collect();
        Self { units: cfg.units, special: count, tokens, ids }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What texts are cut into.
    pub fn units(&self) -> Units {
        self.units
    }

    /// The tokens in the order of their numbers.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The number of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    /// The number of a special token.
    pub fn special(&self, token: Special) -> Option<u32> {
        self.id(token.name()).filter(|&id| (id as usize) < self.special)
    }

    /// The numbers of a text's pieces. One outside the vocabulary becomes [`Special::Unknown`].
    ///
    /// # Errors
    /// If a piece is outside a vocabulary that has no unknown token; the message names it and its place in the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.numbers(self.units.cut(text), self.special(Special::Unknown))
    }

    /// The numbers of a text's pieces, all of which must be known.
    ///
    /// # Errors
    /// If a piece is outside the vocabulary; the message names it and its place in the text.
    pub fn encode_known(&self, text: &str) -> Result<Vec<u32>> {
        self.numbers(self.units.cut(text), None)
    }

    /// [`Vocabulary::encode`] for a text that is cut already.
    ///
    /// # Errors
    /// Those of [`Vocabulary::encode`].
    pub fn encode_pieces<S: AsRef<str>>(&self, pieces: impl IntoIterator<Item = S>) -> Result<Vec<u32>> {
        self.numbers(pieces, self.special(Special::Unknown))
    }

    /// Special tokens have no spelling: a text that holds one's name does not hold the token.
    fn numbers<S: AsRef<str>>(
        &self,
        pieces: impl IntoIterator<Item = S>,
        unknown: Option<u32>,
    ) -> Result<Vec<u32>> {
        let number = |(place, piece): (usize, S)| {
            let piece = piece.as_ref();
            let known = self.id(piece).filter(|&id| id as usize >= self.special);
            let Some(id) = known.or(unknown) else {
                let what = if self.units == Units::Characters { "character" } else { "word" };
                candle_core::bail!("{what} {place} of the text, {piece:?}, is outside the vocabulary")
            };
            Ok(id)
        };
        (1..).zip(pieces).map(number).collect()
    }

    /// The text of tokens; numbers beyond the vocabulary are shown as [`Special::Unknown`].
    pub fn decode(&self, ids: &[u32]) -> String {
        let piece = |&id: &u32| self.tokens.get(id as usize).map_or(Special::Unknown.name(), String::as_str);
        self.units.join(ids.iter().map(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: &[Special] = &[Special::Padding, Special::Unknown, Special::Start, Special::End];

    #[test]
    fn frequent_pieces_come_first_and_rare_ones_not() {
        let cfg = VocabularyConfig { special: FOUR, min_count: 2, ..VocabularyConfig::default() };
        let words = Vocabulary::build(["b a b", "c a d e b d"], cfg);
        assert_eq!(words.tokens()[4..], ["b", "a", "d"]);
        let two = Vocabulary::build(["b a b c"], VocabularyConfig { most: 2, ..VocabularyConfig::default() });
        assert_eq!(two.tokens(), ["b", "a"]);
        assert_eq!(
            FOUR.iter().map(|&token| words.special(token)).collect::<Vec<_>>(),
            [0, 1, 2, 3].map(Some)
        );
        assert_eq!((two.special(Special::Padding), two.id("c")), (None, None));
    }

    #[test]
    fn what_is_unknown_becomes_a_token_or_is_named_with_its_place() -> Result<()> {
        let characters = VocabularyConfig { units: Units::Characters, ..VocabularyConfig::default() };
        let letters = Vocabulary::build(["aab\n"], characters);
        assert_eq!(letters.encode("ba\na")?, [2, 0, 1, 0]);
        assert_eq!(letters.decode(&[2, 0, 9]), "ba<unk>");
        let error = letters.encode("abéa").expect_err("no é").to_string();
        assert!(error.contains("character 3 of the text, \"é\", is outside"), "{error}");
        let words =
            Vocabulary::build(["a b"], VocabularyConfig { special: FOUR, ..VocabularyConfig::default() });
        assert_eq!(words.encode("B c a")?, [5, 1, 4]);
        let plain = Vocabulary::build(["a"], VocabularyConfig::default());
        let error = plain.encode("a sly a").expect_err("no sly").to_string();
        assert!(error.contains("word 2 of the text, \"sly\""), "{error}");
        Ok(())
    }

    #[test]
    fn special_tokens_cannot_be_spelled() -> Result<()> {
        let cfg = VocabularyConfig { special: FOUR, ..VocabularyConfig::default() };
        let words = Vocabulary::build(["a"], cfg);
        assert_eq!(words.encode_pieces(["</s>", "a", "<pad>"])?, [1, 4, 1]);
        let error = words.encode_known("a b").expect_err("no b").to_string();
        assert!(error.contains("word 2 of the text, \"b\""), "{error}");
        Ok(())
    }

    #[test]
    fn a_vocabulary_is_read_as_it_was_written_and_damage_is_told() {
        let cfg = VocabularyConfig { special: FOUR, ..VocabularyConfig::default() };
        let words = Vocabulary::build(["a film , a play"], cfg);
        let json = serde_json::to_string(&words).expect("a vocabulary");
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).expect("the same"), words);
        for (json, says) in [
            (r#"{"units":"words","special":0,"tokens":["a","b","a"]}"#, "1 of 3 tokens"),
            (r#"{"units":"words","special":2,"tokens":["a"]}"#, "1 tokens, 2 of them special"),
            (r#"{"units":"letters","special":0,"tokens":[]}"#, "letters"),
        ] {
            let error = serde_json::from_str::<Vocabulary>(json).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
