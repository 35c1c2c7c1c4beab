//! The receiving half: read, decrypt where it lies, and hand on to the sealer.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, UnbufferedStatus},
};

use super::{Tuning, broken, seal::Sealer};

/// Room for one more record; with less, what is left moves to the front.
const RECORD_BYTES_MAX: usize = 20 << 10;

pub(super) fn receive(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    outputs: &[File],
    tuning: Tuning,
) -> io::Result<()> {
    let mut tls = UnbufferedServerConnection::new(config).map_err(|_| broken("server"))?;
    let mut sealer = Sealer::new(outputs, tuning.write_bytes);
    let mut incoming = vec![0; tuning.receive_bytes + RECORD_BYTES_MAX];
    let mut outgoing = vec![0; 64 << 10];
    let (mut start, mut end) = (0, 0);
    loop {
        let UnbufferedStatus { mut discard, state } =
            tls.process_tls_records(&mut incoming[start..end]);
        let mut hungry = false;
        match state.map_err(|_| broken("server handshake"))? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(|_| broken("record"))?;
                    discard += record.discard;
                    sealer.take(record.payload)?;
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let length = data.encode(&mut outgoing).map_err(|_| broken("encode"))?;
                stream.write_all(&outgoing[..length])?;
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => hungry = true,
            ConnectionState::PeerClosed | ConnectionState::Closed => return sealer.finish(),
            _ => return Err(broken("server state")),
        }
        start += discard;
        if hungry {
            if start == end {
                (start, end) = (0, 0);
            } else if incoming.len() - end < RECORD_BYTES_MAX {
                incoming.copy_within(start..end, 0);
                end -= start;
                start = 0;
            }
            let bytes = stream.read(&mut incoming[end..])?;
            if bytes == 0 {
                return Err(broken("client"));
            }
            end += bytes;
        }
    }
}
