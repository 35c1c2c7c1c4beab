//! Who may write a bucket: one agent at a time, by a lease in an object of its own.
//!
//! The lease names its holder, an epoch that grows with each one who takes it, and a number
//! that grows with each renewal. It is written under a condition alone: over what was read,
//! or where nothing is. Nobody's clock is compared with another's:
//!
//! - who holds it renews it, and writes only while its last renewal was begun less than
//!   the lease's time ago, by its own clock;
//! - another takes it when it has seen it unchanged for that time, by its own clock;
//! - whoever finds a lease that it did not write itself holds it no more, and does not take
//!   it again in this process: what it knows of the bucket is out of date;
//! - a process that begins on the same disk as the last one takes it at once: the lock of
//!   the data directory says that the last one is gone.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{
    Clock,
    limits::{S3_LEASE_BYTES_MAX, S3_LEASE_RENEWED, S3_LEASE_TIME},
};
use serde::{Deserialize, Serialize};

use super::place::{If, Outcome, Place};
use crate::StoreError;

/// The object; no name of a file begins so.
pub(super) const LEASE: &str = ".sealift-store";
/// Tries to write it over what was read, of which somebody else wins some.
const TRIES_MAX: u32 = 3;

/// How long a lease is good for, and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Without a renewal.
    pub good_for: Duration,
    /// Between two renewals.
    pub renewed: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            good_for: S3_LEASE_TIME,
            renewed: S3_LEASE_RENEWED,
        }
    }
}

/// A lease as it stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    holder: String,
    epoch: u64,
    renewed: u64,
    /// For those who look: nobody decides by it.
    at: String,
}

#[derive(Debug)]
enum Standing {
    /// Not asked for yet.
    None,
    Held {
        written: Written,
        etag: String,
        until: Duration,
    },
    /// Another holds it, and this has been seen of it since then.
    Watched { etag: String, since: Duration },
    /// Another took it from this process.
    Lost { holder: String },
}

/// One agent's hold on a bucket.
#[derive(Debug)]
pub(super) struct Lease {
    place: Arc<dyn Place>,
    clock: Arc<dyn Clock>,
    holder: String,
    pub(super) times: LeaseTimes,
    standing: Mutex<Standing>,
    /// Held while it is asked for or renewed.
    asking: tokio::sync::Mutex<()>,
}

impl Lease {
    pub(super) fn new(
        place: Arc<dyn Place>,
        clock: Arc<dyn Clock>,
        holder: String,
        times: LeaseTimes,
    ) -> Self {
        Self {
            place,
            clock,
            holder,
            times,
            standing: Mutex::new(Standing::None),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Returns once the bucket may be written, for now.
    ///
    /// # Errors
    /// [`StoreError::StoreLeased`], and what the bucket says.
    pub(super) async fn hold(&self) -> Result<(), StoreError> {
        match self.is_held()? {
            true => Ok(()),
            false => self.ask().await,
        }
    }

    /// Holds it on: to be called as often as it is to be renewed.
    pub(super) async fn renew(&self) -> Result<(), StoreError> {
        self.is_held()?;
        self.ask().await
    }

    /// Whether there is a store at all.
    pub(super) async fn is_there(&self) -> Result<bool, StoreError> {
        Ok(self.place.get(LEASE).await?.is_some())
    }

    /// The epoch in which it is held.
    pub(super) fn epoch(&self) -> Option<u64> {
        match &*self.standing.lock() {
            Standing::Held { written, .. } => Some(written.epoch),
            _ => None,
        }
    }

    fn is_held(&self) -> Result<bool, StoreError> {
        let now = self.clock.monotonic();
        match &*self.standing.lock() {
            Standing::Held { until, .. } => Ok(now < *until),
            Standing::None | Standing::Watched { .. } => Ok(false),
            Standing::Lost { holder } => Err(StoreError::StoreLeased {
                holder: holder.clone(),
            }),
        }
    }

    async fn ask(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.asking.lock().await;
        self.is_held()?;
        for _ in 0..TRIES_MAX {
            // From before the request is made: whoever watches sees it later.
            let begun = self.clock.monotonic();
            let Some((next, when)) = self.next().await? else {
                continue;
            };
            let text = serde_json::to_vec(&next).unwrap_or_default();
            if let Outcome::Done(etag) = self.place.put(LEASE, text.into(), &when).await? {
                *self.standing.lock() = Standing::Held {
                    written: next,
                    etag,
                    until: begun.saturating_add(self.times.good_for),
                };
                return Ok(());
            }
        }
        Err(StoreError::StoreLeased {
            holder: "others ask for it at this moment".to_owned(),
        })
    }

    /// What is to be written next, and over what. `None` when to look again.
    async fn next(&self) -> Result<Option<(Written, If)>, StoreError> {
        let held = match &*self.standing.lock() {
            Standing::Held { written, etag, .. } => Some((written.clone(), etag.clone())),
            _ => None,
        };
        let found = self.place.get(LEASE).await?;
        let now = self.clock.monotonic();
        let Some((text, etag)) = found else {
            // Whoever held it is told by this that the store was deleted.
            return match held {
                Some(_) => Err(self.missing()),
                None => Ok(Some((self.written(1, 1), If::Absent))),
            };
        };
        let written = self.read(&text)?;
        if let Some((own, _)) = held {
            // An answer that was lost may have been to a renewal of ours.
            if written.holder == self.holder && written.epoch == own.epoch {
                let renewed = written.renewed.max(own.renewed) + 1;
                return Ok(Some((self.written(own.epoch, renewed), If::Is(etag))));
            }
            let holder = told(&written);
            *self.standing.lock() = Standing::Lost {
                holder: holder.clone(),
            };
            return Err(StoreError::StoreLeased { holder });
        }
        if written.holder == self.holder || self.is_left(&etag, now) {
            let epoch = written.epoch.saturating_add(1);
            return Ok(Some((self.written(epoch, 1), If::Is(etag))));
        }
        Err(StoreError::StoreLeased {
            holder: told(&written),
        })
    }

    /// Whether another's lease was seen unchanged for as long as it is good for.
    fn is_left(&self, found: &str, now: Duration) -> bool {
        let mut standing = self.standing.lock();
        match &*standing {
            Standing::Watched { etag, since } if etag == found => {
                now.saturating_sub(*since) >= self.times.good_for
            }
            _ => {
                *standing = Standing::Watched {
                    etag: found.to_owned(),
                    since: now,
                };
                false
            }
        }
    }

    /// Waits until it is held: for as long as another's lease is good for, as long as that is
    /// not renewed.
    ///
    /// # Errors
    /// [`StoreError::StoreLeased`] when its holder lives.
    pub(super) async fn wait(&self) -> Result<(), StoreError> {
        let looked = (self.times.good_for / 20).max(Duration::from_millis(10));
        let mut seen: Option<String> = None;
        loop {
            let refused = match self.hold().await {
                Err(StoreError::StoreLeased { holder }) => StoreError::StoreLeased { holder },
                held => return held,
            };
            let now = match &*self.standing.lock() {
                Standing::Watched { etag, .. } => etag.clone(),
                _ => return Err(refused),
            };
            if seen.get_or_insert_with(|| now.clone()) != &now {
                return Err(refused);
            }
            tokio::time::sleep(looked).await;
        }
    }

    fn written(&self, epoch: u64, renewed: u64) -> Written {
        Written {
            holder: self.holder.clone(),
            epoch,
            renewed,
            at: self.clock.now().to_string(),
        }
    }

    fn read(&self, text: &[u8]) -> Result<Written, StoreError> {
        let is_short = text.len() as u64 <= S3_LEASE_BYTES_MAX;
        let written = is_short
            .then(|| serde_json::from_slice(text).ok())
            .flatten();
        written.ok_or_else(|| StoreError::StoreFailed {
            name: LEASE.to_owned(),
            source: std::io::Error::other(
                "it is no lease: delete it if no agent writes this bucket below this prefix",
            ),
        })
    }

    fn missing(&self) -> StoreError {
        StoreError::StoreMissing {
            path: format!("{LEASE} of bucket {}", self.place.name()),
        }
    }
}

fn told(written: &Written) -> String {
    format!(
        "{}, epoch {}, renewed at {}",
        written.holder, written.epoch, written.at
    )
}
