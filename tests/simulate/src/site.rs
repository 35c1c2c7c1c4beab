//! One site: what outlives its process, and how that is started on it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_archive::{Archive, ArchiveParts, ArchiveSource, BucketKey, Buckets, Budget};
use sealift_identity::{GrantRow, Grants, Leaf, Session as TlsFacts};
use sealift_keys::{KEYSTORE_FILE, LocalKeystore, RecordRing, RootSecret};
use sealift_ledger::{
    Journal, NewSite,
    log::{LogAudit, LogCatalog, LogJournal},
};
use sealift_receiver::Door;
use sealift_sender::{
    FollowTask, Orders, PeerSender, Rule, Rules, Settings, SourceHandle, SourceSettings,
    SourceTask, WorkSignal,
};
use sealift_store::{DirectoryStore, Source};
use sealift_terms::{
    BucketName, Clock, Disk, Epoch, Identity, PeerName, Region, Rng, RuleName, SiteId, Timestamp,
};
use sealift_tunnel::{NoAnswers, Pace};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    chance::{Chance, SimRng},
    clock::SimClock,
    disk::Platter,
    peers,
    plan::{Flow, Plan},
    world::World,
};

/// The sending site.
pub(crate) const NEAR: usize = 0;
/// The receiving site.
pub(crate) const FAR: usize = 1;

pub(crate) const CMK: &str = "alias/photos";
const DATA: &str = "/data";
/// How often what is idle is looked at.
const UPKEEP: Duration = Duration::from_secs(600);

pub(crate) fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

/// Everything, to a peer.
fn all_to(peer: PeerName) -> Rule {
    Rule {
        name: RuleName::new("all").unwrap(),
        bucket: bucket(),
        prefix: String::new(),
        tags: BTreeMap::new(),
        peers: vec![peer],
        delete_markers: true,
        version_deletes: None,
        existing_objects: true,
        to_origin: false,
        replicas: true,
    }
}

/// The other one.
fn peer_of(site: usize) -> PeerName {
    PeerName::new(["far", "near"][site]).unwrap()
}

/// What a site is, whether its process runs or not.
pub(crate) struct Site {
    pub(crate) index: usize,
    pub(crate) platter: Arc<Platter>,
    pub(crate) clock: Arc<SimClock>,
    chance: Chance,
    secret: RootSecret,
    /// The process that runs, if one does.
    pub(crate) running: Mutex<Option<Arc<Running>>>,
}

/// A site's process.
pub(crate) struct Running {
    pub(crate) site: usize,
    pub(crate) archive: Arc<Archive>,
    pub(crate) catalog: Arc<LogCatalog>,
    pub(crate) audit: Arc<LogAudit>,
    pub(crate) journal: Arc<LogJournal>,
    pub(crate) keystore: Arc<LocalKeystore>,
    pub(crate) budget: Budget,
    pub(crate) door: Arc<Door>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) rng: Arc<SimRng>,
    /// The sending half, at a site that sends.
    pub(crate) sending: Option<Sending>,
    pub(crate) plan: Plan,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) tasks: Mutex<JoinSet<()>>,
    parts: ArchiveParts,
}

pub(crate) struct Sending {
    pub(crate) sender: PeerSender,
    pub(crate) source: SourceHandle,
    /// One session at a time.
    pub(crate) free: tokio::sync::Mutex<()>,
    /// Kept so that the rules stay as they are.
    _rules: watch::Sender<Arc<Rules>>,
}

pub(crate) fn region(site: usize) -> Region {
    Region::new(["eu-west", "us-east"][site]).unwrap()
}

fn identity(site: usize) -> Identity {
    let text = format!("spiffe://example.org/region/{}/agent/s{site}", region(site));
    text.parse().unwrap()
}

/// What a handshake between both would have said, seen from `site`.
pub(crate) fn facts_at(site: usize) -> TlsFacts {
    let leaf = |site: usize| {
        Arc::new(Leaf {
            identity: identity(site),
            serial: format!("0{site}"),
            not_before: Timestamp::from_millis(0),
            not_after: Timestamp::from_secs(1 << 40),
            client_auth: true,
            server_auth: true,
        })
    };
    TlsFacts {
        tls_version: "none",
        cipher_suite: "none".to_owned(),
        group: "none".to_owned(),
        alpn: b"simulated".to_vec(),
        own: leaf(site),
        peer: leaf(1 - site),
    }
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl Site {
    pub(crate) fn new(index: usize, platter: Arc<Platter>, chance: Chance) -> Arc<Self> {
        let secret = RootSecret::generate(&SimRng(chance.fork()));
        Arc::new(Self {
            index,
            platter,
            clock: Arc::new(SimClock::new()),
            chance,
            secret,
            running: Mutex::new(None),
        })
    }

    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().clone()
    }

    /// Makes the data directory and the keys, as `sealift init` does.
    pub(crate) fn init(&self) -> Result<(), Problem> {
        let disk: Arc<dyn Disk> = self.platter.disk();
        disk.create_dir_all(Path::new(DATA))?;
        disk.sync_dir(Path::new("/"))?;
        disk.create_dir_all(&Path::new(DATA).join("keys"))?;
        disk.sync_dir(Path::new(DATA))?;
        let rng = Arc::new(SimRng(self.chance.fork()));
        let path = Path::new(DATA).join(KEYSTORE_FILE);
        let (clock, secret) = (self.clock.clone(), self.secret.clone());
        let keystore = LocalKeystore::create(disk.clone(), clock, rng.clone(), &path, secret)?;
        keystore.create_key(Some(CMK.parse()?), region(self.index))?;
        LogJournal::open(disk.clone(), &Path::new(DATA).join("journal.log"))?;
        let new = NewSite {
            site: SiteId::random(&*rng),
            epoch: Epoch::random(&*rng),
        };
        LogCatalog::open(disk, &Path::new(DATA).join("catalog.log"), new)?;
        Ok(())
    }

    /// Starts a process on what is on the disk.
    pub(crate) async fn start(&self, world: &Arc<World>) -> Result<Arc<Running>, Problem> {
        let data = Path::new(DATA);
        let disk: Arc<dyn Disk> = self.platter.disk();
        let rng = Arc::new(SimRng(self.chance.fork()));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let keystore = Arc::new(LocalKeystore::open(
            disk.clone(),
            clock.clone(),
            rng.clone(),
            &data.join(KEYSTORE_FILE),
            self.secret.clone(),
        )?);
        // Both are there since `init`: a new site id would be found out.
        let nobody = NewSite {
            site: SiteId([0; 16]),
            epoch: Epoch([0; 16]),
        };
        let journal = Arc::new(LogJournal::open(disk.clone(), &data.join("journal.log"))?);
        let catalog = LogCatalog::open(disk.clone(), &data.join("catalog.log"), nobody)?;
        let (audit, catalog) = (catalog.audit(), Arc::new(catalog));
        let store = DirectoryStore::new(disk, data.join("staging"), data.join("store"))?;
        let ring = RecordRing::new(
            keystore.clone(),
            region(self.index),
            clock.clone(),
            rng.clone(),
            audit.clone(),
        );
        let budget = Budget::new(world.plan.budget_bytes);
        let parts = ArchiveParts {
            store: Arc::new(store),
            catalog: catalog.clone(),
            ring: Arc::new(ring),
            buckets: Buckets::from([(bucket(), BucketKey::shared(CMK))]),
            region: region(self.index),
            clock: clock.clone(),
            rng: rng.clone(),
            audit: audit.clone(),
            budget: budget.clone(),
            files_max: 1 << 16,
        };
        let archive = Arc::new(Archive::open(parts.clone()).await?);
        let row = GrantRow {
            line: 1,
            identity: identity(1 - self.index).to_string(),
            actions: vec!["replicate".to_owned(), "delete".to_owned()],
            buckets: vec!["*".to_owned()],
            keys: Vec::new(),
        };
        let grants = Arc::new(Grants::new(&[row])?);
        let door = Arc::new(Door::new(archive.clone(), grants, audit.clone(), clock));
        let mut tasks = JoinSet::new();
        let (stop, _) = watch::channel(false);
        let sending = match world.plan.flow == Flow::Both || self.index == NEAR {
            true => Some(
                self.sending(
                    world,
                    (&archive, &journal),
                    audit.clone(),
                    rng.clone(),
                    &stop,
                    &mut tasks,
                )
                .await?,
            ),
            false => None,
        };
        let running = Arc::new(Running {
            site: self.index,
            archive,
            catalog,
            audit,
            journal,
            keystore,
            budget,
            door,
            clock: self.clock.clone(),
            rng,
            sending,
            plan: world.plan.clone(),
            stop,
            tasks: Mutex::new(tasks),
            parts,
        });
        running.begin(world).await?;
        Ok(running)
    }

    async fn sending(
        &self,
        world: &Arc<World>,
        (archive, journal): (&Arc<Archive>, &Arc<LogJournal>),
        audit: Arc<LogAudit>,
        rng: Arc<dyn Rng>,
        stop: &watch::Sender<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Sending, Problem> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let orders = Orders::load(&**journal, region(self.index), clock.clone()).await?;
        let of_peers = [(peer_of(self.index), region(1 - self.index))];
        let rules = Rules::new(vec![all_to(peer_of(self.index))])
            .between(region(self.index), of_peers.into());
        let (rules, rules_in) = watch::channel(Arc::new(rules));
        let work = WorkSignal::new();
        let settings = SourceSettings {
            bucket: bucket(),
            scan_interval: Duration::from_secs(60),
        };
        let source: Arc<dyn Source> = match world.plan.flow {
            Flow::OneWay => Arc::new(world.source.clone()),
            Flow::Both => Arc::new(ArchiveSource::new(archive.clone(), bucket())),
        };
        let (journal, from, at) = (journal.clone(), source.clone(), clock.clone());
        let (of_task, signal) = (journal.clone(), work.clone());
        let (task, handle) = match world.plan.flow {
            Flow::OneWay => {
                let orders = Arc::new(orders);
                let (task, handle) =
                    SourceTask::new(settings, from, of_task, orders, at, rules_in, signal);
                (task.run(stop.subscribe()), handle)
            }
            Flow::Both => {
                let (task, handle) = FollowTask::new(settings, from, of_task, at, rules_in, signal);
                (task.run(stop.subscribe()), handle)
            }
        };
        tasks.spawn(task);
        let sender = PeerSender::new(Settings {
            peer: peer_of(self.index),
            journal,
            sources: [(bucket(), source)].into(),
            work,
            rules: rules.subscribe(),
            part_size: world.plan.part_size,
            memory_bytes: world.plan.budget_bytes,
            pace: Arc::new(Pace::new(clock.clone(), Default::default())),
            compresses: true,
            drain_time: Duration::from_secs(10),
            clock,
            rng,
            audit,
            questions: Arc::new(NoAnswers),
        });
        Ok(Sending {
            sender,
            source: handle,
            free: tokio::sync::Mutex::new(()),
            _rules: rules,
        })
    }
}

impl Running {
    async fn begin(self: &Arc<Self>, world: &Arc<World>) -> Result<(), Problem> {
        let transport = world.transport(self.site);
        let mut tasks = self.tasks.lock();
        let both = world.plan.flow == Flow::Both;
        if both || world.plan.dialler != self.site {
            let listener = transport.listening();
            tasks.spawn(peers::accept(self.clone(), listener));
        }
        if both || world.plan.dialler == self.site {
            let wanted = world.plan.data_links;
            tasks.spawn(peers::keep_session(self.clone(), transport, wanted));
        }
        tasks.spawn(upkeep(self.clone()));
        Ok(())
    }

    /// The process is gone from one moment to the next.
    pub(crate) fn vanish(&self) {
        self.tasks.lock().abort_all();
    }

    /// Ends what is under way, then itself.
    pub(crate) async fn end(&self) {
        self.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        let ended = async { while tasks.join_next().await.is_some() {} };
        // Whatever does not end by then is cut short.
        let _ = tokio::time::timeout(Duration::from_secs(30), ended).await;
        tasks.abort_all();
        self.archive.close().await;
    }

    /// What a catalog that is made anew from the store would work on.
    pub(crate) fn parts_with(&self, catalog: Arc<LogCatalog>) -> ArchiveParts {
        let audit = catalog.audit();
        ArchiveParts {
            catalog,
            audit,
            ..self.parts.clone()
        }
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        &*self.journal
    }
}

async fn upkeep(running: Arc<Running>) {
    let mut stop = running.stop.subscribe();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(UPKEEP) => {}
        }
        // What fails now is done the next time.
        let _ = running.archive.sweep().await;
        running.archive.let_go_of_interrupted();
        running.archive.ring().expire();
    }
}
