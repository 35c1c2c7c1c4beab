//! How much a bucket may hold.

/// What a bucket may hold, all versions together; nothing is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of plaintext.
    pub bytes: Option<u64>,
    /// Versions with content.
    pub objects: Option<u64>,
}
