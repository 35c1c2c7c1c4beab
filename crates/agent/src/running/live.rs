//! What the operations of a site ask of the agent that runs on it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sealift_archive::ScrubState;
use sealift_endpoint::{Endpoint, EndpointCounts};
use sealift_forward::StreamCounts;
use sealift_keys::KeySeen;
use sealift_ledger::Requeue;
use sealift_receiver::Usage;
use sealift_sender::{SenderStatus, SourceHandle, SourceStatus};
use sealift_terms::{
    AuditKind, AuditRecord, BucketName, Identity, KeyId, KeyNote, Order, PeerName, Region,
    Timestamp, TransferId,
};
use sealift_wire::Hello;

use super::{
    Running,
    canary::Canary,
    difference, endpoint,
    hello::policy_of,
    question,
    start::{receive_rates, rules_of},
};
use crate::{
    CheckLine, Error,
    admin::{Actor, Alarm, Check, Readiness},
    certifying::{Timing, load_credentials_beside},
    check_offline,
    config::Config,
    offline::SOURCE,
    operations::{Direction, Leaves, Live, PeerState, Sections, SessionState},
    site::keys_fit_to_begin,
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
        let mut degraded = Vec::new();
        match self.timing() {
            Timing::Good => {}
            Timing::Late => degraded.extend(self.certificate_is_late()),
            Timing::Ending | Timing::NotYet => problems.extend(self.certificate_is_late()),
        }
        problems.extend(self.health.problems());
        if *self.stop.borrow() {
            problems.push("stopping".to_owned());
        }
        Readiness {
            ready: problems.is_empty(),
            problems,
            degraded,
        }
    }

    fn peers(&self) -> Vec<PeerState> {
        let state = |peer: &crate::config::Peer| {
            let remembered = self.peers.of(&peer.name);
            let path = self.standing.of(&peer.identity);
            PeerState {
                peer: peer.name.clone(),
                sessions: remembered
                    .sessions
                    .iter()
                    .map(|&direction| SessionState { direction })
                    .collect(),
                path,
                negotiated: remembered.negotiated,
                trouble: remembered.trouble,
                clock: self.peers.clocks.apart(&peer.name, &*self.site.world.clock),
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

    fn order(&self) -> Order {
        self.orders.next()
    }

    async fn ask(&self, peer: &PeerName, question: &[u8]) -> Option<Vec<u8>> {
        self.senders.get(peer)?.sender.ask(question).await
    }

    fn progress(&self, peer: &PeerName, transfer: TransferId) -> Option<u64> {
        self.senders.get(peer)?.sender.progress(transfer)
    }

    fn forwards(&self) -> Vec<StreamCounts> {
        let mut counts = self.forwarding.near.counts();
        counts.extend(self.forwarding.far.counts());
        counts
    }

    fn endpoint(&self) -> Option<EndpointCounts> {
        self.endpoint.as_ref().map(Endpoint::counts)
    }

    fn set_promoted(&self, promoted: BTreeSet<BucketName>) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.set_promoted(promoted);
        }
    }

    fn usage(&self) -> Usage {
        self.door.usage()
    }

    fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.watchdog.alarms();
        alarms.extend(self.rpo.alarms());
        let config = self.site.current();
        let peers = config.peers.iter().map(|peer| &peer.name);
        alarms.extend(self.peers.clocks.alarms(peers, &*self.site.world.clock));
        alarms.extend(self.authority_alarms());
        alarms.extend(self.certificate_alarms());
        alarms
    }

    fn scrub_state(&self) -> Option<ScrubState> {
        self.scrubbing.seen()
    }

    fn scrub_now(&self) {
        self.scrubbing.ask();
    }

    fn leaves(&self) -> Leaves {
        Leaves {
            own: (**self.tls.credentials().leaf()).clone(),
            due: self.renewal_due(),
            peers: (*self.tls.peers()).clone(),
            shown: self.standing.leaves(),
        }
    }

    async fn renew(&self) -> Result<(), Error> {
        self.renew_now().await
    }

    fn deny(&self, denied: &BTreeSet<Identity>) {
        self.tls.set_denied(denied);
        self.sweep_links();
    }

    async fn replicate_key(&self, key: &str, to: &Region, actor: &Actor) -> Result<(), Error> {
        Self::replicate_key(self, key, to, actor).await
    }

    async fn promote_key(
        &self,
        key: &str,
        without: Option<&KeyNote>,
        actor: &Actor,
    ) -> Result<(), Error> {
        Self::promote_key(self, key, without, actor).await
    }

    async fn seen_elsewhere(
        &self,
        key: &str,
        region: Option<&Region>,
    ) -> Result<Vec<(Region, Result<KeySeen, String>)>, Error> {
        Self::seen_elsewhere(self, key, region).await
    }

    async fn drop_replica(
        &self,
        key: &str,
        of: &Region,
        reason: &KeyNote,
        actor: &Actor,
    ) -> Result<(), Error> {
        Self::drop_replica(self, key, of, reason, actor).await
    }

    fn replica_trouble(&self, key: &KeyId, region: &Region) -> Option<String> {
        self.keeping.trouble(key, region)
    }

    fn keys_changed(&self) {
        self.keeping.wake();
    }

    fn wake(&self) {
        self.work.wake();
    }

    fn scan(&self, bucket: Option<&BucketName>) -> u64 {
        let chosen = self.chosen_sources(bucket);
        chosen.map(SourceHandle::scan).count() as u64
    }

    fn accept_deletes(&self, bucket: Option<&BucketName>) -> Vec<u64> {
        let accepted = self.chosen_sources(bucket);
        let accepted = accepted.filter_map(SourceHandle::accept_deletes);
        accepted.map(|held| held.vanished).collect()
    }

    async fn reload(&self, actor: &Actor) -> Result<Vec<CheckLine>, Error> {
        Self::reload(self, &actor.to_string()).await
    }

    fn changed(&self, of: &Check) -> Result<(Config, Sections), Error> {
        let (running, config) = (self.site.current(), self.load(of)?);
        let sections = difference::sections(&self.in_force(&running), &config);
        Ok((config, sections))
    }

    async fn check(&self, check: &Check) -> Result<Vec<CheckLine>, Error> {
        let (running, world) = (self.site.current(), &self.site.world);
        let config = self.load(check)?;
        let out_of_reach = self.confined.refuse_outside(&config).err();
        let mut lines = match out_of_reach {
            // What it may not look at it cannot say anything of.
            Some(refused) => vec![CheckLine::warn(
                "configuration",
                refused.to_string(),
                "run `sealift check --offline`, which is not held to that",
            )],
            None => check_offline(&config, world).await,
        };
        for source in &config.sources {
            let directory = source.from.directory();
            if directory.is_some_and(|directory| !self.confined.covers(directory)) {
                let check = format!("{SOURCE}{}", source.bucket);
                lines.retain(|line| line.check != check);
                let why = "the running agent may not look there: `sealift check --offline` does";
                lines.push(CheckLine::skip(check, why));
            }
        }
        match difference::line(&self.in_force(&running), &config) {
            // What the agent holds is what its peers will see.
            None => {
                let heard = |peer: &PeerName, hello: &Hello| self.heard_clock(peer, hello);
                lines.extend(question::ask_peers(&config, world, &self.tls, &heard).await);
                let sends = |peer: &PeerName| {
                    let sessions = self.peers.of(peer).sessions;
                    sessions.contains(&Direction::Send)
                };
                lines.extend(question::sessions_awaited(&config, &sends));
            }
            Some(differs) => {
                lines.insert(1, differs);
                lines.extend(question::check_peers(&config, world).await);
            }
        }
        for bucket in &running.buckets {
            let canary = Canary::new(&*world.rng);
            lines.push(canary.here(&self.site.archive, &bucket.name).await);
        }
        Ok(lines)
    }
}

impl Running {
    /// A peer said what time it is there.
    pub(super) fn heard_clock(&self, peer: &PeerName, hello: &Hello) {
        let clock = &*self.site.world.clock;
        self.peers.clocks.heard(peer, hello.clock, clock);
    }

    /// The configuration that is asked about, beside what this agent was given.
    fn load(&self, of: &Check) -> Result<Config, Error> {
        let running = self.site.current();
        let path = of.file.as_deref().unwrap_or(&running.path);
        let flags = self.flags.iter().cloned().chain(of.overrides());
        Ok(Config::load(path, flags.collect())?)
    }

    fn in_force<'a>(&'a self, config: &'a Config) -> difference::InForce<'a> {
        difference::InForce {
            config,
            senders: self.senders.keys().collect(),
        }
    }

    fn chosen_sources(&self, bucket: Option<&BucketName>) -> impl Iterator<Item = &SourceHandle> {
        let wanted =
            move |source: &&SourceHandle| bucket.is_none_or(|b| source.status().bucket == *b);
        self.sources.iter().filter(wanted)
    }

    /// Reads the configuration again, and logs what came of it.
    pub(super) async fn reload(&self, actor: &str) -> Result<Vec<CheckLine>, Error> {
        let taken = self.take_up_file(actor).await;
        match &taken {
            Ok(_) => tracing::info!(actor, "configuration reloaded"),
            Err(error) => {
                let failure = error.failure();
                let causes = failure.causes.join("; ");
                tracing::error!(
                    actor,
                    error = failure.what,
                    causes,
                    "the configuration stays as it was"
                );
            }
        }
        taken
    }

    /// Reads the configuration again and takes it up as a whole, or not at all.
    async fn take_up_file(&self, actor: &str) -> Result<Vec<CheckLine>, Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let before = self.site.current();
        let after = Config::load(&before.path, self.flags.clone())?;
        difference::needs_restart(&self.in_force(&before), &after)?;
        self.confined.refuse_outside(&after)?;
        // Everything that can be refused comes first; from the record on nothing is.
        let in_force = self.tls.credentials();
        let credentials = load_credentials_beside(&in_force, &after, &self.site.world)?;
        let peers = self.site.peers(&after)?;
        let identity = self.tls.accept(credentials, peers)?;
        let forwards = self.forwarding.prepare(&after.forwards).await?;
        let targets = after.forward_targets.clone();
        keys_fit_to_begin(&after, &*self.site.providers).await?;
        self.hold_versioning(&before, &after).await?;
        let access = after.endpoint.as_ref();
        let access = access.map(|wanted| endpoint::settings(&after, wanted));
        let access = access.transpose()?;
        let (grants, rules) = (after.grants.clone(), rules_of(&after));
        let policy = policy_of(&after);
        let record = AuditRecord::new(self.site.world.clock.now(), AuditKind::ConfigLoaded, actor)
            .with("file", after.path.display());
        self.site.record(record)?;
        self.paces.put_in_force(&after);
        self.door.set_rates(&receive_rates(&after));
        self.site.take_up(after);
        self.tls.put_in_force(identity);
        self.door.set_grants(grants.into());
        self.rules.send_replace(rules.into());
        if let (Some(endpoint), Some(access)) = (&self.endpoint, access) {
            endpoint.put_in_force(access);
        }
        self.forwarding.near.put_in_force(forwards);
        self.forwarding.far.set_targets(targets);
        self.sweep_links();
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
            "certificate, peers and their limits, grants, buckets, rules, forwards and access keys",
        )])
    }
}
