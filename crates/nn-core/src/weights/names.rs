//! The names other libraries have for the parameters of a network, brought to ours.

use std::collections::BTreeMap;

/// How a library calls the parameters of a family: pairs of its names and ours, of which the first that fits counts.
///
/// `{i}` stands for a run of letters, digits and underscores in their name and for the same in ours; `{i+1}` in ours for
/// the next number. Where several of their tensors are one of ours, laid end to end along the first axis, our name
/// says at which place: `in_proj_weight#0`, `in_proj_weight#1`. Where they have a convolution as large as its input and we
/// a dense layer, our name says how large: `fc1.{p}@7x7`.
///
/// ```
/// use nn_core::weights::NameMap;
///
/// let map = NameMap::new("timm", [("blocks.{i}.norm1.{p}", "encoder.layers.encoder_layer_{i}.ln_1.{p}")]);
/// assert_eq!(map.name("blocks.11.norm1.bias").as_deref(), Some("encoder.layers.encoder_layer_11.ln_1.bias"));
/// assert_eq!(map.name("norm.bias"), None);
/// ```
#[derive(Clone, Debug)]
pub struct NameMap {
    scheme: &'static str,
    rules: Vec<(String, String)>,
}

impl NameMap {
    /// The names of the library `scheme`.
    pub fn new<T: Into<String>, O: Into<String>>(
        scheme: &'static str,
        rules: impl IntoIterator<Item = (T, O)>,
    ) -> Self {
        let rules = rules.into_iter().map(|(theirs, ours)| (theirs.into(), ours.into())).collect();
        Self { scheme, rules }
    }

    /// Whose names these are.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Our name for theirs; nothing where they have none like it.
    pub fn name(&self, theirs: &str) -> Option<String> {
        self.ours(theirs).map(|(name, _)| name)
    }

    /// Our name for theirs, and how ours is made of theirs.
    fn ours(&self, theirs: &str) -> Option<(String, Marks)> {
        self.rules.iter().find_map(|(pattern, ours)| {
            let (ours, marks) = Marks::split(ours)?;
            Some((fill(ours, &captures(pattern, theirs)?)?, marks))
        })
    }

    /// For each of our names theirs, in the order in which they are one tensor. Nothing unless every one of `theirs`
    /// has a name and a place of its own.
    pub(super) fn parts<'a>(
        &self,
        theirs: impl Iterator<Item = &'a str>,
    ) -> Option<BTreeMap<String, Parts<&'a str>>> {
        let mut all: BTreeMap<String, (BTreeMap<usize, &str>, Window)> = BTreeMap::new();
        for name in theirs {
            let (ours, Marks { place, window }) = self.ours(name)?;
            let (places, _) = all.entry(ours).or_insert((BTreeMap::new(), window));
            if places.insert(place, name).is_some() {
                return None;
            }
        }
        let whole = |(places, window): (BTreeMap<usize, &'a str>, Window)| {
            let whole = places.keys().copied().eq(0..places.len());
            whole.then(|| Parts { names: places.into_values().collect(), window })
        };
        all.into_iter().map(|(ours, places)| Some((ours, whole(places)?))).collect()
    }

    /// Their names for one of ours, in the order in which they are one tensor; nothing where they have none like it.
    pub(super) fn theirs(&self, ours: &str) -> Option<Parts<String>> {
        let mut names: Vec<(usize, String)> = Vec::new();
        let mut window = None;
        for (theirs, pattern) in &self.rules {
            let (pattern, marks) = Marks::split(pattern)?;
            let Some(found) = captures(pattern, ours) else { continue };
            let before = found.into_iter().map(|(key, value)| before(key, value));
            let Some(before) = before.collect::<Option<Vec<_>>>() else { continue };
            let before: Vec<(&str, &str)> =
                before.iter().map(|(key, value)| (*key, value.as_str())).collect();
            if names.iter().all(|(place, _)| *place != marks.place) {
                names.push((marks.place, fill(theirs, &before)?));
                window = marks.window;
            }
        }
        names.sort();
        let whole = !names.is_empty() && names.iter().map(|(place, _)| *place).eq(0..names.len());
        whole.then(|| Parts { names: names.into_iter().map(|(_, name)| name).collect(), window })
    }
}

/// Height and width of a convolution that is a dense layer here.
pub(super) type Window = Option<[usize; 2]>;

/// The tensors of another library that are one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<N> {
    pub(super) names: Vec<N>,
    pub(super) window: Window,
}

/// What stands behind our name in a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    place: usize,
    window: Window,
}

impl Marks {
    /// The name, and what stands behind it.
    fn split(ours: &str) -> Option<(&str, Self)> {
        if let Some((name, place)) = ours.split_once('#') {
            return Some((name, Self { place: place.parse().ok()?, window: None }));
        }
        let Some((name, window)) = ours.split_once('@') else { return Some((ours, Self::default())) };
        let (height, width) = window.split_once('x')?;
        Some((name, Self { place: 0, window: Some([height.parse().ok()?, width.parse().ok()?]) }))
    }
}

/// What a key of ours and its value were in their name: of `s+1` that is 3, `s` is 2.
fn before<'a>(key: &'a str, value: &str) -> Option<(&'a str, String)> {
    match key.strip_suffix("+1") {
        Some(key) => Some((key, value.parse::<usize>().ok()?.checked_sub(1)?.to_string())),
        None => Some((key, value.to_owned())),
    }
}

/// What the `{…}` of a pattern stand for in a name.
fn captures<'a>(pattern: &'a str, name: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut captures = Vec::new();
    let (mut pattern, mut name) = (pattern, name);
    while let Some((before, rest)) = pattern.split_once('{') {
        let (key, after) = rest.split_once('}')?;
        name = name.strip_prefix(before)?;
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
        // A word ends where the pattern goes on.
        let end = after
            .split('{')
            .next()
            .filter(|next| !next.is_empty())
            .map_or(Some(end), |next| name.find(next).filter(|&found| found <= end))?;
        if end == 0 {
            return None;
        }
        captures.push((key, &name[..end]));
        (pattern, name) = (after, &name[end..]);
    }
    (pattern == name).then_some(captures)
}

fn fill(ours: &str, captures: &[(&str, &str)]) -> Option<String> {
    let mut text = String::new();
    let mut rest = ours;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}')?;
        text += before;
        let value = |key: &str| captures.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        match key.strip_suffix("+1") {
            Some(key) => text += &(value(key)?.parse::<usize>().ok()?.checked_add(1)?).to_string(),
            None => text += value(key)?,
        }
        rest = after;
    }
    Some(text + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> NameMap {
        let rules = [
            ("stages.{s}.layer.{k}.convolution.{p}", "layer{s+1}.conv{k+1}.{p}"),
            ("attention.query.{p}", "in_proj_{p}#0"),
            ("attention.key.{p}", "in_proj_{p}#1"),
            ("head.bias", "fc.bias"),
            ("bn{n}.weight", "norms.{n}.weight"),
            ("conv.{p}", "dense.{p}@7x6"),
        ];
        NameMap::new("theirs", rules)
    }

    #[test]
    fn words_are_carried_over_and_numbers_counted_on() {
        for (theirs, ours) in [
            ("stages.0.layer.9.convolution.weight", Some("layer1.conv10.weight")),
            ("stages.x.layer.9.convolution.weight", None),
            ("stages.0.layer.9.convolution", None),
            ("stages..layer.9.convolution.weight", None),
            ("stages.0.1.layer.9.convolution.weight", None),
            ("attention.key.bias", Some("in_proj_bias")),
            ("head.bias", Some("fc.bias")),
            ("head.bias2", None),
            ("my.head.bias", None),
            ("bn12.weight", Some("norms.12.weight")),
            ("bn.weight", None),
            ("stages.18446744073709551615.layer.0.convolution.weight", None),
        ] {
            assert_eq!(map().name(theirs).as_deref(), ours, "{theirs}");
        }
    }

    #[test]
    fn parts_are_joined_in_order_and_none_may_be_missing_or_double() {
        let parts = |names: &[&'static str]| map().parts(names.iter().copied());
        let all =
            parts(&["attention.key.bias", "head.bias", "attention.query.bias"]).expect("all have names");
        assert_eq!(all["in_proj_bias"].names, ["attention.query.bias", "attention.key.bias"]);
        assert_eq!(all["fc.bias"], Parts { names: vec!["head.bias"], window: None });
        assert!(parts(&["attention.key.bias"]).is_none());
        assert!(parts(&["head.bias", "tail.bias"]).is_none());
        let twice = NameMap::new("theirs", [("a", "x"), ("b", "x")]);
        assert!(twice.parts(["a", "b"].into_iter()).is_none());
    }

    #[test]
    fn names_go_back_to_what_they_were() {
        let theirs = |ours: &str| map().theirs(ours).map(|parts| parts.names);
        for (ours, expected) in [
            ("layer1.conv10.weight", Some(&["stages.0.layer.9.convolution.weight"][..])),
            ("layer0.conv10.weight", None),
            ("layerx.conv10.weight", None),
            ("in_proj_bias", Some(&["attention.query.bias", "attention.key.bias"])),
            ("fc.bias", Some(&["head.bias"])),
            ("fc.weight", None),
            ("norms.12.weight", Some(&["bn12.weight"])),
        ] {
            let expected = expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
            assert_eq!(theirs(ours), expected, "{ours}");
        }
        let dense = Parts { names: vec!["conv.weight".to_owned()], window: Some([7, 6]) };
        assert_eq!(map().theirs("dense.weight"), Some(dense));
        assert_eq!(map().name("conv.bias").as_deref(), Some("dense.bias"));
    }
}
