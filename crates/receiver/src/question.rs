//! What a sending agent may ask outside of any offer, and the answer.

use sealift_terms::{BucketName, Epoch, Region, Timestamp, VersionName};
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
    /// What the asking identity remembers of this site: whether it is behind that.
    Remembered {
        /// The epoch of what follows.
        epoch: Epoch,
        /// The highest commit sequence seen.
        sequence: u64,
        /// The last version that a receipt was given for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<VersionName>,
    },
    /// To seal, store, open and remove a canary in a bucket.
    Canary {
        /// Which bucket.
        bucket: BucketName,
        /// What it holds, in hex.
        bytes: String,
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
        /// Whether a grant lets it purge versions; an older peer does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        may_purge: Option<bool>,
        /// Why nothing can be sealed in it at present.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obstacle: Option<String>,
        /// The region it rests in.
        region: Region,
        /// What the clock shows there.
        clock: Timestamp,
    },
    /// How this site stands to what was remembered of it.
    Standing {
        /// Its epoch from now on.
        epoch: Epoch,
        /// Whether that is a new one, because something was lost.
        renewed: bool,
    },
    /// What became of a canary.
    Canary {
        /// What was opened, in hex; none when it did not come so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opened: Option<String>,
        /// What was in the way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obstacle: Option<String>,
    },
    /// The question was not understood.
    Unknown,
}
