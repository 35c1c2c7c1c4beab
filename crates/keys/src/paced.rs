//! A provider that is asked over a network, held to a number of calls a second.
//!
//! ```text
//!   describe ─▶ known for a while? ─▶ ┐
//!   wrap, unwrap ──────────────────▶ a call of the quota ─▶ provider ─▶ throttled? again, a little later
//!                                      none for too long                 in trouble? no calls for a moment
//! ```

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_seal::RecordKey;
use sealift_terms::{
    Clock, Rng,
    limits::{KEY_CALL_PATIENCE_MAX, KEY_DESCRIPTIONS_MAX, KEY_TROUBLE_PAUSE_MAX},
    pause,
};

use crate::{EncryptionContext, KeyDescription, KeyError, KeyProvider, ProviderKind, Wrapped};

/// How long a service that is asked again and again is waited for between two tries.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// How a provider may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Calls a second, over time; as many at once.
    pub calls_per_sec: u32,
    /// How long an answer about a key's state is good for.
    pub state_known: Duration,
}

/// What keeps a provider from answering, as it was seen last.
#[derive(Debug, Clone)]
enum Trouble {
    Throttled,
    Unavailable(String),
}

#[derive(Debug, Default)]
struct Pause {
    trouble: Option<(Trouble, Duration)>,
    /// How often in a row.
    count: u32,
}

/// A provider held to a [`Pace`].
#[derive(Debug)]
pub struct Paced {
    provider: Arc<dyn KeyProvider>,
    pace: Pace,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// When the next call is due, by the monotonic clock, and a second more.
    next: Mutex<Duration>,
    pause: Mutex<Pause>,
    known: Mutex<HashMap<String, (KeyDescription, Duration)>>,
}

/// What was seen of a provider in trouble, told again without asking it.
#[derive(Debug, thiserror::Error)]
#[error("it is not asked for a moment: {0}")]
struct NotAsked(String);

impl Paced {
    /// Holds `provider` to `pace`.
    #[must_use]
    pub fn new(
        provider: Arc<dyn KeyProvider>,
        pace: Pace,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            provider,
            pace,
            clock,
            rng,
            next: Mutex::default(),
            pause: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Waits for a call of the quota. One that would have to wait for longer than a
    /// transfer has patience is as good as throttled.
    async fn turn(&self, key: &str) -> Result<(), KeyError> {
        let now = self.clock.monotonic();
        self.no_pause(key, now)?;
        let each = Duration::from_secs(1) / self.pace.calls_per_sec.max(1);
        let wait = {
            let mut next = self.next.lock();
            // A second's calls may come at once: dues are kept a second late, so that there
            // is one before the clock's own beginning, too.
            let due = (*next).max(now);
            let wait = (due + each).saturating_sub(now + Duration::from_secs(1));
            if wait > KEY_CALL_PATIENCE_MAX {
                let key = key.to_owned();
                return Err(KeyError::Throttled { key });
            }
            *next = due + each;
            wait
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn no_pause(&self, key: &str, now: Duration) -> Result<(), KeyError> {
        let pause = self.pause.lock();
        let key = || key.to_owned();
        match &pause.trouble {
            Some((trouble, until)) if now < *until => Err(match trouble {
                Trouble::Throttled => KeyError::Throttled { key: key() },
                Trouble::Unavailable(told) => KeyError::Unavailable {
                    key: key(),
                    source: NotAsked(told.clone()).into(),
                },
            }),
            _ => Ok(()),
        }
    }

    /// Remembers trouble of the provider itself, and that it is over.
    fn learn<T>(&self, outcome: &Result<T, KeyError>) {
        let trouble = match outcome {
            Err(KeyError::Throttled { .. }) => Some(Trouble::Throttled),
            Err(KeyError::Unavailable { source, .. }) => {
                Some(Trouble::Unavailable(source.to_string()))
            }
            _ => None,
        };
        let mut pause = self.pause.lock();
        let Some(trouble) = trouble else {
            *pause = Pause::default();
            return;
        };
        let pauses = RETRY_AFTER_MIN..=KEY_TROUBLE_PAUSE_MAX;
        let until = self.clock.monotonic() + pause::after(pause.count, pauses, &*self.rng);
        pause.trouble = Some((trouble, until));
        pause.count = pause.count.saturating_add(1);
    }

    /// Makes a call; a provider that is throttling is asked again a little later, as long
    /// as a transfer has patience.
    async fn call<T, F>(&self, key: &str, ask: impl Fn() -> F) -> Result<T, KeyError>
    where
        F: Future<Output = Result<T, KeyError>>,
    {
        let begun = self.clock.monotonic();
        let mut longest = RETRY_AFTER_MIN;
        loop {
            self.turn(key).await?;
            let outcome = ask().await;
            let waited = self.clock.monotonic().saturating_sub(begun);
            let again = matches!(outcome, Err(KeyError::Throttled { .. }))
                && waited + longest < KEY_CALL_PATIENCE_MAX;
            if !again {
                self.learn(&outcome);
                return outcome;
            }
            tokio::time::sleep(pause::part_of(longest, &*self.rng)).await;
            longest *= 2;
        }
    }

    fn known(&self, key: &str) -> Option<KeyDescription> {
        let now = self.clock.monotonic();
        let known = self.known.lock();
        let (described, at) = known.get(key)?;
        let is_fresh = now.saturating_sub(*at) < self.pace.state_known;
        is_fresh.then(|| described.clone())
    }

    /// A key that does not do what was said of it is asked about anew.
    fn doubt<T>(&self, outcome: &Result<T, KeyError>) {
        let is_doubtful = |error: &KeyError| {
            !matches!(
                error,
                KeyError::Throttled { .. } | KeyError::Unavailable { .. }
            )
        };
        if outcome.as_ref().is_err_and(is_doubtful) {
            self.known.lock().clear();
        }
    }
}

#[async_trait]
impl KeyProvider for Paced {
    fn kind(&self) -> ProviderKind {
        self.provider.kind()
    }

    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError> {
        if let Some(described) = self.known(key) {
            return Ok(described);
        }
        let described = self.call(key, || self.provider.describe(key)).await?;
        let now = self.clock.monotonic();
        let mut known = self.known.lock();
        // A key that cannot be used is asked for anew: somebody is about to mend it.
        if !described.state.is_usable() {
            known.remove(key);
        } else {
            if known.len() >= KEY_DESCRIPTIONS_MAX {
                known.clear();
            }
            known.insert(key.to_owned(), (described.clone(), now));
        }
        Ok(described)
    }

    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError> {
        let ask = || self.provider.wrap(key, record_key, context);
        let outcome = self.call(key, ask).await;
        self.doubt(&outcome);
        outcome
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &EncryptionContext,
    ) -> Result<RecordKey, KeyError> {
        let key = wrapped.cmk.as_str();
        let ask = || self.provider.unwrap(wrapped, context);
        let outcome = self.call(key, ask).await;
        self.doubt(&outcome);
        outcome
    }

    async fn generate(
        &self,
        key: &str,
        context: &EncryptionContext,
        rng: &dyn Rng,
    ) -> Result<(RecordKey, Wrapped), KeyError> {
        let ask = || self.provider.generate(key, context, rng);
        let outcome = self.call(key, ask).await;
        self.doubt(&outcome);
        outcome
    }

    async fn reached(&self, key: &str) -> Result<Option<String>, KeyError> {
        self.provider.reached(key).await
    }
}
