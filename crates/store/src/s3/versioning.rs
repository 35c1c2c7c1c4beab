//! Whether a bucket that has to keep versions does.
//!
//! sealift needs it for nothing: every file of a store has a name of its own and is written
//! once, so versions of objects are kept whatever the bucket keeps. Where an operator wants
//! it, against others who may write there, nothing new is taken in while it is off.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{Clock, Reason, limits::S3_VERSIONING_BELIEVED};

use super::storing::S3Place;
use crate::{StoreError, bucket_store::Place};

const ENABLED: &str = "Enabled";

#[derive(Debug)]
pub(super) struct Versioning {
    is_required: bool,
    clock: Arc<dyn Clock>,
    /// When it was last seen to be on.
    seen: Mutex<Option<Duration>>,
}

impl Versioning {
    pub(super) fn new(is_required: bool, clock: Arc<dyn Clock>) -> Self {
        Self {
            is_required,
            clock,
            seen: Mutex::default(),
        }
    }

    /// Refuses a bucket that keeps no versions where it has to; asks it now and then, and each
    /// time while it does not.
    pub(super) async fn hold(&self, bucket: &S3Place) -> Result<(), StoreError> {
        if !self.is_required {
            return Ok(());
        }
        let now = self.clock.monotonic();
        let seen = *self.seen.lock();
        if seen.is_some_and(|seen| now.saturating_sub(seen) < S3_VERSIONING_BELIEVED) {
            return Ok(());
        }
        let state = bucket.versioning().await?;
        self.told(bucket, &state)?;
        *self.seen.lock() = Some(now);
        Ok(())
    }

    /// What it means that versioning stands so.
    pub(super) fn told(&self, bucket: &S3Place, state: &str) -> Result<String, StoreError> {
        let place = bucket.reached();
        let is_off = state != ENABLED;
        match state {
            _ if self.is_required && is_off => Err(StoreError::StoreRefused {
                reason: Reason::DstVersioningDisabled,
                name: bucket.name().to_owned(),
                source: io::Error::other(format!(
                    "require_versioning is set, and its versioning is {}",
                    if state.is_empty() { "off" } else { state }
                )),
            }),
            ENABLED => Ok(format!(
                "{place} keeps versions: what is deleted here takes room until a lifecycle rule \
                 (NoncurrentVersionExpiration) ends it"
            )),
            "" => Ok(format!("{place} keeps no versions")),
            state => Ok(format!("versioning of {place} is {state}")),
        }
    }
}
