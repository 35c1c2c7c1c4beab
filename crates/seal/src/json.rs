//! JSON with duplicate members refused, at every depth: two readers could
//! otherwise see two different objects in the same bytes.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};

/// Parses JSON.
///
/// # Errors
/// What is wrong with it, a duplicate member included.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    // Checked as a whole: strings that are skipped over must be UTF-8 as well.
    let text = std::str::from_utf8(bytes).map_err(de::Error::custom)?;
    serde_json::from_str::<Unambiguous>(text)?;
    serde_json::from_str(text)
}

/// Any value in which no object has a member twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Unambiguous>()?;
            if let Some(name) = names.replace(name) {
                return Err(de::Error::custom(format_args!("duplicate member `{name}`")));
            }
        }
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unambiguous, A::Error> {
        while seq.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_comes_twice_is_refused_wherever_it_is() {
        let ok = r#"{"a":[1,-2,0.5,true,null,{"a":"x"}],"b":{"a":1}}"#;
        assert!(parse::<serde_json::Value>(ok.as_bytes()).is_ok());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"[{"x":{"a":1,"a":2}}]"#,
        ] {
            assert!(parse::<serde_json::Value>(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn neither_a_byte_order_mark_nor_broken_utf8_nor_deep_nesting_is_json() {
        assert!(parse::<serde_json::Value>(b"\xef\xbb\xbf{}").is_err());
        assert!(parse::<serde_json::Value>(b"{\"a\":\"\xff\"}").is_err());
        let deep = "[".repeat(60_000);
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_err());
    }
}
