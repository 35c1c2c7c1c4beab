//! A sealed object: the five steps of opening, in the order of the page.

use subtle::ConstantTimeEq as _;

use super::{
    Refused, bytes_at, crc32c, demand,
    message::{CHUNK, Message, expand, plain_len, sealed_len},
    meta::Meta,
};

const HEADER: usize = 96;
const FOOTER: usize = 32;
const PARTS_MAX: u64 = 1 << 20;
const JSON_MAX: u64 = 65_536;

/// What a catalog knows of the version that is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) uid: [u8; 16],
    pub(crate) record: [u8; 16],
    /// Bucket, key and version.
    pub(crate) name: [&'a str; 3],
}

/// An object of which header, footer and META are opened.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    stored: &'a [u8],
    key: [u8; 32],
    part_size: u64,
    last_part: u64,
    commitments: Vec<[u8; 32]>,
    meta: Meta,
}

impl<'a> Object<'a> {
    /// Opens what a reader without a catalog found, the checks against one left out.
    pub(crate) fn unlisted(stored: &'a [u8], record_key: &[u8; 32]) -> Result<Self, Refused> {
        Self::open(stored, record_key, None)
    }

    pub(crate) fn listed(
        stored: &'a [u8],
        record_key: &[u8; 32],
        wanted: &Wanted<'_>,
    ) -> Result<Self, Refused> {
        Self::open(stored, record_key, Some(wanted))
    }

    fn open(
        stored: &'a [u8],
        record_key: &[u8; 32],
        wanted: Option<&Wanted<'_>>,
    ) -> Result<Self, Refused> {
        // Step 1: the header, before any key is used.
        demand(stored.len() >= 308, "fewer than 308 bytes")?;
        let header: [u8; HEADER] = bytes_at(stored, 0)?;
        let part_size = u64::from(u32::from_be_bytes(bytes_at(&header, 12)?));
        let uid: [u8; 16] = bytes_at(&header, 16)?;
        let record: [u8; 16] = bytes_at(&header, 32)?;
        demand(&header[..8] == b"\x89SLF\r\n\x1a\n", "the header's magic")?;
        demand(header[8] == 1, "the version")?;
        demand(header[9] == 1, "the suite")?;
        demand(header[10..12] == [0, 0], "the flags")?;
        demand(
            part_size.is_multiple_of(CHUNK) && (65_536..=67_108_864).contains(&part_size),
            "the part size",
        )?;
        demand(header[48..64] == [0; 16], "a second record id")?;
        if let Some(wanted) = wanted {
            demand(uid == wanted.uid, "another object")?;
            demand(record == wanted.record, "another key record")?;
        }

        // Step 2: the key.
        let key = object_key(record_key, &uid);
        let tag = header_tag(&key, &header);
        demand(bool::from(tag.ct_eq(&header[64..])), "the header tag")?;

        // Step 3: the footer.
        let footer: [u8; FOOTER] = bytes_at(stored, stored.len() - FOOTER)?;
        let number_at = |at| bytes_at(&footer, at).map(u64::from_be_bytes);
        let (meta_at, meta_len, parts) = (number_at(0)?, number_at(8)?, number_at(16)?);
        demand(&footer[28..] == b"SLFE", "the footer's magic")?;
        let crc = u32::from_be_bytes(bytes_at(&footer, 24)?);
        demand(crc32c(&footer[..24]) == crc, "the footer's CRC")?;
        demand(
            meta_at
                .checked_add(meta_len)
                .and_then(|end| end.checked_add(FOOTER as u64))
                == Some(stored.len() as u64),
            "the footer's lengths",
        )?;
        demand((1..=PARTS_MAX).contains(&parts), "the number of parts")?;
        let meta_plain = plain_len(meta_len)?;
        demand(
            (4 + 32 * parts..=4 + JSON_MAX + 32 * parts).contains(&meta_plain),
            "META's length",
        )?;
        let last_part = meta_at
            .checked_sub(HEADER as u64 + (parts - 1) * sealed_len(part_size))
            .ok_or(Refused("no room for the parts"))
            .and_then(plain_len)?;
        demand(last_part < part_size, "the last part's length")?;

        // Step 4: META.
        let context = [
            b"sealift/v1 meta\0",
            header.as_slice(),
            &parts.to_be_bytes(),
        ]
        .concat();
        let meta = &stored[meta_at as usize..stored.len() - FOOTER];
        let plain = Message::new(meta, &key, &context)?.whole()?;
        let json_len = u64::from(u32::from_be_bytes(bytes_at(&plain, 0)?));
        demand(
            4 + json_len + 32 * parts == plain.len() as u64,
            "META is not filled exactly",
        )?;
        let (json, commitments) = plain[4..].split_at(json_len as usize);
        let meta = Meta::parse(json)?;
        demand(
            meta.size == (parts - 1) * part_size + last_part,
            "META's size",
        )?;
        if let Some(wanted) = wanted {
            demand(
                [&meta.bucket, &meta.key, &meta.version] == wanted.name,
                "another version",
            )?;
        }
        let commitments = commitments
            .chunks_exact(32)
            .map(|entry| bytes_at(entry, 0))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            stored,
            key,
            part_size,
            last_part,
            commitments,
            meta,
        })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The whole plaintext, the last chunk of every part included.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Refused> {
        let mut plain = Vec::new();
        for index in 0..self.commitments.len() as u64 {
            plain.extend(self.part(index)?.whole()?);
        }
        demand(plain.len() as u64 == self.meta.size, "the plaintext's size")?;
        Ok(plain)
    }

    /// The bytes from `from` up to `to`, from the chunks that they touch.
    pub(crate) fn read_range(&self, from: u64, to: u64) -> Result<Vec<u8>, Refused> {
        demand(from <= to && to <= self.meta.size, "no such range")?;
        let mut plain = Vec::new();
        let mut at = from;
        while at < to {
            let part = at / self.part_size;
            let within = at % self.part_size;
            let chunk = self.part(part)?.chunk(within / CHUNK)?;
            let skip = within % CHUNK;
            let take = (chunk.len() as u64 - skip).min(to - at);
            plain.extend(&chunk[skip as usize..(skip + take) as usize]);
            at += take;
        }
        Ok(plain)
    }

    /// Step 5: a part is the one that META commits to.
    fn part(&self, index: u64) -> Result<Message<'_>, Refused> {
        let full = sealed_len(self.part_size);
        let begin = (HEADER as u64 + index * full) as usize;
        let last = index + 1 == self.commitments.len() as u64;
        let len = if last {
            sealed_len(self.last_part)
        } else {
            full
        };
        let sealed = &self.stored[begin..begin + len as usize];
        let context = part_context(&self.stored[..HEADER], index);
        let message = Message::new(sealed, &self.key, &context)?;
        let entry = self.commitments[index as usize];
        demand(
            bool::from(message.commitment().ct_eq(&entry)),
            "a part that META does not have",
        )?;
        Ok(message)
    }
}

pub(crate) fn object_key(record_key: &[u8; 32], uid: &[u8; 16]) -> [u8; 32] {
    expand(record_key, &[b"sealift/v1 object\0", uid])
}

pub(crate) fn header_tag(object_key: &[u8; 32], header: &[u8]) -> [u8; 32] {
    expand(object_key, &[b"sealift/v1 header\0", &header[..64]])
}

pub(crate) fn part_context(header: &[u8], index: u64) -> Vec<u8> {
    [b"sealift/v1 part\0", header, &index.to_be_bytes()].concat()
}
