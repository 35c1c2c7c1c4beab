//! Which cipher suites and key-exchange groups may be negotiated: allow-lists.

use std::{fmt::Debug, sync::Arc};

use rustls::{
    SupportedCipherSuite,
    crypto::{
        CryptoProvider, SupportedKxGroup, aws_lc_rs,
        ring::{self, cipher_suite, kx_group},
    },
};

use crate::error::IdentityError;

/// A cipher suite that may be allowed: TLS 1.3 with a 256-bit key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suite {
    /// `TLS13_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// `TLS13_CHACHA20_POLY1305_SHA256`.
    Chacha20Poly1305,
}

/// A key-exchange group that may be allowed. All are ephemeral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// `X25519MLKEM768`: holds against a quantum computer of later years too.
    X25519MlKem768,
    /// `X25519`.
    X25519,
    /// `secp256r1`.
    Secp256r1,
    /// `secp384r1`.
    Secp384r1,
}

/// Something an allow-list names.
trait Listed: Copy + PartialEq + 'static {
    const LIST: &'static str;
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
    /// Whether `name` means it. The names of the registry count too.
    fn is_called(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name())
    }
}

impl Listed for Suite {
    const LIST: &'static str = "cipher suites";
    const ALL: &'static [Self] = &[Self::Aes256Gcm, Self::Chacha20Poly1305];
    fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "TLS13_AES_256_GCM_SHA384",
            Self::Chacha20Poly1305 => "TLS13_CHACHA20_POLY1305_SHA256",
        }
    }
    fn is_called(self, name: &str) -> bool {
        let registered = self.name().replacen("TLS13_", "TLS_", 1);
        name == self.name() || name == registered
    }
}

impl Listed for Group {
    const LIST: &'static str = "groups";
    const ALL: &'static [Self] = &[
        Self::X25519MlKem768,
        Self::X25519,
        Self::Secp256r1,
        Self::Secp384r1,
    ];
    fn name(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "X25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }
}

/// The allow-lists, most wanted first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPolicy {
    suites: Vec<Suite>,
    groups: Vec<Group>,
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self {
            suites: vec![Suite::Aes256Gcm, Suite::Chacha20Poly1305],
            groups: vec![Group::X25519MlKem768, Group::X25519],
        }
    }
}

impl TlsPolicy {
    /// Reads the allow-lists by name.
    ///
    /// # Errors
    /// [`IdentityError::AllowList`] for an empty list, an unknown name or one that comes twice.
    pub fn from_names<S: AsRef<str>>(suites: &[S], groups: &[S]) -> Result<Self, IdentityError> {
        Ok(Self {
            suites: parse(suites)?,
            groups: parse(groups)?,
        })
    }

    /// The names of the suites that may be configured.
    #[must_use]
    pub fn known_suites() -> Vec<&'static str> {
        Suite::ALL.iter().map(|suite| suite.name()).collect()
    }

    /// The names of the groups that may be configured.
    #[must_use]
    pub fn known_groups() -> Vec<&'static str> {
        Group::ALL.iter().map(|group| group.name()).collect()
    }

    /// The names of the suites that are allowed.
    #[must_use]
    pub fn suites(&self) -> Vec<&'static str> {
        self.suites.iter().map(|suite| suite.name()).collect()
    }

    /// The names of the groups that are allowed.
    #[must_use]
    pub fn groups(&self) -> Vec<&'static str> {
        self.groups.iter().map(|group| group.name()).collect()
    }

    /// Makes a key for each group, and forgets it. The first one of a process waits until
    /// aws-lc-rs has gathered entropy from jitter, some 30 ms of a processor: whoever does this
    /// before keeps no handshake waiting for that.
    pub fn warm_up(&self) {
        for one in &self.groups {
            // What is wrong with it, the handshake says.
            let _forgotten = group(*one).start();
        }
    }

    /// The cryptography for it: ring, and aws-lc-rs for the one group that ring has not.
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider {
            cipher_suites: self.suites.iter().copied().map(suite).collect(),
            kx_groups: self.groups.iter().copied().map(group).collect(),
            ..ring::default_provider()
        })
    }
}

fn suite(suite: Suite) -> SupportedCipherSuite {
    match suite {
        Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::Chacha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
}

fn group(group: Group) -> &'static dyn SupportedKxGroup {
    match group {
        Group::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::Secp384r1 => kx_group::SECP384R1,
    }
}

fn parse<T: Listed, S: AsRef<str>>(names: &[S]) -> Result<Vec<T>, IdentityError> {
    let refuse = |found: String| IdentityError::AllowList {
        list: T::LIST,
        found,
        allowed: T::ALL
            .iter()
            .map(|known| known.name())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut list = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let known = T::ALL.iter().copied().find(|known| known.is_called(name));
        let known = known.ok_or_else(|| refuse(format!("{name:?}")))?;
        if list.contains(&known) {
            return Err(refuse(format!("{name:?} twice")));
        }
        list.push(known);
    }
    if list.is_empty() {
        Err(refuse("an empty list".to_owned()))
    } else {
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_aes_first_and_the_hybrid_group_first() {
        let policy = TlsPolicy::default();
        assert_eq!(
            policy.suites(),
            ["TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"]
        );
        assert_eq!(policy.groups(), ["X25519MLKEM768", "X25519"]);
        let again = TlsPolicy::from_names(&policy.suites(), &policy.groups()).unwrap();
        assert_eq!(again, policy);
        let registered = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
        assert_eq!(
            TlsPolicy::from_names(&registered, &policy.groups()).unwrap(),
            policy
        );
    }

    #[test]
    fn an_empty_list_an_unknown_name_and_a_double_one_are_refused() {
        let good = ["TLS13_AES_256_GCM_SHA384"];
        for bad in [
            &[][..],
            &["TLS13_AES_128_GCM_SHA256"],
            &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
            &["TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"],
            &[""],
        ] {
            let error = TlsPolicy::from_names(bad, &["X25519"]).unwrap_err();
            assert!(
                error.to_string().contains("TLS13_CHACHA20_POLY1305_SHA256"),
                "{error}"
            );
        }
        for bad in [&[][..], &["ffdhe2048"], &["X25519", "X25519"]] {
            assert!(TlsPolicy::from_names(&good[..], bad).is_err(), "{bad:?}");
        }
    }
}
