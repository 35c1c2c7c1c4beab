//! What one link is writing: open parts, and the small object that is coming.

use std::{collections::HashMap, sync::Arc};

use sealift_archive::{ArchiveError, PartWriter, Upload};
use sealift_terms::PartIndex;
use sealift_wire::OfferId;

/// A small object whose bytes come behind its offer.
#[derive(Debug)]
pub(crate) struct Inline {
    pub(crate) offer: OfferId,
    pub(crate) upload: Upload,
    /// None for a change without bytes.
    pub(crate) writer: Option<PartWriter>,
    /// The checksum announced for the bytes.
    pub(crate) crc64: u64,
}

/// The writers of one link.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    parts: HashMap<(OfferId, PartIndex), PartWriter>,
    pub(crate) inline: Option<Inline>,
}

impl Writers {
    /// Takes a piece of a part; `upload` is asked for when the part begins.
    pub(crate) async fn write_part(
        &mut self,
        offer: OfferId,
        part: PartIndex,
        begins: Option<Arc<Upload>>,
        bytes: &[u8],
    ) -> Result<(), ArchiveError> {
        if let Some(upload) = begins {
            let writer = begin_part(&upload, part).await?;
            self.parts.insert((offer, part), writer);
        }
        match self.parts.get_mut(&(offer, part)) {
            Some(writer) => writer.write(bytes).await,
            // It failed before: the offer was refused then.
            None => Ok(()),
        }
    }

    /// Takes the writer of a part that is all here.
    pub(crate) fn take_part(&mut self, offer: OfferId, part: PartIndex) -> Option<PartWriter> {
        self.parts.remove(&(offer, part))
    }

    /// Lets go of what belongs to offers that are over.
    pub(crate) fn keep_only(&mut self, is_open: impl Fn(OfferId) -> bool) {
        self.parts.retain(|(offer, _), _| is_open(*offer));
        self.inline.take_if(|inline| !is_open(inline.offer));
    }
}

/// Begins a part of the length that the object's size makes it have.
pub(crate) async fn begin_part(
    upload: &Upload,
    part: PartIndex,
) -> Result<PartWriter, ArchiveError> {
    let bytes = upload
        .part_size()
        .part_bytes(upload.size(), part)
        .unwrap_or_default();
    upload.part(part, bytes).await
}
