//! What goes on record, and the way to put it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Declares the kinds of audit record with the word each is written as.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal,)+) => {
        /// What an audit record is about.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum AuditKind { $($(#[$doc])* #[serde(rename = $word)] $kind,)+ }

        impl AuditKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The word it is written as.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word,)+ }
            }
        }
    };
}

kinds! {
    /// A site was made.
    SiteCreated = "site.created",
    /// The agent started.
    AgentStarted = "agent.started",
    /// The agent stopped.
    AgentStopped = "agent.stopped",
    /// The configuration was loaded or reloaded.
    ConfigLoaded = "config.loaded",
    /// A session with a peer began.
    SessionOpened = "session.opened",
    /// A session with a peer ended.
    SessionClosed = "session.closed",
    /// A connection was refused, before or during authentication.
    SessionRefused = "session.refused",
    /// An authenticated peer was refused an act.
    AccessDenied = "access.denied",
    /// A forwarded stream was opened.
    ForwardOpened = "forward.opened",
    /// A forwarded stream was closed.
    ForwardClosed = "forward.closed",
    /// An object was stored.
    ObjectStored = "object.stored",
    /// A delete marker was stored.
    ObjectDeleteMarked = "object.delete_marked",
    /// A version was purged: it does not come back.
    ObjectPurged = "object.purged",
    /// A purge was refused: the version is retained.
    PurgeRefused = "purge.refused",
    /// A legal hold was put on versions.
    HoldSet = "hold.set",
    /// A legal hold was lifted.
    HoldLifted = "hold.lifted",
    /// A version was sealed anew, under another data key.
    ObjectResealed = "object.resealed",
    /// An object was opened for reading.
    ObjectOpened = "object.opened",
    /// An application read an object of a source through the endpoint.
    SourceRead = "source.read",
    /// An application changed something of a source through the endpoint, or tried to.
    SourceWritten = "source.written",
    /// An object was found damaged.
    ObjectDamaged = "object.damaged",
    /// A version that was damaged came again.
    ObjectRepaired = "object.repaired",
    /// A peer found its copy of a version damaged: it is sent again.
    ReplicaDamaged = "replica.damaged",
    /// Damaged bytes of a version that came again were deleted after their time.
    QuarantineExpired = "quarantine.expired",
    /// A copy of a key record that was damaged was written anew from the other.
    RecordRepaired = "record.repaired",
    /// A whole pass of the scrub was done.
    ScrubFinished = "scrub.finished",
    /// The live entries of a pack were copied into another, and it was deleted.
    PackCompacted = "pack.compacted",
    /// A version was offered again with another checksum.
    ObjectConflict = "object.conflict",
    /// A canary was sealed, stored, opened and removed.
    CanaryTried = "canary.tried",
    /// An unfinished upload without progress was deleted.
    UploadExpired = "upload.expired",
    /// A key was created.
    KeyCreated = "key.created",
    /// A record key was wrapped.
    KeyWrapped = "key.wrapped",
    /// A record key was unwrapped.
    KeyUnwrapped = "key.unwrapped",
    /// A key record was wrapped anew, under another key or another version of it.
    KeyRewrapped = "key.rewrapped",
    /// A key was rotated.
    KeyRotated = "key.rotated",
    /// A key changed its state.
    KeyStateChanged = "key.state_changed",
    /// A key's alias, description or times were changed.
    KeyChanged = "key.changed",
    /// Material was imported into a key.
    KeyImported = "key.imported",
    /// The time of imported material is over: it was forgotten.
    KeyMaterialExpired = "key.material_expired",
    /// The material of an old version of a key was destroyed.
    KeyVersionRetired = "key.version_retired",
    /// A key was destroyed after its time.
    KeyDestroyed = "key.destroyed",
    /// A key, or a version of one, was not destroyed because something still needs it.
    KeyDestructionRefused = "key.destruction_refused",
    /// A key is to be in another region as well.
    KeyReplicated = "key.replicated",
    /// A region of a key took up what the primary has.
    KeySynchronized = "key.synchronized",
    /// Another region leads a key.
    KeyPromoted = "key.promoted",
    /// A region has a key no more, or is not waited for any more.
    KeyReplicaRemoved = "key.replica_removed",
    /// What two regions have of a key differs.
    KeyRegionsDiffer = "key.regions_differ",
    /// The keystore was sealed under another root key.
    RootKeyChanged = "keystore.root_key_changed",
    /// Keys were backed up or restored.
    KeyBackup = "key.backup",
    /// A certificate was issued.
    CertificateIssued = "certificate.issued",
    /// A one-time token was made, for a first certificate.
    EnrolmentToken = "enrolment.token",
    /// An identity that was locked or revoked can get certificates again.
    EnrolmentUnlocked = "enrolment.unlocked",
    /// Somebody asked for a certificate and got none.
    EnrolmentRefused = "enrolment.refused",
    /// Another certificate or other trust bundles were put in force.
    CertificateReplaced = "certificate.replaced",
    /// A certificate, or all that an identity had, was revoked.
    CertificateRevoked = "certificate.revoked",
    /// A newer trust bundle was taken up.
    BundleReplaced = "bundle.replaced",
    /// A trust bundle that was offered was not taken up.
    BundleRefused = "bundle.refused",
    /// An agent has a trust bundle in force, or its certificate from another root.
    BundleAcknowledged = "bundle.acknowledged",
    /// Certificate revocation lists were issued.
    CrlIssued = "crl.issued",
    /// A step of a CA roll-over was taken.
    RolloverStep = "ca.rollover",
    /// A step of a CA roll-over was refused.
    RolloverRefused = "ca.rollover_refused",
    /// Work was pending and nothing was acknowledged for too long.
    ReplicationStalled = "replication.stalled",
    /// Something was acknowledged again after that.
    ReplicationResumed = "replication.resumed",
    /// A peer came back with an older copy of its data.
    ReplicaRolledBack = "replica.rolled_back",
    /// Transfers wait for longer than a day.
    TransfersOverdue = "transfers.overdue",
    /// A change waits for longer than the RPO of its rule.
    RpoMissed = "rpo.missed",
    /// Nothing waits for longer than the RPO of its rule any more.
    RpoRecovered = "rpo.recovered",
    /// The catalog was rebuilt from the store.
    CatalogRebuilt = "catalog.rebuilt",
    /// A journal was made anew beside an older catalog: the one before it is lost.
    JournalLost = "journal.lost",
    /// A command changed something.
    Administration = "administration",
    /// Plaintext of which a sealed version was read back was removed.
    PlaintextRemoved = "plaintext.removed",
}

/// One record of the audit log. Its leaf is this as canonical JSON, with an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub kind: AuditKind,
    /// Who did it: an identity, `uid:N`, or `agent`.
    pub actor: String,
    /// What else is to be known, by name. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl AuditRecord {
    /// A record without details.
    #[must_use]
    pub fn new(at: Timestamp, kind: AuditKind, actor: impl Into<String>) -> Self {
        Self {
            at,
            kind,
            actor: actor.into(),
            details: BTreeMap::new(),
        }
    }

    /// The record with one detail more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }
}

/// The audit log cannot take a record: what depends on it must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {cause}")]
pub struct AuditUnavailable {
    /// What the log's storage said.
    pub cause: String,
}

/// The audit log, as everyone reaches it.
pub trait Audit: Send + Sync {
    /// Takes one record; it is durable with the log's next commit.
    ///
    /// # Errors
    /// [`AuditUnavailable`] when the record cannot be kept: fail closed.
    fn record(&self, record: AuditRecord) -> Result<(), AuditUnavailable>;
}
