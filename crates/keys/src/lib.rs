//! Who can open what is sealed: customer-managed keys, the key records they
//! wrap, and the providers that hold them.
//!
//! ```text
//!                    Providers: LocalKeystore, AwsKms …  RecordRing
//!   CMK, versions ──▶ wrap / unwrap ◀── KeyRecord ──▶ current(bucket) ──▶ RecordKey ──▶ seal
//!        ▲                 ▲                          open(record)
//!   RootSecret      EncryptionContext (bucket, region, record: built, never believed)
//! ```
//!
//! A CMK belongs to one region and never leaves its provider. Rotating it makes a
//! version; every older version still unwraps. Key records stand between CMKs and
//! objects, so that no key operation ever touches an object.
//!
//! It leaves to others where records rest (the archive puts them into store and
//! catalog), what is sealed under them (`sealift-seal`), and who may do what
//! (grants). XAES-256-GCM, which wraps here, never seals object data.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod aws_kms;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod context;
mod envelope;
mod error;
mod exchange;
mod facts;
mod key_name;
mod keystore;
mod life;
mod material;
mod paced;
mod pkcs11;
mod provider;
mod providers;
mod record;
mod record_ring;
mod root;
mod shared;
mod state;
mod stretched;
mod transit;
mod wrapped_root;
mod wraps;
mod xaes;

pub use aws_kms::{AWS_KMS_OPERATIONS, AwsKms, AwsKmsSettings};
pub use context::EncryptionContext;
pub use error::KeyError;
pub use exchange::{Awaiting, Bound, Brought, bring};
pub use facts::FactsKey;
pub use key_name::KeyName;
pub use keystore::{Backup, Import, KEYSTORE_FILE, LocalKeystore, Restored, Synchronized};
pub use life::{Held, KeyChange, KeyLife, KeyOrigin, KeyRegions, KeyReplica, NewKey, VersionLife};
pub use material::ImportedMaterial;
pub use paced::{Pace, Paced};
pub use pkcs11::{Pkcs11, Pkcs11Settings};
pub use provider::{KeyDescription, KeyProvider, KeyVersion, ProviderKind, Wrapped};
pub use providers::Providers;
pub use record::{KeyRecord, RecordKind};
pub use record_ring::{KEY_STATE_RECHECKED, OpenRecord, RecordRing, RingCounters};
pub use root::{PassphraseCost, RootSecret};
pub use shared::{KeyDifference, KeySeen, SharedKey};
pub use state::KeyState;
pub use stretched::StretchedPassphrase;
pub use transit::{Transit, TransitSettings};
pub use wrapped_root::WrappedRoot;
pub use wraps::{WRAPS_FILE, WrapCounter};
pub use xaes::{NotAuthentic, Xaes256Gcm};
