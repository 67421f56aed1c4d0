//! What a text is cut into.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The pieces of a text that have a number each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Units {
    /// Unicode's code points, blanks and line ends among them.
    Characters,
    /// What stands between blanks; in it every mark is a word of its own, but for apostrophes and hyphens within a word.
    Words,
    /// [`Units::Words`] in lower case.
    #[default]
    LowercaseWords,
}

impl Units {
    /// The pieces of `text`, in order.
    ///
    /// ```
    /// use nn_sequence::text::Units;
    ///
    /// let words: Vec<_> = Units::LowercaseWords.cut("It's \"well-made\", he says.").collect();
    /// assert_eq!(words, ["it's", "\"", "well-made", "\"", ",", "he", "says", "."]);
    /// assert_eq!(Units::Characters.cut("a b").collect::<String>(), "a b");
    /// ```
    pub fn cut<'a>(self, text: &'a str) -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
        match self {
            Self::Characters => Box::new(pieces(text, |rest| rest.chars().next().map_or(0, char::len_utf8))),
            Self::Words => Box::new(words(text)),
            Self::LowercaseWords => Box::new(words(text).map(|word| Cow::Owned(word.to_lowercase()))),
        }
    }

    /// The text of pieces: words with a blank between them.
    pub fn join<'a>(self, pieces: impl Iterator<Item = &'a str>) -> String {
        match self {
            Self::Characters => pieces.collect(),
            Self::Words | Self::LowercaseWords => pieces.collect::<Vec<_>>().join(" "),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.split_whitespace().flat_map(|chunk| pieces(chunk, first_word))
}

/// `text`, cut again and again after as many bytes of the rest as `length` says.
fn pieces(text: &str, length: impl Fn(&str) -> usize) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, left) = rest.split_at_checked(length(rest)).filter(|(piece, _)| !piece.is_empty())?;
        rest = left;
        Some(Cow::Borrowed(piece))
    })
}

/// Bytes of the word that `chunk`, which holds no blanks, begins with.
fn first_word(chunk: &str) -> usize {
    let mut end = 0;
    let mut letters = chunk.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        let inside = |next: &(usize, char)| next.1.is_alphanumeric();
        let joins = "'’-".contains(c) && at > 0 && letters.peek().is_some_and(inside);
        if !c.is_alphanumeric() && !joins {
            return if at == 0 { c.len_utf8() } else { at };
        }
        end = at + c.len_utf8();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_words_but_for_those_within_one() {
        let cut = |text| Units::Words.cut(text).collect::<Vec<_>>();
        assert_eq!(cut("'Tis the 21st-century's -- end..."), {
            ["'", "Tis", "the", "21st-century's", "-", "-", "end", ".", ".", "."]
        });
        assert_eq!(cut("  naïve\t\u{2019}Äh\u{a0}x' "), ["naïve", "\u{2019}", "Äh", "x", "'"]);
        assert!(cut(" \n").is_empty());
    }

    #[test]
    fn what_was_cut_is_joined() {
        for (units, text) in [(Units::Characters, "ROMEO:\n é "), (Units::LowercaseWords, "a b , c")] {
            let pieces: Vec<_> = units.cut(text).collect();
            assert_eq!(units.join(pieces.iter().map(|piece| &**piece)), text);
        }
    }
}
