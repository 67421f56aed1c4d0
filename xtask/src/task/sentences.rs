//! Sentences: one of several classes each, by a recurrent network or a Transformer that reads their words.
//!
//! Source: for a bidirectional network whose outputs are pooled, Conneau et al. 2017, arXiv:1705.02364, §3.2.3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{Device, Tensor};
use nn_core::{Ctx, ParamStore, Random, ops};
use nn_sequence::text::{Special, Units, Vocabulary, VocabularyConfig};
use nn_sequence::{SequenceClassifier, SequenceClassifierConfig, TransformerClassifier};
use nn_train::data::{Dataset, Encoding, LabelledBatch, LabelledSequences, Padded, Part, split_by_class};
use nn_train::metrics::Verdict;
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Evaluation, Outcome};
use serde::{Deserialize, Serialize};

use super::network::{Network, Use, variables};
use super::{Task, lines};
use crate::data;
use crate::failure::failed;
use crate::predict::{self, classes};
use crate::recipe::{Nothing, Recipe, Train, range};

/// The table `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The folder of the files, in `dir` or the same.
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<PathBuf>,
    encoding: Encoding,
    /// The share of the sentences that is tested on.
    held_out: f64,
    /// What decides which.
    seed: u64,
    /// What a sentence is cut into.
    units: Units,
    /// How often a word must occur in the training part to be known.
    min_count: usize,
    /// The file of each class, a sentence a line.
    classes: BTreeMap<String, String>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            folder: String::new(),
            dir: None,
            encoding: Encoding::default(),
            held_out: 0.1,
            seed: 0,
            units: Units::LowercaseWords,
            min_count: 1,
            classes: BTreeMap::new(),
        }
    }
}

/// What the training sentences tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    classes: Vec<String>,
    words: Vocabulary,
}

/// A network that reads sentences.
pub(crate) struct Sentences {
    reader: Reader,
    known: Known,
    /// Words that it reads of a sentence.
    longest: usize,
    label_smoothing: f64,
    device: Device,
}

enum Reader {
    Recurrent(SequenceClassifier),
    Transformer(TransformerClassifier),
}

/// Sentences as they were, and as numbers.
pub(crate) struct SentenceSet {
    texts: Vec<String>,
    sequences: LabelledSequences,
}

impl Dataset for SentenceSet {
    type Batch = LabelledBatch;

    fn len(&self) -> usize {
        self.sequences.len()
    }

    fn batch(&self, indices: &[usize], random: Random) -> candle_core::Result<LabelledBatch> {
        self.sequences.batch(indices, random)
    }

    fn arrange(&self, order: Vec<usize>, batch_size: usize, random: Random) -> Vec<usize> {
        self.sequences.arrange(order, batch_size, random)
    }
}

impl Data {
    /// The sentences of a part, each with its class.
    fn read(&self, part: Part) -> Result<(Vec<String>, Vec<u32>)> {
        let (mut texts, mut labels) = (Vec::new(), Vec::new());
        for (class, file) in (0..).zip(self.classes.values()) {
            let text = lines::read(self.dir.as_deref(), &self.folder, file, self.encoding)?;
            let sentences = text.lines().map(str::trim).filter(|line| self.units.cut(line).next().is_some());
            texts.extend(sentences.map(str::to_owned));
            labels.resize(texts.len(), class);
        }
        let [train, test] = split_by_class(&labels, 1.0 - self.held_out, Random::new(self.seed))?;
        let indices = if part == Part::Train { train } else { test };
        if indices.is_empty() {
            return Err(failed(format!(
                "{} has no {part} sentences: there are {}",
                self.folder,
                texts.len()
            )));
        }
        let labels = indices.iter().map(|&index| labels[index]).collect();
        let texts = indices.iter().map(|&index| std::mem::take(&mut texts[index])).collect();
        Ok((texts, labels))
    }
}

impl Task for Sentences {
    const NAME: &'static str = "sentences";
    const EXAMPLES: &'static str = "sentences";
    const CLASSES: bool = true;
    type Model = Network;
    type Data = Data;
    type Augment = Nothing;
    type Known = Known;
    type Set = SentenceSet;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let data = &recipe.data;
        if data.classes.len() < 2 {
            return Err(failed("data.classes must name the files of two classes or more"));
        }
        range::inside("data.held_out", data.held_out)?;
        recipe.model.check(Use::Answer)
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        [recipe.model.name().to_owned(), recipe.data.folder.clone()]
    }

    fn locate(data: &mut Data, given: Option<&Path>) {
        data::locate(&mut data.dir, given);
    }

    fn learn(recipe: &Recipe<Self>) -> Result<Known> {
        let data = &recipe.data;
        let (texts, _) = data.read(Part::Train)?;
        let special = &[Special::Padding, Special::Unknown];
        let (units, min_count) = (data.units, data.min_count);
        let cfg = VocabularyConfig { units, special, min_count, ..VocabularyConfig::default() };
        let words = Vocabulary::build(texts.iter().map(String::as_str), cfg);
        Ok(Known { classes: data.classes.keys().cloned().collect(), words })
    }

    fn open(recipe: &Recipe<Self>, known: &Known, part: Part) -> Result<SentenceSet> {
        let (texts, labels) = recipe.data.read(part)?;
        let longest = recipe.model.longest().unwrap_or(usize::MAX);
        let sequences = texts.iter().map(|text| known.encode(text, longest)).collect::<Result<_>>()?;
        let sequences = LabelledSequences::new(sequences, labels, known.padding())?;
        Ok(SentenceSet { texts, sequences })
    }

    fn build(recipe: &Recipe<Self>, known: &Known, store: &ParamStore, device: &Device) -> Result<Self> {
        let (vb, classes) = (variables(store, device), known.classes.len());
        let reader = match &recipe.model {
            Network::Recurrent(table) => {
                let sequence = table.sequence(known.words.len(), Some(known.padding() as usize));
                let cfg = SequenceClassifierConfig { sequence, pooling: table.pooling(), classes };
                Reader::Recurrent(SequenceClassifier::new(&cfg, vb)?)
            }
            Network::Transformer(table) => {
                let cfg = table.config(known.words.len());
                Reader::Transformer(TransformerClassifier::new(classes, &cfg, vb)?)
            }
        };
        let longest = recipe.model.longest().unwrap_or(usize::MAX);
        let label_smoothing = recipe.train.label_smoothing;
        Ok(Self { reader, known: known.clone(), longest, label_smoothing, device: device.clone() })
    }

    fn outcome(&self, batch: &LabelledBatch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let logits = self.logits(&batch.inputs, ctx)?;
        let options = Train::cross_entropy(self.label_smoothing, ctx);
        Outcome::classification_with(&logits, &batch.targets.to_device(&self.device)?, options)
    }

    fn labels(set: &SentenceSet) -> Option<Vec<u32>> {
        Some(set.sequences.labels().to_vec())
    }

    /// The sentences it gets wrong with the most confidence, and those it gets right.
    fn illustrate(&self, test: &SentenceSet, evaluation: &Evaluation) -> Result<Illustrations> {
        let class = |index: usize| self.known.classes.get(index).cloned().unwrap_or_default();
        let row = |verdict: &Verdict| {
            vec![
                class(verdict.target),
                class(verdict.predicted),
                format!("{:.1}\u{a0}%", 100.0 * verdict.confidence),
                test.texts.get(verdict.index).cloned().unwrap_or_default(),
            ]
        };
        let panel = |title: &str, verdicts: &[Verdict]| {
            let head = ["is", "taken for", "sure", "sentence"].map(str::to_owned).to_vec();
            let content = Content::Table { head, rows: verdicts.iter().map(row).collect() };
            (!verdicts.is_empty()).then(|| Panel { title: title.to_owned(), content })
        };
        let panels = [
            panel("Worst mistakes", evaluation.mistakes()),
            panel("Right, and the surest", &evaluation.best()),
        ];
        let panels = panels.into_iter().flatten().collect();
        Ok(Illustrations { panels, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        args.sampling.refuse(Self::NAME)?;
        let model: Self = args.reader()?;
        let labels: Vec<&str> = model.known.classes.iter().map(String::as_str).collect();
        let mut answers = Vec::new();
        for text in args.texts()? {
            let sequence = model.known.encode(text, model.longest)?;
            let batch = Padded::new(&[sequence], model.known.padding())?;
            let probabilities = ops::softmax(&model.logits(&batch, &Ctx::eval())?, 1)?; // [1, classes]
            let probabilities: Vec<f32> = probabilities.squeeze(0)?.to_vec1()?;
            answers.push((text.to_owned(), classes::best(&probabilities, &labels, args.top as usize)));
        }
        classes::print("text", &answers, args.format())
    }

    fn classes(known: &Known) -> Vec<String> {
        known.classes.clone()
    }
}

impl Known {
    /// The numbers of a text's first `longest` words.
    ///
    /// # Errors
    /// If it has none.
    fn encode(&self, text: &str, longest: usize) -> Result<Vec<u32>> {
        let mut sequence = self.words.encode(text)?;
        sequence.truncate(longest);
        if sequence.is_empty() {
            return Err(failed(format!("there is no word in {text:?}")));
        }
        Ok(sequence)
    }

    fn padding(&self) -> u32 {
        self.words.special(Special::Padding).unwrap_or(0)
    }
}

impl Sentences {
    /// `[B, classes]`
    fn logits(&self, inputs: &Padded, ctx: &Ctx<'_>) -> candle_core::Result<Tensor> {
        let tokens = inputs.tokens.to_device(&self.device)?;
        let lengths = Some(inputs.lengths.as_slice());
        match &self.reader {
            Reader::Recurrent(model) => model.logits(&tokens, lengths, ctx),
            Reader::Transformer(model) => model.logits(&tokens, lengths, ctx),
        }
    }
}
