//! Content as `aws-chunked`, unsigned and with checksums behind it.

use bytes::{Bytes, BytesMut};

use super::{Answered, answers::error};

/// The content, and the headers behind it.
pub(super) fn taken_apart(body: &[u8]) -> Result<(Bytes, Vec<(String, String)>), Answered> {
    let incomplete = || error(400, "IncompleteBody", "no aws-chunked");
    let (mut rest, mut whole) = (body, BytesMut::new());
    loop {
        let at = rest.windows(2).position(|two| two == b"\r\n");
        let (head, behind) = rest.split_at(at.ok_or_else(incomplete)?);
        let head = str::from_utf8(head).map_err(|_| incomplete())?;
        let length = usize::from_str_radix(head, 16).map_err(|_| incomplete())?;
        rest = behind.get(2..).unwrap_or_default();
        if length == 0 {
            break;
        }
        let chunk = rest.get(..length).ok_or_else(incomplete)?;
        whole.extend_from_slice(chunk);
        rest = rest.get(length + 2..).ok_or_else(incomplete)?;
    }
    let behind = String::from_utf8_lossy(rest).into_owned();
    let lines = behind.lines().filter_map(|line| line.split_once(':'));
    let headers = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok((whole.freeze(), headers.collect()))
}
