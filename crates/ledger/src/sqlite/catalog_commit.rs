//! Commits and finds, as they run on the catalog's writer.

use std::sync::Arc;

use rusqlite::{Connection, params};
use sealift_terms::{ObjectUid, RecordId, RecordIds, VersionName};

use super::{
    catalog_rows::{SealedFacts, kind_code, known},
    catalog_state::CatalogState,
    columns::{Columns, change, first, int, order_bytes},
    notes,
    quarantine::repaired,
    sealing::Sealing,
    tally::Tally,
    terms::StoredTerms,
    uploads,
};
use crate::{
    Commit, Committed, LedgerError, Location, MarkKind, NOTES_KEPT, NewMark, NewVersion, Note,
    Outcome, PackState, RecordRow, Result, VersionKind, VersionRow,
};

/// A commit with its facts sealed, which was done on the caller's thread.
pub(super) struct SealedCommit {
    commit: Commit,
    /// One per version.
    facts: Vec<Vec<u8>>,
    /// What each mark says; none for a purge.
    said: Vec<Option<Vec<u8>>>,
    /// The notes of each mark.
    notes: Vec<Vec<Note>>,
}

impl SealedCommit {
    pub(super) fn new(commit: Commit, sealing: &Sealing) -> Result<Self> {
        let facts = commit.versions.iter().map(|version| {
            let sealed = SealedFacts {
                facts: version.facts.clone(),
                checksum: version.checksum.clone(),
            };
            sealing.seal("version facts", &version.name, &sealed)
        });
        let facts = facts.collect::<Result<_>>()?;
        let said = commit.marks.iter().map(|mark| match &mark.kind {
            MarkKind::Tags(tags) => sealing.seal("tags", &mark.name, tags).map(Some),
            MarkKind::Purge => Ok(None),
            MarkKind::Hold(said) => sealing.seal("hold", &mark.name, said).map(Some),
        });
        let said = said.collect::<Result<_>>()?;
        let notes = commit.marks.iter().map(|mark| match &mark.kind {
            MarkKind::Tags(_) | MarkKind::Purge => Ok(Vec::new()),
            MarkKind::Hold(said) => notes::sealed(said.clone(), sealing),
        });
        let notes = notes.collect::<Result<_>>()?;
        Ok(Self {
            commit,
            facts,
            said,
            notes,
        })
    }

    fn highest_sequence(&self) -> Option<u64> {
        let versions = self.commit.versions.iter().map(|version| version.sequence);
        let marks = self.commit.marks.iter().map(|mark| mark.sequence);
        versions.chain(marks).max()
    }
}

/// Whose sequences the rows get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequences {
    /// The commit's.
    Commit(u64),
    /// Their own: they were found in the store.
    Own,
}

/// Commits what a receiver made durable.
pub(super) fn commit(
    db: &Connection,
    state: &mut CatalogState,
    sealing: &Sealing,
    sealed: SealedCommit,
) -> Result<Committed> {
    let sequence = match sealed.highest_sequence() {
        Some(highest) => state.take_sequence(highest),
        None => 0,
    };
    let outcomes = apply(db, state, sealing, sealed, Sequences::Commit(sequence))?;
    Ok(Committed { sequence, outcomes })
}

/// Takes what a rebuild found in the store.
pub(super) fn restore(
    db: &Connection,
    state: &mut CatalogState,
    sealing: &Sealing,
    sealed: SealedCommit,
) -> Result<Vec<Outcome>> {
    state.raise_sequence(sealed.highest_sequence().unwrap_or(0));
    apply(db, state, sealing, sealed, Sequences::Own)
}

fn apply(
    db: &Connection,
    state: &mut CatalogState,
    sealing: &Sealing,
    sealed: SealedCommit,
    sequences: Sequences,
) -> Result<Vec<Outcome>> {
    let SealedCommit {
        commit,
        facts,
        said,
        notes,
    } = sealed;
    put_records(db, &commit.records)?;
    let mut group = Group {
        db,
        state,
        sealing,
        sequences,
        at: commit.at.as_millis(),
        tally: Tally::default(),
        terms: None,
    };
    let mut outcomes = Vec::with_capacity(facts.len());
    for (version, facts) in commit.versions.into_iter().zip(facts) {
        outcomes.push(group.version(version, &facts)?);
    }
    for ((mark, said), notes) in commit.marks.iter().zip(said).zip(notes) {
        if group.mark(mark, said.as_deref())? {
            notes::put(db, &notes)?;
        }
    }
    group.tally.write(db, group.at)?;
    put_packs(db, &commit.packs)?;
    uploads::remove(db, &commit.uploads)?;
    state.append(db, commit.audit)?;
    Ok(outcomes)
}

struct Group<'a> {
    db: &'a Connection,
    state: &'a CatalogState,
    sealing: &'a Sealing,
    sequences: Sequences,
    at: i64,
    tally: Tally,
    /// The terms of the last version and their number: mostly those of the next.
    terms: Option<(Arc<crate::ReceiptTerms>, i64)>,
}

impl Group<'_> {
    fn version(&mut self, new: NewVersion, facts: &[u8]) -> Result<Outcome> {
        let sequence = match self.sequences {
            Sequences::Commit(sequence) => sequence,
            Sequences::Own => new.sequence,
        };
        if let Some(purged) = purged_at(self.db, &new.name)?
            && (self.sequences != Sequences::Own || purged > new.sequence)
        {
            return Ok(Outcome::Purged);
        }
        let terms = self.terms_of(&new)?;
        if !self.insert(&new, facts, sequence, terms)? {
            let there = known(self.db, self.sealing, &new.name)?.ok_or(LedgerError::BadRow {
                table: "versions",
                finding: "a row is there and cannot be found".to_owned(),
            })?;
            let replaces = there.quarantined || new.replaces == Some(there.object_uid);
            let replaces = replaces && is_same(&new, &there);
            let is_older = self.sequences == Sequences::Own && there.sequence < new.sequence;
            if !replaces && !is_older {
                return Ok(compare(&new, there));
            }
            self.remove(&new.name)?;
            self.insert(&new, facts, sequence, terms)?;
        }
        self.tally.sealed(&new.location, new.records(), 1);
        let bucket = &new.name.bucket;
        self.tally
            .version(bucket, new.records(), new.kind, new.facts.size, 1);
        if new.kind == VersionKind::Object {
            let sender = new.terms.as_deref().map(|terms| &terms.session.sender);
            self.tally.brought(sender, new.facts.size, 1);
        }
        Ok(Outcome::Stored(Box::new(self.stored(new, sequence))))
    }

    fn insert(
        &self,
        new: &NewVersion,
        facts: &[u8],
        sequence: u64,
        terms: Option<i64>,
    ) -> Result<bool> {
        let inserted = change(
            self.db,
            "INSERT INTO versions (bucket, key, version, ord, kind, size, facts, uid, record, file,
                 offset, length, sequence, stored_at, terms, second_record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT DO NOTHING",
            params![
                new.name.bucket.as_str(),
                new.name.key.as_str(),
                new.name.version.as_str(),
                order_bytes(&new.order),
                kind_code(new.kind),
                int("size", new.facts.size)?,
                facts,
                new.object_uid.0,
                new.record.0,
                new.location.file,
                int("offset", new.location.offset)?,
                int("length", new.location.length)?,
                int("sequence", sequence)?,
                self.at,
                terms,
                new.second_record.map(|id| id.0),
            ],
        )?;
        Ok(inserted == 1)
    }

    fn stored(&self, new: NewVersion, sequence: u64) -> VersionRow {
        let mut row = VersionRow {
            name: new.name,
            order: new.order,
            kind: new.kind,
            facts: new.facts,
            tags_order: None,
            checksum: new.checksum,
            object_uid: new.object_uid,
            record: new.record,
            second_record: new.second_record,
            location: new.location,
            sequence,
            stored_at: sealift_terms::Timestamp::from_millis(self.at),
            receipt: None,
            quarantined: false,
        };
        let receipt = |terms| row.receipt_on(terms, self.state.site);
        row.receipt = new.terms.as_deref().map(receipt);
        row
    }

    /// The number of the terms of a version's receipt.
    fn terms_of(&mut self, new: &NewVersion) -> Result<Option<i64>> {
        let Some(terms) = &new.terms else {
            return Ok(None);
        };
        if let Some((last, id)) = &self.terms
            && last == terms
        {
            return Ok(Some(*id));
        }
        let id = StoredTerms::new(terms, self.state.site).number(self.db)?;
        self.terms = Some((terms.clone(), id));
        Ok(Some(id))
    }

    /// Takes a version out, with what it counts for.
    fn remove(&mut self, name: &VersionName) -> Result<()> {
        if let Some(row) = known(self.db, self.sealing, name)? {
            self.tally.sealed(&row.location, row.records(), -1);
            self.tally
                .version(&name.bucket, row.records(), row.kind, row.facts.size, -1);
            if row.kind == VersionKind::Object {
                let sender = row.receipt.as_ref().map(|receipt| &receipt.session.sender);
                self.tally.brought(sender, row.facts.size, -1);
            }
            let sql = "DELETE FROM versions WHERE bucket = ?1 AND key = ?2 AND version = ?3";
            change(self.db, sql, name_params(name))?;
            repaired(self.db, name, self.at)?;
        }
        Ok(())
    }

    /// Takes a mark, and says whether none of a higher order is there.
    fn mark(&mut self, mark: &NewMark, said: Option<&[u8]>) -> Result<bool> {
        let (kind, ord) = (i64::from(mark.kind.sort()), order_bytes(&mark.order));
        let there = self.mark_there(&mark.name, kind)?;
        if let Some(there) = &there {
            let (was, is) = ((&there.ord, there.sequence), (&ord, mark.sequence));
            if was >= is {
                return Ok(false);
            }
            self.tally.sealed(&there.location, there.records, -1);
        }
        change(
            self.db,
            "INSERT OR REPLACE INTO marks
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                mark.name.bucket.as_str(),
                mark.name.key.as_str(),
                mark.name.version.as_str(),
                kind,
                ord,
                int("sequence", mark.sequence)?,
                said,
                mark.object_uid.0,
                mark.record.0,
                mark.location.file,
                int("offset", mark.location.offset)?,
                int("length", mark.location.length)?,
                mark.second_record.map(|id| id.0),
            ],
        )?;
        self.tally.sealed(&mark.location, mark.records(), 1);
        if mark.kind == MarkKind::Purge {
            self.purge(mark)?;
        }
        Ok(true)
    }

    fn purge(&mut self, mark: &NewMark) -> Result<()> {
        let there = known(self.db, self.sealing, &mark.name)?;
        let older =
            |row: &VersionRow| self.sequences != Sequences::Own || row.sequence < mark.sequence;
        if there.as_ref().is_some_and(older) {
            self.remove(&mark.name)?;
        }
        Ok(())
    }

    fn mark_there(&self, name: &VersionName, kind: i64) -> Result<Option<MarkThere>> {
        let sql = format!(
            "SELECT ord, sequence, record, second_record, file, offset, length FROM marks
             WHERE bucket = ?1 AND key = ?2 AND version = ?3 AND kind = {kind}"
        );
        first(self.db, &sql, name_params(name), |row| {
            let mut columns = Columns::new("marks", row);
            Ok(MarkThere {
                ord: columns.value()?,
                sequence: columns.uint()?,
                records: RecordIds {
                    first: RecordId(columns.bytes()?),
                    second: columns.bytes_or_none()?.map(RecordId),
                },
                location: super::catalog_rows::location(&mut columns)?,
            })
        })
    }
}

struct MarkThere {
    ord: Vec<u8>,
    sequence: u64,
    records: RecordIds,
    location: Location,
}

/// The sequence of the mark that purged a version.
pub(super) fn purged_at(db: &Connection, name: &VersionName) -> Result<Option<u64>> {
    let sql = "SELECT sequence FROM marks
               WHERE bucket = ?1 AND key = ?2 AND version = ?3 AND kind = 1";
    first(db, sql, name_params(name), |row| {
        Columns::new("marks", row).uint()
    })
}

pub(super) fn name_params(name: &VersionName) -> [&str; 3] {
    [
        name.bucket.as_str(),
        name.key.as_str(),
        name.version.as_str(),
    ]
}

/// What it means that a version was there already.
fn compare(new: &NewVersion, there: VersionRow) -> Outcome {
    let same = is_same(new, &there);
    let there = Box::new(there);
    if same {
        Outcome::Known(there)
    } else {
        Outcome::Conflict(there)
    }
}

fn is_same(new: &NewVersion, there: &VersionRow) -> bool {
    new.kind == there.kind && new.checksum == there.checksum && new.facts.size == there.facts.size
}

pub(super) fn put_records(db: &Connection, records: &[RecordRow]) -> Result<()> {
    for record in records {
        change(
            db,
            "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, 0, 0) ON CONFLICT DO UPDATE SET
                 bucket = excluded.bucket, cmk = excluded.cmk,
                 cmk_version = excluded.cmk_version, json = excluded.json",
            params![
                record.id.0,
                record.bucket.as_str(),
                record.cmk.as_str(),
                record.cmk_version,
                record.json
            ],
        )?;
    }
    Ok(())
}

pub(super) fn put_packs(db: &Connection, packs: &[PackState]) -> Result<()> {
    for pack in packs {
        change(
            db,
            "INSERT INTO files VALUES (?1, ?2, 0, 0, ?3, NULL) ON CONFLICT DO UPDATE SET
                 synced = max(synced, excluded.synced), closed = excluded.closed",
            params![pack.file, int("length", pack.synced_bytes)?, pack.closed],
        )?;
    }
    Ok(())
}

/// Forgets everything but the site, the audit log, the key records, of which this may be the
/// only copy that is whole, and the notes that a rebuild keeps.
pub(super) fn clear(db: &Connection) -> Result<()> {
    for table in [
        "versions",
        "marks",
        "terms",
        "files",
        "buckets",
        "senders",
        "uploads",
        "parts",
        "quarantine",
        "scrub",
    ] {
        change(db, &format!("DELETE FROM {table}"), [])?;
    }
    let kept = i64::try_from(NOTES_KEPT.len()).unwrap_or(i64::MAX);
    change(
        db,
        "DELETE FROM notes WHERE substr(name, 1, ?1) <> ?2",
        params![kept, NOTES_KEPT],
    )?;
    change(db, "UPDATE records SET objects = 0, bytes = 0", []).map(drop)
}

/// For [`uploads`]: the record must be there before what is sealed under it.
pub(super) fn require_record(db: &Connection, id: RecordId) -> Result<()> {
    let there = first(
        db,
        "SELECT 1 FROM records WHERE id = ?1",
        [id.0],
        |_| Ok(()),
    )?;
    there.ok_or(LedgerError::NoSuchRecord(id))
}

/// What a part's sealed facts are bound to.
pub(super) fn part_aad(uid: ObjectUid, part: u32) -> Vec<u8> {
    [b"part crc\0".as_slice(), &uid.0, &part.to_be_bytes()].concat()
}
