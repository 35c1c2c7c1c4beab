//! Another root in three steps, none of which is begun before everybody has the one
//! before it in force; who has is not looked at here.
//!
//! ```text
//!   prepare   DIR/next/: a new root under the passphrase, an issuing CA for each region,
//!             and the two sets of roots to come, signed by the old root and the new one
//!   announce  the bundle holds the old root and the new one
//!   issue     certificates come from the new root's issuing CAs
//!   retire    the bundle holds the new root alone; DIR/next/ takes the place of what was
//! ```
//!
//! Where it is stands in what is on the disk. A step that was cut off is taken again, one
//! that was taken changes nothing more.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls_pki_types::CertificateDer;
use sealift_terms::{Clock, Rng};
use serde::{Deserialize, Serialize};

use super::{
    Authority, ISSUING_CERTIFICATE, ISSUING_KEY, REGIONS, ROOT_CERTIFICATE, ROOT_KEY,
    RootAuthority, sealed,
};
use crate::{
    bundle::TrustBundle,
    error::IdentityError,
    files,
    signed::{self, RootsSigned},
};

/// The authority to come, in the authority's directory.
const NEXT: &str = "next";
/// The same, while it is made or taken away.
const NEXT_UNFINISHED: &str = "next.new";
const NEXT_OVER: &str = "next.old";
/// The roots of the steps to come.
const ANNOUNCED: &str = "announced.json";
const RETIRED: &str = "retired.json";
/// The numbers of the bundles that the steps made.
const STATE: &str = "rollover.json";
const STATE_BYTES_MAX: usize = 4096;

/// How far a roll-over is. The numbers are those of the bundles that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "step")]
pub enum Rollover {
    /// There is none, and there was none.
    None,
    /// The new root is made, and nobody knows it.
    Prepared,
    /// Old and new root are in the bundle.
    Announced {
        /// The number of the first bundle with both.
        sequence: u64,
    },
    /// Certificates come from the new root.
    Issuing {
        /// The number of the bundle that was made when they began to.
        sequence: u64,
    },
    /// The old root is out of the bundle.
    Retired {
        /// The number of the first bundle without it.
        sequence: u64,
    },
}

/// What the steps leave behind, beside the bundle.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(default)]
    announced: Option<u64>,
    #[serde(default)]
    issuing: Option<u64>,
    #[serde(default)]
    retired: Option<u64>,
}

impl Authority {
    /// How far a roll-over is.
    ///
    /// # Errors
    /// [`IdentityError`] when files cannot be read.
    pub fn rollover(&self) -> Result<Rollover, IdentityError> {
        let state = self.state()?;
        if !self.next().is_dir() {
            return Ok(match state.retired {
                Some(sequence) => Rollover::Retired { sequence },
                None => Rollover::None,
            });
        }
        let roots = self.bundle.roots();
        if roots == self.roots_to_come(RETIRED)?.roots() {
            let sequence = state.retired.unwrap_or(self.bundle.sequence());
            return Ok(Rollover::Retired { sequence });
        }
        if roots != self.roots_to_come(ANNOUNCED)?.roots() {
            return Ok(Rollover::Prepared);
        }
        Ok(match (state.issuing, state.announced) {
            // The bundle that says so may still have to be made.
            (Some(sequence), _) => Rollover::Issuing { sequence },
            (None, announced) => Rollover::Announced {
                sequence: announced.unwrap_or(self.bundle.sequence()),
            },
        })
    }

    /// Makes the root to come and what belongs to it, once: whether it was made now.
    ///
    /// # Errors
    /// [`IdentityError::Passphrase`] for a wrong passphrase: the new root's key is put
    /// under the same one.
    pub fn prepare_rollover(
        &self,
        passphrase: &str,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<bool, IdentityError> {
        if matches!(self.rollover()?, Rollover::Retired { .. }) {
            self.move_in()?;
        }
        if self.next().is_dir() {
            return Ok(false);
        }
        let old = self.open_root(passphrase)?;
        let new = RootAuthority::generate(&self.domain, clock, rng)?;
        let dir = self.dir.join(NEXT_UNFINISHED);
        remove_dir(&dir)?;
        let next = Self {
            dir: dir.clone(),
            domain: self.domain.clone(),
            bundle: new.bundle(1)?,
        };
        files::create_dir(&dir)?;
        let sealed = new.seal_key(passphrase, rng)?;
        files::write_secret(&dir.join(ROOT_KEY), sealed.as_bytes())?;
        files::write_public(
            &dir.join(ROOT_CERTIFICATE),
            new.certificate_pem().as_bytes(),
        )?;
        for region in self.regions()? {
            next.write_region(&new.issuing(&region, clock, rng)?)?;
        }
        // An old root that is no longer in the bundle has nothing to vouch with.
        let mut both = self.bundle.roots().to_vec();
        both.push(new.certificate().clone());
        let number = self.bundle.roots_number();
        for (name, roots, after) in [
            (ANNOUNCED, both, 1),
            (RETIRED, vec![new.certificate().clone()], 2),
        ] {
            let to_come = self.signed(roots, number + after, [&old, &new])?;
            to_come.save(&dir.join(name))?;
        }
        fs::rename(&dir, self.next()).map_err(files::failed("rename", &dir))?;
        files::sync_dir(&self.dir)?;
        Ok(true)
    }

    fn signed(
        &self,
        roots: Vec<CertificateDer<'static>>,
        number: u64,
        by: [&RootAuthority; 2],
    ) -> Result<TrustBundle, IdentityError> {
        let statement = signed::statement(&self.domain, number, &roots);
        let signatures = by
            .into_iter()
            .map(|root| root.sign(&statement))
            .collect::<Result<Vec<_>, _>>()?;
        let signed = RootsSigned::new(number, &signatures);
        TrustBundle::with_roots(roots, &self.domain, signed)
    }

    /// Puts the new root into the bundle beside the old one.
    ///
    /// # Errors
    /// [`IdentityError::AuthorityState`] when nothing is prepared.
    pub fn announce(&mut self) -> Result<Rollover, IdentityError> {
        match self.rollover()? {
            Rollover::Prepared => {
                let to_come = self.roots_to_come(ANNOUNCED)?;
                let bundle = self.bundle.followed_by_roots_of(&to_come);
                self.set_state(State {
                    announced: Some(bundle.sequence()),
                    ..State::default()
                })?;
                self.set_bundle(bundle)?;
                self.rollover()
            }
            Rollover::None => Err(refused("no new root is made yet")),
            done => Ok(done),
        }
    }

    /// Lets certificates come from the new root.
    ///
    /// # Errors
    /// [`IdentityError::AuthorityState`] when the new root is not announced.
    pub fn issue_from_next(&mut self) -> Result<Rollover, IdentityError> {
        match self.rollover()? {
            Rollover::Announced { sequence } => {
                let next = self.bundle.sequence() + 1;
                self.set_state(State {
                    announced: Some(sequence),
                    issuing: Some(next),
                    retired: None,
                })?;
                self.bundle_until(next)?;
                self.rollover()
            }
            issuing @ Rollover::Issuing { sequence } => {
                self.bundle_until(sequence)?;
                Ok(issuing)
            }
            Rollover::None | Rollover::Prepared => Err(refused("the new root is not announced")),
            done @ Rollover::Retired { .. } => Ok(done),
        }
    }

    /// Takes the old root out of the bundle, and the new one's directory to its place.
    ///
    /// # Errors
    /// [`IdentityError::AuthorityState`] when certificates still come from the old one.
    pub fn retire(&mut self) -> Result<Rollover, IdentityError> {
        match self.rollover()? {
            Rollover::Issuing { .. } => {
                let to_come = self.roots_to_come(RETIRED)?;
                let bundle = self.bundle.followed_by_roots_of(&to_come);
                self.set_state(State {
                    retired: Some(bundle.sequence()),
                    ..self.state()?
                })?;
                self.set_bundle(bundle)?;
            }
            Rollover::Retired { .. } => {}
            Rollover::None => return Err(refused("no roll-over is under way")),
            Rollover::Prepared | Rollover::Announced { .. } => {
                return Err(refused("certificates still come from the old root"));
            }
        }
        self.move_in()?;
        self.rollover()
    }

    /// What is in `next/` takes the place of what was before it. Until the end of that it
    /// is what is issued with.
    fn move_in(&self) -> Result<(), IdentityError> {
        let (next, over) = (self.next(), self.dir.join(NEXT_OVER));
        if next.is_dir() {
            for region in self.regions()? {
                let from = next.join(REGIONS).join(region.as_str());
                let to = self.region_dir(&region);
                let issuing = super::IssuingAuthority::load(
                    &from.join(ISSUING_CERTIFICATE),
                    &from.join(ISSUING_KEY),
                )?;
                issuing.save(&to.join(ISSUING_CERTIFICATE), &to.join(ISSUING_KEY))?;
            }
            let key = files::read_secret(&next.join(ROOT_KEY), sealed::FILE_BYTES_MAX)?;
            files::write_secret(&self.dir.join(ROOT_KEY), &key)?;
            let root = files::read_public(&next.join(ROOT_CERTIFICATE), sealed::FILE_BYTES_MAX)?;
            files::write_public(&self.dir.join(ROOT_CERTIFICATE), &root)?;
            remove_dir(&over)?;
            fs::rename(&next, &over).map_err(files::failed("rename", &next))?;
            files::sync_dir(&self.dir)?;
        }
        remove_dir(&over)
    }

    /// The directory that issues: the new root's from the second step on.
    pub(super) fn issuing_dir(&self) -> Result<PathBuf, IdentityError> {
        let next = self.next();
        Ok(match self.state()?.issuing.is_some() && next.is_dir() {
            true => next,
            false => self.dir.clone(),
        })
    }

    /// Every directory whose issuing CAs have certificates in use.
    pub(super) fn issuing_dirs(&self) -> Vec<PathBuf> {
        let both = [self.dir.clone(), self.next()];
        both.into_iter().filter(|dir| dir.is_dir()).collect()
    }

    /// The root that certificates have to come from before the old one is retired, as in
    /// [`TrustBundle::root_fingerprints`].
    ///
    /// # Errors
    /// [`IdentityError`] when it cannot be read.
    pub fn next_root(&self) -> Result<Option<String>, IdentityError> {
        if !self.next().is_dir() {
            return Ok(None);
        }
        Ok(self.roots_to_come(RETIRED)?.root_fingerprints().pop())
    }

    /// The number of the bundle with which the roll-over before this one ended.
    ///
    /// # Errors
    /// [`IdentityError`] when it cannot be read.
    pub fn retired_before(&self) -> Result<Option<u64>, IdentityError> {
        Ok(self.state()?.retired)
    }

    /// Makes one more bundle, unless there is one with this number already.
    fn bundle_until(&mut self, sequence: u64) -> Result<(), IdentityError> {
        if self.bundle.sequence() >= sequence {
            return Ok(());
        }
        let same = self.bundle.revoked().to_vec();
        self.set_bundle(self.bundle.followed_by_revoked(same)?)
    }

    pub(super) fn set_bundle(&mut self, bundle: TrustBundle) -> Result<(), IdentityError> {
        bundle.save(&self.bundle_path())?;
        self.bundle = bundle;
        Ok(())
    }

    fn roots_to_come(&self, name: &str) -> Result<TrustBundle, IdentityError> {
        TrustBundle::load(&self.next().join(name))
    }

    fn next(&self) -> PathBuf {
        self.dir.join(NEXT)
    }

    fn state(&self) -> Result<State, IdentityError> {
        let path = self.dir.join(STATE);
        let bytes = match files::read_public(&path, STATE_BYTES_MAX) {
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(State::default());
            }
            read => read?,
        };
        serde_json::from_slice(&bytes).map_err(|error| files::content(&path, &error.to_string()))
    }

    fn set_state(&self, state: State) -> Result<(), IdentityError> {
        let path = self.dir.join(STATE);
        let text = serde_json::to_vec(&state);
        let text = text.map_err(|error| files::content(&path, &error.to_string()))?;
        files::write_public(&path, &text)
    }
}

fn remove_dir(dir: &Path) -> Result<(), IdentityError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(files::failed("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

fn refused(what: &str) -> IdentityError {
    IdentityError::AuthorityState {
        what: what.to_owned(),
    }
}
