//! The record layers: TLS in two ways, and none for a simulation. No I/O here:
//! bytes that came are opened, bytes that shall go are sealed.

use std::{
    io::{Read, Write},
    ops::Deref,
};

use rustls::{
    CommonState, Error as TlsError,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic},
};

use crate::{buffer::Buffer, error::TunnelError};

/// Bytes of plaintext in a full record, the chunk that is sealed at rest.
pub(crate) const RECORD_BYTES: usize = 16 * 1024;
/// What a record has besides: header, content type, tag; with room to spare.
const RECORD_EXTRA_BYTES: usize = 64;

/// One of the record layers.
pub(crate) enum Records {
    /// rustls's buffered connection, for control links.
    Buffered(Box<rustls::Connection>),
    /// rustls's unbuffered connection, for data links: the one who dialled.
    Client(Box<UnbufferedClientConnection>),
    /// The one who was dialled.
    Server(Box<UnbufferedServerConnection>),
    /// No TLS: between two ends of one process.
    #[cfg(any(test, feature = "simulation"))]
    Clear,
}

/// What both halves of a link share.
pub(crate) struct Core {
    records: Records,
    /// Bytes as they came.
    pub(crate) raw: Buffer,
    /// Plaintext that was opened while sealing, for the reader.
    opened_early: Buffer,
    /// Records of TLS's own, to go out before any other.
    pub(crate) out: Buffer,
    /// The peer ended the connection in order.
    pub(crate) closed: bool,
}

/// What is to be sealed.
#[derive(Clone, Copy)]
enum Seal<'a> {
    Bytes(&'a [u8]),
    Close,
}

/// What one step of an unbuffered connection came to.
enum Step {
    Again,
    /// It takes bytes to seal; those given were sealed.
    Ready,
    /// It waits for bytes of the peer's.
    Blocked,
}

impl Core {
    pub(crate) fn new(records: Records) -> Self {
        Self {
            records,
            raw: Buffer::default(),
            opened_early: Buffer::default(),
            out: Buffer::default(),
            closed: false,
        }
    }

    /// What TLS knows of the connection; nothing without TLS.
    pub(crate) fn state(&self) -> Option<&CommonState> {
        match &self.records {
            Records::Buffered(connection) => Some(connection.deref()),
            Records::Client(connection) => Some(connection.deref()),
            Records::Server(connection) => Some(connection.deref()),
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => None,
        }
    }

    /// Keying material that both ends compute alike and nobody else can
    /// (RFC 9266); on control links only.
    pub(crate) fn channel_binding(&self) -> Option<[u8; 32]> {
        match &self.records {
            Records::Buffered(connection) => connection
                .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
                .ok(),
            _ => None,
        }
    }

    /// Opens records into `plain` until it holds `wanted` bytes or no whole
    /// record is left.
    pub(crate) fn open(&mut self, plain: &mut Buffer, wanted: usize) -> Result<(), TunnelError> {
        if !self.opened_early.is_empty() {
            plain.extend(self.opened_early.filled());
            let count = self.opened_early.len();
            self.opened_early.consume(count);
        }
        match &mut self.records {
            Records::Buffered(_) => return self.open_buffered(plain),
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => {
                let count = self.raw.len().min(wanted);
                plain.extend(self.raw.take(count));
                return Ok(());
            }
            Records::Client(_) | Records::Server(_) => {}
        }
        while plain.len() < wanted && matches!(self.step(plain, None)?, Step::Again) {}
        Ok(())
    }

    /// Seals `bytes`, in records of 16 KiB, behind what is in `out`.
    pub(crate) fn seal(&mut self, bytes: &[u8], out: &mut Buffer) -> Result<(), TunnelError> {
        match &mut self.records {
            Records::Buffered(connection) => {
                for piece in bytes.chunks(RECORD_BYTES) {
                    let written = connection.writer().write(piece);
                    if !written.is_ok_and(|count| count == piece.len()) {
                        return Err(TunnelError::Exhausted);
                    }
                    drain_buffered(connection, out);
                }
                return Ok(());
            }
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => {
                out.extend(bytes);
                return Ok(());
            }
            Records::Client(_) | Records::Server(_) => {}
        }
        self.seal_unbuffered(Seal::Bytes(bytes), out)
    }

    /// Before it seals, TLS handles what has come: application data among it is
    /// kept for the reader. There is no more of that than `raw` holds.
    fn seal_unbuffered(&mut self, what: Seal<'_>, out: &mut Buffer) -> Result<(), TunnelError> {
        let mut early = std::mem::take(&mut self.opened_early);
        let sealed = loop {
            match self.step(&mut early, Some((what, &mut *out))) {
                Ok(Step::Again) => {}
                Ok(Step::Ready) => break Ok(()),
                Ok(Step::Blocked) => break Err(TunnelError::CutOff),
                Err(error) => break Err(error),
            }
        };
        self.opened_early = early;
        sealed
    }

    /// Says goodbye as TLS does.
    pub(crate) fn seal_close(&mut self, out: &mut Buffer) -> Result<(), TunnelError> {
        match &mut self.records {
            Records::Buffered(connection) => {
                connection.send_close_notify();
                drain_buffered(connection, out);
                Ok(())
            }
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => Ok(()),
            Records::Client(_) | Records::Server(_) => self.seal_unbuffered(Seal::Close, out),
        }
    }

    /// Goes on with a handshake; whether it is done. What has to go out is in
    /// `out`, an alert for the peer too when this fails.
    pub(crate) fn shake(&mut self) -> Result<bool, TunnelError> {
        let mut none = Buffer::default();
        let shaken = self.shake_on(&mut none);
        if shaken.is_err() {
            self.alert();
        }
        self.opened_early.extend(none.filled());
        shaken?;
        Ok(self.state().is_none_or(|state| !state.is_handshaking()))
    }

    fn shake_on(&mut self, plain: &mut Buffer) -> Result<(), TunnelError> {
        if let Records::Buffered(_) = &self.records {
            return self.open_buffered(plain);
        }
        if self.state().is_none() {
            return Ok(());
        }
        while matches!(self.step(plain, None)?, Step::Again) {}
        Ok(())
    }

    /// Collects the alert that goes with an error.
    fn alert(&mut self) {
        match &mut self.records {
            Records::Buffered(connection) => drain_buffered(connection, &mut self.out),
            _ => while matches!(self.step(&mut Buffer::default(), None), Ok(Step::Again)) {},
        }
    }

    fn open_buffered(&mut self, plain: &mut Buffer) -> Result<(), TunnelError> {
        let Records::Buffered(connection) = &mut self.records else {
            return Ok(());
        };
        loop {
            // Never with no bytes: rustls takes that for the end of the connection.
            let mut count = 0;
            if !self.raw.is_empty() && connection.wants_read() {
                count = connection
                    .read_tls(&mut self.raw.filled())
                    .map_err(TunnelError::io("reading records"))?;
                self.raw.consume(count);
            }
            let state = connection.process_new_packets()?;
            self.closed |= state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let room = plain.room(left);
                match connection.reader().read(room) {
                    Ok(read) if read > 0 => {
                        plain.fill(read);
                        left = left.saturating_sub(read);
                    }
                    _ => break,
                }
            }
            drain_buffered(connection, &mut self.out);
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// One step of an unbuffered connection: opens into `plain`, or seals.
    fn step(
        &mut self,
        plain: &mut Buffer,
        seal: Option<(Seal<'_>, &mut Buffer)>,
    ) -> Result<Step, TunnelError> {
        let Self {
            records,
            raw,
            out,
            closed,
            ..
        } = self;
        let (used, step) = match records {
            Records::Client(connection) => handle(
                connection.process_tls_records(raw.filled_mut()),
                plain,
                out,
                closed,
                seal,
            ),
            Records::Server(connection) => handle(
                connection.process_tls_records(raw.filled_mut()),
                plain,
                out,
                closed,
                seal,
            ),
            _ => return Ok(Step::Blocked),
        };
        raw.consume(used);
        step
    }
}

/// Acts on what an unbuffered connection says; how many raw bytes are used up.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Buffer,
    out: &mut Buffer,
    closed: &mut bool,
    seal: Option<(Seal<'_>, &mut Buffer)>,
) -> (usize, Result<Step, TunnelError>) {
    let UnbufferedStatus {
        mut discard, state, ..
    } = status;
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error.into())),
    };
    let step = match state {
        ConnectionState::ReadTraffic(mut traffic) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.extend(record.payload);
                }
                Some(Err(error)) => break Err(error.into()),
                None => break Ok(Step::Again),
            }
        },
        ConnectionState::EncodeTlsData(mut encoder) => encode(|room| encoder.encode(room), out),
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done(); // It is in `out`, which goes before anything else.
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(traffic) => match seal {
            None => Ok(Step::Ready),
            Some((what, to)) => seal_into(traffic, what, out, to),
        },
        ConnectionState::PeerClosed => {
            *closed = true;
            Ok(Step::Again)
        }
        _ => Ok(Step::Blocked),
    };
    (discard, step)
}

/// Seals behind TLS's own records: key updates come first, what follows is sealed
/// under the new keys.
fn seal_into<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    what: Seal<'_>,
    out: &mut Buffer,
    to: &mut Buffer,
) -> Result<Step, TunnelError> {
    to.extend(out.filled());
    let count = out.len();
    out.consume(count);
    let sealed = match what {
        Seal::Bytes(bytes) => {
            let records = bytes.len().div_ceil(RECORD_BYTES);
            let room = to.room(bytes.len() + records * RECORD_EXTRA_BYTES);
            traffic.encrypt(bytes, room)
        }
        Seal::Close => traffic.queue_close_notify(to.room(RECORD_EXTRA_BYTES)),
    };
    let count = sealed.map_err(|_| TunnelError::Exhausted)?;
    to.fill(count);
    Ok(Step::Ready)
}

/// Lets what TLS itself has to say be written, in as much room as it wants.
fn encode(
    mut into: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    out: &mut Buffer,
) -> Result<Step, TunnelError> {
    let mut wanted = RECORD_BYTES;
    loop {
        match into(out.room(wanted)) {
            Ok(count) => {
                out.fill(count);
                return Ok(Step::Again);
            }
            Err(EncodeError::InsufficientSize(size)) => wanted = size.required_size,
            Err(EncodeError::AlreadyEncoded) => return Err(TunnelError::Exhausted),
        }
    }
}

fn drain_buffered(connection: &mut rustls::Connection, out: &mut Buffer) {
    struct To<'a>(&'a mut Buffer);
    impl Write for To<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    while connection.wants_write() {
        if connection.write_tls(&mut To(out)).is_err() {
            return; // A buffer takes everything.
        }
    }
}

/// An error of TLS that is not the peer's: it cannot even be begun.
pub(crate) fn begin(error: TlsError) -> TunnelError {
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_bytes_pass_as_they_are_and_no_more_than_wanted_at_once() {
        let mut core = Core::new(Records::Clear);
        let mut out = Buffer::default();
        core.seal(b"frames and bytes", &mut out).unwrap();
        core.raw.extend(out.filled());
        let mut plain = Buffer::default();
        core.open(&mut plain, 6).unwrap();
        assert_eq!(plain.filled(), b"frames");
        core.open(&mut plain, 100).unwrap();
        assert_eq!(plain.filled(), b"frames and bytes");
        assert!(core.state().is_none() && core.channel_binding().is_none());
    }
}
