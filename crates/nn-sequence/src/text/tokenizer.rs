//! Trained tokenizers, which cut words further: those of Hugging Face, read from any `tokenizer.json` or trained here.
//!
//! Source: Sennrich, Haddow & Birch 2016, arXiv:1508.07909, for byte pairs, over bytes as in Radford et al. 2019; Schuster & Nakajima
//! 2012, "Japanese and Korean voice search", for word pieces, with BERT's words (Devlin et al. 2019, arXiv:1810.04805).

use std::fmt;
use std::path::Path;

use candle_core::{Error, Result};
use nn_core::ensure;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainerBuilder};
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::normalizers::utils::Lowercase;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, decoders};

use super::Special;
use super::lines::Lines;

/// What a trained tokenizer cuts words into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subwords {
    /// Pairs that were often beside each other, from single bytes on: nothing is unknown, and texts come back as they were.
    #[default]
    BytePairs,
    /// BERT's: words without their accents' marks, the pieces within a word marked by `##`; needs [`Special::Unknown`].
    WordPieces,
}

/// What happens to capitals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// They stay.
    #[default]
    Keep,
    /// They become small letters.
    Lower,
}

/// Options of [`Tokenizer::train`].
#[derive(Clone, Copy, Debug)]
pub struct TokenizerConfig<'a> {
    /// What words are cut into.
    pub subwords: Subwords,
    /// What happens to capitals before.
    pub case: Case,
    /// Tokens in all, at most.
    pub size: usize,
    /// The first of them, in this order.
    pub special: &'a [Special],
}

/// Text to tokens and back.
///
/// ```
/// use nn_sequence::text::Special;
/// use nn_sequence::text::tokenizer::{Case, Subwords, Tokenizer, TokenizerConfig};
///
/// # fn main() -> nn_core::candle_core::Result<()> {
/// let cfg = TokenizerConfig { subwords: Subwords::BytePairs, case: Case::Lower, size: 300, special: &[Special::End] };
/// let tokenizer = Tokenizer::train(["low lower lowest", "new newer newest"], cfg)?;
/// let ids = tokenizer.encode("Lowest näwest")?;
/// assert_eq!(tokenizer.decode(&ids)?, "lowest näwest");
/// assert_eq!(tokenizer.special(Special::End), Some(0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// Any `tokenizer.json`.
    ///
    /// # Errors
    /// If the file cannot be read or is none; the message names it.
    pub fn open(path: &Path) -> Result<Self> {
        let json = std::fs::read(path).map_err(|e| Error::Msg(format!("{}: {e}", path.display())))?;
        Self::from_json(&json).map_err(|e| e.context(path.display().to_string()))
    }

    /// The contents of a `tokenizer.json`. What it says of cutting and padding texts is left out: [`Tokenizer::encode`] gives
    /// the tokens that a text has.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let read = tokenizers::Tokenizer::from_bytes(json).and_then(|mut tokenizer| {
            tokenizer.with_padding(None).with_truncation(None)?;
            Ok(tokenizer)
        });
        read.map(Self).map_err(|e| failed("not a tokenizer.json", &*e))
    }

    /// The contents of the `tokenizer.json` that this is read from again.
    ///
    /// # Errors
    /// If a part of it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        self.0.to_string(false).map_err(|e| failed("a tokenizer that cannot be written", &*e))
    }

    /// Learns from texts which pieces to cut words into. The same texts give the same byte pairs; word pieces that are equally
    /// good may come in another order, so a tokenizer of theirs is to be kept.
    ///
    /// # Errors
    /// If the size leaves no room for a piece, or word pieces have no unknown token.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>, cfg: TokenizerConfig<'_>) -> Result<Self> {
        let texts: Vec<&str> = texts.into_iter().collect();
        Self::learn(texts.into_iter(), cfg)
    }

    /// [`Tokenizer::train`] on the lines of files, which are read one after the other and never kept whole.
    ///
    /// # Errors
    /// Those of [`Tokenizer::train`]; if a file cannot be read, or a line is no UTF-8: the message names file, line and byte.
    pub fn train_on_files<P: AsRef<Path>>(paths: &[P], cfg: TokenizerConfig<'_>) -> Result<Self> {
        let mut lines = Lines::new(paths);
        let tokenizer = Self::learn(&mut lines, cfg);
        lines.end()?;
        tokenizer
    }

    fn learn<S: AsRef<str> + Send>(
        texts: impl Iterator<Item = S> + Send,
        cfg: TokenizerConfig<'_>,
    ) -> Result<Self> {
        let TokenizerConfig { subwords, case, size, special } = cfg;
        ensure!(
            subwords == Subwords::BytePairs || special.contains(&Special::Unknown),
            "Tokenizer: word pieces need the token {}",
            Special::Unknown.name()
        );
        let least = special.len() + if subwords == Subwords::BytePairs { 256 } else { 1 };
        ensure!(size >= least, "Tokenizer: there must be at least {least} tokens, got {size}");
        let tokens = special.iter().map(|token| AddedToken::from(token.name(), true)).collect();
        let (mut tokenizer, mut trainer) = match subwords {
            Subwords::BytePairs => byte_pairs(case, size, tokens)?,
            Subwords::WordPieces => word_pieces(case, size, tokens)?,
        };
        let trained = tokenizer.train(&mut trainer, texts);
        trained.map_err(|e| failed("Tokenizer: cannot be trained", &*e))?;
        Ok(Self(tokenizer))
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a special token.
    pub fn special(&self, token: Special) -> Option<u32> {
        self.id(token.name())
    }

    /// The number of a token as the file writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    /// The tokens of a text, without special ones around it.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.0.encode_fast(text, false).map_err(|e| failed("cannot tokenize", &*e))?;
        Ok(tokens.get_ids().to_vec())
    }

    /// The text of tokens; special ones are left out.
    ///
    /// # Errors
    /// If the tokenizer cannot put them together.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.0.decode(ids, true).map_err(|e| failed("cannot put tokens together", &*e))?;
        // Byte-level pieces begin with the blank in front of their word.
        Ok(text.strip_prefix(' ').map(str::to_owned).unwrap_or(text))
    }
}

type Parts = (tokenizers::Tokenizer, TrainerWrapper);

fn byte_pairs(case: Case, size: usize, special: Vec<AddedToken>) -> Result<Parts> {
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(true, true, true);
    let lower = (case == Case::Lower).then_some(Lowercase);
    tokenizer.with_normalizer(lower).map_err(|e| failed("Tokenizer", &*e))?;
    tokenizer.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
    let trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(size)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    Ok((tokenizer, trainer.into()))
}

fn word_pieces(case: Case, size: usize, special: Vec<AddedToken>) -> Result<Parts> {
    let unknown = Special::Unknown.name().to_owned();
    let model = WordPiece::builder().unk_token(unknown).build().map_err(|e| failed("Tokenizer", &*e))?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let normalizer = BertNormalizer::new(true, true, None, case == Case::Lower);
    tokenizer.with_normalizer(Some(normalizer)).map_err(|e| failed("Tokenizer", &*e))?;
    let decoder = decoders::wordpiece::WordPiece::default();
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer)).with_decoder(Some(decoder));
    let trainer =
        WordPieceTrainerBuilder::new().show_progress(false).vocab_size(size).special_tokens(special).build();
    Ok((tokenizer, trainer.into()))
}

fn failed(what: &str, why: &dyn fmt::Display) -> Error {
    Error::Msg(format!("{what}: {why}"))
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] =
        ["the lower the better", "a newer and lower offer, the lowest", "Übermut ist nie gut"];
    const SPECIAL: &[Special] = &[Special::Padding, Special::Unknown, Special::Start, Special::End];

    fn trained(subwords: Subwords, case: Case) -> Result<Tokenizer> {
        Tokenizer::train(TEXTS, TokenizerConfig { subwords, case, size: 290, special: SPECIAL })
    }

    #[test]
    fn lines_of_files_are_texts() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let write = |name: &str, bytes: &[u8]| -> Result<std::path::PathBuf> {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes)?;
            Ok(path)
        };
        let cfg =
            TokenizerConfig { subwords: Subwords::BytePairs, case: Case::Keep, size: 270, special: &[] };
        let files = [write("a.txt", b"\xef\xbb\xbflow lower\r\nlowest\n")?, write("b.txt", b"\nnew newer")?];
        let tokenizer = Tokenizer::train_on_files(&files, cfg)?;
        let texts = Tokenizer::train(["low lower", "lowest", "", "new newer"], cfg)?;
        assert_eq!(tokenizer.to_json()?, texts.to_json()?);
        let latin = write("c.txt", b"good\ncaf\xe9")?;
        for (path, message) in
            [(latin, "c.txt: line 2 is no UTF-8 from byte 4 on"), ("missing.txt".into(), "missing.txt: ")]
        {
            let error = Tokenizer::train_on_files(&[path], cfg).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        Ok(())
    }

    #[test]
    fn byte_pairs_bring_every_text_back() -> Result<()> {
        let tokenizer = trained(Subwords::BytePairs, Case::Keep)?;
        for text in ["the lowest", "Übermut 猫, ok?", "two  blanks", "x"] {
            let ids = tokenizer.encode(text)?;
            assert_eq!(tokenizer.decode(&ids)?, text);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
        }
        assert!(tokenizer.encode("the lower")?.len() < "the lower".len());
        assert_eq!(SPECIAL.iter().map(|&t| tokenizer.special(t)).collect::<Vec<_>>(), [0, 1, 2, 3].map(Some));
        assert_eq!(trained(Subwords::BytePairs, Case::Lower)?.encode("THE")?, {
            trained(Subwords::BytePairs, Case::Lower)?.encode("the")?
        });
        Ok(())
    }

    #[test]
    fn word_pieces_are_marked_and_strange_letters_unknown() -> Result<()> {
        let tokenizer = trained(Subwords::WordPieces, Case::Lower)?;
        assert_eq!(
            tokenizer.decode(&tokenizer.encode("The LOWER offer, lowest")?)?,
            "the lower offer, lowest"
        );
        assert_eq!(tokenizer.encode("猫")?, [1]);
        assert!(tokenizer.id("##r").is_some());
        Ok(())
    }

    #[test]
    fn a_file_is_read_as_it_was_written() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("tokenizer.json");
        let again = || trained(Subwords::BytePairs, Case::Lower)?.to_json();
        assert_eq!(again()?, again()?);
        for subwords in [Subwords::BytePairs, Subwords::WordPieces] {
            let tokenizer = trained(subwords, Case::Lower)?;
            std::fs::write(&path, tokenizer.to_json()?)?;
            let read = Tokenizer::open(&path)?;
            assert_eq!(read.encode("a lower offer")?, tokenizer.encode("a lower offer")?);
        }
        // What published files say of the length of a batch's texts.
        let tokenizer = trained(Subwords::BytePairs, Case::Lower)?;
        let mut file: serde_json::Value = serde_json::from_str(&tokenizer.to_json()?).map_err(Error::wrap)?;
        file["truncation"] = serde_json::json!({
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
        });
        file["padding"] = serde_json::json!({
            "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<pad>"
        });
        let padded = Tokenizer::from_json(file.to_string().as_bytes())?;
        assert_eq!(padded.encode("a lower offer")?, tokenizer.encode("a lower offer")?);
        std::fs::write(&path, "{\"model\": 3}")?;
        let error = Tokenizer::open(&path).expect_err("no tokenizer").to_string();
        assert!(error.contains("tokenizer.json") && error.contains("not a tokenizer.json"), "{error}");
        let error = Tokenizer::open(&dir.path().join("absent")).expect_err("no file").to_string();
        assert!(error.contains("absent"), "{error}");
        Ok(())
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let cfg =
            TokenizerConfig { subwords: Subwords::WordPieces, case: Case::Keep, size: 10, special: &[] };
        let error = Tokenizer::train(TEXTS, cfg).expect_err("no unknown token").to_string();
        assert!(error.contains("<unk>"), "{error}");
        let error = Tokenizer::train(TEXTS, TokenizerConfig { subwords: Subwords::BytePairs, ..cfg });
        assert!(error.expect_err("too small").to_string().contains("at least 256 tokens, got 10"));
    }
}
