//! What can go wrong with keys, and whose fault it is.

use std::{error::Error, io, path::PathBuf};

use sealift_host::SecretFileError;
use sealift_terms::{
    AuditUnavailable, KeyAlias, Reason, RecordId, Region, limits::KEYSTORE_BYTES_MAX,
};

use crate::{KeyState, ProviderKind};

/// Why a key was not used, made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The provider has no such CMK.
    #[error("there is no key {key}")]
    Missing {
        /// The id or alias asked for.
        key: String,
    },
    /// The CMK has no such version.
    #[error("key {key} has no version {version}")]
    VersionMissing {
        /// The CMK.
        key: String,
        /// The version asked for.
        version: String,
    },
    /// The CMK is there but may not be used.
    #[error("key {key} is {state}")]
    NotUsable {
        /// The CMK.
        key: String,
        /// Its state.
        state: KeyState,
    },
    /// The CMK's state does not allow what the operator wants.
    #[error("key {key} is {state}: it cannot be {act}")]
    StateForbids {
        /// The CMK.
        key: String,
        /// Its state.
        state: KeyState,
        /// What was wanted.
        act: &'static str,
    },
    /// The CMK belongs to another region.
    #[error("key {key} belongs to region {found}, this site is in {wanted}")]
    WrongRegion {
        /// The CMK.
        key: String,
        /// Its region.
        found: Region,
        /// The site's region, as its provider calls it.
        wanted: Region,
    },
    /// The provider refused this caller.
    #[error("the provider refuses the use of key {key}: {told}")]
    AccessDenied {
        /// The CMK.
        key: String,
        /// What the provider said, which names the missing right where it is one that does.
        told: String,
    },
    /// The provider asks for fewer calls.
    #[error("the provider is throttling calls for key {key}")]
    Throttled {
        /// The CMK.
        key: String,
    },
    /// The provider cannot be reached.
    #[error("the provider of key {key} cannot be reached")]
    Unavailable {
        /// The CMK.
        key: String,
        /// What was seen.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The record was wrapped under another context, or it was altered.
    #[error("the wrapped key does not open under the context expected here: {expected}")]
    ContextMismatch {
        /// The context that was used.
        expected: String,
    },
    /// As [`ContextMismatch`](Self::ContextMismatch), with what the record says of itself.
    #[error(
        "the wrapped key of record {record} does not open under the context expected here, \
         {expected}; the record says it was wrapped for {found}{}",
        if expected == found { ", the same: it was altered" } else { "" }
    )]
    ContextDiffers {
        /// The record.
        record: RecordId,
        /// The context that was used.
        expected: String,
        /// The context that the record would have: it is not believed.
        found: String,
    },
    /// A record that was wrapped anew opened to another key: it was not put in place.
    #[error("key record {record} opened to another key after it was wrapped anew")]
    RewrapDiffers {
        /// The record.
        record: RecordId,
    },
    /// The record belongs to a provider that is not configured.
    #[error("provider {found}, whose key it is, is not configured")]
    ForeignProvider {
        /// The provider named.
        found: ProviderKind,
    },
    /// The CMK is there, and not of the sort that wraps record keys.
    #[error("key {key} cannot wrap: {what}")]
    Unsuitable {
        /// The CMK.
        key: String,
        /// What it is.
        what: String,
    },
    /// A version of a CMK wrapped as often as is safe with random nonces of 96 bits.
    #[error("version {version} of key {key} has wrapped {wraps} times, which is all it may")]
    WornOut {
        /// The CMK.
        key: String,
        /// Its version.
        version: String,
        /// How often.
        wraps: u64,
    },
    /// A record is not what its sort has to be.
    #[error("the key record is damaged: {what}")]
    RecordDamaged {
        /// What is wrong with it.
        what: &'static str,
        /// What the parser said.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The use of a key could not be put on record.
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    /// An alias is taken.
    #[error("alias {alias} already names another key")]
    AliasTaken {
        /// The alias.
        alias: KeyAlias,
    },
    /// A key, or a version of one, is still needed: it is not destroyed.
    #[error("{what} is still needed: {by}")]
    InUse {
        /// The key, or the version of it.
        what: String,
        /// What needs it.
        by: String,
    },
    /// Material that somebody brings is refused, or is wanted where it is not brought.
    #[error("key {key} cannot be given this material: {what}")]
    Imported {
        /// The CMK.
        key: String,
        /// Why.
        what: &'static str,
    },
    /// The CMK is of one region for good.
    #[error("key {key} is of one region: it was not made with --multi-region")]
    NotShared {
        /// The CMK.
        key: String,
    },
    /// Another region decides this.
    #[error("key {key} is a replica here: its primary is in region {primary}")]
    NotPrimary {
        /// The CMK.
        key: String,
        /// The region that leads.
        primary: Region,
    },
    /// A region that leads no more spoke for the key.
    #[error("key {key} is led by region {primary} by now")]
    PrimaryBefore {
        /// The CMK.
        key: String,
        /// The region that leads.
        primary: Region,
    },
    /// The key has no replica in that region.
    #[error("key {key} has no replica in region {region}")]
    NoReplica {
        /// The CMK.
        key: String,
        /// The region.
        region: Region,
    },
    /// The replica has not all that the primary has.
    #[error("the replica of key {key} in region {region} is not as far as its primary")]
    ReplicaBehind {
        /// The CMK.
        key: String,
        /// The region of the replica.
        region: Region,
    },
    /// The key must not be in that region.
    #[error("key {key} is not allowed in region {region}")]
    Residency {
        /// The CMK.
        key: String,
        /// The region.
        region: Region,
    },
    /// What two regions have of a key cannot both be right.
    #[error("what the regions have of key {key} does not fit together: {what}")]
    RegionsDiffer {
        /// The CMK.
        key: String,
        /// What does not.
        what: &'static str,
    },
    /// A key on its way between two regions did not open.
    #[error("the key that came from another region does not open: {what}")]
    Exchange {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another key version would make a keystore that is too large to be opened again.
    #[error("the keystore is full: it has {} bytes at most", KEYSTORE_BYTES_MAX)]
    KeystoreFull,
    /// The keystore does not open, and a copy of it does.
    #[error("the keystore {} cannot be used; its copy {} is whole", path.display(), copy.display())]
    KeystoreHasCopy {
        /// The keystore.
        path: PathBuf,
        /// The newest copy that opens.
        copy: PathBuf,
        /// What is wrong with the keystore.
        #[source]
        source: Box<Self>,
    },
    /// The keystore was sealed under another root key since.
    #[error("{} is sealed under another root key by now, and this is the one before", path.display())]
    RootKeyBefore {
        /// The keystore.
        path: PathBuf,
    },
    /// The keystore got another root key, and has not been opened with it yet.
    #[error("the root key was changed already, and {} is still there", path.display())]
    RekeyUnsettled {
        /// What is sealed under the root key before.
        path: PathBuf,
    },
    /// There is a keystore already: it is never overwritten.
    #[error("{} already exists", path.display())]
    KeystoreExists {
        /// The file.
        path: PathBuf,
    },
    /// The backup is of another site's keystore: its keys open nothing here.
    #[error("the backup is of another keystore than {}", path.display())]
    BackupForeign {
        /// The keystore here.
        path: PathBuf,
    },
    /// Backup and keystore went different ways: one version id, two keys.
    #[error("version {version} of key {key} is another one in the backup than here")]
    BackupDiffers {
        /// The CMK.
        key: String,
        /// Its version.
        version: String,
    },
    /// The keystore file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    KeystoreIo {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file is no keystore of a known version.
    #[error("{subject} is not a keystore that this version can read: {what}")]
    KeystoreFormat {
        /// The file, or `backup`.
        subject: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The root key does not open the keystore: it is the wrong one, or the file was altered.
    #[error("{subject} does not open: wrong root key or passphrase, or the file was altered")]
    KeystoreNotAuthentic {
        /// The file, or `backup`.
        subject: String,
    },
    /// A root key of the wrong shape, or no passphrase.
    #[error("the root key cannot be used: {what}")]
    RootKey {
        /// What is wrong and what is allowed.
        what: &'static str,
    },
    /// The file with the root key that a key service wrapped cannot be read.
    #[error("cannot read the root key in {}", path.display())]
    RootKeyFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What wrapped the root key does not open it now.
    #[error("the root key does not open: it is wrapped under {key}")]
    RootKeyAway {
        /// The key of a key service.
        key: String,
        /// What the service said.
        #[source]
        source: Box<Self>,
    },
    /// The file that holds the root key cannot be used.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
}

impl KeyError {
    /// The reason code of a key that is there and whose state is in the way; none
    /// when something else is.
    #[must_use]
    pub fn reason_of_state(&self) -> Option<Reason> {
        match self {
            Self::NotUsable { state, .. } | Self::StateForbids { state, .. } => state.reason(),
            _ => None,
        }
    }

    /// The same error under the name by which the key was asked for.
    #[must_use]
    pub(crate) fn naming(mut self, name: &str) -> Self {
        match &mut self {
            Self::Missing { key }
            | Self::VersionMissing { key, .. }
            | Self::NotUsable { key, .. }
            | Self::StateForbids { key, .. }
            | Self::WrongRegion { key, .. }
            | Self::AccessDenied { key, .. }
            | Self::Throttled { key }
            | Self::Unavailable { key, .. }
            | Self::Unsuitable { key, .. }
            | Self::WornOut { key, .. } => name.clone_into(key),
            _ => {}
        }
        self
    }

    /// Whether it is about one record, and says nothing of its key.
    #[must_use]
    pub fn is_about_the_record(&self) -> bool {
        matches!(
            self,
            Self::ContextMismatch { .. } | Self::ContextDiffers { .. } | Self::RecordDamaged { .. }
        )
    }

    /// The reason code of an object that fails because of this.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } | Self::VersionMissing { .. } | Self::ForeignProvider { .. } => {
                Reason::DstKmsKeyMissing
            }
            Self::NotUsable { state, .. } | Self::StateForbids { state, .. } => {
                state.reason().unwrap_or(Reason::DstKmsUnavailable)
            }
            Self::WrongRegion { .. } => Reason::DstKmsKeyWrongRegion,
            Self::AccessDenied { .. } => Reason::DstKmsAccessDenied,
            Self::Throttled { .. } => Reason::DstKmsThrottled,
            Self::ContextMismatch { .. } | Self::ContextDiffers { .. } => {
                Reason::EncryptionContextMismatch
            }
            Self::Residency { .. } => Reason::ResidencyDenied,
            Self::RecordDamaged { .. } => Reason::DstObjectDamaged,
            Self::Audit(_) => Reason::AuditUnavailable,
            Self::RootKeyAway { source, .. } => source.reason(),
            Self::Unavailable { .. }
            | Self::RewrapDiffers { .. }
            | Self::Unsuitable { .. }
            | Self::WornOut { .. }
            | Self::AliasTaken { .. }
            | Self::InUse { .. }
            | Self::Imported { .. }
            | Self::NotShared { .. }
            | Self::NotPrimary { .. }
            | Self::PrimaryBefore { .. }
            | Self::NoReplica { .. }
            | Self::ReplicaBehind { .. }
            | Self::RegionsDiffer { .. }
            | Self::Exchange { .. }
            | Self::KeystoreFull
            | Self::KeystoreHasCopy { .. }
            | Self::RootKeyBefore { .. }
            | Self::RekeyUnsettled { .. }
            | Self::KeystoreExists { .. }
            | Self::BackupForeign { .. }
            | Self::BackupDiffers { .. }
            | Self::KeystoreIo { .. }
            | Self::KeystoreFormat { .. }
            | Self::KeystoreNotAuthentic { .. }
            | Self::RootKey { .. }
            | Self::RootKeyFile { .. }
            | Self::SecretFile(_) => Reason::DstKmsUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_in_which_a_provider_fails_has_its_reason() {
        let key = || "alias/photos".to_owned();
        let unavailable = KeyError::Unavailable {
            key: key(),
            source: std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
        };
        for (error, reason) in [
            (KeyError::Missing { key: key() }, Reason::DstKmsKeyMissing),
            (
                KeyError::AccessDenied {
                    key: key(),
                    told: "no".to_owned(),
                },
                Reason::DstKmsAccessDenied,
            ),
            (KeyError::Throttled { key: key() }, Reason::DstKmsThrottled),
            (unavailable, Reason::DstKmsUnavailable),
        ] {
            assert_eq!(error.reason(), reason, "{error}");
            assert!(!reason.is_permanent());
        }
    }
}
