//! Sentences with a token a line and its labels beside it, as the shared tasks of CoNLL have them.
//!
//! Source: Tjong Kim Sang & De Meulder 2003, "Introduction to the CoNLL-2003 shared task", §2.

use std::path::Path;

use candle_core::{Error, Result};

use super::Encoding;

/// A column of tokens and one of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedSentence {
    /// The words.
    pub tokens: Vec<String>,
    /// What each is.
    pub tags: Vec<String>,
}

/// The sentences of a file: the first and the last column of its lines, which are divided by blanks or tabs. A line without a
/// token ends a sentence.
///
/// # Errors
/// If the file cannot be read, is not in the encoding, or a line has but one column; the message names it.
pub fn read_conll(path: &Path, encoding: Encoding) -> Result<Vec<TaggedSentence>> {
    let named = |e: Error| Error::Msg(format!("{}: {e}", path.display()));
    parse(&encoding.read(path)?).map_err(named)
}

fn parse(text: &str) -> Result<Vec<TaggedSentence>> {
    let (mut sentences, mut sentence) = (Vec::new(), TaggedSentence::default());
    for (number, line) in (1..).zip(text.lines()) {
        let mut columns = line.split_whitespace();
        match (columns.next(), columns.next_back()) {
            (Some(token), Some(tag)) => {
                sentence.tokens.push(token.to_owned());
                sentence.tags.push(tag.to_owned());
            }
            (Some(token), None) => {
                candle_core::bail!("line {number}: a token and its tag are expected, got {token:?} alone")
            }
            (None, _) if sentence.tokens.is_empty() => {}
            (None, _) => sentences.push(std::mem::take(&mut sentence)),
        }
    }
    if !sentence.tokens.is_empty() {
        sentences.push(sentence);
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_sentences() -> Result<()> {
        let sentences = parse("\nEU NNP B-org\nrejects VBZ O\n\t\n\n#\tO\n")?;
        let show = |s: &TaggedSentence| format!("{} {}", s.tokens.join(" "), s.tags.join(" "));
        assert_eq!(sentences.iter().map(show).collect::<Vec<_>>(), ["EU rejects B-org O", "# O"]);
        let error = parse("a O\nb\n").expect_err("no tag").to_string();
        assert!(error.contains("line 2: a token and its tag are expected, got \"b\" alone"), "{error}");
        let error =
            read_conll(Path::new("no/t.conll"), Encoding::default()).expect_err("no file").to_string();
        assert!(error.contains("no/t.conll"), "{error}");
        Ok(())
    }
}
