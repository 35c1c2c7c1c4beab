//! Key records, durable in store and catalog before anything under them is.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sealift_keys::{KeyRecord, OpenRecord};
use sealift_ledger::{Catalog, RecordRow};
use sealift_store::{Store, StoreError, StoreName};
use sealift_terms::{BucketName, RecordId};
use tokio::sync::Mutex;

use crate::{ArchiveError, Result, archive::Core};

/// Where the store keeps its copies of key records.
pub(crate) const RECORDS: &str = "records/";

/// The records that are known to be durable in both places.
#[derive(Debug, Default)]
pub(crate) struct DurableRecords {
    durable: parking_lot::Mutex<HashSet<RecordId>>,
    /// Those being written: who wants the same one waits, and nobody else.
    under_way: parking_lot::Mutex<HashMap<RecordId, Arc<Mutex<()>>>>,
}

impl DurableRecords {
    /// Makes a record durable in both places unless it is already. Only records
    /// begun by this process come here, a few an hour.
    pub(crate) async fn ensure(
        &self,
        store: &dyn Store,
        catalog: &dyn Catalog,
        record: &KeyRecord,
    ) -> Result<()> {
        if self.durable.lock().contains(&record.id) {
            return Ok(());
        }
        let writing = self.under_way.lock().entry(record.id).or_default().clone();
        let _one_at_a_time = writing.lock().await;
        if self.durable.lock().contains(&record.id) {
            return Ok(());
        }
        write_file(store, record).await?;
        catalog.put_records(vec![row(record)]).await?;
        self.durable.lock().insert(record.id);
        self.under_way.lock().remove(&record.id);
        Ok(())
    }
}

/// The catalog's row of a record.
pub(crate) fn row(record: &KeyRecord) -> RecordRow {
    RecordRow {
        id: record.id,
        bucket: record.bucket.clone(),
        cmk: record.cmk.clone(),
        cmk_version: record.cmk_version.clone(),
        json: record.to_json(),
    }
}

pub(crate) fn file_name(id: RecordId) -> Result<StoreName> {
    Ok(StoreName::new(format!("{RECORDS}{id}.json")).map_err(StoreError::from)?)
}

pub(crate) async fn write_file(store: &dyn Store, record: &KeyRecord) -> Result<()> {
    write_files(store, &[record]).await
}

/// Writes the store's copies, over those that are there. All are durable, or some are.
pub(crate) async fn write_files(store: &dyn Store, records: &[&KeyRecord]) -> Result<()> {
    let mut names = Vec::with_capacity(records.len());
    for record in records {
        let name = file_name(record.id)?;
        // Left behind by a try that failed half-way.
        store.discard(&name).await?;
        let file = store.create(&name).await?;
        file.write_at(&record.encode_file(), 0).await?;
        file.sync().await?;
        names.push(name);
    }
    Ok(store.publish(&names).await?)
}

impl Core {
    pub(crate) async fn make_durable(&self, open: &OpenRecord) -> Result<()> {
        self.durable_records
            .ensure(&*self.store, &*self.catalog, open.record())
            .await
    }

    /// Opens the record that the catalog has under `id` for an object of `bucket`.
    pub(crate) async fn open_record(
        &self,
        id: RecordId,
        bucket: &BucketName,
    ) -> Result<Arc<OpenRecord>> {
        let row = self.catalog.record(id).await?;
        let row = row.ok_or(ArchiveError::RecordMissing(id))?;
        let record = KeyRecord::from_json(row.json.as_bytes())?;
        Ok(self.ring.open(&record, bucket).await?)
    }
}
