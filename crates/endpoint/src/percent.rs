//! Percent-encoding (RFC 3986, section 2.1).

use std::fmt::Write;

/// The text behind `encoded`; none when it is not UTF-8, or not encoded so.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// `text` as listings have it that are asked for with `encoding-type=url`: slashes stay.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_a_round_trip() {
        for text in ["", "a/b c+d%20", "ä日本\u{1}\n", "~-_."] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
        assert_eq!(encode("a b/ä"), "a%20b/%C3%A4");
    }

    #[test]
    fn what_is_not_encoded_so_is_nothing() {
        for bad in ["%", "%4", "%zz", "%FF", "a%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
