//! What a container as a source, or as a store, is made of.

use sealift_outside::{AzureFrom, Endpoint};
use sealift_terms::{BucketName, percent::encode_path};

/// Where a container is, as whom it is asked, and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureSettings {
    /// The service. Where its host does not begin with the account, that is in the path.
    pub endpoint: Endpoint,
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: BucketName,
    /// Only blobs whose names begin so. It stays part of each key.
    pub prefix: String,
    /// Whose credentials are shown.
    pub credentials: AzureFrom,
    /// Whether the account keeps versions: they are sent, and one that was overwritten can
    /// still be read. Without them a source is what is there when it is looked at.
    pub keeps_versions: bool,
    /// In which access tier what a store writes rests; in the account's own without it.
    pub access_tier: Option<String>,
}

impl AzureSettings {
    /// Where an account is, unless it is reached by a way of its own.
    #[must_use]
    pub fn usual_endpoint(account: &str) -> String {
        format!("https://{account}.blob.core.windows.net")
    }

    /// The path of the container, or of a blob in it.
    pub(super) fn path(&self, blob: Option<&str>) -> String {
        let in_host = format!("{}.", self.account);
        let account = match self.endpoint.authority().starts_with(&in_host) {
            true => String::new(),
            false => format!("/{}", self.account),
        };
        let container = format!("{account}/{}", self.container);
        match blob {
            Some(blob) => format!("{container}/{}", encode_path(blob)),
            None => container,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_in_the_path_where_it_is_not_in_the_host() {
        for (endpoint, path) in [
            ("https://acc.blob.core.windows.net", "/kept/a%20b/c"),
            ("http://127.0.0.1:10000", "/acc/kept/a%20b/c"),
        ] {
            let settings = AzureSettings {
                endpoint: Endpoint::parse(endpoint).unwrap(),
                account: "acc".to_owned(),
                container: BucketName::new("kept").unwrap(),
                prefix: String::new(),
                credentials: AzureFrom::Key("key".into()),
                keeps_versions: true,
                access_tier: None,
            };
            assert_eq!(settings.path(Some("a b/c")), path);
        }
    }
}
