//! What nobody puts together goes in its time.

use std::collections::HashSet;

use sealift_terms::{AuditKind, AuditRecord, ObjectUid, Timestamp};

use super::{Assembly, Piece, SEPARATOR, pieces, said};
use crate::{Result, archive::Core, limits::PAGE_ROWS};

impl Core {
    /// Ends and reports what no piece came of since then.
    pub(crate) async fn sweep_assemblies(&self, idle_since: Timestamp) -> Result<u64> {
        let mut swept = 0;
        let prefix = format!("assembly{SEPARATOR}");
        let mut after = None;
        loop {
            let page = self
                .catalog
                .notes(&prefix, after.as_deref(), PAGE_ROWS)
                .await?;
            let Some(last) = page.last() else {
                return Ok(swept);
            };
            after = Some(last.name.clone());
            for assembly in page.into_iter().filter_map(said::<Assembly>) {
                if assembly.begun_at > idle_since || self.last_came(&assembly).await? > idle_since {
                    continue;
                }
                self.end_assembly(&assembly).await?;
                swept += 1;
                tracing::warn!(bucket = %assembly.bucket, key = %assembly.key,
                    "an unfinished upload without progress was deleted");
                let record = AuditRecord::new(self.clock.now(), AuditKind::UploadExpired, "agent")
                    .with("bucket", &assembly.bucket)
                    .with("key", &assembly.key)
                    .with("version", assembly.id)
                    .with("origin", &assembly.actor);
                self.audit.record(record)?;
            }
        }
    }

    async fn last_came(&self, assembly: &Assembly) -> Result<Timestamp> {
        let (mut last, mut after) = (assembly.begun_at, None);
        loop {
            let prefix = pieces(assembly.id);
            let page = self
                .catalog
                .notes(&prefix, after.as_deref(), PAGE_ROWS)
                .await?;
            let Some(note) = page.last() else {
                return Ok(last);
            };
            after = Some(note.name.clone());
            let came = page.into_iter().filter_map(said::<Piece>);
            last = came.map(|piece| piece.came_at).fold(last, Ord::max);
        }
    }

    /// The sealings that are pieces of something.
    pub(crate) async fn pieces_in_use(&self) -> Result<HashSet<ObjectUid>> {
        let prefix = format!("piece{SEPARATOR}");
        let (mut found, mut after) = (HashSet::new(), None);
        loop {
            let page = self
                .catalog
                .notes(&prefix, after.as_deref(), PAGE_ROWS)
                .await?;
            let Some(note) = page.last() else {
                return Ok(found);
            };
            after = Some(note.name.clone());
            let pieces = page.into_iter().filter_map(said::<Piece>);
            found.extend(pieces.map(|piece| piece.uid));
        }
    }
}
