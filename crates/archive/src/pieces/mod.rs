//! Objects that applications write in pieces, in any sequence, and put together at last.
//!
//! ```text
//!  begin_assembly ─▶ begin_piece ─▶ bytes ─▶ keep_piece: durable, and noted
//!                                              │ any number, any sequence, again
//!  pieces ─▶ PieceReader ─▶ ObjectWriter ─▶ commit_ordered ─▶ end_assembly
//! ```
//!
//! How long the object will be is not known before all of it is here, and where a piece will
//! stand in it neither. So each piece is sealed by itself as it comes, as an unfinished upload
//! that is never committed, and opened and sealed again when the object is put together.
//! What is known of an assembly and its pieces rests in the catalog's notes.

mod reading;
mod sweeping;

use std::{collections::BTreeMap, fmt, sync::Arc};

use sealift_ledger::Note;
use sealift_terms::{
    BucketName, ChangeKind, Identity, ObjectFacts, ObjectKey, ObjectUid, Timestamp, VersionId,
    VersionName,
    limits::{ASSEMBLIES_MAX, PIECE_BYTES_MAX, PIECE_NUMBER_MAX, PIECES_MAX},
};
use serde::{Deserialize, Serialize};

use crate::{
    Archive, ArchiveError, ObjectWriter, Result, Upload, archive::Core, limits::PAGE_ROWS,
    recorder, reserve, upload::UploadState,
};

pub use reading::PieceReader;

/// Between the fields of a note's name: below everything that a key is likely to have, so
/// that keys come in their order.
const SEPARATOR: char = '\u{1}';

/// How often a piece is tried to be recorded: its recorder may be at it at the same time.
const RECORDINGS_MAX: usize = 8;

/// An object that comes in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assembly {
    /// Its id.
    pub id: ObjectUid,
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// What its application says of it. Its size is not known yet.
    pub facts: ObjectFacts,
    /// When it began.
    pub begun_at: Timestamp,
    /// Who began it.
    pub actor: String,
    /// What whoever began it wants to know again.
    #[serde(default)]
    pub wishes: BTreeMap<String, String>,
}

/// A piece that is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its number: pieces stand in the sequence of those.
    pub number: u32,
    /// Its sealing.
    pub uid: ObjectUid,
    /// Bytes of plaintext.
    pub size: u64,
    /// When it was whole.
    pub came_at: Timestamp,
    /// What whoever wrote it wants to know again.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// A piece that is being written.
#[derive(Debug)]
pub struct NewPiece {
    /// Takes its bytes.
    pub writer: ObjectWriter,
    number: u32,
    id: ObjectUid,
    unkept: Unkept,
}

/// A piece that is given up when this is dropped: whoever wrote it is gone, and nobody goes
/// on with it.
struct Unkept(Option<Arc<UploadState>>);

impl fmt::Debug for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unkept")
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        if let Some(state) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Some(staged) = state.body.staged()
                    && let Err(error) = state.core.give_up(staged).await
                {
                    tracing::warn!(file = %staged.name, %error, "a piece was not removed");
                }
            });
        }
    }
}

fn assemblies(bucket: &BucketName) -> String {
    format!("assembly{SEPARATOR}{bucket}{SEPARATOR}")
}

fn assembly_note(bucket: &BucketName, key: &ObjectKey, id: ObjectUid) -> String {
    format!("{}{key}{SEPARATOR}{id}", assemblies(bucket))
}

fn pieces(id: ObjectUid) -> String {
    format!("piece{SEPARATOR}{id}{SEPARATOR}")
}

fn piece_note(id: ObjectUid, number: u32) -> String {
    format!("{}{number:05}", pieces(id))
}

fn json<T: Serialize>(what: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(what).map_err(|_| ArchiveError::Misuse("not to be written as JSON"))
}

/// What a note says, unless it is another program's.
fn said<T: for<'a> Deserialize<'a>>(note: Note) -> Option<T> {
    serde_json::from_slice(&note.bytes?).ok()
}

impl Archive {
    /// Begins an object that will come in pieces: durable when this returns.
    ///
    /// # Errors
    /// [`ArchiveError::TooManyAssemblies`]; [`ArchiveError::Facts`]; what the catalog says.
    pub async fn begin_assembly(
        &self,
        actor: &str,
        bucket: &BucketName,
        key: &ObjectKey,
        facts: ObjectFacts,
        wishes: BTreeMap<String, String>,
    ) -> Result<Assembly> {
        let core = &self.core;
        core.key_of(bucket)?;
        facts.check().map_err(ArchiveError::Facts)?;
        let prefix = format!("assembly{SEPARATOR}");
        if core
            .catalog
            .notes(&prefix, None, ASSEMBLIES_MAX)
            .await?
            .len()
            >= ASSEMBLIES_MAX
        {
            let allowed = ASSEMBLIES_MAX;
            return Err(ArchiveError::TooManyAssemblies { allowed });
        }
        let assembly = Assembly {
            id: ObjectUid::random(&*core.rng),
            bucket: bucket.clone(),
            key: key.clone(),
            facts,
            begun_at: core.clock.now(),
            actor: actor.to_owned(),
            wishes,
        };
        let name = assembly_note(bucket, key, assembly.id);
        let note = Note::kept(name, json(&assembly)?);
        core.catalog.put_notes(vec![note]).await?;
        Ok(assembly)
    }

    /// One that was begun and not ended.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn assembly(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        id: ObjectUid,
    ) -> Result<Option<Assembly>> {
        let name = assembly_note(bucket, key, id);
        Ok(self.core.catalog.note(&name).await?.and_then(said))
    }

    /// All of a bucket, by key and id, after one of them.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn assemblies(
        &self,
        bucket: &BucketName,
        after: Option<(&ObjectKey, Option<ObjectUid>)>,
        limit: usize,
    ) -> Result<Vec<Assembly>> {
        let prefix = assemblies(bucket);
        // Behind all of a key is what is behind its highest id.
        let last = ObjectUid([0xff; 16]);
        let after = after.map(|(key, id)| assembly_note(bucket, key, id.unwrap_or(last)));
        let notes = self.core.catalog.notes(&prefix, after.as_deref(), limit);
        Ok(notes.await?.into_iter().filter_map(said).collect())
    }

    /// The pieces of one, by number, above this one.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn pieces(&self, id: ObjectUid, above: u32, limit: usize) -> Result<Vec<Piece>> {
        let after = piece_note(id, above);
        let prefix = pieces(id);
        let notes = self.core.catalog.notes(&prefix, Some(&after), limit);
        Ok(notes.await?.into_iter().filter_map(said).collect())
    }

    /// Begins piece `number` of `size` bytes. One of that number that is there already stays
    /// until this one is kept; one that is dropped instead leaves nothing.
    ///
    /// # Errors
    /// [`ArchiveError::TooManyUploads`]; as [`begin`](Self::begin).
    pub async fn begin_piece(
        &self,
        assembly: &Assembly,
        number: u32,
        size: u64,
    ) -> Result<NewPiece> {
        if !(1..=PIECE_NUMBER_MAX).contains(&number) || size > PIECE_BYTES_MAX {
            return Err(ArchiveError::Misuse("an object has no such piece"));
        }
        let upload = Upload::begin_piece(&self.core, assembly, size).await?;
        Ok(NewPiece {
            unkept: Unkept(Some(upload.state.clone())),
            writer: ObjectWriter::new(Box::new(upload)),
            number,
            id: assembly.id,
        })
    }

    /// Keeps a piece that is whole: durable when this returns.
    ///
    /// # Errors
    /// [`ArchiveError::PartsMissing`]; what store and catalog say. The piece is gone then.
    pub async fn keep_piece(
        &self,
        mut piece: NewPiece,
        facts: BTreeMap<String, String>,
    ) -> Result<Piece> {
        let core = &self.core;
        piece.writer.complete().await?;
        let upload = piece.writer.into_upload();
        core.record_all(&upload.state).await?;
        let kept = Piece {
            number: piece.number,
            uid: upload.state.uid,
            size: upload.size(),
            came_at: core.clock.now(),
            facts,
        };
        let name = piece_note(piece.id, piece.number);
        let before: Option<Piece> = core.catalog.note(&name).await?.and_then(said);
        let note = Note::kept(name, json(&kept)?);
        core.catalog.put_notes(vec![note]).await?;
        piece.unkept.0 = None;
        if let Some(before) = before {
            core.drop_piece(before.uid).await?;
        }
        Ok(kept)
    }

    /// Ends an assembly, put together or not: its pieces go.
    ///
    /// # Errors
    /// What store and catalog say; whatever is left goes with the next sweep.
    pub async fn end_assembly(&self, assembly: &Assembly) -> Result<()> {
        self.core.end_assembly(assembly).await
    }
}

impl Upload {
    /// A piece: with a row, of whatever size, as it has to outlive this process.
    async fn begin_piece(core: &Arc<Core>, assembly: &Assembly, size: u64) -> Result<Self> {
        let name = VersionName {
            bucket: assembly.bucket.clone(),
            key: assembly.key.clone(),
            version: VersionId::new(assembly.id.to_string()).map_err(ArchiveError::Facts)?,
        };
        let facts = ObjectFacts {
            size,
            ..ObjectFacts::default()
        };
        let origin = Identity::pieces_of(&core.region);
        let offer = core.offer_of(&assembly.actor, name, ChangeKind::Put, facts, origin);
        let claim = core
            .claim(reserve::sealed_bytes(size, offer.part_size))
            .await?;
        let counted = core.open_file(&offer.origin)?.into();
        let uid = ObjectUid::random(&*core.rng);
        core.uploads
            .admit_below(&offer.origin, uid, size, PIECES_MAX)?;
        match UploadState::begin_kept(core, &offer, uid, counted).await {
            // The quota of the bucket is held for what the pieces are put together to.
            Ok(state) => Ok(Self::of(Arc::new(state), offer, claim, None)),
            Err(error) => {
                let whose = (offer.origin, offer.change.name);
                core.uploads.ended(&whose, uid);
                Err(error)
            }
        }
    }
}

impl Core {
    /// Makes a whole upload durable: what its recorder has not come to, too.
    async fn record_all(&self, state: &Arc<UploadState>) -> Result<()> {
        let staged = state.body.staged();
        let staged = staged.ok_or(ArchiveError::Misuse("not in a file"))?;
        for _ in 0..RECORDINGS_MAX {
            // What is being recorded is waited for.
            drop(staged.recording.lock().await);
            let rest: Vec<recorder::Part> = {
                let parts = state.parts.lock();
                let done = parts.slots.iter();
                let done = done.filter_map(|(index, slot)| Some((*index, slot.done?)));
                done.map(|(index, part)| recorder::Part::new(state, index, part))
                    .collect()
            };
            if staged.has_ended() {
                break;
            }
            if rest.is_empty() {
                let parts = state.parts.lock();
                let is_all = (0..state.part_count).all(|index| parts.is_recorded(index));
                return match is_all {
                    true => Ok(()),
                    false => Err(ArchiveError::Abandoned),
                };
            }
            self.record_parts(vec![rest]).await;
        }
        Err(ArchiveError::Abandoned)
    }

    async fn end_assembly(&self, assembly: &Assembly) -> Result<()> {
        let (id, note) = (assembly.id, |name| Note::forgotten(name));
        // Without this one there are no more pieces of it.
        let first = note(assembly_note(&assembly.bucket, &assembly.key, id));
        self.catalog.put_notes(vec![first]).await?;
        loop {
            let prefix = pieces(id);
            let notes = self.catalog.notes(&prefix, None, PAGE_ROWS).await?;
            if notes.is_empty() {
                return Ok(());
            }
            let names: Vec<Note> = notes.iter().map(|kept| note(kept.name.clone())).collect();
            for piece in notes.into_iter().filter_map(said::<Piece>) {
                self.drop_piece(piece.uid).await?;
            }
            self.catalog.put_notes(names).await?;
        }
    }

    async fn drop_piece(&self, uid: ObjectUid) -> Result<()> {
        match self.catalog.upload(uid).await? {
            Some(row) => self.remove_upload(&row).await,
            None => Ok(()),
        }
    }
}
