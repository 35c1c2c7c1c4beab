//! An answer as bytes on the socket. Lines: one row a line. Framed, when bytes
//! are wanted: `u8 kind ‖ u32 length ‖ body`. Both end with the outcome, without
//! which an answer was cut off.
//!
//! ```text
//!   lines    {"bucket":…}␊ … {"end":{"exit":0}}␊
//!   framed   0 ‖ len ‖ row   1 ‖ len ‖ bytes …   2 ‖ len ‖ {"end":{"exit":0}}
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sealift_terms::limits::ADMIN_PIECE_BYTES_MAX as PIECE_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::answer::Piece;
use crate::{Error, Exit, error::Failure};

/// The two ways to write an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Framed,
}

impl Form {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/jsonl",
            Self::Framed => "application/vnd.sealift.pieces",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    exit: Exit,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// A piece as it is written.
pub(super) fn encode(form: Form, piece: Piece) -> Bytes {
    match (form, piece) {
        (Form::Lines, Piece::Row(mut json)) => {
            json.push('\n');
            json.into()
        }
        // Only commands that want bytes send them, and those are framed.
        (Form::Lines, Piece::Bytes(_)) => Bytes::new(),
        (Form::Framed, Piece::Row(json)) => frame(0, json.as_bytes()),
        (Form::Framed, Piece::Bytes(bytes)) => frame(1, &bytes),
    }
}

/// The outcome as it is written.
pub(super) fn encode_end(form: Form, outcome: &Result<(), Error>) -> Bytes {
    let end = match outcome {
        Ok(()) => End {
            exit: Exit::Done,
            failure: None,
        },
        Err(error) => End {
            exit: error.exit(),
            failure: Some(error.failure()),
        },
    };
    let json = serde_json::to_string(&Trailer { end }).unwrap_or_default();
    match form {
        Form::Lines => format!("{json}\n").into(),
        Form::Framed => frame(2, json.as_bytes()),
    }
}

fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + body.len());
    bytes.put_u8(kind);
    // Pieces are far below 4 GiB: the reader holds them to PIECE_BYTES_MAX.
    bytes.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    bytes.put_slice(body);
    bytes.freeze()
}

/// Reads an answer back, in whatever cuts it arrives.
#[derive(Debug)]
pub(super) struct Decoder {
    form: Form,
    buffer: BytesMut,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Decoded {
    Piece(Piece),
    End(Result<(), Error>),
}

impl Decoder {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            buffer: BytesMut::new(),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole piece, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Decoded>, Error> {
        match self.form {
            Form::Lines => self.next_line(),
            Form::Framed => self.next_frame(),
        }
    }

    fn next_line(&mut self) -> Result<Option<Decoded>, Error> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return self.held().map(|()| None);
        };
        let line = self.buffer.split_to(end + 1);
        let json = text(line.get(..end).unwrap_or_default())?;
        if json.starts_with("{\"end\":") {
            return end_of(&json).map(Some);
        }
        Ok(Some(Decoded::Piece(Piece::Row(json))))
    }

    fn next_frame(&mut self) -> Result<Option<Decoded>, Error> {
        let Some((kind, length)) = self.frame_head() else {
            return Ok(None);
        };
        if length > PIECE_BYTES_MAX {
            return Err(too_large());
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        let body = self.buffer.split_to(length).freeze();
        match kind {
            0 => Ok(Some(Decoded::Piece(Piece::Row(text(&body)?)))),
            1 => Ok(Some(Decoded::Piece(Piece::Bytes(body)))),
            2 => end_of(&text(&body)?).map(Some),
            other => Err(Error::Answer(format!("a piece of unknown kind {other}"))),
        }
    }

    fn frame_head(&self) -> Option<(u8, usize)> {
        let mut head = self.buffer.get(..5)?;
        let kind = head.get_u8();
        Some((kind, head.get_u32() as usize))
    }

    fn held(&self) -> Result<(), Error> {
        match self.buffer.len() > PIECE_BYTES_MAX {
            true => Err(too_large()),
            false => Ok(()),
        }
    }
}

fn too_large() -> Error {
    Error::Answer(format!("a piece of more than {PIECE_BYTES_MAX} bytes"))
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|error| Error::Answer(error.to_string()))
}

fn end_of(json: &str) -> Result<Decoded, Error> {
    let trailer: Trailer =
        serde_json::from_str(json).map_err(|error| Error::Answer(error.to_string()))?;
    let End { exit, failure } = trailer.end;
    if exit == Exit::Done {
        return Ok(Decoded::End(Ok(())));
    }
    let failure = failure.unwrap_or_else(|| Failure {
        what: "the agent gave no reason".to_owned(),
        causes: Vec::new(),
        hint: None,
    });
    Ok(Decoded::End(Err(Error::Remote(failure, exit))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_bytewise(form: Form, bytes: &[u8]) -> Vec<String> {
        let mut decoder = Decoder::new(form);
        let mut seen = Vec::new();
        for byte in bytes {
            decoder.feed(&[*byte]);
            while let Some(decoded) = decoder.next().unwrap() {
                seen.push(format!("{decoded:?}"));
            }
        }
        seen
    }

    #[test]
    fn an_answer_survives_any_cut() {
        let error = Err(Error::NotFound {
            what: "x".to_owned(),
        });
        for form in [Form::Lines, Form::Framed] {
            let mut bytes = encode(form, Piece::Row("{\"a\":1}".to_owned())).to_vec();
            if form == Form::Framed {
                bytes.extend(encode(form, Piece::Bytes(Bytes::from_static(b"\n\0"))));
            }
            bytes.extend(encode_end(form, &error));
            let seen = decode_bytewise(form, &bytes);
            assert_eq!(seen.len(), if form == Form::Framed { 3 } else { 2 });
            assert!(seen.last().unwrap().contains("NotFound"), "{seen:?}");
        }
    }

    #[test]
    fn endless_lines_and_huge_frames_are_refused() {
        let mut lines = Decoder::new(Form::Lines);
        lines.feed(&vec![b'x'; PIECE_BYTES_MAX + 1]);
        assert!(lines.next().is_err());
        let mut framed = Decoder::new(Form::Framed);
        framed.feed(&[1, 0xff, 0xff, 0xff, 0xff]);
        assert!(framed.next().is_err());
        let mut unknown = Decoder::new(Form::Framed);
        unknown.feed(&[9, 0, 0, 0, 0]);
        assert!(unknown.next().is_err());
    }
}
