//! Damaged bytes that are out of use, marks by themselves, and bytes that move.

use std::ops::Bound;

use sealift_terms::{Timestamp, VersionName};

use super::catalog_state::{CatalogState, Marked, Rows};
use crate::{
    DamagedVersion, ListQuarantined, MarkRow, Note, QuarantineCount, Quarantined, Relocation,
};

impl Rows {
    pub(super) fn put_notes(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note.bytes {
                Some(_) => drop(self.notes.insert(note.name.clone(), note)),
                None => drop(self.notes.remove(&note.name)),
            }
        }
    }
}

impl CatalogState {
    pub(super) fn is_damaged(&self, name: &VersionName) -> bool {
        let mut all = self.rows.quarantine.values();
        all.any(|row| row.name == *name && row.repaired_at.is_none())
    }

    pub(super) fn quarantine(&mut self, found: Vec<DamagedVersion>, at: Timestamp) -> u64 {
        let mut put = 0;
        for damage in found {
            let row = self.rows.versions.get(&damage.name);
            let row = row.filter(|row| row.object_uid == damage.object_uid);
            let Some(row) = row.filter(|_| !self.is_damaged(&damage.name)) else {
                continue;
            };
            let location = row.location.clone();
            self.rows.quarantined += 1;
            let id = self.rows.quarantined;
            let row = Quarantined {
                id,
                name: damage.name,
                object_uid: damage.object_uid,
                location,
                found_at: at,
                cause: damage.cause,
                repaired_at: None,
            };
            self.rows.quarantine.insert(id, row);
            put += 1;
        }
        put
    }

    /// The version came again, or is gone for good.
    pub(super) fn repaired(&mut self, name: &VersionName) {
        let at = self.at;
        for row in self.rows.quarantine.values_mut() {
            if row.name == *name && row.repaired_at.is_none() {
                row.repaired_at = Some(at);
            }
        }
    }

    pub(super) fn listed(&self, list: &ListQuarantined) -> Vec<Quarantined> {
        let behind = (Bound::Excluded(list.after), Bound::Unbounded);
        let rows = self.rows.quarantine.range(behind).map(|(_, row)| row);
        let wanted = |row: &&Quarantined| {
            let is_repaired = row.repaired_at.is_some();
            list.repaired.is_none_or(|wanted| wanted == is_repaired)
                && list
                    .file
                    .as_ref()
                    .is_none_or(|file| row.location.file == *file)
        };
        rows.filter(wanted).take(list.limit).cloned().collect()
    }

    pub(super) fn quarantine_count(&self) -> QuarantineCount {
        let all = self.rows.quarantine.len() as u64;
        let rows = self.rows.quarantine.values();
        let damaged = rows.filter(|row| row.repaired_at.is_none()).count() as u64;
        QuarantineCount {
            damaged,
            repaired: all - damaged,
        }
    }

    pub(super) fn forget_quarantined(&mut self, ids: &[u64]) -> u64 {
        let before = self.rows.quarantine.len();
        let stays = |row: &Quarantined| row.repaired_at.is_none();
        self.rows
            .quarantine
            .retain(|id, row| !ids.contains(id) || stays(row));
        (before - self.rows.quarantine.len()) as u64
    }

    pub(super) fn forget_file(&mut self, file: &str) -> u64 {
        let mut quarantined = self.rows.quarantine.values();
        let is_empty = |row: &crate::FileRow| row.objects == 0 && row.closed;
        if quarantined.any(|row| row.location.file == file)
            || !self.rows.files.get(file).is_some_and(is_empty)
        {
            return 0;
        }
        u64::from(self.rows.files.remove(file).is_some())
    }

    pub(super) fn marks(&self, after: Option<&MarkRow>, limit: usize) -> Vec<MarkRow> {
        let after = after.map(|mark| (mark.name.clone(), mark.kind.sort()));
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let marks = self.rows.marks.range((after, Bound::Unbounded));
        marks.take(limit).map(row).collect()
    }

    pub(super) fn marks_of(&self, name: &VersionName) -> Vec<MarkRow> {
        let places = (name.clone(), u8::MIN)..=(name.clone(), u8::MAX);
        self.rows.marks.range(places).map(row).collect()
    }

    /// Moves what still rests where it was copied from.
    pub(super) fn relocate(&mut self, moves: Vec<Relocation>) -> u64 {
        let mut moved = 0;
        for one in moves {
            let is_meant =
                |uid, location: &crate::Location| uid == one.object_uid && *location == one.from;
            let mut records = Vec::new();
            if let Some(row) = self.rows.versions.get_mut(&one.name)
                && is_meant(row.object_uid, &row.location)
            {
                row.location = one.to.clone();
                records.push(row.records());
            }
            let places = (one.name.clone(), u8::MIN)..=(one.name.clone(), u8::MAX);
            for (_, mark) in self.rows.marks.range_mut(places) {
                if is_meant(mark.object_uid, &mark.location) {
                    mark.location = one.to.clone();
                    records.push(mark.records);
                }
            }
            for records in records {
                self.sealed(&one.from, records, -1);
                self.sealed(&one.to, records, 1);
                moved += 1;
            }
        }
        moved
    }
}

fn row(((name, _), mark): (&(VersionName, u8), &Marked)) -> MarkRow {
    MarkRow {
        name: name.clone(),
        order: mark.order.clone(),
        kind: mark.kind.clone(),
        object_uid: mark.object_uid,
        record: mark.records.first,
        second_record: mark.records.second,
        location: mark.location.clone(),
    }
}
