//! Batches of replication: what somebody queued, and how it stood before, so that it can be
//! held back and taken back.

use sealift_terms::{BatchId, PeerName, Reason, Status, Timestamp, VersionName};
use serde::{Deserialize, Serialize};

use crate::{NewChange, Transfer};

/// What is held back by a pause is due then, which is never: at the end of the year 9999.
pub(crate) const NEVER: Timestamp = Timestamp::from_millis(253_402_300_799_000);

/// What becomes of what a batch queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchState {
    /// It is sent.
    Running,
    /// It is held back.
    Paused,
    /// What was not sent is taken back. Nothing follows.
    Cancelled,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// What it was asked to send, in words.
    pub what: String,
    /// What becomes of it.
    pub state: BatchState,
    /// When it began.
    pub begun_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// How what it queued stands.
    pub counts: BatchCounts,
}

impl Batch {
    /// Whether nothing that it queued is to be sent any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.counts.queued.versions + self.counts.owed.versions == 0
    }
}

/// How what a batch queued stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchCounts {
    /// To be sent, or held back, because of the batch: a cancel takes it back.
    pub queued: BatchSum,
    /// To be sent whatever becomes of the batch: it was due before, or became due since.
    pub owed: BatchSum,
    /// There.
    pub completed: BatchSum,
    /// Given up, or not to be sent as it is.
    pub failed: BatchSum,
    /// Left out by rules that became less since.
    pub left_out: BatchSum,
    /// Taken back by a cancel.
    pub taken_back: BatchSum,
}

/// See [`BatchCounts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSum {
    /// Versions, once for each destination.
    pub versions: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
}

impl BatchCounts {
    /// Adds what stands so.
    pub(crate) fn add(&mut self, standing: BatchStanding, versions: u64, bytes: u64) {
        let sum = match standing {
            BatchStanding::Queued => &mut self.queued,
            BatchStanding::Owed => &mut self.owed,
            BatchStanding::Completed => &mut self.completed,
            BatchStanding::Failed => &mut self.failed,
            BatchStanding::LeftOut => &mut self.left_out,
            BatchStanding::TakenBack => &mut self.taken_back,
        };
        sum.versions += versions;
        sum.bytes += bytes;
    }
}

/// How one thing that a batch queued stands in it, as in [`BatchCounts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStanding {
    /// It waits, and can be taken back.
    Queued,
    /// It waits, and is owed without the batch.
    Owed,
    /// It is there.
    Completed,
    /// It was given up, or cannot be sent as it is.
    Failed,
    /// Rules left it out.
    LeftOut,
    /// It was taken back.
    TakenBack,
}

impl Transfer {
    /// Whether it waits whatever becomes of the batches that queued it.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.status == Status::Pending && !self.of_batch
    }
}

/// One transfer that a batch queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batched {
    /// The transfer as it is now: as it was before, where it was taken back.
    pub transfer: Transfer,
    /// How it stands in the batch.
    pub standing: BatchStanding,
}

/// What a batch queues in one step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enlist {
    /// Versions that have a transfer to that peer, whatever became of it.
    pub versions: Vec<(PeerName, VersionName)>,
    /// Changes that have none.
    pub new: Vec<NewChange>,
}

/// Whose a transfer is, that a batch queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It waits because of the batch.
    Own,
    /// It was due before, or something else made it due since.
    Owed,
    /// A cancel took it back.
    TakenBack,
    /// It was over before something else queued it again. Older journals kept no outcome then:
    /// it is the transfer's of now.
    Over,
    /// It had its outcome, which is kept: what becomes of the transfer later is not the batch's.
    Past,
}

impl Mark {
    pub(crate) const ALL: [Self; 5] = [
        Self::Own,
        Self::Owed,
        Self::TakenBack,
        Self::Over,
        Self::Past,
    ];

    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Own => 0,
            Self::Owed => 1,
            Self::TakenBack => 2,
            Self::Over => 3,
            Self::Past => 4,
        }
    }

    /// How what stands so is in its batch: it is of the outcome where that is kept.
    pub(crate) fn standing(self, status: Status, reason: Option<Reason>) -> BatchStanding {
        match (self, status) {
            (Self::TakenBack, _) => BatchStanding::TakenBack,
            (_, Status::Completed | Status::Replica) => BatchStanding::Completed,
            (_, Status::Skipped) if reason.is_some_and(Reason::is_by_rules) => {
                BatchStanding::LeftOut
            }
            (_, Status::Failed | Status::Skipped) => BatchStanding::Failed,
            (Self::Own, Status::Pending) => BatchStanding::Queued,
            (Self::Owed | Self::Over | Self::Past, Status::Pending) => BatchStanding::Owed,
        }
    }
}

/// Why what a paused batch queued is not sent.
pub(crate) fn paused(batch: BatchId) -> String {
    format!("batch {batch} is paused")
}

/// Why what a batch found nowhere in the journal, and queued, is not sent after all.
pub(crate) fn cancelled(batch: BatchId) -> String {
    format!("batch {batch} was cancelled before it was sent")
}
