//! What a sending agent may ask outside of any offer, and the answer.

use std::collections::BTreeMap;

use sealift_archive::TagsHere;
use sealift_terms::{BucketName, Epoch, ObjectKey, Region, Timestamp, VersionId, VersionName};
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
    /// Whether versions here have these tags.
    Tags {
        /// Which bucket.
        bucket: BucketName,
        /// At most [`TAGS_ASKED_AT_ONCE_MAX`](sealift_terms::limits::TAGS_ASKED_AT_ONCE_MAX).
        versions: Vec<TagsOf>,
    },
    /// To seal, store, open and remove a canary in a bucket.
    Canary {
        /// Which bucket.
        bucket: BucketName,
        /// What it holds, in hex.
        bytes: String,
    },
}

/// The tags that a version should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsOf {
    /// Its key.
    pub key: ObjectKey,
    /// Its version.
    pub version: VersionId,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl TagsOf {
    /// How they stand beside those that the version has here.
    pub(crate) fn against(&self, here: &TagsHere) -> TagsStand {
        match here {
            TagsHere::Tags(tags) if *tags == self.tags => TagsStand::Same,
            TagsHere::Tags(_) => TagsStand::Other,
            TagsHere::Lacking => TagsStand::Lacking,
            TagsHere::Purged => TagsStand::Purged,
        }
    }
}

/// How the tags of a version stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TagsStand {
    /// They are these.
    Same,
    /// They are others.
    Other,
    /// The version is not here.
    Lacking,
    /// It was purged here, and does not come back.
    Purged,
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
    /// How the tags of versions stand here, in the order in which they were asked about; none
    /// to whoever may not replicate into their bucket.
    Tags {
        /// Each of them.
        stand: Vec<TagsStand>,
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
