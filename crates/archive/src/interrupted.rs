//! Parts whose writer is gone and that may go on behind what came: in memory, for a bounded
//! time and within bounded room. A restart, and whoever needs the room, ends them; the part
//! then begins anew, under a salt of its own.
//!
//! What is kept is the sealing itself, moved and never copied: one counter of chunks, so that
//! no chunk is ever sealed twice under one key.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{
    Identity, PartIndex, VersionName,
    limits::{INTERRUPTED_BYTES_MAX, INTERRUPTED_BYTES_PER_PEER_MAX, INTERRUPTED_KEPT_MAX},
};

use crate::{Budget, upload::UploadState};

/// Of whom and of which version an upload is.
pub(crate) type Whose = (Identity, VersionName);

/// One part that is kept.
#[derive(Debug)]
struct Kept {
    whose: Whose,
    upload: Arc<UploadState>,
    index: PartIndex,
    /// Who took it from its writer: whoever went on with it since has another number.
    writer: u64,
    /// Bytes of its buffer.
    bytes: usize,
    since: Duration,
}

/// The parts that are kept, oldest first. Those that went on meanwhile may still stand here.
#[derive(Debug, Default)]
pub(crate) struct Interrupted(Mutex<VecDeque<Kept>>);

impl Interrupted {
    /// Keeps one more; those for which there is no room any more are let go of.
    pub(crate) fn keep(
        &self,
        whose: &Whose,
        upload: &Arc<UploadState>,
        (index, writer): (PartIndex, u64),
        bytes: usize,
        now: Duration,
    ) {
        let core = &upload.core;
        let share = Budget::for_interrupted(upload.share.memory.total());
        let all_of_them = Budget::for_interrupted(core.budget.total());
        let kept = Kept {
            whose: whose.clone(),
            upload: upload.clone(),
            index,
            writer,
            bytes,
            since: now,
        };
        let gone = {
            let mut all = self.0.lock();
            let mut gone = take_out(&mut all, |kept| kept.is_over(now));
            all.push_back(kept);
            let of_peer = |kept: &Kept| kept.whose.0 == whose.0;
            let bytes_max = INTERRUPTED_BYTES_PER_PEER_MAX.min(share);
            gone.extend(make_room(&mut all, bytes_max, of_peer));
            let bytes_max = INTERRUPTED_BYTES_MAX.min(all_of_them);
            gone.extend(make_room(&mut all, bytes_max, |_| true));
            gone
        };
        gone.iter().for_each(Kept::let_go);
    }

    /// The upload of a version that is not whole and has no row by which it would be found.
    pub(crate) fn find(&self, whose: &Whose) -> Option<Arc<UploadState>> {
        let all = self.0.lock();
        let mut of_version = all.iter().filter(|kept| kept.whose == *whose);
        of_version.next_back().map(|kept| kept.upload.clone())
    }

    /// Lets go of what was kept for long enough.
    pub(crate) fn sweep(&self, now: Duration) {
        let gone = take_out(&mut self.0.lock(), |kept| kept.is_over(now));
        gone.iter().for_each(Kept::let_go);
    }

    /// Lets go of all of them.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *self.0.lock());
        gone.iter().for_each(Kept::let_go);
    }
}

impl Kept {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= INTERRUPTED_KEPT_MAX || !self.still_stands()
    }

    fn still_stands(&self) -> bool {
        self.upload.keeps(self.index, self.writer)
    }

    fn let_go(&self) {
        self.upload.let_go(self.index, self.writer);
    }
}

/// What is taken out is dropped by the caller, without the lock.
fn take_out(all: &mut VecDeque<Kept>, which: impl FnMut(&Kept) -> bool) -> Vec<Kept> {
    let (out, kept): (Vec<_>, Vec<_>) = std::mem::take(all).into_iter().partition(which);
    *all = kept.into();
    out
}

/// Takes out the oldest of `which` until the rest keep no more than `bytes_max`.
fn make_room(
    all: &mut VecDeque<Kept>,
    bytes_max: usize,
    which: impl Fn(&Kept) -> bool,
) -> Vec<Kept> {
    let mut bytes: usize = all
        .iter()
        .filter(|kept| which(kept))
        .map(|kept| kept.bytes)
        .sum();
    let mut gone = Vec::new();
    while bytes > bytes_max
        && let Some(at) = all.iter().position(&which)
        && let Some(kept) = all.remove(at)
    {
        bytes = bytes.saturating_sub(kept.bytes);
        gone.push(kept);
    }
    gone
}
