//! `ca revoke` and `ca rollover`: what changes the authority in `ca.directory`. The
//! root's key is not needed for it and is not read.

use std::collections::{BTreeMap, BTreeSet};

use sealift_identity::{Acknowledgement, Enrolments, IdentityError, Rollover};
use sealift_terms::{AuditKind, AuditRecord, Identity, limits::DENY_REASON_BYTES_MAX};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, KnownRow, Revoke, RevokedRow, RolloverReport, RolloverStep, TakeStep},
};

/// Identities that an error names; more are counted.
const NAMED_MAX: usize = 8;

/// What a step waits for: the bundle with this number, and certificates of this root.
#[derive(Debug, Clone, Default)]
struct Gate {
    sequence: Option<u64>,
    root: Option<String>,
}

type Known = BTreeMap<Identity, Option<Acknowledgement>>;

impl SiteOperations {
    pub(super) async fn revoke(
        &self,
        revoke: Revoke,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        hold_reason(Some(&revoke.reason))?;
        let row = {
            let _one_at_a_time = self.site.authority.lock();
            self.revoke_now(&revoke, actor)?
        };
        answer.row(&row).await
    }

    fn revoke_now(&self, revoke: &Revoke, actor: &Actor) -> Result<RevokedRow, Error> {
        let (mut enrolments, now) = (self.enrolments()?, self.site.world.clock.now());
        let what = revoke.what.to_ascii_lowercase();
        let whose: Option<Identity> = revoke.what.parse().ok();
        let record = AuditRecord::new(now, AuditKind::CertificateRevoked, actor.to_string());
        let record = record.with("reason", &revoke.reason);
        let (identity, is_news) = match whose {
            Some(identity) => {
                self.site.record(record.with("identity", &identity))?;
                let is_news = enrolments.revoke_identity(&identity, now)?;
                (Some(identity), is_news)
            }
            None if is_serial(&what) => {
                let holder = enrolments.holder(&what)?;
                let record = record.with("serial", &what);
                let record = holder.iter().fold(record, |it, of| it.with("identity", of));
                self.site.record(record)?;
                (holder, enrolments.revoke_serial(&what, now)?)
            }
            None => {
                return Err(Error::Request {
                    what: "certificate",
                    found: format!("{:?}", revoke.what),
                    allowed: "an identity or a serial number in hex, as `sealift certs list` shows"
                        .to_owned(),
                });
            }
        };
        let bundle = enrolments.authority().bundle();
        let serials = bundle.revoked().iter().rev();
        let named = |serials: &&sealift_identity::Revocation| match &identity {
            Some(identity) if revoke.what == identity.as_str() => {
                serials.identity.as_ref() == Some(identity)
            }
            _ => serials.serials.contains(&what),
        };
        let serials = serials
            .into_iter()
            .find(named)
            .map(|one| one.serials.clone());
        Ok(RevokedRow {
            identity,
            serials: serials.unwrap_or_default(),
            sequence: bundle.sequence(),
            is_news,
        })
    }

    pub(super) async fn rollover(
        &self,
        take: TakeStep,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        hold_reason(take.reason.as_deref())?;
        let (report, known) = {
            let _one_at_a_time = self.site.authority.lock();
            self.take_step(&take, actor)?;
            self.standing()?
        };
        answer.row(&report).await?;
        for row in known {
            answer.row(&row).await?;
        }
        Ok(())
    }

    fn take_step(&self, take: &TakeStep, actor: &Actor) -> Result<(), Error> {
        let mut enrolments = self.enrolments()?;
        if take.step == RolloverStep::Status {
            return Ok(());
        }
        if take.step == RolloverStep::Acknowledge {
            return self.acknowledge_for(take, &enrolments, actor);
        }
        let before = enrolments.authority().rollover()?;
        // What comes too early is refused by the authority, what was done is done.
        let is_due = match take.step {
            RolloverStep::Announce => before == Rollover::Prepared,
            RolloverStep::Issue => matches!(before, Rollover::Announced { .. }),
            _ => matches!(before, Rollover::Issuing { .. }),
        };
        let mut left_behind = BTreeSet::new();
        if is_due {
            left_behind = self.hold_gate(take, &enrolments, actor)?;
            let record = self.step_record(AuditKind::RolloverStep, take, actor);
            let record = record.with("sequence", enrolments.authority().bundle().sequence() + 1);
            self.site.record(match left_behind.is_empty() {
                true => record,
                false => record.with("without", names(&left_behind)),
            })?;
        }
        let authority = enrolments.authority_mut();
        // One that was cut off is taken to its end.
        match take.step {
            RolloverStep::Announce => authority.announce()?,
            RolloverStep::Issue => authority.issue_from_next()?,
            _ => authority.retire()?,
        };
        if take.step == RolloverStep::Retire {
            for identity in &left_behind {
                enrolments.forget(identity)?;
            }
        }
        Ok(())
    }

    /// Refuses a step before everybody has the one before it, but for those it is to be
    /// taken without: these.
    fn hold_gate(
        &self,
        take: &TakeStep,
        enrolments: &Enrolments,
        actor: &Actor,
    ) -> Result<BTreeSet<Identity>, Error> {
        let (gate, known) = (gate(enrolments)?, self.known(enrolments)?);
        if let Some(unknown) = take.without.iter().find(|one| !known.contains_key(one)) {
            return Err(Error::Request {
                what: "peer to go on without",
                found: format!("{unknown}, which nothing waits for"),
                allowed: "one that `sealift ca rollover status` shows".to_owned(),
            });
        }
        if !take.without.is_empty() && take.reason.is_none() {
            return Err(Error::Request {
                what: "reason",
                found: "none".to_owned(),
                allowed: "why the step is taken without a peer".to_owned(),
            });
        }
        let missing = known
            .iter()
            .filter(|(_, row)| !gate.is_open_to(row.as_ref()));
        let missing: BTreeSet<Identity> = missing.map(|(identity, _)| identity.clone()).collect();
        let without: BTreeSet<Identity> = take.without.iter().cloned().collect();
        let waited_for: BTreeSet<Identity> = missing.difference(&without).cloned().collect();
        if waited_for.is_empty() {
            return Ok(missing);
        }
        let record = self.step_record(AuditKind::RolloverRefused, take, actor);
        self.site
            .record(record.with("waits_for", names(&waited_for)))?;
        let sequence = gate.sequence.unwrap_or_default();
        let what = match gate.root {
            None => format!("trust bundle {sequence} in force"),
            Some(_) => {
                format!("trust bundle {sequence} in force and a certificate of the new root")
            }
        };
        Err(Error::TryAgain {
            what: format!(
                "{} is refused: not yet with {what}: {}",
                take.step.word(),
                names(&waited_for)
            ),
            reason: None,
        })
    }

    /// An operator's word for a peer that is given files.
    fn acknowledge_for(
        &self,
        take: &TakeStep,
        enrolments: &Enrolments,
        actor: &Actor,
    ) -> Result<(), Error> {
        let current = enrolments.authority().bundle().sequence();
        let (Some(identity), Some(sequence), Some(_)) = (&take.peer, take.sequence, &take.reason)
        else {
            return Err(Error::Request {
                what: "acknowledgement",
                found: "a part of it".to_owned(),
                allowed: "a peer, the number of its trust bundle, and how you know".to_owned(),
            });
        };
        if sequence > current {
            return Err(Error::Request {
                what: "number of a trust bundle",
                found: sequence.to_string(),
                allowed: format!("at most {current}"),
            });
        }
        let record = self.step_record(AuditKind::BundleAcknowledged, take, actor);
        self.site
            .record(record.with("identity", identity).with("sequence", sequence))?;
        enrolments.acknowledge(&Acknowledgement {
            identity: identity.clone(),
            sequence,
            root: None,
            at: self.site.world.clock.now(),
            by: Some(actor.to_string()),
        })?;
        Ok(())
    }

    fn standing(&self) -> Result<(RolloverReport, Vec<KnownRow>), Error> {
        let enrolments = self.enrolments()?;
        let (authority, gate) = (enrolments.authority(), gate(&enrolments)?);
        let report = RolloverReport {
            domain: authority.domain().to_owned(),
            rollover: authority.rollover()?,
            bundle: authority.bundle().sequence(),
            roots: authority.bundle().roots().len(),
            revoked: authority.bundle().revoked().len(),
        };
        let row = |(identity, row): (Identity, Option<Acknowledgement>)| KnownRow {
            ready: gate.is_open_to(row.as_ref()),
            bundle: row.as_ref().map(|row| row.sequence),
            since: row.as_ref().map(|row| row.at),
            root: row.as_ref().and_then(|row| row.root.clone()),
            by: row.and_then(|row| row.by),
            identity,
        };
        let known = self.known(&enrolments)?;
        Ok((report, known.into_iter().map(row).collect()))
    }

    /// Everybody with a certificate of this authority, and the peers of this site, that
    /// trust it whoever issues their own.
    fn known(&self, enrolments: &Enrolments) -> Result<Known, Error> {
        let mut known = enrolments.known()?;
        let bundle = enrolments.authority().bundle();
        for peer in &self.site.current().peers {
            let revoked = bundle.revoked().iter();
            let is_revoked =
                |it: &sealift_identity::Revocation| it.identity.as_ref() == Some(&peer.identity);
            if !revoked.into_iter().any(is_revoked) {
                known.entry(peer.identity.clone()).or_default();
            }
        }
        Ok(known)
    }

    fn step_record(&self, kind: AuditKind, take: &TakeStep, actor: &Actor) -> AuditRecord {
        let now = self.site.world.clock.now();
        let record = AuditRecord::new(now, kind, actor.to_string()).with("step", take.step.word());
        match &take.reason {
            Some(reason) => record.with("reason", reason),
            None => record,
        }
    }

    pub(super) fn enrolments(&self) -> Result<Enrolments, Error> {
        let config = self.site.current();
        let ca = config.ca.as_ref().ok_or_else(|| Error::Request {
            what: "site",
            found: "one without a [ca] section".to_owned(),
            allowed: "the site whose agent issues certificates".to_owned(),
        })?;
        Ok(Enrolments::open(&ca.directory)?)
    }
}

impl Gate {
    fn is_open_to(&self, row: Option<&Acknowledgement>) -> bool {
        let Some(sequence) = self.sequence else {
            return true;
        };
        row.is_some_and(|row| row.suffices(sequence, self.root.as_deref()))
    }
}

/// What the next step waits for.
fn gate(enrolments: &Enrolments) -> Result<Gate, IdentityError> {
    let authority = enrolments.authority();
    Ok(match authority.rollover()? {
        Rollover::Announced { sequence } | Rollover::Retired { sequence } => Gate {
            sequence: Some(sequence),
            root: None,
        },
        Rollover::Issuing { sequence } => Gate {
            sequence: Some(sequence),
            root: authority.next_root()?,
        },
        // What came before it was taken to its end.
        Rollover::Prepared => Gate {
            sequence: authority.retired_before()?,
            root: None,
        },
        _ => Gate::default(),
    })
}

fn names(identities: &BTreeSet<Identity>) -> String {
    let named = identities.iter().take(NAMED_MAX).map(Identity::as_str);
    let named: Vec<_> = named.collect();
    match identities.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn is_serial(text: &str) -> bool {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    !text.is_empty() && text.len() <= 40 && text.len().is_multiple_of(2) && is_hex
}

fn hold_reason(reason: Option<&str>) -> Result<(), Error> {
    let len = reason.map_or(0, str::len);
    match len <= DENY_REASON_BYTES_MAX {
        true => Ok(()),
        false => Err(Error::Request {
            what: "reason",
            found: format!("{len} bytes"),
            allowed: format!("{DENY_REASON_BYTES_MAX} bytes"),
        }),
    }
}
