//! Starting and stopping, each in its order.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sealift_host::{DataDirLock, LockError};
use sealift_identity::TlsContext;
use sealift_receiver::Door;
use sealift_sender::{
    FollowTask, Orders, PeerSender, Rule, Rules, Settings, SourceHandle, SourceSettings,
    SourceTask, WorkSignal,
};
use sealift_store::Source;
use sealift_terms::{AuditKind, Boxed, BucketName, Identity};
use sealift_tunnel::{Dialer, Listener, OnRefused, TcpTransport};
use sealift_wire::Role;
use tokio::{sync::watch, task::JoinSet};

use super::{
    OneSender, Running, accepting, authority, dialling, endpoint, forwarding::Forwarding, fronting,
    hello::policy_of, issuing, links::Standing, paces::Paces, peers::PeerStates, quota::Quota,
    regions, repair::Answers, scrubbing, spreading::Spread, transport, upkeep::Health,
    watchdog::Watchdog,
};
use crate::{
    Confined, Error, Lifecycle, Outcome, Phase, World,
    admin::AdminServer,
    bundles::{own_bundle, remember_files},
    certifying::{awaits_renewal, get_first, load_last_credentials},
    check_offline,
    config::{BucketSource, Config, Override, RootKeySource},
    offline::{CERTIFICATE, KEY_BACKUP, KEYSTORE, is_source, is_versioning_off},
    operations::SiteOperations,
    regions::KeyDesk,
    site::Site,
    sources::open_source,
    watch_signals,
};

/// How long a forced stop lets last frames leave.
const LAST_WAIT: Duration = Duration::from_millis(100);
/// How long a starting agent waits for the lock of its data directory.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two tries.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting, or made it stop.
pub fn up(
    config: Config,
    flags: Vec<Override>,
    confined: Confined,
) -> Boxed<'static, Result<(), Error>> {
    Box::pin(async move {
        let world = World::real();
        config.look_at(&["site.", "identity.", "keys.", "peer.", "endpoint."])?;
        let tls = config.tls.clone();
        tokio::task::spawn_blocking(move || tls.warm_up());
        let mut lifecycle =
            watch_signals(config.limits.drain).map_err(Error::failed("watching for signals"))?;
        let lock = lock(&config).await?;
        tokio::select! {
            got = get_first(&config, &world) => got?,
            () = lifecycle.reached(Phase::Draining) => return Ok(()),
        }
        refuse_what_cannot_work(&config, &world).await?;
        let site = Site::open(config.clone(), world, lock).await?;
        let mut tasks = JoinSet::new();
        let running = start(site, config, flags, confined, &mut tasks).await?;
        let operations = Arc::new(SiteOperations::running(
            running.site.clone(),
            running.clone(),
        ));
        let (socket, operators, loopback) = {
            let config = running.site.current();
            (
                config.socket(),
                config.operators_socket.clone(),
                config.admin,
            )
        };
        let operators = operators.as_deref();
        let admin = AdminServer::open(&socket, operators, loopback, operations, &lifecycle).await?;
        running.tell_start(admin.loopback());
        serve(&running, &mut lifecycle).await;
        stop(&running, &mut lifecycle, tasks).await;
        drop(admin);
        running.record(AuditKind::AgentStopped, &[])?;
        running.site.close().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// A command that looks at a stopped site has its lock for a moment: an agent that
/// starts then waits for it.
async fn lock(config: &Config) -> Result<DataDirLock, Error> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match DataDirLock::acquire(&config.site.data_dir) {
            Err(LockError::Held { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            outcome => return outcome.map_err(Error::Locked),
        }
    }
}

async fn refuse_what_cannot_work(config: &Config, world: &World) -> Result<(), Error> {
    let mut failed = Vec::new();
    let is_wrapped = matches!(config.root_key, RootKeySource::WrappedFile(_));
    for line in check_offline(config, world).await {
        match line.outcome {
            Outcome::Pass | Outcome::Skip => {}
            Outcome::Warn => tracing::warn!(check = line.check, "{}", line.found),
            Outcome::Fail if line.check == KEY_BACKUP || is_source(&line) => {
                tracing::warn!(check = line.check, "{}", line.found);
            }
            // What is there is read all the same; what comes is refused until it is on again.
            Outcome::Fail if is_versioning_off(&line) => {
                tracing::error!(check = line.check, "{}", line.found);
            }
            // Peers refuse it, and the agent is not ready; but it cannot get another one unless
            // it runs.
            Outcome::Fail if line.check == CERTIFICATE && awaits_renewal(config, world) => {
                tracing::error!(check = line.check, "{}", line.found);
            }
            // A key service that is away now may answer in a moment: what opens the site says
            // so, and ends in a way that asks for another try.
            Outcome::Fail if line.check == KEYSTORE && is_wrapped => {}
            Outcome::Fail => failed.push(line),
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Unready(failed))
    }
}

/// Puts the parts together and sets them going.
async fn start(
    site: Arc<Site>,
    config: Config,
    flags: Vec<Override>,
    confined: Confined,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Running>, Error> {
    let tls = Arc::new(tls_context(&site, &config)?);
    let (door, desk) = door(&site, &config);
    let paces = Paces::new(&config, site.world.clock.clone());
    let forwarding = Forwarding::new(&config, &site, &tls, &paces)?;
    let forwards = forwarding.prepare(&config.forwards).await?;
    let refused = accepting::on_refused(&site);
    let doors = Doors::open(&config, &site, &refused, &tls).await?;
    let (work, (rules, rules_in_force)) = begin_rules(&config);
    let sources = open_sources(&config, &site)?;
    let (stop, stopping) = watch::channel(false);
    let changes = Changes::of(rules_in_force, &work, stopping);
    let (handles, orders) = begin_sources(&config, &site, &sources, changes, tasks).await?;
    if let Some(open) = &doors.endpoint {
        let fronts = fronting::fronts(&config, &site.world, &handles)?;
        open.endpoint().set_fronts(fronts);
    }
    let running = Arc::new(Running {
        started: site.world.clock.now(),
        flags,
        standing: Standing::default(),
        spread: Spread::new(own_bundle(&config, &site.world)?),
        peers: PeerStates::default(),
        issuers: Default::default(),
        watchdog: Watchdog::default(),
        rpo: Default::default(),
        not_taken: Default::default(),
        asked: Default::default(),
        keeping: Default::default(),
        scrubbing: Default::default(),
        door,
        senders: senders(&config, &site, &sources, (&work, &rules), &paces, &desk),
        paces,
        sources: handles,
        orders,
        rules,
        work,
        health: Health::default(),
        confined,
        reloading: Default::default(),
        policy: watch::channel(policy_of(&config)).0,
        stop,
        quota: Quota::new(),
        forwarding,
        endpoint: doors.endpoint.as_ref().map(|open| open.endpoint()),
        refused,
        sessions: Default::default(),
        listening: doors.peers.as_ref().map(Listener::address),
        tls,
        site,
    });
    running.record_start()?;
    doors.let_in(&running, tasks);
    dial(&running, tasks);
    running.forwarding.near.put_in_force(forwards);
    Forwarding::keep_waiting(&running, tasks);
    tasks.spawn(scrubbing::run(running.clone()));
    let keeping = regions::run(running.clone());
    tasks.spawn(until_stopping(running.clone(), keeping));
    Ok(running)
}

/// What others come to us by, opened and not served yet.
struct Doors {
    peers: Option<Listener>,
    issuer: Option<issuing::Listening>,
    endpoint: Option<endpoint::Listening>,
}

impl Doors {
    async fn open(
        config: &Config,
        site: &Arc<Site>,
        refused: &OnRefused,
        tls: &Arc<TlsContext>,
    ) -> Result<Self, Error> {
        Ok(Self {
            peers: listen(config, refused, tls).await?,
            issuer: issuing::listen(config).await?,
            endpoint: endpoint::listen(config, site).await?,
        })
    }

    fn let_in(self, running: &Arc<Running>, tasks: &mut JoinSet<()>) {
        begin_issuing(running, self.issuer, tasks);
        if let Some(listener) = self.peers {
            tasks.spawn(accepting::accept(running.clone(), listener));
        }
        if let Some(listening) = self.endpoint {
            listening.begin(running.stop.subscribe(), tasks);
        }
    }
}
/// What wakes senders, and the rules that sources listen to.
fn begin_rules(config: &Config) -> (WorkSignal, InForce) {
    let rules = watch::channel(Arc::new(rules_of(config)));
    (WorkSignal::new(), rules)
}

/// Rules as they are put in force, and as they are listened to.
type InForce = (watch::Sender<Arc<Rules>>, watch::Receiver<Arc<Rules>>);

/// The way in for objects, and who answers what peers ask about keys.
fn door(site: &Arc<Site>, config: &Config) -> (Arc<Door>, Arc<KeyDesk>) {
    let door = Door::new(
        site.archive.clone(),
        Arc::new(config.grants.clone()),
        site.audit.clone(),
        site.world.clock.clone(),
    );
    door.set_rates(&receive_rates(config));
    let desk = Arc::new(KeyDesk::new(site.clone()));
    door.answer_others_by(desk.clone());
    (Arc::new(door), desk)
}

/// Looks after the authority and issues certificates, where there is a `[ca]` section.
fn begin_issuing(
    running: &Arc<Running>,
    issuer: Option<issuing::Listening>,
    tasks: &mut JoinSet<()>,
) {
    if let Some(ca) = running.site.config.ca.clone() {
        let following = authority::follow(running.clone(), ca);
        tasks.spawn(until_stopping(running.clone(), following));
    }
    if let Some(issuer) = issuer {
        let issuing = issuing::serve(running.clone(), issuer);
        tasks.spawn(until_stopping(running.clone(), issuing));
    }
}

/// Does something until nothing new is to be begun: a shutdown does not wait for it.
async fn until_stopping(running: Arc<Running>, task: impl Future<Output = ()>) {
    let mut stop = running.stop.subscribe();
    tokio::select! {
        () = task => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn tls_context(site: &Site, config: &Config) -> Result<TlsContext, Error> {
    remember_files(config, &site.world)?;
    let credentials = load_last_credentials(config, &site.world)?;
    let peers = site.peers(config)?;
    let clock = site.world.clock.clone();
    Ok(TlsContext::new(
        config.tls.clone(),
        credentials,
        peers,
        clock,
    )?)
}

impl Running {
    /// Puts on record what started, and on which configuration.
    fn record_start(&self) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.record(AuditKind::AgentStarted, &[("version", version)])?;
        let path = self.site.current().path.display().to_string();
        self.record(AuditKind::ConfigLoaded, &[("file", path)])
    }

    /// Says that it runs, and whether it can do its work.
    fn tell_start(&self, admin: Option<SocketAddr>) {
        let site = &self.site.config.site;
        let (name, region, listen) = (&site.name, &site.region, self.listening);
        let credentials = self.tls.credentials();
        let leaf = credentials.leaf();
        match leaf.is_over(self.site.world.clock.now()) {
            true => {
                let problem = self.certificate_over(leaf.not_after);
                tracing::error!(site = %name, %region, ?listen, ?admin, problem, "started, and not ready");
            }
            false => tracing::info!(site = %name, %region, ?listen, ?admin, "ready"),
        }
    }
}

/// What the tasks of sources listen to and tell.
struct Changes {
    rules: watch::Receiver<Arc<Rules>>,
    work: WorkSignal,
    stopping: watch::Receiver<bool>,
}

impl Changes {
    fn of(
        rules: watch::Receiver<Arc<Rules>>,
        work: &WorkSignal,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            rules,
            work: work.clone(),
            stopping,
        }
    }
}

/// Sets the task of each source going. All take the orders of what happens from one place.
async fn begin_sources(
    config: &Config,
    site: &Site,
    sources: &Sources,
    changes: Changes,
    tasks: &mut JoinSet<()>,
) -> Result<(Vec<SourceHandle>, Arc<Orders>), Error> {
    let clock = &site.world.clock;
    let orders = Orders::load(&*site.journal, config.site.region.clone(), clock.clone()).await;
    let orders = Arc::new(orders.map_err(Error::failed("reading the journal"))?);
    let begin = |(bucket, source): (&BucketName, &Arc<dyn Source>)| {
        let interval = config.sources.iter().find(|s| s.bucket == *bucket);
        let settings = SourceSettings {
            bucket: bucket.clone(),
            scan_interval: interval.map(|s| s.scan_interval).unwrap_or_default(),
        };
        let (source, journal) = (source.clone(), site.journal.clone());
        let (clock, rules) = (clock.clone(), changes.rules.clone());
        let (work, stopping) = (changes.work.clone(), changes.stopping.clone());
        if source.ordered().is_some() {
            let (task, handle) = FollowTask::new(settings, source, journal, clock, rules, work);
            tasks.spawn(task.run(stopping));
            return handle;
        }
        let orders = orders.clone();
        let (task, handle) = SourceTask::new(settings, source, journal, orders, clock, rules, work);
        tasks.spawn(task.run(stopping));
        handle
    };
    let handles = sources.iter().map(begin).collect();
    Ok((handles, orders))
}

/// Opens the door to peers, where the configuration has one.
async fn listen(
    config: &Config,
    refused: &OnRefused,
    tls: &Arc<TlsContext>,
) -> Result<Option<Listener>, Error> {
    let Some(listen) = &config.listen else {
        return Ok(None);
    };
    let transport = transport::of(listen);
    let (address, from) = (listen.address.to_string(), listen.networks.clone());
    let listener = Listener::bind(&*transport, &address, tls.clone(), from, refused.clone()).await;
    listener
        .map(Some)
        .map_err(Error::failed("listening for peers"))
}

fn dial(running: &Arc<Running>, tasks: &mut JoinSet<()>) {
    let dialer = Dialer::new(Arc::new(TcpTransport), running.tls.clone());
    for peer in &running.site.current().peers {
        let Some(address) = peer.address.clone() else {
            continue;
        };
        let roles = [
            (
                peer.dial_for.send && running.senders.contains_key(&peer.name),
                Role::Send,
            ),
            (peer.dial_for.receive, Role::Receive),
        ];
        for (_, role) in roles.into_iter().filter(|(wanted, _)| *wanted) {
            let (running, dialer) = (running.clone(), dialer.clone());
            let (peer, address) = (peer.clone(), address.clone());
            tasks.spawn(dialling::keep_session(running, dialer, peer, address, role));
        }
    }
}

/// The peers from which so many bytes a second are taken, and no more.
pub(super) fn receive_rates(config: &Config) -> BTreeMap<Identity, u64> {
    let peers = config.peers.iter();
    let limited = peers.filter_map(|peer| Some((peer.identity.clone(), peer.quota.rate?)));
    limited.collect()
}

/// The rules of a configuration in the sender's shape.
pub(crate) fn rules_of(config: &Config) -> Rules {
    let rule = |rule: &crate::config::Rule| Rule {
        name: rule.name.clone(),
        bucket: rule.bucket.clone(),
        prefix: rule.prefix.clone(),
        tags: rule.tags.clone(),
        peers: rule.peers.clone(),
        delete_markers: rule.delete_markers,
        version_deletes: rule.version_deletes,
        existing_objects: rule.existing_objects,
        to_origin: rule.to_origin,
        replicas: rule.replicas,
    };
    let peers = config.peers.iter();
    let of_peers = peers.map(|peer| (peer.name.clone(), peer.identity.region().clone()));
    let rules = Rules::new(config.rules.iter().map(rule).collect());
    rules.between(config.site.region.clone(), of_peers.collect())
}

type Sources = BTreeMap<BucketName, Arc<dyn Source>>;

/// A source that is away now holds up its own bucket and nothing else.
fn open_sources(config: &Config, site: &Site) -> Result<Sources, Error> {
    let opened = |source: &BucketSource| {
        let opened = open_source(site, source)?;
        Ok((source.bucket.clone(), opened))
    };
    config.sources.iter().map(opened).collect()
}

/// A sender for every peer that a rule names.
fn senders(
    config: &Config,
    site: &Site,
    sources: &Sources,
    (work, rules): (&WorkSignal, &watch::Sender<Arc<Rules>>),
    paces: &Paces,
    desk: &Arc<KeyDesk>,
) -> BTreeMap<sealift_terms::PeerName, Arc<OneSender>> {
    let named = config
        .rules
        .iter()
        .flat_map(|rule| rule.peers.iter().cloned());
    let named: BTreeSet<_> = named.collect();
    // A share each: one that takes nothing keeps nobody else from being sent to.
    let memory_bytes = config.memory().sending / named.len().max(1);
    let sender = |peer: sealift_terms::PeerName| {
        let sender = PeerSender::new(Settings {
            peer: peer.clone(),
            journal: site.journal.clone(),
            sources: sources.clone(),
            work: work.clone(),
            rules: rules.subscribe(),
            part_size: config.limits.part_bytes,
            memory_bytes,
            pace: paces.of(&peer),
            compresses: config.limits.compression.is_on(),
            drain_time: config.limits.drain,
            clock: site.world.clock.clone(),
            rng: site.world.rng.clone(),
            audit: site.audit.clone(),
            questions: Arc::new(Answers {
                peer: peer.clone(),
                journal: site.journal.clone(),
                audit: site.audit.clone(),
                clock: site.world.clock.clone(),
                work: work.clone(),
                keys: desk.clone(),
            }),
        });
        (
            peer,
            Arc::new(OneSender {
                sender,
                free: Default::default(),
            }),
        )
    };
    named.into_iter().map(sender).collect()
}

/// Works until the first signal to end.
async fn serve(running: &Arc<Running>, lifecycle: &mut Lifecycle) {
    let mut reloads = lifecycle.clone();
    let reload = async {
        loop {
            reloads.reload_asked().await;
            // What came of it is in the log.
            let _ = running.reload("SIGHUP").await;
        }
    };
    tokio::select! {
        () = lifecycle.reached(Phase::Draining) => {}
        () = running.watch_over() => {}
        () = reload => {}
    }
}

/// Finishes what is under way; a second signal, or the time limit, cuts it short.
async fn stop(running: &Arc<Running>, lifecycle: &mut Lifecycle, mut tasks: JoinSet<()>) {
    running.stop.send_replace(true);
    let drain = running.site.current().limits.drain;
    let drained = async {
        let streams = running.forwarding.drain(drain);
        let sessions = async { while tasks.join_next().await.is_some() {} };
        tokio::join!(streams, sessions);
        while running.standing.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = lifecycle.reached(Phase::Stopping) => {
            running.forwarding.end_all();
            tokio::time::sleep(LAST_WAIT).await;
        }
    }
}
