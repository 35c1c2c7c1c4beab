//! The certificate, its key and the trust bundles: files that others replace. What
//! they hold is put in force by itself, whole and only when a peer would accept it.

use std::time::Duration;

use sealift_identity::{Accepted, Credentials, Leaf, Peers};
use sealift_terms::{AuditKind, AuditRecord};

use parking_lot::Mutex;

use super::{Running, upkeep::every};
use crate::{
    Error, Exit, Metric,
    admin::Alarm,
    bundles::{own_bundle, remember_files},
    certifying::load_credentials_beside,
    config::CertificatesFrom,
};

/// The files are read and compared this often: a watch on a file misses what replaces
/// the directory around it, as Kubernetes does.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What could not be taken up, so that it is told once, and not while it is written.
#[derive(Debug, Default)]
struct Refused {
    last: Option<String>,
    told: bool,
}

impl Refused {
    /// Whether this is to be told: the same was found before, and nobody was told.
    fn is_news(&mut self, error: String) -> bool {
        if self.last.as_ref() != Some(&error) {
            *self = Self {
                last: Some(error),
                told: false,
            };
            return false;
        }
        !std::mem::replace(&mut self.told, true)
    }
}

/// Another certificate that was refused, here or by whoever issues it, while the old one
/// stays in force.
#[derive(Debug, Default)]
pub(super) struct NotTaken {
    /// What the files hold.
    files: Mutex<Option<String>>,
    /// What the source says, or gave.
    source: Mutex<Option<String>>,
}

impl NotTaken {
    /// Takes how the last try at another certificate ended. That nobody answers is no
    /// refusal, and does not end one.
    pub(super) fn tried(&self, outcome: Result<(), &Error>) {
        match outcome {
            Ok(()) => *self.source.lock() = None,
            Err(error) if error.exit() == Exit::Refused => {
                *self.source.lock() = Some(error.in_one_line());
            }
            Err(_nobody_answers) => {}
        }
    }

    fn alarms(&self) -> impl Iterator<Item = Alarm> {
        let alarm = |why: String, remedy: &str| Alarm {
            alarm: "certificate_refused".to_owned(),
            evidence: format!("there is another certificate or none, and the old one stays: {why}"),
            remedy: remedy.to_owned(),
        };
        let files = self.files.lock().clone().map(|why| {
            let remedy =
                "mend the files of [identity] and the trust bundles: they are looked at every 5 s";
            alarm(why, remedy)
        });
        let source = self.source.lock().clone().map(|why| {
            let remedy =
                "see `sealift status` at the issuing site; `sealift certs renew` tries again";
            alarm(why, remedy)
        });
        files.into_iter().chain(source)
    }
}

impl Running {
    /// What somebody has to look at about this agent's certificate.
    pub(super) fn certificate_alarms(&self) -> impl Iterator<Item = Alarm> {
        let late = self.certificate_is_late().map(|evidence| Alarm {
            alarm: "certificate_late".to_owned(),
            evidence,
            remedy: "see why in the agent's log; `sealift certs renew` asks for another one now"
                .to_owned(),
        });
        self.not_taken.alarms().chain(late)
    }

    /// Puts in force what the files hold, whenever that is something else.
    pub(super) async fn follow_certificates(&self) {
        let (mut ticks, mut refused) = (every(LOOK_EVERY), Refused::default());
        loop {
            ticks.tick().await;
            let result = match self.take_up_certificates().await {
                Ok(is_other) => {
                    *self.not_taken.files.lock() = None;
                    if !is_other {
                        refused = Refused::default();
                        continue;
                    }
                    "replaced"
                }
                Err(error) => {
                    let error = error.in_one_line();
                    if !refused.is_news(error.clone()) {
                        continue;
                    }
                    tracing::error!(
                        %error,
                        "the certificate files cannot be taken up: the old ones stay in force"
                    );
                    *self.not_taken.files.lock() = Some(error);
                    "refused"
                }
            };
            let metrics = &self.site.metrics;
            metrics
                .series(
                    Metric::CertificateRefreshes,
                    &[self.word_of_files(), result],
                )
                .add(1);
        }
    }

    /// Whether something else is in force now.
    pub(super) async fn take_up_certificates(&self) -> Result<bool, Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let (site, in_force) = (self.site.clone(), self.tls.credentials());
        // Files may lie where reading hangs.
        let loading = tokio::task::spawn_blocking(
            move || -> Result<(Result<Credentials, _>, Peers, _), Error> {
                let config = site.current();
                remember_files(&config, &site.world)?;
                Ok((
                    load_credentials_beside(&in_force, &config, &site.world),
                    site.peers(&config)?,
                    own_bundle(&config, &site.world)?,
                ))
            },
        );
        let loaded = loading.await;
        let (credentials, peers, bundle) =
            loaded.map_err(Error::failed("reading certificates"))??;
        let credentials = match credentials {
            Ok(credentials) => credentials,
            Err(error) => {
                // What is wrong with this side's certificate lets nobody in who is revoked.
                if !self.tls.peers().trusts_the_same(&peers) {
                    self.tls.set_peers(peers);
                    self.sweep_links();
                }
                return Err(error.into());
            }
        };
        let is_same = self.tls.has_in_force(&credentials, &peers);
        if bundle != self.spread.in_force() {
            self.record_bundle(&bundle)?;
            tracing::info!(
                sequence = bundle.sequence(),
                "another trust bundle is in force"
            );
        } else if is_same {
            return Ok(false);
        }
        let leaf = credentials.leaf().clone();
        let accepted = self.tls.accept(credentials, peers)?;
        if is_same {
            self.tls.put_in_force(accepted);
        } else {
            self.put_in_force(accepted, &leaf, self.word_of_files())?;
        }
        self.spread.put_in_force(bundle);
        self.show_bundles();
        self.sweep_links();
        tracing::info!(
            serial = leaf.serial, not_after = %leaf.not_after,
            "another certificate or other trust bundles are in force"
        );
        Ok(true)
    }

    /// Where that comes from which is found in files: what the Workload API gave last is in
    /// some, too.
    fn word_of_files(&self) -> &'static str {
        match self.site.config.identity.source {
            CertificatesFrom::Spiffe(_) => "spiffe",
            _ => "files",
        }
    }

    /// Puts other credentials in force, once that is on record.
    pub(super) fn put_in_force(
        &self,
        accepted: Accepted,
        leaf: &Leaf,
        from: &str,
    ) -> Result<(), Error> {
        let now = self.site.world.clock.now();
        let record = AuditRecord::new(now, AuditKind::CertificateReplaced, "agent")
            .with("identity", &leaf.identity)
            .with("serial", &leaf.serial)
            .with("not_after", leaf.not_after)
            .with("source", from);
        self.site.record(record)?;
        self.tls.put_in_force(accepted);
        self.show_certificate();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_is_not_told_and_what_stays_wrong_is_told_once() {
        let mut refused = Refused::default();
        let told: Vec<bool> = ["half", "a", "a", "a", "b", "a", "a"]
            .into_iter()
            .map(|error| refused.is_news(error.to_owned()))
            .collect();
        assert_eq!(told, [false, false, true, false, false, false, true]);
    }

    #[test]
    fn a_refusal_is_an_alarm_until_there_is_a_certificate_and_silence_is_none() {
        let not_taken = NotTaken::default();
        let away = Error::TryAgain {
            what: "the issuer gave no certificate within 3 s".to_owned(),
            reason: None,
        };
        let locked = sealift_identity::EnrolmentRefusal::Locked;
        let refused = Error::refused("the certificate")(locked);
        not_taken.tried(Err(&away));
        assert_eq!(not_taken.alarms().count(), 0);
        not_taken.tried(Err(&refused));
        not_taken.tried(Err(&away));
        let alarm = not_taken.alarms().next().unwrap();
        assert_eq!(alarm.alarm, "certificate_refused");
        assert!(alarm.evidence.contains("locked"), "{}", alarm.evidence);
        not_taken.tried(Ok(()));
        assert_eq!(not_taken.alarms().count(), 0);
    }
}
