//! How a key is named where there are several providers: `transit/photos`.

use std::fmt;

use crate::ProviderKind;

/// A key by its provider and by its id or alias there. A name without a provider in
/// front is one of the embedded keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyName<'a> {
    /// Whose key it is.
    pub provider: ProviderKind,
    /// Its id or alias there.
    pub key: &'a str,
}

impl<'a> KeyName<'a> {
    /// The name of a provider's key.
    #[must_use]
    pub const fn new(provider: ProviderKind, key: &'a str) -> Self {
        Self { provider, key }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &'a str) -> Self {
        let split = name.split_once('/').and_then(|(word, key)| {
            let mut all = ProviderKind::ALL.into_iter();
            let provider = all.find(|kind| kind.as_str() == word)?;
            Some(Self { provider, key })
        });
        split.unwrap_or(Self::new(ProviderKind::Local, name))
    }
}

impl fmt::Display for KeyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.provider {
            ProviderKind::Local => f.write_str(self.key),
            provider => write!(f, "{provider}/{}", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_provider_is_of_the_embedded_keystore() {
        for (name, provider, key) in [
            ("alias/photos", ProviderKind::Local, "alias/photos"),
            ("photos", ProviderKind::Local, "photos"),
            ("transit/photos", ProviderKind::Transit, "photos"),
            ("aws-kms/alias/photos", ProviderKind::AwsKms, "alias/photos"),
            ("pkcs11/photos", ProviderKind::Pkcs11, "photos"),
        ] {
            let read = KeyName::parse(name);
            assert_eq!((read.provider, read.key), (provider, key), "{name}");
            assert_eq!(read.to_string(), name);
        }
        let local = KeyName::parse("local/alias/photos");
        assert_eq!(local, KeyName::parse("alias/photos"));
    }
}
