//! The record layer of data links once their handshake is over (RFC 8446, section 5).
//!
//! Handshake, key schedule and ciphers are rustls's, by the interface that it has for those
//! who move records themselves ([`rustls::kernel`]). Here is what lies between: where a
//! record begins and ends, its number, what is no application data, and when keys are
//! renewed. So a record is opened where it was read, and what is sealed is copied once.

use std::ops::Range;

use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error as TlsError, ExtractedSecrets,
    InvalidMessage, PeerMisbehaved, ProtocolVersion, Tls13CipherSuite,
    crypto::cipher::{
        AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
        OutboundPlainMessage,
    },
    kernel::KernelConnection,
};

use super::{RECORD_BYTES, outgoing::Outgoing};

/// `TLSCiphertext` without its `encrypted_record` (RFC 8446, section 5.2).
const HEADER_BYTES: usize = 5;
/// The longest `encrypted_record` (RFC 8446, section 5.2).
const SEALED_BYTES_MAX: usize = RECORD_BYTES + 256;
/// Bytes that rustls is given to copy at once. glibc copies more than 2,112 bytes by `rep movsb`,
/// which AMD's processors do thirty times as slowly where the copy begins 1 to 15 bytes further
/// into its page than what is copied: as behind a record's header, where the content begins
/// with a page.
const COPIED_BYTES: usize = 2 * 1024;
/// Pieces of one record: as many as one part is cut into, and more where parts meet in it.
const PIECES_MAX: usize = RECORD_BYTES / COPIED_BYTES + 8;
/// A KeyUpdate that asks for none in return (RFC 8446, section 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// The same that asks for one.
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];
/// KeyUpdates without application data between them, before the peer is given up.
const KEY_UPDATES_MAX: u32 = 32;
/// `close_notify`, a warning (RFC 8446, section 6.1).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// Parts of which the first begins at an offset.
struct Rest<'a>(&'a [&'a [u8]], usize);

impl<'a> Rest<'a> {
    /// Takes the content of one record in pieces that are copied at once; how many those are.
    fn next_record(&mut self, pieces: &mut [&'a [u8]]) -> usize {
        let (mut room, mut count) = (RECORD_BYTES, 0);
        let Self(parts, from) = self;
        while let [first, later @ ..] = *parts
            && room > 0
        {
            let left = first.get(*from..).unwrap_or_default();
            if left.is_empty() {
                (*parts, *from) = (later, 0);
                continue;
            }
            let Some(piece) = pieces.get_mut(count) else {
                break;
            };
            *piece = left.get(..room.min(COPIED_BYTES)).unwrap_or(left);
            room -= piece.len();
            *from += piece.len();
            count += 1;
        }
        count
    }
}

/// Gives the keys that follow those in use.
trait Keys: Send {
    fn next_to_seal(&mut self) -> Result<ConnectionTrafficSecrets, TlsError>;
    fn next_to_open(&mut self) -> Result<ConnectionTrafficSecrets, TlsError>;
}

impl<Side: Send> Keys for KernelConnection<Side> {
    fn next_to_seal(&mut self) -> Result<ConnectionTrafficSecrets, TlsError> {
        self.update_tx_secret().map(|(_, secrets)| secrets)
    }

    fn next_to_open(&mut self) -> Result<ConnectionTrafficSecrets, TlsError> {
        self.update_rx_secret().map(|(_, secrets)| secrets)
    }
}

/// A cipher, and the number of the record it takes next.
struct Numbered<C: ?Sized> {
    cipher: Box<C>,
    next: u64,
}

/// What a record was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Application data, which now lies here in the bytes that were given.
    Data(Range<usize>),
    /// TLS's own, and dealt with.
    Own,
    /// The peer sends no more.
    Closed,
}

/// Both directions.
pub(crate) struct Layer {
    keys: Box<dyn Keys>,
    suite: &'static Tls13CipherSuite,
    seals: Numbered<dyn MessageEncrypter>,
    opens: Numbered<dyn MessageDecrypter>,
    /// Records sealed under one key at most (RFC 8446, section 5.5).
    records_max: u64,
    /// A message of TLS's own that is not whole.
    message: Vec<u8>,
    key_updates: u32,
    /// The peer wants our keys renewed before anything else is sealed.
    owes_update: bool,
}

impl Layer {
    /// Takes over from a connection whose handshake is done and said.
    pub(super) fn new<Side: Send + 'static>(
        taken: Result<(ExtractedSecrets, KernelConnection<Side>), TlsError>,
    ) -> Result<Self, TlsError> {
        let (secrets, keys) = taken?;
        let suite = keys.negotiated_cipher_suite().tls13();
        let suite = suite.ok_or_else(|| TlsError::General("not TLS 1.3".to_owned()))?;
        let ((sealed, to_seal), (opened, to_open)) = (secrets.tx, secrets.rx);
        Ok(Self {
            keys: Box::new(keys),
            suite,
            seals: sealing(suite, to_seal, sealed)?,
            opens: opening(suite, to_open, opened)?,
            records_max: suite.common.confidentiality_limit,
            message: Vec::new(),
            key_updates: 0,
            owes_update: false,
        })
    }

    /// Seals the bytes of all parts, in records of 16 KiB, behind what is in `out`.
    pub(super) fn seal(&mut self, parts: &[&[u8]], out: &mut Outgoing) -> Result<(), TlsError> {
        let mut rest = Rest(parts, 0);
        loop {
            let mut pieces = [&[][..]; PIECES_MAX];
            let count = rest.next_record(&mut pieces);
            let Some(pieces) = pieces.get(..count).filter(|pieces| !pieces.is_empty()) else {
                return Ok(());
            };
            if self.owes_update || self.seals.next >= self.records_max {
                self.renew(out)?;
            }
            let content = OutboundChunks::new(pieces);
            self.record(ContentType::ApplicationData, content, out)?;
        }
    }

    /// Says that nothing more comes.
    pub(super) fn close(&mut self, out: &mut Outgoing) -> Result<(), TlsError> {
        let said = OutboundChunks::Single(&CLOSE_NOTIFY);
        self.record(ContentType::Alert, said, out)
    }

    /// What is sealed from here on is sealed under new keys, and the peer knows.
    fn renew(&mut self, out: &mut Outgoing) -> Result<(), TlsError> {
        let said = OutboundChunks::Single(&KEY_UPDATE);
        self.record(ContentType::Handshake, said, out)?;
        self.seals = sealing(self.suite, self.keys.next_to_seal()?, 0)?;
        self.owes_update = false;
        Ok(())
    }

    fn record(
        &mut self,
        typ: ContentType,
        payload: OutboundChunks<'_>,
        out: &mut Outgoing,
    ) -> Result<(), TlsError> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload,
        };
        let Numbered { cipher, next } = &mut self.seals;
        out.push(cipher.encrypt(message, *next)?.encode());
        *next += 1;
        Ok(())
    }

    /// Opens the record that `raw` begins with, where it lies, if it is whole: how many
    /// bytes it had, and what it was.
    pub(super) fn open(&mut self, raw: &mut [u8]) -> Result<Option<(usize, Came)>, TlsError> {
        let &mut [typ, _, _, high, low, ref mut rest @ ..] = raw else {
            return Ok(None);
        };
        if ContentType::from(typ) != ContentType::ApplicationData {
            return Err(InvalidMessage::InvalidContentType.into());
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > SEALED_BYTES_MAX {
            return Err(TlsError::PeerSentOversizedRecord);
        }
        let Some(sealed) = rest.get_mut(..length) else {
            return Ok(None);
        };
        let sealed = InboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            sealed,
        );
        let Numbered { cipher, next } = &mut self.opens;
        let plain = cipher.decrypt(sealed, *next)?;
        *next += 1;
        let (typ, payload) = (plain.typ, plain.payload);
        if !self.message.is_empty() && typ != ContentType::Handshake {
            return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
        }
        let came = match typ {
            ContentType::ApplicationData => {
                if !payload.is_empty() {
                    self.key_updates = 0;
                }
                Came::Data(HEADER_BYTES..HEADER_BYTES + payload.len())
            }
            ContentType::Alert => alert(payload)?,
            ContentType::Handshake => {
                self.message.extend_from_slice(payload);
                self.message()?;
                Came::Own
            }
            _ => return Err(InvalidMessage::InvalidContentType.into()),
        };
        Ok(Some((HEADER_BYTES + length, came)))
    }

    /// After the handshake the peer may only renew its keys: it has no tickets for us, and
    /// we asked for nothing else. A KeyUpdate is the last of its record (RFC 8446,
    /// section 5.1).
    fn message(&mut self) -> Result<(), TlsError> {
        let asks = match self.message.as_slice() {
            message if message == KEY_UPDATE => false,
            message if message == KEY_UPDATE_REQUESTED => true,
            [] => return Err(InvalidMessage::InvalidEmptyPayload.into()),
            begun if KEY_UPDATE.starts_with(begun) => return Ok(()),
            _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
        };
        self.message.clear();
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX {
            return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
        }
        self.opens = opening(self.suite, self.keys.next_to_open()?, 0)?;
        self.owes_update |= asks;
        Ok(())
    }
}

fn alert(payload: &[u8]) -> Result<Came, TlsError> {
    match *payload {
        [_, what] => match AlertDescription::from(what) {
            AlertDescription::CloseNotify => Ok(Came::Closed),
            what => Err(TlsError::AlertReceived(what)),
        },
        _ => Err(InvalidMessage::MissingData("AlertMessagePayload").into()),
    }
}

fn sealing(
    suite: &Tls13CipherSuite,
    secrets: ConnectionTrafficSecrets,
    next: u64,
) -> Result<Numbered<dyn MessageEncrypter>, TlsError> {
    let (key, iv) = parts(secrets)?;
    let cipher = suite.aead_alg.encrypter(key, iv);
    Ok(Numbered { cipher, next })
}

fn opening(
    suite: &Tls13CipherSuite,
    secrets: ConnectionTrafficSecrets,
    next: u64,
) -> Result<Numbered<dyn MessageDecrypter>, TlsError> {
    let (key, iv) = parts(secrets)?;
    let cipher = suite.aead_alg.decrypter(key, iv);
    Ok(Numbered { cipher, next })
}

fn parts(secrets: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), TlsError> {
    match secrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(TlsError::General(
            "a suite that none may agree on".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests;
