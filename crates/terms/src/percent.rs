//! Percent-encoding (RFC 3986, section 2.1), as S3 has it in paths, queries, listings and
//! inventories.

use std::fmt::Write;

/// Encodes all but the unreserved characters.
#[must_use]
pub fn encode(text: &str) -> String {
    encode_but(text, |_| false)
}

/// The same of a path, which keeps its slashes.
#[must_use]
pub fn encode_path(text: &str) -> String {
    encode_but(text, |byte| byte == b'/')
}

fn encode_but(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || stays(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The text behind `encoded`; none when it is not UTF-8, or not encoded so.
#[must_use]
pub fn decode(encoded: &str) -> Option<String> {
    decode_with(encoded, b'+')
}

/// The same where a plus is a space, as in forms.
#[must_use]
pub fn decode_form(encoded: &str) -> Option<String> {
    decode_with(encoded, b' ')
}

fn decode_with(encoded: &str, plus: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => plus,
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_a_round_trip() {
        for text in ["", "a/b c+d%20", "ä日本\u{1}\n", "~-_."] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
            assert_eq!(decode(&encode_path(text)).unwrap(), text);
        }
        assert_eq!(encode_path("a b/ä"), "a%20b/%C3%A4");
        assert_eq!(encode("a/b"), "a%2Fb");
    }

    #[test]
    fn paths_are_encoded_as_they_are_signed_and_come_back() {
        for (key, path) in [
            ("a/b c+d", "a/b%20c%2Bd"),
            ("ä/日", "%C3%A4/%E6%97%A5"),
            ("~-._", "~-._"),
            ("50%", "50%25"),
            ("a//b/../c", "a//b/../c"),
        ] {
            assert_eq!(encode_path(key), path);
            assert_eq!(decode_form(path).as_deref(), Some(key));
        }
        assert_eq!(decode_form("a+b%2Bc").as_deref(), Some("a b+c"));
        assert_eq!(decode("a+b%2Bc").as_deref(), Some("a+b+c"));
    }

    #[test]
    fn what_is_not_encoded_so_is_nothing() {
        for bad in ["%", "%4", "%zz", "%GG", "%FF", "a%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
            assert_eq!(decode_form(bad), None, "{bad}");
        }
    }
}
