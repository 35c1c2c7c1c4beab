//! Paths and queries as S3 signs them (AWS General Reference, "Create a canonical request").

use std::fmt::Write;

/// Percent-encodes all but the unreserved characters; a path keeps its slashes.
pub(super) fn encoded(text: &str, keeps_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if is_plain || (byte == b'/' && keeps_slashes) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A query: names sorted, each with its `=`.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (encoded(name, false), encoded(value, false)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Takes back what a listing with `encoding-type=url`, or an event, encoded: `+` is a
/// space there. None where that is no UTF-8 or no encoding.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
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
    fn keys_and_queries_are_encoded_as_they_are_signed_and_come_back() {
        for (key, path) in [
            ("a/b c+d", "a/b%20c%2Bd"),
            ("ä/日", "%C3%A4/%E6%97%A5"),
            ("~-._", "~-._"),
            ("50%", "50%25"),
            ("a//b/../c", "a//b/../c"),
        ] {
            assert_eq!(encoded(key, true), path);
            assert_eq!(decoded(path).as_deref(), Some(key));
        }
        let pairs = [("versions", ""), ("prefix", "a/b"), ("max-keys", "9")];
        assert_eq!(query(&pairs), "max-keys=9&prefix=a%2Fb&versions=");
        assert_eq!(decoded("a+b%2Bc").as_deref(), Some("a b+c"));
        for bad in ["%", "%4", "%GG", "%FF"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
