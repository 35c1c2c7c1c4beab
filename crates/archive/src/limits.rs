//! Sizes and times that are the archive's own.

use std::time::Duration;

/// Sealed bytes of a full chunk, in two layers.
pub(crate) const SEALED_CHUNK_BYTES: usize = 16 * 1024 + 32;
/// Sealed bytes of a part that are written at once: they are still in the processor's
/// cache then, and a few system calls a mebibyte cost nothing beside the copy.
pub(crate) const SEALED_WRITE_BYTES: usize = 256 * 1024;
/// One positional write; a store takes no more at once.
pub(crate) const WRITE_BYTES_MAX: usize = 1 << 20;
/// A commit group is closed at this many sealed bytes.
pub(crate) const GROUP_BYTES_MAX: u64 = 64 << 20;
/// A commit group is closed at this many objects.
pub(crate) const GROUP_OBJECTS_MAX: usize = 4096;
/// A commit group waits this long for company.
pub(crate) const GROUP_TIME_MAX: Duration = Duration::from_millis(2);
/// Objects that wait for their commit.
pub(crate) const COMMIT_QUEUE_MAX: usize = 8192;
/// Finished parts that wait to be recorded, and that are recorded at once. With those
/// in flight they are what a crash makes be sent again: a store or ledger that falls
/// behind holds up the links.
pub(crate) const PARTS_QUEUE_MAX: usize = 2;
/// A pack that nothing was added to for this long is closed.
pub(crate) const PACK_IDLE_MAX: Duration = Duration::from_secs(60);
/// Unfinished uploads whose files are kept open.
pub(crate) const OPEN_UPLOADS_MAX: usize = 256;
/// How long the store's free space is believed.
pub(crate) const ROOM_CHECKED: Duration = Duration::from_secs(1);
/// Names of versions in one message about a commit.
pub(crate) const FOLLOWED_NAMES_MAX: usize = 256;
/// Messages about commits that wait for one who follows; beyond, it has to list.
pub(crate) const FOLLOWED_QUEUE_MAX: usize = 64;
/// How long it is believed how much rests in buckets that have a quota.
pub(crate) const QUOTA_READ: Duration = Duration::from_secs(1);
/// Rows asked of the catalog at once.
pub(crate) const PAGE_ROWS: usize = 1000;
/// Files asked of the store at once.
pub(crate) const PAGE_FILES: usize = 10_000;
/// Versions that expire and are purged together.
/// Marks of holds that are written together.
pub(crate) const HOLDS_MARKED_AT_ONCE: usize = 64;
pub(crate) const EXPIRED_AT_ONCE: usize = 256;
