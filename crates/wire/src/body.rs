//! What the frames of an offer say.

use std::{collections::BTreeMap, fmt, time::Duration};

use minicbor::{Decode, Encode};
use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, ObjectFacts, ObjectKey, Order, PartIndex, PartSize,
    Reason, Region, Timestamp, VersionId, VersionName, limits,
};

use crate::{
    cbor,
    error::{FrameFault, WireError},
    header::FrameType,
    parts::{Parts, Run},
};

/// An object to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What happened, to which version. Its size is `change.facts.size`; a change
    /// that is no put has no bytes.
    pub change: Change,
    /// How the object is cut.
    pub part_size: PartSize,
    /// The checksum of the whole, where it is known before sending. An inline
    /// offer always has it.
    pub checksum: Option<Checksum>,
}

impl Offer {
    /// Bytes of plaintext to send: none unless it is a put.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        if self.is_put() {
            self.change.facts.size
        } else {
            0
        }
    }

    /// Whether it has bytes at all: what is no put is wholly said by its offer.
    #[must_use]
    pub fn is_put(&self) -> bool {
        self.change.kind == ChangeKind::Put
    }

    /// Whether it may be sent inline: small, of one part, its checksum known
    /// (what is no put has nothing to be summed).
    #[must_use]
    pub fn fits_inline(&self) -> bool {
        !self.is_put()
            || (self.bytes() <= limits::INLINE_OBJECT_BYTES_MAX
                && self.bytes() < u64::from(self.part_size.bytes())
                && self.checksum.is_some())
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct OfferBody {
    #[n(0)]
    #[cbor(with = "cbor::text")]
    bucket: BucketName,
    #[n(1)]
    #[cbor(with = "cbor::text")]
    key: ObjectKey,
    #[n(2)]
    #[cbor(with = "cbor::text")]
    version: VersionId,
    #[n(3)]
    kind: Kind,
    #[n(4)]
    clock: u64,
    #[n(5)]
    #[cbor(with = "cbor::text")]
    region: Region,
    #[n(6)]
    change: u64,
    #[n(7)]
    size: u64,
    #[n(8)]
    part_size: u32,
    #[n(9)]
    #[cbor(with = "cbor::maybe_text", has_nil)]
    checksum: Option<Checksum>,
    #[n(10)]
    content_type: Option<String>,
    #[n(11)]
    metadata: Option<BTreeMap<String, String>>,
    #[n(12)]
    system: Option<BTreeMap<String, String>>,
    #[n(13)]
    tags: Option<BTreeMap<String, String>>,
    #[n(14)]
    etag: Option<String>,
    #[n(15)]
    last_modified_ms: Option<i64>,
    #[n(16)]
    #[cbor(with = "cbor::maybe_text", has_nil)]
    source_region: Option<Region>,
    #[n(17)]
    lost_links: Option<Vec<u32>>,
}

#[derive(Clone, Copy, Encode, Decode)]
#[cbor(index_only)]
enum Kind {
    #[n(0)]
    Put,
    #[n(1)]
    DeleteMarker,
    #[n(2)]
    Tags,
    #[n(3)]
    Purge,
}

impl OfferBody {
    /// An offer; `lost_links` are links on which it was under way when they broke.
    pub(crate) fn new(offer: &Offer, lost_links: Vec<u32>) -> Self {
        let Change {
            name,
            order,
            kind,
            facts,
        } = &offer.change;
        let some = |map: &BTreeMap<_, _>| Some(map.clone()).filter(|map| !map.is_empty());
        Self {
            bucket: name.bucket.clone(),
            key: name.key.clone(),
            version: name.version.clone(),
            kind: match kind {
                ChangeKind::Put => Kind::Put,
                ChangeKind::DeleteMarker => Kind::DeleteMarker,
                ChangeKind::Tags => Kind::Tags,
                ChangeKind::Purge => Kind::Purge,
            },
            clock: order.clock,
            region: order.region.clone(),
            change: order.change,
            size: facts.size,
            part_size: offer.part_size.bytes(),
            checksum: offer.checksum.clone(),
            content_type: facts.content_type.clone(),
            metadata: some(&facts.metadata),
            system: some(&facts.system),
            tags: some(&facts.tags),
            etag: facts.etag.clone(),
            last_modified_ms: facts.last_modified.map(Timestamp::as_millis),
            source_region: facts.source_region.clone(),
            lost_links: Some(lost_links).filter(|links| !links.is_empty()),
        }
    }

    /// The links that the sending side gave up.
    pub(crate) fn lost_links(&self) -> &[u32] {
        self.lost_links.as_deref().unwrap_or_default()
    }

    /// Checks what the peer offers.
    pub(crate) fn checked(self, inline: bool) -> Result<Offer, WireError> {
        let bad = |fault| WireError::bad(FrameType::Offer, fault);
        let facts = ObjectFacts {
            size: self.size,
            content_type: self.content_type,
            metadata: self.metadata.unwrap_or_default(),
            system: self.system.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            etag: self.etag,
            last_modified: self.last_modified_ms.map(Timestamp::from_millis),
            source_region: self.source_region,
        };
        let kind = match self.kind {
            Kind::Put => ChangeKind::Put,
            Kind::DeleteMarker => ChangeKind::DeleteMarker,
            Kind::Tags => ChangeKind::Tags,
            Kind::Purge => ChangeKind::Purge,
        };
        let offer = Offer {
            change: Change {
                name: VersionName {
                    bucket: self.bucket,
                    key: self.key,
                    version: self.version,
                },
                order: Order {
                    clock: self.clock,
                    region: self.region,
                    change: self.change,
                },
                kind,
                facts: facts.checked().map_err(|e| bad(FrameFault::Value(e)))?,
            },
            part_size: PartSize::new(self.part_size).map_err(|e| bad(FrameFault::Value(e)))?,
            checksum: self.checksum,
        };
        let wrong = |what| Err(bad(FrameFault::Inconsistent { what }));
        if offer.part_size.parts_of(offer.bytes()).is_none() {
            return wrong("an object of too many parts");
        }
        if inline && !offer.fits_inline() {
            return wrong("an inline offer of a large object, or one without a checksum");
        }
        Ok(offer)
    }
}

/// The answer of a receiving side that wants an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Parts that are there from an earlier try, to be checked against the offer
    /// by the one who makes the answer.
    pub have: Vec<Run>,
    /// Bytes of parts that may be begun and not yet stored. Less than a part
    /// means: wait for credit.
    pub credit: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct AcceptBody {
    #[n(0)]
    have: Vec<RunBody>,
    #[n(1)]
    pub(crate) credit: u64,
    /// How the object is cut here, where that is not as it was offered.
    #[n(2)]
    part_size: Option<u32>,
    #[n(3)]
    begun: Option<Vec<BegunBody>>,
}

/// A part of which the first bytes are there.
#[derive(Clone, Copy, Encode, Decode)]
struct BegunBody {
    #[n(0)]
    part: u32,
    #[n(1)]
    bytes: u32,
}

#[derive(Clone, Copy, Encode, Decode)]
struct RunBody {
    #[n(0)]
    first: u32,
    #[n(1)]
    count: u32,
    #[n(2)]
    crc64: u64,
}

/// Runs that surely fit into one ACCEPT; what is left out is sent again.
const RUNS_MAX: usize = 40_000;

impl AcceptBody {
    /// What is there of an object that was offered in parts of `offered`, and what of parts
    /// that are not whole.
    pub(crate) fn new(
        have: &Parts,
        begun: &BTreeMap<PartIndex, u32>,
        credit: u64,
        offered: PartSize,
    ) -> Self {
        let runs = have.runs().map(
            |Run {
                 first,
                 count,
                 crc64,
             }| RunBody {
                first,
                count,
                crc64,
            },
        );
        let begun = begun.iter().map(|(part, bytes)| BegunBody {
            part: part.0,
            bytes: *bytes,
        });
        let begun: Vec<_> = begun.take(limits::BEGUN_PARTS_TOLD_MAX).collect();
        Self {
            have: runs.take(RUNS_MAX).collect(),
            credit,
            part_size: Some(have.part_size())
                .filter(|cut| *cut != offered)
                .map(PartSize::bytes),
            begun: Some(begun).filter(|begun| !begun.is_empty()),
        }
    }

    /// The parts of the object that it says are there, in the cut that it says they have.
    pub(crate) fn parts(&self, offer: &Offer) -> Result<Parts, WireError> {
        let cut = match self.part_size {
            None => offer.part_size,
            Some(bytes) => PartSize::new(bytes)
                .map_err(|error| WireError::bad(FrameType::Accept, FrameFault::Value(error)))?,
        };
        let mut parts = Parts::none_of(offer.bytes(), cut).ok_or_else(bad_parts)?;
        for &RunBody {
            first,
            count,
            crc64,
        } in &self.have
        {
            if !parts.insert_run(Run {
                first,
                count,
                crc64,
            }) {
                return Err(bad_parts());
            }
        }
        Ok(parts)
    }

    /// The parts that it says are begun, each with the bytes of it that are there: at least
    /// one, and fewer than all.
    pub(crate) fn begun(&self, have: &Parts) -> Result<BTreeMap<PartIndex, u32>, WireError> {
        let mut begun = BTreeMap::new();
        for &BegunBody { part, bytes } in self.begun.iter().flatten() {
            let part = PartIndex(part);
            let all = have.part_bytes(part).ok_or_else(bad_parts)?;
            let is_new = !have.contains(part) && begun.insert(part, bytes).is_none();
            if bytes == 0 || bytes >= all || !is_new {
                return Err(bad_parts());
            }
        }
        Ok(begun)
    }
}

fn bad_parts() -> WireError {
    let what = "parts that the offered object has not";
    WireError::bad(FrameType::Accept, FrameFault::Inconsistent { what })
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct PartEndBody {
    #[n(0)]
    pub(crate) crc64: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct CommitBody {
    #[n(0)]
    #[cbor(with = "cbor::text")]
    pub(crate) checksum: Checksum,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct CreditBody {
    #[n(0)]
    pub(crate) credit: u64,
}

/// What a person should know about a refusal: at most
/// [`limits::EVIDENCE_BYTES_MAX`] bytes, longer text is cut.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Evidence(String);

impl Evidence {
    /// Takes the beginning of `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        text.truncate(text.floor_char_boundary(limits::EVIDENCE_BYTES_MAX));
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why an object is not taken, or an offer is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code.
    pub reason: Reason,
    /// What was found, for people.
    pub evidence: Evidence,
    /// When it may be tried again, if the refusing side knows better than the other.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without a time.
    #[must_use]
    pub fn new(reason: Reason, evidence: impl Into<String>) -> Self {
        Self {
            reason,
            evidence: Evidence::new(evidence),
            retry_after: None,
        }
    }
}

/// On the wire the reason is text: a newer peer may know more codes.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct RefusalBody {
    #[n(0)]
    reason: String,
    #[n(1)]
    evidence: String,
    #[n(2)]
    retry_after_ms: Option<u64>,
}

impl From<&Refusal> for RefusalBody {
    fn from(refusal: &Refusal) -> Self {
        Self {
            reason: refusal.reason.as_str().to_owned(),
            evidence: refusal.evidence.0.clone(),
            retry_after_ms: refusal
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<RefusalBody> for Refusal {
    fn from(body: RefusalBody) -> Self {
        let retry_after = body.retry_after_ms.map(Duration::from_millis);
        let (reason, evidence) = known(&body.reason, body.evidence);
        Self {
            reason,
            evidence,
            retry_after,
        }
    }
}

/// A code that is not known here is a newer peer's: it waits, and says so.
fn known(code: &str, evidence: String) -> (Reason, Evidence) {
    match code.parse() {
        Ok(reason) => (reason, Evidence::new(evidence)),
        Err(_) => (
            Reason::PeerProtocolMismatch,
            Evidence::new(format!("{code}: {evidence}")),
        ),
    }
}

/// Why a link is closed in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The reason code; none when there is nothing more to say.
    pub reason: Option<Reason>,
    /// What was found, for people.
    pub evidence: Evidence,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct CloseBody {
    #[n(0)]
    reason: Option<String>,
    #[n(1)]
    evidence: String,
}

impl From<&Close> for CloseBody {
    fn from(close: &Close) -> Self {
        Self {
            reason: close.reason.map(|reason| reason.as_str().to_owned()),
            evidence: close.evidence.0.clone(),
        }
    }
}

impl From<CloseBody> for Close {
    fn from(body: CloseBody) -> Self {
        match body.reason {
            None => Self {
                reason: None,
                evidence: Evidence::new(body.evidence),
            },
            Some(code) => {
                let (reason, evidence) = known(&code, body.evidence);
                Self {
                    reason: Some(reason),
                    evidence,
                }
            }
        }
    }
}
