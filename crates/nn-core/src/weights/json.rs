//! Objects of JSON in which no key comes twice: a reader that takes the last would not see what another sees that takes the
//! first.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// An object by its keys.
pub(super) struct Unique<V>(pub(super) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Keys<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut object = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if object.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("{} comes twice", key.escape_debug())));
                    }
                    object.insert(key, value);
                }
                Ok(Unique(object))
            }
        }
        deserializer.deserialize_map(Keys(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_once() {
        let read = |text| serde_json::from_str::<Unique<u8>>(text).map(|object| object.0);
        let two = read("{\"a\": 1, \"b\": 2}").expect("an object");
        assert_eq!(two.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        for (text, says) in
            [("{\"a\": 1, \"\\u0061\": 2}", "a comes twice"), ("[]", "an object"), ("{\"a\": \"\"}", "u8")]
        {
            let error = read(text).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
