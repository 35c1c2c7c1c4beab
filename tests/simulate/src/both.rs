//! Applications write at both sites, which replicate to each other: what they write, and what
//! must hold then.
//!
//! ```text
//!   puts, removals, tags ─▶ near: archive ═══ ▶ ◀ ═══ archive: far ◀─ puts, removals, tags
//!                                   both list the same in the end
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealift_archive::in_words;
use sealift_ledger::{AuditLog, Catalog, Transfer, VersionKind, VersionRow};
use sealift_terms::{
    AuditKind, ObjectFacts, ObjectKey, Order, Reason, Status, VersionName,
    limits::INTERRUPTED_KEPT_MAX,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    chance::Chance,
    check::{self, Held},
    model::{Bytes, content},
    site::{FAR, NEAR, Running, bucket, region},
    world::World,
};

/// Who writes, in the audit log.
const ACTOR: &str = "application";
/// Few, so that both sites meet at them.
const KEYS: u64 = 5;
const LEAVES: usize = 1_000_000;

/// What applications wrote, and what they were told of it.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Of every object that it came to a commit of.
    begun: BTreeMap<VersionName, Bytes>,
    /// Answered: at which site, and with which order.
    answered: BTreeMap<VersionName, (usize, Order)>,
    /// Tags that were answered.
    tagged: BTreeMap<VersionName, BTreeSet<Order>>,
}

/// One thing that an application does.
#[derive(Debug)]
enum Act {
    Put(ObjectKey, Vec<u8>),
    Remove(ObjectKey),
    /// The latest version.
    Tag(ObjectKey, u64),
}

impl Act {
    fn draw(chance: &Chance) -> Self {
        let key = format!("k{}", chance.below(KEYS)).parse().unwrap();
        match chance.below(10) {
            0 | 1 => Self::Remove(key),
            2 | 3 => Self::Tag(key, chance.below(1_000)),
            _ => Self::Put(key, content(chance)),
        }
    }
}

/// Writes at both sites now and then.
pub(crate) async fn write(world: &Arc<World>, end: Instant) {
    tokio::join!(write_at(world, NEAR, end), write_at(world, FAR, end));
}

async fn write_at(world: &Arc<World>, site: usize, end: Instant) {
    let chance = world.chance.fork();
    let mut left = world.plan.changes;
    let between = world.plan.trouble.as_millis() as u64 / left;
    while Instant::now() < end && left > 0 {
        sleep(std::time::Duration::from_millis(chance.below(between * 2))).await;
        left -= 1;
        let act = Act::draw(&chance);
        let Some(running) = world.sites[site].running() else {
            continue;
        };
        let (done, answer) = oneshot::channel();
        let (of_task, world_of_task) = (running.clone(), world.clone());
        // As long as the process is there, and not longer.
        running.tasks.lock().spawn(async move {
            let told = of_task.act(&world_of_task, act).await;
            let _ = done.send(told);
        });
        drop(running);
        if chance.one_in(4) {
            continue;
        }
        match answer.await {
            Ok(Ok(())) => world.count("writes"),
            Ok(Err(what)) => {
                world.trace.note(format_args!("{site}: {what}"));
                world.count("writes refused");
            }
            Err(_) => world.count("writes cut off"),
        }
    }
}

impl Running {
    async fn act(&self, world: &World, act: Act) -> Result<(), String> {
        let (key, told) = match &act {
            Act::Put(key, bytes) => (key, format!("puts {key}, {} bytes", bytes.len())),
            Act::Remove(key) => (key, format!("removes {key}")),
            Act::Tag(key, tag) => (key, format!("tags {key} {tag}")),
        };
        world.trace.note(format_args!("{} {told}", self.site));
        let before = self.latest(key).await?;
        let known = before.as_ref().map(|row| row.order.clone());
        let name = match act {
            Act::Put(key, bytes) => self.put(world, &key, &bytes).await?,
            Act::Remove(key) => {
                let bucket = bucket();
                let marker = self.archive.put_delete_marker(ACTOR, &bucket, &key);
                marker.await.map_err(|error| error.to_string())?.name
            }
            Act::Tag(_, tag) => return self.tag(world, before, tag).await,
        };
        let row = self.known(&name).await?;
        let order = row.ok_or_else(|| format!("{name} was answered and is not there"))?;
        let order = order.order;
        if Some(&order) <= known.as_ref() {
            world.violate(format!("{name} has {order}, below {known:?}"));
        }
        let mut book = world.book.lock();
        book.answered.insert(name, (self.site, order));
        Ok(())
    }

    async fn put(
        &self,
        world: &World,
        key: &ObjectKey,
        bytes: &[u8],
    ) -> Result<VersionName, String> {
        let facts = ObjectFacts {
            size: bytes.len() as u64,
            ..ObjectFacts::default()
        };
        let written = async {
            let bucket = bucket();
            let mut writer = self.archive.begin_put(ACTOR, &bucket, key, facts).await?;
            for piece in bytes.chunks(70_001) {
                writer.write(piece).await?;
            }
            let upload = writer.finish().await?;
            let begun = (upload.name().clone(), Bytes::of(bytes));
            world.book.lock().begun.extend([begun]);
            self.archive.commit_ordered(upload, None).await
        };
        match written.await {
            Ok(receipt) => Ok(receipt.name),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn tag(&self, world: &World, row: Option<VersionRow>, tag: u64) -> Result<(), String> {
        let row = row.filter(|row| row.kind == VersionKind::Object);
        let row = row.ok_or("there is nothing to put tags on")?;
        let tags = BTreeMap::from([("tag".to_owned(), format!("{}-{tag}", self.site))]);
        let put = self.archive.put_tags(ACTOR, &row, tags).await;
        put.map_err(|error| error.to_string())?;
        let now = self.known(&row.name).await?;
        let order = now.and_then(|row| row.tags_order);
        let order = order.ok_or_else(|| format!("{} was tagged and has no tags", row.name))?;
        if Some(&order) <= row.tags_order.as_ref() {
            world.violate(format!("tags of {} have {order}", row.name));
        }
        let mut book = world.book.lock();
        book.tagged.entry(row.name).or_default().insert(order);
        Ok(())
    }

    async fn latest(&self, key: &ObjectKey) -> Result<Option<VersionRow>, String> {
        let latest = self.catalog.latest(&bucket(), key).await;
        latest.map_err(|error| error.to_string())
    }

    async fn known(&self, name: &VersionName) -> Result<Option<VersionRow>, String> {
        let known = self.catalog.known(name).await;
        known.map_err(|error| error.to_string())
    }
}

/// What a site must have kept, looked at when it has just come back; and it takes writes.
pub(crate) async fn after_start(world: &World, running: &Running) {
    let looked = async {
        let promoted = running.archive.promote(&bucket(), ACTOR).await;
        promoted.map_err(|error| in_words(&error))?;
        let answered = world.book.lock().answered.clone();
        let here = answered
            .iter()
            .filter(|(_, (site, _))| *site == running.site);
        for (name, _) in here {
            is_there(world, running, name).await?;
        }
        Held::Ok(())
    };
    match looked.await {
        Err(what) if !check::is_of_trouble(&what) => world.violate(what),
        _ => {}
    }
}

/// Whether nothing is left to do: what was written is the same at both.
pub(crate) async fn is_settled(world: &World) -> Held {
    let [near, far] = both(world)?;
    for running in [&near, &far] {
        let transfers = check::transfers(running).await?;
        let pending = transfers.iter().find(|row| row.status == Status::Pending);
        if let Some(row) = pending {
            let (name, reason) = (&row.change.name, row.reason);
            return Err(format!("{name} is pending: {reason:?} {:?}", row.evidence));
        }
    }
    both_list_the_same(&near, &far).await
}

/// All that must hold once nothing goes wrong any more and nothing is left to do.
pub(crate) async fn at_rest(world: &World) -> Held {
    let [near, far] = both(world)?;
    both_list_the_same(&near, &far).await?;
    for running in [&near, &far] {
        everything_answered_is_there(world, running).await?;
        nothing_went_back(running).await?;
        check::everything_opens(running).await?;
        audit_is_whole(running).await?;
        if running.archive.conflicts_settled() > 0 {
            world.count("rests after conflicts");
        }
    }
    // What is kept of parts that nobody goes on with is let go of in time.
    sleep(INTERRUPTED_KEPT_MAX).await;
    for running in [&near, &far] {
        running.archive.let_go_of_interrupted();
        let (free, total) = (running.budget.free(), running.budget.total());
        if free != total {
            let kept = total - free;
            return Err(format!("{kept} bytes of the budget were never given back"));
        }
        check::no_plaintext_rests(world, running.site)?;
    }
    let salts = world.salts.check()?;
    world.trace.note(format_args!("at rest, {salts} salts"));
    Ok(())
}

fn both(world: &World) -> Result<[Arc<Running>; 2], String> {
    let running = |site: usize| world.sites[site].running().ok_or("a site is down");
    Ok([running(NEAR)?, running(FAR)?])
}

/// Versions, their order, facts, tags, checksums: all but how they rest.
async fn both_list_the_same(near: &Running, far: &Running) -> Held {
    let of = async |running: &Running| {
        let rows = check::versions(&*running.catalog).await?;
        let told = rows.into_iter().map(|row| {
            let which = (row.name, row.order, row.kind);
            (which, row.facts, row.tags_order, row.checksum)
        });
        Ok::<Vec<_>, String>(told.collect())
    };
    let (near, far) = (of(near).await?, of(far).await?);
    match near == far {
        true => Ok(()),
        false => {
            let (mut near, mut far) = (near.iter(), far.iter());
            let differ = std::iter::from_fn(|| Some((near.next(), far.next())))
                .find(|(near, far)| near != far);
            Err(format!("they list other things: {differ:?}"))
        }
    }
}

async fn everything_answered_is_there(world: &World, running: &Running) -> Held {
    let (answered, tagged) = {
        let book = world.book.lock();
        (book.answered.clone(), book.tagged.clone())
    };
    for (name, (_, order)) in &answered {
        let row = is_there(world, running, name).await?;
        if row.order != *order {
            let (site, is) = (running.site, &row.order);
            return Err(format!("{name} has {is} at {site}, {order} was answered"));
        }
    }
    for (name, orders) in tagged {
        let row = is_there(world, running, &name).await?;
        if row.tags_order.as_ref() < orders.last() {
            let (is, last) = (row.tags_order, orders.last());
            return Err(format!(
                "tags of {name} are of {is:?}, {last:?} was answered"
            ));
        }
    }
    // Nor is there anything that nobody wrote.
    for row in check::versions(&*running.catalog).await? {
        is_there(world, running, &row.name).await?;
    }
    Ok(())
}

/// A version is there, with the bytes that were written.
async fn is_there(
    world: &World,
    running: &Running,
    name: &VersionName,
) -> Result<VersionRow, String> {
    let row = running.known(name).await?;
    let site = running.site;
    let row = row.ok_or_else(|| format!("{name} was answered and is not at {site}"))?;
    if row.kind == VersionKind::DeleteMarker {
        return Ok(row);
    }
    let bytes = check::opened(running, &row).await?;
    let book = world.book.lock();
    match book.begun.get(name) {
        Some(begun) if *begun == Bytes::of(&bytes) => Ok(row),
        Some(_) => Err(format!("{name} holds other bytes than were written")),
        None => Err(format!("{name} was never written")),
    }
}

/// What was made here went to the other site; what came from there did not go back.
async fn nothing_went_back(running: &Running) -> Held {
    let here = region(running.site);
    let fits = |row: &Transfer| match row.change.order.region == here {
        true => row.status == Status::Completed,
        false => row.status == Status::Skipped && row.reason == Some(Reason::SkippedReplica),
    };
    let transfers = check::transfers(running).await?;
    match transfers.iter().find(|row| !fits(row)) {
        None => Ok(()),
        Some(row) => {
            let (name, status, reason) = (&row.change.name, row.status, row.reason);
            let (order, evidence) = (&row.change.order, &row.evidence);
            Err(format!("{name}, {order}: {status} {reason:?} {evidence:?}"))
        }
    }
}

async fn audit_is_whole(running: &Running) -> Held {
    let verdict = running.audit.verify().await;
    let verdict = verdict.map_err(|error| error.to_string())?;
    if let Some(flaw) = verdict.flaws.first() {
        return Err(format!("the audit log: {flaw}"));
    }
    let kind = AuditKind::ReplicaRolledBack.as_str();
    let leaves = running.audit.leaves(0, LEAVES).await;
    let leaves = leaves.map_err(|error| error.to_string())?;
    match leaves.iter().find(|leaf| leaf.json.contains(kind)) {
        Some(leaf) => Err(format!("what was acknowledged was lost: {}", leaf.json)),
        None => Ok(()),
    }
}
