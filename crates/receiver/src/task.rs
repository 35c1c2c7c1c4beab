//! The task of one link: reads what comes, hands bytes to writers, writes answers.

use std::sync::Arc;

use sealift_archive::{ArchiveError, Begin, PartWriter, Upload, in_words};
use sealift_terms::{
    Checksum, ChecksumAlgorithm, PartIndex, Reason,
    limits::{PART_PROGRESS_BYTES_MIN, PART_PROGRESS_TIME_MAX},
};
use sealift_tunnel::{Incoming, LinkReader, LinkWriter};
use sealift_wire::{
    FrameType, Header, LinkEvent, LinkId, OfferId, Place, ReceiveEvent, Refusal, announced,
};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    ReceiverError,
    patience::Progress,
    session::{LinkSignals, Session, conflict},
    unpacking::Unpacking,
    writers::{Inline, Writers, begin_part},
};

/// The task of one link.
pub(crate) struct LinkTask<'a> {
    session: &'a Arc<Session>,
    id: LinkId,
    signals: Arc<LinkSignals>,
    writers: Writers,
    out: Vec<u8>,
    unpacking: Unpacking,
    /// Until when nothing more is read, as the peer sends faster than it may.
    held: Option<Instant>,
}

/// What a link's task woke up for.
enum Turn {
    Read,
    Woken,
    Tick,
    Over,
    Silent,
}

impl<'a> LinkTask<'a> {
    pub(crate) fn new(session: &'a Arc<Session>, id: LinkId, signals: Arc<LinkSignals>) -> Self {
        Self {
            session,
            id,
            signals,
            writers: Writers::default(),
            out: Vec::new(),
            unpacking: Unpacking::default(),
            held: None,
        }
    }
}

impl LinkTask<'_> {
    pub(crate) async fn run(
        &mut self,
        reader: &mut LinkReader,
        writer: &mut LinkWriter,
    ) -> Result<(), ReceiverError> {
        let mut over = self.session.over.subscribe();
        let signals = self.signals.clone();
        let mut ticks = tokio::time::interval(self.session.patience.tick);
        // Time in which the link waited for the store is not held against the peer.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.session.machine.lock().take(self.id, &mut self.out);
            if !self.out.is_empty() {
                writer.queue(&self.out);
                self.out.clear();
                // A peer that does not read holds up this link, for a minute, and no other.
                tokio::select! {
                    biased;
                    flushed = writer.flush() => flushed?,
                    () = signals.end.notified() => return Err(ReceiverError::PeerSilent),
                    () = async { drop(over.wait_for(|over| *over).await) } => return Ok(()),
                }
            }
            let held = self.held;
            let turn = tokio::select! {
                biased;
                () = until(held), if held.is_some() => {
                    self.held = None;
                    Turn::Woken
                }
                incoming = reader.next(), if held.is_none() => match incoming? {
                    Some(incoming) => self.incoming(incoming).await?,
                    None => Turn::Over,
                },
                () = signals.wake.notified() => Turn::Woken,
                () = signals.end.notified() => Turn::Silent,
                _ = ticks.tick() => Turn::Tick,
                () = async { drop(over.wait_for(|over| *over).await) } => Turn::Over,
            };
            match turn {
                Turn::Over => return Ok(()),
                Turn::Silent => return Err(ReceiverError::PeerSilent),
                Turn::Tick if self.tick()? => return Ok(()),
                Turn::Read => {
                    // What came with it needs no waiting, and no list of what to wait for.
                    while self.held.is_none()
                        && let Some(incoming) = reader.ready()?
                    {
                        if matches!(self.incoming(incoming).await?, Turn::Over) {
                            return Ok(());
                        }
                    }
                }
                Turn::Woken | Turn::Tick => {}
            }
        }
    }

    /// Leaves what is not whole to other links, when this one has ended.
    pub(crate) async fn leave_parts(&mut self) {
        self.writers.leave_parts().await;
    }

    /// Passes time. Says whether the link is to end.
    fn tick(&mut self) -> Result<bool, ReceiverError> {
        let session = self.session;
        let (id, now) = (self.id, session.started.elapsed() * session.patience.pace);
        let ((), events) = session.with_machine(|machine| machine.tick(now));
        for offer in self.writers.tick(&session.patience) {
            let evidence = format!(
                "of a part less than {PART_PROGRESS_BYTES_MIN} bytes came in {} s",
                PART_PROGRESS_TIME_MAX.as_secs()
            );
            tracing::warn!(peer = %session.peer().identity, %offer, evidence, "too slow");
            session.refuse(offer, &Refusal::new(Reason::PeerUnreachable, evidence));
        }
        session.grant_anew();
        self.unpacking.tick();
        let open: Vec<OfferId> = session.machine.lock().unfinished().collect();
        self.writers
            .keep_only(|offer| open.binary_search(&offer).is_ok());
        let mut ends = false;
        for event in events {
            match event {
                ReceiveEvent::Link(LinkEvent::Silent(silent)) if silent == id => {
                    return Err(ReceiverError::PeerSilent);
                }
                ReceiveEvent::Link(LinkEvent::Jammed(jammed)) if jammed == id => {
                    return Err(ReceiverError::PeerNotReading);
                }
                ReceiveEvent::Link(LinkEvent::Silent(other) | LinkEvent::Jammed(other)) => {
                    session.end_link(other);
                }
                ReceiveEvent::GivenUp(given_up) if given_up == id => ends = true,
                other => session.take(other),
            }
        }
        Ok(ends)
    }

    async fn incoming(&mut self, incoming: Incoming<'_>) -> Result<Turn, ReceiverError> {
        let (session, id) = (self.session, self.id);
        let events = match incoming {
            Incoming::Frame { header, payload }
                if header.frame == FrameType::Packed && session.packs() =>
            {
                self.packed(&header, payload).await?
            }
            Incoming::Frame { header, payload } => {
                let (taken, events) =
                    session.with_machine(|machine| machine.frame(id, &header, payload));
                taken?;
                events
            }
            Incoming::Data {
                header,
                done,
                bytes,
            } => {
                let piece = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let (place, events) =
                    session.with_machine(|machine| machine.data(id, &header, done, piece));
                session.door.count_bytes(bytes.len());
                self.hold(bytes.len());
                self.place(place?, bytes.iter()).await;
                events
            }
        };
        for event in events {
            if let ReceiveEvent::Link(LinkEvent::Closed(closed, _)) = &event
                && *closed == id
            {
                return Ok(Turn::Over);
            }
            self.take(event).await;
        }
        Ok(Turn::Read)
    }

    /// Takes a compressed frame as the DATA frame that it stands for. Whether that may come
    /// is asked before anything is decompressed.
    async fn packed(
        &mut self,
        header: &Header,
        payload: &[u8],
    ) -> Result<Vec<ReceiveEvent>, ReceiverError> {
        let (session, id) = (self.session, self.id);
        let length = announced(payload)?;
        let data = header.unpacked(length);
        let (place, events) = session.with_machine(|machine| machine.data(id, &data, 0, length));
        let place = place?;
        self.hold(payload.len());
        if !matches!(place, Place::Nowhere) {
            let Some(bytes) = self.unpacking.unpack(payload)? else {
                let refusal = Refusal::new(Reason::DstQuotaExceeded, "no memory to decompress");
                session.refuse(header.offer(), &refusal);
                return Ok(events);
            };
            session.door.count_bytes(bytes.len());
            self.place(place, std::iter::once(&*bytes)).await;
            self.unpacking.give_back(bytes);
        }
        Ok(events)
    }

    /// Counts bytes that came against the peer's rate.
    fn hold(&mut self, bytes: usize) {
        let wait = self.session.rate.data(bytes);
        if !wait.is_zero() {
            self.held = Some(Instant::now() + wait);
        }
    }

    /// Writes what belongs to one place, in its pieces as they lie.
    async fn place<'a>(&mut self, place: Place, pieces: impl Iterator<Item = &'a [u8]>) {
        let (offer, part) = match place {
            Place::Part {
                offer,
                part,
                offset,
                begins,
            } => {
                if begins && let Some(upload) = self.session.upload(offer) {
                    match self.begin_part(&upload, part, offset).await {
                        Ok(writer) => self.writers.begin(offer, part, writer),
                        Err(refusal) => return self.session.refuse(offer, &refusal),
                    }
                }
                (offer, Some(part))
            }
            Place::Inline { offer, .. } => (offer, None),
            Place::Nowhere => return,
        };
        for bytes in pieces {
            let written = match part {
                Some(part) => self.writers.write_part(offer, part, bytes).await,
                None => self.writers.write_inline(offer, bytes).await,
            };
            match written {
                Ok(()) => {}
                // Another link took the part over: it ends there.
                Err(ArchiveError::Fenced { .. }) => return,
                Err(error) => return self.session.fail(offer, &error),
            }
        }
    }

    /// Begins a part. Memory is waited for, but not for ever: the peer's other parts
    /// on this link wait meanwhile, and it may be they that hold the memory.
    async fn begin_part(
        &self,
        upload: &Upload,
        part: PartIndex,
        from: u32,
    ) -> Result<PartWriter, Refusal> {
        let session = self.session;
        let mut over = session.over.subscribe();
        let lease = session.patience.lease;
        let begun = tokio::select! {
            begun = tokio::time::timeout(lease, begin_part(upload, part, from)) => begun,
            () = async { drop(over.wait_for(|over| *over).await) } => {
                return Err(Refusal::new(Reason::PeerUnreachable, "the session is over"));
            }
        };
        match begun {
            Ok(Ok(writer)) => Ok(writer),
            Ok(Err(error)) => Err(Refusal::new(error.reason(), in_words(&error))),
            Err(_) => {
                let evidence = format!("no memory for a part within {} s", lease.as_secs());
                Err(Refusal::new(Reason::DstQuotaExceeded, evidence))
            }
        }
    }

    async fn take(&mut self, event: ReceiveEvent) {
        match event {
            ReceiveEvent::Offered {
                offer,
                what,
                inline: true,
            } => {
                self.inline_offered(offer, *what).await;
            }
            ReceiveEvent::InlineEnd { offer } => self.inline_end(offer).await,
            ReceiveEvent::PartEnd {
                offer,
                part,
                bytes,
                crc64,
            } => {
                self.part_end(offer, part, bytes, crc64).await;
            }
            ReceiveEvent::PartAbandoned { offer, part } => {
                if let Some(writer) = self.writers.take_part(offer, part) {
                    writer.leave().await;
                }
                self.session.take(event);
            }
            ReceiveEvent::Abandoned { offer } => {
                self.writers.inline.take_if(|inline| inline.offer == offer);
            }
            other => self.session.take(other),
        }
    }

    /// Makes ready for the bytes that follow the offer.
    async fn inline_offered(&mut self, offer: OfferId, what: sealift_wire::Offer) {
        match self.begin_inline(offer, what).await {
            Ok(inline) => self.writers.inline = inline,
            Err(refusal) => self.session.refuse(offer, &refusal),
        }
    }

    async fn begin_inline(
        &self,
        offer: OfferId,
        what: sealift_wire::Offer,
    ) -> Result<Option<Inline>, Refusal> {
        let crc64 = match &what.checksum {
            Some(sum) if sum.algorithm() == ChecksumAlgorithm::Crc64Nvme => {
                u64::from_be_bytes(sum.value().try_into().unwrap_or_default())
            }
            Some(sum) => {
                let evidence = format!("{sum} where a crc64nvme is expected with an inline object");
                return Err(Refusal::new(Reason::PeerProtocolMismatch, evidence));
            }
            None => 0,
        };
        let upload = match self.session.begin(what, true).await? {
            Begin::Upload(upload) => *upload,
            Begin::Known(receipt) => {
                self.session.machine.lock().receipt(offer, *receipt);
                return Ok(None);
            }
            Begin::Conflict { name, stored } => {
                return Err(conflict(&name, stored.as_ref()));
            }
        };
        let writer = match upload.parts() {
            0 => None,
            _ => Some(self.begin_part(&upload, PartIndex(0), 0).await?),
        };
        Ok(Some(Inline {
            offer,
            upload,
            writer,
            crc64,
            progress: Progress::default(),
        }))
    }

    async fn inline_end(&mut self, offer: OfferId) {
        let Some(Inline {
            upload,
            writer,
            crc64,
            ..
        }) = self.writers.inline.take_if(|inline| inline.offer == offer)
        else {
            return;
        };
        let checksum = writer.is_some().then(|| Checksum::crc64nvme(crc64));
        if let Some(writer) = writer
            && let Err(error) = writer.finish(crc64).await
        {
            return self.session.fail(offer, &error);
        }
        self.session.commit_here(offer, upload, checksum).await;
    }

    async fn part_end(&mut self, offer: OfferId, part: PartIndex, bytes: u32, crc64: u64) {
        let session = self.session;
        let writer = match self.writers.take_part(offer, part) {
            Some(writer) => Ok(Some(writer)),
            None if bytes == 0 => match session.upload(offer) {
                Some(upload) => self.begin_part(&upload, part, 0).await.map(Some),
                None => Ok(None),
            },
            None => Ok(None),
        };
        let writer = match writer {
            Ok(Some(writer)) => writer,
            // Its offer was refused while it came.
            Ok(None) => return,
            Err(refusal) => return session.refuse(offer, &refusal),
        };
        match writer.finish(crc64).await {
            Ok(()) => {
                let (_, events) = session.with_machine(|machine| machine.stored(offer, part));
                events.into_iter().for_each(|event| session.take(event));
                session.wake_links();
            }
            Err(ArchiveError::Fenced { .. }) => {}
            Err(error) => session.fail(offer, &error),
        }
    }
}

/// Waits until then, if ever.
async fn until(held: Option<Instant>) {
    match held {
        Some(held) => tokio::time::sleep_until(held).await,
        None => std::future::pending().await,
    }
}
