//! What is over when an identity begins anew: its tokens, and what a locked one was given.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sealift_terms::{Clock, Identity, Rng, Timestamp};

use super::{AgentRow, Enrolments, SiteRoles, TOKENS, TokenRow, read, remove, write};
use crate::{Issued, LeafRequest, error::IdentityError, files, revoked::Revocation};

impl Enrolments {
    /// A certificate for the key in a signing request (PEM), as a command asks for it. Once it is
    /// known that it can be issued and `may_begin` agrees, the identity's tokens are over, and if
    /// it was locked, all that it was given is revoked. It is to be [noted](Self::note_issued)
    /// when it is on record.
    ///
    /// # Errors
    /// As [`Authority::issue_by_command`](crate::Authority::issue_by_command) and `may_begin`;
    /// when it cannot be written, or no more can be revoked.
    pub fn issue_by_command<E: From<IdentityError>>(
        &mut self,
        (csr_pem, request): (&[u8], LeafRequest),
        clock: &dyn Clock,
        rng: &dyn Rng,
        may_begin: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Issued, E> {
        let issue = |of: &Self| {
            let request = request.clone();
            of.authority.issue_by_command(csr_pem, request, clock, rng)
        };
        // What cannot be issued unlocks nothing, and nobody has it yet.
        let issued = issue(self)?;
        may_begin(self)?;
        match self.begin_anew(&request.identity, clock.now())? {
            // That one began before what is revoked now.
            true => Ok(issue(self)?),
            false => Ok(issued),
        }
    }

    /// Before an identity is given a token or a certificate by command: its tokens are over,
    /// and if it was locked, whoever has what it was given keeps nothing of it. That is
    /// revoked, and not renewed. Whether it was locked.
    ///
    /// # Errors
    /// [`IdentityError`] when it cannot be written, or no more can be revoked.
    pub(super) fn begin_anew(
        &mut self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<bool, IdentityError> {
        let row: Option<AgentRow> = read(&self.agent_path(identity))?;
        if row.is_none() && self.was_maybe_locked(identity)? {
            // Nobody could tell once those tokens are gone.
            self.await_token(identity)?;
        }
        self.forget_tokens(identity, None)?;
        let was_locked = row.is_some_and(|row| row.locked);
        if was_locked {
            let one = Revocation {
                identity: Some(identity.clone()),
                serials: self.serials(identity)?,
                // What is issued next is good at once; what was in this second is named.
                at: now.minus(Duration::from_secs(1)),
            };
            self.authority.revoke(one, now)?;
            self.await_token(identity)?;
        }
        self.forget_lock(identity)?;
        Ok(was_locked)
    }

    /// What an identity had before is not renewed any more, and locks nothing.
    pub(super) fn await_token(&self, identity: &Identity) -> Result<(), IdentityError> {
        let row = AgentRow {
            identity: identity.clone(),
            serial: String::new(),
            roles: SiteRoles::default(),
            renewed: None,
            locked: false,
        };
        write(&self.agent_path(identity), &row)
    }

    /// Whether an identity that nothing is remembered of may have been locked: older versions
    /// forgot that when they made a token, and say no time in it.
    pub(super) fn was_maybe_locked(&self, identity: &Identity) -> Result<bool, IdentityError> {
        let tokens = self.tokens()?;
        let is_older = |row: &TokenRow| row.identity == *identity && row.made.is_none();
        Ok(tokens.iter().any(|(_, row)| is_older(row)))
    }

    /// Forgets the tokens of an identity, but for one.
    pub(super) fn forget_tokens(
        &self,
        identity: &Identity,
        but: Option<&Path>,
    ) -> Result<(), IdentityError> {
        for (path, row) in self.tokens()? {
            if row.identity == *identity && but != Some(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Tokens that are over are forgotten.
    pub(super) fn sweep(&self, now: Timestamp) -> Result<(), IdentityError> {
        for (path, row) in self.tokens()? {
            if row.ends <= now {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The tokens, each with its file.
    pub(super) fn tokens(&self) -> Result<Vec<(PathBuf, TokenRow)>, IdentityError> {
        let dir = self.dir.join(TOKENS);
        let mut tokens = Vec::new();
        for entry in fs::read_dir(&dir).map_err(files::failed("read", &dir))? {
            let path = entry.map_err(files::failed("read", &dir))?.path();
            if path.extension().is_some() {
                // What a write that was cut off left of one.
                remove(&path)?;
            } else if let Some(row) = read(&path)? {
                tokens.push((path, row));
            }
        }
        Ok(tokens)
    }
}
