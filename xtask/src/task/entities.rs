//! Named entities: which words of a sentence name a person, a place or another thing.
//!
//! Source: for the network, Lample et al. 2016, arXiv:1603.01360, with words that occur once taken for unknown half of the
//! time (§4.2, §5.1); for the tags, Ramshaw & Marcus 1995.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{Device, Tensor};
use nn_core::ops::Reduction;
use nn_core::{Ctx, Mode, ParamStore, Random};
use nn_layers::Bias;
use nn_sequence::text::{Special, Units, Vocabulary, VocabularyConfig};
use nn_sequence::{
    Axes, Directions, Input, Labelling, RecurrentConfig, SequenceConfig, SequenceTaggerConfig, WordTagger,
    WordTaggerConfig, Words,
};
use nn_train::data::{Dataset, Encoding, Padded, Part, TaggedSentence, by_length, read_conll};
use nn_train::metrics::{Found, entities, entities_found, found_by_kind};
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Counts, Evaluation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Task;
use super::network::{UnitName, variables};
use crate::data;
use crate::failure::{Advise, failed};
use crate::output;
use crate::predict::{self, Format};
use crate::recipe::{Nothing, Recipe, range};

/// The table `[model]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    unit: UnitName,
    /// Numbers that a word is turned into.
    width: usize,
    /// Units of a direction.
    hidden: usize,
    /// Numbers that a letter is turned into.
    letter_width: usize,
    /// Units of a direction of the LSTM that reads a word's letters.
    letter_hidden: usize,
    dropout: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            unit: UnitName::Lstm,
            width: 100,
            hidden: 100,
            letter_width: 25,
            letter_hidden: 25,
            dropout: 0.5,
        }
    }
}

/// The table `[data]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The folder of the files, in `dir` or the same.
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<PathBuf>,
    encoding: Encoding,
    /// A word and its tag a line.
    train: String,
    /// What the best epoch is chosen on; the test part, if it is empty.
    validation: String,
    test: String,
}

/// What the training sentences tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    words: Vocabulary,
    letters: Vocabulary,
    tags: Vec<String>,
    /// The number of the first word that occurs but once.
    rare: u32,
}

/// A network that tags words.
pub(crate) struct Entities {
    model: WordTagger,
    known: Known,
    device: Device,
}

/// Sentences and their numbers.
pub(crate) struct TaggedSet {
    sentences: Vec<TaggedSentence>,
    numbers: Vec<Numbers>,
    /// From which on words are forgotten half of the time; none in an evaluation.
    rare: u32,
    unknown: u32,
}

struct Numbers {
    words: Vec<u32>,
    letters: Vec<Vec<u32>>,
    tags: Vec<u32>,
}

/// A batch of [`TaggedSet`].
pub(crate) struct TaggedBatch {
    words: Padded,
    letters: Padded,
    /// `[B, T]`
    tags: Tensor,
    truth: Vec<Vec<String>>,
}

/// What no entity is tagged.
const OUTSIDE: &str = "O";

/// As the vocabulary has a word: small letters, and all digits alike.
fn plain(word: &str) -> String {
    word.to_lowercase().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

impl Known {
    fn of(sentences: &[TaggedSentence]) -> Self {
        let special = &[Special::Padding, Special::Unknown];
        let words: Vec<String> = sentences.iter().flat_map(|s| &s.tokens).map(|word| plain(word)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        words.iter().for_each(|word| *counts.entry(word).or_default() += 1);
        let frequent = counts.values().filter(|&&count| count > 1).count();
        let cfg = VocabularyConfig { units: Units::Words, special, ..VocabularyConfig::default() };
        let letters = VocabularyConfig { units: Units::Characters, ..cfg };
        let mut tags: Vec<String> = sentences.iter().flat_map(|s| s.tags.iter().cloned()).collect();
        tags.push(OUTSIDE.to_owned());
        tags.sort_unstable();
        tags.dedup();
        let tokens = sentences.iter().flat_map(|s| &s.tokens).map(String::as_str);
        Self {
            letters: Vocabulary::build(tokens, letters),
            words: Vocabulary::of_pieces(&words, cfg),
            tags,
            rare: (special.len() + frequent) as u32,
        }
    }

    fn unknown(&self) -> u32 {
        self.words.special(Special::Unknown).unwrap_or(0)
    }

    fn numbers(&self, sentence: &TaggedSentence) -> candle_core::Result<Numbers> {
        let tag = |tag: &String| {
            self.tags.binary_search(tag).or_else(|_| self.tags.binary_search(&OUTSIDE.to_owned()))
        };
        Ok(Numbers {
            words: self.words.encode_pieces(sentence.tokens.iter().map(|word| plain(word)))?,
            letters: sentence
                .tokens
                .iter()
                .map(|word| self.letters.encode(word))
                .collect::<Result<_, _>>()?,
            tags: sentence.tags.iter().map(|name| tag(name).unwrap_or(0) as u32).collect(),
        })
    }

    /// The names of tags.
    fn names<'a>(&'a self, tags: &[u32]) -> Vec<&'a str> {
        tags.iter().map(|&tag| self.tags.get(tag as usize).map_or(OUTSIDE, String::as_str)).collect()
    }
}

impl TaggedSet {
    fn new(sentences: Vec<TaggedSentence>, known: &Known, part: Part) -> candle_core::Result<Self> {
        let numbers = sentences.iter().map(|sentence| known.numbers(sentence)).collect::<Result<_, _>>()?;
        let rare = if part == Part::Train { known.rare } else { u32::MAX };
        Ok(Self { sentences, numbers, rare, unknown: known.unknown() })
    }
}

impl Dataset for TaggedSet {
    type Batch = TaggedBatch;

    fn len(&self) -> usize {
        self.sentences.len()
    }

    fn batch(&self, indices: &[usize], random: Random) -> candle_core::Result<TaggedBatch> {
        let words = |&index: &usize| -> Vec<u32> {
            let mut draws = random.nth(index as u64).draws();
            let forget =
                |&word: &u32| if word >= self.rare && draws.unit() < 0.5 { self.unknown } else { word };
            self.numbers[index].words.iter().map(forget).collect()
        };
        let words = Padded::new(&indices.iter().map(words).collect::<Vec<_>>(), 0)?;
        let steps = words.tokens.dim(1)?;
        let mut letters: Vec<&[u32]> = Vec::with_capacity(indices.len() * steps);
        for &index in indices {
            letters.extend(self.numbers[index].letters.iter().map(Vec::as_slice));
            // Beyond a sentence's end there are words of one letter, the padding.
            letters.resize(letters.len().next_multiple_of(steps), &[0]);
        }
        let tags: Vec<&[u32]> = indices.iter().map(|&index| self.numbers[index].tags.as_slice()).collect();
        Ok(TaggedBatch {
            words,
            letters: Padded::new(&letters, 0)?,
            tags: Padded::new(&tags, 0)?.tokens,
            truth: indices.iter().map(|&index| self.sentences[index].tags.clone()).collect(),
        })
    }

    fn arrange(&self, order: Vec<usize>, batch_size: usize, random: Random) -> Vec<usize> {
        by_length(order, batch_size, random, |index| self.numbers[index].words.len())
    }
}

impl Data {
    fn read(&self, file: &str) -> Result<Vec<TaggedSentence>> {
        let file = data::folder_of(self.dir.as_deref(), &self.folder)?.join(file);
        let sentences = read_conll(&file, self.encoding).advise(data::advice(&self.folder))?;
        if sentences.is_empty() {
            return Err(failed(format!("{} has no sentences", file.display())));
        }
        Ok(sentences)
    }
}

impl Task for Entities {
    const NAME: &'static str = "entities";
    const EXAMPLES: &'static str = "sentences";
    type Model = Model;
    type Data = Data;
    type Augment = Nothing;
    type Known = Known;
    type Set = TaggedSet;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let Model { width, hidden, letter_width, letter_hidden, dropout, .. } = recipe.model;
        range::at_least_one(&[
            ("model.width", width),
            ("model.hidden", hidden),
            ("model.letter_width", letter_width),
            ("model.letter_hidden", letter_hidden),
        ])?;
        range::below_one(&[("model.dropout", dropout)])
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        [format!("{}-crf", recipe.model.unit.name()), recipe.data.folder.clone()]
    }

    fn locate(data: &mut Data, given: Option<&Path>) {
        data::locate(&mut data.dir, given);
    }

    fn learn(recipe: &Recipe<Self>) -> Result<Known> {
        Ok(Known::of(&recipe.data.read(&recipe.data.train)?))
    }

    fn open(recipe: &Recipe<Self>, known: &Known, part: Part) -> Result<TaggedSet> {
        let Data { train, test, .. } = &recipe.data;
        let file = if part == Part::Train { train } else { test };
        Ok(TaggedSet::new(recipe.data.read(file)?, known, part)?)
    }

    fn validation(recipe: &Recipe<Self>, known: &Known) -> Result<Option<TaggedSet>> {
        let data = &recipe.data;
        if data.validation.is_empty() {
            return Ok(None);
        }
        Ok(Some(TaggedSet::new(data.read(&data.validation)?, known, Part::Test)?))
    }

    /// No word is forgotten.
    fn still(recipe: &Recipe<Self>, known: &Known) -> Result<TaggedSet> {
        Ok(TaggedSet::new(recipe.data.read(&recipe.data.train)?, known, Part::Test)?)
    }

    fn build(recipe: &Recipe<Self>, known: &Known, store: &ParamStore, device: &Device) -> Result<Self> {
        let Model { unit, width, hidden, letter_width, letter_hidden, dropout } = recipe.model;
        let recurrent = RecurrentConfig {
            unit: unit.unit(),
            layers: 1,
            directions: Directions::Both,
            dropout: 0.0,
            bias: Bias::Learned,
            axes: Axes::BatchFirst,
        };
        let sequence = SequenceConfig { input: Input::Features(width), hidden, recurrent, dropout };
        let cfg = WordTaggerConfig {
            words: [known.words.len(), width],
            letters: [known.letters.len(), letter_width],
            letter_hidden,
            tagger: SequenceTaggerConfig { sequence, labelling: Labelling::Chain, classes: known.tags.len() },
        };
        let model = WordTagger::new(&cfg, variables(store, device))?;
        Ok(Self { model, known: known.clone(), device: device.clone() })
    }

    /// `−ln` of the probability of a sentence's tags, and in an evaluation which entities are found.
    fn outcome(&self, batch: &TaggedBatch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let [words, letters] = [&batch.words, &batch.letters].map(|p| p.tokens.to_device(&self.device));
        let (words, letters) = (words?, letters?);
        let x = batch.words(&words, &letters);
        let Some(crf) = self.model.tagger().crf() else { unreachable!("it is built with one") };
        let emissions = self.model.emissions(x, ctx)?;
        let tags = batch.tags.to_device(&self.device)?;
        let loss = crf.loss(&emissions, &tags, Some(x.lengths), Reduction::Mean)?;
        let outcome = Outcome::new(loss, x.lengths.len())?;
        if ctx.mode() == Mode::Train {
            return Ok(outcome);
        }
        let mut found = Found::default();
        for (predicted, truth) in crf.decode(&emissions, Some(x.lengths))?.iter().zip(&batch.truth) {
            found += entities_found(truth, &self.known.names(predicted));
        }
        Ok(outcome.counting(Counts { entities: Some(found), ..Counts::default() }))
    }

    /// What is found of each kind, which tags are taken for which, and a few sentences.
    fn illustrate(&self, test: &TaggedSet, _evaluation: &Evaluation) -> Result<Illustrations> {
        let mut kinds: BTreeMap<String, Found> = BTreeMap::new();
        let mut taken: BTreeMap<String, BTreeMap<&str, f32>> = BTreeMap::new();
        let mut rows = Vec::new();
        for sentence in &test.sentences {
            let predicted = self.tags(&sentence.tokens)?;
            for (kind, found) in found_by_kind(&sentence.tags, &predicted) {
                *kinds.entry(kind.to_owned()).or_default() += found;
            }
            for (truth, predicted) in sentence.tags.iter().zip(&predicted) {
                *taken.entry(truth.clone()).or_default().entry(predicted).or_default() += 1.0;
            }
            let there = entities(&sentence.tags);
            if rows.len() < SHOWN && !there.is_empty() {
                let [ours, truth] =
                    [show(&sentence.tokens, &predicted), show(&sentence.tokens, &sentence.tags)];
                rows.push(vec![sentence.tokens.join(" "), ours, truth]);
            }
        }
        let panels = vec![self.by_kind(&kinds), self.confusion(&taken), sentences(rows)];
        Ok(Illustrations { panels, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        args.sampling.refuse(Self::NAME)?;
        let model: Self = args.reader()?;
        let mut answers = Vec::new();
        for text in args.texts()? {
            let tokens: Vec<String> = Units::Words.cut(text).map(std::borrow::Cow::into_owned).collect();
            if tokens.is_empty() {
                return Err(failed(format!("there is no word in {text:?}")));
            }
            let tags: Vec<String> = model.tags(&tokens)?.into_iter().map(str::to_owned).collect();
            answers.push((tokens, tags));
        }
        if args.format() == Format::Json {
            let object = |(tokens, tags)| json!({ "tokens": tokens, "tags": tags });
            return output::json(
                &answers.iter().map(|(tokens, tags)| object((tokens, tags))).collect::<Vec<_>>(),
            );
        }
        answers.iter().try_for_each(|(tokens, tags)| {
            let found = show(tokens, tags);
            output::line(if found.is_empty() { "no entity".to_owned() } else { found })
        })
    }
}

impl TaggedBatch {
    fn words<'a>(&'a self, words: &'a Tensor, letters: &'a Tensor) -> Words<'a> {
        Words { words, letters, letter_lengths: &self.letters.lengths, lengths: &self.words.lengths }
    }
}

impl Entities {
    /// The tags of a sentence.
    fn tags(&self, tokens: &[String]) -> Result<Vec<&str>> {
        let sentence =
            TaggedSentence { tokens: tokens.to_vec(), tags: vec![OUTSIDE.to_owned(); tokens.len()] };
        let set = TaggedSet::new(vec![sentence], &self.known, Part::Test)?;
        let batch = set.batch(&[0], Random::new(0))?;
        let [words, letters] = [&batch.words, &batch.letters].map(|p| p.tokens.to_device(&self.device));
        let (words, letters) = (words?, letters?);
        let tags = self.model.labels(batch.words(&words, &letters), &Ctx::eval())?;
        Ok(self.known.names(&tags.concat()))
    }

    fn by_kind(&self, kinds: &BTreeMap<String, Found>) -> Panel {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let row = |(kind, found): (&String, &Found)| {
            let shares = [found.precision(), found.recall(), found.f(1.0)].map(percent);
            [kind.clone(), found.there.to_string(), found.claimed.to_string()]
                .into_iter()
                .chain(shares)
                .collect()
        };
        let head = ["kind", "there", "claimed", "precision", "recall", "F1"].map(str::to_owned).to_vec();
        let content = Content::Table { head, rows: kinds.iter().map(row).collect() };
        Panel { title: "Entities by kind".to_owned(), content }
    }

    /// Each tag's row as shares.
    fn confusion(&self, taken: &BTreeMap<String, BTreeMap<&str, f32>>) -> Panel {
        let row = |(tag, row): (&String, &BTreeMap<&str, f32>)| {
            let all: f32 = row.values().sum();
            let share = |name: &String| row.get(name.as_str()).copied().unwrap_or(0.0) / all.max(1.0);
            (tag.clone(), self.known.tags.iter().map(share).collect())
        };
        let content =
            Content::Map { columns: self.known.tags.clone(), rows: taken.iter().map(row).collect() };
        Panel { title: "What each tag is taken for".to_owned(), content }
    }
}

fn sentences(rows: Vec<Vec<String>>) -> Panel {
    let head = ["sentence", "found", "there"].map(str::to_owned).to_vec();
    Panel { title: "Sentences".to_owned(), content: Content::Table { head, rows } }
}

/// `person: Ada Lovelace; location: London`
fn show<T: AsRef<str>>(tokens: &[String], tags: &[T]) -> String {
    let one = |entity: &nn_train::metrics::Entity<'_>| {
        format!("{}: {}", entity.kind, tokens[entity.first..=entity.last].join(" "))
    };
    entities(tags).iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Sentences in a report.
const SHOWN: usize = 20;
