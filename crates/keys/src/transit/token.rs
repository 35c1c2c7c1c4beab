//! The token: read from its file for every call, renewed before half of its life is over.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::Response;
use parking_lot::Mutex;
use sealift_host::{SecretFileError, read_secret_file};
use sealift_terms::{Clock, limits::KEY_SERVICE_TOKEN_BYTES_MAX};
use serde_json::Value;
use zeroize::Zeroizing;

/// How often a token is looked at, whatever its life.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(300);

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// By the monotonic clock.
    next_look: Duration,
    /// When it ends, by the same; never for a root token.
    ends: Option<Duration>,
}

pub(super) struct Token {
    file: PathBuf,
    clock: Arc<dyn Clock>,
    seen: Mutex<Option<Seen>>,
}

impl Token {
    pub(super) fn new(file: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            file,
            clock,
            seen: Mutex::default(),
        }
    }

    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
        read_secret_file(&self.file, KEY_SERVICE_TOKEN_BYTES_MAX)
    }

    /// Whether it is time to look at it again; then the next time is later.
    pub(super) fn is_due(&self) -> bool {
        let now = self.clock.monotonic();
        let mut seen = self.seen.lock();
        if seen.is_some_and(|seen| now < seen.next_look) {
            return false;
        }
        *seen = Some(Seen {
            next_look: now + LOOKED_AT_EVERY,
            ends: seen.and_then(|seen| seen.ends),
        });
        true
    }

    /// Takes up what `lookup-self` answered. Whether it is to be renewed now.
    pub(super) fn wants_renewal(&self, looked: &Response<Bytes>) -> bool {
        let body: Value = serde_json::from_slice(looked.body()).unwrap_or_default();
        let number = |field: &str| {
            let value = body.get("data").and_then(|data| data.get(field));
            value.and_then(Value::as_u64).unwrap_or_default()
        };
        let renewable = body
            .get("data")
            .and_then(|data| data.get("renewable"))
            .and_then(Value::as_bool);
        let (left, whole) = (number("ttl"), number("creation_ttl"));
        let renewable = renewable.unwrap_or(false);
        if !looked.status().is_success() || whole == 0 {
            return false;
        }
        let now = self.clock.monotonic();
        let wants = renewable && left * 2 <= whole;
        let next = match renewable {
            // Half of what is left before half of the life is over, and at once after a renewal.
            true if !wants => Duration::from_secs(left - whole / 2),
            _ => Duration::from_secs(left / 4).max(Duration::from_secs(1)),
        };
        *self.seen.lock() = Some(Seen {
            next_look: now + next.min(LOOKED_AT_EVERY),
            ends: Some(now + Duration::from_secs(left)),
        });
        wants
    }

    /// Seconds until it ends, as it was last seen.
    pub(super) fn life_left(&self) -> Option<u64> {
        let ends = (*self.seen.lock())?.ends?;
        Some(ends.saturating_sub(self.clock.monotonic()).as_secs())
    }
}
