//! Texts as numbers: what a text is cut into, the vocabulary of the pieces, and trained tokenizers.

#[cfg(feature = "tokenizers")]
mod lines;
#[cfg(feature = "tokenizers")]
pub mod tokenizer;
mod units;
mod vocabulary;

#[cfg(feature = "tokenizers")]
pub use tokenizer::{Case, Subwords, Tokenizer, TokenizerConfig};
pub use units::Units;
pub use vocabulary::{Special, Vocabulary, VocabularyConfig};
