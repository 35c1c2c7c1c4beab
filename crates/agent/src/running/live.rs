//! What the operations of a site ask of the agent that runs on it.

use async_trait::async_trait;
use sealift_ledger::Requeue;
use sealift_receiver::Usage;
use sealift_sender::{SenderStatus, SourceHandle, SourceStatus};
use sealift_terms::{AuditKind, AuditRecord, BucketName, Timestamp};

use super::{Running, hello::policy_of, question, start::rules_of};
use crate::{
    CheckLine, Error,
    admin::{Actor, Alarm, Readiness},
    check_offline,
    config::Config,
    load_credentials, load_peers,
    operations::{Live, PeerState, SessionState},
    site::keys_usable,
};

#[async_trait]
impl Live for Running {
    fn started(&self) -> Timestamp {
        self.started
    }

    fn readiness(&self) -> Readiness {
        let mut problems = Vec::new();
        if self.site.current().listen.is_some() && self.listening.is_none() {
            problems.push("not listening for peers".to_owned());
        }
        let (not_after, life) = self.tls.expiry();
        let now = self.site.world.clock.now();
        if now >= not_after {
            problems.push(format!("the certificate ended at {not_after}"));
        } else if not_after.since(now) < life / 20 {
            problems.push(format!("the certificate ends at {not_after}"));
        }
        problems.extend(self.health.problems());
        if *self.stop.borrow() {
            problems.push("stopping".to_owned());
        }
        Readiness {
            ready: problems.is_empty(),
            problems,
        }
    }

    fn peers(&self) -> Vec<PeerState> {
        let state = |peer: &crate::config::Peer| {
            let remembered = self.peers.of(&peer.name);
            let links = self.standing.of(&peer.identity);
            PeerState {
                peer: peer.name.clone(),
                sessions: remembered
                    .sessions
                    .iter()
                    .map(|&direction| SessionState { direction, links })
                    .collect(),
                negotiated: remembered.negotiated,
                trouble: remembered.trouble,
            }
        };
        self.site.current().peers.iter().map(state).collect()
    }

    fn sources(&self) -> Vec<SourceStatus> {
        self.sources.iter().map(SourceHandle::status).collect()
    }

    fn senders(&self) -> Vec<SenderStatus> {
        self.senders
            .values()
            .map(|one| one.sender.status())
            .collect()
    }

    fn usage(&self) -> Usage {
        self.door.usage()
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.watchdog.alarms()
    }

    fn wake(&self) {
        self.work.wake();
    }

    fn scan(&self, bucket: Option<&BucketName>) -> u64 {
        self.each_source(bucket, SourceHandle::scan)
    }

    fn accept_deletes(&self, bucket: Option<&BucketName>) -> u64 {
        self.each_source(bucket, SourceHandle::accept_deletes)
    }

    async fn reload(&self, actor: &Actor) -> Result<Vec<CheckLine>, Error> {
        self.take_up_file(&actor.to_string()).await
    }

    async fn check(&self) -> Vec<CheckLine> {
        let config = self.site.current();
        let mut lines = check_offline(&config, &self.site.world).await;
        lines.extend(question::ask_peers(&config, &self.site.world, &self.tls).await);
        lines
    }
}

impl Running {
    fn each_source(&self, bucket: Option<&BucketName>, act: impl Fn(&SourceHandle)) -> u64 {
        let wanted =
            |source: &&SourceHandle| bucket.is_none_or(|bucket| source.status().bucket == *bucket);
        let chosen: Vec<_> = self.sources.iter().filter(wanted).collect();
        chosen.iter().for_each(|source| act(source));
        chosen.len() as u64
    }

    /// Reads the configuration again and takes it up as a whole, or not at all.
    pub(super) async fn take_up_file(&self, actor: &str) -> Result<Vec<CheckLine>, Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let before = self.site.current();
        let after = Config::load(&before.path, self.flags.clone())?;
        needs_restart(&before, &after)?;
        self.confined.refuse_outside(&after)?;
        // Everything that can be refused comes first; from the record on nothing is.
        let credentials = load_credentials(&after, &self.site.world)?;
        let peers = load_peers(&after)?;
        let identity = self.tls.accept(credentials, peers)?;
        keys_usable(&after, &self.site.keystore).await?;
        let (grants, rules) = (after.grants.clone(), rules_of(&after));
        let policy = policy_of(&after);
        let record = AuditRecord::new(self.site.world.clock.now(), AuditKind::ConfigLoaded, actor)
            .with("file", after.path.display());
        self.site.record(record)?;
        self.site.take_up(after);
        self.tls.put_in_force(identity);
        self.door.set_grants(grants.into());
        self.rules.send_replace(rules.into());
        self.standing.sweep(&self.tls);
        // Peers are told by the HELLO of their next session.
        self.policy
            .send_if_modified(|told| std::mem::replace(told, policy) != policy);
        let now = self.site.world.clock.now();
        let queued = self.site.journal.requeue(Requeue::Failed(None), now).await;
        match queued {
            Ok(0) => {}
            Ok(transfers) => tracing::info!(transfers, "what was given up is tried again"),
            Err(error) => tracing::error!(%error, "what was given up is not tried again"),
        }
        self.work.wake();
        Ok(vec![CheckLine::pass(
            "reload",
            "certificate, peers, grants, buckets and rules",
        )])
    }
}

/// Refuses what a running agent cannot take up.
fn needs_restart(before: &Config, after: &Config) -> Result<(), Error> {
    let peers = |config: &Config| -> Vec<_> {
        let of = |peer: &crate::config::Peer| {
            let dial_for = (peer.dial_for.send, peer.dial_for.receive);
            (
                peer.name.clone(),
                peer.identity.clone(),
                peer.address.clone(),
                dial_for,
            )
        };
        config.peers.iter().map(of).collect()
    };
    let sources = |config: &Config| -> Vec<_> {
        let of = |source: &crate::config::SourceDirectory| {
            (
                source.bucket.clone(),
                source.directory.clone(),
                source.scan_interval,
            )
        };
        config.sources.iter().map(of).collect()
    };
    let named = |config: &Config| -> std::collections::BTreeSet<_> {
        config
            .rules
            .iter()
            .flat_map(|rule| rule.peers.iter().cloned())
            .collect()
    };
    let site = |config: &Config| {
        let site = &config.site;
        (
            site.name.clone(),
            site.region.clone(),
            site.data_dir.clone(),
        )
    };
    let same = [
        ("[site]", site(before) == site(after)),
        ("[keys]", before.root_key == after.root_key),
        ("[listen]", before.listen == after.listen),
        ("[admin]", before.admin == after.admin),
        ("[limits]", before.limits == after.limits),
        ("[tls]", before.tls == after.tls),
        ("[log]", before.log == after.log),
        ("[watchdog]", before.stalled_after == after.stalled_after),
        (
            "[[peer]]: who they are and where",
            peers(before) == peers(after),
        ),
        ("[[source]]", sources(before) == sources(after)),
        (
            "[[rule]]: the peers they name",
            named(before) == named(after),
        ),
    ];
    match same.iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((what, _)) => Err(Error::Request {
            what: "restart needed",
            found: format!("{what} was changed"),
            allowed:
                "a running agent takes up certificates, trust bundles, grants, buckets and rules"
                    .to_owned(),
        }),
    }
}
