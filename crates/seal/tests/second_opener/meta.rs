//! META's JSON: no member twice, at any depth, and every known member of its type.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Refused, demand};

const JSON_MAX: usize = 65_536;

/// JSON in which an object has every member once.
#[derive(Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number(u64),
    /// Below zero or with a fraction: no member that a reader knows has one.
    Other,
    Text(String),
    List,
    Object(BTreeMap<String, Json>),
}

/// What META says of an object.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) version: String,
    pub(crate) size: u64,
    pub(crate) sequence: Option<u64>,
    pub(crate) mark: Option<String>,
}

impl Meta {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Refused> {
        demand(json.len() <= JSON_MAX, "META's JSON is too long")?;
        demand(!json.starts_with(b"\xef\xbb\xbf"), "a byte order mark")?;
        let json = serde_json::from_slice(json).map_err(|_| Refused("META's JSON"))?;
        let Json::Object(members) = json else {
            return Err(Refused("META's JSON is no object"));
        };
        let members = Members(members);
        for name in ["content_type", "etag", "source_region"] {
            members.text(name)?;
        }
        for name in ["last_modified", "sealed_at"] {
            if let Some(time) = members.text(name)? {
                demand(is_time(&time), "a time")?;
            }
        }
        for name in ["metadata", "system", "tags"] {
            if let Some(map) = members.object(name)? {
                demand(
                    map.0.values().all(|value| matches!(value, Json::Text(_))),
                    "a map of text to text",
                )?;
            }
        }
        members.checksum()?;
        members.order()?;
        let size = members.number("size")?.ok_or(Refused("no size"))?;
        let mark = members.text("mark")?;
        if let Some(mark) = &mark {
            demand(
                ["delete-marker", "tags", "purge", "hold"].contains(&mark.as_str()),
                "a mark of an unknown kind",
            )?;
            demand(size == 0, "a mark with bytes")?;
        }
        Ok(Self {
            bucket: members.text("bucket")?.ok_or(Refused("no bucket"))?,
            key: members.text("key")?.ok_or(Refused("no key"))?,
            version: members.text("version")?.ok_or(Refused("no version"))?,
            size,
            sequence: members.number("sequence")?,
            mark,
        })
    }
}

/// The members of one object; an absent one is none, and one of the wrong type
/// is refused.
struct Members(BTreeMap<String, Json>);

impl Members {
    fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refused("a member that should be text")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(Refused("a member that should be a whole number")),
        }
    }

    fn object(&self, name: &str) -> Result<Option<MembersOf<'_>>, Refused> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Object(members)) => Ok(Some(MembersOf(members))),
            Some(_) => Err(Refused("a member that should be an object")),
        }
    }

    fn checksum(&self) -> Result<(), Refused> {
        let Some(checksum) = self.object("checksum")? else {
            return Ok(());
        };
        let bytes = match checksum.0.get("algorithm") {
            Some(Json::Text(name)) if name == "crc64nvme" => 8,
            Some(Json::Text(name)) if name == "sha256" || name == "blake3" => 32,
            _ => return Err(Refused("a checksum of an unknown algorithm")),
        };
        let value = match checksum.0.get("value") {
            Some(Json::Text(text)) => STANDARD.decode(text).unwrap_or_default(),
            _ => Vec::new(),
        };
        demand(value.len() == bytes, "a checksum's value")
    }

    fn order(&self) -> Result<(), Refused> {
        let Some(order) = self.object("order")? else {
            return Ok(());
        };
        let member = |name| order.0.get(name);
        demand(
            matches!(member("clock"), Some(Json::Number(_)))
                && matches!(member("region"), Some(Json::Text(_)))
                && matches!(member("change"), Some(Json::Number(_))),
            "an order",
        )
    }
}

struct MembersOf<'a>(&'a BTreeMap<String, Json>);

/// Whether this looks like RFC 3339: a date and more, no more than a test needs.
fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.is_ascii() && text.as_bytes()[4] == b'-'
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        while list.next_element::<Json>()?.is_some() {}
        Ok(Json::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Json::Object(members))
    }
}
