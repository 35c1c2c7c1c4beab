//! What must hold, whatever went wrong.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use sealift_archive::{Depth, Finding, in_words, rebuild};
use sealift_ledger::{
    AuditLog, Catalog, ListTransfers, ListVersions, NewSite, Transfer, VersionKind, VersionRow,
    log::LogCatalog,
};
use sealift_terms::{
    AuditKind, ChangeKind, Epoch, Reason, Receipt, SiteId, Status, VersionId, VersionName,
    limits::INTERRUPTED_KEPT_MAX,
};

use crate::{
    model::{Bytes, shows_plaintext},
    site::{FAR, NEAR, Running, bucket},
    world::World,
};

/// Behind the id of a version that the source had before.
const RETURNED: &str = "~returned-";
const ROWS: usize = 1_000_000;

pub(crate) type Held = Result<(), String>;

/// What the far site must have kept, looked at when it has just come back.
pub(crate) async fn after_start(world: &World, far: &Running) {
    let Some(near) = world.sites[NEAR].running() else {
        return;
    };
    let looked = async {
        acknowledged_is_there(&near, far).await?;
        for row in versions(&*far.catalog).await? {
            opens_to_source(world, far, &row).await?;
        }
        Held::Ok(())
    };
    match looked.await {
        Ok(()) => {}
        // The disk fails, or the power went: nothing can be said now.
        Err(what) if is_of_trouble(&what) => {}
        Err(what) => world.violate(what),
    }
}

pub(crate) fn is_of_trouble(what: &str) -> bool {
    ["injected", "the power", "is closed", "no storage space"]
        .iter()
        .any(|word| what.contains(word))
}

/// All that must hold once nothing goes wrong any more and nothing is left to do.
pub(crate) async fn at_rest(world: &World) -> Held {
    let near = world.sites[NEAR].running().ok_or("the near site is down")?;
    let far = world.sites[FAR].running().ok_or("the far site is down")?;
    acknowledged_is_there(&near, &far).await?;
    far_is_what_near_says(world, &near, &far).await?;
    everything_opens(&far).await?;
    source_is_replicated(world, &far).await?;
    audit_is_whole(&near, &far).await?;
    // What is kept of parts that nobody goes on with is let go of in time.
    tokio::time::sleep(INTERRUPTED_KEPT_MAX).await;
    far.archive.let_go_of_interrupted();
    for running in [&near, &far] {
        let (free, total) = (running.budget.free(), running.budget.total());
        if free != total {
            return Err(format!(
                "{} bytes of the budget were never given back",
                total - free
            ));
        }
    }
    no_plaintext_rests(world, FAR)?;
    let salts = world.salts.check()?;
    world.trace.note(format_args!("at rest, {salts} salts"));
    Ok(())
}

/// Whether nothing is left to do.
pub(crate) async fn is_replicated(world: &World) -> Held {
    let near = world.sites[NEAR].running().ok_or("the near site is down")?;
    let far = world.sites[FAR].running().ok_or("the far site is down")?;
    let pending = transfers(&near).await?;
    let pending = pending.iter().find(|row| row.status == Status::Pending);
    if let Some(row) = pending {
        let (name, reason) = (&row.change.name, row.reason);
        return Err(format!("{name} is pending: {reason:?} {:?}", row.evidence));
    }
    source_is_replicated(world, &far).await
}

pub(crate) async fn transfers(near: &Running) -> Result<Vec<Transfer>, String> {
    let list = ListTransfers {
        limit: ROWS,
        ..ListTransfers::default()
    };
    near.journal()
        .transfers(&list)
        .await
        .map_err(|error| error.to_string())
}

pub(crate) async fn versions(catalog: &dyn Catalog) -> Result<Vec<VersionRow>, String> {
    let list = ListVersions {
        bucket: bucket(),
        prefix: String::new(),
        all: true,
        after: None,
        limit: ROWS,
    };
    let page = catalog
        .versions(&list)
        .await
        .map_err(|error| error.to_string())?;
    Ok(page.rows)
}

/// Every acknowledged version is known at the far site, by the receipt that was
/// given for it.
async fn acknowledged_is_there(near: &Running, far: &Running) -> Held {
    for transfer in transfers(near).await? {
        let Some(receipt) = &transfer.receipt else {
            continue;
        };
        let name = &transfer.change.name;
        let row = far
            .catalog
            .known(name)
            .await
            .map_err(|error| error.to_string())?;
        let row = row.ok_or_else(|| format!("{name} was acknowledged and is not there"))?;
        fits_receipt(&row, receipt)?;
    }
    Ok(())
}

fn fits_receipt(row: &VersionRow, receipt: &Receipt) -> Held {
    let said = (
        receipt.object_uid,
        receipt.record,
        receipt.sequence,
        &receipt.checksum,
    );
    let is = (row.object_uid, row.record, row.sequence, &row.checksum);
    match said == is && receipt.size == row.facts.size {
        true => Ok(()),
        false => Err(format!(
            "{}: receipt and catalog differ: {said:?}, {is:?}",
            row.name
        )),
    }
}

/// The id of a version in the source.
fn own(version: &VersionId) -> VersionId {
    let text = version.as_str();
    let own = text.split_once(RETURNED).map_or(text, |(own, _)| own);
    VersionId::new(own).unwrap()
}

/// The plaintext of a version.
pub(crate) async fn opened(running: &Running, row: &VersionRow) -> Result<Vec<u8>, String> {
    let VersionName {
        bucket,
        key,
        version,
    } = &row.name;
    let opened = running
        .archive
        .open_object("simulation", bucket, key, Some(version))
        .await;
    let opened =
        opened.map_err(|error| format!("{} does not open: {}", row.name, in_words(&error)))?;
    let mut bytes = Vec::new();
    opened
        .read_range(0..opened.size(), |run| {
            bytes.extend_from_slice(run);
            Ok(())
        })
        .map_err(|error| format!("{} cannot be read: {}", row.name, in_words(&error)))?;
    Ok(bytes)
}

async fn opens_to_source(world: &World, far: &Running, row: &VersionRow) -> Held {
    if row.kind == VersionKind::DeleteMarker {
        return Ok(());
    }
    let bytes = opened(far, row).await?;
    let VersionName { key, version, .. } = &row.name;
    let model = world.model.lock();
    match model.bytes(key.as_str(), &own(version)) {
        Some(held) if *held == Bytes::of(&bytes) => Ok(()),
        Some(_) => Err(format!(
            "{} holds other bytes than the source did",
            row.name
        )),
        None => Err(format!("{} never was in the source", row.name)),
    }
}

/// What is seen at the far site and what the journal says are the same. One that
/// the source replaced before its receipt came is seen too, whole: nobody could be
/// told any more.
async fn far_is_what_near_says(world: &World, near: &Running, far: &Running) -> Held {
    let mut known: BTreeMap<VersionName, Transfer> = BTreeMap::new();
    for transfer in transfers(near).await? {
        match transfer.status {
            Status::Completed => {}
            Status::Skipped | Status::Failed if is_of_the_past(world, &transfer) => {}
            status => {
                let (name, reason) = (&transfer.change.name, transfer.reason);
                let evidence = transfer.evidence.unwrap_or_default();
                return Err(format!("{name} is {status}, {reason:?}: {evidence}"));
            }
        }
        known.insert(transfer.change.name.clone(), transfer);
    }
    for row in versions(&*far.catalog).await? {
        let transfer = known
            .remove(&row.name)
            .ok_or_else(|| format!("{} is visible and was never sent", row.name))?;
        if transfer.change.order != row.order {
            return Err(format!("{} has another order at the far site", row.name));
        }
        let kind = match row.kind {
            VersionKind::Object => ChangeKind::Put,
            VersionKind::DeleteMarker => ChangeKind::DeleteMarker,
        };
        if transfer.change.kind != kind {
            return Err(format!("{} is of another kind at the far site", row.name));
        }
        if transfer.status != Status::Completed {
            world.count("superseded and stored");
        }
        opens_to_source(world, far, &row).await?;
    }
    let left = known.values().find(|row| row.status == Status::Completed);
    match left {
        Some(row) => Err(format!(
            "{} is completed and not at the far site",
            row.change.name
        )),
        None => Ok(()),
    }
}

/// Whether a transfer that was given up is of what the source has no more.
fn is_of_the_past(world: &World, transfer: &Transfer) -> bool {
    let gone = [Reason::SrcObjectGone, Reason::SrcObjectChanged];
    let name = &transfer.change.name;
    let model = world.model.lock();
    let now = model.now.get(name.key.as_str()).and_then(Option::as_ref);
    transfer.reason.is_some_and(|reason| gone.contains(&reason)) && now != Some(&own(&name.version))
}

pub(crate) async fn everything_opens(far: &Running) -> Held {
    let mut findings = Vec::new();
    let mut take = |finding| findings.push(finding);
    let verified = far.archive.verify(Depth::Deep, &mut take).await;
    verified.map_err(|error| format!("verify: {}", in_words(&error)))?;
    let damage = findings
        .iter()
        .find(|finding| !matches!(finding, Finding::Orphan { .. }));
    match damage {
        Some(finding) => Err(format!("verify: {finding}")),
        None => Ok(()),
    }
}

/// The latest version of every key is what the source has now.
async fn source_is_replicated(world: &World, far: &Running) -> Held {
    let now = world.model.lock().now.clone();
    for (key, version) in now {
        let key = key.parse().unwrap();
        let latest = far.catalog.latest(&bucket(), &key).await;
        let latest = latest.map_err(|error| error.to_string())?;
        let there = latest
            .as_ref()
            .filter(|row| row.kind == VersionKind::Object)
            .map(|row| own(&row.name.version));
        // A key that came and went between two looks was never seen.
        if there != version {
            return Err(format!(
                "the source has {version:?} of {key}, the far site {there:?}"
            ));
        }
    }
    Ok(())
}

async fn audit_is_whole(near: &Running, far: &Running) -> Held {
    for running in [near, far] {
        let verdict = running
            .audit
            .verify()
            .await
            .map_err(|error| error.to_string())?;
        if let Some(flaw) = verdict.flaws.first() {
            return Err(format!("the audit log: {flaw}"));
        }
    }
    let kind = AuditKind::ReplicaRolledBack.as_str();
    let leaves = near
        .audit
        .leaves(0, ROWS)
        .await
        .map_err(|error| error.to_string())?;
    if let Some(leaf) = leaves.iter().find(|leaf| leaf.json.contains(kind)) {
        return Err(format!(
            "the far site lost what it had acknowledged: {}",
            leaf.json
        ));
    }
    // Each version has its leaf: an object stored, a delete marked.
    let leaves = far
        .audit
        .leaves(0, ROWS)
        .await
        .map_err(|error| error.to_string())?;
    let stored = [AuditKind::ObjectStored, AuditKind::ObjectDeleteMarked];
    let stored = stored.map(|kind| format!("\"kind\":\"{}\"", kind.as_str()));
    let count = leaves
        .iter()
        .filter(|leaf| stored.iter().any(|kind| leaf.json.contains(kind)))
        .count();
    let rows = versions(&*far.catalog).await?.len();
    match count >= rows {
        true => Ok(()),
        false => Err(format!("{rows} versions, {count} audit leaves of them")),
    }
}

pub(crate) fn no_plaintext_rests(world: &World, site: usize) -> Held {
    let mut shown = None;
    world.sites[site].platter.look_at_files(|path, bytes| {
        if shows_plaintext(bytes) {
            shown.get_or_insert(path.display().to_string());
        }
    });
    shown.map_or(Ok(()), |path| Err(format!("plaintext rests in {path}")))
}

/// A catalog made anew from the store alone has every acknowledged version.
pub(crate) async fn rebuilt_is_the_same(world: &Arc<World>) -> Held {
    let far = world.sites[FAR].running().ok_or("the far site is down")?;
    let before = versions(&*far.catalog).await?;
    let new = NewSite {
        site: SiteId([9; 16]),
        epoch: Epoch([9; 16]),
    };
    let disk = world.sites[FAR].platter.disk();
    let catalog = LogCatalog::open(disk, Path::new("/data/rebuilt.log"), new);
    let catalog = Arc::new(catalog.map_err(|error| error.to_string())?);
    far.archive.close().await;
    let mut findings = Vec::new();
    let mut take = |finding: Finding| findings.push(finding.to_string());
    let report = rebuild(far.parts_with(catalog.clone()), "simulation", &mut take).await;
    report.map_err(|error| format!("rebuild: {}", in_words(&error)))?;
    let mut after: BTreeMap<VersionName, VersionRow> = versions(&*catalog)
        .await?
        .into_iter()
        .map(|row| (row.name.clone(), row))
        .collect();
    for row in before {
        let found = after.remove(&row.name).ok_or_else(|| {
            let (name, place, found) = (&row.name, &row.location, &findings);
            format!("{name} at {place:?} is not found by a rebuild: {found:?}")
        })?;
        let (is, was) = (
            (&found.order, found.kind, &found.checksum, found.facts.size),
            (&row.order, row.kind, &row.checksum, row.facts.size),
        );
        if is != was {
            return Err(format!("{}: a rebuild makes {is:?} of {was:?}", row.name));
        }
    }
    // What was whole and never acknowledged is of the source all the same.
    for row in after.into_values() {
        let model = world.model.lock();
        let key = row.name.key.as_str();
        if row.kind == VersionKind::Object && model.bytes(key, &own(&row.name.version)).is_none() {
            return Err(format!("a rebuild raises {}, which never was", row.name));
        }
    }
    Ok(())
}
