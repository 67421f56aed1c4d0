//! Where in a recipe the value stands that turns out to be impossible once all of it is known.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Setting;

/// The error with the place of what it is about in front: the option that set the value, or line and column in the
/// recipe's `text`, which messages call `origin`. As it was, if the message names no key of the recipe.
pub(crate) fn blame(error: anyhow::Error, text: &str, origin: &str, settings: &[Setting]) -> anyhow::Error {
    let message = format!("{error:#}");
    let document = DeTable::parse(text).ok().map(Spanned::into_inner).unwrap_or_default();
    let of_setting = |setting: &&Setting| message.contains(&setting.key) || about(&message, &setting.key);
    let place = match (settings.iter().rfind(of_setting), find(&document, &message)) {
        (Some(setting), _) => setting.typed.clone(),
        (None, Some(span)) => super::place(text, origin, Some(span)),
        (None, None) => return error,
    };
    let told = format!("{place}: {error}");
    error.context(told)
}

/// Whether the message is about a key of the table it names: `[schedule] …: warmup must …` about `schedule.warmup`.
fn about(message: &str, key: &str) -> bool {
    let Some((table, key)) = key.split_once('.') else { return false };
    let last = key.rsplit('.').next().unwrap_or(key);
    message.contains(&format!("[{table}]")) && message.contains(&format!("{last} must"))
}

/// The place of the value that the message names with its table, `train.epochs`, or after its table, `[train] …: epochs`.
fn find(document: &DeTable<'_>, message: &str) -> Option<Range<usize>> {
    let words: Vec<&str> = message
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_-.[]".contains(c)))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| !word.is_empty())
        .collect();
    if let Some(span) = words.iter().find_map(|word| at(document, word)) {
        return Some(span);
    }
    let named = |(i, word): (usize, &&str)| {
        let table = word.strip_prefix('[')?.strip_suffix(']')?;
        Some((i, document.iter().find(|(key, _)| key.get_ref() == table)?))
    };
    let (i, (_, table)) = words.iter().enumerate().find_map(named)?;
    // What must be otherwise comes before what it is compared with.
    let followed = |pair: &[&str]| (pair[1] == "must").then(|| within(table, pair[0])).flatten();
    let rest = &words[i + 1..];
    let inside =
        rest.windows(2).find_map(followed).or_else(|| rest.iter().find_map(|word| within(table, word)));
    Some(inside.unwrap_or_else(|| table.span()))
}

/// The place of the value at a path of two keys or more.
fn at(document: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let (first, rest) = path.split_once('.')?;
    let (_, mut value) = document.iter().find(|(key, _)| key.get_ref() == first)?;
    for part in rest.split('.') {
        let DeValue::Table(table) = value.get_ref() else { return None };
        (_, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
    }
    Some(value.span())
}

/// The place of the value of a key somewhere in the value.
fn within(value: &Spanned<DeValue<'_>>, key: &str) -> Option<Range<usize>> {
    let DeValue::Table(table) = value.get_ref() else { return None };
    let own = table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.span());
    own.or_else(|| table.iter().find_map(|(_, value)| within(value, key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{failed, report};

    const TEXT: &str = "[train]\nepochs = 0\n[schedule]\nlr = 0.1\ndecay = { kind = 'cosine', min_lr = 3 }\n";

    fn blamed(message: &'static str, settings: &[&str]) -> String {
        let settings: Vec<Setting> =
            settings.iter().map(|text| Setting::parse(text).expect("key=value")).collect();
        report(&blame(failed(message), TEXT, "my.toml", &settings))
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn impossible_values_have_a_place() {
        for (message, settings, told) in [
            (
                "train.epochs must be at least 1",
                &[][..],
                "error: my.toml:2:10: train.epochs must be at least 1",
            ),
            (
                "[schedule] cannot be followed: Schedule: min_lr must be between 0 and lr",
                &[],
                "error: my.toml:5:37: [schedule]",
            ),
            ("[schedule] cannot be followed: it is odd", &[], "error: my.toml:3:"),
            (
                "train.epochs must be at least 1",
                &["seed=1", "epochs=0"],
                "error: --set epochs=0: train.epochs",
            ),
            (
                "[schedule] cannot be followed: Schedule: warmup must be 0",
                &["schedule.warmup=-1"],
                "error: --set schedule.warmup=-1: [schedule]",
            ),
            ("train.seed must be less", &[], "error: train.seed must be less"),
            ("the moon is in the way", &["seed=1"], "error: the moon is in the way"),
        ] {
            let line = blamed(message, settings);
            assert!(line.starts_with(told), "{line:?} is not {told:?}");
        }
    }
}
