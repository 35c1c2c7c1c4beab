//! What a sending agent may ask outside of any offer, and the answer.

use sealift_terms::{BucketName, Region, Timestamp};
use serde::{Deserialize, Serialize};

/// A question, JSON in the body of an ASK frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Question {
    /// Whether the asking identity may replicate into a bucket, and whether the
    /// bucket could take it.
    Bucket {
        /// Which bucket.
        bucket: BucketName,
    },
}

/// The answer, JSON in the body of an ANSWER frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// How a bucket stands.
    Bucket {
        /// Whether there is such a bucket.
        exists: bool,
        /// Whether a grant lets the asking identity store versions in it.
        may_replicate: bool,
        /// Whether a grant lets it store delete markers.
        may_delete: bool,
        /// Why nothing can be sealed in it at present.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obstacle: Option<String>,
        /// The region it rests in.
        region: Region,
        /// What the clock shows there.
        clock: Timestamp,
    },
    /// The question was not understood.
    Unknown,
}
