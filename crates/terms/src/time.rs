//! Wall-clock time as sealift writes it down.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::name::NameError;

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339, UTC, always
/// with three digits behind the second: such texts sort as the moments do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since 1970.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment and `duration` more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This moment less `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = OffsetDateTime::from_unix_timestamp(self.as_secs());
        let text = whole.ok().and_then(|moment| moment.format(&Rfc3339).ok());
        match text.as_deref().and_then(|text| text.strip_suffix('Z')) {
            Some(text) => f.pad(&format!("{text}.{:03}Z", self.0.rem_euclid(1000))),
            None => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |_| NameError::new("time", text, "RFC 3339, as in 2026-11-23T15:04:05Z");
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(error)?;
        // A year of four digits in milliseconds always fits.
        Ok(Self((moment.unix_timestamp_nanos() / 1_000_000) as i64))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_survives_a_round_trip() {
        let moment = Timestamp::from_millis(1_790_000_000_123);
        assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_790_000_000_800, "2026-09-21T14:13:20.800Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap().as_millis(), millis);
        }
        // As others write it.
        let short: Timestamp = "1970-01-01T00:00:01Z".parse().unwrap();
        assert_eq!(short, Timestamp::from_secs(1));
    }

    #[test]
    fn since_never_goes_below_zero() {
        let (early, late) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        assert_eq!(late.since(early), Duration::from_secs(1));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
