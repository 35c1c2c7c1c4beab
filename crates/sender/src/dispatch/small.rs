//! Compresses small objects, whose bytes travel behind their offers.

use sealift_wire::{FRAME_HEADER_BYTES, Header, Packer};

use crate::press::{Press, Taste};

/// What one link needs for it.
#[derive(Default)]
pub(super) struct Small {
    packer: Option<Packer>,
    /// Over objects: most small ones of a source are of a kind.
    taste: Taste,
}

impl Small {
    /// The compressed bytes, if they are worth it; `out` then ends with the header of
    /// these instead of that of the plain bytes.
    pub(super) fn pack(
        &mut self,
        press: &Press,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Vec<u8>> {
        if !self.taste.wants() {
            return None;
        }
        let at = out.len().checked_sub(FRAME_HEADER_BYTES)?;
        let header = Header::decode(out.get(at..)?).ok()?;
        let mut packed = Vec::new();
        let shorter = press.pack(&mut self.packer, content, &mut packed);
        self.taste.found(shorter);
        if !shorter {
            return None;
        }
        let header = header.packed(u32::try_from(packed.len()).ok()?);
        out.truncate(at);
        out.extend_from_slice(&header.encode());
        Some(packed)
    }
}
