//! Toy tasks, whose data are drawn: a network that cannot copy a sequence, turn it over or sort it will not translate.

use anyhow::Result;
use candle_core::Device;
use nn_core::{Ctx, Mode, ParamStore, Random};
use nn_train::data::{Padded, Part};
use nn_train::metrics::Share;
use nn_train::report::{Content, Illustrations, Panel};
use nn_train::{Counts, Evaluation, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

use std::path::Path;

use super::Task;
use super::network::variables;
use super::pairs::{END, PairBatch, PairNetwork, PairSet, Pairing, Search};
use crate::failure::failed;
use crate::output;
use crate::predict::{self, Format};
use crate::recipe::{Nothing, Recipe, range};

/// The table `[data]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// What is to be done with a sequence.
    change: Change,
    /// Different symbols.
    symbols: u32,
    shortest: usize,
    longest: usize,
    train_examples: usize,
    test_examples: usize,
    /// What the sequences are drawn from.
    seed: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            change: Change::Copy,
            symbols: 10,
            shortest: 1,
            longest: 8,
            train_examples: 10_000,
            test_examples: 1_000,
            seed: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Copy,
    Reverse,
    Sort,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reverse => "reverse",
            Self::Sort => "sort",
        }
    }

    fn apply(self, sequence: &[u32]) -> Vec<u32> {
        let mut changed = sequence.to_vec();
        match self {
            Self::Copy => {}
            Self::Reverse => changed.reverse(),
            Self::Sort => changed.sort_unstable(),
        }
        changed
    }
}

/// A network that changes sequences of symbols, which are numbers from 1 on.
pub(crate) struct Toy {
    network: Pairing,
    data: Data,
}

impl Data {
    /// Of a part; sequences of both are drawn anew and may be the same.
    fn draw(&self, part: Part) -> Vec<[Vec<u32>; 2]> {
        let (name, count) = match part {
            Part::Train => ("train", self.train_examples),
            Part::Test => ("test", self.test_examples),
        };
        let random = Random::new(self.seed).at(name);
        let pair = |index: usize| {
            let mut draws = random.nth(index as u64).draws();
            let mut below = |n: usize| (draws.unit() * n as f64) as usize;
            let length = self.shortest + below(self.longest - self.shortest + 1);
            let source: Vec<u32> =
                (0..length).map(|_| END + 1 + below(self.symbols as usize) as u32).collect();
            let target = self.change.apply(&source);
            [source, target]
        };
        (0..count).map(pair).collect()
    }
}

/// As people see them.
fn symbols(tokens: &[u32]) -> String {
    let symbol = |&token: &u32| token.checked_sub(END).map_or("?".to_owned(), |symbol| symbol.to_string());
    tokens.iter().map(symbol).collect::<Vec<_>>().join(" ")
}

impl Task for Toy {
    const NAME: &'static str = "toy";
    const EXAMPLES: &'static str = "sequences";
    type Model = PairNetwork;
    type Data = Data;
    type Augment = Nothing;
    type Known = ();
    type Set = PairSet;

    fn check(recipe: &Recipe<Self>) -> Result<()> {
        let data = &recipe.data;
        range::at_least_one(&[
            ("data.symbols", data.symbols as usize),
            ("data.shortest", data.shortest),
            ("data.train_examples", data.train_examples),
            ("data.test_examples", data.test_examples),
        ])?;
        let (shortest, longest, most) = (data.shortest, data.longest, recipe.model.longest());
        if longest < shortest || longest >= most || data.symbols > MOST_SYMBOLS {
            return Err(failed(format!(
                "data.longest must be at least data.shortest and below model.longest, got {shortest} to {longest}, \
                 and data.symbols at most {MOST_SYMBOLS}, got {}",
                data.symbols
            )));
        }
        recipe.model.check()
    }

    fn title(recipe: &Recipe<Self>) -> [String; 2] {
        [recipe.model.name().to_owned(), recipe.data.change.name().to_owned()]
    }

    fn locate(_data: &mut Data, _given: Option<&Path>) {}

    fn learn(_recipe: &Recipe<Self>) -> Result<()> {
        Ok(())
    }

    fn open(recipe: &Recipe<Self>, _known: &(), part: Part) -> Result<PairSet> {
        Ok(PairSet { pairs: recipe.data.draw(part) })
    }

    fn build(recipe: &Recipe<Self>, _known: &(), store: &ParamStore, device: &Device) -> Result<Self> {
        let count = (END + 1 + recipe.data.symbols) as usize;
        let network = recipe.model.build([count; 2], variables(store, device))?;
        Ok(Self { network, data: recipe.data })
    }

    /// The cross-entropy, and in an evaluation which sequences are right from beginning to end.
    fn outcome(&self, batch: &PairBatch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let outcome = self.network.outcome(batch, ctx)?;
        if ctx.mode() == Mode::Train {
            return Ok(outcome);
        }
        let answers = self.network.answer(&batch.source, self.data.longest + 1, Search::Greedy)?;
        let mut exact = Share::default();
        answers
            .iter()
            .zip(&batch.targets)
            .for_each(|(answer, target)| exact += Share::from(answer == target));
        Ok(outcome.counting(Counts { exact: Some(exact), ..Counts::default() }))
    }

    /// The first few test sequences, and where the network looks.
    fn illustrate(&self, test: &PairSet, _evaluation: &Evaluation) -> Result<Illustrations> {
        let shown = &test.pairs[..test.pairs.len().min(SHOWN)];
        let sources: Vec<&[u32]> = shown.iter().map(|pair| pair[0].as_slice()).collect();
        let answers = self.network.answer(
            &Padded::new(&sources, super::pairs::PADDING)?,
            self.data.longest + 1,
            Search::Greedy,
        )?;
        let row = |([source, target], answer): (&[Vec<u32>; 2], &Vec<u32>)| {
            let right = if answer == target { String::new() } else { symbols(target) };
            vec![symbols(source), symbols(answer), right]
        };
        let rows = shown.iter().zip(&answers).map(row).collect();
        let head = ["sequence", "answer", "should be"].map(str::to_owned).to_vec();
        let mut panels = vec![Panel { title: "Answers".to_owned(), content: Content::Table { head, rows } }];
        let longest = shown.iter().zip(&answers).max_by_key(|(pair, _)| pair[0].len());
        if let Some(([source, _], answer)) = longest
            && let Some(weights) = self.network.attention(source, answer)?
        {
            let name = |token: &u32| symbols(&[*token]);
            let columns = source.iter().map(name).collect();
            let rows = answer.iter().map(name).chain(["end".to_owned()]).zip(weights).collect();
            let title = "Where each symbol of an answer looks".to_owned();
            panels.push(Panel { title, content: Content::Map { columns, rows } });
        }
        Ok(Illustrations { panels, ..Illustrations::default() })
    }

    fn predict(args: &predict::Args) -> Result<()> {
        args.sampling.refuse(Self::NAME)?;
        let model: Self = args.reader()?;
        let mut answers = Vec::new();
        for text in args.texts()? {
            let source = model.data.read(text)?;
            let padded = Padded::new(&[source], super::pairs::PADDING)?;
            let answer = model.network.answer(&padded, model.data.longest + 1, Search::Greedy)?;
            answers.push((text, symbols(&answer.concat())));
        }
        if args.format() == Format::Json {
            let object = |(text, answer)| json!({ "sequence": text, "answer": answer });
            return output::json(&answers.into_iter().map(object).collect::<Vec<_>>());
        }
        answers.iter().try_for_each(|(_, answer)| output::line(answer))
    }
}

impl Data {
    /// Symbols between blanks or commas.
    fn read(&self, text: &str) -> Result<Vec<u32>> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        let token = |(place, word): (usize, &str)| {
            let symbol = word.parse::<u32>().ok().filter(|symbol| (1..=self.symbols).contains(symbol));
            symbol.map(|symbol| END + symbol).ok_or_else(|| {
                failed(format!("symbol {place} must be a number from 1 to {}, got {word:?}", self.symbols))
            })
        };
        let tokens: Vec<u32> = (1..).zip(words).map(token).collect::<Result<_>>()?;
        match tokens.len() {
            0 => Err(failed("there is no symbol in the text")),
            n if n > self.longest => {
                Err(failed(format!("the network was taught sequences of at most {}, got {n}", self.longest)))
            }
            _ => Ok(tokens),
        }
    }
}

/// Sequences in a report.
const SHOWN: usize = 12;

/// More would be a vocabulary.
const MOST_SYMBOLS: u32 = 10_000;
