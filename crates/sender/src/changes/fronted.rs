//! What was written through the endpoint, into the journal.

use std::collections::BTreeSet;

use sealift_ledger::{Intent, Touched};
use sealift_store::{Listed, StoreError};
use sealift_terms::{ObjectKey, Timestamp, VersionId, limits::FRONT_DURING_SCAN_MAX};
use tokio::sync::mpsc;

use super::{LOOKED_AT_TOGETHER_MAX, SourceTask, TAGGED_HELD_MAX};
use crate::{
    SenderError,
    front::{Became, FrontHandle, Intended, Written},
};

/// What of that a task has.
pub(super) struct Fronted {
    pub(super) handle: FrontHandle,
    pub(super) queue: mpsc::Receiver<Written>,
    /// Whether the journal may have intents that nobody is going to say more of.
    has_leftovers: bool,
    /// Whether it has some that could not be looked at, and that the next scan tries again.
    waits_for_scan: bool,
    /// Those of them that are of tags: each is remembered once, as far as there is room here.
    put_off: BTreeSet<(ObjectKey, Touched)>,
    /// Why something that was written during a scan could not be looked at.
    missed: Option<SenderError>,
    /// Keys that were looked at since the scan under way began: what it has of them is older.
    since_scan: BTreeSet<ObjectKey>,
}

impl Fronted {
    pub(super) fn new(handle: FrontHandle, queue: mpsc::Receiver<Written>) -> Self {
        Self {
            handle,
            queue,
            has_leftovers: true,
            waits_for_scan: false,
            put_off: BTreeSet::new(),
            missed: None,
            since_scan: BTreeSet::new(),
        }
    }

    /// The next that was written, and what else is there.
    pub(super) async fn next(&mut self) -> Vec<Written> {
        let mut written = Vec::new();
        self.queue
            .recv_many(&mut written, LOOKED_AT_TOGETHER_MAX)
            .await;
        match written.is_empty() {
            // Nobody is left who could write.
            true => std::future::pending().await,
            false => written,
        }
    }

    fn has_room(&self) -> bool {
        self.since_scan.len() < FRONT_DURING_SCAN_MAX
    }

    fn note_put_off(&mut self, one: (ObjectKey, Touched)) {
        if self.put_off.len() < TAGGED_HELD_MAX {
            self.put_off.insert(one);
        }
    }

    /// Whether all that was written during a scan could be looked at.
    pub(super) fn missed_meanwhile(&mut self) -> Result<(), SenderError> {
        self.missed.take().map_or(Ok(()), Err)
    }

    /// A scan begins: it sees what came before.
    pub(super) fn scan_begins(&mut self) {
        self.since_scan.clear();
    }

    pub(super) fn is_newer(&self, key: &ObjectKey) -> bool {
        self.since_scan.contains(key)
    }
}

/// What is looked at before an intent is forgotten.
struct Due {
    id: u64,
    key: ObjectKey,
    /// Whether the store did it, as far as anybody knows.
    is_there: bool,
    tags: Option<OfTags>,
}

/// The versions whose tags are looked at.
enum OfTags {
    Version(VersionId),
    /// That which was the latest some time after this.
    LatestSince(Timestamp),
}

impl Due {
    fn of_intent(intent: &Intent) -> Self {
        Self {
            id: intent.id,
            key: intent.key.clone(),
            is_there: true,
            tags: OfTags::touched(&intent.touched, intent.at),
        }
    }

    fn of_written(written: &Written) -> Self {
        let Intended {
            id,
            key,
            touched,
            at,
        } = &written.intended;
        let tags = match &written.became {
            Became::Nothing | Became::Written(_) => None,
            Became::Tagged(Some(version)) => Some(OfTags::Version(version.clone())),
            Became::Tagged(None) | Became::Unknown => OfTags::touched(touched, *at),
        };
        Self {
            id: *id,
            key: key.clone(),
            is_there: written.became != Became::Nothing,
            tags,
        }
    }
}

impl OfTags {
    fn touched(touched: &Touched, at: Timestamp) -> Option<Self> {
        match touched {
            Touched::Versions => None,
            Touched::Tags(Some(version)) => Some(Self::Version(version.clone())),
            Touched::Tags(None) => Some(Self::LatestSince(at)),
        }
    }
}

impl SourceTask {
    /// Takes what was written while a scan is under way, without waiting for more. The scan goes
    /// on whatever is in the way of that.
    pub(super) async fn take_written_meanwhile(&mut self) -> Result<(), SenderError> {
        while self.fronted.has_room() {
            let mut written = Vec::new();
            while written.len() < LOOKED_AT_TOGETHER_MAX
                && let Ok(one) = self.fronted.queue.try_recv()
            {
                written.push(one);
            }
            if written.is_empty() {
                break;
            }
            self.recorder.flush().await?;
            if let Err(error) = self.take_written(written).await {
                self.recorder.drop_batch();
                self.fronted.missed = Some(error);
                break;
            }
        }
        Ok(())
    }

    /// As [`Self::take_written`]; what there was no room for does not wait for a scan either.
    pub(super) async fn take_and_settle(
        &mut self,
        written: Vec<Written>,
    ) -> Result<(), SenderError> {
        self.take_written(written).await?;
        self.settle_leftovers().await?;
        self.name_left_out().await
    }

    /// Looks at what was written, and records what is new of it. What cannot be looked at now
    /// stays an intent in the journal.
    pub(super) async fn take_written(&mut self, written: Vec<Written>) -> Result<(), SenderError> {
        let due: Vec<_> = written.iter().map(Due::of_written).collect();
        // Whoever wrote it looks for it there; a backfill gives way.
        self.recorder.goes_ahead = true;
        let taken = self.settle(due).await;
        self.recorder.goes_ahead = false;
        if taken.is_err() {
            self.fronted.has_leftovers = true;
        }
        let left = taken?;
        let told = written
            .into_iter()
            .filter(|one| !left.contains(&one.intended.id));
        for recorded in told.filter_map(|one| one.recorded) {
            // Who does not wait for it is gone.
            let _ = recorded.send(());
        }
        Ok(())
    }

    /// Records what these may have changed, and forgets them but for those that may not be
    /// looked at: they are named, and wait for the next scan.
    async fn settle(&mut self, due: Vec<Due>) -> Result<BTreeSet<u64>, SenderError> {
        // What the scan under way has found is recorded before it is looked at again.
        self.recorder.flush().await?;
        let mut left = BTreeSet::new();
        for due in due.chunks(LOOKED_AT_TOGETHER_MAX) {
            self.recorder.denied = Some(BTreeSet::new());
            let looked = self.look_at_due(due, &mut left).await;
            let denied = self.recorder.denied.take().unwrap_or_default();
            looked?;
            let of_denied = due.iter().filter(|one| denied.contains(&one.key));
            left.extend(of_denied.map(|one| one.id));
            let ids = due.iter().map(|one| one.id);
            let ids = ids.filter(|id| !left.contains(id)).collect();
            self.forget(ids).await?;
        }
        self.fronted.waits_for_scan |= !left.is_empty();
        Ok(left)
    }

    async fn forget(&mut self, ids: Vec<u64>) -> Result<(), SenderError> {
        let count = ids.len() as u64;
        self.recorder.journal.forget_intents(ids).await?;
        self.fronted.handle.settled(count);
        Ok(())
    }

    async fn look_at_due(
        &mut self,
        due: &[Due],
        left: &mut BTreeSet<u64>,
    ) -> Result<(), SenderError> {
        let there = due.iter().filter(|one| one.is_there);
        let keys: BTreeSet<_> = there.map(|one| one.key.clone()).collect();
        self.look_at_written(&keys).await?;
        for one in due {
            let Some(tags) = &one.tags else { continue };
            if !self.tagged(&one.key, tags).await? {
                left.insert(one.id);
            }
        }
        self.recorder.flush().await
    }

    async fn look_at_written(&mut self, keys: &BTreeSet<ObjectKey>) -> Result<(), SenderError> {
        let keys: Vec<_> = keys.iter().cloned().collect();
        for keys in keys.chunks(LOOKED_AT_TOGETHER_MAX) {
            let looked = self.recorder.source.look_at_all(keys).await;
            for (key, looked) in keys.iter().zip(looked) {
                self.written(key, looked).await?;
                self.fronted.since_scan.insert(key.clone());
            }
        }
        self.recorder.flush().await
    }

    /// A key that an application has written, or removed: it is meant to be as it is.
    async fn written(
        &mut self,
        key: &ObjectKey,
        looked: Result<Option<Listed>, StoreError>,
    ) -> Result<(), SenderError> {
        let looked = match looked {
            Ok(Some(listed)) => return self.looked_at(key, Ok(Some(listed))).await,
            Err(StoreError::SourceUnsupported { .. }) => Ok(None),
            looked => looked,
        };
        if let Err(error) = looked {
            return Err(error.into());
        }
        let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
        let known = journal.known(bucket, key).await?;
        if known.as_ref().is_some_and(|known| !known.deleted) {
            self.delete(std::slice::from_ref(key)).await
        } else if let Some(removed) = self.recorder.source.removed(key).await? {
            self.recorder.removed(removed, known.as_ref()).await
        } else {
            Ok(())
        }
    }

    /// The tags of a version are others than when it was recorded. Says whether they may be
    /// looked at.
    async fn tagged(&mut self, key: &ObjectKey, of: &OfTags) -> Result<bool, SenderError> {
        let told = match of {
            OfTags::Version(version) => self.recorder.tagged(key, Some(version.clone())).await,
            OfTags::LatestSince(at) => self.recorder.tagged_since(key, *at).await,
        };
        match told {
            Err(SenderError::Source(error @ StoreError::SourceDenied { .. })) => {
                self.recorder.tags_denied(key, &error);
                Ok(false)
            }
            told => told.map(|()| true),
        }
    }

    /// Keeps in mind, durably, that the tags of a version changed that may not be looked at now.
    pub(super) async fn put_off(
        &mut self,
        (key, version): (ObjectKey, Option<VersionId>),
    ) -> Result<(), SenderError> {
        let one = (key, Touched::Tags(version));
        if !self.fronted.put_off.contains(&one) {
            let (key, touched) = one.clone();
            let now = self.recorder.clock.now();
            let remembered = self.fronted.handle.remember(vec![key], touched, now);
            remembered.await?;
            self.fronted.note_put_off(one);
        }
        self.fronted.waits_for_scan = true;
        Ok(())
    }

    /// A scan comes: what may not be looked at is tried again.
    pub(super) async fn settle_for_scan(&mut self) -> Result<(), SenderError> {
        self.fronted.missed = None;
        self.fronted.has_leftovers |= std::mem::take(&mut self.fronted.waits_for_scan);
        self.settle_leftovers().await
    }

    /// Looks at what an earlier process was about to write, or what there was no room for.
    pub(super) async fn settle_leftovers(&mut self) -> Result<(), SenderError> {
        self.fronted.has_leftovers |= self.fronted.handle.take_behind();
        if !self.fronted.has_leftovers {
            return Ok(());
        }
        self.fronted.put_off.clear();
        let mut after = 0;
        loop {
            let closed = self.fronted.handle.closed(after, LOOKED_AT_TOGETHER_MAX);
            let Some((last, closed)) = closed.await? else {
                break;
            };
            after = last;
            let due = closed.iter().map(Due::of_intent).collect();
            let left = self.settle(due).await?;
            let put_off = closed.into_iter().filter(|one| left.contains(&one.id));
            put_off.for_each(|one| self.fronted.note_put_off((one.key, one.touched)));
        }
        self.fronted.has_leftovers = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, pin::Pin, sync::Arc, task::Poll};

    use sealift_host::OsClock;
    use sealift_ledger::{FactsError, FactsSealer, Journal, SqliteJournal};
    use sealift_store::MemorySource;
    use sealift_terms::{BucketName, Region};
    use tokio::sync::watch;

    use super::*;
    use crate::{Orders, Rules, SourceSettings, WorkSignal};

    /// Nothing is recorded here.
    #[derive(Debug)]
    struct NoFacts;

    impl FactsSealer for NoFacts {
        fn seal(&self, _: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, FactsError> {
            Ok(plaintext.to_vec())
        }

        fn open(&self, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FactsError> {
            Ok(sealed.to_vec())
        }
    }

    fn journal_in(temp: &Path) -> Arc<dyn Journal> {
        let journal = SqliteJournal::open(&temp.join("journal.db"), Arc::new(NoFacts));
        Arc::new(journal.unwrap())
    }

    #[tokio::test]
    async fn so_many_keys_are_looked_at_during_a_scan_and_the_rest_behind_it() {
        let temp = tempfile::tempdir().unwrap();
        let journal = journal_in(temp.path());
        let clock = Arc::new(OsClock);
        let region = Region::new("a").unwrap();
        let orders = Orders::load(&*journal, region, clock.clone())
            .await
            .unwrap();
        let settings = SourceSettings {
            bucket: BucketName::new("photos").unwrap(),
            scan_interval: std::time::Duration::from_secs(60),
        };
        let (_rules, rules) = watch::channel(Arc::new(Rules::default()));
        let (mut task, handle) = SourceTask::new(
            settings,
            Arc::new(MemorySource::new()),
            journal,
            Arc::new(orders),
            clock,
            rules,
            WorkSignal::new(),
        );
        let front = handle.front().unwrap();
        let key = |number: usize| ObjectKey::new(format!("k{number}")).unwrap();
        let keys = (0..LOOKED_AT_TOGETHER_MAX + 3).map(key).collect();
        for one in front.intend(keys, Touched::Versions).await.unwrap() {
            drop(front.became(one, Became::Written(None)));
        }
        // There is room for one more, and those that come together are looked at together.
        let seen = FRONT_DURING_SCAN_MAX - 1;
        task.fronted.since_scan = (0..seen).map(|n| key(1_000_000 + n)).collect();
        task.take_written_meanwhile().await.unwrap();
        assert_eq!(task.fronted.queue.len(), 3);
        assert_eq!(task.fronted.since_scan.len(), seen + LOOKED_AT_TOGETHER_MAX);
        task.take_written_meanwhile().await.unwrap();
        assert_eq!(task.fronted.queue.len(), 3, "they wait for the scan's end");
        task.fronted.scan_begins();
        task.take_written_meanwhile().await.unwrap();
        assert!(task.fronted.queue.is_empty() && task.fronted.since_scan.len() == 3);
    }

    /// Whether it has to be waited for, looked at once.
    async fn waits<F: Future>(future: &mut Pin<Box<F>>) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn an_intent_that_is_in_the_journal_and_not_open_yet_is_not_taken_for_a_leftover() {
        let temp = tempfile::tempdir().unwrap();
        let bucket = BucketName::new("photos").unwrap();
        let journal = journal_in(temp.path());
        let (_rules, rules) = watch::channel(Arc::new(Rules::default()));
        let clock = Arc::new(OsClock);
        let (front, _queue) = FrontHandle::new(bucket.clone(), journal.clone(), clock, rules);
        let key = || vec![ObjectKey::new("k").unwrap()];
        let until_there = async |count: usize| {
            while journal.intents(&bucket, 0, 9).await.unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        let mut intend = Box::pin(front.intend(key(), Touched::Versions));
        assert!(waits(&mut intend).await);
        until_there(1).await;
        let mut closed = Box::pin(front.closed(0, 9));
        assert!(waits(&mut closed).await);
        let intended = intend.await.unwrap();
        let (last, none) = closed.await.unwrap().unwrap();
        assert!(last == intended[0].id && none.is_empty());
        // Whoever gives up meanwhile leaves one that is looked for.
        assert!(!front.take_behind());
        let mut given_up = Box::pin(front.intend(key(), Touched::Versions));
        assert!(waits(&mut given_up).await);
        until_there(2).await;
        drop(given_up);
        assert!(front.take_behind());
        let (_, left) = front.closed(0, 9).await.unwrap().unwrap();
        assert!(left.len() == 1 && left[0].id > last);
    }
}
