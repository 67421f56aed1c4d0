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
                key: key.trim().to_owned(),
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
