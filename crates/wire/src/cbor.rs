//! How values of the vocabulary stand in CBOR: names and ids as text, times as
//! milliseconds, maps with integer keys of which unknown ones are skipped.

use minicbor::{Decode, Encode};

use crate::error::{FrameFault, WireError};
use crate::header::{FrameType, Header};

/// Appends one frame with a CBOR payload to `out`.
pub(crate) fn append<T: Encode<()>>(out: &mut Vec<u8>, header: Header, body: &T) {
    let start = out.len();
    out.extend_from_slice(&header.encode());
    let payload = out.len();
    // A Vec takes every byte, so there is no error to be had.
    let _ = minicbor::encode(body, &mut *out);
    let length = u32::try_from(out.len() - payload).unwrap_or(u32::MAX);
    debug_assert!(
        length <= header.frame.payload_bytes_max(),
        "{header:?} has {length} bytes"
    );
    let bytes = Header { length, ..header }.encode();
    if let Some(place) = out.get_mut(start..payload) {
        place.copy_from_slice(&bytes);
    }
}

/// Reads a payload that is exactly one CBOR item.
pub(crate) fn read<'b, T: Decode<'b, ()>>(
    frame: FrameType,
    payload: &'b [u8],
) -> Result<T, WireError> {
    let mut decoder = minicbor::Decoder::new(payload);
    let body = decoder
        .decode()
        .map_err(|error| WireError::bad(frame, FrameFault::Cbor(error)))?;
    match payload.len().saturating_sub(decoder.position()) {
        0 => Ok(body),
        found => Err(WireError::bad(frame, FrameFault::Trailing { found })),
    }
}

/// Anything that is written as text and parsed back.
pub(crate) mod text {
    use std::{fmt::Display, str::FromStr};

    use minicbor::{
        decode::Error as DecodeError,
        encode::{Error as EncodeError, Write},
    };

    pub(crate) fn encode<C, W: Write>(
        value: &impl Display,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(&value.to_string())?.ok()
    }

    pub(crate) fn decode<'b, C, T: FromStr<Err: Display>>(
        d: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<T, DecodeError> {
        let at = d.position();
        d.str()?
            .parse()
            .map_err(|error: T::Err| DecodeError::message(error.to_string()).at(at))
    }
}

/// The same, where it may be missing.
pub(crate) mod maybe_text {
    use std::{fmt::Display, str::FromStr};

    use minicbor::{
        decode::Error as DecodeError,
        encode::{Error as EncodeError, Write},
    };

    pub(crate) fn encode<C, W: Write>(
        value: &Option<impl Display>,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(value) => super::text::encode(value, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<'b, C, T: FromStr<Err: Display>>(
        d: &mut minicbor::Decoder<'b>,
        ctx: &mut C,
    ) -> Result<Option<T>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }
        super::text::decode(d, ctx).map(Some)
    }

    #[allow(clippy::unnecessary_wraps, clippy::option_option)] // the shape minicbor asks for
    pub(crate) fn nil<T>() -> Option<Option<T>> {
        Some(None)
    }

    #[allow(clippy::ref_option)]
    pub(crate) fn is_nil<T>(value: &Option<T>) -> bool {
        value.is_none()
    }
}

/// A moment as milliseconds since 1970.
pub(crate) mod millis {
    use sealift_terms::Timestamp;

    use minicbor::{
        decode::Error as DecodeError,
        encode::{Error as EncodeError, Write},
    };

    pub(crate) fn encode<C, W: Write>(
        value: &Timestamp,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.i64(value.as_millis())?.ok()
    }

    pub(crate) fn decode<'b, C>(
        d: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Timestamp, DecodeError> {
        d.i64().map(Timestamp::from_millis)
    }
}
