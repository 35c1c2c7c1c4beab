//! META as it is stored: its JSON is opened at once, the commitments behind it
//! chunk by chunk when they are asked for, so that an object of a million parts
//! takes no more memory than one of a single part.

use crate::{
    cipher::ObjectCipher,
    cobblestone::CHUNK,
    error::{Damage, SealError},
    fields::Fields,
    footer::Footer,
    layers::{Commitments, Layers},
    layout::Layout,
    part_reader::{open_run, read_prefix},
    read::ReadAt,
};

/// Bytes of the longest entry.
const ENTRY_BYTES_MAX: usize = 64;

/// META of an opened object.
#[derive(Debug)]
pub(crate) struct Table {
    message: Layers,
    /// Where META's first chunk begins in the object.
    body: u64,
    plain_len: u64,
    /// The plaintext of the chunks that hold the JSON.
    head: Vec<u8>,
    json_len: usize,
}

/// One chunk of META beyond the head, kept between look-ups.
pub(crate) type Kept = Option<(u64, Vec<u8>)>;

impl Table {
    /// Opens the JSON's chunks and the last one, which proves the length.
    pub(crate) fn open(
        reader: &dyn ReadAt,
        cipher: &ObjectCipher,
        footer: &Footer,
        layout: Layout,
    ) -> Result<Self, SealError> {
        let suite = layout.suite();
        let (salts, stored) =
            read_prefix(reader, suite, footer.meta_offset)?.ok_or(Damage::MetaCommitment)?;
        let message = cipher.meta(footer.parts, &salts)?;
        if !stored.matches(&message.commitments()) {
            return Err(Damage::MetaCommitment.into());
        }
        let plain_len = suite.message_plain_len(footer.meta_len);
        let mut table = Self {
            message,
            body: footer.meta_offset + suite.prefix(),
            plain_len: plain_len.ok_or(Damage::Meta("its length"))?,
            head: Vec::new(),
            json_len: footer.json_len(layout)?,
        };
        let (json_end, last) = ((table.json_len as u64 + 3) / CHUNK, table.plain_len / CHUNK);
        table.head = table.chunks(reader, 0, json_end)?;
        if last > json_end {
            table.chunks(reader, last, last)?;
        }
        if Fields(&table.head).u32().map(|len| len as usize) != Some(table.json_len) {
            return Err(Damage::Meta("length of the JSON differs").into());
        }
        Ok(table)
    }

    /// The JSON.
    pub(crate) fn json(&self) -> &[u8] {
        self.head.get(4..4 + self.json_len).unwrap_or_default()
    }

    /// The commitments of a part.
    pub(crate) fn commitments(
        &self,
        reader: &dyn ReadAt,
        part: u32,
        kept: &mut Kept,
    ) -> Result<Commitments, SealError> {
        let short = Damage::Meta("too short for its parts");
        let suite = self.message.suite();
        let start = 4 + self.json_len as u64 + suite.entry() * u64::from(part);
        let mut entry = [0; ENTRY_BYTES_MAX];
        let len = usize::try_from(suite.entry()).map_err(|_| SealError::Cipher)?;
        let entry = entry.get_mut(..len).ok_or(SealError::Cipher)?;
        let mut filled = 0;
        // An entry may lie across two chunks.
        while let Some(to) = entry.get_mut(filled..).filter(|to| !to.is_empty()) {
            let from = self.plain_at(reader, start + filled as u64, kept)?;
            let count = from.len().min(to.len());
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
            if count == 0 {
                return Err(short.into());
            }
            filled += count;
        }
        Ok(Commitments::read(suite, entry).ok_or(short)?)
    }

    /// Opens every chunk of META.
    pub(crate) fn verify(&self, reader: &dyn ReadAt) -> Result<(), SealError> {
        (0..=self.plain_len / CHUNK)
            .try_for_each(|chunk| self.chunks(reader, chunk, chunk).map(drop))
    }

    /// Plaintext of META from `at` to the end of its chunk.
    fn plain_at<'a>(
        &'a self,
        reader: &dyn ReadAt,
        at: u64,
        kept: &'a mut Kept,
    ) -> Result<&'a [u8], SealError> {
        let within = |bytes: &'a [u8], start: u64| {
            usize::try_from(at - start)
                .ok()
                .and_then(|at| bytes.get(at..))
                .unwrap_or_default()
        };
        if at < self.head.len() as u64 {
            return Ok(within(&self.head, 0));
        }
        let chunk = at / CHUNK;
        if kept.as_ref().is_none_or(|(kept, _)| *kept != chunk) {
            *kept = Some((chunk, self.chunks(reader, chunk, chunk)?));
        }
        let bytes = kept.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        Ok(within(bytes, chunk * CHUNK))
    }

    /// Opens the chunks from `first` to `last`, both included.
    fn chunks(&self, reader: &dyn ReadAt, first: u64, last: u64) -> Result<Vec<u8>, SealError> {
        let suite = self.message.suite();
        let body_len = suite.body_len(self.plain_len);
        let from = first * suite.sealed_chunk();
        let to = ((last + 1) * suite.sealed_chunk()).min(body_len);
        let len = usize::try_from(to.saturating_sub(from)).map_err(|_| SealError::Cipher)?;
        let mut bytes = vec![0; len];
        reader
            .read_exact_at(&mut bytes, self.body + from)
            .map_err(SealError::Read)?;
        let plain = open_run(&self.message, first, &mut bytes)
            .map_err(|chunk| Damage::MetaChunk { chunk })?;
        bytes.truncate(plain);
        Ok(bytes)
    }
}
