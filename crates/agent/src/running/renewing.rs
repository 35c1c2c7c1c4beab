//! The running agent's certificates: when they are due, and where they are put in force.

use std::path::PathBuf;

use async_trait::async_trait;
use sealift_identity::Credentials;
use sealift_terms::Timestamp;

use super::{Running, own_authority::OwnAuthority};
use crate::{
    Error, Metrics, World,
    certifying::{
        CertificateSource, Desk, Plan, TakesBundles, Timing, due_by_others, is_renewable, keep,
        own_authority, source_of, turn,
    },
};

#[async_trait]
impl TakesBundles for Running {
    async fn take(&self, bundle: &str) {
        self.take_up_given(bundle).await;
    }

    async fn files_changed(&self) {
        // What cannot be taken up is looked at again, and told, within seconds.
        let _ = self.take_up_certificates().await;
    }
}

#[async_trait]
impl Desk for Running {
    fn world(&self) -> &World {
        &self.site.world
    }

    fn metrics(&self) -> &Metrics {
        &self.site.metrics
    }

    fn data_dir(&self) -> PathBuf {
        self.site.config.site.data_dir.clone()
    }

    fn shown(&self) -> Credentials {
        self.tls.credentials()
    }

    fn source(&self) -> Box<dyn CertificateSource> {
        if let Some(own) = self.own_source() {
            return own;
        }
        let facts = self.site.keystore.facts_key();
        source_of(&self.site.current(), &self.site.world, &facts)
    }

    fn tried(&self, outcome: Result<(), &Error>) {
        self.not_taken.tried(outcome);
    }

    async fn publish(&self, credentials: Credentials, from: &'static str) -> Result<(), Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let leaf = credentials.leaf().clone();
        let peers = (*self.tls.peers()).clone();
        if self.tls.has_in_force(&credentials, &peers) {
            return Ok(());
        }
        let accepted = self.tls.accept(credentials, peers)?;
        self.put_in_force(accepted, &leaf, from)
    }
}

impl Running {
    /// Renews whenever it is time, or follows what renews; files are followed elsewhere, with
    /// the trust bundles.
    pub(super) async fn renew_in_time(&self) {
        if self.site.config.identity.source.writes() {
            keep(self).await;
        }
    }

    /// Asks for another certificate now.
    ///
    /// # Errors
    /// [`Error::Request`] where somebody else renews it; what the source says.
    pub(super) async fn renew_now(&self) -> Result<(), Error> {
        if !self.source().renews() {
            return Err(Error::Request {
                what: "certs renew",
                found: format!("certificates from {}", self.source().word()),
                allowed: "a site whose certificates come from an issuer or from ACME".to_owned(),
            });
        }
        turn(self).await.map(|_| ())
    }

    /// When the certificate in force is to be renewed.
    pub(super) fn renewal_due(&self) -> Timestamp {
        renewal_due(
            self.tls.credentials().leaf(),
            &self.data_dir(),
            self.world(),
        )
    }

    /// What is to be said of a certificate that should have been renewed.
    pub(super) fn certificate_is_late(&self) -> Option<String> {
        let (not_after, left) = self.tls.expiry();
        match self.timing() {
            Timing::Good => None,
            Timing::Late => Some(format!(
                "the certificate that ends at {not_after} should have been renewed at {}",
                self.renewal_due()
            )),
            Timing::Ending if left.is_zero() => Some(self.certificate_over(not_after)),
            Timing::Ending => Some(format!("the certificate ends at {not_after}")),
            Timing::NotYet => Some(format!(
                "the certificate is valid from {} on only: the clock was set back",
                self.tls.credentials().leaf().not_before
            )),
        }
    }

    /// The source of the issuing agent's own certificate.
    fn own_source(&self) -> Option<Box<dyn CertificateSource>> {
        let config = self.site.current();
        let credentials = self.tls.credentials();
        let ca = own_authority(&config, &credentials.leaf().identity)?;
        let source = OwnAuthority::new(self.site.clone(), ca.clone(), &config);
        Some(Box::new(source))
    }

    /// That the certificate is over, and what is done about it.
    pub(super) fn certificate_over(&self, not_after: Timestamp) -> String {
        let (config, credentials) = (self.site.current(), self.tls.credentials());
        let now = self.world().clock.now();
        let what = match is_renewable(&config, credentials.leaf(), now) {
            true => "until there is another",
            false => "and it can be renewed no more: enrol this site again with a token",
        };
        format!("the certificate ended at {not_after}: no peer lets this site in {what}")
    }

    /// How long it will do.
    pub(super) fn timing(&self) -> Timing {
        let (leaf, now) = (
            self.tls.credentials().leaf().clone(),
            self.world().clock.now(),
        );
        Timing::of(&leaf, self.renewal_due(), now)
    }
}

/// When a certificate is to be renewed, as far as that was drawn.
pub(crate) fn renewal_due(
    leaf: &sealift_identity::Leaf,
    data_dir: &std::path::Path,
    world: &World,
) -> Timestamp {
    match Plan::read(leaf, data_dir, &*world.disk) {
        Some(plan) => plan.due(leaf),
        None => due_by_others(leaf),
    }
}
