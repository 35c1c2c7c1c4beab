//! Where an agent's certificates come from, and when.
//!
//! ```text
//!   files ───────┐                        checked as a peer would
//!   issuer ──────┤  CertificateSource ──▶ Credentials ──▶ Desk::publish ──▶ TlsContext
//!   ACME ────────┤        ▲
//!   SPIFFE ──────┘        └── keeper: when it is time (plan, advice) or something changed (watch),
//!                             and again after a failure
//! ```
//!
//! A source gives [`Credentials`] and nothing less: there is no way to make them but with
//! a peer's own check of chain, key, life and purpose. What is not good therefore never
//! gets as far as being published, and the old ones stay. The last ones stay after their
//! end, too, which every peer refuses: they are what another one is asked for with.

mod acme;
mod again;
mod first;
mod held;
mod issuer;
mod keeper;
mod plan;
mod renewed;
#[cfg(test)]
mod tests;
mod workload;

use async_trait::async_trait;
use sealift_identity::Credentials;
use sealift_keys::FactsKey;

use crate::{
    Error, World,
    config::{CertificatesFrom, Config},
};

pub(crate) use acme::roots_of;
pub use again::enrol_again;
pub(crate) use first::get_first;
pub(crate) use held::Held;
pub(crate) use keeper::{Desk, keep, show_renewal, turn};
pub(crate) use plan::due_by_others;
pub(crate) use plan::{Plan, Timing};
pub use renewed::load_credentials;
pub(crate) use renewed::{
    Renewed, awaits_renewal, is_renewable, load_credentials_beside, load_last_credentials,
    own_authority,
};

/// A moment that the issuer would like a certificate to be renewed at, and when it wants
/// to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) window: plan::Window,
    pub(crate) again: std::time::Duration,
}

/// Takes the trust bundle that came with a certificate, before that is checked.
#[async_trait]
pub(crate) trait TakesBundles: Send + Sync {
    /// A bundle that may not take the place of the one in force is told, and left.
    async fn take(&self, bundle: &str);

    /// Files of bundles hold something else than before.
    async fn files_changed(&self);
}

/// Tells when a source has something else.
#[async_trait]
pub(crate) trait Watch: Send {
    /// Waits until there may be something else. The first time that is at once.
    ///
    /// # Errors
    /// The source is lost: it has to be watched anew.
    async fn changed(&mut self) -> Result<(), Error>;
}

/// Somewhere that certificates come from.
#[async_trait]
pub(crate) trait CertificateSource: Send + Sync {
    /// Its word, in `certs list`, metrics and logs.
    fn word(&self) -> &'static str;

    /// Whether it makes another certificate each time it is asked. One that does not has
    /// what somebody else put there, and is looked at every so often.
    fn renews(&self) -> bool;

    /// Other credentials than those that are shown; none when it has no others. What a
    /// peer would refuse, or is for another agent, is an error.
    async fn next(
        &self,
        shown: Option<&Credentials>,
        bundles: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error>;

    /// When the issuer would like these to be renewed; none when it says nothing of it.
    async fn advice(&self, shown: &Credentials) -> Result<Option<Advice>, Error> {
        let _ = shown;
        Ok(None)
    }

    /// What tells that there is something else; none for a source that has to be asked.
    async fn watch(&self) -> Result<Option<Box<dyn Watch>>, Error> {
        Ok(None)
    }
}

/// The source that a configuration names. What it keeps of its own is sealed with `facts`.
pub(crate) fn source_of(
    config: &Config,
    world: &World,
    facts: &FactsKey,
) -> Box<dyn CertificateSource> {
    match &config.identity.source {
        CertificatesFrom::Files => Box::new(Held::new(config, world)),
        CertificatesFrom::Issuer(issuer) => {
            Box::new(issuer::Issuing::new(config, world, issuer.clone()))
        }
        CertificatesFrom::Acme(acme) => Box::new(acme::AcmeSource::new(
            config,
            world,
            (**acme).clone(),
            facts.clone(),
        )),
        CertificatesFrom::Spiffe(spiffe) => {
            Box::new(workload::Workload::new(config, world, spiffe.clone()))
        }
    }
}
