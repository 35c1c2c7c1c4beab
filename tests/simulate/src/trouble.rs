//! What goes wrong, one thing after another and several at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    disk::{DiskFaults, Full, Reason},
    net::Way,
    rounds,
    site::FAR,
    world::{How, Order, World},
};

/// Makes trouble until `end`, and waits until all of it is over.
pub(crate) async fn make(world: &Arc<World>, end: Instant) {
    let chance = world.chance.fork();
    let mut under_way = JoinSet::new();
    loop {
        sleep(chance.millis(1..world.plan.calm_millis)).await;
        if Instant::now() >= end {
            break;
        }
        rounds::look_for_continued(world);
        let (world, chance) = (world.clone(), chance.fork());
        let site = usize::from(chance.below(3) > 0);
        let kind = chance.below(17);
        under_way.spawn(async move {
            match kind {
                0..=3 => crash(&world, site).await,
                4 => stop(&world, site).await,
                5 | 6 => partition(&world).await,
                7 => world.network.lose_one(false),
                8 => world.network.lose_one(true),
                9 => slow_way(&world, site).await,
                10 => full_disk(&world, site).await,
                11 | 12 => failing_disk(&world, site).await,
                13 => slow_disk(&world, site).await,
                14 => clock_jump(&world, site).await,
                15 => source_away(&world).await,
                _ => rotate(&world),
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Mends everything.
pub(crate) fn heal(world: &World) {
    world.source.set_away(false);
    for site in &world.sites {
        site.platter.set_faults(DiskFaults::default());
        site.platter.cut_after(None);
        site.clock.set_off(0);
        world.network.open(site.index, false);
        world.network.set_way(site.index, world.plan.way.clone());
    }
}

async fn crash(world: &World, site: usize) {
    let chance = world.chance.fork();
    let down = chance.millis(1..30_000);
    match chance.below(3) {
        0 => world.order(
            site,
            Order {
                how: How::Killed,
                down,
            },
        ),
        1 => world.order(
            site,
            Order {
                how: How::PowerLoss,
                down,
            },
        ),
        // In the middle of whatever it does with its disk.
        _ => {
            let reason = *chance.pick(&[Reason::PowerLoss, Reason::PowerLoss, Reason::Killed]);
            let platter = &world.sites[site].platter;
            platter.cut_after(Some((chance.below(60), reason)));
        }
    }
}

async fn stop(world: &World, site: usize) {
    let down = world.chance.fork().millis(1..5_000);
    let how = How::Stopped;
    world.order(site, Order { how, down });
}

async fn partition(world: &World) {
    world.count("partitions");
    let chance = world.chance.fork();
    let from = usize::from(chance.one_in(2));
    let both = chance.one_in(2);
    world.network.block(from);
    if both {
        world.network.block(1 - from);
    }
    let time = chance.millis(10..100_000);
    sleep(time).await;
    let gives_up = time > Duration::from_secs(40) && chance.one_in(2);
    world.network.open(from, gives_up);
    if both {
        world.network.open(1 - from, gives_up);
    }
}

async fn slow_way(world: &World, site: usize) {
    world.count("slow ways");
    let chance = world.chance.fork();
    let way = Way {
        delay: chance.millis(1..2_000),
        jitter: chance.millis(1..3_000),
        bytes_per_sec: 1 << chance.within(10..20),
        is_blocked: false,
    };
    world.network.set_way(site, way);
    sleep(chance.millis(100..20_000)).await;
    // In the middle of a part, as likely as not.
    if chance.one_in(2) {
        world.network.lose_one(chance.one_in(2));
    }
    sleep(chance.millis(100..10_000)).await;
    world.network.set_way(site, world.plan.way.clone());
}

async fn with_faults(world: &World, site: usize, faults: DiskFaults) {
    let platter = &world.sites[site].platter;
    platter.set_faults(faults);
    sleep(world.chance.fork().millis(100..15_000)).await;
    platter.set_faults(DiskFaults::default());
}

async fn full_disk(world: &World, site: usize) {
    world.count("full disks");
    let full = world
        .chance
        .fork()
        .pick(&[Full::Told, Full::Untold])
        .to_owned();
    let faults = DiskFaults {
        full: Some(full),
        ..DiskFaults::default()
    };
    with_faults(world, site, faults).await;
}

async fn failing_disk(world: &World, site: usize) {
    world.count("failing disks");
    let chance = world.chance.fork();
    let often = Some(chance.within(1..12));
    let mut faults = DiskFaults::default();
    match chance.below(5) {
        0 => faults.reads = often,
        1 => faults.writes = often,
        2 => faults.syncs = often,
        3 => faults.names = often,
        _ => {
            (faults.reads, faults.writes) = (Some(30), Some(30));
            (faults.syncs, faults.names) = (Some(30), Some(30));
        }
    }
    with_faults(world, site, faults).await;
}

async fn slow_disk(world: &World, site: usize) {
    let faults = DiskFaults {
        slow: world.chance.fork().millis(1..3_000),
        ..DiskFaults::default()
    };
    with_faults(world, site, faults).await;
}

/// As an unmounted disk is.
async fn source_away(world: &World) {
    world.count("sources away");
    world.source.set_away(true);
    sleep(world.chance.fork().millis(10..20_000)).await;
    world.source.set_away(false);
}

async fn clock_jump(world: &World, site: usize) {
    world.count("clock jumps");
    let chance = world.chance.fork();
    let off = i64::try_from(chance.millis(1..600_000).as_millis()).unwrap();
    let off = if chance.one_in(2) { off } else { -off };
    world
        .trace
        .note(format_args!("{site} clock off by {off} ms"));
    world.sites[site].clock.set_off(off);
    sleep(chance.millis(10..60_000)).await;
    world.sites[site].clock.set_off(0);
}

/// New key material: the next key record is wrapped under it.
fn rotate(world: &World) {
    if let Some(running) = world.sites[FAR].running()
        && running.keystore.rotate(crate::site::CMK).is_ok()
    {
        world.count("key rotations");
        running.archive.ring().recheck();
    }
}
