//! Objects of JSON in which no key comes twice: a reader that takes the last would not see what another sees that takes the
//! first.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// An object with any values, which are passed over; it is an error if one of its keys comes twice.
pub(super) struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("{} comes twice", key.escape_debug())));
            }
            keys.insert(key);
        }
        Ok(UniqueKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_once() {
        let read = |text| serde_json::from_str::<UniqueKeys>(text);
        read("{\"a\": 1, \"b\": {\"a\": []}}").expect("an object");
        for (text, says) in
            [("{\"a\": 1, \"\\u0061\": 2}", "a comes twice"), ("[]", "an object"), ("{\"a\": ", "EOF")]
        {
            let error = read(text).err().expect(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
