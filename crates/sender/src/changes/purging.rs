//! What was permanently deleted at a source, version by version: the other half of the merge
//! of a scan with the journal.
//!
//! ```text
//!  versions of a key, as listed ─┐
//!                                ├─▶ gone ─▶ not too many ─▶ asked for once more ─▶ journal, held back
//!  what peers have receipts for ─┘
//! ```
//!
//! Nothing is purged because of one look: a purge waits in the journal for as long as its rule
//! says, and the source is asked again when it is sent.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sealift_ledger::{Destination, Journal, NewChange, SentVersion};
use sealift_store::{History, Listed, Removed};
use sealift_terms::{
    BucketName, Change, ChangeKind, ObjectFacts, ObjectKey, RuleName, Status, Timestamp, VersionId,
    VersionName, limits,
};

use super::{recorder::Recorder, version};
use crate::{Held, Rules, SenderError, SourceHandle};

/// Rows of the journal in one step.
const PAGE_SENT: usize = 1000;

/// The versions of one key in a listing.
pub(super) struct InSource<'a> {
    latest: &'a VersionId,
    history: &'a History,
}

impl<'a> InSource<'a> {
    pub(super) fn of(listed: Option<&'a Listed>, removed: Option<&'a Removed>) -> Option<Self> {
        let listed = listed.map(|listed| (&listed.version, &listed.history));
        let removed = removed.map(|removed| (&removed.version, &removed.history));
        let (latest, history) = listed.or(removed)?;
        Some(Self { latest, history })
    }

    fn has(&self, own: &VersionId) -> bool {
        let mut earlier = self.history.earlier.iter();
        self.latest == own || earlier.any(|earlier| earlier.version == *own)
    }
}

/// What one scan finds to be gone, of what the rules let be purged.
pub(super) struct Purging {
    journal: Arc<dyn Journal>,
    bucket: BucketName,
    rules: Arc<Rules>,
    now: Timestamp,
    page: VecDeque<SentVersion>,
    after: Option<SentVersion>,
    ended: bool,
    /// Versions that the source has, and those that it has not, purges that wait among them.
    there: u64,
    gone: u64,
    found: Vec<SentVersion>,
}

impl Purging {
    /// Begins, where a rule in force sends version deletes of this bucket.
    pub(super) fn begin(recorder: &Recorder) -> Option<Self> {
        let rules = recorder.rules.borrow().clone();
        let keeps = recorder.source.keeps_versions() && recorder.source.ordered().is_none();
        (keeps && rules.purge(&recorder.bucket)).then(|| Self {
            journal: recorder.journal.clone(),
            bucket: recorder.bucket.clone(),
            rules,
            now: recorder.clock.now(),
            page: VecDeque::new(),
            after: None,
            ended: false,
            there: 0,
            gone: 0,
            found: Vec::new(),
        })
    }

    /// Takes the next row of a key up to this one; of any key when there is none.
    pub(super) async fn next_to(
        &mut self,
        key: Option<&ObjectKey>,
    ) -> Result<Option<SentVersion>, SenderError> {
        if self.page.is_empty() && !self.ended {
            let after = self.after.as_ref();
            let page = self
                .journal
                .sent_page(&self.bucket, after, PAGE_SENT)
                .await?;
            self.ended = page.len() < PAGE_SENT;
            self.after = page.last().cloned();
            self.page = page.into();
        }
        let is_due = |sent: &SentVersion| key.is_none_or(|key| sent.key <= *key);
        match self.page.front().is_some_and(is_due) {
            true => Ok(self.page.pop_front()),
            false => Ok(None),
        }
    }

    /// Holds one against what the source has of its key.
    pub(super) fn judge(&mut self, sent: SentVersion, of_key: Option<&InSource<'_>>) {
        // A marker that was made here is not the source's to have.
        let Ok(own) = version::of_source(&sent.version) else {
            return;
        };
        let Some((_, hold)) = self.rules.purge_of(&self.bucket, &sent.key, &sent.peer) else {
            return;
        };
        if version::is_made_here(&own) {
            return;
        }
        let is_done = sent
            .purge
            .is_some_and(|purge| purge.status == Status::Completed);
        match of_key {
            Some(versions) if versions.has(&own) => self.there += 1,
            _ if is_done => {}
            of_key => {
                // Of more versions than a scan carries along, the source is asked.
                if !of_key.is_some_and(|versions| versions.history.more) {
                    self.gone += 1;
                }
                if is_wanted(&sent, hold, self.now) && self.found.len() < limits::PURGES_FOUND_MAX {
                    self.found.push(sent);
                }
            }
        }
    }

    /// Why all of it waits for somebody: too many are gone at once.
    pub(super) fn held(&self) -> Option<Held> {
        // What waits already waits on, whatever it is.
        let is_new = !self.found.is_empty();
        too_many(self.gone, self.there + self.gone).filter(|_| is_new)
    }

    /// Whether there is more than one scan records.
    pub(super) fn is_cut(&self) -> bool {
        self.found.len() >= limits::PURGES_FOUND_MAX
    }

    /// Records the purges of what the source, asked for each key, has no more.
    pub(super) async fn record(self, recorder: &mut Recorder) -> Result<u64, SenderError> {
        let mut by_key: BTreeMap<ObjectKey, Vec<SentVersion>> = BTreeMap::new();
        for sent in self.found {
            by_key.entry(sent.key.clone()).or_default().push(sent);
        }
        let mut recorded = 0;
        for (key, sent) in by_key {
            let Some(versions) = recorder.source.versions_of(&key).await? else {
                continue;
            };
            for sent in sent {
                let own = version::of_source(&sent.version);
                let is_there = own.is_ok_and(|own| versions.contains(&own));
                let to = self.rules.purge_of(&self.bucket, &key, &sent.peer);
                if let (false, Some((rule, hold))) = (is_there, to) {
                    recorder.purge(sent, rule, hold).await?;
                    recorded += 1;
                }
            }
        }
        recorder.flush().await?;
        Ok(recorded)
    }
}

/// What waits for somebody, if so many are gone of so many.
pub(super) fn too_many(gone: u64, of: u64) -> Option<Held> {
    let is_much = gone > limits::PURGES_UNSUSPECTED_MAX
        && gone.saturating_mul(limits::PURGES_PART_UNSUSPECTED) > of;
    is_much.then_some(Held { vanished: gone, of })
}

/// Says what waits for somebody, once.
pub(super) fn tell_held(handle: &SourceHandle, bucket: &BucketName, held: Option<Held>) {
    let mut before = None;
    handle.update(|state| before = std::mem::replace(&mut state.purges_held, held));
    if let Some(held) = held
        && before != Some(held)
    {
        tracing::error!(
            %bucket, gone = held.vanished, of = held.of,
            "version deletes are held: run `sealift retry --accept-deletes` if they are meant"
        );
    }
}

/// Whether a purge is to be recorded, or queued again: one that was refused for good is, once
/// the time that its rule has it wait for is over.
pub(super) fn is_wanted(sent: &SentVersion, hold: Duration, now: Timestamp) -> bool {
    match sent.purge {
        None => true,
        Some(purge) => match purge.status {
            Status::Skipped => true,
            Status::Failed => purge.updated_at.plus(hold.max(limits::PURGE_ASKED_AGAIN)) <= now,
            Status::Pending | Status::Completed | Status::Replica => false,
        },
    }
}

impl Recorder {
    async fn purge(
        &mut self,
        sent: SentVersion,
        rule: RuleName,
        hold: Duration,
    ) -> Result<(), SenderError> {
        let change = Change {
            name: VersionName {
                bucket: self.bucket.clone(),
                key: sent.key,
                version: sent.version,
            },
            order: self.orders.next(),
            kind: ChangeKind::Purge,
            facts: ObjectFacts::default(),
        };
        tracing::warn!(version = %change.name, peer = %sent.peer, "it is gone from the source and will be purged");
        let to = Destination {
            rule,
            peer: sent.peer,
            skip: None,
        };
        let held_until = Some(self.clock.now().plus(hold));
        self.add_to(NewChange {
            change,
            destinations: vec![to],
            held_until,
            ahead: false,
        })
        .await
    }
}
