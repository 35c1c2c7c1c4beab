//! What commits and finds do to a catalog.

use sealift_terms::{RecordIds, VersionName};

use super::catalog_state::{CatalogState, Done, Marked};
use crate::{
    BucketCount, Commit, Location, MarkKind, NewMark, NewVersion, Outcome, VersionKind, VersionRow,
    marks::PURGES,
};

/// Whose sequences the rows get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequences {
    /// The commit's.
    Commit(u64),
    /// Their own: they were found in the store.
    Own,
}

fn highest_sequence(commit: &Commit) -> Option<u64> {
    let versions = commit.versions.iter().map(|version| version.sequence);
    versions
        .chain(commit.marks.iter().map(|mark| mark.sequence))
        .max()
}

impl CatalogState {
    pub(super) fn commit(&mut self, commit: Commit) -> Done {
        let sequence = match highest_sequence(&commit) {
            Some(highest) => self.raise_sequence(highest.max(self.site.sequence + 1)),
            None => 0,
        };
        let outcomes = self.take(commit, Sequences::Commit(sequence));
        Done {
            sequence,
            outcomes,
            ..Done::default()
        }
    }

    pub(super) fn restore(&mut self, found: Commit) -> Done {
        self.raise_sequence(highest_sequence(&found).unwrap_or(0));
        let outcomes = self.take(found, Sequences::Own);
        Done {
            outcomes,
            ..Done::default()
        }
    }

    fn take(&mut self, commit: Commit, sequences: Sequences) -> Vec<Outcome> {
        let at = commit.at;
        self.at = at;
        self.rows.put_records(commit.records);
        let mut outcomes = Vec::with_capacity(commit.versions.len());
        for new in commit.versions {
            outcomes.push(self.take_version(new, at, sequences));
        }
        for mark in commit.marks {
            self.take_mark(mark, sequences);
        }
        self.finish(commit.packs, &commit.uploads, commit.audit);
        outcomes
    }

    fn take_version(
        &mut self,
        new: NewVersion,
        at: sealift_terms::Timestamp,
        sequences: Sequences,
    ) -> Outcome {
        let sequence = match sequences {
            Sequences::Commit(sequence) => sequence,
            Sequences::Own => new.sequence,
        };
        if let Some(purged) = self.rows.marks.get(&(new.name.clone(), PURGES))
            && (sequences != Sequences::Own || purged.sequence > new.sequence)
        {
            return Outcome::Purged;
        }
        if let Some(there) = self.version(&new.name) {
            let replaces = there.quarantined || new.replaces == Some(there.object_uid);
            let replaces = replaces && is_same(&new, &there);
            let is_older = sequences == Sequences::Own && there.sequence < new.sequence;
            if !replaces && !is_older {
                return compare(&new, there);
            }
            self.remove(&new.name);
        }
        let row = self.row(new, sequence, at);
        self.count(&row, 1);
        self.rows.versions.insert(row.name.clone(), row.clone());
        Outcome::Stored(Box::new(row))
    }

    fn row(&self, new: NewVersion, sequence: u64, at: sealift_terms::Timestamp) -> VersionRow {
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
            stored_at: at,
            receipt: None,
            quarantined: false,
        };
        let receipt = |terms| row.receipt_on(terms, self.site);
        row.receipt = new.terms.as_deref().map(receipt);
        row
    }

    /// Takes a version out, with what it counts for.
    fn remove(&mut self, name: &VersionName) {
        if let Some(row) = self.rows.versions.remove(name) {
            self.count(&row, -1);
            self.repaired(name);
        }
    }

    fn count(&mut self, row: &VersionRow, sign: i64) {
        self.sealed(&row.location, row.records(), sign);
        let bucket = &row.name.bucket;
        let new = || BucketCount {
            bucket: bucket.clone(),
            objects: 0,
            bytes: 0,
            delete_markers: 0,
        };
        let sums = self.rows.buckets.entry(bucket.clone()).or_insert_with(new);
        match row.kind {
            VersionKind::Object => {
                add(&mut sums.objects, 1, sign);
                add(&mut sums.bytes, row.facts.size, sign);
                for record in row.records().iter() {
                    if let Some((_, served)) = self.rows.records.get_mut(&record) {
                        add(&mut served.bytes, row.facts.size, sign);
                    }
                }
            }
            VersionKind::DeleteMarker => add(&mut sums.delete_markers, 1, sign),
        }
    }

    /// One sealed object more or less, for the key record of each of its layers.
    pub(super) fn sealed(&mut self, location: &Location, records: RecordIds, sign: i64) {
        let file = self.rows.file(&location.file);
        add(&mut file.objects, 1, sign);
        add(&mut file.live_bytes, location.length, sign);
        let end = location.offset.saturating_add(location.length);
        file.synced_bytes = file.synced_bytes.max(end);
        if sign < 0 {
            file.dead_since = file.dead_since.or(Some(self.at));
        }
        for record in records.iter() {
            if let Some((_, served)) = self.rows.records.get_mut(&record) {
                add(&mut served.objects, 1, sign);
            }
        }
    }

    fn take_mark(&mut self, mark: NewMark, sequences: Sequences) {
        let place = (mark.name.clone(), mark.kind.sort());
        if let Some(there) = self.rows.marks.get(&place) {
            if (&there.order, there.sequence) >= (&mark.order, mark.sequence) {
                return;
            }
            let (location, records) = (there.location.clone(), there.records);
            self.sealed(&location, records, -1);
        }
        self.sealed(&mark.location, mark.records(), 1);
        if mark.kind == MarkKind::Purge
            && let Some(row) = self.rows.versions.get(&mark.name)
            && (sequences != Sequences::Own || row.sequence < mark.sequence)
        {
            self.remove(&mark.name);
        }
        if let MarkKind::Hold(notes) = &mark.kind {
            self.rows.put_notes(notes.clone());
        }
        let marked = Marked {
            records: mark.records(),
            order: mark.order,
            sequence: mark.sequence,
            object_uid: mark.object_uid,
            location: mark.location,
            kind: mark.kind,
        };
        self.rows.marks.insert(place, marked);
    }
}

/// What it means that a version was there already.
fn compare(new: &NewVersion, there: VersionRow) -> Outcome {
    let same = is_same(new, &there);
    let there = Box::new(there);
    match same {
        true => Outcome::Known(there),
        false => Outcome::Conflict(there),
    }
}

fn is_same(new: &NewVersion, there: &VersionRow) -> bool {
    new.kind == there.kind && new.checksum == there.checksum && new.facts.size == there.facts.size
}

fn add(sum: &mut u64, what: u64, sign: i64) {
    *sum = match sign {
        1.. => sum.saturating_add(what),
        _ => sum.saturating_sub(what),
    };
}
