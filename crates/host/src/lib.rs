//! The operating system's own disk, clock and random generator, behind the
//! traits of `sealift_terms::world`, and the lock that keeps a second process
//! out of a data directory; reading a secret from a file that is nobody else's; and
//! giving up every file that is not needed; what the kernel knows of a connection.
//!
//! ```text
//!   world::Disk  ◀── OsDisk   open(O_NOFOLLOW, 0600) · pread · pwrite · fdatasync · rename · statvfs
//!   world::Clock ◀── OsClock  wall clock, monotonic clock
//!   world::Rng   ◀── OsRng    the system's generator
//!   data_dir/LOCK ── DataDirLock (flock)
//!   every other file ── Sandbox (Landlock)
//!   a connection ── tcp_facts (TCP_INFO), begin_plain, suit_way (TCP_CONGESTION)
//! ```
//!
//! It leaves to others what is written where: it knows no file of sealift but
//! `LOCK`. A simulation puts its own disk, clock and generator in this place.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod clock;
mod disk;
mod lock;
mod rng;
mod sandbox;
mod secret;
mod tcp;

pub use clock::OsClock;
pub use disk::OsDisk;
pub use lock::{DataDirLock, LOCK_FILE, LockError};
pub use rng::OsRng;
pub use sandbox::{Enforced, Sandbox};
pub use secret::{
    SecretFileError, SecretStamp, read_credential_file, read_secret_file, secret_stamp,
};
pub use tcp::{TcpFacts, begin_plain, suit_way, tcp_facts};
