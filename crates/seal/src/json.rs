//! JSON with duplicate members refused, at every depth: two readers could
//! otherwise see two different objects in the same bytes. For the same reason a
//! list is no object, although serde would take one for a struct.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};

/// Parses a JSON object.
///
/// # Errors
/// What is wrong with it, a duplicate member included.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    // Checked as a whole: strings that are skipped over must be UTF-8 as well.
    let text = std::str::from_utf8(bytes).map_err(de::Error::custom)?;
    serde_json::from_str::<Unambiguous>(text)?;
    if !text.trim_start().starts_with('{') {
        return Err(de::Error::custom("it is no object"));
    }
    serde_json::from_str(text)
}

/// Reads a member that is an object, or is not there.
///
/// # Errors
/// What is wrong with it, being a list included.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_option(ObjectOrNone(PhantomData))
}

struct ObjectOrNone<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectOrNone<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
    }
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
    fn a_list_is_no_object() {
        #[derive(Deserialize)]
        struct Outer {
            #[serde(default, deserialize_with = "object")]
            inner: Option<Inner>,
        }
        #[derive(Deserialize)]
        struct Inner {
            a: u64,
        }
        let parsed = |json: &str| {
            parse::<Outer>(json.as_bytes())
                .ok()
                .map(|outer| outer.inner)
        };
        let largest = parsed(r#" {"inner":{"a":18446744073709551615}}"#).unwrap();
        assert_eq!(largest.unwrap().a, u64::MAX);
        assert!(parsed(r#"{"inner":null}"#).unwrap().is_none());
        assert!(parsed("{}").unwrap().is_none());
        assert!(parsed(r#"{"inner":[1]}"#).is_none());
        assert!(parsed(r#"[{"a":1}]"#).is_none());
    }

    #[test]
    fn neither_a_byte_order_mark_nor_broken_utf8_nor_deep_nesting_is_json() {
        assert!(parse::<serde_json::Value>(b"\xef\xbb\xbf{}").is_err());
        assert!(parse::<serde_json::Value>(b"{\"a\":\"\xff\"}").is_err());
        let deep = "[".repeat(60_000);
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_err());
    }
}
