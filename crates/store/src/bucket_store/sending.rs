//! A staged file on its way into the bucket: which of its parts are there.
//!
//! ```text
//!   units    0 1 2 | 3 4 5 | 6 7 8 | 9 META FOOTER      a unit is a sealed part
//!   parts      1       2       3            4           of k units; the last with the rest
//! ```
//!
//! What is known of an upload stands beside the staged files, in a note of one line each for
//! its id and for every part that was taken. After a restart a part is believed to be there
//! when the note says so, the bucket lists it under the same entity tag, and the file's
//! bytes still have the sum that the note has; any other is sent again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    sync::Arc,
};

use parking_lot::Mutex;
use sealift_outside::{Payload, Pieces};
use sealift_terms::{
    DiskFile,
    limits::{S3_PART_BYTES_MIN, S3_PARTS_MAX, S3_PUT_BYTES_MAX},
};
use tokio::task::JoinSet;

use super::{
    Inner,
    note::{Note, SentPart},
    place::{If, Outcome},
    written::{Write, Written},
};
use crate::{Cut, StoreError, StoreName, blocking};

/// Bytes of a file of this machine, for a body.
#[derive(Debug)]
pub(super) struct Local(pub(super) Arc<dyn DiskFile>);

impl Pieces for Local {
    fn fill(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

/// One staged file.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) name: StoreName,
    state: Mutex<State>,
    written: Mutex<Written>,
    /// Its upload, once there is one; held while one is begun.
    upload: tokio::sync::Mutex<Option<Arc<Upload>>>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    settled: BTreeSet<u32>,
    /// Parts that are on their way, or were found to be there by this process.
    begun: BTreeSet<u32>,
}

/// An upload that was begun.
#[derive(Debug)]
struct Upload {
    id: String,
    note: Note,
    /// What the bucket listed of it when it was taken up again.
    listed: BTreeMap<u32, String>,
    /// Parts that are there, and that this process has seen to be the file's: their entity
    /// tags and sums.
    sent: Mutex<BTreeMap<u32, (String, String)>>,
    /// Parts that are being sent: who wants the same one waits.
    sending: Mutex<BTreeMap<u32, Arc<tokio::sync::Mutex<()>>>>,
}

/// How a file is cut into parts of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    cut: Cut,
    /// Units of a part.
    units: u64,
}

impl Plan {
    pub(super) fn new(cut: Cut) -> Self {
        let few_enough = u64::from(cut.count).div_ceil(S3_PARTS_MAX);
        let large_enough = S3_PART_BYTES_MIN.div_ceil(cut.unit.max(1));
        Self {
            cut,
            units: few_enough.max(large_enough).max(1),
        }
    }

    /// Parts in all.
    pub(super) fn parts(&self) -> u32 {
        let parts = u64::from(self.cut.count).div_ceil(self.units);
        u32::try_from(parts).unwrap_or(u32::MAX).max(1)
    }

    /// The units of part `index`, from 0 on.
    fn units_of(&self, index: u32) -> Range<u32> {
        let at = |index: u64| {
            let unit = index * self.units;
            u32::try_from(unit).map_or(self.cut.count, |unit| unit.min(self.cut.count))
        };
        at(index.into())..at(u64::from(index) + 1)
    }

    /// The part that byte `at` is in.
    fn part_at(&self, at: u64) -> u32 {
        let unit = at.saturating_sub(self.cut.head) / self.cut.unit.max(1);
        let part = u32::try_from(unit / self.units).unwrap_or(u32::MAX);
        part.min(self.parts() - 1)
    }

    /// The bytes of part `index` of a file of `len` bytes.
    pub(super) fn bytes_of(&self, index: u32, len: u64) -> Range<u64> {
        let at = |index: u64| self.cut.head + index * self.units * self.cut.unit;
        let from = match index {
            0 => 0,
            index => at(index.into()),
        };
        let to = match index + 1 < self.parts() {
            true => at(u64::from(index) + 1),
            false => len,
        };
        from.min(len)..to.min(len)
    }
}

impl Sending {
    pub(super) fn new(name: &StoreName) -> Self {
        Self {
            name: name.clone(),
            state: Mutex::default(),
            written: Mutex::default(),
            upload: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn cut(&self, cut: Cut) {
        self.state.lock().plan = Some(Plan::new(cut));
    }

    /// Some bytes are about to be written. Of one that was not cut yet nothing is kept.
    pub(super) fn begin_write(&self, len: usize, at: u64) -> Option<Write> {
        let plan = self.state.lock().plan?;
        let last = at.saturating_add(len as u64).saturating_sub(1).max(at);
        let begins = |at| plan.bytes_of(plan.part_at(at), u64::MAX).start;
        self.written.lock().begin(begins(at)..=begins(last), at)
    }

    /// They are written.
    pub(super) fn wrote(&self, write: Write, bytes: &[u8]) {
        self.written.lock().done(write, bytes);
    }

    /// Another length: what was written may be cut off.
    pub(super) fn forget_written(&self) {
        self.written.lock().forget_all();
    }

    /// Sends the parts that these units make whole. The last one waits for the end of the file.
    pub(super) fn settled(self: &Arc<Self>, inner: &Arc<Inner>, units: &[u32]) {
        let mut begun = Vec::new();
        {
            let mut state = self.state.lock();
            let Some(plan) = state.plan else { return };
            state.settled.extend(units);
            for unit in units {
                let part = u32::try_from(u64::from(*unit) / plan.units).unwrap_or(u32::MAX);
                let is_whole = plan
                    .units_of(part)
                    .all(|unit| state.settled.contains(&unit));
                if part.saturating_add(1) < plan.parts() && is_whole && state.begun.insert(part) {
                    begun.push((plan, part));
                }
            }
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        for (plan, part) in begun {
            let (sending, inner) = (self.clone(), inner.clone());
            runtime.spawn(async move {
                // As if it were whole: no byte of this part is behind its end.
                let bytes = plan.bytes_of(part, u64::MAX);
                if let Err(error) = sending.send(&inner, part, bytes).await {
                    // Publishing asks for it once more, and says what is wrong.
                    tracing::debug!(name = %sending.name, part, %error, "a part was not sent");
                }
            });
        }
    }

    /// Sends what is not there of a file that is whole.
    pub(super) async fn send_all(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), StoreError> {
        let len = inner.staged_len(&self.name)?;
        if self.goes_in_one(len).await {
            return Ok(());
        }
        let plan = self.plan(len);
        let mut sends = JoinSet::new();
        for part in 0..plan.parts() {
            let (sending, inner) = (self.clone(), inner.clone());
            let bytes = plan.bytes_of(part, len);
            sends.spawn(async move { sending.send(&inner, part, bytes).await });
        }
        let mut outcome = Ok(());
        while let Some(sent) = sends.join_next().await {
            let sent = sent.unwrap_or_else(|error| Err(inner.failed(&self.name, error)));
            outcome = outcome.and(sent);
        }
        outcome
    }

    /// Makes it a file of the bucket, if `when` holds there.
    pub(super) async fn put(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        when: &If,
    ) -> Result<Outcome, StoreError> {
        let len = inner.staged_len(&self.name)?;
        if self.goes_in_one(len).await {
            let (payload, sum) = self.payload(inner, 0..len).await?;
            let _permit = inner.permit().await;
            let put = inner.place.put(self.name.as_str(), payload, when).await;
            return match put {
                Err(error) => Err(self.whether_whole(inner, 0..len, &sum, error).await),
                put => put,
            };
        }
        self.send_all(inner).await?;
        let Some(upload) = self.upload.lock().await.clone() else {
            return Ok(Outcome::NoUpload);
        };
        let parts: Vec<_> = {
            let sent = upload.sent.lock();
            let parts = sent.iter();
            parts
                .map(|(part, (etag, _))| (part + 1, etag.clone()))
                .collect()
        };
        let (name, id) = (self.name.as_str(), &upload.id);
        inner.place.complete(name, id, &parts, when).await
    }

    /// Gives up what was sent of it in parts, and what is known of that.
    pub(super) async fn give_up(&self, inner: &Inner) -> Result<(), StoreError> {
        let upload = self.upload.lock().await.take();
        let id = match upload {
            Some(upload) => Some(upload.id.clone()),
            None => Note::read(&inner.local, &self.name)
                .await?
                .map(|(note, _)| note.id),
        };
        if let Some(id) = id
            && let Err(error) = inner.place.abort(self.name.as_str(), &id).await
        {
            // It is found among those that nobody knows, later.
            tracing::debug!(name = %self.name, %error, "an upload was not given up");
        }
        self.forget(inner).await
    }

    /// Forgets its upload, which is there no more.
    pub(super) async fn forget(&self, inner: &Inner) -> Result<(), StoreError> {
        *self.upload.lock().await = None;
        self.state.lock().begun.clear();
        Note::remove(&inner.local, &self.name).await
    }

    /// Whether one request takes it, and no upload was begun.
    async fn goes_in_one(&self, len: u64) -> bool {
        len <= S3_PUT_BYTES_MAX && self.upload.lock().await.is_none()
    }

    /// How it is cut; as the store likes it where nobody said.
    fn plan(&self, len: u64) -> Plan {
        let usual = || {
            let count = len.div_ceil(S3_PUT_BYTES_MAX);
            Plan::new(Cut {
                head: 0,
                unit: S3_PUT_BYTES_MAX,
                count: u32::try_from(count).unwrap_or(u32::MAX),
            })
        };
        self.state.lock().plan.unwrap_or_else(usual)
    }

    /// Whether the end of the file is in this part; of one that is not cut any may have it.
    fn is_last(&self, part: u32) -> bool {
        let plan = self.state.lock().plan;
        plan.is_none_or(|plan| part.saturating_add(1) >= plan.parts())
    }

    /// Sends one part, unless it is there.
    async fn send(
        &self,
        inner: &Arc<Inner>,
        part: u32,
        bytes: Range<u64>,
    ) -> Result<(), StoreError> {
        let _permit = inner.permit().await;
        let upload = self.upload(inner).await?;
        let sending = upload.sending.lock().entry(part).or_default().clone();
        let _one_at_a_time = sending.lock().await;
        let before = upload.sent.lock().get(&part).cloned();
        // The end of a file is written anew by each try to complete it, and nothing else is.
        if before.is_some() && !self.is_last(part) {
            return Ok(());
        }
        let len = bytes.end.saturating_sub(bytes.start);
        let (payload, sum) = self.payload(inner, bytes.clone()).await?;
        if before.is_some_and(|(_, sent)| sent == sum) {
            return Ok(());
        }
        if let Some(etag) = upload.has(part, &sum, len) {
            upload.sent.lock().insert(part, (etag, sum));
            return Ok(());
        }
        inner.lease.hold().await?;
        let (name, id) = (self.name.as_str(), &upload.id);
        let put = inner
            .place
            .put_part((name, id), part + 1, payload, &sum)
            .await;
        let put = match put {
            Err(error) => Err(self.whether_whole(inner, bytes.clone(), &sum, error).await),
            put => put,
        };
        match put? {
            Outcome::Done(etag) => {
                let sent = SentPart {
                    part,
                    len,
                    sha256: sum.clone(),
                    etag: etag.clone(),
                };
                upload.note.add(&sent).await?;
                upload.sent.lock().insert(part, (etag, sum));
                self.written.lock().forget(bytes.start);
                Ok(())
            }
            Outcome::Conflict | Outcome::NoUpload => {
                self.forget(inner).await?;
                Err(inner.failed(&self.name, io::Error::other("its upload is gone")))
            }
        }
    }

    /// Its bytes as a body, with their SHA-256 in hex: as they were written, where that is
    /// known, or as they are.
    async fn payload(
        &self,
        inner: &Inner,
        bytes: Range<u64>,
    ) -> Result<(Payload, String), StoreError> {
        let payload = self.body(inner, &bytes)?;
        let written = self.written.lock().sum(bytes.start, bytes.end);
        let sum = match written {
            Some(sum) => sum,
            None => self.read_sum(inner, payload.clone()).await?,
        };
        Ok((payload.hashed(&sum), sum))
    }

    fn body(&self, inner: &Inner, bytes: &Range<u64>) -> Result<Payload, StoreError> {
        let file = inner.local.read_staged(&self.name)?;
        let len = bytes.end.saturating_sub(bytes.start);
        Ok(Payload::pieces(Arc::new(Local(file)), bytes.start, len))
    }

    async fn read_sum(&self, inner: &Inner, body: Payload) -> Result<String, StoreError> {
        let sum = blocking(inner.calls(), move || body.sha256()).await;
        let sum = sum.map_err(|error| inner.failed(&self.name, error))?;
        sum.map_err(|error| inner.failed(&self.name, error))
    }

    /// Why bytes with this sum were not taken. Where they are not what was written any more, the
    /// bucket is right, and the file is of no use.
    async fn whether_whole(
        &self,
        inner: &Inner,
        bytes: Range<u64>,
        sum: &str,
        refused: StoreError,
    ) -> StoreError {
        let body = match self.body(inner, &bytes) {
            Ok(body) => body,
            Err(error) => return error,
        };
        match self.read_sum(inner, body).await {
            Ok(read) if read != sum => StoreError::StoreFailed {
                name: self.name.to_string(),
                source: io::Error::other("its staged file does not have what was written to it"),
            },
            _ => refused,
        }
    }

    /// Its upload: the one that was begun, here or before a restart, or a new one.
    async fn upload(&self, inner: &Inner) -> Result<Arc<Upload>, StoreError> {
        let mut current = self.upload.lock().await;
        if let Some(upload) = &*current {
            return Ok(upload.clone());
        }
        let upload = match self.earlier(inner).await? {
            Some(earlier) => earlier,
            None => {
                inner.lease.hold().await?;
                let _not_swept_meanwhile = inner.beginning.read().await;
                let id = inner.place.begin_upload(self.name.as_str()).await?;
                Upload {
                    note: Note::begin(&inner.local, &self.name, &id).await?,
                    id,
                    listed: BTreeMap::new(),
                    sent: Mutex::default(),
                    sending: Mutex::default(),
                }
            }
        };
        let upload = Arc::new(upload);
        *current = Some(upload.clone());
        Ok(upload)
    }

    /// The upload that its note names, if the bucket has that still.
    async fn earlier(&self, inner: &Inner) -> Result<Option<Upload>, StoreError> {
        let Some((noted, note)) = Note::read(&inner.local, &self.name).await? else {
            return Ok(None);
        };
        let listed = inner.place.parts(self.name.as_str(), &noted.id).await?;
        let Some(listed) = listed else {
            Note::remove(&inner.local, &self.name).await?;
            return Ok(None);
        };
        let listed = listed.into_iter().filter_map(|(number, stored)| {
            let sent = noted.parts.get(&number.checked_sub(1)?)?;
            let is_ours = sent.etag == stored.etag && sent.len == stored.len;
            is_ours.then_some((sent.part, stored.etag))
        });
        Ok(Some(Upload {
            id: noted.id.clone(),
            listed: listed.collect(),
            note: note.with(noted.parts),
            sent: Mutex::default(),
            sending: Mutex::default(),
        }))
    }
}

impl Upload {
    /// The entity tag of a part that was sent before a restart and is what the file has.
    fn has(&self, part: u32, sum: &str, len: u64) -> Option<String> {
        let etag = self.listed.get(&part)?;
        let sent = self.note.sent(part)?;
        (sent.sha256 == sum && sent.len == len).then(|| etag.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough_and_large_enough_and_end_with_units() {
        const MIB: u64 = 1 << 20;
        for (unit, count, units) in [
            (8 * MIB, 1, 1),
            (8 * MIB, 10_000, 1),
            (8 * MIB, 10_001, 2),
            (8 * MIB, 655_361, 66),
            (64 * 1024, 1_000, 80),
            (64 * MIB, 81_921, 9),
        ] {
            let cut = Cut {
                head: 96,
                unit,
                count,
            };
            let plan = Plan::new(cut);
            assert_eq!(plan.units, units, "{unit} {count}");
            assert!(u64::from(plan.parts()) <= S3_PARTS_MAX);
            let len = 96 + unit * u64::from(count) + 1000;
            let mut end = 0;
            for part in 0..plan.parts() {
                let bytes = plan.bytes_of(part, len);
                assert_eq!(bytes.start, end);
                end = bytes.end;
                let is_last = part + 1 == plan.parts();
                assert!(is_last || bytes.end - bytes.start >= S3_PART_BYTES_MIN);
                assert!(is_last || (bytes.end - 96).is_multiple_of(unit * units));
            }
            assert_eq!(end, len);
        }
    }
}
