//! The audit log in the catalog's database.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_terms::{Audit, AuditRecord, AuditUnavailable, Timestamp, limits};

use super::{
    audit_verify::{leaves, verify},
    catalog_state::{CatalogState, read_site},
    readers::Readers,
    writer::Writer,
};
use crate::{AuditLog, AuditVerdict, Leaf, Refusal, Result, TreeHead, refusals::Refusals};

/// The [`AuditLog`] of a [`SqliteCatalog`](super::SqliteCatalog).
pub struct SqliteAudit {
    writer: Arc<Writer<CatalogState>>,
    readers: Arc<Readers>,
    refusals: Mutex<Refusals>,
}

impl SqliteAudit {
    pub(super) fn new(writer: Arc<Writer<CatalogState>>, readers: Arc<Readers>) -> Self {
        Self {
            writer,
            readers,
            refusals: Mutex::default(),
        }
    }
}

impl Audit for SqliteAudit {
    fn record(&self, record: AuditRecord) -> std::result::Result<(), AuditUnavailable> {
        self.writer
            .note(record, limits::AUDIT_QUEUE_MAX)
            .map_err(|cause| AuditUnavailable { cause })
    }
}

#[async_trait]
impl AuditLog for SqliteAudit {
    fn refused(&self, refusal: Refusal) -> std::result::Result<(), AuditUnavailable> {
        let record = self.refusals.lock().count(refusal);
        record.map_or(Ok(()), |record| self.record(record))
    }

    fn settle_refusals(&self, now: Timestamp) -> std::result::Result<(), AuditUnavailable> {
        let records = self.refusals.lock().settle(now);
        records
            .into_iter()
            .try_for_each(|record| self.record(record))
    }

    fn ready(&self) -> std::result::Result<(), AuditUnavailable> {
        let taken = self.writer.takes_notes(limits::AUDIT_QUEUE_MAX);
        taken.map_err(|cause| AuditUnavailable { cause })
    }

    async fn flush(&self) -> Result<()> {
        self.writer.call(|_, _| Ok(())).await
    }

    async fn head(&self) -> Result<TreeHead> {
        let (_, frontier) = self.readers.point(read_site)?;
        Ok(frontier.head())
    }

    async fn leaves(&self, index: u64, rows: usize) -> Result<Vec<Leaf>> {
        self.readers.page(move |db| leaves(db, index, rows)).await
    }

    async fn verify(&self) -> Result<AuditVerdict> {
        self.readers.page(verify).await
    }
}
