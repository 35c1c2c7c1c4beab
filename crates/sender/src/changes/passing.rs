//! What an archive purged, passed on to those who have it from there.
//!
//! ```text
//!  what peers have receipts for ─▶ purged in the archive? ─▶ not too many ─▶ journal, held back
//! ```
//!
//! Other than a bucket elsewhere an archive says of each version that it was purged, by a mark of
//! its own: nothing is concluded from what is missing. The rest is as in [`super::purging`].

use std::{collections::BTreeMap, time::Duration};

use sealift_ledger::{Destination, NewChange, SentVersion};
use sealift_store::OrderedSource;
use sealift_terms::{Change, Status, VersionName, limits};
use tokio::time::Instant;

use super::{
    SCAN_GAP,
    following::FollowTask,
    purging::{is_wanted, tell_held, too_many},
};
use crate::{Rules, SenderError};

/// Rows of the journal that the archive is asked about at once.
const PAGE_SENT: usize = 500;
/// The next look waits for as many times as long as the last one took: it goes through all
/// that was sent of the bucket.
const LOOK_SHARE: u32 = 20;

/// When purges are looked for next, and what is said of them meanwhile.
#[derive(Debug, Default)]
pub(super) struct Passing {
    due: Option<Instant>,
    not_before: Option<Instant>,
    /// What is gone for good is meant to be, although it is much.
    accepts: bool,
}

impl Passing {
    /// When something that was committed has to be looked for, if it does.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Something was purged, maybe: what comes within the same moment is found by one look.
    pub(super) fn look_soon(&mut self) {
        let soon = Instant::now() + SCAN_GAP;
        let at = self.not_before.map_or(soon, |not| not.max(soon));
        self.due.get_or_insert(at);
    }

    fn looked(&mut self, took: Duration) {
        self.not_before = Some(Instant::now() + took.saturating_mul(LOOK_SHARE));
    }
}

/// What one look finds to be purged.
#[derive(Debug, Default)]
struct Found {
    /// Versions that are in the archive, and those that were purged there.
    there: u64,
    gone: u64,
    purges: Vec<NewChange>,
    is_cut: bool,
}

impl FollowTask {
    /// Records the purges of what peers have and the archive has purged, or holds all of them.
    /// What was purged while nobody looked is found as well: the archive keeps its marks.
    pub(super) async fn pass_purges_on(
        &mut self,
        source: &dyn OrderedSource,
    ) -> Result<(), SenderError> {
        self.passing.due = None;
        let rules = self.rules.borrow().clone();
        let asked = self.handle.take_accepted();
        let begun = Instant::now();
        let found = match rules.purge(&self.bucket) {
            true => self.find_purges(source, &rules).await,
            false => Ok(Found::default()),
        };
        self.passing.looked(begun.elapsed());
        let found = found.inspect_err(|_| self.handle.give_back(asked))?;
        let accepts = asked || std::mem::take(&mut self.passing.accepts);
        let is_new = !found.purges.is_empty() && !accepts;
        let held = too_many(found.gone, found.there + found.gone).filter(|_| is_new);
        tell_held(&self.handle, &self.bucket, held);
        if held.is_some() {
            return Ok(());
        }
        let is_cut = found.is_cut;
        if let Err(error) = self.record(found.purges).await {
            self.handle.give_back(accepts);
            return Err(error);
        }
        if is_cut {
            self.passing.accepts = accepts;
            self.passing.look_soon();
        }
        Ok(())
    }

    async fn find_purges(
        &self,
        source: &dyn OrderedSource,
        rules: &Rules,
    ) -> Result<Found, SenderError> {
        let (mut found, mut after) = (Found::default(), None::<SentVersion>);
        loop {
            let page = self
                .journal
                .sent_page(&self.bucket, after.as_ref(), PAGE_SENT);
            let page = page.await?;
            let Some(last) = page.last().cloned() else {
                return Ok(found);
            };
            after = Some(last);
            let names = page.iter().map(|sent| self.name_of(sent)).collect();
            let purges = source.purges(names).await?.into_iter();
            let purges = purges.map(|purge| (purge.name.clone(), purge)).collect();
            for sent in page {
                self.judge(sent, &purges, rules, &mut found);
            }
        }
    }

    /// Holds one version that a peer has against what the archive says of it.
    fn judge(
        &self,
        sent: SentVersion,
        purges: &BTreeMap<VersionName, Change>,
        rules: &Rules,
        found: &mut Found,
    ) {
        let Some((rule, hold)) = rules.purge_of(&self.bucket, &sent.key, &sent.peer) else {
            return;
        };
        let Some(purge) = purges.get(&self.name_of(&sent)) else {
            found.there += 1;
            return;
        };
        let done = Status::Completed;
        if sent.purge.is_some_and(|purge| purge.status == done) {
            return;
        }
        found.gone += 1;
        let now = self.clock.now();
        if !is_wanted(&sent, hold, now) {
            return;
        }
        if found.purges.len() >= limits::PURGES_FOUND_MAX {
            found.is_cut = true;
            return;
        }
        tracing::warn!(version = %purge.name, peer = %sent.peer, "it was purged here and will be there");
        found.purges.push(NewChange {
            change: purge.clone(),
            destinations: vec![Destination {
                rule,
                peer: sent.peer,
                skip: None,
            }],
            held_until: Some(now.plus(hold)),
            ahead: false,
        });
    }

    fn name_of(&self, sent: &SentVersion) -> VersionName {
        VersionName {
            bucket: self.bucket.clone(),
            key: sent.key.clone(),
            version: sent.version.clone(),
        }
    }
}
