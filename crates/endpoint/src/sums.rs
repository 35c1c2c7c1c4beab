//! The checksums that an application says its content has: held against what came.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::HeaderMap;
use s3s::{
    S3Error, S3ErrorCode, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::Checksum,
};

use crate::errors::invalid;

/// How the headers of checksums begin.
const PREFIX: &str = "x-amz-checksum-";
/// Names the checksums that come behind the content.
const TRAILER: &str = "x-amz-trailer";
const CONTENT_MD5: &str = "content-md5";

/// A checksum that S3 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// As in the names of headers.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// Characters of its value in base64.
    pub(crate) const fn text_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 8,
            Self::Crc64Nvme => 12,
            Self::Sha1 => 28,
            Self::Sha256 => 44,
        }
    }

    /// One of this word, in whatever case.
    pub(crate) fn of(word: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.word().eq_ignore_ascii_case(word))
    }

    /// What was found of this kind.
    pub(crate) fn of_sums(self, sums: &Checksum) -> Option<&String> {
        match self {
            Self::Crc32 => sums.checksum_crc32.as_ref(),
            Self::Crc32c => sums.checksum_crc32c.as_ref(),
            Self::Crc64Nvme => sums.checksum_crc64nvme.as_ref(),
            Self::Sha1 => sums.checksum_sha1.as_ref(),
            Self::Sha256 => sums.checksum_sha256.as_ref(),
        }
    }
}

/// Where the value of a checksum stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Before(String),
    Behind,
}

/// Checksums of content on its way in.
#[derive(Default)]
pub(crate) struct Sums {
    wanted: Vec<(Kind, Said)>,
    hasher: ChecksumHasher,
    md5: Option<(Md5, Vec<u8>)>,
    trailers: Option<TrailingHeaders>,
}

impl Sums {
    /// Those that a request says.
    ///
    /// # Errors
    /// One that cannot be.
    pub(crate) fn of(headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> S3Result<Self> {
        let mut sums = Self {
            trailers,
            ..Self::default()
        };
        for (name, value) in headers {
            let text = || {
                value
                    .to_str()
                    .map_err(|_| invalid("a header of no such form"))
            };
            match name.as_str() {
                CONTENT_MD5 => sums.want_md5(text()?)?,
                TRAILER => {
                    for name in text()?.split(',').map(str::trim) {
                        let kind = name.to_ascii_lowercase();
                        let kind = kind.strip_prefix(PREFIX).and_then(Kind::of);
                        sums.want(kind.ok_or_else(unknown)?, Said::Behind);
                    }
                }
                name => match name.strip_prefix(PREFIX) {
                    None | Some("algorithm" | "type" | "mode") => {}
                    Some(word) => {
                        let kind = Kind::of(word).ok_or_else(unknown)?;
                        sums.want(kind, Said::Before(text()?.to_owned()));
                    }
                },
            }
        }
        Ok(sums)
    }

    fn want(&mut self, kind: Kind, said: Said) {
        self.wanted.push((kind, said));
        self.count(kind);
    }

    /// Has a checksum of this kind found, whatever is said of it.
    pub(crate) fn count(&mut self, kind: Kind) {
        let hasher = &mut self.hasher;
        match kind {
            Kind::Crc32 => drop(hasher.crc32.get_or_insert_with(Crc32::new)),
            Kind::Crc32c => drop(hasher.crc32c.get_or_insert_with(Crc32c::new)),
            Kind::Crc64Nvme => drop(hasher.crc64nvme.get_or_insert_with(Crc64Nvme::new)),
            Kind::Sha1 => drop(hasher.sha1.get_or_insert_with(Sha1::new)),
            Kind::Sha256 => drop(hasher.sha256.get_or_insert_with(Sha256::new)),
        }
    }

    fn want_md5(&mut self, text: &str) -> S3Result<()> {
        let digest = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 16);
        let code = S3ErrorCode::InvalidDigest;
        let digest = digest.ok_or_else(|| S3Error::with_message(code, "Content-MD5 is none"))?;
        self.md5 = Some((Md5::new(), digest));
        Ok(())
    }

    /// The kinds that are told behind the content.
    pub(crate) fn behind(&self) -> Vec<Kind> {
        let wanted = self.wanted.iter();
        let behind = wanted.filter(|(_, said)| *said == Said::Behind);
        behind.map(|(kind, _)| *kind).collect()
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// Holds what came against what was said; what was found.
    ///
    /// # Errors
    /// `BadDigest`.
    pub(crate) fn hold(self) -> S3Result<Checksum> {
        if let Some((md5, wanted)) = self.md5
            && md5.finalize().as_slice() != wanted
        {
            return Err(bad("Content-MD5"));
        }
        let found = self.hasher.finalize();
        for (kind, said) in &self.wanted {
            let said = match said {
                Said::Before(value) => Some(value.clone()),
                Said::Behind => behind(self.trailers.as_ref(), *kind),
            };
            if said.is_none() || kind.of_sums(&found) != said.as_ref() {
                return Err(bad(kind.word()));
            }
        }
        Ok(found)
    }
}

/// What is said of it behind the content.
fn behind(trailers: Option<&TrailingHeaders>, kind: Kind) -> Option<String> {
    let name = format!("{PREFIX}{}", kind.word());
    let read = trailers?.read(|headers| Some(headers.get(&name)?.to_str().ok()?.to_owned()));
    read.flatten()
}

fn bad(what: &str) -> S3Error {
    let told = format!("what came is not what {what} says");
    S3Error::with_message(S3ErrorCode::BadDigest, told)
}

fn unknown() -> S3Error {
    invalid("a checksum of no kind that is known here")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(headers: &[(&'static str, &str)], content: &[u8]) -> Result<Checksum, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let told = |error: S3Error| error.code().as_str().to_owned();
        let mut sums = Sums::of(&map, None).map_err(told)?;
        content.chunks(3).for_each(|piece| sums.update(piece));
        sums.hold().map_err(told)
    }

    #[test]
    fn what_came_is_held_against_every_checksum_that_is_said() {
        // Of "123456789": the check values of the catalogue of CRCs, and sha1sum's.
        let good = [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw=="),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
        ];
        for one in good {
            hold(&[one], b"123456789").unwrap();
            assert_eq!(
                hold(&[one], b"123456780").unwrap_err(),
                "BadDigest",
                "{}",
                one.0
            );
        }
        assert!(hold(&good, b"123456789").is_ok());
        assert!(hold(&[], b"anything").is_ok());
    }

    #[test]
    fn what_is_no_checksum_is_refused() {
        let refused = |name, value| hold(&[(name, value)], b"").unwrap_err();
        assert_eq!(refused("content-md5", "AAAA"), "InvalidDigest");
        assert_eq!(refused("x-amz-checksum-md4", "AAAA"), "InvalidArgument");
        assert_eq!(refused("x-amz-trailer", "x-amz-other"), "InvalidArgument");
        // Announced behind the content, and not there.
        assert_eq!(
            refused("x-amz-trailer", "x-amz-checksum-crc32"),
            "BadDigest"
        );
        for harmless in ["x-amz-checksum-algorithm", "x-amz-checksum-type"] {
            assert!(hold(&[(harmless, "CRC32")], b"").is_ok());
        }
    }
}
