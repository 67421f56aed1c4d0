//! A recipe's keys as they are given on the command line.

use anyhow::Result;
use toml::{Table, Value};

use crate::failure::failed;

/// A key given on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// As the person typed it, for messages.
    pub(crate) typed: String,
    /// `train.epochs`
    pub(crate) key: String,
    /// TOML, or a bare word that is taken as a string.
    pub(crate) value: String,
}

impl Setting {
    /// From `--set key=value`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                typed: format!("--set {text}"),
                key: full(key.trim()),
                value: value.trim().to_owned(),
            }),
            _ => Err("it must be key=value, for example train.epochs=3".to_owned()),
        }
    }

    /// From an option that has a key's meaning.
    pub(crate) fn option(option: &str, key: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        Self { typed: format!("{option} {value}"), key: key.to_owned(), value }
    }

    /// The same key with each of the values between commas; brackets and quotes hold together what is inside.
    pub(crate) fn alternatives(&self) -> Vec<Self> {
        let (mut values, mut depth, mut quote) = (vec![String::new()], 0, None);
        for c in self.value.chars() {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                (_, Some(_)) => {}
                ('"' | '\'', None) => quote = Some(c),
                ('[' | '{', None) => depth += 1,
                (']' | '}', None) => depth -= 1,
                (',', None) if depth == 0 => {
                    values.push(String::new());
                    continue;
                }
                _ => {}
            }
            values.last_mut().into_iter().for_each(|value| value.push(c));
        }
        let with = |value: String| {
            let value = value.trim().to_owned();
            Self { typed: format!("--set {}={value}", self.key), key: self.key.clone(), value }
        };
        values.into_iter().map(with).collect()
    }

    fn value(&self) -> Value {
        let parsed = toml::from_str::<Table>(&format!("v = {}", self.value)).ok();
        let parsed = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("v"));
        parsed.unwrap_or_else(|| Value::String(self.value.clone()))
    }

    /// Puts the value into its place. Another `kind` starts from that kind's defaults, because the keys beside it
    /// belong to the old one.
    pub(super) fn apply(&self, table: &mut Table) -> Result<()> {
        let mut parts: Vec<&str> = self.key.split('.').collect();
        let Some(last) = parts.pop() else { unreachable!("split gives at least one part") };
        let mut here = table;
        for part in parts {
            let entry = here.entry(part).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inside) = entry else {
                return Err(failed(format!("{}: `{part}` is a value, not a table", self.typed)));
            };
            here = inside;
        }
        if last == "kind" && here.get(last).is_some_and(|old| *old != self.value()) {
            here.clear();
        }
        here.insert(last.to_owned(), self.value());
        Ok(())
    }
}

/// The tables of a recipe, and the one key beside them.
const TABLES: [&str; 7] = ["task", "model", "data", "augment", "train", "optimizer", "schedule"];

/// `lr` → `schedule.lr`; another key without a table is one of `[train]`: `seed` → `train.seed`.
fn full(key: &str) -> String {
    match key {
        "lr" => "schedule.lr".to_owned(),
        key if key.contains('.') || TABLES.contains(&key) => key.to_owned(),
        key => format!("train.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_a_table_are_completed() {
        let key = |text: &str| Setting::parse(text).expect("key=value").key;
        assert_eq!(
            ["lr=1", "seed=1", "optimizer={kind=\"sgd\"}", "model.name=a", "task=toy"].map(key),
            ["schedule.lr", "train.seed", "optimizer", "model.name", "task"]
        );
    }

    #[test]
    fn commas_part_values_outside_of_brackets_and_quotes() {
        let values = |text: &str| -> Vec<String> {
            let alternatives = Setting::parse(text).expect("key=value").alternatives();
            alternatives.into_iter().map(|setting| setting.value).collect()
        };
        assert_eq!(values("lr=0.1, 0.03"), ["0.1", "0.03"]);
        assert_eq!(values("model.hidden=[1, 2],[3]"), ["[1, 2]", "[3]"]);
        assert_eq!(values("a={b=1,c=[2,3]}"), ["{b=1,c=[2,3]}"]);
        assert_eq!(values("a=\"x,y\",'z,w'"), ["\"x,y\"", "'z,w'"]);
        assert_eq!(values("a=1"), ["1"]);
    }
}
