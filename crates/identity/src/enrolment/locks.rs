//! Identities that are locked because two hold what one should hold: what is known of it,
//! until an operator has dealt with it.

use std::{net::IpAddr, path::PathBuf};

use sealift_terms::{Identity, Timestamp};
use serde::{Deserialize, Serialize};

use super::{AgentRow, EnrolmentRefusal, Enrolments, TokenRow, read, token, write};
use crate::{error::IdentityError, files};

const LOCKS: &str = "locks";

/// An identity that nothing is issued for any more, and how that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Whose.
    pub identity: Identity,
    /// Since when.
    pub at: Timestamp,
    /// The refusal, in words.
    pub why: String,
    /// Where the request came from that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

impl Enrolments {
    /// Those for a request that comes from an address, which a lock names.
    #[must_use]
    pub fn asked_from(self, from: IpAddr) -> Self {
        let from = Some(from.to_canonical());
        Self { from, ..self }
    }

    /// The identities that are locked and not dealt with: neither revoked since, nor given
    /// a new token or another certificate by hand.
    ///
    /// # Errors
    /// [`IdentityError`] when files cannot be read.
    pub fn locks(&self) -> Result<Vec<Lock>, IdentityError> {
        self.rows(LOCKS)
    }

    /// Whether nothing is issued for an identity, because it is locked or revoked.
    ///
    /// # Errors
    /// [`IdentityError`] when files cannot be read.
    pub fn is_locked(&self, identity: &Identity) -> Result<bool, IdentityError> {
        let row: Option<AgentRow> = read(&self.agent_path(identity))?;
        Ok(row.is_some_and(|row| row.locked))
    }

    /// Whom the token with a secret is for, if it is known.
    ///
    /// # Errors
    /// [`IdentityError`] when files cannot be read.
    pub fn whose(&self, secret: &str) -> Result<Option<Identity>, IdentityError> {
        let row: Option<TokenRow> = read(&self.token_path(secret))?;
        Ok(row.map(|row| row.identity))
    }

    /// Locks an identity for what was just refused.
    pub(super) fn lock_for(
        &self,
        identity: &Identity,
        refusal: EnrolmentRefusal,
        at: Timestamp,
    ) -> Result<(), IdentityError> {
        let lock = Lock {
            identity: identity.clone(),
            at,
            why: refusal.to_string(),
            from: self.from,
        };
        // First: a crash between the two leaves no lock that nobody is told of.
        files::create_dir(&self.dir.join(LOCKS))?;
        write(&self.lock_path(identity), &lock)?;
        self.lock(identity)
    }

    /// Somebody has dealt with it.
    pub(super) fn forget_lock(&self, identity: &Identity) -> Result<(), IdentityError> {
        super::remove(&self.lock_path(identity))
    }

    fn lock_path(&self, identity: &Identity) -> PathBuf {
        let name = token::fingerprint(identity.as_str());
        self.dir.join(LOCKS).join(name)
    }
}
