//! The one task that commits: what is ready is made durable together, then
//! acknowledged together.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sealift_ledger::{Commit, Committed, Location, Outcome, PackState};
use sealift_store::StoreName;
use sealift_terms::{Receipt, VersionName};
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    ArchiveError, Result,
    answer::{Answer, Answers},
    archive::{Core, Message},
    commit::{Draft, Item, ItemBody},
    conflicts,
    doubts::Written,
    limits::{GROUP_BYTES_MAX, GROUP_OBJECTS_MAX, GROUP_TIME_MAX, PACK_IDLE_MAX},
    packs::Pack,
};

/// Files synced at once.
const SYNCS_MAX: usize = 16;

/// Runs until told to close.
pub(crate) async fn run(
    core: Arc<Core>,
    mut pack: Option<Pack>,
    mut items: mpsc::Receiver<Message<Box<Item>>>,
) {
    let delay = core.store.pack_delay();
    loop {
        let first = match timeout(PACK_IDLE_MAX, items.recv()).await {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(_idle) => {
                core.settle_when_idle().await;
                core.close_pack(&mut pack).await;
                continue;
            }
        };
        let (group, closing) = gather(first, &mut items, delay).await;
        if !group.is_empty() {
            core.commit_group(&mut pack, group).await;
        }
        if closing {
            core.settle_when_idle().await;
            core.close_pack(&mut pack).await;
            return;
        }
    }
}

/// Takes what is ready, and waits a moment for company.
async fn gather(
    first: Message<Box<Item>>,
    items: &mut mpsc::Receiver<Message<Box<Item>>>,
    delay: Option<Duration>,
) -> (Vec<Box<Item>>, bool) {
    let (began, mut patience) = (Instant::now(), GROUP_TIME_MAX);
    let (mut group, mut bytes, mut next) = (Vec::new(), 0, Some(first));
    while let Some(message) = next {
        match message {
            Message::Close => return (group, true),
            Message::Work(item) => {
                bytes += item.body.buffered();
                patience = patience.max(item.body.patience(delay));
                group.push(item);
            }
        }
        if bytes >= GROUP_BYTES_MAX || group.len() >= GROUP_OBJECTS_MAX {
            break;
        }
        next = match items.try_recv() {
            Ok(item) => Some(item),
            Err(_empty) => {
                let company = timeout_at(began + patience, items.recv()).await;
                company.ok().flatten()
            }
        };
    }
    (group, false)
}

impl ItemBody {
    /// How long it waits for company: what goes into a pack for others that do, as long as the
    /// store's packs are worth it.
    fn patience(&self, delay: Option<Duration>) -> Duration {
        match self {
            Self::Entry { .. } => delay.unwrap_or(GROUP_TIME_MAX),
            Self::File { .. } => GROUP_TIME_MAX,
        }
    }

    fn buffered(&self) -> u64 {
        match self {
            Self::Entry { bytes, .. } => bytes.len() as u64,
            Self::File { .. } => 0,
        }
    }
}

/// An item whose bytes are durable here.
struct Placed {
    item: Box<Item>,
    location: Location,
}

impl Item {
    pub(crate) fn fail(self, error: ArchiveError) {
        // The one who asked may be gone by now.
        self.end().send(Err(error));
    }

    /// Gives back all that it holds. Whoever is told afterwards finds room for the next.
    pub(crate) fn end(self) -> Answer {
        self.answer
    }
}

/// Fails those items that rest in `file`, gives the others back.
fn fail_in(file: &str, placed: Vec<Placed>, error: &Arc<ArchiveError>) -> Vec<Placed> {
    let (failed, good): (Vec<_>, Vec<_>) = placed
        .into_iter()
        .partition(|placed| placed.location.file == file);
    for placed in failed {
        placed.item.fail(ArchiveError::Group(error.clone()));
    }
    good
}

impl Core {
    async fn commit_group(&self, pack: &mut Option<Pack>, items: Vec<Box<Item>>) {
        let mut items = items;
        // Nothing is written while what was written before is in doubt.
        if let Err(error) = self.settle_doubts().await {
            let error = Arc::new(error);
            for item in items {
                self.put_back(item, &error).await;
            }
            return;
        }
        while !items.is_empty() {
            let (group, later) = self.screen(items).await;
            self.commit_screened(pack, group).await;
            items = later;
        }
    }

    async fn commit_screened(&self, pack: &mut Option<Pack>, items: Vec<Box<Item>>) {
        let (files, entries): (Vec<_>, Vec<_>) = items
            .into_iter()
            .partition(|item| matches!(item.body, ItemBody::File { .. }));
        let mut states = Vec::new();
        let mut placed = self.place_entries(pack, entries, &mut states).await;
        placed.extend(self.place_files(files).await);
        if placed.is_empty() && states.is_empty() {
            return;
        }
        let written: Vec<Written> = states.clone();
        let states = states.into_iter().map(|written| written.state).collect();
        match self.commit_placed(placed, states).await {
            true => {
                // What came behind the last good sync of one that was given up may be there.
                self.doubt(written.iter().filter(|written| written.is_given_up()));
                if let Some(pack) = pack {
                    (pack.synced, pack.has_row) = (pack.len(), true);
                }
            }
            false => {
                // Nothing is added to what is in doubt.
                pack.take_if(|_| !written.is_empty());
                self.doubt(written.iter());
            }
        }
        self.settle_when_idle().await;
    }

    /// Appends entries to packs and syncs these. What cannot be made durable fails,
    /// and its pack is never written to again.
    async fn place_entries(
        &self,
        pack: &mut Option<Pack>,
        entries: Vec<Box<Item>>,
        states: &mut Vec<Written>,
    ) -> Vec<Placed> {
        let (mut placed, mut full) = (Vec::new(), Vec::new());
        if entries.is_empty() {
            return placed;
        }
        for mut item in entries {
            match self.place_entry(pack, &mut item).await {
                Ok(location) => placed.push(Placed { item, location }),
                Err(error) => {
                    let error = Arc::new(error);
                    item.fail(ArchiveError::Group(error.clone()));
                    if let Some(broken) = pack.take() {
                        placed = fail_in(broken.name.as_str(), placed, &error);
                        states.push(Written::given_up(&broken));
                    }
                }
            }
            if pack.as_ref().is_some_and(Pack::is_full) {
                full.extend(pack.take());
            }
        }
        let mut written: Vec<(Pack, bool)> = full.into_iter().map(|pack| (pack, true)).collect();
        // Where a pack cannot grow it is this group, and no other.
        let is_whole = self.store.pack_delay().is_some();
        written.extend(pack.take().map(|pack| (pack, is_whole)));
        for (mut synced, closed) in written {
            let result = match synced.write().await {
                Ok(()) => synced.file.sync().await.map_err(ArchiveError::from),
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    states.push(Written::synced(&synced, closed));
                    if !closed {
                        *pack = Some(synced);
                    }
                }
                Err(error) => {
                    tracing::error!(pack = %synced.name, %error, "a pack was given up");
                    placed = fail_in(synced.name.as_str(), placed, &Arc::new(error));
                    states.push(Written::given_up(&synced));
                }
            }
        }
        placed
    }

    async fn place_entry(&self, pack: &mut Option<Pack>, item: &mut Item) -> Result<Location> {
        let is_for_good = item.is_for_good();
        let ItemBody::Entry { kind, bytes, lease } = &mut item.body else {
            return Err(ArchiveError::Misuse("not an entry"));
        };
        let open = match pack {
            Some(open) => open,
            None => {
                let begun = Pack::begin(&*self.store, &*self.clock, &*self.rng).await?;
                pack.insert(begun)
            }
        };
        if is_for_good && !open.has_row {
            // A crash before the commit leaves a row by which it is found and removed.
            self.catalog.commit(self.pack_state(open.begun())).await?;
            open.has_row = true;
        }
        let location = open.append(*kind, bytes).await?;
        // The bytes are the pack's now.
        self.budget.recycle_small(std::mem::take(bytes));
        *lease = None;
        Ok(location)
    }

    /// Syncs staged files, several at once, and publishes those that are good.
    async fn place_files(&self, files: Vec<Box<Item>>) -> Vec<Placed> {
        if files.is_empty() {
            return Vec::new();
        }
        let (mut syncing, mut synced) = (JoinSet::new(), Vec::new());
        for item in files {
            if syncing.len() >= SYNCS_MAX {
                self.take_synced(&mut syncing, &mut synced).await;
            }
            syncing.spawn(sync_file(item));
        }
        while !syncing.is_empty() {
            self.take_synced(&mut syncing, &mut synced).await;
        }
        let names: Vec<StoreName> = synced.iter().filter_map(|(item, _)| item.name()).collect();
        if let Err(error) = self.store.publish(&names).await {
            let is_whole = error.leaves_it_whole();
            let error = Arc::new(ArchiveError::from(error));
            for (item, recording) in synced {
                drop(recording);
                match is_whole {
                    true => self.put_back(item, &error).await,
                    false => self.fail_file(item, &error).await,
                }
            }
            return Vec::new();
        }
        let place = |(item, _recording): (Box<Item>, _)| {
            let length = match item.body {
                ItemBody::File { length } => length,
                ItemBody::Entry { .. } => 0,
            };
            let staged = item.upload.body.staged()?;
            staged.end();
            let location = Location {
                file: staged.name.to_string(),
                offset: 0,
                length,
            };
            Some(Placed { item, location })
        };
        synced.into_iter().filter_map(place).collect()
    }

    async fn take_synced(
        &self,
        syncing: &mut JoinSet<Synced>,
        synced: &mut Vec<(Box<Item>, OwnedMutexGuard<()>)>,
    ) {
        match syncing.join_next().await {
            Some(Ok((item, Ok(recording)))) => synced.push((item, recording)),
            Some(Ok((item, Err(error)))) => self.fail_file(item, &Arc::new(error)).await,
            // A panic: the item's sender sees that it is gone.
            Some(Err(_)) | None => {}
        }
    }

    /// A file that a store elsewhere did not take now: what has a row stays, for when its
    /// sender asks again, and needs none of its parts.
    async fn put_back(&self, item: Box<Item>, error: &Arc<ArchiveError>) {
        match item.upload.body.staged() {
            Some(staged) if staged.kept_for.is_some() => {
                staged.committing.store(false, Ordering::Release);
                item.fail(ArchiveError::Group(error.clone()));
            }
            _ => self.fail_file(item, error).await,
        }
    }

    /// A file that could not be made durable is given up, never synced again.
    async fn fail_file(&self, item: Box<Item>, error: &Arc<ArchiveError>) {
        if let Some(staged) = item.upload.body.staged() {
            tracing::error!(file = %staged.name, %error, "a file was given up");
            let removed = self.give_up(staged).await;
            // Publishing may have got as far as this one.
            let removed = removed.and(self.store.remove(&staged.name).await.map_err(Into::into));
            if let Err(error) = removed {
                tracing::error!(file = %staged.name, %error, "it was not removed");
            }
        }
        item.fail(ArchiveError::Group(error.clone()));
    }

    /// One catalog transaction for all, then every answer. `false` when the
    /// catalog did not take it.
    async fn commit_placed(&self, placed: Vec<Placed>, packs: Vec<PackState>) -> bool {
        let mut commit = Commit {
            at: self.clock.now(),
            packs,
            ..Commit::default()
        };
        let (mut versions, mut marks, mut arrived) = (Vec::new(), Vec::new(), Vec::new());
        for Placed { mut item, location } in placed {
            if let Some(staged) = item.upload.body.staged()
                && staged.kept_for.is_some()
            {
                commit.uploads.push(staged.uid);
            }
            commit.audit.push(item.take_audit());
            if let Draft::Mark(mark) = &item.draft {
                let mut mark = mark.clone();
                mark.location = location;
                commit.marks.push(*mark);
                marks.push(item);
            } else if let Some(version) = item.draft.hand_over(&location) {
                arrived.push(self.arrival(&version));
                commit.versions.push(version);
                versions.push(item);
            }
        }
        let committed = self.catalog.commit(commit).await;
        for item in versions.iter().chain(&marks) {
            if let Some(staged) = item.upload.body.staged()
                && let Some(whose) = &staged.kept_for
            {
                match committed {
                    Ok(_) => self.uploads.ended(whose, staged.uid),
                    // Its row may still be there, and counts.
                    Err(_) => self.uploads.close(whose, staged.uid),
                }
            }
        }
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                // Whether it is durable is not known: nothing is removed now. Files with
                // a row go with it, the others once a later commit has made it certain.
                self.leave(versions.iter().filter_map(|item| item.leftover()));
                let error = Arc::new(ArchiveError::from(error));
                for item in versions.into_iter().chain(marks) {
                    item.fail(ArchiveError::Group(error.clone()));
                }
                return false;
            }
        };
        self.tell_followers(&committed, &marks);
        let arrived = conflicts::stored(arrived, &committed.outcomes);
        let mut answers = Answers::default();
        for (item, outcome) in versions.into_iter().zip(committed.outcomes) {
            let answer = self.answer_version(&item, outcome).await;
            answers.add(item.end(), answer);
        }
        for item in marks {
            let receipt = self.mark_receipt(&item, committed.sequence);
            answers.add(item.end(), receipt);
        }
        drop(answers);
        self.count_conflicts(arrived).await;
        true
    }

    /// Says what came, and what was said of what is here.
    fn tell_followers(&self, committed: &Committed, marks: &[Box<Item>]) {
        let stored = committed
            .outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Stored(row) => Some(&row.name),
                _ => None,
            });
        let of_versions = marks.iter().filter(|item| !item.is_hold());
        let marked = of_versions.filter_map(|item| match &item.draft {
            Draft::Mark(mark) => Some(&mark.name),
            _ => None,
        });
        let names = stored.chain(marked);
        self.followers.tell(committed.sequence, names);
    }

    async fn answer_version(&self, item: &Item, outcome: Outcome) -> Result<Receipt> {
        if !matches!(outcome, Outcome::Stored(_))
            && let Some(name) = item.name()
            && let Err(error) = self.store.remove(&name).await
        {
            tracing::warn!(%name, %error, "a file that is not needed was not removed");
        }
        match outcome {
            Outcome::Stored(mut row) | Outcome::Known(mut row) => match row.receipt.take() {
                Some(receipt) => Ok(receipt),
                None => Ok(row.receipt_on(&item.terms, self.catalog.site())),
            },
            Outcome::Conflict(row) => Err(self.conflict(item, &row)),
            Outcome::Purged => Err(item.purged()),
        }
    }

    fn mark_receipt(&self, item: &Item, sequence: u64) -> Result<Receipt> {
        let Draft::Mark(mark) = &item.draft else {
            return Err(ArchiveError::Misuse("not a mark"));
        };
        let site = self.catalog.site();
        Ok(Receipt {
            name: mark.name.clone(),
            size: 0,
            checksum: None,
            object_uid: mark.object_uid,
            record: mark.record,
            cmk: item.terms.cmk.clone(),
            cmk_version: item.terms.cmk_version.clone(),
            second: item.terms.second.clone(),
            region: item.terms.region.clone(),
            site: site.site,
            epoch: site.epoch,
            sequence,
            stored_at: self.clock.now(),
            session: item.terms.session.clone(),
            signature: None,
        })
    }

    /// Closes a pack that nothing will be appended to.
    async fn close_pack(&self, pack: &mut Option<Pack>) {
        let Some(pack) = pack.take() else {
            return;
        };
        if let Err(error) = self.catalog.commit(self.pack_state(pack.abandoned())).await {
            tracing::warn!(pack = %pack.name, %error, "an idle pack was not closed");
        }
    }
}

type Synced = (Box<Item>, Result<OwnedMutexGuard<()>>);

/// Syncs a complete file, with no part of it on its way into the ledger.
async fn sync_file(item: Box<Item>) -> Synced {
    let upload = item.upload.clone();
    let Some(staged) = upload.body.staged() else {
        return (item, Err(ArchiveError::Misuse("not in a file")));
    };
    let recording = staged.recording.clone().lock_owned().await;
    if staged.has_ended() {
        return (item, Err(ArchiveError::Abandoned));
    }
    match staged.file.sync().await {
        Ok(()) => (item, Ok(recording)),
        Err(error) => (item, Err(error.into())),
    }
}

impl Item {
    /// What is left behind when the catalog does not take it and has no row of it.
    fn leftover(&self) -> Option<(StoreName, VersionName)> {
        let staged = self.upload.body.staged()?;
        match (&staged.kept_for, self.draft.version()) {
            (None, Some((name, _))) => Some((staged.name.clone(), name.clone())),
            _ => None,
        }
    }

    /// The name of its file, when it has one.
    fn name(&self) -> Option<StoreName> {
        Some(self.upload.body.staged()?.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use sealift_seal::pack::EntryKind;

    use super::*;

    #[test]
    fn what_has_a_file_of_its_own_does_not_wait_for_a_pack() {
        let entry = ItemBody::Entry {
            kind: EntryKind::Object,
            bytes: Vec::new(),
            lease: None,
        };
        let (file, delay) = (ItemBody::File { length: 1 }, Duration::from_millis(50));
        assert_eq!(entry.patience(Some(delay)), delay);
        assert_eq!(file.patience(Some(delay)), GROUP_TIME_MAX);
        assert_eq!(entry.patience(None), GROUP_TIME_MAX);
    }
}
