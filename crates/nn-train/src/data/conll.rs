//! Sentences with a token a line and its labels beside it, as the shared tasks of CoNLL have them.
//!
//! Source: Tjong Kim Sang & De Meulder 2003, "Introduction to the CoNLL-2003 shared task", §2.

use std::path::Path;

use candle_core::{Error, Result};
use nn_core::ensure;

use super::Encoding;

/// The word that stands before a document.
const DOCUMENT: &str = "-DOCSTART-";

/// A column of tokens and one of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedSentence {
    /// The words.
    pub tokens: Vec<String>,
    /// What each is.
    pub tags: Vec<String>,
}

/// The sentences of a file: the first and the last column of its lines, which are divided by blanks or tabs. A line without a
/// token ends a sentence; `-DOCSTART-`, which begins a document, is no token.
///
/// # Errors
/// If the file cannot be read, is not in the encoding, or a line has but one column, or not as many as the first; the message
/// names it.
pub fn read_conll(path: &Path, encoding: Encoding) -> Result<Vec<TaggedSentence>> {
    let named = |e: Error| Error::Msg(format!("{}: {e}", path.display()));
    parse(&encoding.read(path)?).map_err(named)
}

fn parse(text: &str) -> Result<Vec<TaggedSentence>> {
    let (mut sentences, mut sentence) = (Vec::new(), TaggedSentence::default());
    let mut width = None;
    for (number, line) in (1..).zip(text.lines()) {
        // A blank that does not break a line belongs to its token.
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        match columns.as_slice() {
            [DOCUMENT, ..] => {}
            &[token, .., tag] => {
                let width = *width.get_or_insert(columns.len());
                ensure!(
                    columns.len() == width,
                    "line {number}: {width} columns are expected, as in the first, got {}",
                    columns.len()
                );
                sentence.tokens.push(token.to_owned());
                sentence.tags.push(tag.to_owned());
            }
            [token] => {
                candle_core::bail!("line {number}: a token and its tag are expected, got {token:?} alone")
            }
            [] if sentence.tokens.is_empty() => {}
            [] => sentences.push(std::mem::take(&mut sentence)),
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
        let sentences = parse("-DOCSTART- -X- O\n\nEU NNP B-org\nre\u{a0}jects VBZ O\r\n\t\n\n#\t#\tO\n")?;
        let show = |s: &TaggedSentence| format!("{} {}", s.tokens.join(" "), s.tags.join(" "));
        assert_eq!(sentences.iter().map(show).collect::<Vec<_>>(), ["EU re\u{a0}jects B-org O", "# O"]);
        let error = parse("a O\nb\n").expect_err("no tag").to_string();
        assert!(error.contains("line 2: a token and its tag are expected, got \"b\" alone"), "{error}");
        let error = parse("EU NNP B-NP B-org\nrejects VBZ B-VP\n").expect_err("a column is lost").to_string();
        assert!(error.contains("line 2: 4 columns are expected, as in the first, got 3"), "{error}");
        let error =
            read_conll(Path::new("no/t.conll"), Encoding::default()).expect_err("no file").to_string();
        assert!(error.contains("no/t.conll"), "{error}");
        Ok(())
    }
}
