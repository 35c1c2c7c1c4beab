//! The record layers: TLS in two ways, and none for a simulation. No I/O here:
//! bytes that came are opened, bytes that shall go are sealed.

mod layer;
mod opened;
mod outgoing;

use std::{
    io::{Read, Write},
    ops::Deref,
};

use rustls::{
    CommonState, Error as TlsError,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};

use self::layer::{Came, Layer};
pub use self::opened::Pieces;
pub(crate) use self::{opened::Opened, outgoing::Outgoing};
use crate::{buffer::Buffer, error::TunnelError};

/// Bytes of plaintext in a full record, the chunk that is sealed at rest.
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// One of the record layers.
pub(crate) enum Records {
    /// rustls's buffered connection, for control links.
    Buffered(Box<rustls::Connection>),
    /// The handshake of a data link: the one who dialled.
    Client(Box<UnbufferedClientConnection>),
    /// The one who was dialled.
    Server(Box<UnbufferedServerConnection>),
    /// A data link after its handshake.
    Data(Box<Layer>),
    /// No TLS: between two ends of one process.
    #[cfg(any(test, feature = "simulation"))]
    Clear,
}

/// What both halves of a link share.
pub(crate) struct Core {
    records: Records,
    /// The handshake's bytes, to go out before any other.
    pub(crate) out: Buffer,
    /// The peer ended the connection in order.
    pub(crate) closed: bool,
}

/// What one step of a handshake came to.
enum Step {
    Again,
    /// It is done.
    Ready,
    /// It waits for bytes of the peer's.
    Blocked,
}

impl Core {
    pub(crate) fn new(records: Records) -> Self {
        Self {
            records,
            out: Buffer::default(),
            closed: false,
        }
    }

    /// What TLS knows of the connection, until its handshake is [over](Self::over);
    /// nothing without TLS.
    pub(crate) fn state(&self) -> Option<&CommonState> {
        match &self.records {
            Records::Buffered(connection) => Some(connection.deref()),
            Records::Client(connection) => Some(connection.deref()),
            Records::Server(connection) => Some(connection.deref()),
            Records::Data(_) => None,
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

    /// Goes over to the record layer that a link has after its handshake.
    pub(crate) fn over(self) -> Result<Self, TunnelError> {
        let Self {
            records,
            out,
            closed,
        } = self;
        let records = match records {
            Records::Client(connection) => Records::Data(Box::new(Layer::new(
                connection.dangerous_into_kernel_connection(),
            )?)),
            Records::Server(connection) => Records::Data(Box::new(Layer::new(
                connection.dangerous_into_kernel_connection(),
            )?)),
            already => already,
        };
        Ok(Self {
            records,
            out,
            closed,
        })
    }

    /// Opens records until `wanted` bytes are opened or no whole record is left.
    pub(crate) fn open(&mut self, opened: &mut Opened, wanted: usize) -> Result<(), TunnelError> {
        match &mut self.records {
            Records::Buffered(_) => self.open_buffered(opened),
            Records::Data(layer) => {
                opened.forget();
                while opened.len() < wanted
                    && !self.closed
                    && let Some((bytes, came)) = layer.open(opened.sealed())?
                {
                    match came {
                        Came::Data(plain) => opened.opened(bytes, plain),
                        Came::Own => opened.opened(bytes, 0..0),
                        Came::Closed => self.closed = true,
                    }
                }
                Ok(())
            }
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => {
                opened.take_as_they_are(wanted);
                Ok(())
            }
            // Nothing is opened before the handshake is over.
            Records::Client(_) | Records::Server(_) => Err(TunnelError::CutOff),
        }
    }

    /// Seals the bytes of all `parts`, in records of 16 KiB, behind what is in `out`.
    pub(crate) fn seal(&mut self, parts: &[&[u8]], out: &mut Outgoing) -> Result<(), TunnelError> {
        match &mut self.records {
            Records::Buffered(connection) => {
                for piece in parts.iter().flat_map(|part| part.chunks(RECORD_BYTES)) {
                    let written = connection.writer().write(piece);
                    if !written.is_ok_and(|count| count == piece.len()) {
                        return Err(TunnelError::Exhausted);
                    }
                    drain_buffered(connection, &mut To(out));
                }
                Ok(())
            }
            Records::Data(layer) => layer.seal(parts, out).map_err(|_| TunnelError::Exhausted),
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => {
                parts.iter().for_each(|part| out.push(part.to_vec()));
                Ok(())
            }
            Records::Client(_) | Records::Server(_) => Err(TunnelError::CutOff),
        }
    }

    /// Says goodbye as TLS does.
    pub(crate) fn seal_close(&mut self, out: &mut Outgoing) -> Result<(), TunnelError> {
        match &mut self.records {
            Records::Buffered(connection) => {
                connection.send_close_notify();
                drain_buffered(connection, &mut To(out));
                Ok(())
            }
            Records::Data(layer) => layer.close(out).map_err(|_| TunnelError::Exhausted),
            #[cfg(any(test, feature = "simulation"))]
            Records::Clear => Ok(()),
            Records::Client(_) | Records::Server(_) => Err(TunnelError::CutOff),
        }
    }

    /// Goes on with a handshake, whose bytes and what follows them are in `opened`; whether
    /// it is done. What has to go out is in `out`, an alert for the peer too when this fails.
    pub(crate) fn shake(&mut self, opened: &mut Opened) -> Result<bool, TunnelError> {
        let shaken = self.shake_on(opened);
        if shaken.is_err() {
            self.alert(opened);
        }
        shaken?;
        Ok(self.state().is_none_or(|state| !state.is_handshaking()))
    }

    fn shake_on(&mut self, opened: &mut Opened) -> Result<(), TunnelError> {
        if let Records::Buffered(_) = &self.records {
            return self.open_buffered(opened);
        }
        while matches!(self.step(opened)?, Step::Again) {}
        Ok(())
    }

    /// Collects the alert that goes with an error.
    fn alert(&mut self, opened: &mut Opened) {
        match &mut self.records {
            Records::Buffered(connection) => drain_buffered(connection, &mut To(&mut self.out)),
            _ => while matches!(self.step(opened), Ok(Step::Again)) {},
        }
    }

    fn open_buffered(&mut self, opened: &mut Opened) -> Result<(), TunnelError> {
        let Records::Buffered(connection) = &mut self.records else {
            return Ok(());
        };
        loop {
            // Never with no bytes: rustls takes that for the end of the connection.
            let mut count = 0;
            let raw = &mut opened.raw;
            if !raw.is_empty() && connection.wants_read() {
                count = connection
                    .read_tls(&mut raw.filled())
                    .map_err(TunnelError::io("reading records"))?;
                raw.consume(count);
            }
            let state = connection.process_new_packets()?;
            self.closed |= state.peer_has_closed();
            let plain = opened.gathered();
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
            drain_buffered(connection, &mut To(&mut self.out));
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// One step of a data link's handshake.
    fn step(&mut self, opened: &mut Opened) -> Result<Step, TunnelError> {
        let Self {
            records,
            out,
            closed,
        } = self;
        let mut early = std::mem::take(opened.gathered());
        let raw = &mut opened.raw;
        let (used, step) = match records {
            Records::Client(connection) => {
                let status = connection.process_tls_records(raw.filled_mut());
                handle(status, &mut early, out, closed)
            }
            Records::Server(connection) => {
                let status = connection.process_tls_records(raw.filled_mut());
                handle(status, &mut early, out, closed)
            }
            _ => (0, Ok(Step::Blocked)),
        };
        raw.consume(used);
        *opened.gathered() = early;
        step
    }
}

/// Acts on what a connection says in its handshake; how many raw bytes are used up. What
/// the peer says right behind it goes to `early`.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    early: &mut Buffer,
    out: &mut Buffer,
    closed: &mut bool,
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
                    early.extend(record.payload);
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
        ConnectionState::WriteTraffic(_) => Ok(Step::Ready),
        ConnectionState::PeerClosed => {
            *closed = true;
            Ok(Step::Again)
        }
        _ => Ok(Step::Blocked),
    };
    (discard, step)
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

/// Lets TLS itself write what it has to say.
struct To<'a, T>(&'a mut T);

impl Write for To<'_, Buffer> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Write for To<'_, Outgoing> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn drain_buffered(connection: &mut rustls::Connection, to: &mut dyn Write) {
    while connection.wants_write() {
        if connection.write_tls(to).is_err() {
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
        let mut out = Outgoing::default();
        core.seal(&[b"frames and ", b"bytes"], &mut out).unwrap();
        let mut opened = Opened::default();
        let (slices, count) = out.front();
        for slice in &slices[..count] {
            opened.room(slice.len())[..slice.len()].copy_from_slice(slice);
            opened.fill(slice.len());
        }
        core.open(&mut opened, 6).unwrap();
        assert_eq!(opened.slices().collect::<Vec<_>>().concat(), b"frames");
        core.open(&mut opened, 100).unwrap();
        assert_eq!(opened.front(16), b"frames and bytes");
        assert!(core.state().is_none() && core.channel_binding().is_none());
    }
}
