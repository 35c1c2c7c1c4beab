//! Who is known to an authority, and which trust bundle each has in force: what the next
//! step of a roll-over waits for.

use std::{collections::BTreeMap, fs, path::PathBuf};

use sealift_terms::{Identity, Timestamp, limits};
use serde::{Deserialize, Serialize};

use super::{AgentRow, Enrolments, read, token, write};
use crate::{error::IdentityError, files};

const ACKNOWLEDGED: &str = "acknowledged";

/// What somebody has in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// Who.
    pub identity: Identity,
    /// The number of the trust bundle.
    pub sequence: u64,
    /// The root that its certificate comes from, as in
    /// [`TrustBundle::root_fingerprints`](crate::TrustBundle::root_fingerprints).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Since when.
    pub at: Timestamp,
    /// Who said so, where it did not do so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Acknowledgement {
    /// Whether a step may be taken that waits for `sequence`, and for certificates of
    /// `root` where that is named. What an operator says of a peer says both.
    #[must_use]
    pub fn suffices(&self, sequence: u64, root: Option<&str>) -> bool {
        let has_root = root.is_none_or(|root| self.root.as_deref() == Some(root));
        self.sequence >= sequence && (has_root || self.by.is_some())
    }
}

impl Enrolments {
    /// Remembers what somebody has in force: whether that is news.
    ///
    /// # Errors
    /// [`IdentityError::AuthorityState`] when too many are remembered already.
    pub fn acknowledge(&self, row: &Acknowledgement) -> Result<bool, IdentityError> {
        let path = self.acknowledged_path(&row.identity);
        let before: Option<Acknowledgement> = read(&path)?;
        let same = |it: &Acknowledgement| {
            (it.sequence, &it.root, &it.by) == (row.sequence, &row.root, &row.by)
        };
        match &before {
            Some(before) if same(before) => return Ok(false),
            Some(_) => {}
            None => self.hold_room()?,
        }
        write(&path, row)?;
        Ok(true)
    }

    fn hold_room(&self) -> Result<(), IdentityError> {
        let dir = self.dir.join(ACKNOWLEDGED);
        files::create_dir(&dir)?;
        let entries = fs::read_dir(&dir).map_err(files::failed("read", &dir))?;
        match entries.count() < limits::ACKNOWLEDGEMENTS_MAX {
            true => Ok(()),
            false => Err(IdentityError::AuthorityState {
                what: format!(
                    "{} identities are remembered, and no more",
                    limits::ACKNOWLEDGEMENTS_MAX
                ),
            }),
        }
    }

    /// Everybody who was given a certificate or acknowledged a bundle, and is not revoked.
    ///
    /// # Errors
    /// [`IdentityError`] when files cannot be read.
    pub fn known(&self) -> Result<BTreeMap<Identity, Option<Acknowledgement>>, IdentityError> {
        let mut known = BTreeMap::new();
        let agents = self.rows::<AgentRow>(super::AGENTS)?;
        // The others wait for a token to be used.
        for agent in agents.into_iter().filter(|it| !it.serial.is_empty()) {
            let revoked = self.authority.bundle().revoked();
            let is_revoked = agent.locked
                && revoked.iter().any(|one| {
                    one.identity.as_ref() == Some(&agent.identity)
                        && one.serials.contains(&agent.serial)
                });
            if !is_revoked {
                known.insert(agent.identity, None);
            }
        }
        for row in self.rows::<Acknowledgement>(ACKNOWLEDGED)? {
            known.insert(row.identity.clone(), Some(row));
        }
        Ok(known)
    }

    /// Forgets somebody whom a roll-over left behind: only a new token lets it begin anew.
    /// One that is locked stays so until somebody has dealt with it.
    ///
    /// # Errors
    /// [`IdentityError::File`] when files cannot be removed.
    pub fn forget(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.forget_tokens(identity, None)?;
        if !self.is_locked(identity)? {
            self.await_token(identity)?;
        }
        super::remove(&self.acknowledged_path(identity))
    }

    pub(super) fn rows<T: serde::de::DeserializeOwned>(
        &self,
        of: &str,
    ) -> Result<Vec<T>, IdentityError> {
        let dir = self.dir.join(of);
        let mut rows = Vec::new();
        if !dir.is_dir() {
            return Ok(rows);
        }
        for entry in fs::read_dir(&dir).map_err(files::failed("read", &dir))? {
            let path = entry.map_err(files::failed("read", &dir))?.path();
            // Half written: it is written anew.
            if path.extension().is_none() {
                rows.extend(read(&path)?);
            }
        }
        Ok(rows)
    }

    fn acknowledged_path(&self, identity: &Identity) -> PathBuf {
        let name = token::fingerprint(identity.as_str());
        self.dir.join(ACKNOWLEDGED).join(name)
    }

    /// The last certificate of an identity and the one before, by their serial numbers.
    pub(super) fn serials(&self, identity: &Identity) -> Result<Vec<String>, IdentityError> {
        let row: Option<AgentRow> = read(&self.agent_path(identity))?;
        let serials = row.into_iter().flat_map(|row| {
            let before = row.renewed.map(|renewed| renewed.from);
            [Some(row.serial), before].into_iter().flatten()
        });
        Ok(serials.filter(|serial| !serial.is_empty()).collect())
    }

    /// Whose last certificate, or the one before it, has a serial number.
    ///
    /// # Errors
    /// [`IdentityError`] when files cannot be read.
    pub fn holder(&self, serial: &str) -> Result<Option<Identity>, IdentityError> {
        for agent in self.rows::<AgentRow>(super::AGENTS)? {
            let before = agent.renewed.as_ref().map(|renewed| renewed.from.as_str());
            if agent.serial == serial || before == Some(serial) {
                return Ok(Some(agent.identity));
            }
        }
        Ok(None)
    }
}
