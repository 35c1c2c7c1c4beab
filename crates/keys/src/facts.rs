//! Sealing of small facts that rest in the databases.

use std::{fmt, sync::Arc};

use ring::hkdf::{HKDF_SHA512, KeyType, Prk};
use sealift_terms::Rng;
use zeroize::Zeroizing;

use crate::{
    material::Material,
    xaes::{NotAuthentic, Xaes256Gcm},
};

/// Seals what the databases may not show: user metadata, tags, checksums. Its key
/// comes from a secret of the site in the keystore, so that the databases alone
/// open nothing.
#[derive(Clone)]
pub struct FactsKey {
    key: Arc<Xaes256Gcm>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for FactsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FactsKey(..)")
    }
}

struct Len32;

impl KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

impl FactsKey {
    pub(crate) fn derive(secret: &Material, rng: Arc<dyn Rng>) -> Self {
        let prk = Prk::new_less_safe(HKDF_SHA512, secret.expose());
        let mut key = Zeroizing::new([0; 32]);
        let filled = prk
            .expand(&[b"sealift/v1 facts"], Len32)
            .and_then(|okm| okm.fill(key.as_mut_slice()));
        // 32 bytes are always within HKDF's limit; a zero key must never be used.
        if filled.is_err() {
            std::process::abort();
        }
        Self {
            key: Arc::new(Xaes256Gcm::new(&key)),
            rng,
        }
    }

    /// Seals `plaintext`, bound to `aad`: where it rests, so that it cannot be moved.
    #[must_use]
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.key.seal(&*self.rng, aad, plaintext)
    }

    /// Opens what [`Self::seal`] made for the same place.
    ///
    /// # Errors
    /// [`NotAuthentic`] when it was altered, moved, or sealed by another site.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.key.open(aad, sealed)
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;

    use super::*;

    #[test]
    fn facts_open_only_where_they_were_put() {
        let secret = Material::random(&OsRng);
        let key = FactsKey::derive(&secret, Arc::new(OsRng));
        let sealed = key.seal(b"versions/1", b"owner=ops");
        assert!(!sealed.windows(3).any(|window| window == b"ops"));
        let again = FactsKey::derive(&secret, Arc::new(OsRng));
        assert_eq!(*again.open(b"versions/1", &sealed).unwrap(), b"owner=ops");
        assert_eq!(key.open(b"versions/2", &sealed), Err(NotAuthentic));
        let other = FactsKey::derive(&Material::random(&OsRng), Arc::new(OsRng));
        assert_eq!(other.open(b"versions/1", &sealed), Err(NotAuthentic));
    }
}
