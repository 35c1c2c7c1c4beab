//! The task that makes finished parts of unfinished objects survive a crash:
//! their file synced, then their commitments in the ledger.

use std::{collections::HashMap, sync::Arc};

use sealift_ledger::UploadPart;
use sealift_terms::{ObjectUid, PartIndex};
use tokio::sync::mpsc;

use crate::{
    archive::{Core, Message},
    limits::PARTS_QUEUE_MAX,
    upload::{PartDone, UploadState},
};

/// A part that is written.
pub(crate) struct Part {
    pub(crate) upload: Arc<UploadState>,
    pub(crate) index: PartIndex,
    pub(crate) part: PartDone,
}

impl Part {
    pub(crate) fn new(upload: &Arc<UploadState>, index: u32, part: PartDone) -> Self {
        Self {
            upload: upload.clone(),
            index: PartIndex(index),
            part,
        }
    }
}

/// Runs until told to close.
pub(crate) async fn run(core: Arc<Core>, mut parts: mpsc::Receiver<Message<Part>>) {
    let mut round = Vec::new();
    while parts.recv_many(&mut round, PARTS_QUEUE_MAX).await > 0 {
        let mut by_upload: HashMap<ObjectUid, Vec<Part>> = HashMap::new();
        let mut closing = false;
        for message in round.drain(..) {
            match message {
                Message::Work(part) => by_upload.entry(part.upload.uid).or_default().push(part),
                Message::Close => closing = true,
            }
        }
        core.record_parts(by_upload.into_values().collect()).await;
        if closing {
            return;
        }
    }
}

impl Core {
    pub(crate) async fn record_parts(&self, uploads: Vec<Vec<Part>>) {
        let (mut held, mut rows, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for parts in uploads {
            let Some(upload) = parts.first().map(|part| part.upload.clone()) else {
                continue;
            };
            let Some(staged) = upload.body.staged() else {
                continue;
            };
            // Held by a commit, and so of no use any more. Waiting for it while others
            // are held here would be waiting for each other.
            let Ok(recording) = staged.recording.clone().try_lock_owned() else {
                continue;
            };
            if staged.has_ended() {
                continue;
            }
            if let Err(error) = staged.file.sync().await {
                // What the file holds is unknown now: its parts are asked for again.
                tracing::error!(file = %staged.name, %error, "a staged file was given up");
                drop(recording);
                if let Err(error) = self.give_up(staged).await {
                    tracing::error!(file = %staged.name, %error, "it was not removed");
                }
                continue;
            }
            held.push(recording);
            rows.extend(parts.iter().map(|part| UploadPart {
                uid: upload.uid,
                index: part.index,
                commitment: part.part.commitments.inner.0,
                outer_commitment: part.part.commitments.outer.map(|outer| outer.0),
                crc64: part.part.crc64,
            }));
            done.extend(parts);
        }
        if rows.is_empty() {
            return;
        }
        match self.catalog.put_parts(rows, self.clock.now()).await {
            Ok(()) => {
                for part in done {
                    if let Some(staged) = part.upload.body.staged() {
                        staged.file.settled(&[part.index.0]);
                    }
                    part.upload.parts.lock().set_recorded(part.index.0);
                }
            }
            // They stay in memory and serve the commit; after a crash they are sent again.
            Err(error) => tracing::error!(%error, "finished parts were not recorded"),
        }
    }
}
