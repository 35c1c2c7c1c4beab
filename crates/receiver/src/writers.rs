//! What one link is writing: open parts, and the small object that is coming.

use std::collections::HashMap;

use sealift_archive::{ArchiveError, PartWriter, Upload};
use sealift_terms::PartIndex;
use sealift_wire::OfferId;

use crate::patience::{Patience, Progress};

/// A small object whose bytes come behind its offer.
#[derive(Debug)]
pub(crate) struct Inline {
    pub(crate) offer: OfferId,
    pub(crate) upload: Upload,
    /// None for a change without bytes.
    pub(crate) writer: Option<PartWriter>,
    /// The checksum announced for the bytes.
    pub(crate) crc64: u64,
    pub(crate) progress: Progress,
}

#[derive(Debug)]
struct OpenPart {
    writer: PartWriter,
    progress: Progress,
}

/// The writers of one link.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    parts: HashMap<(OfferId, PartIndex), OpenPart>,
    pub(crate) inline: Option<Inline>,
}

impl Writers {
    /// Keeps the writer of a part that begins.
    pub(crate) fn begin(&mut self, offer: OfferId, part: PartIndex, writer: PartWriter) {
        let progress = Progress::default();
        self.parts
            .insert((offer, part), OpenPart { writer, progress });
    }

    /// Takes a piece of a part.
    pub(crate) async fn write_part(
        &mut self,
        offer: OfferId,
        part: PartIndex,
        bytes: &[u8],
    ) -> Result<(), ArchiveError> {
        match self.parts.get_mut(&(offer, part)) {
            Some(open) => {
                open.progress.came(bytes.len());
                open.writer.write(bytes).await
            }
            // It failed before: the offer was refused then.
            None => Ok(()),
        }
    }

    /// Takes a piece of a small object.
    pub(crate) async fn write_inline(
        &mut self,
        offer: OfferId,
        bytes: &[u8],
    ) -> Result<(), ArchiveError> {
        match self.inline.as_mut().filter(|inline| inline.offer == offer) {
            Some(Inline {
                writer: Some(writer),
                progress,
                ..
            }) => {
                progress.came(bytes.len());
                writer.write(bytes).await
            }
            _ => Ok(()),
        }
    }

    /// Takes the writer of a part that is all here.
    pub(crate) fn take_part(&mut self, offer: OfferId, part: PartIndex) -> Option<PartWriter> {
        self.parts.remove(&(offer, part)).map(|open| open.writer)
    }

    /// Leaves all parts: what came of them is kept for another link.
    pub(crate) async fn leave_parts(&mut self) {
        for (_, open) in self.parts.drain() {
            open.writer.leave().await;
        }
    }

    /// Lets go of what belongs to offers that are over.
    pub(crate) fn keep_only(&mut self, is_open: impl Fn(OfferId) -> bool) {
        self.parts.retain(|(offer, _), _| is_open(*offer));
        self.inline.take_if(|inline| !is_open(inline.offer));
    }

    /// Passes a tick; the offers of which too little came for too long.
    pub(crate) fn tick(&mut self, patience: &Patience) -> Vec<OfferId> {
        let mut slow = Vec::new();
        for ((offer, _), open) in &mut self.parts {
            if open.progress.tick(patience) {
                slow.push(*offer);
            }
        }
        if let Some(inline) = &mut self.inline
            && inline.progress.tick(patience)
        {
            slow.push(inline.offer);
        }
        slow
    }
}

/// Begins a part of the length that the object's size makes it have, or goes on with it
/// behind its first `from` bytes.
pub(crate) async fn begin_part(
    upload: &Upload,
    part: PartIndex,
    from: u32,
) -> Result<PartWriter, ArchiveError> {
    let bytes = upload
        .part_size()
        .part_bytes(upload.size(), part)
        .unwrap_or_default();
    match from {
        0 => upload.part(part, bytes).await,
        from => upload.part_from(part, bytes, from).await,
    }
}
