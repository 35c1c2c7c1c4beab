//! Queries as S3 signs them (AWS General Reference, "Create a canonical request").

use sealift_terms::percent::encode;

/// A query: names sorted, each with its `=`.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let mut query = String::new();
    for (name, value) in pairs {
        let between = if query.is_empty() { "" } else { "&" };
        query.extend([between, name.as_str(), "=", value.as_str()]);
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_as_they_are_signed() {
        let pairs = [("versions", ""), ("prefix", "a/b"), ("max-keys", "9")];
        assert_eq!(query(&pairs), "max-keys=9&prefix=a%2Fb&versions=");
    }
}
