//! Identifiers drawn at random or counted, written as lower-case hex.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{name::NameError, world::Rng};

/// Declares a 128-bit identifier, shown as 32 hex digits.
macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Draws a new one.
            #[must_use]
            pub fn random(rng: &dyn Rng) -> Self {
                let mut bytes = [0; 16];
                rng.fill(&mut bytes);
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let error = || NameError::new($what, text, "32 lower-case hex digits");
                let well_formed = text.len() == 32
                    && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if !well_formed {
                    return Err(error());
                }
                u128::from_str_radix(text, 16).map(|n| Self(n.to_be_bytes())).map_err(|_| error())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id128!(
    /// One sealing of one object; new for every sealing.
    ObjectUid, "object uid"
);
id128!(
    /// One key record: a wrapped record key.
    RecordId, "key record id"
);
id128!(
    /// One site, drawn when its data directory is made.
    SiteId, "site id"
);
id128!(
    /// One life of a site's catalog: new after every rebuild or restore.
    Epoch, "epoch"
);
id128!(
    /// One session between two agents: a control connection and its data connections.
    SessionId, "session id"
);

/// The key records of one sealing: one, or one for each of its two layers. The first is
/// the inner layer's where there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordIds {
    /// The only one, or the inner layer's.
    pub first: RecordId,
    /// The outer layer's.
    pub second: Option<RecordId>,
}

impl RecordIds {
    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = RecordId> {
        [self.first].into_iter().chain(self.second)
    }
}

impl From<RecordId> for RecordIds {
    /// Of a sealing in one layer.
    fn from(first: RecordId) -> Self {
        let second = None;
        Self { first, second }
    }
}

impl fmt::Display for RecordIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.first, f)?;
        self.second
            .map_or(Ok(()), |second| write!(f, " and {second}"))
    }
}

/// One transfer in the sender's journal, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransferId(pub u64);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One batch of replication in the sender's journal, counted from 1; no number is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for BatchId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = text.parse().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| NameError::new("batch", text, "its number, as in 7"));
        number.map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_survives_a_round_trip_and_nothing_else_parses() {
        let id = ObjectUid([0xab; 16]);
        assert_eq!(id.to_string().parse::<ObjectUid>().unwrap(), id);
        for bad in [
            "",
            "ab",
            &"AB".repeat(16),
            &"+f".repeat(16),
            &"é".repeat(16),
        ] {
            assert!(bad.parse::<ObjectUid>().is_err(), "{bad}");
        }
    }
}
