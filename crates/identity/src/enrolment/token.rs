//! A one-time token: what a new agent needs to get its first certificate.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use sealift_terms::{Identity, Rng, limits};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::SiteRoles;
use crate::error::IdentityError;

/// Begins the text of a token, so that it is known for what it is wherever it turns up.
const PREFIX: &str = "sealift-token-";
/// Bytes of its secret.
const SECRET_BYTES: usize = 32;

/// A token as it is handed to the host of a new agent. Whoever has it first gets the
/// certificate, so it is short-lived and good for one key.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Who it makes of its bearer.
    pub identity: Identity,
    /// What that may do.
    pub roles: SiteRoles,
    /// The issuing agent: its host and port.
    pub issuer: String,
    /// Who the issuing agent is.
    pub issuer_identity: Identity,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) of the CAs of which one vouches
    /// for the issuing agent, as nothing else is known of it yet: one, or two while one
    /// takes the place of the other.
    pub ca_keys: Vec<[u8; 32]>,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    identity: Identity,
    #[serde(default, skip_serializing_if = "SiteRoles::is_any")]
    roles: SiteRoles,
    issuer: String,
    issuer_identity: Identity,
    ca_keys: Vec<String>,
    secret: String,
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl EnrolmentToken {
    pub(super) fn new(
        (identity, roles): (Identity, SiteRoles),
        (issuer, issuer_identity): (String, Identity),
        ca_keys: Vec<[u8; 32]>,
        rng: &dyn Rng,
    ) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rng.fill(&mut *secret);
        Self {
            identity,
            roles,
            issuer,
            issuer_identity,
            ca_keys,
            secret,
        }
    }

    /// What the issuer is shown.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.secret))
    }

    /// The token as text. It is a secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let fields = Fields {
            identity: self.identity.clone(),
            roles: self.roles.clone(),
            issuer: self.issuer.clone(),
            issuer_identity: self.issuer_identity.clone(),
            ca_keys: self.ca_keys.iter().map(hex::encode).collect(),
            secret: self.secret().to_string(),
        };
        let json = Zeroizing::new(serde_json::to_vec(&fields).unwrap_or_default());
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*json)))
    }
}

/// What the issuer keeps of a secret.
pub(super) fn fingerprint(secret: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

impl FromStr for EnrolmentToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if text.len() > limits::TOKEN_BYTES_MAX {
            return Err(IdentityError::Token("it is too long"));
        }
        let encoded = text.strip_prefix(PREFIX);
        let encoded = encoded.ok_or(IdentityError::Token("it does not begin as one"))?;
        let json = URL_SAFE_NO_PAD.decode(encoded).map(Zeroizing::new);
        let json = json.map_err(|_| IdentityError::Token("it was cut off or altered"))?;
        let fields: Fields = serde_json::from_slice(&json)
            .map_err(|_| IdentityError::Token("it was cut off or altered"))?;
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        let altered = |_| IdentityError::Token("it was cut off or altered");
        hex::decode_to_slice(fields.secret.as_bytes(), &mut *secret).map_err(altered)?;
        let mut ca_keys = Vec::new();
        for key in fields.ca_keys.iter().take(limits::TRUST_ROOTS_MAX) {
            let mut bytes = [0; 32];
            hex::decode_to_slice(key, &mut bytes).map_err(altered)?;
            ca_keys.push(bytes);
        }
        Ok(Self {
            identity: fields.identity.clone(),
            roles: fields.roles.clone(),
            issuer: fields.issuer.clone(),
            issuer_identity: fields.issuer_identity.clone(),
            ca_keys,
            secret,
        })
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentToken")
            .field("identity", &self.identity)
            .field("roles", &self.roles)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;

    use super::{super::SiteRole, *};

    #[test]
    fn a_token_is_read_as_it_was_written_and_shows_no_secret() {
        let identity = |name: &str| -> Identity {
            format!("spiffe://example.org/region/r/agent/{name}")
                .parse()
                .unwrap()
        };
        let issuer = "ca.example.org:7444".to_owned();
        let roles = [SiteRole::Receiver].into_iter().collect();
        let (whose, issuer) = ((identity("a"), roles), (issuer, identity("ca")));
        let token = EnrolmentToken::new(whose, issuer, vec![[7; 32]], &OsRng);
        let text = token.to_text();
        let read: EnrolmentToken = format!(" {}\n", *text).parse().unwrap();
        assert_eq!(read, token);
        assert!(!format!("{token:?}").contains(&*token.secret()));
        for bad in ["", "sealift-token-", &text[1..], &text[..text.len() - 3]] {
            assert!(bad.parse::<EnrolmentToken>().is_err(), "{bad}");
        }
        let long = format!("{}{}", *text, "A".repeat(limits::TOKEN_BYTES_MAX));
        assert!(long.parse::<EnrolmentToken>().is_err());
    }
}
