//! The task of one link: reads what comes, hands bytes to writers, writes answers.

use std::{sync::Arc, time::Duration};

use sealift_archive::{ArchiveError, Begin, in_words};
use sealift_terms::{Checksum, ChecksumAlgorithm, PartIndex, Reason};
use sealift_tunnel::{Incoming, LinkReader, LinkWriter};
use sealift_wire::{LinkEvent, LinkId, OfferId, Place, ReceiveEvent, Refusal};
use tokio::sync::Notify;

use crate::{
    ReceiverError,
    session::{Session, conflict},
    writers::{Inline, Writers, begin_part},
};

/// How often a link looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// The task of one link.
pub(crate) struct LinkTask<'a> {
    session: &'a Arc<Session>,
    id: LinkId,
    wake: Arc<Notify>,
    writers: Writers,
    out: Vec<u8>,
}

/// What a link's task woke up for.
enum Turn {
    Read,
    Woken,
    Tick,
    Over,
}

impl<'a> LinkTask<'a> {
    pub(crate) fn new(session: &'a Arc<Session>, id: LinkId, wake: Arc<Notify>) -> Self {
        Self {
            session,
            id,
            wake,
            writers: Writers::default(),
            out: Vec::new(),
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
        let mut ticks = tokio::time::interval(TICK);
        loop {
            self.session.machine.lock().take(self.id, &mut self.out);
            if !self.out.is_empty() {
                writer.queue(&self.out);
                // The sending side reads whatever it does, so this never waits for us.
                writer.flush().await?;
                self.out.clear();
            }
            let turn = tokio::select! {
                biased;
                incoming = reader.next() => match incoming? {
                    Some(incoming) => self.incoming(incoming).await?,
                    None => Turn::Over,
                },
                () = self.wake.notified() => Turn::Woken,
                _ = ticks.tick() => Turn::Tick,
                () = async { drop(over.wait_for(|over| *over).await) } => Turn::Over,
            };
            match turn {
                Turn::Over => return Ok(()),
                Turn::Tick if self.tick()? => return Ok(()),
                Turn::Read | Turn::Woken | Turn::Tick => {}
            }
        }
    }

    /// Passes time. Says whether the link is to end.
    fn tick(&mut self) -> Result<bool, ReceiverError> {
        let session = self.session;
        let (id, now) = (self.id, session.started.elapsed());
        let ((), events) = session.with_machine(|machine| machine.tick(now));
        let open: Vec<OfferId> = session.machine.lock().unfinished().collect();
        self.writers
            .keep_only(|offer| open.binary_search(&offer).is_ok());
        let mut ends = false;
        for event in events {
            match event {
                ReceiveEvent::Link(LinkEvent::Silent(silent)) if silent == id => {
                    return Err(ReceiverError::PeerSilent);
                }
                // It is another link's to say, and that one will see it too.
                ReceiveEvent::Link(LinkEvent::Silent(_)) => session.end(),
                ReceiveEvent::GivenUp(given_up) if given_up == id => ends = true,
                other => session.take(other),
            }
        }
        Ok(ends)
    }

    async fn incoming(&mut self, incoming: Incoming<'_>) -> Result<Turn, ReceiverError> {
        let (session, id) = (self.session, self.id);
        let events = match incoming {
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
                self.place(place?, bytes).await;
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

    async fn place(&mut self, place: Place, bytes: &[u8]) {
        let (offer, written) = match place {
            Place::Part {
                offer,
                part,
                begins,
                ..
            } => {
                let upload = begins.then(|| self.session.uploads.lock().get(&offer).cloned());
                let written = self
                    .writers
                    .write_part(offer, part, upload.flatten(), bytes)
                    .await;
                (offer, written)
            }
            Place::Inline { offer, .. } => {
                let inline = self
                    .writers
                    .inline
                    .as_mut()
                    .filter(|inline| inline.offer == offer);
                match inline.and_then(|inline| inline.writer.as_mut()) {
                    Some(writer) => (offer, writer.write(bytes).await),
                    None => return,
                }
            }
            Place::Nowhere => return,
        };
        match written {
            // Another link took the part over: it ends there.
            Ok(()) | Err(ArchiveError::Fenced { .. }) => {}
            Err(error) => self.session.fail(offer, &error),
        }
    }

    async fn take(&mut self, event: ReceiveEvent) {
        match event {
            ReceiveEvent::Offered {
                offer,
                what,
                inline: true,
            } => {
                self.inline_offered(offer, &what).await;
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
                self.writers.take_part(offer, part);
            }
            ReceiveEvent::Abandoned { offer } => {
                self.writers.inline.take_if(|inline| inline.offer == offer);
            }
            other => self.session.take(other),
        }
    }

    /// Makes ready for the bytes that follow the offer.
    async fn inline_offered(&mut self, offer: OfferId, what: &sealift_wire::Offer) {
        match self.begin_inline(offer, what).await {
            Ok(inline) => self.writers.inline = inline,
            Err(refusal) => self.session.refuse(offer, &refusal),
        }
    }

    async fn begin_inline(
        &self,
        offer: OfferId,
        what: &sealift_wire::Offer,
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
            _ => Some(
                begin_part(&upload, PartIndex(0))
                    .await
                    .map_err(|error| Refusal::new(error.reason(), in_words(&error)))?,
            ),
        };
        Ok(Some(Inline {
            offer,
            upload,
            writer,
            crc64,
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
        self.session.commit(offer, upload, checksum);
    }

    async fn part_end(&mut self, offer: OfferId, part: PartIndex, bytes: u32, crc64: u64) {
        let session = self.session;
        let writer = match self.writers.take_part(offer, part) {
            Some(writer) => Ok(Some(writer)),
            None if bytes == 0 => {
                let upload = session.uploads.lock().get(&offer).cloned();
                match upload {
                    Some(upload) => begin_part(&upload, part).await.map(Some),
                    None => Ok(None),
                }
            }
            None => Ok(None),
        };
        let finished = match writer {
            Ok(Some(writer)) => writer.finish(crc64).await,
            // Its offer was refused while it came.
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match finished {
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
