//! Bytes under names.

use rusqlite::{Connection, Row, params};

use super::{
    columns::{Columns, all, change, first, limit},
    sealing::Sealing,
};
use crate::{Note, Result};

fn aad(name: &str) -> Vec<u8> {
    [b"note\0".as_slice(), name.as_bytes()].concat()
}

fn row(row: &Row<'_>, sealing: &Sealing) -> Result<Note> {
    let mut columns = Columns::new("notes", row);
    let name: String = columns.value()?;
    let sealed: Vec<u8> = columns.value()?;
    let bytes = sealing.open_bytes(&aad(&name), &format!("note {name}"), &sealed)?;
    Ok(Note::kept(name, bytes))
}

pub(super) fn note(db: &Connection, sealing: &Sealing, name: &str) -> Result<Option<Note>> {
    let sql = "SELECT name, bytes FROM notes WHERE name = ?1";
    first(db, sql, [name], |found| row(found, sealing))
}

pub(super) fn notes(
    db: &Connection,
    sealing: &Sealing,
    prefix: &str,
    after: Option<&str>,
    rows: usize,
) -> Result<Vec<Note>> {
    let sql = "SELECT name, bytes FROM notes WHERE name >= ?1 AND (?2 IS NULL OR name > ?2)
               ORDER BY name LIMIT ?3";
    let mut found = all(db, sql, params![prefix, after, limit(rows)], |found| {
        row(found, sealing)
    })?;
    let of_others = found.iter().position(|note| !note.name.starts_with(prefix));
    found.truncate(of_others.unwrap_or(found.len()));
    Ok(found)
}

/// Seals what is to be kept.
pub(super) fn sealed(notes: Vec<Note>, sealing: &Sealing) -> Result<Vec<Note>> {
    let seal = |mut note: Note| -> Result<Note> {
        if let Some(bytes) = &mut note.bytes {
            *bytes = sealing.seal_bytes(&aad(&note.name), &format!("note {}", note.name), bytes)?;
        }
        Ok(note)
    };
    notes.into_iter().map(seal).collect()
}

pub(super) fn put(db: &Connection, notes: &[Note]) -> Result<()> {
    for note in notes {
        match &note.bytes {
            Some(bytes) => {
                let sql = "INSERT OR REPLACE INTO notes VALUES (?1, ?2)";
                change(db, sql, params![note.name, bytes])?
            }
            None => change(db, "DELETE FROM notes WHERE name = ?1", [&note.name])?,
        };
    }
    Ok(())
}
