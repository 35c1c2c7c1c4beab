//! What two agents ask each other about a key of several regions: JSON in the bodies of ASK
//! and ANSWER frames of a control link.

use sealift_keys::KeySeen;
use sealift_terms::KeyId;
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
#[allow(
    clippy::enum_variant_names,
    reason = "the words of a protocol that has other questions"
)]
pub(crate) enum Question {
    /// How a key stands there.
    KeyLook {
        /// Which key.
        key: KeyId,
    },
    /// Of the primary: there is something of a key to be had. Does it want it?
    KeyOffer {
        /// Which key.
        key: KeyId,
        /// An operator wants it there: even if it was destroyed there before.
        #[serde(default)]
        new: bool,
    },
    /// Here it is, wrapped.
    KeyBring {
        /// The number that the answer to the offer gave.
        exchange: String,
        /// The source's public key, in hex.
        public: String,
        /// What it sealed, in base64.
        sealed: String,
    },
    /// Of a replica: it wants to lead, as of this term.
    KeyYield {
        /// Which key.
        key: KeyId,
        /// The term that follows.
        term: u64,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// So it stands here: looked at, taken up, or led by the other side from now on.
    KeySeen {
        /// How.
        seen: Box<KeySeen>,
    },
    /// It is wanted: for this public key, in this exchange.
    KeyWanted {
        /// The exchange's number, in hex.
        exchange: String,
        /// The target's public key, in hex.
        public: String,
        /// The versions that are here, counted from the first.
        versions: u64,
    },
    /// The key was destroyed here.
    KeyGone,
    /// There is no such key here.
    KeyNone,
    /// The asking agent may not, or it cannot be done.
    KeyRefused {
        /// The reason code.
        reason: String,
        /// What was found, for people.
        told: String,
    },
    /// The question was not understood.
    Unknown,
}

/// Fixed bytes in hex.
pub(super) fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sealift_keys::KeyState;
    use sealift_terms::{Region, RotationDays};

    use super::*;

    #[test]
    fn questions_and_answers_read_as_documented() {
        let key = || KeyId::new("key-1").unwrap();
        for (question, text) in [
            (
                Question::KeyLook { key: key() },
                r#"{"ask":"key-look","key":"key-1"}"#,
            ),
            (
                Question::KeyOffer {
                    key: key(),
                    new: true,
                },
                r#"{"ask":"key-offer","key":"key-1","new":true}"#,
            ),
            (
                Question::KeyYield {
                    key: key(),
                    term: 2,
                },
                r#"{"ask":"key-yield","key":"key-1","term":2}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&question).unwrap(), text);
            assert_eq!(serde_json::from_str::<Question>(text).unwrap(), question);
        }
        let region = Region::new("b").unwrap();
        let seen = KeySeen {
            region: region.clone(),
            state: KeyState::Enabled,
            alias: None,
            description: None,
            rotate_every_days: RotationDays::default(),
            current: "1".to_owned(),
            primary: region.clone(),
            term: 1,
            generation: 4,
            members: BTreeSet::from([region]),
            versions: 1,
            prints: vec![("1".to_owned(), Some("ab".to_owned()))],
        };
        let answers = [
            Answer::KeySeen {
                seen: Box::new(seen),
            },
            Answer::KeyGone,
            Answer::Unknown,
        ];
        for answer in answers {
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(
                serde_json::from_str::<Answer>(&text).unwrap(),
                answer,
                "{text}"
            );
        }
        // A newer agent may say more.
        let more = r#"{"answer":"key-gone","since":"yesterday"}"#;
        assert_eq!(
            serde_json::from_str::<Answer>(more).unwrap(),
            Answer::KeyGone
        );
    }

    #[test]
    fn the_longest_versions_fit_into_a_question() {
        use sealift_terms::limits::{
            CONTROL_BODY_BYTES_MAX, KEY_NOTE_BYTES_MAX, KEY_REGIONS_MAX,
            KEY_VERSIONS_PER_EXCHANGE_MAX,
        };
        // A version: its material in hex, a reason of which each byte may be written as two,
        // its number and time; a region is named in two lists.
        let version = 64 + 2 * KEY_NOTE_BYTES_MAX + 160;
        let plain = KEY_VERSIONS_PER_EXCHANGE_MAX * version + 2 * KEY_REGIONS_MAX * 70 + 1024;
        assert!(plain / 3 * 4 + 1024 < CONTROL_BODY_BYTES_MAX, "{plain}");
    }
}
