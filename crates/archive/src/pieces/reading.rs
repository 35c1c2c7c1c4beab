//! Reading a piece again, to put it where it belongs.

use std::{fmt, io, sync::Arc};

use sealift_ledger::{UploadPart, UploadRow};
use sealift_seal::ObjectSealer;
use sealift_store::{StoreError, StoreFile, StoreName};
use sealift_terms::PartIndex;

use super::{Assembly, Piece};
use crate::{
    Archive, ArchiveError, Result, layers::commitments_of, limits::PAGE_ROWS, read::StagedBytes,
};

/// A piece, opened. Reading blocks.
pub struct PieceReader {
    sealer: ObjectSealer,
    file: Arc<dyn StoreFile>,
    row: UploadRow,
    parts: Vec<UploadPart>,
}

impl fmt::Debug for PieceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PieceReader({})", self.row.uid)
    }
}

impl Archive {
    /// Opens a piece of an assembly.
    ///
    /// # Errors
    /// [`ArchiveError::Abandoned`] when it is gone; a key that cannot be used; what store and
    /// catalog say.
    pub async fn open_piece(&self, assembly: &Assembly, piece: &Piece) -> Result<PieceReader> {
        let core = &self.core;
        let row = core.catalog.upload(piece.uid).await?;
        let row =
            row.filter(|row| row.name.bucket == assembly.bucket && row.facts.size == piece.size);
        let row = row.ok_or(ArchiveError::Abandoned)?;
        let mut parts: Vec<UploadPart> = Vec::new();
        let count = row.part_size.parts_of(piece.size).unwrap_or(0);
        while let Some(from) = u32::try_from(parts.len()).ok().filter(|from| *from < count) {
            let page = core
                .catalog
                .parts(row.uid, PartIndex(from), PAGE_ROWS)
                .await?;
            let follow = page
                .iter()
                .zip(from..)
                .all(|(part, index)| part.index.0 == index);
            if page.is_empty() || !follow {
                return Err(ArchiveError::Abandoned);
            }
            parts.extend(page);
        }
        let open = core.open_layers(row.records(), &row.name.bucket).await?;
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        let file = core.store.reopen(&name).await?;
        let header = open.header(row.part_size, row.uid);
        Ok(PieceReader {
            sealer: ObjectSealer::new(open.keys(), header)?,
            file,
            row,
            parts,
        })
    }
}

impl PieceReader {
    /// Hands its plaintext to `sink` in runs, in order. Every run is authentic; after an
    /// error what came before is not the whole piece.
    ///
    /// # Errors
    /// [`ArchiveError::Seal`].
    pub fn read(&self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<()> {
        let bytes = StagedBytes(&*self.file);
        for part in &self.parts {
            let len = self.row.part_size;
            let len = len.part_bytes(self.row.facts.size, part.index);
            let len = len.ok_or(ArchiveError::Misuse("the piece has no such part"))?;
            let commitments = commitments_of(part);
            self.sealer
                .open_part(&bytes, part.index, len, &commitments, &mut sink)?;
        }
        Ok(())
    }
}
