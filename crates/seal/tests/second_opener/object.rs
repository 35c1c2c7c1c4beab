//! A sealed object: the five steps of opening, in the order of the page.

use subtle::ConstantTimeEq as _;

use super::{
    Refused, bytes_at, crc32c, demand,
    message::{CHUNK, Context, Message, ObjectKeys, expand, plain_len, sealed_len},
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
    /// Zeros of an object in one layer.
    pub(crate) second: [u8; 16],
    /// Bucket, key and version.
    pub(crate) name: [&'a str; 3],
}

/// An object of which header, footer and META are opened.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    stored: &'a [u8],
    keys: ObjectKeys,
    part_size: u64,
    last_part: u64,
    /// What META says of each part: a commitment a layer.
    entries: Vec<Vec<u8>>,
    meta: Meta,
}

impl<'a> Object<'a> {
    /// Opens what a reader without a catalog found, the checks against one left out.
    pub(crate) fn unlisted(stored: &'a [u8], record_key: &[u8; 32]) -> Result<Self, Refused> {
        Self::open(stored, &[*record_key], None)
    }

    /// The same, with as many record keys as there are layers.
    pub(crate) fn unlisted_under(
        stored: &'a [u8],
        record_keys: &[[u8; 32]],
    ) -> Result<Self, Refused> {
        Self::open(stored, record_keys, None)
    }

    pub(crate) fn listed(
        stored: &'a [u8],
        record_keys: &[[u8; 32]],
        wanted: &Wanted<'_>,
    ) -> Result<Self, Refused> {
        Self::open(stored, record_keys, Some(wanted))
    }

    fn open(
        stored: &'a [u8],
        record_keys: &[[u8; 32]],
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
        let layers = match header[9] {
            1 => 1,
            2 => 2,
            _ => return Err(Refused("the suite")),
        };
        demand(layers == 1 || stored.len() >= 484, "fewer than 484 bytes")?;
        demand(header[10..12] == [0, 0], "the flags")?;
        demand(
            part_size.is_multiple_of(CHUNK) && (65_536..=67_108_864).contains(&part_size),
            "the part size",
        )?;
        let second: [u8; 16] = bytes_at(&header, 48)?;
        demand((second == [0; 16]) == (layers == 1), "a second record id")?;
        demand(
            layers == 1 || second != record,
            "one record for both layers",
        )?;
        if let Some(wanted) = wanted {
            demand(uid == wanted.uid, "another object")?;
            demand(record == wanted.record, "another key record")?;
            demand(second == wanted.second, "another second record")?;
        }

        // Step 2: the keys.
        demand(record_keys.len() as u64 == layers, "not a key a layer")?;
        let keys = object_keys(record_keys, &uid);
        let tag = header_tag(&keys, &header);
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
        let meta_plain = plain_len(layers, meta_len)?;
        let entry = 32 * layers;
        demand(
            (4 + entry * parts..=4 + JSON_MAX + entry * parts).contains(&meta_plain),
            "META's length",
        )?;
        let last_part = meta_at
            .checked_sub(HEADER as u64 + (parts - 1) * sealed_len(layers, part_size))
            .ok_or(Refused("no room for the parts"))
            .and_then(|len| plain_len(layers, len))?;
        demand(last_part < part_size, "the last part's length")?;

        // Step 4: META.
        let context = meta_context(&header, parts);
        let meta = &stored[meta_at as usize..stored.len() - FOOTER];
        let plain = Message::new(meta, &keys, &context)?.whole()?;
        let json_len = u64::from(u32::from_be_bytes(bytes_at(&plain, 0)?));
        demand(
            4 + json_len + entry * parts == plain.len() as u64,
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
        let entries = commitments.chunks_exact(entry as usize);
        let entries = entries.map(<[u8]>::to_vec).collect();
        Ok(Self {
            stored,
            keys,
            part_size,
            last_part,
            entries,
            meta,
        })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The whole plaintext, the last chunk of every part included.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Refused> {
        let mut plain = Vec::new();
        for index in 0..self.entries.len() as u64 {
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
        let layers = self.keys.layers();
        let full = sealed_len(layers, self.part_size);
        let begin = (HEADER as u64 + index * full) as usize;
        let last = index + 1 == self.entries.len() as u64;
        let len = if last {
            sealed_len(layers, self.last_part)
        } else {
            full
        };
        let sealed = &self.stored[begin..begin + len as usize];
        let context = part_context(&self.stored[..HEADER], index);
        let message = Message::new(sealed, &self.keys, &context)?;
        let entry = self.entries[index as usize].as_slice();
        demand(
            bool::from(message.entry().ct_eq(entry)),
            "a part that META does not have",
        )?;
        Ok(message)
    }
}

/// The object key of each record key, the inner layer's first.
pub(crate) fn object_keys(record_keys: &[[u8; 32]], uid: &[u8; 16]) -> ObjectKeys {
    let key = |record_key: &[u8; 32]| expand(record_key, &[b"sealift/v1 object\0", uid]);
    ObjectKeys {
        inner: record_keys.first().map(key).unwrap_or_default(),
        outer: record_keys.get(1).map(key),
    }
}

pub(crate) fn header_tag(keys: &ObjectKeys, header: &[u8]) -> [u8; 32] {
    let fields = &header[..64];
    let share: Option<[u8; 32]> = keys
        .outer
        .as_ref()
        .map(|outer| expand(outer, &[b"sealift/v1 outer header\0", fields]));
    let share = share.as_ref().map_or(&[][..], |share| share);
    expand(&keys.inner, &[b"sealift/v1 header\0", fields, share])
}

pub(crate) fn part_context(header: &[u8], number: u64) -> Context<'_> {
    let what = "part";
    Context {
        what,
        header,
        number,
    }
}

pub(crate) fn meta_context(header: &[u8], number: u64) -> Context<'_> {
    let what = "meta";
    Context {
        what,
        header,
        number,
    }
}
