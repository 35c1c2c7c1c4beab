//! A certificate is renewed long before it ends, at a moment drawn once for each.

use std::{io, path::PathBuf, time::Duration};

use sealift_identity::{Credentials, Leaf, new_private_key, signing_request};
use sealift_terms::{
    Rng, Timestamp,
    limits::CERTIFICATE_FILE_BYTES_MAX,
    world::{read_file, replace_file},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Running;
use crate::{Error, Metric, bundles::own_bundle, config::Issuer, enrolling, world::RENEWED_FILE};

/// When the certificate in force is renewed, so that a restart does not draw again.
const PLAN_FILE: &str = "renewal.json";
/// The key of the certificate that is being asked for: on the disk before it is shown to
/// anybody, so that a lost answer can be asked for again.
const NEXT_KEY_FILE: &str = "identity.key.next";
const PLAN_BYTES_MAX: usize = 4096;
/// A certificate is renewed between these parts of its life, in percent.
const RENEWED_FROM: u64 = 60;
const RENEWED_UNTIL: u64 = 70;
/// The wall clock is looked at this often: one long sleep would miss a machine that was
/// suspended.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);
/// Tries that what is left of a life allows for, at least.
const TRIES_MIN: u32 = 20;
const RETRY_MAX: Duration = Duration::from_secs(600);

/// When a certificate is renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    serial: String,
    at: Timestamp,
}

impl Plan {
    /// A moment between 60 and 70 percent of its life.
    fn draw(leaf: &Leaf, rng: &dyn Rng) -> Self {
        let mut random = [0; 8];
        rng.fill(&mut random);
        let life = u64::try_from(leaf.period().as_millis()).unwrap_or(u64::MAX);
        let share = |percent: u64| life / 100 * percent;
        let span = share(RENEWED_UNTIL) - share(RENEWED_FROM);
        let after = share(RENEWED_FROM) + u64::from_le_bytes(random) % span.max(1);
        Self {
            serial: leaf.serial.clone(),
            at: leaf.not_before.plus(Duration::from_millis(after)),
        }
    }
}

/// How long to wait after a try that failed: short enough for 20 of them in what is left.
fn wait_after_failure(leaf: &Leaf, now: Timestamp, rng: &dyn Rng) -> Duration {
    let left = leaf.not_after.since(now);
    let longest = (left / TRIES_MIN).min(RETRY_MAX).max(LOOK_EVERY_MIN);
    let mut random = [0];
    rng.fill(&mut random);
    // Between half of it and all of it.
    longest / 2 + longest / 2 * u32::from(random[0]) / 255
}

fn look_every(leaf: &Leaf) -> Duration {
    (leaf.period() / 50).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)
}

impl Running {
    /// Renews whenever it is time; does nothing where somebody else does.
    pub(super) async fn renew_in_time(&self) {
        let Some(issuer) = self.site.config.identity.issuer.clone() else {
            return;
        };
        let (world, mut plan) = (&self.site.world, Plan::default());
        loop {
            let leaf = self.tls.credentials().leaf().clone();
            if plan.serial != leaf.serial {
                plan = self.plan(&leaf);
                self.show_renewal(&leaf, plan.at);
            }
            if world.clock.now() < plan.at {
                tokio::time::sleep(look_every(&leaf)).await;
                continue;
            }
            let (result, wait) = match self.renew(&issuer).await {
                Ok(()) => ("renewed", Duration::ZERO),
                Err(error) => {
                    let (error, not_after) = (error.in_one_line(), leaf.not_after);
                    tracing::error!(error, %not_after, "the certificate cannot be renewed now");
                    let wait = wait_after_failure(&leaf, world.clock.now(), &*world.rng);
                    ("failed", wait)
                }
            };
            let metrics = &self.site.metrics;
            metrics
                .series(Metric::CertificateRefreshes, &[result])
                .add(1);
            tokio::time::sleep(wait).await;
        }
    }

    /// What was drawn for this certificate, or is drawn now.
    fn plan(&self, leaf: &Leaf) -> Plan {
        let (path, world) = (self.beside(PLAN_FILE), &self.site.world);
        let read = read_file(&*world.disk, &path, PLAN_BYTES_MAX).ok();
        let plan = read.and_then(|bytes| serde_json::from_slice::<Plan>(&bytes).ok());
        if let Some(plan) = plan.filter(|plan| plan.serial == leaf.serial) {
            return plan;
        }
        let plan = Plan::draw(leaf, &*world.rng);
        let text = serde_json::to_vec(&plan).unwrap_or_default();
        if let Err(error) = replace_file(&*world.disk, &path, &text) {
            tracing::warn!(%error, "when the certificate is renewed is not remembered");
        }
        plan
    }

    fn show_renewal(&self, leaf: &Leaf, at: Timestamp) {
        let labels = [leaf.identity.as_str()];
        let series = self
            .site
            .metrics
            .series(Metric::CertificateRenewal, &labels);
        series.set(u64::try_from(at.as_secs()).unwrap_or_default());
    }

    /// Gets another certificate, for another key, and puts it in force.
    async fn renew(&self, issuer: &Issuer) -> Result<(), Error> {
        let (config, world) = (self.site.current(), &self.site.world);
        let key = self.next_key()?;
        let csr = signing_request(&key)?;
        let shown = self.tls.credentials();
        let given = enrolling::renew(&config, issuer, shown, world, csr).await?;
        self.take_up_given(&given.bundle).await;
        let _one_at_a_time = self.reloading.lock().await;
        let roots = own_bundle(&config, world)?;
        let (chain, now) = (given.certificate.as_bytes(), world.clock.now());
        // With the eyes of a peer: what is not good stays out.
        let credentials = Credentials::from_pem(chain, key.as_bytes(), &roots, now)?;
        let leaf = credentials.leaf().clone();
        let accepted = self.tls.accept(credentials, (*self.tls.peers()).clone())?;
        let both = Zeroizing::new(format!("{}{}", given.certificate, *key));
        let path = self.beside(RENEWED_FILE);
        replace_file(&*world.disk, &path, both.as_bytes()).map_err(Error::io("write", path))?;
        self.put_in_force(accepted, &leaf, Some(&issuer.identity))?;
        let next = self.beside(NEXT_KEY_FILE);
        world
            .disk
            .remove_file(&next)
            .map_err(Error::io("remove", next))?;
        tracing::info!(serial = leaf.serial, not_after = %leaf.not_after, "the certificate was renewed");
        Ok(())
    }

    /// The key to ask with: the one of an earlier try, if there was one.
    fn next_key(&self) -> Result<Zeroizing<String>, Error> {
        let (path, disk) = (self.beside(NEXT_KEY_FILE), &*self.site.world.disk);
        match read_file(disk, &path, CERTIFICATE_FILE_BYTES_MAX).map(Zeroizing::new) {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) if signing_request(text).is_ok() => {
                    return Ok(Zeroizing::new(text.to_owned()));
                }
                // Cut off while it was written: nobody has seen it.
                _ => {}
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        let key = new_private_key()?;
        replace_file(disk, &path, key.as_bytes()).map_err(Error::io("write", path))?;
        Ok(key)
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.site.config.site.data_dir.join(name)
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;

    use super::*;

    fn leaf(life: Duration) -> Leaf {
        let not_before = Timestamp::from_secs(1000);
        Leaf {
            identity: "spiffe://example.org/region/r/agent/a".parse().unwrap(),
            serial: "01".to_owned(),
            not_before,
            not_after: not_before.plus(life),
            client_auth: true,
            server_auth: true,
        }
    }

    #[test]
    fn the_moment_lies_between_60_and_70_percent_of_a_life() {
        let life = Duration::from_secs(100_000);
        let (mut earliest, mut latest) = (u128::MAX, 0);
        for _ in 0..2000 {
            let plan = Plan::draw(&leaf(life), &OsRng);
            let after = plan.at.since(leaf(life).not_before).as_millis();
            (earliest, latest) = (earliest.min(after), latest.max(after));
        }
        assert!((60_000_000..61_000_000).contains(&earliest), "{earliest}");
        assert!((69_000_000..=70_000_000).contains(&latest), "{latest}");
    }

    #[test]
    fn twenty_tries_fit_into_what_is_left() {
        for life in [20, 3600, 86_400, 47 * 86_400] {
            let leaf = leaf(Duration::from_secs(life));
            let mut now = leaf.not_before.plus(leaf.period() * 7 / 10);
            for n in 0..20 {
                assert!(now < leaf.not_after, "{life} s: only {n}");
                now = now.plus(wait_after_failure(&leaf, now, &OsRng));
            }
            assert!(look_every(&leaf) * 20 <= leaf.period());
        }
    }
}
