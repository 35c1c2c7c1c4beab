//! Periods that are counted in whole days, checked once, where they entered.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{limits, name::NameError};

/// Declares a number of days between two bounds.
macro_rules! days {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $min:expr, $max:expr, $default:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(u16);

        impl $name {
            /// Checks and takes a number of days.
            ///
            /// # Errors
            /// [`NameError`] says what was found and what is allowed.
            pub fn new(days: u16) -> Result<Self, NameError> {
                match ($min..=$max).contains(&days) {
                    true => Ok(Self(days)),
                    false => Err(NameError::new($what, &days.to_string(), $allowed)),
                }
            }

            /// The number.
            #[must_use]
            pub const fn days(self) -> u16 {
                self.0
            }

            /// As long as that.
            #[must_use]
            pub const fn duration(self) -> std::time::Duration {
                std::time::Duration::from_secs(self.0 as u64 * 86_400)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let days = text.parse().map_err(|_| NameError::new($what, text, $allowed))?;
                Self::new(days)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(u16::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

days!(
    /// After how many days a key gets a new version by itself; 365 unless said otherwise.
    RotationDays,
    "time between rotations",
    "90 to 2560 days",
    limits::KEY_ROTATION_DAYS_MIN,
    limits::KEY_ROTATION_DAYS_MAX,
    limits::KEY_ROTATION_DAYS_DEFAULT
);
days!(
    /// How many days a key waits for its deletion; 30 unless said otherwise.
    DeletionDays,
    "time until a deletion",
    "7 to 30 days",
    limits::KEY_DELETION_DAYS_MIN,
    limits::KEY_DELETION_DAYS_MAX,
    limits::KEY_DELETION_DAYS_MAX
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_within_the_bounds_are_taken() {
        for (text, good) in [
            ("89", false),
            ("90", true),
            ("2560", true),
            ("2561", false),
            ("-1", false),
        ] {
            assert_eq!(text.parse::<RotationDays>().is_ok(), good, "{text}");
            let json = serde_json::from_str::<RotationDays>(text);
            assert_eq!(json.is_ok(), good, "{text}");
        }
        for (text, good) in [("6", false), ("7", true), ("30", true), ("31", false)] {
            assert_eq!(text.parse::<DeletionDays>().is_ok(), good, "{text}");
        }
        assert_eq!(RotationDays::default().days(), 365);
        let month = DeletionDays::default().duration();
        assert_eq!(month.as_secs(), 30 * 86_400);
        assert_eq!(
            serde_json::to_string(&RotationDays::default()).unwrap(),
            "365"
        );
    }
}
