//! The sending half: read, checksum, encrypt, write.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crc_fast::{CrcAlgorithm, Digest};
use rustls::{
    ClientConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    unbuffered::{ConnectionState, EncryptError, UnbufferedStatus, WriteTraffic},
};

use super::{CHECKSUM_BYTES, HEADER_BYTES, Part, broken};

/// Room that records add to what they carry, and a header and a checksum of their own.
const RECORDS_BYTES: usize = 64 << 10;

pub(super) fn send(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
    files: &[PathBuf],
    parts: &[Part],
    next: &AtomicUsize,
    send_bytes: usize,
) -> io::Result<()> {
    let name = ServerName::try_from("floor").map_err(|_| broken("name"))?;
    let mut tls = UnbufferedClientConnection::new(config, name).map_err(|_| broken("client"))?;
    let mut incoming = vec![0; 64 << 10];
    let mut used = 0;
    let mut outgoing = vec![0; send_bytes + RECORDS_BYTES];
    let mut plain = vec![0; send_bytes];
    loop {
        let UnbufferedStatus { discard, state } = tls.process_tls_records(&mut incoming[..used]);
        let mut hungry = false;
        match state.map_err(|_| broken("client handshake"))? {
            ConnectionState::EncodeTlsData(mut data) => {
                let length = data.encode(&mut outgoing).map_err(|_| broken("encode"))?;
                stream.write_all(&outgoing[..length])?;
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::WriteTraffic(mut traffic) => {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = File::open(&files[part.file])?;
                    send_part(
                        &mut stream,
                        &mut traffic,
                        &file,
                        *part,
                        &mut plain,
                        &mut outgoing,
                    )?;
                }
                let length = traffic
                    .queue_close_notify(&mut outgoing)
                    .map_err(|_: EncryptError| broken("close"))?;
                return stream.write_all(&outgoing[..length]);
            }
            ConnectionState::BlockedHandshake => hungry = true,
            _ => return Err(broken("client state")),
        }
        incoming.copy_within(discard..used, 0);
        used -= discard;
        if hungry {
            let bytes = stream.read(&mut incoming[used..])?;
            if bytes == 0 {
                return Err(broken("server"));
            }
            used += bytes;
        }
    }
}

/// Header, bytes, checksum; the first and the last ride with the bytes beside them.
fn send_part(
    stream: &mut TcpStream,
    traffic: &mut WriteTraffic<'_, ClientConnectionData>,
    file: &File,
    part: Part,
    plain: &mut [u8],
    outgoing: &mut [u8],
) -> io::Result<()> {
    let mut encrypt =
        |plain: &[u8], out: &mut [u8]| traffic.encrypt(plain, out).map_err(|_| broken("encrypt"));
    let mut checksum = Digest::new(CrcAlgorithm::Crc64Nvme);
    let mut length = encrypt(&header(part), outgoing)?;
    let mut sent = 0;
    while sent < part.bytes {
        let bytes = plain.len().min((part.bytes - sent) as usize);
        let piece = &mut plain[..bytes];
        file.read_exact_at(piece, part.offset + sent)?;
        checksum.update(piece);
        length += encrypt(piece, &mut outgoing[length..])?;
        sent += bytes as u64;
        if sent == part.bytes {
            let checksum: [u8; CHECKSUM_BYTES] = checksum.finalize().to_be_bytes();
            length += encrypt(&checksum, &mut outgoing[length..])?;
        }
        stream.write_all(&outgoing[..length])?;
        length = 0;
    }
    Ok(())
}

fn header(part: Part) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&(part.file as u64).to_be_bytes());
    header[8..16].copy_from_slice(&part.offset.to_be_bytes());
    header[16..].copy_from_slice(&part.bytes.to_be_bytes());
    header
}
