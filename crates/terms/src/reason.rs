//! Why something is not done: one code for every failure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{name::NameError, status::Status};

/// Declares the codes with the status each leads to and what to do about it.
macro_rules! reasons {
    ($($(#[$doc:meta])* $code:ident => $status:ident, $remedy:literal;)+) => {
        /// A reason code. [`Reason::status`] says what becomes of the object,
        /// [`Reason::remedy`] what a person can do.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $code,)+ }

        impl Reason {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// The code as it is written everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)+ }
            }

            /// The status of an object that has this reason.
            #[must_use]
            pub const fn status(self) -> Status {
                match self { $(Self::$code => Status::$status,)+ }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$code => $remedy,)+ }
            }
        }
    };
}

reasons! {
    /// The version is no longer in the source.
    SrcObjectGone => Failed, "the version was removed before it could be read; nothing to do unless it should exist";
    /// The name cannot be an object key.
    SrcNameUnsupported => Failed, "rename the object: keys are 1 to 1,024 bytes of UTF-8 without NUL";
    /// Larger than the destination takes.
    DstObjectTooLarge => Failed, "the largest object is 5 TiB; split it";
    /// The destination bucket's key belongs to another region.
    DstKmsKeyWrongRegion => Failed, "give the destination bucket a key of its own region";
    /// The key record was wrapped under another encryption context.
    EncryptionContextMismatch => Failed, "compare the context used with the one expected; restore the key record if it was altered";
    /// The residency policy forbids the region.
    ResidencyDenied => Failed, "allow the region on the key and the rule, or take the bucket out of the rule";
    /// No grant allows it.
    PolicyDenied => Failed, "add a [[grant]] for this identity and bucket at the destination, then `sealift retry`";
    /// The destination retains what was to be removed.
    DstRetained => Failed, "wait until the retention ends or lift the legal hold";
    /// Three readings of the object had three checksums, or the bytes changed on the way.
    ChecksumMismatch => Failed, "check the source's disk and memory; then `sealift retry`";

    /// The source refused to be read.
    SrcGetDenied => Pending, "let the agent's user read the object";
    /// The source's key service refused to decrypt.
    SrcKmsDecryptDenied => Pending, "grant kms:Decrypt on the source's key to the agent";
    /// The source's key service is throttling.
    SrcKmsThrottled => Pending, "raise the key service's quota";
    /// The source cannot be reached or read.
    SrcUnavailable => Pending, "see what it says: a directory has to be mounted, a store has to be reached and to do what it is asked";
    /// The source bucket keeps no versions.
    SrcVersioningDisabled => Pending, "enable versioning on the source bucket";
    /// The destination has no such bucket.
    DstBucketMissing => Pending, "add a [[bucket]] of this name at the destination";
    /// The destination's store refused the write.
    DstPutDenied => Pending, "let the receiver write to its store";
    /// No grant at the destination lets us store delete markers.
    DstDeleteDenied => Pending, "add `delete` to the [[grant]] for this identity and bucket at the destination";
    /// No grant at the destination lets us store tags.
    DstTagsDenied => Pending, "add `replicate` to the [[grant]] for this identity and bucket at the destination";
    /// No grant at the destination lets us purge versions.
    DstPurgeDenied => Pending, "add `purge` to the [[grant]] for this identity and bucket at the destination";
    /// A version that was deleted at the source is purged once it was gone for long enough.
    PurgeHeld => Pending, "nothing: it is purged after `purge_hold_secs`, unless the source has it again by then";
    /// The batch that queued it is paused.
    BatchPaused => Pending, "resume the batch: `sealift batch list`, then `sealift batch resume ID`";
    /// The destination keeps no versions.
    DstVersioningDisabled => Pending, "enable versioning on the destination bucket";
    /// No room at the destination.
    DstStoreFull => Pending, "make room in the receiver's store";
    /// A quota at the destination is used up.
    DstQuotaExceeded => Pending, "raise the quota for this peer or bucket";
    /// The destination's store failed.
    DstStoreUnavailable => Pending, "check the receiver's store and disk";
    /// What the destination holds of this object is damaged.
    DstObjectDamaged => Pending, "run `sealift verify --deep` at the destination";
    /// The bucket's key does not exist.
    DstKmsKeyMissing => Pending, "create the key named by the destination bucket";
    /// Both keys of the bucket are one: what is to be sealed in two layers is not sealed.
    DstKmsKeysSame => Pending, "give the destination bucket a second_key that is another key than its key";
    /// The bucket's key is disabled.
    DstKmsKeyDisabled => Pending, "enable the key: `sealift keys enable KEY`";
    /// The bucket's key waits for its deletion.
    DstKmsKeyPendingDeletion => Pending, "cancel the deletion: `sealift keys cancel-deletion KEY`";
    /// The key provider refused the receiver.
    DstKmsAccessDenied => Pending, "grant the receiver the use of the key";
    /// The key provider is throttling.
    DstKmsThrottled => Pending, "raise the key service's quota or turn bucket keys on";
    /// The key provider cannot be reached.
    DstKmsUnavailable => Pending, "check the key provider and the way to it";
    /// The peer does not answer.
    PeerUnreachable => Pending, "check address, network and that the other agent runs";
    /// The peer's identity is not the one configured, or it refused ours.
    PeerIdentityRefused => Pending, "compare `identity` under [[peer]] with the certificate of the other side";
    /// The peer's certificate has expired or is not yet valid.
    PeerCertificateExpired => Pending, "renew the certificate; compare both clocks";
    /// The peer speaks another protocol or broke this one.
    PeerProtocolMismatch => Pending, "upgrade the older of the two agents";
    /// The clocks are more than 60 s apart.
    ClockSkew => Pending, "set both clocks; run a time service";
    /// The audit log cannot be written.
    AuditUnavailable => Pending, "make room for, and check the disk of, the data directory";

    /// A newer version took its place while it was read.
    SrcObjectChanged => Skipped, "nothing: the newer version is sent instead";
    /// Sealed under a key that no rule selects.
    SkippedKmsNotSelected => Skipped, "let a rule select the key";
    /// Is itself a replica.
    SkippedReplica => Skipped, "nothing: replicas are not replicated again";
    /// No rule covers it, or the one that does leaves it out.
    SkippedFiltered => Skipped, "let a [[rule]] cover it (prefix, existing_objects, delete_markers) if it should be sent";
    /// What was to be purged is in the source again, or its rule sends no version deletes any more.
    SkippedPurge => Skipped, "nothing: the version stays where it is";
    /// The batch that queued it was cancelled before it was sent, and nothing else wants it sent.
    BatchCancelled => Skipped, "nothing; `sealift batch replicate` queues it again if it should be sent";
    /// Is not a readable file.
    SkippedUnreadable => Skipped, "let it be read, its tags too: a file has to be plain, with a UTF-8 name of at most 1,024 bytes; what a bucket archived: restore it, then sealift batch replicate BUCKET --status SKIPPED";
}

impl Reason {
    /// Whether the object is given up until something changes.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self.status(), Status::Failed)
    }

    /// Whether rules leave out what they could send, which is no trouble.
    #[must_use]
    pub const fn is_by_rules(self) -> bool {
        matches!(self, Self::SkippedFiltered | Self::SkippedReplica)
    }

    /// Whether what waits for this is held back by somebody's wish: it is no trouble, and
    /// nothing makes it due earlier.
    #[must_use]
    pub const fn is_held_back(self) -> bool {
        matches!(self, Self::PurgeHeld | Self::BatchPaused)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| NameError::new("reason code", text, "one of the documented codes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_says_what_to_do() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().unwrap(), *reason);
            assert!(reason.remedy().len() > 10, "{reason}");
        }
        assert!("Other".parse::<Reason>().is_err());
    }

    #[test]
    fn only_the_documented_codes_are_permanent() {
        let permanent: Vec<_> = Reason::ALL.iter().filter(|r| r.is_permanent()).collect();
        assert_eq!(permanent.len(), 9, "{permanent:?}");
    }
}
