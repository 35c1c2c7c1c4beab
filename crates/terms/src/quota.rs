//! How much a bucket may hold, and how much may come from a peer.

/// What a bucket may hold, or a peer may bring, all versions together; nothing is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of plaintext.
    pub bytes: Option<u64>,
    /// Versions with content.
    pub objects: Option<u64>,
}

/// What one peer may have here; nothing is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerQuota {
    /// Of what it brought and rests here, in every bucket.
    pub held: Quota,
    /// Bytes of plaintext of objects with files of their own that it began and did not end.
    pub unfinished_bytes: Option<u64>,
    /// Bytes a second that are taken from it, over all links together.
    pub rate: Option<u64>,
}
