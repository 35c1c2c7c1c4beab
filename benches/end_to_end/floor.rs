//! The floor: the same bytes through a hand-written blocking loop and nothing else.
//!
//! Two connections. Each sending thread reads a file in large pieces and encrypts
//! them straight into its outgoing buffer (TLS 1.3 through rustls's unbuffered
//! API); each receiving thread decrypts in place in a large buffer, seals every
//! 16 KiB with AES-256-GCM and writes large pieces at their offsets. There is no
//! journal, no catalog, no checksum, no acknowledgement and no durability: what a
//! replicator that does all of that takes longer, is its price.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{UnbufferedServerConnection, WebPkiClientVerifier},
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};

const CONNECTIONS: usize = 2;
const PART_BYTES: u64 = 8 << 20;
const PIECE_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 16 << 10;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 24;

/// One piece of work: a range of one file.
#[derive(Clone, Copy)]
struct Piece {
    file: usize,
    offset: u64,
    bytes: u64,
}

/// Moves `files` into `target`, sealed, and says how long it took.
pub fn run(files: &[PathBuf], target: &Path) -> io::Result<Duration> {
    let (client, server) = configurations();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let pieces = cut(files)?;
    let next = AtomicUsize::new(0);
    let outputs: Vec<File> = (0..files.len())
        .map(|index| File::create(target.join(format!("{index:07}"))))
        .collect::<io::Result<_>>()?;

    let started = Instant::now();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address)?;
            let (accepted, _) = listener.accept()?;
            let (client, server) = (Arc::clone(&client), Arc::clone(&server));
            let (next, pieces, outputs) = (&next, &pieces, &outputs);
            threads.push(scope.spawn(move || send(stream, client, files, pieces, next)));
            threads.push(scope.spawn(move || receive(accepted, server, outputs)));
        }
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| broken("a thread"))?)
    })?;
    Ok(started.elapsed())
}

fn cut(files: &[PathBuf]) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for (file, path) in files.iter().enumerate() {
        let size = path.metadata()?.len();
        let mut offset = 0;
        while offset < size {
            let bytes = PART_BYTES.min(size - offset);
            pieces.push(Piece {
                file,
                offset,
                bytes,
            });
            offset += bytes;
        }
    }
    Ok(pieces)
}

fn send(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
    files: &[PathBuf],
    pieces: &[Piece],
    next: &AtomicUsize,
) -> io::Result<()> {
    let name = ServerName::try_from("floor").map_err(|_| broken("name"))?;
    let mut tls = UnbufferedClientConnection::new(config, name).map_err(|_| broken("client"))?;
    let mut incoming = vec![0; 64 << 10];
    let mut used = 0;
    let mut outgoing = vec![0; PIECE_BYTES + (64 << 10)];
    let mut plain = vec![0; PIECE_BYTES];
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
                let mut encrypt = |plain: &[u8], out: &mut [u8]| {
                    traffic.encrypt(plain, out).map_err(|_| broken("encrypt"))
                };
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = File::open(&files[piece.file])?;
                    let mut length = encrypt(&header(*piece), &mut outgoing)?;
                    let mut sent = 0;
                    while sent < piece.bytes {
                        let bytes = plain.len().min((piece.bytes - sent) as usize);
                        file.read_exact_at(&mut plain[..bytes], piece.offset + sent)?;
                        length += encrypt(&plain[..bytes], &mut outgoing[length..])?;
                        stream.write_all(&outgoing[..length])?;
                        length = 0;
                        sent += bytes as u64;
                    }
                }
                let length = traffic
                    .queue_close_notify(&mut outgoing)
                    .map_err(|_: rustls::unbuffered::EncryptError| broken("close"))?;
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

fn receive(mut stream: TcpStream, config: Arc<ServerConfig>, outputs: &[File]) -> io::Result<()> {
    let mut tls = UnbufferedServerConnection::new(config).map_err(|_| broken("server"))?;
    let mut sealer = Sealer::new(outputs);
    let mut incoming = vec![0; PIECE_BYTES + (64 << 10)];
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
            ConnectionState::EncodeTlsData(mut data) => match data.encode(&mut outgoing) {
                Ok(length) => stream.write_all(&outgoing[..length])?,
                Err(EncodeError::InsufficientSize(_) | EncodeError::AlreadyEncoded) => {
                    return Err(broken("encode"));
                }
            },
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => hungry = true,
            ConnectionState::PeerClosed | ConnectionState::Closed => return sealer.flush(),
            _ => return Err(broken("server state")),
        }
        start += discard;
        if hungry {
            // Compact only when the tail has no room for a whole record.
            if incoming.len() - end < 32 << 10 {
                incoming.copy_within(start..end, 0);
                end -= start;
                start = 0;
            }
            let bytes = stream.read(&mut incoming[end..])?;
            if bytes == 0 {
                return sealer.flush();
            }
            end += bytes;
        }
    }
}

/// Seals a stream of pieces, chunk by chunk, and writes large stretches.
struct Sealer<'a> {
    outputs: &'a [File],
    key: LessSafeKey,
    nonce: u128,
    header: Vec<u8>,
    piece: Piece,
    left: u64,
    sealed: Vec<u8>,
    chunk: usize,
    written_at: u64,
}

impl<'a> Sealer<'a> {
    fn new(outputs: &'a [File]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key of 32 bytes");
        Self {
            outputs,
            key: LessSafeKey::new(key),
            nonce: 0,
            header: Vec::with_capacity(HEADER_BYTES),
            piece: Piece {
                file: 0,
                offset: 0,
                bytes: 0,
            },
            left: 0,
            sealed: Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / CHUNK_BYTES * TAG_BYTES),
            chunk: 0,
            written_at: 0,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let wanted = HEADER_BYTES - self.header.len();
                let (head, rest) = bytes.split_at(wanted.min(bytes.len()));
                self.header.extend_from_slice(head);
                bytes = rest;
                if self.header.len() == HEADER_BYTES {
                    self.begin();
                }
                continue;
            }
            let room = (CHUNK_BYTES - self.chunk)
                .min(self.left as usize)
                .min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.sealed.extend_from_slice(now);
            self.chunk += room;
            self.left -= room as u64;
            bytes = rest;
            if self.chunk == CHUNK_BYTES || self.left == 0 {
                self.seal_chunk();
                if self.left == 0 || self.sealed.len() + CHUNK_BYTES > self.sealed.capacity() {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        let field = |at: usize| {
            u64::from_be_bytes(self.header[at..at + 8].try_into().expect("eight bytes"))
        };
        self.piece = Piece {
            file: field(0) as usize,
            offset: field(8),
            bytes: field(16),
        };
        self.left = self.piece.bytes;
        let chunks = self.piece.offset / CHUNK_BYTES as u64;
        self.written_at = self.piece.offset + chunks * TAG_BYTES as u64;
        self.header.clear();
    }

    fn seal_chunk(&mut self) {
        let start = self.sealed.len() - self.chunk;
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.nonce.to_be_bytes()[4..]);
        self.nonce += 1;
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut self.sealed[start..],
            )
            .expect("a chunk is short");
        self.sealed.extend_from_slice(tag.as_ref());
        self.chunk = 0;
    }

    fn flush(&mut self) -> io::Result<()> {
        self.outputs[self.piece.file].write_all_at(&self.sealed, self.written_at)?;
        self.written_at += self.sealed.len() as u64;
        self.sealed.clear();
        Ok(())
    }
}

fn header(piece: Piece) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&(piece.file as u64).to_be_bytes());
    header[8..16].copy_from_slice(&piece.offset.to_be_bytes());
    header[16..].copy_from_slice(&piece.bytes.to_be_bytes());
    header
}

/// Mutual TLS 1.3 with one self-signed certificate on both sides.
fn configurations() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["floor".to_owned()]).expect("a certificate");
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider.clone())
            .build()
            .expect("a verifier");
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.clone()], key())
        .expect("a server certificate");
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key())
        .expect("a client certificate");
    (Arc::new(client), Arc::new(server))
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("the floor's {what} failed"))
}
