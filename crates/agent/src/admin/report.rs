//! How a site stands, as an agent answers: the rows of `--json`, in the words of the vocabulary.

use sealift_archive::{Hold, HoldSort};
use sealift_keys::KeyState;
use sealift_terms::{
    BucketName, Epoch, ForwardName, Identity, KeyAlias, KeyId, ObjectKey, ObjectUid, PeerName,
    Reason, Region, RuleName, SessionFacts, SiteId, SiteName, Status, Timestamp, VersionId,
};
use serde::{Deserialize, Serialize};

use super::{BroughtReport, KeyCalls};

/// How many, and how large together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Objects, or what else is counted.
    pub objects: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// Transfers with one status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    /// The status.
    pub status: Status,
    /// How many, and how large together.
    #[serde(flatten)]
    pub count: Count,
}

/// How a site stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Its name.
    pub site: SiteName,
    /// Its region.
    pub region: Region,
    /// Its id.
    pub site_id: SiteId,
    /// The life of its catalog.
    pub epoch: Epoch,
    /// Its commit sequence.
    pub sequence: u64,
    /// Whether an agent runs there.
    pub running: bool,
    /// Since when, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Whether it is ready, and what is in the way.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// All transfers and replicas by status.
    pub totals: Vec<StatusCount>,
    /// What is replicated from here.
    pub rules: Vec<RuleReport>,
    /// The largest objects on their way.
    #[serde(default)]
    pub under_way: Vec<UnderWay>,
    /// The sources behind the rules.
    pub sources: Vec<SourceReport>,
    /// What is archived here.
    pub buckets: Vec<BucketReport>,
    /// How often key providers were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_calls: Option<KeyCalls>,
    /// The keys of the embedded keystore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyReport>,
    /// The other agents.
    pub peers: Vec<PeerReport>,
    /// Forwards and targets with their streams, since the agent started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<ForwardReport>,
    /// How what is archived here is looked after.
    #[serde(default)]
    pub scrub: ScrubReport,
    /// What somebody has to look at. Unlike problems these do not make an agent unready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
}

/// How what rests here is looked after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Whether a pass is under way.
    pub under_way: bool,
    /// When it, or the last one, began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When a pass last came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Versions and marks it has opened.
    pub versions: u64,
    /// Sealed bytes it has read.
    pub bytes: u64,
    /// Its findings.
    pub findings: u64,
    /// Versions it could not open, as their key cannot be used.
    pub skipped: u64,
    /// Versions that are damaged and did not come again yet.
    pub damaged: u64,
    /// Damaged sealings that are kept although the version came again.
    pub repaired: u64,
}

/// Damaged bytes that are out of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedRow {
    /// The version.
    #[serde(flatten)]
    pub object: sealift_terms::VersionName,
    /// Why it is not served; none once it came again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What is wrong.
    pub evidence: String,
    /// The sealing.
    pub object_uid: ObjectUid,
    /// The file in the store.
    pub file: String,
    /// Where in that file.
    pub offset: u64,
    /// How many bytes there.
    pub length: u64,
    /// When the damage was found.
    pub found_at: Timestamp,
    /// When the version came again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired_at: Option<Timestamp>,
}

/// A certificate that a site shows, or that a peer of it showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    /// The peer; none for the site's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// Who it is for.
    pub identity: Identity,
    /// The certificate; none for a peer that has no connection now.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    /// The number of the trust bundle that vouches for it here; 0 for plain PEM.
    pub bundle: u64,
    /// Roots in that bundle.
    pub roots: usize,
    /// Whether it is on the deny list.
    pub denied: bool,
    /// Whether the certificate is revoked.
    #[serde(default)]
    pub revoked: bool,
    /// Until when the revocation lists are good that it is held to; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_until: Option<Timestamp>,
    /// Where the site's own comes from: `files`, `issuer`, `acme` or `spiffe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When the site's own is to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

/// A bucket that takes writes at the S3 endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotedRow {
    /// The bucket.
    pub bucket: BucketName,
    /// Since when.
    pub since: Timestamp,
    /// Who promoted it, as in the audit log.
    pub by: String,
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRow {
    /// The bucket.
    pub bucket: BucketName,
    /// The key, or what keys begin with.
    pub key: String,
    /// Whether it is what keys begin with.
    pub is_prefix: bool,
    /// One version of the key; every one without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Whether it was set, or that of a source was lifted.
    pub sort: HoldSort,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Who did it, as in the audit log.
    pub by: String,
    /// The versions that it is on now; of one that was set just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<u64>,
}

impl From<Hold> for HoldRow {
    fn from(hold: Hold) -> Self {
        Self {
            bucket: hold.on.bucket,
            key: hold.on.key,
            is_prefix: hold.on.is_prefix,
            version: hold.on.version,
            sort: hold.sort,
            reason: hold.reason,
            since: hold.since,
            by: hold.by,
            covers: None,
        }
    }
}

/// An identity on the deny list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeniedRow {
    /// Who is let in no more.
    pub identity: Identity,
    /// Since when.
    pub since: Timestamp,
    /// Who put it there, as in the audit log.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that somebody has to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The word for it: `stalled`, `damaged`.
    pub alarm: String,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

/// Whether an agent can do its work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Listening, certificate valid, keys usable, journal and catalog writable.
    pub ready: bool,
    /// What is in the way, or will be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What will be in the way when nobody looks after it. It is ready all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}

/// How long changes took, from when they were recorded until they were durable at the peer:
/// bounds within which so many of a hundred came. One is missing beyond a week.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LagReport {
    /// How many there were.
    pub objects: u64,
    /// Half of them took at most so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_secs: Option<f64>,
    /// 95 of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_secs: Option<f64>,
    /// 99 of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_secs: Option<f64>,
}

/// One rule to one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// The rule.
    pub rule: RuleName,
    /// The destination.
    pub peer: PeerName,
    /// Its transfers by status.
    pub counts: Vec<StatusCount>,
    /// Age of the oldest one that is not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_secs: Option<u64>,
    /// How old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_secs: Option<u64>,
    /// How long changes took to be durable there, since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagReport>,
    /// Objects acknowledged a second, lately.
    pub objects_per_second: f64,
    /// Bytes acknowledged a second, lately.
    pub bytes_per_second: f64,
    /// Seconds until everything known is acknowledged, at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_secs: Option<u64>,
}

/// An object on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// The rule that covers it.
    pub rule: RuleName,
    /// Where it goes.
    pub peer: PeerName,
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Bytes in all.
    pub size: u64,
    /// Bytes that the peer has stored.
    pub stored: u64,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its bucket.
    pub bucket: BucketName,
    /// Objects known to be in it.
    pub objects: u64,
    /// Names that the last scan left out, because they cannot be objects.
    pub skipped: u64,
    /// Objects that are still being written, and so are not recorded yet.
    #[serde(default)]
    pub settling: u64,
    /// Writes through the endpoint that nothing was recorded of yet.
    #[serde(default)]
    pub unsettled: u64,
    /// Seconds since the oldest of them began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unsettled_secs: Option<u64>,
    /// When a scan last came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned: Option<Timestamp>,
    /// Why the last one did not, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Removals that wait for `retry --accept-deletes`.
    pub deletes_held: u64,
    /// Version deletes that do.
    #[serde(default)]
    pub purges_held: u64,
    /// Why it is scanned every ten seconds instead of watched, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polling: Option<String>,
}

/// One archived bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketReport {
    /// Its name.
    pub bucket: BucketName,
    /// Versions, delete markers included.
    pub versions: u64,
    /// Delete markers.
    pub delete_markers: u64,
    /// Bytes of plaintext of all versions.
    pub bytes: u64,
    /// Bytes that it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Versions with content that it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_objects: Option<u64>,
    /// Its key, if it can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmk: Option<KeyId>,
    /// The version of its key that new records are wrapped under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmk_version: Option<String>,
    /// The key of its outer layer, if it is sealed in two and that key can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_cmk: Option<KeyId>,
    /// That key's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_cmk_version: Option<String>,
    /// Why a key of it cannot be used, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// One key of the embedded keystore, and what will become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// Its id.
    pub id: KeyId,
    /// Its human name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<KeyAlias>,
    /// Its state.
    pub state: KeyState,
    /// The version that wraps.
    pub version: String,
    /// Versions that no verified backup holds.
    pub without_backup: u64,
    /// When it gets its next version by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Timestamp>,
    /// Whether that time is over.
    pub overdue: bool,
    /// When it is to be destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_at: Option<Timestamp>,
    /// Until when its imported material may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The newest version, while it does not wrap yet because a replica lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// The other regions of a key that this one leads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaReport>,
}

/// A replica of a key, as its primary sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Its region.
    pub region: Region,
    /// Versions of the key that it lacks.
    pub versions_missing: u64,
    /// For how long it has lacked anything, in seconds; none when it has everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_secs: Option<u64>,
    /// What keeps it from being brought up to date at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One other agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name here.
    pub peer: PeerName,
    /// Sessions that are open.
    pub sessions: u64,
    /// Connections they have.
    pub links: u64,
    /// Round-trip time, in microseconds: the mean of the connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_micros: Option<u64>,
    /// Segments sent again since the agent started.
    #[serde(default)]
    pub retransmits: u64,
    /// Bytes a second that arrived lately, over all connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_bytes_per_second: Option<u64>,
    /// Congestion controls in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub congestion: Vec<String>,
    /// Whether what leaves for it is compressed, where that pays.
    #[serde(default)]
    pub compressing: bool,
    /// Bytes a second that may leave for it now; as many as will go, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes_per_second: Option<u64>,
    /// When another limit holds, by its timetable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_until: Option<Timestamp>,
    /// What it brought here, and what it may bring; none where nothing is archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<BroughtReport>,
    /// What was negotiated for the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionFacts>,
    /// Why there is none, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// One forward, or one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardReport {
    /// Its name.
    pub forward: ForwardName,
    /// `forward` where applications connect, `target` where the service is.
    pub side: String,
    /// Streams that are open.
    pub streams: u64,
    /// Streams that were opened.
    pub opened: u64,
    /// Bytes of applications that went to the peer.
    pub bytes_out: u64,
    /// Bytes from the peer that went to applications.
    pub bytes_in: u64,
    /// How often a stream went on over another connection.
    pub moves: u64,
    /// Streams that were closed although no application had ended them.
    pub dropped: u64,
    /// Streams that were refused.
    pub refused: u64,
}
