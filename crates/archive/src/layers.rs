//! The layers of a sealing: which keys a bucket has, and the open key record of each.

use std::sync::Arc;

use sealift_keys::{KeyRecord, OpenRecord};
use sealift_ledger::UploadPart;
use sealift_seal::{Commitment, Commitments, Header, Keys, OuterCommitment};
use sealift_terms::{AuditRecord, BucketName, ObjectUid, PartSize, RecordIds, SecondKey};

use crate::{ArchiveError, Result, archive::Core, records};

/// What a bucket is sealed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketKey {
    /// Id or alias of its customer-managed key; of two layers, the inner one's.
    pub cmk: String,
    /// The key of the outer layer: what is put into the bucket is sealed in two. Another
    /// CMK than the first, or nothing is sealed.
    pub second: Option<String>,
    /// Whether each object has a key record of its own (one in each layer): one call to
    /// the key service an object and layer. Otherwise one record serves the objects of an
    /// hour (a "bucket key").
    pub record_per_object: bool,
}

impl BucketKey {
    /// One layer, and one record that serves many objects.
    #[must_use]
    pub fn shared(cmk: impl Into<String>) -> Self {
        Self {
            cmk: cmk.into(),
            second: None,
            record_per_object: false,
        }
    }

    /// The name of each layer's key.
    pub(crate) fn cmks(&self) -> impl Iterator<Item = &str> {
        [&self.cmk]
            .into_iter()
            .chain(&self.second)
            .map(String::as_str)
    }
}

/// The open key record of each layer of one sealing.
#[derive(Debug, Clone)]
pub(crate) struct OpenLayers {
    first: Arc<OpenRecord>,
    second: Option<Arc<OpenRecord>>,
}

impl OpenLayers {
    pub(crate) const fn new(first: Arc<OpenRecord>, second: Option<Arc<OpenRecord>>) -> Self {
        Self { first, second }
    }

    /// The record keys, for sealing and opening.
    pub(crate) fn keys(&self) -> Keys<'_> {
        match &self.second {
            None => Keys::one(self.first.key()),
            Some(second) => Keys::two(self.first.key(), second.key()),
        }
    }

    /// The header of a sealing under these.
    pub(crate) fn header(&self, part_size: PartSize, uid: ObjectUid) -> Header {
        let RecordIds { first, second } = self.ids();
        Header {
            part_size,
            uid,
            record: first,
            second,
        }
    }

    pub(crate) fn ids(&self) -> RecordIds {
        RecordIds {
            first: self.first.record().id,
            second: self.second.as_ref().map(|second| second.record().id),
        }
    }

    /// The first record: the only one, or the inner layer's.
    pub(crate) fn first(&self) -> &OpenRecord {
        &self.first
    }

    /// What a receipt says of the outer layer.
    pub(crate) fn second_key(&self) -> Option<SecondKey> {
        let record = self.second.as_ref()?.record();
        Some(SecondKey {
            record: record.id,
            cmk: record.cmk.clone(),
            cmk_version: record.cmk_version.clone(),
        })
    }

    /// Says in an audit record under what was sealed.
    pub(crate) fn tell(&self, audit: AuditRecord) -> AuditRecord {
        let record = self.first.record();
        let audit = audit
            .with("record", record.id)
            .with("cmk", &record.cmk)
            .with("cmk_version", &record.cmk_version);
        match self.second_key() {
            None => audit,
            Some(second) => audit
                .with("second_record", second.record)
                .with("second_cmk", &second.cmk)
                .with("second_cmk_version", &second.cmk_version),
        }
    }

    /// Two layers under one key are one layer to whoever has that key, whatever names led
    /// to it.
    fn hold_apart(&self) -> Result<()> {
        let first = self.first.record();
        let is_same =
            |second: &KeyRecord| (first.provider, &first.cmk) == (second.provider, &second.cmk);
        match &self.second {
            Some(second) if is_same(second.record()) => Err(ArchiveError::SameKey {
                bucket: first.bucket.clone(),
                key: first.cmk.clone(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<OpenRecord>> {
        [&self.first].into_iter().chain(&self.second)
    }
}

/// Says in an audit record which key records something rests under.
pub(crate) fn tell_records(audit: AuditRecord, records: RecordIds) -> AuditRecord {
    let audit = audit.with("record", records.first);
    match records.second {
        None => audit,
        Some(second) => audit.with("second_record", second),
    }
}

/// The commitments of a part as the ledger has them.
pub(crate) fn commitments_of(part: &UploadPart) -> Commitments {
    Commitments {
        inner: Commitment(part.commitment),
        outer: part.outer_commitment.map(OuterCommitment),
    }
}

impl Core {
    /// The open records for one more object of `bucket`, durable: those that serve many,
    /// or its own.
    pub(crate) async fn layers_for(
        &self,
        bucket: &BucketName,
        object: ObjectUid,
    ) -> Result<OpenLayers> {
        let key = self.key_of(bucket)?;
        if !key.record_per_object {
            return self.current_layers(bucket).await;
        }
        let first = self.ring.for_object(bucket, &key.cmk, object).await?;
        let second = match &key.second {
            None => None,
            Some(second) => Some(self.ring.for_object(bucket, second, object).await?),
        };
        let open = OpenLayers::new(first, second);
        open.hold_apart()?;
        for open in open.all() {
            records::write_file(&*self.store, open.record()).await?;
        }
        let rows = open.all().map(|open| records::row(open.record()));
        self.catalog.put_records(rows.collect()).await?;
        Ok(open)
    }

    /// The open records that serve `bucket` now, durable.
    pub(crate) async fn current_layers(&self, bucket: &BucketName) -> Result<OpenLayers> {
        let key = self.key_of(bucket)?;
        let first = self.ring.current(bucket, &key.cmk).await?;
        let second = match &key.second {
            None => None,
            Some(second) => Some(self.ring.current(bucket, second).await?),
        };
        self.settle(OpenLayers::new(first, second)).await
    }

    /// Whether there are records for the next object of `bucket`, durable. No object
    /// is counted for that.
    pub(crate) async fn look_ahead(&self, bucket: &BucketName) -> Result<()> {
        let key = self.key_of(bucket)?;
        let first = self.ring.look_ahead(bucket, &key.cmk).await?;
        let second = match &key.second {
            None => None,
            Some(second) => Some(self.ring.look_ahead(bucket, second).await?),
        };
        self.settle(OpenLayers::new(first, second)).await.map(drop)
    }

    async fn settle(&self, open: OpenLayers) -> Result<OpenLayers> {
        open.hold_apart()?;
        for open in open.all() {
            self.make_durable(open).await?;
        }
        Ok(open)
    }

    /// Whether every layer's record is one of now: under the newest version of the key
    /// that the bucket has for it.
    pub(crate) async fn is_current(&self, open: &OpenLayers, bucket: &BucketName) -> Result<bool> {
        let key = self.key_of(bucket)?;
        let mut layers = open.all();
        for cmk in key.cmks() {
            let now = self.ring.check(cmk).await?;
            let is_now = layers.next().is_some_and(|open| {
                let record = open.record();
                (record.provider, &record.cmk) == (now.provider, &now.id)
                    && record.cmk_version == now.current
            });
            if !is_now {
                return Ok(false);
            }
        }
        Ok(layers.next().is_none())
    }

    /// Opens the records that the catalog has under these ids for an object of `bucket`.
    pub(crate) async fn open_layers(
        &self,
        records: RecordIds,
        bucket: &BucketName,
    ) -> Result<OpenLayers> {
        let first = self.open_record(records.first, bucket).await?;
        let second = match records.second {
            None => None,
            Some(second) => Some(self.open_record(second, bucket).await?),
        };
        Ok(OpenLayers::new(first, second))
    }

    /// Holds every layer's key to be usable still: the ring remembers for seconds.
    pub(crate) async fn hold_usable(&self, open: &OpenLayers) -> Result<()> {
        for open in open.all() {
            let record = open.record();
            if self.ring.open(record, &record.bucket).await.is_err() {
                // It may have been wrapped anew since: what counts is the catalog's copy.
                self.open_record(record.id, &record.bucket).await?;
            }
        }
        Ok(())
    }
}
