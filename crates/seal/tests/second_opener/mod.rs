//! A second reader of SLF version 1, written from `docs/format.md` alone: it
//! shares no code with the crate, so that the two agree only where the page says
//! what both do.

pub(crate) mod message;
pub(crate) mod meta;
pub(crate) mod object;
pub(crate) mod pack;
pub(crate) mod record;

use std::fmt;

/// Why something was refused, for whoever reads a failed test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// `Ok` where a demand of the page is met.
pub(crate) fn demand(met: bool, what: &'static str) -> Result<(), Refused> {
    if met { Ok(()) } else { Err(Refused(what)) }
}

/// The bytes at `at`, which may lie beyond the end.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Refused> {
    let end = at.checked_add(N).ok_or(Refused("beyond the end"))?;
    let found = bytes.get(at..end).ok_or(Refused("beyond the end"))?;
    found.try_into().map_err(|_| Refused("beyond the end"))
}

/// CRC-32C bit by bit: slow, and not the table of anyone's library.
pub(crate) fn crc32c<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u32 {
    !bytes.into_iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
        })
    })
}
