//! What was written through the endpoint, into the journal.

use std::collections::{BTreeMap, BTreeSet};

use sealift_store::{Listed, StoreError};
use sealift_terms::{ObjectKey, VersionId, limits::FRONT_DURING_SCAN_MAX};
use tokio::sync::mpsc;

use super::{LOOKED_AT_TOGETHER_MAX, SourceTask};
use crate::{
    SenderError,
    front::{Became, FrontHandle, Written},
};

/// What of that a task has.
pub(super) struct Fronted {
    pub(super) handle: FrontHandle,
    pub(super) queue: mpsc::Receiver<Written>,
    /// Whether the journal may have intents that nobody is going to say more of.
    has_leftovers: bool,
    /// Keys that were looked at since the scan under way began: what it has of them is older.
    since_scan: BTreeSet<ObjectKey>,
}

impl Fronted {
    pub(super) fn new(handle: FrontHandle, queue: mpsc::Receiver<Written>) -> Self {
        Self {
            handle,
            queue,
            has_leftovers: true,
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

    /// A scan begins: it sees what came before.
    pub(super) fn scan_begins(&mut self) {
        self.since_scan.clear();
    }

    pub(super) fn is_newer(&self, key: &ObjectKey) -> bool {
        self.since_scan.contains(key)
    }
}

impl SourceTask {
    /// Takes what was written while a scan is under way, without waiting for more.
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
            self.take_written(written).await?;
        }
        Ok(())
    }

    /// As [`Self::take_written`]; what there was no room for does not wait for a scan either.
    pub(super) async fn take_and_settle(
        &mut self,
        written: Vec<Written>,
    ) -> Result<(), SenderError> {
        self.take_written(written).await?;
        self.settle_leftovers().await
    }

    /// Looks at keys that were written, and records what is new of them. What cannot be looked
    /// at now stays an intent in the journal.
    pub(super) async fn take_written(&mut self, written: Vec<Written>) -> Result<(), SenderError> {
        let taken = self.record_written(&written).await;
        if taken.is_err() {
            self.fronted.has_leftovers = true;
            return taken;
        }
        let ids = written.iter().map(|one| one.id).collect();
        self.forget(ids).await?;
        for recorded in written.into_iter().filter_map(|one| one.recorded) {
            // Who does not wait for it is gone.
            let _ = recorded.send(());
        }
        Ok(())
    }

    async fn forget(&mut self, ids: Vec<u64>) -> Result<(), SenderError> {
        let count = ids.len() as u64;
        self.recorder.journal.forget_intents(ids).await?;
        self.fronted.handle.settled(count);
        Ok(())
    }

    async fn record_written(&mut self, written: &[Written]) -> Result<(), SenderError> {
        // What the scan under way has found is recorded before it is looked at again.
        self.recorder.flush().await?;
        let is_there = |one: &&Written| one.became != Became::Nothing;
        let there = written.iter().filter(is_there);
        let keys: BTreeSet<_> = there.map(|one| one.key.clone()).collect();
        // Whoever wrote it looks for it there; a backfill gives way.
        self.recorder.goes_ahead = true;
        let looked = self.look_at_written(&keys).await;
        self.recorder.goes_ahead = false;
        looked?;
        for one in written {
            if let Became::Tagged(version) = &one.became {
                self.tagged(&one.key, version.as_ref()).await?;
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

    /// The tags of a version are others than when it was recorded.
    async fn tagged(
        &mut self,
        key: &ObjectKey,
        version: Option<&VersionId>,
    ) -> Result<(), SenderError> {
        match self.recorder.tagged(key, version.cloned()).await {
            // It may not be read: that is told of the version itself.
            Err(SenderError::Source(error @ StoreError::SourceDenied { .. })) => {
                tracing::warn!(%key, reason = %error.reason(), "its tags are not sent: {error}");
                Ok(())
            }
            told => told,
        }
    }

    /// Looks at what an earlier process was about to write, or what there was no room for.
    pub(super) async fn settle_leftovers(&mut self) -> Result<(), SenderError> {
        self.fronted.has_leftovers |= self.fronted.handle.take_behind();
        if !self.fronted.has_leftovers {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
            let page = journal
                .intents(bucket, after, LOOKED_AT_TOGETHER_MAX)
                .await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let page = page.into_iter();
            let left: BTreeMap<_, _> = page
                .filter(|one| !self.fronted.handle.is_open(one.id))
                .map(|one| (one.id, one.key))
                .collect();
            let keys: BTreeSet<_> = left.values().cloned().collect();
            self.look_at_written(&keys).await?;
            let ids = left.into_keys().collect();
            self.forget(ids).await?;
        }
        self.fronted.has_leftovers = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    #[tokio::test]
    async fn so_many_keys_are_looked_at_during_a_scan_and_the_rest_behind_it() {
        let temp = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&temp.path().join("journal.db"), Arc::new(NoFacts));
        let journal: Arc<dyn Journal> = Arc::new(journal.unwrap());
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
        for one in front.intend(keys).await.unwrap() {
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
}
