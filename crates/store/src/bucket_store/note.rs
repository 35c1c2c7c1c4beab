//! What is known of an upload, in a file beside the staged ones: a line for its id, and one
//! for each part that the bucket took.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{DirectoryStore, Store, StoreError, StoreFile, StoreName};

/// Where the notes are.
const NOTES: &str = "uploads/";
/// A note of 10,000 parts is shorter.
const NOTE_BYTES_MAX: u64 = 4 << 20;

/// A part that the bucket took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentPart {
    /// From 0 on.
    pub(super) part: u32,
    pub(super) len: u64,
    /// In hex, of what was sent.
    pub(super) sha256: String,
    pub(super) etag: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    id: String,
}

/// What a note says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) id: String,
    pub(super) parts: BTreeMap<u32, SentPart>,
}

/// A note that is written on.
#[derive(Debug)]
pub(super) struct Note {
    file: Arc<dyn StoreFile>,
    /// Its end, held while a line is added.
    end: tokio::sync::Mutex<u64>,
    /// What it said when it was read.
    read: BTreeMap<u32, SentPart>,
}

fn name_of(file: &StoreName) -> Result<StoreName, StoreError> {
    Ok(StoreName::new(format!("{NOTES}{file}"))?)
}

fn line(of: &impl Serialize) -> Vec<u8> {
    // Numbers and strings alone: it can be written.
    let mut line = serde_json::to_vec(of).unwrap_or_default();
    line.push(b'\n');
    line
}

impl Note {
    /// Begins one, durably, for an upload that was begun.
    pub(super) async fn begin(
        local: &DirectoryStore,
        file: &StoreName,
        id: &str,
    ) -> Result<Self, StoreError> {
        let name = name_of(file)?;
        local.remove(&name).await?;
        let note = local.append(&name).await?;
        let begun = line(&Begun { id: id.to_owned() });
        note.write_at(&begun, 0).await?;
        note.sync().await?;
        Ok(Self {
            file: note,
            end: tokio::sync::Mutex::new(begun.len() as u64),
            read: BTreeMap::new(),
        })
    }

    /// Adds a part. Not synced: one that a power failure takes is sent again.
    pub(super) async fn add(&self, sent: &SentPart) -> Result<(), StoreError> {
        let added = line(sent);
        let mut end = self.end.lock().await;
        self.file.write_at(&added, *end).await?;
        *end += added.len() as u64;
        Ok(())
    }

    /// Takes up one that an earlier process left. A line that is cut off ends it.
    pub(super) async fn read(
        local: &DirectoryStore,
        file: &StoreName,
    ) -> Result<Option<(Noted, Self)>, StoreError> {
        let name = name_of(file)?;
        let len = match local.open(&name).await {
            Ok(note) => note.len()?.min(NOTE_BYTES_MAX),
            Err(StoreError::NoSuchFile { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let note = local.append(&name).await?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        note.read_exact_at(&mut bytes, 0)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let begun = lines.next().unwrap_or_default();
        let Ok(Begun { id }) = serde_json::from_slice(begun) else {
            return Ok(None);
        };
        let (mut parts, mut end) = (BTreeMap::new(), begun.len() as u64);
        for text in lines {
            match serde_json::from_slice::<SentPart>(text) {
                Ok(sent) if text.ends_with(b"\n") => {
                    parts.insert(sent.part, sent);
                    end += text.len() as u64;
                }
                _ => break,
            }
        }
        let note = Self {
            file: note,
            end: tokio::sync::Mutex::new(end),
            read: BTreeMap::new(),
        };
        Ok(Some((Noted { id, parts }, note)))
    }

    pub(super) fn with(mut self, parts: BTreeMap<u32, SentPart>) -> Self {
        self.read = parts;
        self
    }

    /// What it said of a part when it was read.
    pub(super) fn sent(&self, part: u32) -> Option<&SentPart> {
        self.read.get(&part)
    }

    /// Removes that of a file; one that is not there is no error.
    pub(super) async fn remove(local: &DirectoryStore, file: &StoreName) -> Result<(), StoreError> {
        local.remove(&name_of(file)?).await
    }
}
