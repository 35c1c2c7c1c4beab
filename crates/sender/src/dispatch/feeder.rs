//! Leases transfers from the journal, and prepares them to be offered.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use sealift_ledger::Transfer;
use sealift_wire::HowToOffer;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    departing,
    prepare::{Room, is_large, prepare},
    shared::{Shared, WINDOW_TRANSFERS},
    together::Together,
};
use crate::{Rules, SenderError, stopped};

/// Transfers leased in one step.
const LEASE_MAX: usize = 512;
/// Objects opened and read at once: one that is slow holds up none of the others.
const PREPARED_AT_ONCE_MAX: usize = 64;
/// Small objects that one task prepares, and offers as they are ready.
const PREPARED_TOGETHER_MAX: usize = 16;
/// Large objects that wait for one of the large ones under way to end.
const LARGE_WAITING_MAX: usize = 512;
/// Below this rate a larger object is asked about before it is sent: inside its offer it
/// would keep the parts behind it on its link waiting for too long.
const SLOW_BYTES_PER_SEC: u64 = 16 << 20;
/// See [`SLOW_BYTES_PER_SEC`].
const SLOW_INLINE_BYTES_MAX: u64 = 64 * 1024;
/// How long the journal is not asked, whatever else happens.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Feeder {
    pub(super) shared: Arc<Shared>,
    pub(super) work: watch::Receiver<u64>,
    rules: watch::Receiver<Arc<Rules>>,
    room: Room,
    at_once: Arc<Semaphore>,
    preparing: JoinSet<()>,
    large: VecDeque<Transfer>,
}

/// Whether an object of this size may travel inside its offer, at this rate if there is a
/// limit.
fn travels_inline(bytes: u64, rate: Option<u64>) -> bool {
    bytes <= SLOW_INLINE_BYTES_MAX || rate.is_none_or(|rate| rate >= SLOW_BYTES_PER_SEC)
}

async fn lease(shared: Arc<Shared>) -> Result<Vec<Transfer>, SenderError> {
    let settings = &shared.settings;
    let (now, journal) = (settings.clock.now(), &settings.journal);
    let transfers = journal.lease(&settings.peer, LEASE_MAX, now).await?;
    if shared.leased(&transfers) {
        return Ok(transfers);
    }
    let late: Vec<_> = transfers.iter().map(|transfer| transfer.id).collect();
    journal.release(&late);
    Ok(Vec::new())
}

impl Feeder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let work = shared.settings.work.listen();
        let rules = shared.settings.rules.clone();
        let room = shared.room.clone();
        let at_once = Arc::new(Semaphore::new(PREPARED_AT_ONCE_MAX));
        let (preparing, large) = (JoinSet::new(), VecDeque::new());
        Self {
            shared,
            work,
            rules,
            room,
            at_once,
            preparing,
            large,
        }
    }

    /// Feeds the session until `stop` turns true.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            while self.preparing.try_join_next().is_some() {}
            let shared = self.shared.clone();
            let room_again = shared.room_again.notified();
            self.work.mark_unchanged();
            if self.rules.has_changed().unwrap_or_default() {
                self.rules.mark_unchanged();
                departing::withdraw(&self.shared).await;
            }
            let leased = match self.lease().await {
                Ok(leased) => leased,
                Err(error) => return self.shared.fail(error),
            };
            if leased {
                // A stop is heard between two steps as well.
                if *stop.borrow() {
                    break;
                }
                continue;
            }
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = room_again => {}
                _ = self.work.changed() => {}
                Ok(()) = self.rules.changed() => self.rules.mark_changed(),
                () = tokio::time::sleep(IDLE) => {}
            }
        }
        let waiting: Vec<_> = self.large.drain(..).map(|transfer| transfer.id).collect();
        self.shared.settings.journal.release(&waiting);
        self.shared.given_back(&waiting);
        // What is being prepared is still offered; nothing new is begun.
        while self.preparing.join_next().await.is_some() {}
    }

    /// Takes more work, if there is room and any is due. Says whether it did.
    async fn lease(&mut self) -> Result<bool, SenderError> {
        self.begin_large();
        let room = WINDOW_TRANSFERS.saturating_sub(self.shared.under_way());
        if room < LEASE_MAX.min(WINDOW_TRANSFERS / 4) || self.large.len() >= LARGE_WAITING_MAX {
            return Ok(false);
        }
        // On a task of its own: what the journal leases is noted, or given back, even when
        // the session ends in between. A lease that nobody knows of would last.
        let leasing = tokio::spawn(lease(self.shared.clone()));
        let transfers = match leasing.await {
            Ok(leased) => leased?,
            Err(_) => return Ok(false),
        };
        let any = !transfers.is_empty();
        let mut small = Vec::new();
        for transfer in transfers {
            if is_large(&transfer, self.shared.settings.part_size) {
                self.large.push_back(transfer);
                continue;
            }
            small.push(transfer);
            if small.len() >= PREPARED_TOGETHER_MAX {
                self.begin(std::mem::take(&mut small));
            }
        }
        self.begin(small);
        self.begin_large();
        Ok(any)
    }

    /// Begins large objects as far as there is room for them.
    fn begin_large(&mut self) {
        let mut free = self.room.large.available_permits();
        while free > 0
            && let Some(transfer) = self.large.pop_front()
        {
            free -= 1;
            self.begin(vec![transfer]);
        }
    }

    /// Prepares transfers side by side, in one task.
    fn begin(&mut self, transfers: Vec<Transfer>) {
        if !transfers.is_empty() {
            let (shared, at_once) = (self.shared.clone(), self.at_once.clone());
            self.preparing
                .spawn(prepare_all(shared, self.room.clone(), at_once, transfers));
        }
    }
}

/// Prepares transfers side by side, and offers each as soon as it is ready: those that
/// are at the same time go together.
async fn prepare_all(
    shared: Arc<Shared>,
    room: Room,
    at_once: Arc<Semaphore>,
    transfers: Vec<Transfer>,
) {
    let count = u32::try_from(transfers.len()).unwrap_or(u32::MAX);
    let mut slots = at_once.acquire_many_owned(count).await.ok();
    let (settings, departing) = (&shared.settings, shared.departing());
    let mut under_way = Together::new(transfers.into_iter().map(|transfer| {
        prepare(
            transfer,
            (&settings.sources, &departing),
            (settings.part_size, |size| shared.cut_of(size)),
            &room,
        )
    }));
    loop {
        let ready = under_way.next().await;
        if ready.is_empty() {
            return;
        }
        drop(slots.as_mut().and_then(|slots| slots.split(ready.len())));
        let mut offers = Vec::with_capacity(ready.len());
        for one in ready {
            match one {
                Ok(mut prepared) => {
                    let transfer = &prepared.sending.transfer;
                    // It may have been read for long.
                    if let Err(refusal) = departing.hold_again(&shared, transfer).await {
                        shared.not_done(transfer, &refusal);
                        continue;
                    }
                    if !travels_inline(prepared.offer.change.facts.size, shared.pace.rate()) {
                        prepared.how = HowToOffer::AskFirst;
                    }
                    offers.push(prepared);
                }
                Err((transfer, refusal)) => shared.not_done(&transfer, &refusal),
            }
        }
        shared.offer(offers);
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::limits::S3_CONNECTIONS_IDLE_MAX;

    use super::{PREPARED_AT_ONCE_MAX, travels_inline};

    #[test]
    fn a_bucket_keeps_the_connections_of_all_that_is_read_at_once() {
        const { assert!(S3_CONNECTIONS_IDLE_MAX >= PREPARED_AT_ONCE_MAX) }
    }

    #[test]
    fn a_slow_line_is_asked_before_a_larger_object_is_sent() {
        assert!(travels_inline(1 << 20, None));
        assert!(!travels_inline(1 << 20, Some(1 << 20)));
        assert!(travels_inline(4096, Some(1 << 20)));
        assert!(travels_inline(1 << 20, Some(16 << 20)));
    }
}
