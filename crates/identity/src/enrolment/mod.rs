//! First certificates against a token, and later ones against the one before.
//!
//! ```text
//!   token (secret) ──first use──▶ bound to one public key ──▶ certificate
//!   certificate N  ──first use──▶ bound to one public key ──▶ certificate N+1
//! ```
//!
//! Each step is good for one key, and is still taken a while after the certificate is over.
//! Asked again with the same key, as after a lost answer, the same certificate comes back;
//! another key means that two have what one should have: nothing is issued for that identity
//! any more, until a new token is.

mod acknowledging;
mod anew;
mod locks;
mod request;
mod roles;
mod site;
mod tls;
mod token;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ring::digest;
use sealift_terms::{Clock, Identity, Rng, Timestamp, limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    authority::{Authority, Issued, LeafRequest, signing_key},
    certificate::{Leaf, public_key_hash},
    error::IdentityError,
    files,
    revoked::Revocation,
};

pub use acknowledging::Acknowledgement;
pub use locks::Lock;
pub use request::{new_private_key, signing_request};
pub use roles::{SiteRole, SiteRoles};
pub use site::IssuingSite;
pub use tls::{enrolling_client, issuing_server};
pub use token::EnrolmentToken;

/// Its directory in an authority's.
pub(crate) const ENROLMENT: &str = "enrolment";
const TOKENS: &str = "tokens";
const AGENTS: &str = "agents";

/// Why no certificate is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentRefusal {
    /// The secret is of no token, or of one that is over.
    #[error("the token is unknown or over")]
    UnknownToken,
    /// It was used with another key before: from now on it is of no use to anybody.
    #[error("the token was used with another key before: it is locked now")]
    TokenReused,
    /// The certificate that is shown was renewed with another key before.
    #[error("the certificate was renewed with another key before: the identity is locked now")]
    CertificateReused,
    /// The certificate that is shown is older than the one before the last.
    #[error("the certificate is not the last one issued: the identity is locked now")]
    Superseded,
    /// The identity is on the issuing site's deny list.
    #[error("the identity is denied")]
    Denied,
    /// The certificate that is shown is revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// The certificate that is shown is over, and its renewal is not what is asked for.
    #[error("the certificate is over: it is good for its own renewal and for nothing else")]
    Expired,
    /// The certificate that is shown ended too long ago.
    #[error(
        "the certificate is over for longer than it may be to be renewed: `sealift ca token` \
         begins anew"
    )]
    BeyondGrace,
    /// The certificate that is shown is not known to be the last one issued: it is over, or
    /// its identity waits for a token to be used.
    #[error(
        "the certificate is not known here as the last one: a token of `sealift ca token` begins anew"
    )]
    UnknownCertificate,
    /// Something of the above happened before.
    #[error("the identity is locked: `sealift ca token` for it begins anew")]
    Locked,
}

impl EnrolmentRefusal {
    /// Whether two hold what one should hold, which somebody has to look at.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        matches!(
            self,
            Self::TokenReused | Self::CertificateReused | Self::Superseded | Self::Locked
        )
    }

    /// Whether an identity was locked for it just now: once, until an operator unlocks it.
    #[must_use]
    pub fn locks(self) -> bool {
        self.is_alarm() && self != Self::Locked
    }

    /// A short fixed word for it, by which refusals are counted.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownToken => "unknown_token",
            Self::TokenReused => "token_reused",
            Self::CertificateReused => "certificate_reused",
            Self::Superseded => "superseded",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::BeyondGrace => "beyond_grace",
            Self::UnknownCertificate => "unknown_certificate",
            Self::Locked => "locked",
        }
    }
}

/// What a requester gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The chain as PEM text, the agent's certificate first.
    pub chain_pem: String,
    /// What the certificate says.
    pub leaf: Leaf,
    /// What its agent's token was for.
    pub roles: SiteRoles,
}

/// A token as the issuer remembers it: the secret's hash is the name of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRow {
    identity: Identity,
    #[serde(default, skip_serializing_if = "SiteRoles::is_any")]
    roles: SiteRoles,
    /// When it was made; those of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<Timestamp>,
    ends: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<Step>,
    #[serde(default)]
    locked: bool,
}

impl TokenRow {
    /// Since when there can have been such a token.
    fn since(&self) -> Timestamp {
        let earliest = self.ends.minus(limits::TOKEN_LIFE_MAX);
        self.made.unwrap_or(earliest)
    }
}

/// What the issuer remembers of an identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentRow {
    identity: Identity,
    /// Serial of the last certificate; none while the identity waits for its token to be
    /// used: nothing that it had before is renewed then.
    serial: String,
    /// What the token that it began with was for.
    #[serde(default, skip_serializing_if = "SiteRoles::is_any")]
    roles: SiteRoles,
    /// The renewal that made it: what it was asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewed: Option<Renewed>,
    #[serde(default)]
    locked: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewed {
    /// Serial of the certificate that was shown.
    from: String,
    step: Step,
}

/// A key that a certificate was made for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// SHA-256 of the public key, hex.
    key: String,
    chain_pem: String,
}

/// The enrolments of an authority: files beside its keys, each written in one step.
/// One process at a time may change them.
#[derive(Debug, Clone)]
pub struct Enrolments {
    authority: Authority,
    dir: PathBuf,
    /// Where a request comes from.
    from: Option<IpAddr>,
}

impl Enrolments {
    /// Those of the authority in a directory.
    ///
    /// # Errors
    /// [`IdentityError`] when it is no authority or its directory cannot be written.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let authority = Authority::open(dir)?;
        let dir = dir.join(ENROLMENT);
        for sub in [TOKENS, AGENTS] {
            files::create_dir(&dir.join(sub))?;
        }
        Ok(Self {
            authority,
            dir,
            from: None,
        })
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority, for what changes it.
    pub fn authority_mut(&mut self) -> &mut Authority {
        &mut self.authority
    }

    /// Revokes all that an identity was given, its tokens included, and gives it no more
    /// until a new token is made: whether that is news.
    ///
    /// # Errors
    /// [`IdentityError`] when it cannot be written, or no more can be revoked.
    pub fn revoke_identity(
        &mut self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<bool, IdentityError> {
        let one = Revocation {
            identity: Some(identity.clone()),
            serials: self.serials(identity)?,
            at: now,
        };
        let is_news = self.authority.revoke(one, now)?;
        self.lock(identity)?;
        self.forget_tokens(identity, None)?;
        self.forget_lock(identity)?;
        Ok(is_news)
    }

    /// Revokes one certificate. What was issued against it later counts: whether that is
    /// news.
    ///
    /// # Errors
    /// As [`revoke_identity`](Self::revoke_identity), and for what is no serial number.
    pub fn revoke_serial(&mut self, serial: &str, now: Timestamp) -> Result<bool, IdentityError> {
        let one = Revocation {
            identity: None,
            serials: vec![serial.to_owned()],
            at: now,
        };
        self.authority.revoke(one, now)
    }

    /// Makes a token for `identity` in these roles, good until `ttl` is over, to be used at
    /// `issuer`. It takes the place of those before, and unlocks an identity that was locked,
    /// and what a locked one was given is over. One that was not locked goes on renewing its last
    /// certificate until the token is used.
    ///
    /// # Errors
    /// [`IdentityError`]: a region without an issuing CA, too long a time, or a file that
    /// cannot be written.
    pub fn token(
        &mut self,
        (identity, roles): (Identity, SiteRoles),
        issuer: (String, Identity),
        ttl: Duration,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<EnrolmentToken, IdentityError> {
        self.may_make_token(&identity, ttl)?;
        // During a roll-over the issuing agent's certificate may come from either root.
        let roots = self.authority.bundle().roots().iter();
        let ca_keys = roots.map(public_key_hash).collect::<Result<Vec<_>, _>>()?;
        self.sweep(clock.now())?;
        let whose = (identity.clone(), roles.clone());
        let token = EnrolmentToken::new(whose, issuer, ca_keys, rng);
        let row = TokenRow {
            identity: identity.clone(),
            roles,
            made: Some(clock.now()),
            ends: clock.now().plus(ttl),
            used: None,
            locked: false,
        };
        self.begin_anew(&identity, clock.now())?;
        write(&self.token_path(&token.secret()), &row)?;
        Ok(token)
    }

    /// Whether a token may be made for `identity` that is good for `ttl`.
    ///
    /// # Errors
    /// [`IdentityError`]: a region without an issuing CA, or too long a time.
    pub fn may_make_token(&self, identity: &Identity, ttl: Duration) -> Result<(), IdentityError> {
        if ttl.is_zero() || ttl > limits::TOKEN_LIFE_MAX {
            return Err(IdentityError::Lifetime {
                asked_secs: ttl.as_secs(),
                min_secs: 1,
                max_secs: limits::TOKEN_LIFE_MAX.as_secs(),
            });
        }
        self.authority.issuing(identity.region()).map(drop)
    }

    /// A first certificate, against the secret of a token.
    ///
    /// # Errors
    /// [`IdentityError::Enrolment`] says why there is none; otherwise what is wrong with
    /// the request or the authority.
    pub fn enrol(
        &self,
        secret: &str,
        csr_pem: &[u8],
        life: Duration,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Enrolled, IdentityError> {
        let path = self.token_path(secret);
        let row: Option<TokenRow> = read(&path)?;
        let row = row.filter(|row| clock.now() < row.ends);
        let mut row = row.ok_or(EnrolmentRefusal::UnknownToken)?;
        if row.locked || self.is_locked(&row.identity)? {
            return Err(EnrolmentRefusal::Locked.into());
        }
        // What was revoked since gets nothing of it.
        let revoked = self.authority.revoked_at(&row.identity);
        if revoked.is_some_and(|at| row.since() < at) {
            return Err(EnrolmentRefusal::UnknownToken.into());
        }
        let key = key_of(csr_pem)?;
        if let Some(used) = &row.used {
            if used.key == key {
                return self.enrolled_before(used, &row.roles);
            }
            row.locked = true;
            write(&path, &row)?;
            let refusal = EnrolmentRefusal::TokenReused;
            self.lock_for(&row.identity, refusal, clock.now())?;
            return Err(refusal.into());
        }
        let step = self.issue(&row.identity, csr_pem, key, life, clock, rng)?;
        let made = enrolled(&step, &row.roles)?;
        // Bound to the key before anybody hears of the certificate.
        row.used = Some(step);
        write(&path, &row)?;
        self.forget_tokens(&row.identity, Some(&path))?;
        let agent = AgentRow {
            identity: row.identity,
            serial: made.leaf.serial.clone(),
            roles: row.roles,
            renewed: None,
            locked: false,
        };
        write(&self.agent_path(&agent.identity), &agent)?;
        Ok(made)
    }

    /// The next certificate, against the one that `shown` was read from: whoever calls
    /// has verified it, and that its holder has the key. One that is over is renewed within
    /// its [grace](Leaf::renewable_until), if it is the last one that was issued.
    ///
    /// # Errors
    /// As [`Enrolments::enrol`].
    pub fn renew(
        &self,
        shown: &Leaf,
        csr_pem: &[u8],
        life: Duration,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Enrolled, IdentityError> {
        match clock.now() > shown.renewable_until() {
            true => Err(EnrolmentRefusal::BeyondGrace.into()),
            false => self.renew_own(shown, csr_pem, life, clock, rng),
        }
    }

    /// The same of the issuing agent's own certificate, however long it is over: whoever
    /// has the authority's keys needs no grace.
    ///
    /// # Errors
    /// As [`Enrolments::enrol`].
    pub fn renew_own(
        &self,
        shown: &Leaf,
        csr_pem: &[u8],
        life: Duration,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Enrolled, IdentityError> {
        let path = self.agent_path(&shown.identity);
        let mut row = self.row_to_renew(shown, clock.now())?;
        let key = key_of(csr_pem)?;
        if row.serial != shown.serial
            && let Some(made) = self.made_against(shown, &row, &key, clock.now())?
        {
            return Ok(made);
        }
        let step = self.issue(&shown.identity, csr_pem, key, life, clock, rng)?;
        let made = enrolled(&step, &row.roles)?;
        row.serial.clone_from(&made.leaf.serial);
        let from = shown.serial.clone();
        row.renewed = Some(Renewed { from, step });
        write(&path, &row)?;
        Ok(made)
    }

    /// What is remembered of an identity that shows a certificate.
    fn row_to_renew(&self, shown: &Leaf, now: Timestamp) -> Result<AgentRow, IdentityError> {
        let row: Option<AgentRow> = read(&self.agent_path(&shown.identity))?;
        if row.as_ref().is_some_and(|row| row.locked) {
            return Err(EnrolmentRefusal::Locked.into());
        }
        if self.authority.bundle().is_revoked(shown) {
            return Err(EnrolmentRefusal::Revoked.into());
        }
        match row {
            Some(row) if row.serial.is_empty() => Err(EnrolmentRefusal::UnknownCertificate.into()),
            Some(row) => Ok(row),
            // Nobody knows whether it is the last one.
            None if shown.is_over(now) || self.was_maybe_locked(&shown.identity)? => {
                Err(EnrolmentRefusal::UnknownCertificate.into())
            }
            // One that was issued by hand is known from its first renewal on.
            None => Ok(AgentRow {
                identity: shown.identity.clone(),
                serial: shown.serial.clone(),
                roles: SiteRoles::default(),
                renewed: None,
                locked: false,
            }),
        }
    }

    /// What was issued against a certificate that is not the last one, if it was for the
    /// same key: an answer was lost. None when that is over, too: it is issued anew.
    fn made_against(
        &self,
        shown: &Leaf,
        row: &AgentRow,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Enrolled>, IdentityError> {
        let renewed = row.renewed.as_ref().filter(|it| it.from == shown.serial);
        let Some(renewed) = renewed else {
            let refusal = EnrolmentRefusal::Superseded;
            self.lock_for(&shown.identity, refusal, now)?;
            return Err(refusal.into());
        };
        if renewed.step.key != key {
            let refusal = EnrolmentRefusal::CertificateReused;
            self.lock_for(&shown.identity, refusal, now)?;
            return Err(refusal.into());
        }
        let made = enrolled(&renewed.step, &row.roles)?;
        if self.authority.bundle().is_revoked(&made.leaf) {
            return Err(EnrolmentRefusal::Revoked.into());
        }
        Ok((!made.leaf.is_over(now)).then_some(made))
    }

    /// Notes a certificate that was issued by hand, so that it can be renewed.
    ///
    /// # Errors
    /// [`IdentityError::File`] when it cannot be written.
    pub fn note_issued(&self, leaf: &Leaf) -> Result<(), IdentityError> {
        let row = AgentRow {
            identity: leaf.identity.clone(),
            serial: leaf.serial.clone(),
            roles: SiteRoles::default(),
            renewed: None,
            locked: false,
        };
        write(&self.agent_path(&leaf.identity), &row)?;
        self.forget_lock(&leaf.identity)
    }

    fn issue(
        &self,
        identity: &Identity,
        csr_pem: &[u8],
        key: String,
        life: Duration,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Step, IdentityError> {
        let request = LeafRequest {
            life,
            not_before_min: self.authority.earliest_start(identity),
            ..LeafRequest::new(identity.clone())
        };
        let issuing = self.authority.issuing(identity.region())?;
        let issued = issuing.issue_for_csr(csr_pem, &request, clock, rng)?;
        let chain_pem = issued.chain_pem;
        Ok(Step { key, chain_pem })
    }

    fn lock(&self, identity: &Identity) -> Result<(), IdentityError> {
        let path = self.agent_path(identity);
        let mut row = read(&path)?.unwrap_or_else(|| AgentRow {
            identity: identity.clone(),
            serial: String::new(),
            roles: SiteRoles::default(),
            renewed: None,
            locked: true,
        });
        row.locked = true;
        write(&path, &row)
    }

    /// What was issued against a token, once more: the answer was lost.
    fn enrolled_before(&self, used: &Step, roles: &SiteRoles) -> Result<Enrolled, IdentityError> {
        let made = enrolled(used, roles)?;
        match self.authority.bundle().is_revoked(&made.leaf) {
            true => Err(EnrolmentRefusal::Revoked.into()),
            false => Ok(made),
        }
    }

    fn token_path(&self, secret: &str) -> PathBuf {
        self.dir.join(TOKENS).join(token::fingerprint(secret))
    }

    fn agent_path(&self, identity: &Identity) -> PathBuf {
        let name = token::fingerprint(identity.as_str());
        self.dir.join(AGENTS).join(name)
    }
}

/// The public key of a signing request, by its hash.
fn key_of(csr_pem: &[u8]) -> Result<String, IdentityError> {
    let key = signing_key(csr_pem)?;
    Ok(hex::encode(digest::digest(&digest::SHA256, &key)))
}

fn enrolled(step: &Step, roles: &SiteRoles) -> Result<Enrolled, IdentityError> {
    let issued = Issued::new(step.chain_pem.clone(), None)?;
    Ok(Enrolled {
        chain_pem: issued.chain_pem,
        leaf: issued.leaf,
        roles: roles.clone(),
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, IdentityError> {
    let bytes = match files::read_secret(path, limits::CERTIFICATE_FILE_BYTES_MAX) {
        Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        read => read?,
    };
    let row = serde_json::from_slice(&bytes);
    row.map(Some)
        .map_err(|error| files::content(path, &error.to_string()))
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(files::failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn write<T: Serialize>(path: &Path, row: &T) -> Result<(), IdentityError> {
    let text = serde_json::to_vec_pretty(row);
    let text = text.map_err(|error| files::content(path, &error.to_string()))?;
    files::write_secret(path, &text)
}

#[cfg(test)]
mod tests;
