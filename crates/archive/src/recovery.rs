//! What is done before an archive takes its first offer.

use std::collections::BTreeSet;

use sealift_ledger::{Commit, FileRow, Location, Outcome, PackState, UploadRow};
use sealift_seal::Expected;
use sealift_store::{StoreError, StoreName};
use sealift_terms::{AuditKind, AuditRecord};

use crate::{
    ArchiveError, Finding, Result, archive::Core, layers::tell_records, packs::Pack,
    rebuild::version_of,
};

impl Core {
    /// Cuts open packs back to what is known to be durable and sorts out staging.
    /// Gives the pack to go on with.
    pub(crate) async fn recover(&self) -> Result<Option<Pack>> {
        let pack = self.recover_packs().await?;
        self.recover_staging().await?;
        self.remove_canaries().await?;
        Ok(pack)
    }

    async fn recover_packs(&self) -> Result<Option<Pack>> {
        let mut go_on = None;
        let mut closed = Vec::new();
        for row in self.catalog.open_packs().await? {
            if row.synced_bytes == 0 {
                // Begun, and nothing of it committed.
                let name = StoreName::new(&row.file).map_err(StoreError::from)?;
                self.cut_to(&name, 0).await?;
                closed.push(PackState {
                    file: row.file,
                    synced_bytes: 0,
                    closed: true,
                });
                continue;
            }
            let pack = match self.cut_back(&row).await? {
                Ok(pack) if !pack.is_full() => Some(pack),
                Ok(_full) => None,
                Err(finding) => {
                    self.report(&finding)?;
                    None
                }
            };
            match pack {
                Some(pack) => closed.extend(go_on.replace(pack).map(|old| old.abandoned())),
                None => closed.push(PackState {
                    file: row.file,
                    synced_bytes: row.synced_bytes,
                    closed: true,
                }),
            }
        }
        if !closed.is_empty() {
            let commit = Commit {
                at: self.clock.now(),
                packs: closed,
                ..Commit::default()
            };
            self.catalog.commit(commit).await?;
        }
        Ok(go_on)
    }

    /// What lies behind the last synced byte was never acknowledged.
    async fn cut_back(&self, row: &FileRow) -> Result<std::result::Result<Pack, Finding>> {
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        let found = match self.store.open(&name).await {
            Ok(file) => file.len()?,
            Err(StoreError::NoSuchFile { .. }) => {
                return Ok(Err(Finding::FileMissing {
                    file: row.file.clone(),
                    objects: row.objects,
                }));
            }
            Err(error) => return Err(error.into()),
        };
        if found < row.synced_bytes {
            return Ok(Err(Finding::FileShort {
                file: row.file.clone(),
                found,
                expected: row.synced_bytes,
            }));
        }
        let file = self.store.append(&name).await?;
        if found > row.synced_bytes {
            file.set_len(row.synced_bytes).await?;
            file.sync().await?;
        }
        Ok(Ok(Pack::go_on(name, file, row.synced_bytes)))
    }

    /// Files and rows of unfinished objects have to match: what has no row is
    /// removed, and so is a row without a file.
    async fn recover_staging(&self) -> Result<()> {
        let rows = self.upload_rows().await?;
        let named: BTreeSet<&str> = rows.iter().map(|row| row.file.as_str()).collect();
        let mut staged = BTreeSet::new();
        for entry in self.store.staged().await? {
            if named.contains(entry.name.as_str()) {
                staged.insert(entry.name.to_string());
            } else {
                self.store.discard(&entry.name).await?;
            }
        }
        for row in &rows {
            self.uploads.found(&row.origin, row.uid, row.facts.size);
            if !staged.contains(&row.file) && !self.take_published(row).await? {
                self.remove_upload(row).await?;
            }
        }
        Ok(())
    }

    /// A crash between publishing and the catalog: the object is complete and
    /// durable, so it need not be sent again. `false` when there is no such file.
    async fn take_published(&self, row: &UploadRow) -> Result<bool> {
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        let length = match self.store.open(&name).await {
            Ok(file) => file.len()?,
            Err(StoreError::NoSuchFile { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = self.commit_published(row, length).await {
            // Its key may be disabled now. It is sent again.
            tracing::warn!(file = %name, %error, "a published object was not taken over");
            return Ok(false);
        }
        let whose = (row.origin.clone(), row.name.clone());
        self.uploads.ended(&whose, row.uid);
        Ok(true)
    }

    async fn commit_published(&self, row: &UploadRow, length: u64) -> Result<()> {
        let location = Location {
            file: row.file.clone(),
            offset: 0,
            length,
        };
        let expected = Expected::version(row.uid, row.records(), row.name.clone());
        let inspected = self.inspect(&location, &expected).await?;
        let open = self.open_layers(row.records(), &row.name.bucket).await?;
        let opened = inspected.open(open.keys())?;
        let version = version_of(opened.meta(), opened.header(), location, &self.region)
            .ok_or(ArchiveError::Misuse("a mark in a file of its own"))?;
        let now = self.clock.now();
        let audit = AuditRecord::new(now, AuditKind::ObjectStored, row.origin.as_str())
            .with("bucket", &row.name.bucket)
            .with("key", &row.name.key)
            .with("version", &row.name.version)
            .with("uid", row.uid)
            .with("recovered", true);
        let audit = tell_records(audit, row.records());
        let commit = Commit {
            at: now,
            versions: vec![version],
            uploads: vec![row.uid],
            audit: vec![audit],
            ..Commit::default()
        };
        let committed = self.catalog.commit(commit).await?;
        for outcome in committed.outcomes {
            match outcome {
                Outcome::Stored(_) => {}
                Outcome::Known(known) | Outcome::Conflict(known)
                    if known.location.file == row.file => {}
                // No row names it, and none ever will.
                Outcome::Known(_) | Outcome::Conflict(_) | Outcome::Purged => {
                    let name = StoreName::new(&row.file).map_err(StoreError::from)?;
                    self.store.remove(&name).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn report(&self, finding: &Finding) -> Result<()> {
        tracing::error!(%finding, "the store is damaged");
        let record = AuditRecord::new(self.clock.now(), AuditKind::ObjectDamaged, "agent")
            .with("finding", finding);
        Ok(self.audit.record(record)?)
    }
}
