//! What of a pack lives, and what is known to be dead.

use sealift_keys::KeyRecord;
use sealift_ledger::{FileRow, Location, MarkKind, Quarantined};
use sealift_seal::{
    Expected, Found, Inspected, Mark, Meta, Scanner, Section, Tail, pack::EntryKind,
};
use sealift_store::{StoreError, StoreName, blocking};
use sealift_terms::{ObjectUid, RecordId, VersionName};

use crate::{
    ArchiveError, Finding, Result, archive::Core, finding::in_words, quarantine::covers,
    read::StoredObject, rebuild::order_of,
};

/// An entry that lives, with what it is found by in the catalog.
pub(super) struct Live {
    pub(super) kind: EntryKind,
    pub(super) from: Location,
    /// None for a key record, which no location names.
    pub(super) whose: Option<Whose>,
    /// The id of a key record.
    pub(super) record: Option<RecordId>,
}

/// What an entry is found by.
pub(super) type Whose = (VersionName, ObjectUid);

/// How the catalog knows an entry.
enum Standing {
    /// It rests there; a key record is nobody's.
    Live(Option<Whose>),
    /// It is there no more: something else took its place, or it was purged.
    Dead,
    /// Nothing is known of it, or it does not open: it may be all that is left of
    /// something.
    Unaccounted(String),
}

/// An entry as a scan finds it.
struct Scanned {
    kind: EntryKind,
    offset: u64,
    length: u64,
    /// The id of a key record.
    record: Option<RecordId>,
}

impl Core {
    /// The entries of a pack that live, if of all others it is known that they are dead;
    /// otherwise what is in the way.
    pub(super) async fn live_entries(
        &self,
        row: &FileRow,
        damaged: &[Quarantined],
    ) -> Result<std::result::Result<Vec<Live>, String>> {
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        let stored = match self.store.open(&name).await {
            // Never published, or deleted already: a crash came in between.
            Err(StoreError::NoSuchFile { .. }) if row.objects == 0 => {
                self.store.probe().await?;
                return Ok(Ok(Vec::new()));
            }
            opened => StoredObject(opened?),
        };
        self.live_entries_in(&stored, row, damaged).await
    }

    /// As [`Core::live_entries`], of a pack that is open.
    pub(super) async fn live_entries_in(
        &self,
        stored: &StoredObject,
        row: &FileRow,
        damaged: &[Quarantined],
    ) -> Result<std::result::Result<Vec<Live>, String>> {
        let (entries, damage) = self.scan_entries(stored.clone(), row).await?;
        if let Some(finding) = damage.iter().find(|found| !covers(damaged, found)) {
            return Ok(Err(finding.to_string()));
        }
        let (mut live, mut counted) = (Vec::new(), 0);
        for entry in entries {
            let from = Location {
                file: row.file.clone(),
                offset: entry.offset,
                length: entry.length,
            };
            let whose = match self.standing(stored, &entry, &from, damaged).await? {
                Standing::Live(whose) => whose,
                Standing::Dead => continue,
                Standing::Unaccounted(cause) => {
                    return Ok(Err(format!("the entry at {}: {cause}", entry.offset)));
                }
            };
            counted += u64::from(whose.is_some());
            live.push(Live {
                kind: entry.kind,
                from,
                whose,
                record: entry.record,
            });
        }
        if counted == row.objects {
            return Ok(Ok(live));
        }
        // Something was moved meanwhile, or is missing: the scrub finds out.
        let known = row.objects;
        Ok(Err(format!(
            "{counted} of the {known} that rest in it were found"
        )))
    }

    /// What a scan of a pack finds: entries, and damage.
    async fn scan_entries(
        &self,
        stored: StoredObject,
        row: &FileRow,
    ) -> Result<(Vec<Scanned>, Vec<Finding>)> {
        let (file, synced) = (row.file.clone(), row.synced_bytes);
        let scanning = blocking(self.store.calls(), move || -> Result<_> {
            let mut scanner = Scanner::new(stored, synced, Tail::Closed);
            let (mut entries, mut damaged) = (Vec::new(), Vec::new());
            while let Some(found) = scanner.next()? {
                match found {
                    Found::Entry {
                        kind,
                        body_offset: offset,
                        body,
                    } => {
                        let length = body.len() as u64;
                        let is_record = kind == EntryKind::Record;
                        let record = is_record.then(|| KeyRecord::from_json(body).ok());
                        let record = record.flatten().map(|record| record.id);
                        entries.push(Scanned {
                            kind,
                            offset,
                            length,
                            record,
                        });
                    }
                    Found::Damage { range, damage } => {
                        damaged.push(Finding::in_pack(&file, &range, in_words(&damage)));
                    }
                    Found::Dropped { range } => {
                        let cause = "an entry that has no end".to_owned();
                        damaged.push(Finding::in_pack(&file, &range, cause));
                    }
                }
            }
            Ok((entries, damaged))
        });
        scanning.await.map_err(|_| ArchiveError::Closed)?
    }

    async fn standing(
        &self,
        stored: &StoredObject,
        entry: &Scanned,
        at: &Location,
        damaged: &[Quarantined],
    ) -> Result<Standing> {
        if damaged.iter().any(|row| row.location == *at) {
            return Ok(Standing::Dead);
        }
        match (entry.kind, entry.record) {
            (EntryKind::Record, Some(id)) if self.catalog.record(id).await?.is_some() => {
                Ok(Standing::Live(None))
            }
            (EntryKind::Record, _) => {
                let cause = "a key record that the catalog does not have";
                Ok(Standing::Unaccounted(cause.to_owned()))
            }
            (EntryKind::Object | EntryKind::Mark, _) => self.standing_of_object(stored, at).await,
        }
    }

    async fn standing_of_object(&self, stored: &StoredObject, at: &Location) -> Result<Standing> {
        let (meta, uid) = match self.meta_at(stored, at).await {
            Ok(opened) => opened,
            Err(error @ ArchiveError::Ledger(_)) => return Err(error),
            Err(error) => return Ok(Standing::Unaccounted(in_words(&error))),
        };
        let name = meta.name();
        let marks = self.catalog.marks_of(&name).await?;
        let order = order_of(&meta, &self.region);
        let rests_here = |there: ObjectUid, location: &Location| there == uid && location == at;
        let is_purged = marks
            .iter()
            .any(|mark| mark.kind == MarkKind::Purge && mark.order >= order);
        let is_dead = match meta.mark {
            None | Some(Mark::DeleteMarker) => match self.catalog.known(&name).await? {
                Some(row) if rests_here(row.object_uid, &row.location) => {
                    return Ok(Standing::Live(Some((name, uid))));
                }
                Some(row) => row.sequence >= meta.sequence.unwrap_or(0),
                None => is_purged,
            },
            Some(kind @ (Mark::Tags | Mark::Purge | Mark::Hold)) => {
                let mut rows = marks.iter();
                if rows.any(|row| rests_here(row.object_uid, &row.location)) {
                    return Ok(Standing::Live(Some((name, uid))));
                }
                let is_same = |row: &MarkKind| match row {
                    MarkKind::Tags(_) => kind == Mark::Tags,
                    MarkKind::Purge => kind == Mark::Purge,
                    MarkKind::Hold(_) => kind == Mark::Hold,
                };
                let mut same = marks.iter().filter(|row| is_same(&row.kind));
                let is_over = is_purged && kind != Mark::Hold;
                is_over || same.any(|row| row.order >= order)
            }
        };
        Ok(match is_dead {
            true => Standing::Dead,
            false => Standing::Unaccounted(format!("the catalog does not know {name}")),
        })
    }

    /// What the sealed bytes at a place say of themselves.
    async fn meta_at(&self, stored: &StoredObject, at: &Location) -> Result<(Meta, ObjectUid)> {
        let section = Section::new(stored.clone(), at.offset, at.length);
        let inspected = Inspected::new(section, at.length, &Expected::unlisted())?;
        let records = inspected.header().records();
        let row = self.catalog.record(records.first).await?;
        let row = row.ok_or(ArchiveError::RecordMissing(records.first))?;
        let open = self.open_layers(records, &row.bucket).await?;
        let opened = inspected.open(open.keys())?;
        Ok((opened.meta().clone(), opened.header().uid))
    }
}
