//! Which network weights are for whose shape a recipe gives, told from names and shapes; the zoo's models are
//! [`nn_vision::likely`]'s.

use std::collections::{BTreeMap, BTreeSet};

use nn_core::weights::WeightFile;
use serde::Serialize;

use crate::output::thousands;

/// A network, and what of its recipe the shapes tell. What has no parameters they do not: heads of attention, dropout,
/// activations.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Likely {
    pub(crate) kind: &'static str,
    pub(crate) shape: String,
}

struct Kind {
    what: &'static str,
    /// How names begin: each of these is there, and
    parts: &'static [&'static str],
    /// perhaps these, and nothing else.
    maybe: &'static [&'static str],
    layers: Layers,
    /// Embeddings, `[V, D]`.
    words: &'static [&'static str],
    /// As long as there are answers, where they are not words.
    answers: Option<&'static str>,
}

/// Where the layers are that all networks of a kind have.
enum Layers {
    Linear(&'static str),
    Recurrent(&'static str),
    Transformer(&'static str),
}

const KINDS: &[Kind] = &[
    Kind {
        what: "mlp",
        parts: &["layers."],
        maybe: &[],
        layers: Layers::Linear("layers."),
        words: &[],
        answers: None,
    },
    Kind {
        what: "rows, or a recurrent network of the tasks forecast or adding",
        parts: &["rnn.", "head."],
        maybe: &[],
        layers: Layers::Recurrent("rnn."),
        words: &[],
        answers: Some("head.bias"),
    },
    Kind {
        what: "recurrent classifier of texts",
        parts: &["embedding.", "rnn.", "head."],
        maybe: &[],
        layers: Layers::Recurrent("rnn."),
        words: &["embedding.weight"],
        answers: Some("head.bias"),
    },
    Kind {
        what: "recurrent tagger",
        parts: &["rnn.", "head.", "crf."],
        maybe: &["embedding."],
        layers: Layers::Recurrent("rnn."),
        words: &["embedding.weight"],
        answers: Some("head.bias"),
    },
    Kind {
        what: "tagger of words by their letters",
        parts: &["words.", "letters.", "tagger.rnn.", "tagger.head."],
        maybe: &["tagger.crf."],
        layers: Layers::Recurrent("tagger.rnn."),
        words: &["words.weight"],
        answers: Some("tagger.head.bias"),
    },
    Kind {
        what: "recurrent language model",
        parts: &["embedding.", "rnn.", "decoder."],
        maybe: &[],
        layers: Layers::Recurrent("rnn."),
        words: &["embedding.weight"],
        answers: None,
    },
    Kind {
        what: "Transformer language model",
        parts: &["embedding.", "encoder.", "decoder."],
        maybe: &["positions."],
        layers: Layers::Transformer("encoder."),
        words: &["embedding.weight"],
        answers: None,
    },
    Kind {
        what: "Transformer classifier of texts",
        parts: &["embedding.weight", "encoder.", "head."],
        maybe: &["positions."],
        layers: Layers::Transformer("encoder."),
        words: &["embedding.weight"],
        answers: Some("head.bias"),
    },
    Kind {
        what: "Transformer of the task adding",
        parts: &["embedding.weight", "embedding.bias", "encoder.", "head."],
        maybe: &["positions."],
        layers: Layers::Transformer("encoder."),
        words: &[],
        answers: Some("head.bias"),
    },
    Kind {
        what: "recurrent encoder and decoder",
        parts: &["encoder.embedding.", "encoder.rnn.", "embedding.", "rnn.", "combine.", "output."],
        maybe: &["attention.", "bridge."],
        layers: Layers::Recurrent("encoder.rnn."),
        words: &["encoder.embedding.weight", "embedding.weight"],
        answers: None,
    },
    Kind {
        what: "Transformer encoder and decoder",
        parts: &["source.", "target.", "transformer.encoder.", "transformer.decoder.", "output."],
        maybe: &[],
        layers: Layers::Transformer("transformer.encoder."),
        words: &["source.embedding.weight", "target.embedding.weight"],
        answers: None,
    },
    Kind {
        what: "image captioner",
        parts: &["attention.", "embedding.", "init_h.", "init_c.", "f_beta.", "decode_step.", "fc."],
        maybe: &[],
        layers: Layers::Recurrent("decode_step."),
        words: &["embedding.weight"],
        answers: None,
    },
];

type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// The network that all these tensors are of, if there is one.
pub(crate) fn likely(file: &WeightFile) -> Option<Likely> {
    let shapes: Shapes<'_> = file.tensors().map(|(name, info)| (name, info.shape)).collect();
    KINDS.iter().find_map(|kind| kind.fit(&shapes))
}

impl Kind {
    fn fit(&self, shapes: &Shapes<'_>) -> Option<Likely> {
        let known = |name: &str| self.parts.iter().chain(self.maybe).any(|part| name.starts_with(part));
        let there = |part: &&str| shapes.keys().any(|name| name.starts_with(part));
        if !shapes.keys().all(|name| known(name)) || !self.parts.iter().all(there) {
            return None;
        }
        let mut facts = match self.layers {
            Layers::Linear(prefix) => linear(prefix, shapes)?,
            Layers::Recurrent(prefix) => recurrent(prefix, shapes, self.words.is_empty())?,
            Layers::Transformer(prefix) => transformer(prefix, shapes)?,
        };
        let rows = |name: &&str| shapes.get(name).and_then(|shape| shape.first());
        let words: Vec<_> = self.words.iter().filter_map(rows).map(|&n| thousands(n as u64)).collect();
        match &words[..] {
            [] => {}
            [one] => facts.push(format!("{one} tokens")),
            many => facts.push(format!("{} tokens", many.join(" to "))),
        }
        facts.extend(self.answers.as_ref().and_then(rows).map(|n| format!("{n} outputs")));
        Some(Likely { kind: self.what, shape: facts.join(", ") })
    }
}

/// What stands between `prefix` and the next full stop, as numbers from 0 on.
fn count(prefix: &str, shapes: &Shapes<'_>) -> Option<usize> {
    let number = |name: &&str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
    let numbers: BTreeSet<usize> = shapes.keys().filter_map(number).collect();
    numbers.iter().copied().eq(0..numbers.len()).then_some(numbers.len()).filter(|&n| n > 0)
}

/// `{prefix}{i}.weight [n_out, n_in]` and `{prefix}{i}.bias [n_out]`, each as wide as the one before.
fn linear(prefix: &str, shapes: &Shapes<'_>) -> Option<Vec<String>> {
    let layers = count(prefix, shapes)?;
    let mut widths = Vec::new();
    for i in 0..layers {
        let &[n_out, n_in] = *shapes.get(format!("{prefix}{i}.weight").as_str())? else { return None };
        if shapes.get(format!("{prefix}{i}.bias").as_str()) != Some(&&[n_out][..])
            || *widths.last().unwrap_or(&n_in) != n_in
        {
            return None;
        }
        if widths.is_empty() {
            widths.push(n_in);
        }
        widths.push(n_out);
    }
    let widths: Vec<_> = widths.iter().map(ToString::to_string).collect();
    (shapes.len() == 2 * layers).then(|| vec![widths.join(" → ")])
}

/// `{prefix}weight_ih_l{i}` and so on, as `torch.nn` calls them; those of a cell have no number.
fn recurrent(prefix: &str, shapes: &Shapes<'_>, tells_input: bool) -> Option<Vec<String>> {
    let shape = |name: &str| shapes.get(format!("{prefix}{name}").as_str()).copied();
    let cell = shape("weight_ih").is_some();
    let first = if cell { "" } else { "_l0" };
    let &[rows, input] = shape(&format!("weight_ih{first}"))? else { return None };
    let &[_, outputs] = shape(&format!("weight_hh{first}"))? else { return None };
    let unit = match rows.checked_div(outputs)? {
        1 => "RNN",
        3 => "GRU",
        4 => "LSTM",
        _ => return None,
    };
    let layers = (0..).take_while(|i| shape(&format!("weight_ih_l{i}")).is_some()).count();
    let mut facts = vec![match layers {
        0 | 1 => format!("{unit} of {outputs} units"),
        n => format!("{unit} of {n} layers of {outputs} units"),
    }];
    if shape("weight_ih_l0_reverse").is_some() {
        facts.push("both directions".to_owned());
    }
    if tells_input {
        facts.push(format!("{input} numbers a step"));
    }
    Some(facts)
}

/// `{prefix}layers.{i}.linear1.weight`, as `torch.nn` calls it.
fn transformer(prefix: &str, shapes: &Shapes<'_>) -> Option<Vec<String>> {
    let layers = count(&format!("{prefix}layers."), shapes)?;
    let &[feed_forward, width] = *shapes.get(format!("{prefix}layers.0.linear1.weight").as_str())? else {
        return None;
    };
    let layers = if layers == 1 { "1 layer".to_owned() } else { format!("{layers} layers") };
    Some(vec![format!("{layers} of {width} numbers a token, {feed_forward} in between")])
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use candle_core::{DType, Device};
    use candle_nn::VarBuilder;
    use nn_core::ParamStore;
    use nn_sequence::{
        AnyUnit, DecoderWeights, Directions, Gate, Gated, ImageCaptioner, ImageCaptionerConfig, Input,
        Labelling, LanguageModel, LanguageModelConfig, Pooling, Positions, RecurrentConfig, Score, Seq2Seq,
        Seq2SeqConfig, SequenceClassifier, SequenceClassifierConfig, SequenceConfig, SequenceTagger,
        SequenceTaggerConfig, TransformerClassifier, TransformerConfig, TransformerLanguageModel,
        TransformerModelConfig, TransformerSeq2Seq, TransformerSeq2SeqConfig, WordTagger, WordTaggerConfig,
    };

    use super::*;
    use crate::model::Plan;

    const WORDS: Input = Input::Tokens { vocabulary: 1200, width: 6, padding: None };
    fn told(build: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<()>) -> Result<[String; 2]> {
        let store = ParamStore::blank();
        build(store.vb(DType::F32, &Device::Cpu))?;
        of(&store)
    }

    fn of(store: &ParamStore) -> Result<[String; 2]> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("model.safetensors");
        store.save(&path)?;
        let Likely { kind, shape } = likely(&WeightFile::open(&path)?).expect("a network that is known");
        Ok([kind.to_owned(), shape])
    }

    fn reader(input: Input, unit: AnyUnit, layers: usize, directions: Directions) -> SequenceConfig {
        let recurrent = RecurrentConfig { unit, layers, directions, ..RecurrentConfig::default() };
        SequenceConfig { input, hidden: 8, recurrent, dropout: 0.0 }
    }

    #[test]
    fn models_whose_shape_a_recipe_gives_are_told_from_their_names() -> Result<()> {
        let own = |name: &str| -> Result<_> {
            let plan = Plan::named(name)?;
            of(&plan.build(10, ParamStore::blank(), &Device::Cpu)?.store)
        };
        assert_eq!(own("mlp")?, ["mlp", "784 → 256 → 128 → 10"]);
        let shape = "LSTM of 2 layers of 128 units, 28 numbers a step, 10 outputs";
        assert_eq!(own("rows")?, ["rows, or a recurrent network of the tasks forecast or adding", shape]);
        Ok(())
    }

    #[test]
    fn recurrent_networks_are_told_from_their_names() -> Result<()> {
        let [lstm, gru] = [AnyUnit::default(), AnyUnit::Gru(Gated)];
        let sequence = reader(WORDS, gru, 1, Directions::Both);
        let cfg = SequenceClassifierConfig { sequence, pooling: Pooling::Last, classes: 2 };
        let found = told(|vb| SequenceClassifier::new(&cfg, vb).map(drop))?;
        let shape = "GRU of 8 units, both directions, 1,200 tokens, 2 outputs";
        assert_eq!(found, ["recurrent classifier of texts", shape]);

        let sequence = reader(Input::Features(3), lstm, 1, Directions::Forward);
        let tagger = SequenceTaggerConfig { sequence, labelling: Labelling::Chain, classes: 5 };
        let found = told(|vb| SequenceTagger::new(&tagger, vb).map(drop))?;
        assert_eq!(found, ["recurrent tagger", "LSTM of 8 units, 5 outputs"]);

        for labelling in [Labelling::Chain, Labelling::Apart] {
            let tagger = SequenceTaggerConfig { labelling, ..tagger };
            let cfg = WordTaggerConfig { words: [300, 6], letters: [30, 4], letter_hidden: 4, tagger };
            let found = told(|vb| WordTagger::new(&cfg, vb).map(drop))?;
            assert_eq!(found, ["tagger of words by their letters", "LSTM of 8 units, 300 tokens, 5 outputs"]);
        }

        for (decoder, width) in [(DecoderWeights::Own, 6), (DecoderWeights::Tied, 8)] {
            let recurrent = reader(WORDS, lstm, 2, Directions::Forward).recurrent;
            let cfg =
                LanguageModelConfig { vocabulary: 65, width, hidden: 8, recurrent, dropout: 0.0, decoder };
            let found = told(|vb| LanguageModel::new(&cfg, vb).map(drop))?;
            assert_eq!(found, ["recurrent language model", "LSTM of 2 layers of 8 units, 65 tokens"]);
        }

        for score in [Score::Dot, Score::General, Score::Additive] {
            let directions = if score == Score::Dot { Directions::Forward } else { Directions::Both };
            let (vocabularies, width, hidden, unit, layers, dropout) = ([90, 80], 6, 8, gru, 2, 0.0);
            let cfg = Seq2SeqConfig { vocabularies, width, hidden, unit, layers, directions, dropout, score };
            let [kind, shape] = told(|vb| Seq2Seq::new(&cfg, vb).map(drop))?;
            assert_eq!(kind, "recurrent encoder and decoder");
            assert!(shape.starts_with("GRU of 2 layers of 8 units, ") && shape.ends_with("90 to 80 tokens"));
        }
        Ok(())
    }

    #[test]
    fn transformers_and_captioners_are_told_from_their_names() -> Result<()> {
        for positions in [Positions::Sinusoidal, Positions::Learned] {
            let (vocabulary, width, layers, longest) = (65, 8, 3, 32);
            let transformer =
                TransformerConfig { heads: 2, feed_forward: 16, ..TransformerConfig::default() };
            let cfg = TransformerModelConfig { vocabulary, width, layers, longest, positions, transformer };
            let shape = "3 layers of 8 numbers a token, 16 in between, 65 tokens";
            for decoder in [DecoderWeights::Own, DecoderWeights::Tied] {
                let found = told(|vb| TransformerLanguageModel::new(&cfg, decoder, vb).map(drop))?;
                assert_eq!(found, ["Transformer language model", shape]);
            }
            let found = told(|vb| TransformerClassifier::new(2, &cfg, vb).map(drop))?;
            assert_eq!(found, ["Transformer classifier of texts".to_owned(), format!("{shape}, 2 outputs")]);
            let (vocabularies, layers) = ([90, 80], [1, 2]);
            let cfg =
                TransformerSeq2SeqConfig { vocabularies, width, layers, longest, positions, transformer };
            let found = told(|vb| TransformerSeq2Seq::new(&cfg, vb).map(drop))?;
            let shape = "1 layer of 8 numbers a token, 16 in between, 90 to 80 tokens";
            assert_eq!(found, ["Transformer encoder and decoder", shape]);
        }
        let cfg = ImageCaptionerConfig {
            vocabulary: 50,
            width: 6,
            features: 12,
            hidden: 8,
            attention: 4,
            gate: Gate::default(),
            dropout: 0.0,
        };
        let found = told(|vb| ImageCaptioner::new(&cfg, vb).map(drop))?;
        assert_eq!(found, ["image captioner", "LSTM of 8 units, 50 tokens"]);
        Ok(())
    }

    #[test]
    fn what_has_one_name_too_many_or_too_few_is_not_told() -> Result<()> {
        let one = &[4usize][..];
        let whole: Shapes<'_> = [
            ("layers.0.weight", &[4usize, 3][..]),
            ("layers.0.bias", one),
            ("layers.1.weight", &[2, 4]),
            ("layers.1.bias", &[2]),
        ]
        .into();
        let told = |shapes: &Shapes<'_>| KINDS.iter().find_map(|kind| kind.fit(shapes)).map(|it| it.shape);
        assert_eq!(told(&whole).as_deref(), Some("3 → 4 → 2"));
        let without =
            |name| -> Shapes<'_> { whole.clone().into_iter().filter(|(n, _)| *n != name).collect() };
        for name in whole.keys() {
            assert_eq!(told(&without(*name)), None, "{name}");
        }
        for (name, shape) in [("other", one), ("layers.0.scale", one), ("layers.1.weight", &[2, 5])] {
            let mut more = whole.clone();
            more.insert(name, shape);
            assert_eq!(told(&more), None, "{name}");
        }
        assert_eq!(told(&Shapes::new()), None);
        Ok(())
    }
}
