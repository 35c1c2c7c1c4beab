//! What an agent can be asked: one structure a command, in JSON over the socket.

use std::path::PathBuf;

use sealift_archive::HeldVersions;
use sealift_terms::{BucketName, Identity, ObjectKey, PeerName, Reason, Status, VersionId, limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Adopt, Batches, Keys, NewCertificate, NewToken, Plan, ReadAudit, Replicate, Reseal, Residency,
    Revoke, Rewrap, TakeStep,
};
use crate::{
    Error,
    config::{Override, Place},
};

/// A command for an agent, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Counts, ages and rates; one [`StatusReport`](super::StatusReport).
    Status,
    /// Objects and how they stand; [`ObjectRow`](super::ObjectRow)s.
    Ls(Ls),
    /// The plaintext of one version; an [`ObjectRow`](super::ObjectRow), then bytes.
    Get(Get),
    /// Opens what is archived, compares with the source; [`Finding`](super::Finding)s and a
    /// [`VerifySummary`](super::VerifySummary).
    Verify(Verify),
    /// Where and how versions rest; [`ObjectRow`](super::ObjectRow)s with their sealing.
    Inspect(Named),
    /// Why an object stands as it does; [`Explanation`](super::Explanation)s.
    Explain(Named),
    /// Makes transfers due now; one [`Retried`](super::Retried).
    Retry(Retry),
    /// Reads the configuration again; [`CheckLine`](crate::CheckLine)s.
    Reload,
    /// Everything that `check` looks at on a running agent; [`CheckLine`](crate::CheckLine)s.
    Check(Check),
    /// What a change of the configuration would do; [`PlanRow`](super::PlanRow)s.
    Plan(Plan),
    /// Scans the sources now; one [`Count`](super::Count).
    Scan,
    /// How what rests here is looked after; a [`ScrubReport`](super::ScrubReport), then what is in
    /// quarantine as [`QuarantinedRow`](super::QuarantinedRow)s.
    Scrub(Scrub),
    /// Looks at the keys of the embedded keystore, or changes them.
    Keys(Keys),
    /// Wraps key records anew; [`RewrapRow`](super::RewrapRow)s.
    Rewrap(Rewrap),
    /// Seals versions anew; [`ResealRow`](super::ResealRow)s, in their order.
    Reseal(Reseal),
    /// Which bytes rest where, under which keys; [`ResidencyRow`](super::ResidencyRow)s.
    Residency(Residency),
    /// Seals plaintext that was found; [`AdoptRow`](super::AdoptRow)s.
    Adopt(Adopt),
    /// Sends versions again, or after all; [`ReplicateRow`](super::ReplicateRow)s.
    Replicate(Replicate),
    /// Begins batches of replication, lists, pauses, resumes and cancels them;
    /// [`BatchRow`](super::BatchRow)s, or [`ReplicateRow`](super::ReplicateRow)s.
    Batches(Batches),
    /// Reads the audit log.
    Audit(ReadAudit),
    /// The site's certificate and those of its peers;
    /// [`CertificateRow`](super::CertificateRow)s, its own first.
    Certs,
    /// Asks for another certificate now; what [`Request::Certs`] answers then.
    Renew,
    /// Looks at the deny list, or changes it; the [`DeniedRow`](super::DeniedRow)s on it then.
    Deny(Deny),
    /// Opens a bucket for writing at the S3 endpoint, or closes it; the
    /// [`PromotedRow`](super::PromotedRow)s of those that are open then.
    Promote(Promote),
    /// Legal holds: set, lifted, or only shown. Answers with [`HoldRow`](super::HoldRow)s of
    /// those that stand then.
    Hold(LegalHold),
    /// Makes a one-time token of the authority of this site; one
    /// [`TokenRow`](super::TokenRow).
    Token(NewToken),
    /// Issues a certificate of the authority of this site; one
    /// [`NewCertificateRow`](super::NewCertificateRow).
    Issue(NewCertificate),
    /// Revokes what the authority of this site issued; one [`RevokedRow`](super::RevokedRow).
    Revoke(Revoke),
    /// Looks at a CA roll-over, or takes a step of it; a
    /// [`RolloverReport`](super::RolloverReport), then [`KnownRow`](super::KnownRow)s.
    Rollover(TakeStep),
}

/// Which objects to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ls {
    /// Only of this bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Only keys that begin so.
    pub prefix: String,
    /// Only with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// All versions and delete markers, not only the latest.
    pub versions: bool,
    /// Only what rests sealed here, whoever wrote it and however it stands elsewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
}

/// Which bytes to get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The version; the latest when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// First and last byte; the last one is held to the object's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, Option<u64>)>,
}

/// What to verify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Only this bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Only keys that begin so.
    pub prefix: String,
    /// Open every sealed byte; read every source again.
    pub deep: bool,
}

/// One object by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The version; all of them when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// With what its source said of it, which rests sealed. `inspect` alone shows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub facts: bool,
}

/// What to try again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Only of this bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Only keys that begin so.
    pub prefix: String,
    /// Only to this peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// Only what waits or was given up for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Take the removal of most of a source for what it is.
    pub accept_deletes: bool,
}

/// Which configuration to check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// The file; the agent's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Settings given beside it, with their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
}

impl Check {
    /// The settings given beside the file, as the configuration takes them.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = Override> {
        self.set.iter().map(|(setting, value)| Override {
            setting: setting.clone(),
            value: value.clone(),
            place: Place::Flag("--set".to_owned()),
        })
    }
}

/// What the scrub is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// Begin a pass, unless one is under way.
    pub now: bool,
}

/// What becomes of the deny list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deny {
    /// Who is let in no more, or again; nothing is changed when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Whether it is taken off the list.
    pub lift: bool,
    /// Why it is put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What becomes of the buckets that take writes at the S3 endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Promote {
    /// Which one; nothing is changed when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Whether it takes no more writes.
    pub demote: bool,
}

/// What becomes of legal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LegalHold {
    /// Of this bucket those are shown that stand then; of all without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Which versions; none where holds are only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<HeldVersions>,
    /// What is to be done.
    pub act: HoldAct,
}

/// See [`LegalHold`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum HoldAct {
    /// Nothing.
    #[default]
    List,
    /// One is set.
    Set {
        /// Why.
        reason: String,
    },
    /// One is lifted.
    Lift {
        /// Whether that of the source is, too.
        of_source: bool,
        /// Why.
        reason: String,
    },
}

impl Request {
    /// The command's word, as in the path of a request.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Ls(_) => "ls",
            Self::Get(_) => "get",
            Self::Verify(_) => "verify",
            Self::Inspect(_) => "inspect",
            Self::Explain(_) => "explain",
            Self::Retry(_) => "retry",
            Self::Reload => "reload",
            Self::Check(_) => "check",
            Self::Plan(_) => "plan",
            Self::Scan => "scan",
            Self::Scrub(_) => "scrub",
            Self::Keys(_) => "keys",
            Self::Rewrap(_) => "rewrap",
            Self::Reseal(_) => "reseal",
            Self::Adopt(_) => "adopt",
            Self::Residency(_) => "residency",
            Self::Replicate(_) => "replicate",
            Self::Batches(_) => "batches",
            Self::Audit(_) => "audit",
            Self::Certs => "certs",
            Self::Renew => "renew",
            Self::Deny(_) => "deny",
            Self::Promote(_) => "promote",
            Self::Hold(_) => "hold",
            Self::Token(_) => "token",
            Self::Issue(_) => "issue",
            Self::Revoke(_) => "revoke",
            Self::Rollover(_) => "rollover",
        }
    }

    /// Whether the answer holds bytes, not only lines.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Keys(Keys::Backup { .. }))
    }

    /// How long the body of a request with this word may be.
    pub(super) fn body_bytes_max(word: &str) -> usize {
        match word {
            "keys" => limits::ADMIN_KEYS_BODY_BYTES_MAX,
            _ => limits::ADMIN_BODY_BYTES_MAX,
        }
    }

    /// The request with this word and this JSON.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown word, [`Error::Request`] for a body that
    /// is too long or is not the command's.
    pub fn parse(word: &str, body: &[u8]) -> Result<Self, Error> {
        let bytes_max = Self::body_bytes_max(word);
        if body.len() > bytes_max {
            return Err(too_long(bytes_max));
        }
        Ok(match word {
            "status" => Self::Status,
            "ls" => Self::Ls(json(body)?),
            "get" => Self::Get(json(body)?),
            "verify" => Self::Verify(json(body)?),
            "inspect" => Self::Inspect(json(body)?),
            "explain" => Self::Explain(json(body)?),
            "retry" => Self::Retry(json(body)?),
            "reload" => Self::Reload,
            "check" => Self::Check(json(body)?),
            "plan" => Self::Plan(json(body)?),
            "scan" => Self::Scan,
            "scrub" => Self::Scrub(json(body)?),
            "keys" => Self::Keys(json(body)?),
            "rewrap" => Self::Rewrap(json(body)?),
            "reseal" => Self::Reseal(json(body)?),
            "adopt" => Self::Adopt(json(body)?),
            "residency" => Self::Residency(json(body)?),
            "replicate" => Self::Replicate(json(body)?),
            "batches" => Self::Batches(json(body)?),
            "audit" => Self::Audit(json(body)?),
            "certs" => Self::Certs,
            "renew" => Self::Renew,
            "deny" => Self::Deny(json(body)?),
            "promote" => Self::Promote(json(body)?),
            "hold" => Self::Hold(json(body)?),
            "token" => Self::Token(json(body)?),
            "issue" => Self::Issue(json(body)?),
            "revoke" => Self::Revoke(json(body)?),
            "rollover" => Self::Rollover(json(body)?),
            other => {
                let what = format!("command {other:?}");
                return Err(Error::NotFound { what });
            }
        })
    }

    /// The JSON that [`Request::parse`] reads back.
    ///
    /// # Errors
    /// None in practice: every field can be written.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        let json = match self {
            Self::Ls(it) => serde_json::to_vec(it),
            Self::Get(it) => serde_json::to_vec(it),
            Self::Verify(it) => serde_json::to_vec(it),
            Self::Inspect(it) | Self::Explain(it) => serde_json::to_vec(it),
            Self::Retry(it) => serde_json::to_vec(it),
            Self::Keys(it) => serde_json::to_vec(it),
            Self::Rewrap(it) => serde_json::to_vec(it),
            Self::Reseal(it) => serde_json::to_vec(it),
            Self::Adopt(it) => serde_json::to_vec(it),
            Self::Residency(it) => serde_json::to_vec(it),
            Self::Replicate(it) => serde_json::to_vec(it),
            Self::Batches(it) => serde_json::to_vec(it),
            Self::Audit(it) => serde_json::to_vec(it),
            Self::Check(it) => serde_json::to_vec(it),
            Self::Plan(it) => serde_json::to_vec(it),
            Self::Scrub(it) => serde_json::to_vec(it),
            Self::Deny(it) => serde_json::to_vec(it),
            Self::Promote(it) => serde_json::to_vec(it),
            Self::Hold(it) => serde_json::to_vec(it),
            Self::Token(it) => serde_json::to_vec(it),
            Self::Issue(it) => serde_json::to_vec(it),
            Self::Revoke(it) => serde_json::to_vec(it),
            Self::Rollover(it) => serde_json::to_vec(it),
            Self::Status | Self::Reload | Self::Scan | Self::Certs | Self::Renew => {
                Ok(b"{}".to_vec())
            }
        };
        json.map_err(Error::failed("writing a request"))
    }
}

/// A body that is longer than allowed.
pub(super) fn too_long(bytes_max: usize) -> Error {
    Error::Request {
        what: "body of a request",
        found: "more".to_owned(),
        allowed: format!("{bytes_max} bytes"),
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Request {
        what: "body of a request",
        found: error.to_string(),
        allowed: "the JSON of this command".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use sealift_keys::ImportedMaterial;
    use sealift_terms::{BatchId, DeletionDays, KeyId, RotationDays};

    use super::*;
    use crate::admin::{
        BatchAct, KeyVersions, NewRootKey, ReplicateAct, ReplicateFilter, RootKeyForm,
    };

    #[test]
    fn requests_survive_a_round_trip() {
        let named = Named {
            bucket: BucketName::new("b").unwrap(),
            key: ObjectKey::new("ä/\n").unwrap(),
            version: None,
            facts: false,
        };
        let get = Get {
            bucket: named.bucket.clone(),
            key: named.key.clone(),
            version: Some(VersionId::new("v").unwrap()),
            range: Some((3, None)),
        };
        for request in [
            Request::Status,
            Request::Scrub(Scrub { now: true }),
            Request::Ls(Ls::default()),
            Request::Get(get),
            Request::Verify(Verify::default()),
            Request::Inspect(named.clone()),
            Request::Explain(named),
            Request::Retry(Retry::default()),
            Request::Reload,
            Request::Check(Check::default()),
            Request::Check(Check {
                file: Some("/etc/sealift.toml".into()),
                set: vec![("log.level".to_owned(), "debug".to_owned())],
            }),
            Request::Plan(Plan {
                of: Check::default(),
                objects: true,
            }),
            Request::Replicate(Replicate {
                act: ReplicateAct::Find(ReplicateFilter {
                    statuses: vec![Status::Failed],
                    ..ReplicateFilter::default()
                }),
                tags_only: true,
            }),
            Request::Batches(Batches {
                act: BatchAct::List,
            }),
            Request::Batches(Batches {
                act: BatchAct::Cancel(BatchId(7)),
            }),
            Request::Scan,
            Request::Certs,
            Request::Renew,
            Request::Deny(Deny {
                identity: "spiffe://example.org/region/r/agent/a".parse().ok(),
                lift: true,
                reason: None,
            }),
            Request::Promote(Promote {
                bucket: "photos".parse().ok(),
                demote: true,
            }),
            Request::Hold(LegalHold::default()),
            Request::Hold(LegalHold {
                bucket: "photos".parse().ok(),
                on: Some(HeldVersions {
                    bucket: "photos".parse().unwrap(),
                    key: "k".to_owned(),
                    is_prefix: false,
                    version: "v".parse().ok(),
                }),
                act: HoldAct::Lift {
                    of_source: true,
                    reason: "the case is over".to_owned(),
                },
            }),
            Request::Token(NewToken {
                directory: "/ca".into(),
                region: "eu-west".parse().unwrap(),
                name: "a".parse().unwrap(),
                roles: [sealift_identity::SiteRole::Sender].into_iter().collect(),
                ttl_secs: 60,
                issuer: "h:1".to_owned(),
                issuer_identity: "spiffe://example.org/region/r/agent/a".parse().unwrap(),
            }),
            Request::Issue(NewCertificate {
                directory: "/ca".into(),
                region: "eu-west".parse().unwrap(),
                name: "a".parse().unwrap(),
                life_secs: 3600,
                dns_names: vec!["a.example.org".to_owned()],
                csr: "PEM".to_owned(),
            }),
            Request::Revoke(Revoke {
                what: "0a".to_owned(),
                reason: "lost".to_owned(),
            }),
            Request::Rollover(TakeStep {
                step: crate::admin::RolloverStep::Acknowledge,
                sequence: Some(2),
                ..TakeStep::default()
            }),
            Request::Keys(Keys::List),
            Request::Keys(Keys::Rotate {
                key: "alias/a".to_owned(),
                reason: None,
            }),
            Request::Keys(Keys::Create {
                alias: "alias/a".parse().unwrap(),
                description: "of the photos".parse().ok(),
                rotate_every_days: RotationDays::default(),
                multi_region: true,
                allowed_regions: ["eu-west".parse().unwrap()].into(),
            }),
            Request::Keys(Keys::Replicate {
                key: "alias/a".to_owned(),
                to: "eu-west".parse().unwrap(),
            }),
            Request::Keys(Keys::Promote {
                key: "alias/a".to_owned(),
                without_primary: "it burnt".parse().ok(),
            }),
            Request::Keys(Keys::ScheduleDeletion {
                key: "alias/a".to_owned(),
                days: DeletionDays::new(7).unwrap(),
            }),
            Request::Keys(Keys::Import {
                key: "alias/a".parse().unwrap(),
                material: ImportedMaterial::from_hex(&[b'a'; 64]).unwrap(),
                expires: None,
                new_version: true,
                description: None,
            }),
            Request::Keys(Keys::RekeyRoot(NewRootKey {
                file: "/root.key".into(),
                holds: RootKeyForm::Wrapped,
            })),
            Request::Keys(Keys::BackedUp(KeyVersions {
                versions: vec![(KeyId::new("key-1").unwrap(), "2".to_owned())],
            })),
            Request::Audit(ReadAudit::Tail { leaves: 5 }),
        ] {
            let body = request.body().unwrap();
            assert_eq!(Request::parse(request.word(), &body).unwrap(), request);
        }
    }

    #[test]
    fn unknown_commands_fields_and_long_bodies_are_refused() {
        assert!(matches!(
            Request::parse("format-disk", b"{}"),
            Err(Error::NotFound { .. })
        ));
        for body in ["", "[]x", r#"{"prefixx":""}"#, r#"{"bucket":"UPPER"}"#] {
            assert!(matches!(
                Request::parse("ls", body.as_bytes()),
                Err(Error::Request { .. })
            ));
        }
        for body in [
            r#"{"act":"schedule-deletion","key":"k","days":6}"#,
            r#"{"act":"create","alias":"a","rotate_every_days":3000}"#,
            r#"{"act":"rotate","key":"k","reason":"two\nlines"}"#,
            r#"{"act":"import","key":"a","material":"00"}"#,
        ] {
            let parsed = Request::parse("keys", body.as_bytes());
            assert!(matches!(parsed, Err(Error::Request { .. })), "{body}");
        }
        let long = vec![b' '; limits::ADMIN_BODY_BYTES_MAX + 1];
        assert!(Request::parse("status", &long).is_err());
        let long = vec![b' '; limits::ADMIN_KEYS_BODY_BYTES_MAX + 1];
        assert!(Request::parse("keys", &long).is_err());
    }
}
