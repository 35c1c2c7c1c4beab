//! Trust bundles that spread by themselves: asked of the issuer every few seconds, which
//! learns by that which one is in force here.

use std::time::Duration;

use parking_lot::Mutex;
use sealift_identity::{IdentityError, TrustBundle};
use sealift_terms::AuditKind;

use super::Running;
use crate::{
    Error, Metric,
    bundles::{HandedBy, offer},
    certifying::own_authority,
    config::{CertificatesFrom, Issuer},
    enrolling,
    told::Told,
};

/// The issuer is asked this often: what is revoked is to be known within seconds.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// After it did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The bundle that vouches for this agent's certificate, as it is in force.
#[derive(Debug)]
pub(super) struct Spread {
    in_force: Mutex<TrustBundle>,
    /// What was refused last, so that it is told once.
    refused: Mutex<Told>,
}

impl Spread {
    pub(super) fn new(in_force: TrustBundle) -> Self {
        Self {
            in_force: Mutex::new(in_force),
            refused: Mutex::default(),
        }
    }

    pub(super) fn in_force(&self) -> TrustBundle {
        self.in_force.lock().clone()
    }

    /// Whether another one was in force.
    pub(super) fn put_in_force(&self, bundle: TrustBundle) -> bool {
        let mut in_force = self.in_force.lock();
        let differs = *in_force != bundle;
        *in_force = bundle;
        differs
    }
}

impl Running {
    /// Asks the issuer for the bundle until the agent ends.
    pub(super) async fn follow_bundle(&self) {
        let own = self.tls.credentials().leaf().identity.clone();
        let config = &self.site.config;
        let CertificatesFrom::Issuer(issuer) = config.identity.source.clone() else {
            return;
        };
        // The issuing agent has the authority itself.
        if own_authority(config, &own).is_some() {
            return;
        }
        let mut told = false;
        loop {
            // One that is over is good for its renewal alone, which brings the bundle along.
            let now = self.site.world.clock.now();
            if self.tls.credentials().leaf().is_over(now) {
                tokio::time::sleep(ASK_AGAIN).await;
                continue;
            }
            let wait = match self.ask_for_bundle(&issuer).await {
                // So that the issuer learns of it.
                Ok(true) => Duration::ZERO,
                Ok(false) => ASK_EVERY,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        let error = error.in_one_line();
                        tracing::warn!(error, "the issuer does not answer for the trust bundle");
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                    continue;
                }
            };
            told = false;
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether another bundle is in force now.
    async fn ask_for_bundle(&self, issuer: &Issuer) -> Result<bool, Error> {
        let (config, world) = (self.site.current(), &self.site.world);
        let (shown, in_force) = (self.tls.credentials(), self.spread.in_force().sequence());
        let given = enrolling::bundle(&config, issuer, shown, world, in_force).await?;
        match given {
            Some(bundle) => Ok(self.take_up_bundle(bundle, HandedBy::Issuer).await),
            None => Ok(false),
        }
    }

    /// Takes up the bundle that came with a certificate.
    pub(super) async fn take_up_given(&self, text: &str) {
        match TrustBundle::parse(text.as_bytes()) {
            Ok(bundle) => drop(self.take_up_bundle(bundle, HandedBy::Issuer).await),
            Err(error) => self.refuse_bundle(None, &error),
        }
    }

    /// Takes up a bundle, if it may take the place of the one in force: whether another
    /// one is in force now.
    pub(super) async fn take_up_bundle(&self, bundle: TrustBundle, by: HandedBy) -> bool {
        if bundle == self.spread.in_force() {
            return false;
        }
        let (site, sequence) = (self.site.clone(), bundle.sequence());
        let offered = {
            let _one_at_a_time = self.reloading.lock().await;
            let offering = move || offer(&site.current(), &site.world, &bundle, by);
            tokio::task::spawn_blocking(offering).await
        };
        match offered {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                self.refuse_bundle(Some(sequence), &error);
                return false;
            }
            Err(_) => return false,
        }
        let taken = self.take_up_certificates().await;
        let mut refused = self.spread.refused.lock();
        match taken {
            Ok(_) => {
                refused.is_over();
                self.spread.in_force().sequence() == sequence
            }
            Err(error) => {
                let error = error.in_one_line();
                if refused.is_news(&error) {
                    tracing::error!(error, sequence, "a trust bundle cannot be put in force");
                }
                false
            }
        }
    }

    fn refuse_bundle(&self, sequence: Option<u64>, error: &IdentityError) {
        let why = error.to_string();
        if !self.spread.refused.lock().is_news(&why) {
            return;
        }
        tracing::error!(error = why, sequence, "a trust bundle is refused");
        let mut details = vec![("reason", why)];
        details.extend(sequence.map(|number| ("sequence", number.to_string())));
        if let Err(error) = self.record(AuditKind::BundleRefused, &details) {
            tracing::error!(error = error.in_one_line(), "that is not on record");
        }
    }

    /// Puts on record that another bundle is in force.
    pub(super) fn record_bundle(&self, bundle: &TrustBundle) -> Result<(), Error> {
        let details = [
            ("sequence", bundle.sequence().to_string()),
            ("roots", bundle.root_fingerprints().join(" ")),
            ("revoked", bundle.revoked().len().to_string()),
        ];
        self.record(AuditKind::BundleReplaced, &details)
    }

    /// Shows which bundles are in force, and until when revocation lists are good.
    pub(super) fn show_bundles(&self) {
        self.show_authorities();
        let (metrics, peers) = (&self.site.metrics, self.tls.peers());
        metrics.clear(Metric::BundleSequence);
        metrics.clear(Metric::CrlChecked);
        let show = |identity: &str, bundle: &TrustBundle| {
            let series = metrics.series(Metric::BundleSequence, &[identity]);
            series.set(bundle.sequence());
        };
        let own = self.tls.credentials().leaf().identity.clone();
        show(own.as_str(), &self.spread.in_force());
        for peer in peers.iter() {
            let identity = peer.identity.as_str();
            show(identity, &peer.roots);
            if let Some(lists) = peers.lists(&peer.identity) {
                let series = metrics.series(Metric::CrlChecked, &[identity]);
                series.set(u64::try_from(lists.next_update().as_secs()).unwrap_or_default());
            }
        }
    }
}
