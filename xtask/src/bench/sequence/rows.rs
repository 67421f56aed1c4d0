//! What `bench sequence` measures: the networks of the recipes, on batches of their usual sizes.

use anyhow::Result;
use serde::Serialize;

use crate::failure;
use crate::task::network::UnitName;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pass {
    /// Forward, cross-entropy, backward, a step of SGD with momentum.
    Training,
    /// The likeliest token each time, from the source to the end of the text.
    Decoding,
}

impl Pass {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Decoding => "decoding",
        }
    }
}

/// Sizes of a Transformer's layers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Layers {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) feed_forward: usize,
    pub(super) dropout: f64,
}

/// A network; `torch.py` has each of them too, under the same names.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Network {
    /// Two recurrent layers over vectors, the last state of which names a class.
    Rows { unit: UnitName, inputs: usize, hidden: usize, classes: usize },
    /// Two recurrent layers that say the next letter.
    Letters { unit: UnitName, vocabulary: usize, width: usize, hidden: usize, dropout: f64 },
    /// `torch.nn.TransformerEncoder` alone.
    Encoder { layers: Layers },
    /// A Transformer encoder that gives a sentence a class.
    Sentences { vocabulary: usize, classes: usize, layers: Layers },
    /// Causal Transformer layers that say the next letter.
    CausalLetters { vocabulary: usize, layers: Layers },
    /// A recurrent encoder of both directions, and a decoder with Bahdanau's attention.
    Attention { unit: UnitName, vocabularies: [usize; 2], width: usize, dropout: f64 },
    /// Encoder and decoder of a Transformer.
    Transformer { vocabularies: [usize; 2], layers: Layers },
}

/// A network in a pass.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) pass: Pass,
    pub(super) network: Network,
    pub(super) batch: usize,
    /// Steps of the longest sequence of the batch, and of the targets that it becomes.
    pub(super) steps: [usize; 2],
    /// How many times as fast as PyTorch it should be, where that is asked for.
    pub(super) aim: Option<f64>,
}

const fn rows(unit: UnitName) -> Network {
    Network::Rows { unit, inputs: 28, hidden: 128, classes: 10 }
}

const fn letters(unit: UnitName) -> Network {
    Network::Letters { unit, vocabulary: 65, width: 64, hidden: 256, dropout: 0.1 }
}

const fn layers(layers: usize, width: usize, heads: usize, feed_forward: usize, dropout: f64) -> Layers {
    Layers { layers, width, heads, feed_forward, dropout }
}

/// The words of Multi30k that occur twice.
const WORDS: [usize; 2] = [5900, 7900];
const WIDE: Network = Network::Encoder { layers: layers(6, 512, 8, 2048, 0.1) };
const REVIEWS: Network =
    Network::Sentences { vocabulary: 10_000, classes: 2, layers: layers(2, 128, 4, 256, 0.4) };
const CAUSAL: Network = Network::CausalLetters { vocabulary: 65, layers: layers(4, 128, 4, 512, 0.0) };
const BAHDANAU: Network =
    Network::Attention { unit: UnitName::Gru, vocabularies: WORDS, width: 256, dropout: 0.3 };
const VASWANI: Network = Network::Transformer { vocabularies: WORDS, layers: layers(3, 256, 8, 512, 0.2) };

use Pass::{Decoding, Training};
use UnitName::{Gru, Lstm, Rnn};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "rows-rnn",                pass: Training, network: rows(Rnn),     batch: 64, steps: [28, 1],    aim: Some(2.0) },
    Row { name: "rows-lstm",               pass: Training, network: rows(Lstm),    batch: 64, steps: [28, 1],    aim: Some(2.0) },
    Row { name: "rows-gru",                pass: Training, network: rows(Gru),     batch: 64, steps: [28, 1],    aim: Some(3.0) },
    Row { name: "char-rnn",                pass: Training, network: letters(Rnn),  batch: 32, steps: [128, 128], aim: Some(2.0) },
    Row { name: "char-lstm",               pass: Training, network: letters(Lstm), batch: 32, steps: [128, 128], aim: Some(2.0) },
    Row { name: "char-gru",                pass: Training, network: letters(Gru),  batch: 32, steps: [128, 128], aim: Some(3.0) },
    Row { name: "encoder",                 pass: Training, network: WIDE,          batch: 16, steps: [64, 64],   aim: Some(1.8) },
    Row { name: "sentiment-transformer",   pass: Training, network: REVIEWS,       batch: 50, steps: [24, 1],    aim: Some(1.8) },
    Row { name: "char-transformer",        pass: Training, network: CAUSAL,        batch: 32, steps: [128, 128], aim: Some(1.8) },
    Row { name: "translation-transformer", pass: Training, network: VASWANI,       batch: 64, steps: [14, 14],   aim: Some(1.8) },
    Row { name: "translation-gru",         pass: Training, network: BAHDANAU,      batch: 64, steps: [14, 14],   aim: None },
    Row { name: "translation-gru",         pass: Decoding, network: BAHDANAU,      batch: 1,  steps: [14, 20],   aim: Some(3.0) },
    Row { name: "translation-gru",         pass: Decoding, network: BAHDANAU,      batch: 64, steps: [14, 20],   aim: Some(3.0) },
    Row { name: "translation-transformer", pass: Decoding, network: VASWANI,       batch: 1,  steps: [14, 20],   aim: Some(3.0) },
    Row { name: "translation-transformer", pass: Decoding, network: VASWANI,       batch: 64, steps: [14, 20],   aim: Some(3.0) },
];

/// Those of these names, or all, in these passes.
pub(super) fn chosen(names: &[String], passes: &[Pass]) -> Result<Vec<Row>> {
    let all: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    for name in names {
        if !all.contains(&name.as_str()) {
            return Err(failure::unknown("network", name, &all));
        }
    }
    let named = |row: &Row| names.is_empty() || names.iter().any(|name| name == row.name);
    Ok(ROWS.iter().filter(|row| named(row) && passes.contains(&row.pass)).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name_and_pass() -> Result<()> {
        let both = [Pass::Training, Pass::Decoding];
        assert_eq!(chosen(&[], &both)?.len(), ROWS.len());
        let gru = ["translation-gru".to_owned()];
        assert_eq!((chosen(&gru, &both)?.len(), chosen(&gru, &[Pass::Training])?.len()), (3, 1));
        let error = failure::report(&chosen(&["char-lstn".to_owned()], &both).expect_err("no such network"));
        assert!(error.contains("did you mean"), "{error}");
        Ok(())
    }
}
