//! The frames with which a stream begins, goes on over another link, and ends.

use std::fmt;

use minicbor::{Decode, Encode};
use sealift_terms::{ForwardName, limits::FORWARD_WINDOW_BYTES_MAX};

use crate::{
    body::{Close, CloseBody, Refusal, RefusalBody},
    cbor,
    error::{FrameFault, WireError},
    header::{FrameType, Header},
};

/// What a stream is known by at both ends: 128 random bits, drawn by the end that opens
/// it. It counts for the identity that opened the stream and for nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; 16]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(\"...\")")
    }
}

/// How far one end of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Position {
    /// Bytes it has received from the other end, an END counted as one.
    #[n(0)]
    pub received: u64,
    /// How many may follow them.
    #[n(1)]
    pub window: u32,
}

/// OPEN: a new stream to a target, or one that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The target.
    pub target: ForwardName,
    /// The stream.
    pub token: Token,
    /// Whether the stream is new.
    pub is_new: bool,
    /// How far the end that opens it is.
    pub position: Position,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct OpenBody {
    #[n(0)]
    #[cbor(with = "cbor::text")]
    target: ForwardName,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    token: [u8; 16],
    #[n(2)]
    is_new: bool,
    #[n(3)]
    position: Position,
}

impl Open {
    /// Appends the frame to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let body = OpenBody {
            target: self.target.clone(),
            token: self.token.0,
            is_new: self.is_new,
            position: self.position,
        };
        cbor::append(out, Header::of(FrameType::Open, 0, 0), &body);
    }
}

/// Reads an OPEN.
///
/// # Errors
/// [`WireError`]: the peer's fault.
pub fn read_open(payload: &[u8]) -> Result<Open, WireError> {
    let body: OpenBody = cbor::read(FrameType::Open, payload)?;
    if body.is_new && body.position.received != 0 {
        let what = "a new stream has received nothing";
        let fault = FrameFault::Inconsistent { what };
        return Err(WireError::bad(FrameType::Open, fault));
    }
    Ok(Open {
        target: body.target,
        token: Token(body.token),
        is_new: body.is_new,
        position: within(FrameType::Open, body.position)?,
    })
}

/// Appends an OPENED to `out`.
pub fn opened(position: Position, out: &mut Vec<u8>) {
    cbor::append(out, Header::of(FrameType::Opened, 0, 0), &position);
}

/// Reads an OPENED.
///
/// # Errors
/// [`WireError`]: the peer's fault.
pub fn read_opened(payload: &[u8]) -> Result<Position, WireError> {
    within(FrameType::Opened, cbor::read(FrameType::Opened, payload)?)
}

fn within(frame: FrameType, position: Position) -> Result<Position, WireError> {
    match position.window <= FORWARD_WINDOW_BYTES_MAX {
        true => Ok(position),
        false => {
            let what = "a window larger than any stream's";
            Err(WireError::bad(frame, FrameFault::Inconsistent { what }))
        }
    }
}

/// Appends a REFUSE that answers an OPEN.
pub fn refuse(refusal: &Refusal, out: &mut Vec<u8>) {
    let header = Header::of(FrameType::Refuse, 0, 0);
    cbor::append(out, header, &RefusalBody::from(refusal));
}

/// Reads the REFUSE that answers an OPEN.
///
/// # Errors
/// [`WireError`]: the peer's fault.
pub fn refused(payload: &[u8]) -> Result<Refusal, WireError> {
    let body: RefusalBody = cbor::read(FrameType::Refuse, payload)?;
    Ok(body.into())
}

/// Appends the CLOSE that ends a stream to `out`.
pub fn close(close: &Close, out: &mut Vec<u8>) {
    let header = Header::of(FrameType::Close, 0, 0);
    cbor::append(out, header, &CloseBody::from(close));
}

/// Reads the CLOSE that ends a stream.
///
/// # Errors
/// [`WireError`]: the peer's fault.
pub fn closed(payload: &[u8]) -> Result<Close, WireError> {
    let body: CloseBody = cbor::read(FrameType::Close, payload)?;
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use sealift_terms::Reason;

    use super::*;
    use crate::{body::Evidence, header::FRAME_HEADER_BYTES};

    fn open() -> Open {
        Open {
            target: ForwardName::new("postgres").unwrap(),
            token: Token([7; 16]),
            is_new: false,
            position: Position {
                received: 12,
                window: 65_536,
            },
        }
    }

    fn payload(frame: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out);
        let header = Header::decode(&out).unwrap();
        assert_eq!(header.length as usize, out.len() - FRAME_HEADER_BYTES);
        out.split_off(FRAME_HEADER_BYTES)
    }

    #[test]
    fn what_is_written_reads_back() {
        let wanted = open();
        let bytes = payload(|out| wanted.append_to(out));
        assert_eq!(read_open(&bytes).unwrap(), wanted);
        let bytes = payload(|out| opened(wanted.position, out));
        assert_eq!(read_opened(&bytes).unwrap(), wanted.position);
        let refusal = Refusal::new(Reason::PolicyDenied, "not for you");
        let bytes = payload(|out| refuse(&refusal, out));
        assert_eq!(refused(&bytes).unwrap(), refusal);
        let over = Close {
            reason: None,
            evidence: Evidence::new(""),
        };
        let bytes = payload(|out| close(&over, out));
        assert_eq!(closed(&bytes).unwrap(), over);
    }

    #[test]
    fn an_open_that_makes_no_sense_is_refused() {
        let mut wanted = open();
        wanted.is_new = true;
        assert!(read_open(&payload(|out| wanted.append_to(out))).is_err());
        wanted = open();
        wanted.position.window = FORWARD_WINDOW_BYTES_MAX + 1;
        assert!(read_open(&payload(|out| wanted.append_to(out))).is_err());
        assert!(read_open(&[0xa0]).is_err());
    }

    #[test]
    fn a_token_is_not_shown() {
        assert!(!format!("{:?}", open()).contains('7'));
    }
}
