//! Both sites, the network between them, the source, and what is known of it all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_store::MemorySource;
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    both::{self, Book},
    chance::Chance,
    check,
    disk::{Platter, Reason},
    model::Model,
    net::{Network, SimTransport},
    plan::{Flow, Plan},
    salts::SaltBook,
    site::{FAR, NEAR, Site},
    trace::Trace,
};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    PowerLoss,
    Killed,
    /// In order, as by SIGTERM.
    Stopped,
}

/// That a process is to end, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) how: How,
    pub(crate) down: Duration,
}

/// One run.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) trace: Trace,
    pub(crate) chance: Chance,
    pub(crate) network: Arc<Network>,
    pub(crate) sites: [Arc<Site>; 2],
    pub(crate) salts: Arc<SaltBook>,
    pub(crate) source: MemorySource,
    pub(crate) model: Mutex<Model>,
    /// What applications wrote, where they write at both sites.
    pub(crate) book: Mutex<Book>,
    pub(crate) tally: Mutex<BTreeMap<&'static str, u64>>,
    /// What must not be and was.
    violation: watch::Sender<Option<String>>,
    orders: [mpsc::Sender<Order>; 2],
    /// Told when a site's process has started.
    started: [Notify; 2],
}

impl World {
    /// Makes both sites and keeps their processes running.
    pub(crate) fn new(seed: u64, flow: Flow, trace: Trace) -> Result<Arc<Self>, String> {
        let chance = Chance::new(seed);
        let plan = Plan::draw(&chance.fork(), flow);
        trace.note(format_args!("{plan:?}"));
        let network = Network::new(&plan.way, chance.fork(), trace.clone());
        let salts = Arc::new(SaltBook::default());
        let site = |index: usize| {
            let name = ["near", "far"][index];
            let platter = Platter::new(name, chance.fork(), trace.clone(), salts.clone());
            let network = network.clone();
            platter.at_cut(move |why| network.crash(index, why == Reason::PowerLoss));
            Site::new(index, platter, chance.fork())
        };
        let sites = [site(NEAR), site(FAR)];
        for site in &sites {
            site.init().map_err(|error| format!("init: {error}"))?;
        }
        let (to_near, near) = mpsc::channel(1);
        let (to_far, far) = mpsc::channel(1);
        let world = Arc::new(Self {
            plan,
            trace,
            chance,
            network,
            sites,
            salts,
            source: MemorySource::new(),
            model: Mutex::default(),
            book: Mutex::default(),
            tally: Mutex::default(),
            violation: watch::Sender::new(None),
            orders: [to_near, to_far],
            started: [Notify::new(), Notify::new()],
        });
        for (site, orders) in world.sites.iter().zip([near, far]) {
            tokio::spawn(keep_running(site.clone(), world.clone(), orders));
        }
        Ok(world)
    }

    pub(crate) fn transport(&self, site: usize) -> SimTransport {
        let network = self.network.clone();
        SimTransport { network, site }
    }

    /// Says that something must not be.
    pub(crate) fn violate(&self, what: String) {
        self.trace.note(format_args!("VIOLATION {what}"));
        self.violation.send_modify(|first| {
            first.get_or_insert(what);
        });
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.tally.lock().entry(what).or_default() += 1;
    }

    /// Ends a site's process; one that is ending already is left alone.
    pub(crate) fn order(&self, site: usize, order: Order) {
        let _ = self.orders[site].try_send(order);
    }

    /// Waits until a site's process runs.
    pub(crate) async fn up(&self, site: usize) {
        while self.sites[site].running().is_none() {
            self.started[site].notified().await;
        }
    }
}

/// Starts a site's process whenever there is none.
async fn keep_running(site: Arc<Site>, world: Arc<World>, mut orders: mpsc::Receiver<Order>) {
    let chance = world.chance.fork();
    loop {
        let started = tokio::select! {
            biased;
            () = site.platter.cut.notified() => None,
            started = site.start(&world) => Some(started),
        };
        let order = match started {
            None => None,
            Some(Err(error)) => {
                world
                    .trace
                    .note(format_args!("{} does not start: {error}", site.index));
                world.count("starts failed");
                // Its disk fails: whoever supervises it tries again.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Some(Ok(running)) => {
                world.trace.note(format_args!("{} runs", site.index));
                *site.running.lock() = Some(running.clone());
                world.started[site.index].notify_waiters();
                match world.plan.flow {
                    Flow::OneWay if site.index == FAR => {
                        check::after_start(&world, &running).await;
                    }
                    Flow::OneWay => {}
                    Flow::Both => both::after_start(&world, &running).await,
                }
                tokio::select! {
                    biased;
                    () = site.platter.cut.notified() => None,
                    order = orders.recv() => order,
                }
            }
        };
        let down = chance.millis(10..20_000);
        let how = order.map_or_else(
            || match site.platter.cut_by() {
                Reason::PowerLoss => How::PowerLoss,
                Reason::Killed => How::Killed,
            },
            |order| order.how,
        );
        end(&site, &world, how).await;
        tokio::time::sleep(order.map_or(down, |order| order.down)).await;
        site.platter.turn_on(match how {
            How::PowerLoss => Reason::PowerLoss,
            // What was never synced may still be lost, by the next power loss.
            How::Killed | How::Stopped => Reason::Killed,
        });
        world.network.come_back(site.index);
        while orders.try_recv().is_ok() {}
    }
}

async fn end(site: &Site, world: &World, how: How) {
    world
        .trace
        .note(format_args!("{} ends: {how:?}", site.index));
    world.count(match how {
        How::PowerLoss => "power losses",
        How::Killed => "kills",
        How::Stopped => "stops",
    });
    let running = site.running.lock().take();
    if let Some(running) = &running
        && how == How::Stopped
    {
        // A power loss may come while it ends.
        tokio::select! {
            biased;
            () = site.platter.cut.notified() => {}
            () = running.end() => {}
        }
    }
    world.network.crash(site.index, how == How::PowerLoss);
    site.platter.turn_off();
    if let Some(running) = running {
        running.vanish();
    }
}
