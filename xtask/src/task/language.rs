//! Language models: what comes next in a text, letter by letter or word by word.
//!
//! Source: Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks", for letters of Shakespeare.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{Device, Tensor};
use nn_core::ops::{Reduction, cross_entropy, reshape};
use nn_core::{Ctx, Layer, ParamStore};
use nn_sequence::decode::{Limits, Sampling, sample};
use nn_sequence::text::{Special, Units, Vocabulary, VocabularyConfig};
use nn_sequence::{LanguageModel, LanguageModelConfig, Past, TransformerLanguageModel};
use nn_train::data::{Batch, Begin, Encoding, Part, TokenStream};
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Evaluation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Neighbours;
use super::network::{Network, Use, decoder, variables};
use super::{Task, lines};
use crate::data;
use crate::failure::{Advise, failed};
use crate::output;
use crate::predict::{self, Format};
use crate::recipe::{Nothing, Recipe, range};

/// The table `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The folder of the file, in `dir` or the same.
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<PathBuf>,
    file: String,
    encoding: Encoding,
    /// The share of the text, its end, that is tested on.
    held_out: f64,
    /// What a text is cut into.
    units: Units,
    /// How often a unit must occur in the training part to be known.
    min_count: usize,
    /// Tokens of an example.
    length: usize,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            folder: String::new(),
            dir: None,
            file: "input.txt".to_owned(),
            encoding: Encoding::default(),
            held_out: 0.1,
            units: Units::Characters,
            min_count: 1,
            length: 128,
        }
    }
}

/// A network that says what comes next.
pub(crate) struct Language {
    reader: Reader,
    vocabulary: Vocabulary,
    device: Device,
}

enum Reader {
    Recurrent(LanguageModel),
    Transformer { model: TransformerLanguageModel, longest: usize },
}

/// Texts in a report, and how they are drawn.
const SAMPLES: [f64; 3] = [0.5, 0.8, 1.0];
const SAMPLE: usize = 600;

/// Tokens that are written if nobody says how many.
const LENGTH: usize = 500;

impl Data {
    /// The text of a part.
    fn read(&self, part: Part) -> Result<String> {
        let text = lines::read(self.dir.as_deref(), &self.folder, &self.file, self.encoding)?;
        let end = (text.len() as f64 * (1.0 - self.held_out)) as usize;
        let end = (0..=end).rfind(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let (train, test) = text.split_at(end);
        Ok(if part == Part::Train { train } else { test }.to_owned())
    }

    fn windows(&self, vocabulary: &Vocabulary, part: Part, begin: Begin) -> Result<TokenStream> {
        let tokens = vocabulary.encode(&self.read(part)?)?;
        TokenStream::new(tokens, self.length, begin)
            .advise("a longer text, more of it with data.held_out, or shorter windows with data.length")
    }
}

impl Task for Language {
    const NAME: &'static str = "language";
    const EXAMPLES: &'static str = "windows";
    type Model = Network;
    type Data = Data;
    type Augment = Nothing;
    type Known = Vocabulary;
    type Set = TokenStream;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let data = &recipe.data;
        range::inside("data.held_out", data.held_out)?;
        let longest = recipe.model.longest().unwrap_or(usize::MAX);
        if data.length == 0 || data.length > longest {
            let (length, most) = (data.length, longest);
            return Err(failed(format!("data.length must be in 1..={most}, model.longest, got {length}")));
        }
        recipe.model.check(Use::Next)
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        [recipe.model.name().to_owned(), recipe.data.folder.clone()]
    }

    fn locate(data: &mut Data, given: Option<&Path>) {
        data::locate(&mut data.dir, given);
    }

    fn learn(recipe: &Recipe<Self>) -> Result<Vocabulary> {
        let Data { units, min_count, .. } = recipe.data;
        let special = &[Special::Unknown];
        let cfg = VocabularyConfig { units, special, min_count, ..VocabularyConfig::default() };
        Ok(Vocabulary::build([recipe.data.read(Part::Train)?.as_str()], cfg))
    }

    fn open(recipe: &Recipe<Self>, vocabulary: &Vocabulary, part: Part) -> Result<TokenStream> {
        let begin = if part == Part::Train { Begin::Drawn } else { Begin::First };
        recipe.data.windows(vocabulary, part, begin)
    }

    fn still(recipe: &Recipe<Self>, vocabulary: &Vocabulary) -> Result<TokenStream> {
        recipe.data.windows(vocabulary, Part::Train, Begin::First)
    }

    /// A training window begins up to a window's length later than the one held out that has its number.
    fn neighbours(_recipe: &Recipe<Self>) -> Neighbours {
        Neighbours::Overlap(1)
    }

    fn build(
        recipe: &Recipe<Self>,
        vocabulary: &Vocabulary,
        store: &ParamStore,
        device: &Device,
    ) -> Result<Self> {
        let (vb, count) = (variables(store, device), vocabulary.len());
        let reader = match &recipe.model {
            Network::Recurrent(table) => Reader::Recurrent(LanguageModel::new(
                &LanguageModelConfig {
                    vocabulary: count,
                    width: table.width,
                    hidden: table.hidden,
                    recurrent: table.recurrent(),
                    dropout: table.dropout,
                    decoder: decoder(table.decoder),
                },
                vb,
            )?),
            Network::Transformer(table) => Reader::Transformer {
                model: TransformerLanguageModel::new(&table.config(count), decoder(table.decoder), vb)?,
                longest: table.longest,
            },
        };
        Ok(Self { reader, vocabulary: vocabulary.clone(), device: device.clone() })
    }

    /// The mean over tokens, in nats.
    fn outcome(&self, batch: &Batch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let tokens = batch.inputs.to_device(&self.device)?;
        let logits = match &self.reader {
            Reader::Recurrent(model) => model.call(&tokens, ctx)?,
            Reader::Transformer { model, .. } => model.call(&tokens, ctx)?,
        };
        let (windows, steps, count) = logits.dims3()?;
        let targets = batch.targets.to_device(&self.device)?.flatten_all()?; // [B · T]
        let logits = reshape(&logits, (windows * steps, count))?;
        let loss = cross_entropy(&logits, &targets, Reduction::Mean)?;
        Outcome::new(loss, windows)?.averaged_over((windows * steps) as f64)
    }

    /// Texts of its own, more and more daring.
    fn illustrate(&self, test: &TokenStream, _evaluation: &Evaluation) -> Result<Illustrations> {
        let newline = self.vocabulary.id("\n");
        let begin = [newline.or(test.tokens().first().copied()).unwrap_or(0)];
        let mut panels = Vec::new();
        for temperature in SAMPLES {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let text = self.vocabulary.decode(&self.go_on(&begin, SAMPLE, sampling)?);
            let title = format!("A text of its own, at temperature {temperature}");
            panels.push(Panel { title, content: Content::Text(text.trim_start().to_owned()) });
        }
        Ok(Illustrations { panels, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        let model: Self = args.reader()?;
        let Sampling { temperature, seed, .. } = Sampling::default();
        let sampling = Sampling {
            temperature: args.sampling.temperature.unwrap_or(temperature),
            top_k: args.sampling.top_k,
            top_p: args.sampling.top_p,
            seed: args.sampling.seed.unwrap_or(seed),
        };
        let length = args.sampling.max_length.unwrap_or(LENGTH);
        let mut answers = Vec::new();
        for text in args.texts()? {
            let given = model.vocabulary.encode_known(text)?;
            if given.is_empty() {
                return Err(failed("there is nothing to go on from: the text is empty"));
            }
            let written = model.vocabulary.decode(&model.go_on(&given, length, sampling)?);
            answers.push((text, written));
        }
        if args.format() == Format::Json {
            let object = |(text, written)| json!({ "text": text, "continuation": written });
            return output::json(&answers.into_iter().map(object).collect::<Vec<_>>());
        }
        let units = model.vocabulary.units();
        answers
            .iter()
            .try_for_each(|(text, written)| output::line(units.join([*text, written.as_str()].into_iter())))
    }
}

impl Language {
    /// So many tokens that follow those given. A Transformer that can read no more goes on from the last half of what
    /// it reads at most.
    fn go_on(&self, given: &[u32], count: usize, sampling: Sampling) -> Result<Vec<u32>> {
        let mut text = given.to_vec();
        while text.len() < given.len() + count {
            let left = given.len() + count - text.len();
            let (begin, longest) = match &self.reader {
                Reader::Recurrent(_) => (0, left),
                Reader::Transformer { longest, .. } => {
                    let kept = text.len().min(longest.div_ceil(2));
                    (text.len() - kept, left.min(longest - kept + 1))
                }
            };
            let tokens = Tensor::new(&text[begin..], &self.device)?.unsqueeze(0)?; // [1, T]
            // Every part of the text draws numbers of its own.
            let sampling =
                Sampling { seed: sampling.seed.wrapping_add((text.len() - given.len()) as u64), ..sampling };
            let limits = Limits { end: None, longest };
            let written = match &self.reader {
                Reader::Recurrent(model) => sample(model, None, &tokens, limits, sampling)?,
                Reader::Transformer { model, .. } => {
                    sample(model, Past::default(), &tokens, limits, sampling)?
                }
            };
            text.extend(written.concat());
        }
        Ok(text.split_off(given.len()))
    }
}
