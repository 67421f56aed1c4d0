//! Translation: a sentence of one language in another, by words.
//!
//! Source: for the corpus, Elliott, Frank, Sima'an & Specia 2016, "Multi30K: multilingual English-German image
//! descriptions", arXiv:1605.00459.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::Device;
use nn_core::{Ctx, Mode, ParamStore, Random};
use nn_sequence::decode::Beam;
use nn_sequence::text::{Special, Units, Vocabulary, VocabularyConfig};
use nn_train::data::{Dataset, Encoding, Padded, Part, read_parallel};
use nn_train::metrics::{Bleu, Case, Likelihood};
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Counts, Evaluation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Task;
use super::network::variables;
use super::pairs::{PADDING, PairBatch, PairNetwork, PairSet, Pairing, Search};
use crate::data;
use crate::failure::{Advise, failed};
use crate::output;
use crate::predict::{self, Format};
use crate::recipe::{Nothing, Recipe, range};

/// The table `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The folder of the files, in `dir` or the same.
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<PathBuf>,
    encoding: Encoding,
    /// A sentence a line, in the language to translate from and in the one to translate to.
    train: [String; 2],
    /// What the best epoch is chosen on; the test part, if these are empty.
    validation: [String; 2],
    test: [String; 2],
    /// How often a word must occur in training to be known.
    min_count: usize,
    /// Words of the longest sentence; longer ones are cut.
    longest: usize,
    /// Texts that are followed at once where a translation is looked for.
    beam: usize,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            folder: String::new(),
            dir: None,
            encoding: Encoding::default(),
            train: Default::default(),
            validation: Default::default(),
            test: Default::default(),
            min_count: 2,
            longest: 60,
            beam: 1,
        }
    }
}

/// The words of both languages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    words: [Vocabulary; 2],
}

/// A network that translates.
pub(crate) struct Translation {
    network: Pairing,
    known: Known,
    longest: usize,
    search: Search,
}

/// Pairs of sentences as they were, and as numbers.
pub(crate) struct SentencePairs {
    texts: Vec<[String; 2]>,
    numbers: PairSet,
}

/// A batch, and the sentences that should come out.
pub(crate) struct TranslationBatch {
    pairs: PairBatch,
    references: Vec<String>,
}

impl Dataset for SentencePairs {
    type Batch = TranslationBatch;

    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn batch(&self, indices: &[usize], random: Random) -> candle_core::Result<TranslationBatch> {
        let references = indices.iter().map(|&index| self.texts[index][1].clone()).collect();
        Ok(TranslationBatch { pairs: self.numbers.batch(indices, random)?, references })
    }

    fn arrange(&self, order: Vec<usize>, batch_size: usize, random: Random) -> Vec<usize> {
        self.numbers.arrange(order, batch_size, random)
    }
}

impl Data {
    fn read(&self, files: &[String; 2]) -> Result<Vec<[String; 2]>> {
        let folder = data::folder_of(self.dir.as_deref(), &self.folder)?;
        let pairs = read_parallel(&folder.join(&files[0]), &folder.join(&files[1]), self.encoding);
        pairs.advise(data::advice(&self.folder))
    }
}

impl Known {
    fn pairs(&self, data: &Data, files: &[String; 2]) -> Result<SentencePairs> {
        let texts = data.read(files)?;
        let numbers = |pair: &[String; 2]| {
            let [mut source, mut target] = [self.words[0].encode(&pair[0])?, self.words[1].encode(&pair[1])?];
            source.truncate(data.longest);
            target.truncate(data.longest);
            Ok([source, target])
        };
        let pairs = texts.iter().map(numbers).collect::<Result<_>>()?;
        Ok(SentencePairs { texts, numbers: PairSet { pairs } })
    }
}

impl Task for Translation {
    const NAME: &'static str = "translation";
    const EXAMPLES: &'static str = "sentences";
    type Model = PairNetwork;
    type Data = Data;
    type Augment = Nothing;
    type Known = Known;
    type Set = SentencePairs;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let (data, most) = (&recipe.data, recipe.model.longest());
        if data.longest == 0 || data.longest >= most {
            let range = if most == usize::MAX { "at least 1" } else { "at least 1 and below model.longest" };
            return Err(failed(format!("data.longest must be {range}, got {}", data.longest)));
        }
        range::at_least_one(&[("data.beam", data.beam)])?;
        recipe.model.check()
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        [recipe.model.name().to_owned(), recipe.data.folder.clone()]
    }

    fn locate(data: &mut Data, given: Option<&Path>) {
        data::locate(&mut data.dir, given);
    }

    fn learn(recipe: &Recipe<Self>) -> Result<Known> {
        let pairs = recipe.data.read(&recipe.data.train)?;
        let special = &[Special::Padding, Special::Unknown, Special::Start, Special::End];
        let cfg = VocabularyConfig {
            units: Units::LowercaseWords,
            special,
            min_count: recipe.data.min_count,
            ..VocabularyConfig::default()
        };
        let of = |side: usize| Vocabulary::build(pairs.iter().map(|pair| pair[side].as_str()), cfg);
        Ok(Known { words: [of(0), of(1)] })
    }

    fn open(recipe: &Recipe<Self>, known: &Known, part: Part) -> Result<SentencePairs> {
        let Data { train, test, .. } = &recipe.data;
        known.pairs(&recipe.data, if part == Part::Train { train } else { test })
    }

    fn validation(recipe: &Recipe<Self>, known: &Known) -> Result<Option<SentencePairs>> {
        let files = Some(&recipe.data.validation).filter(|files| files.iter().any(|file| !file.is_empty()));
        files.map(|files| known.pairs(&recipe.data, files)).transpose()
    }

    fn build(recipe: &Recipe<Self>, known: &Known, store: &ParamStore, device: &Device) -> Result<Self> {
        let [source, target] = &known.words;
        let network = recipe.model.build([source.len(), target.len()], variables(store, device))?;
        let search = match recipe.data.beam {
            1 => Search::Greedy,
            width => Search::Beam(Beam { width, ..Beam::default() }),
        };
        Ok(Self { network, known: known.clone(), longest: recipe.data.longest, search })
    }

    /// The cross-entropy, and in an evaluation BLEU in lower case.
    fn outcome(&self, batch: &TranslationBatch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let pairs = &batch.pairs;
        let outcome = self.network.outcome(pairs, ctx)?;
        if ctx.mode() == Mode::Train {
            return Ok(outcome);
        }
        let tokens = pairs.tokens();
        let negative_log = outcome.loss_value()? * tokens as f64;
        let answers = self.network.answer(&pairs.source, self.longest, self.search)?;
        let mut bleu = Bleu::default();
        for (answer, reference) in answers.iter().zip(&batch.references) {
            bleu += Bleu::of(&self.known.words[1].decode(answer), reference, Case::Lower);
        }
        Ok(outcome.counting(Counts {
            bleu: Some(bleu),
            likelihood: Some(Likelihood { negative_log, tokens }),
            ..Counts::default()
        }))
    }

    /// A few translations, and where the network looked.
    fn illustrate(&self, test: &SentencePairs, _evaluation: &Evaluation) -> Result<Illustrations> {
        let shown = test.len().min(SHOWN);
        let sources: Vec<&[u32]> =
            test.numbers.pairs[..shown].iter().map(|pair| pair[0].as_slice()).collect();
        let answers = self.network.answer(&Padded::new(&sources, PADDING)?, self.longest, self.search)?;
        let row = |(texts, answer): (&[String; 2], &Vec<u32>)| {
            vec![texts[0].clone(), self.known.words[1].decode(answer), texts[1].clone()]
        };
        let head = ["sentence", "translation", "reference"].map(str::to_owned).to_vec();
        let rows = test.texts.iter().zip(&answers).map(row).collect();
        let mut panels =
            vec![Panel { title: "Translations".to_owned(), content: Content::Table { head, rows } }];
        for (source, answer) in sources.iter().zip(&answers).take(MAPS) {
            let Some(weights) = self.network.attention(source, answer)? else { break };
            let names = |side: usize, tokens: &[u32]| -> Vec<String> {
                tokens.iter().map(|&token| self.known.words[side].decode(&[token])).collect()
            };
            let rows = names(1, answer).into_iter().chain(["end".to_owned()]).zip(weights).collect();
            let content = Content::Map { columns: names(0, source), rows };
            panels.push(Panel { title: "Where each word looks".to_owned(), content });
        }
        Ok(Illustrations { panels, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        args.sampling.refuse(Self::NAME)?;
        let model: Self = args.reader()?;
        let mut answers = Vec::new();
        for text in args.texts()? {
            let mut source = model.known.words[0].encode(text)?;
            source.truncate(model.longest);
            if source.is_empty() {
                return Err(failed(format!("there is no word in {text:?}")));
            }
            let answer =
                model.network.answer(&Padded::new(&[source], PADDING)?, model.longest, model.search)?;
            answers.push((text, model.known.words[1].decode(&answer.concat())));
        }
        if args.format() == Format::Json {
            let object = |(text, answer)| json!({ "text": text, "translation": answer });
            return output::json(&answers.into_iter().map(object).collect::<Vec<_>>());
        }
        answers.iter().try_for_each(|(_, answer)| output::line(answer))
    }

    /// Sentences that are translated at once.
    fn eval_batch(recipe: &Recipe<Self>) -> usize {
        recipe.train.batch_size
    }
}

/// Translations in a report, and how many of them with a map.
const SHOWN: usize = 12;
const MAPS: usize = 3;
