//! What a link needs to take compressed frames: nothing, until one comes.

use sealift_wire::{Unpacker, WireError};

/// A decompressor and one frame's bytes (at most a mebibyte) for each link that needs
/// them; let go of when none came for a while.
#[derive(Debug, Default)]
pub(crate) struct Unpacking {
    unpacker: Option<Unpacker>,
    spare: Vec<u8>,
    used: bool,
}

impl Unpacking {
    /// The bytes in a compressed frame, never more than it announced. None when there is
    /// no memory to decompress.
    pub(crate) fn unpack(&mut self, payload: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        self.used = true;
        if self.unpacker.is_none() {
            self.unpacker = Unpacker::new();
        }
        let Some(unpacker) = &mut self.unpacker else {
            return Ok(None);
        };
        let mut bytes = std::mem::take(&mut self.spare);
        unpacker.unpack(payload, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Takes the buffer back.
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        self.spare = bytes;
    }

    /// Passes a tick.
    pub(crate) fn tick(&mut self) {
        if !std::mem::take(&mut self.used) {
            *self = Self::default();
        }
    }
}
