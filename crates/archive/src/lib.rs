//! One region's sealed buckets: what arrives is sealed part by part, made durable
//! in groups, and opened again.
//!
//! ```text
//!  Offer ─▶ Archive::begin ─▶ Upload ─▶ PartWriter: plaintext in, sealed bytes written
//!                │ known                 │ all parts
//!                ▼                       ▼
//!             Receipt ◀── Committer: packs and files synced ▸ published ▸ one catalog commit
//!
//!  bucket, key, version ─▶ Archive::open ─▶ ObjectReader ─▶ plaintext of any range
//! ```
//!
//! Nothing is acknowledged before it is durable and nothing that is not
//! acknowledged is visible. Plaintext is never whole in memory nor anywhere on disk:
//! a chunk is sealed where it lies before it is written.
//!
//! Left to others: who may write to which bucket (grants, asked by the receiver),
//! how bytes travel, which bytes a sealed object consists of (`sealift-seal`),
//! files and rows (`sealift-store`, `sealift-ledger`), keys (`sealift-keys`).

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]
#![expect(
    clippy::vec_box,
    reason = "items of a commit group are large and move from list to list"
)]

mod adopt;
mod answer;
mod archive;
mod budget;
mod canary;
mod commit;
mod committer;
mod compact;
mod conflicts;
mod doubts;
mod error;
mod facts;
mod finding;
mod followers;
mod holding;
mod interrupted;
mod layers;
mod leftovers;
mod limits;
mod listing;
mod needs;
mod offer;
mod packs;
mod part;
mod pieces;
mod promoted;
mod purging;
mod quarantine;
mod quota;
mod read;
mod rebuild;
mod recorder;
mod records;
mod recovery;
mod reseal;
mod reserve;
mod resuming;
mod retention;
mod rewrap;
mod screening;
mod scrub;
mod share;
mod source;
mod staging;
mod standing;
mod upload;
mod verify;
mod written;

pub use answer::{Outcomes, OutcomesTo};
pub use archive::{Archive, ArchiveParts, Buckets};
pub use budget::{Budget, Lease, Share};
pub use compact::Compacted;
pub use error::ArchiveError;
pub use facts::SiteFacts;
pub use finding::{Finding, in_words};
pub use layers::BucketKey;
pub use needs::Needs;
pub use offer::{Begin, Offer};
pub use part::PartWriter;
pub use pieces::{Assembly, NewPiece, Piece, PieceReader};
pub use promoted::{Promotion, Promotions};
pub use purging::{ExpiredVersions, SentOn};
pub use quarantine::Expired;
pub use quota::{PeerQuotas, QuotaHolder, Quotas};
pub use read::{ObjectRange, ObjectReader};
pub use rebuild::{RebuildReport, rebuild};
pub use reseal::{Resealed, Reseals};
pub use retention::{HeldVersions, Hold, HoldSort, Retentions};
pub use rewrap::{CALLS_OF_A_REWRAP, Rewrap, RewrapFinding, Rewrapped, WrappedBy};
pub use scrub::{ScrubState, Scrubbed, Scrubber};
pub use source::ArchiveSource;
pub use standing::TagsHere;
pub use upload::Upload;
pub use verify::{Depth, Sink, VerifySummary};
pub use written::{ObjectWriter, Written, is_written_here};

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, ArchiveError>;

#[cfg(test)]
mod tests;
