//! `ca token` and `ca issue`: what the authority in `ca.directory` gives by command, on record.

use std::{fs, path::Path, time::Duration};

use sealift_identity::{Enrolments, LeafRequest};
use sealift_terms::{AuditKind, AuditRecord, Identity, Region, SiteName};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, NewCertificate, NewCertificateRow, NewToken, TokenRow},
};

impl SiteOperations {
    pub(super) async fn token(
        &self,
        new: NewToken,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let row = {
            let _one_at_a_time = self.site.authority.lock();
            self.make_token(&new, actor)?
        };
        answer.row(&row).await
    }

    fn make_token(&self, new: &NewToken, actor: &Actor) -> Result<TokenRow, Error> {
        let mut enrolments = self.enrolments_in(&new.directory)?;
        let identity = agent(&enrolments, &new.region, &new.name)?;
        let ttl = Duration::from_secs(new.ttl_secs);
        enrolments.may_make_token(&identity, ttl)?;
        let (clock, rng) = (&*self.site.world.clock, &*self.site.world.rng);
        let ends = clock.now().plus(ttl);
        self.record_unlocking(&enrolments, &identity, "ca token", actor)?;
        let record = self.record_of(AuditKind::EnrolmentToken, &identity, actor);
        let record = record
            .with("roles", &new.roles)
            .with("ends", ends)
            .with("issuer", &new.issuer);
        self.site.record(record)?;
        let issuer = (new.issuer.clone(), new.issuer_identity.clone());
        let token = enrolments.token((identity, new.roles.clone()), issuer, ttl, clock, rng)?;
        Ok(TokenRow {
            identity: token.identity.clone(),
            roles: token.roles.clone(),
            token: token.to_text().to_string(),
            ends,
        })
    }

    pub(super) async fn issue(
        &self,
        new: NewCertificate,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let row = {
            let _one_at_a_time = self.site.authority.lock();
            self.make_certificate(&new, actor)?
        };
        answer.row(&row).await
    }

    fn make_certificate(
        &self,
        new: &NewCertificate,
        actor: &Actor,
    ) -> Result<NewCertificateRow, Error> {
        let mut enrolments = self.enrolments_in(&new.directory)?;
        let identity = agent(&enrolments, &new.region, &new.name)?;
        let request = LeafRequest {
            dns_names: new.dns_names.clone(),
            life: Duration::from_secs(new.life_secs),
            ..LeafRequest::new(identity.clone())
        };
        let (clock, rng) = (&*self.site.world.clock, &*self.site.world.rng);
        let asked = (new.csr.as_bytes(), request);
        let issued = enrolments.issue_by_command(asked, clock, rng, |enrolments| {
            self.record_unlocking(enrolments, &identity, "ca issue", actor)
        })?;
        let leaf = &issued.leaf;
        let record = self.record_of(AuditKind::CertificateIssued, &identity, actor);
        let record = record
            .with("serial", &leaf.serial)
            .with("not_after", leaf.not_after)
            .with("against", "command");
        self.site.record(record)?;
        // So that it can be renewed from here on.
        enrolments.note_issued(leaf)?;
        Ok(NewCertificateRow {
            identity,
            serial: leaf.serial.clone(),
            not_after: leaf.not_after,
            chain: issued.chain_pem.clone(),
            bundle: enrolments.authority().bundle().to_json(),
        })
    }

    /// An identity that is locked or revoked gets certificates again: by name, and for what
    /// it was locked.
    fn record_unlocking(
        &self,
        enrolments: &Enrolments,
        identity: &Identity,
        command: &str,
        actor: &Actor,
    ) -> Result<(), Error> {
        if !enrolments.is_locked(identity)? {
            return Ok(());
        }
        let record = self.record_of(AuditKind::EnrolmentUnlocked, identity, actor);
        let record = record
            .with("command", command)
            .with("revoked", "what it was given until now");
        let lock = enrolments.locks()?.into_iter();
        let lock = lock.into_iter().find(|lock| lock.identity == *identity);
        self.site.record(match lock {
            Some(lock) => record
                .with("locked_since", lock.at)
                .with("locked_for", lock.why),
            None => record,
        })
    }

    fn record_of(&self, kind: AuditKind, identity: &Identity, actor: &Actor) -> AuditRecord {
        let now = self.site.world.clock.now();
        AuditRecord::new(now, kind, actor.to_string()).with("identity", identity)
    }

    /// Those of this site's authority, which has to be the one that is meant.
    fn enrolments_in(&self, directory: &Path) -> Result<Enrolments, Error> {
        let own = self
            .site
            .current()
            .ca
            .as_ref()
            .map(|ca| ca.directory.clone());
        if let Some(own) = own
            && fs::canonicalize(&own).ok() != fs::canonicalize(directory).ok()
        {
            return Err(Error::Request {
                what: "authority",
                found: directory.display().to_string(),
                allowed: format!("the one that this agent issues from: {}", own.display()),
            });
        }
        self.enrolments()
    }
}

/// An agent of an authority.
fn agent(enrolments: &Enrolments, region: &Region, name: &SiteName) -> Result<Identity, Error> {
    let domain = enrolments.authority().domain();
    Identity::new(domain, region, name).map_err(|error| Error::Request {
        what: "identity",
        found: format!("{:?}", error.found),
        allowed: error.allowed.to_owned(),
    })
}
