//! How key material goes from one region to another: wrapped to a key that the target drew
//! for this one time, and bound to the connection on which it goes.
//!
//! ```text
//!  primary                                                         replica
//!     │  offer ────────────────────────────────────────────────────▶ │  Awaiting: X25519, drawn anew
//!     │ ◀───────────────────────────────────────── its public key    │
//!     │  X25519, drawn anew; HKDF over the exporter; XAES-256-GCM    │
//!     │  public key, sealed ───────────────────────────────────────▶ │  opened once, then forgotten
//! ```
//!
//! Whoever reads the connection's plaintext on its way through a process, or plays a message
//! again elsewhere, has nothing of it: the key comes from both X25519 keys **and** from the TLS
//! exporter of the control link (RFC 9266), and it is bound to both identities and the key's id.

use ring::{
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::SystemRandom,
};
use sealift_terms::{Identity, KeyId, Region, Rng};
use zeroize::Zeroizing;

use crate::{KeyError, SharedKey, xaes::Xaes256Gcm};

const LABEL: &[u8] = b"sealift/v1 key exchange";

/// What one exchange is bound to; both ends know it by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// The exporter of the control link (RFC 9266).
    pub exporter: &'a [u8; 32],
    /// The number of the exchange, drawn by the target.
    pub exchange: &'a [u8; 16],
    /// Who sends.
    pub source: &'a Identity,
    /// Who receives.
    pub target: &'a Identity,
    /// Which key.
    pub key: &'a KeyId,
}

/// A target that waits for a key.
pub struct Awaiting {
    private: EphemeralPrivateKey,
    public: [u8; 32],
}

impl std::fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Awaiting(..)")
    }
}

/// A key, wrapped for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// The source's public key.
    pub public: [u8; 32],
    /// The shared half of the key, sealed.
    pub sealed: Vec<u8>,
}

impl Awaiting {
    /// Draws the key of this one exchange.
    ///
    /// # Errors
    /// [`KeyError::Exchange`] when the system gives no randomness.
    pub fn new() -> Result<Self, KeyError> {
        let (private, public) = drawn()?;
        Ok(Self { private, public })
    }

    /// What the source has to wrap for.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Opens what came, once, for a target in `region`.
    ///
    /// # Errors
    /// [`KeyError::Exchange`] for what was wrapped for another exchange, connection, key or
    /// pair of agents; [`KeyError::RegionsDiffer`] and [`KeyError::Residency`] for what no key
    /// of this region can be.
    pub fn open(
        self,
        brought: &Brought,
        bound: Bound<'_>,
        region: &Region,
    ) -> Result<SharedKey, KeyError> {
        let kek = agreed(self.private, &brought.public, |secret| {
            derive(secret, bound, &self.public, &brought.public)
        })?;
        let what = "it was wrapped for another exchange, or altered";
        let json = Xaes256Gcm::new(&kek).open(LABEL, &brought.sealed);
        let json = json.map_err(|_| KeyError::Exchange { what })?;
        SharedKey::parse(&json, bound.key, region)
    }
}

/// Wraps the shared half of a key for whoever awaits it with the key `theirs`.
///
/// # Errors
/// [`KeyError::Exchange`] for a public key that is none.
pub fn bring(
    shared: &SharedKey,
    theirs: &[u8; 32],
    bound: Bound<'_>,
    rng: &dyn Rng,
) -> Result<Brought, KeyError> {
    let (private, public) = drawn()?;
    let kek = agreed(private, theirs, |secret| {
        derive(secret, bound, theirs, &public)
    })?;
    let sealed = Xaes256Gcm::new(&kek).seal(rng, LABEL, &shared.to_json()?);
    Ok(Brought { public, sealed })
}

/// ring takes no other source of chance for a private key than the system's own.
fn drawn() -> Result<(EphemeralPrivateKey, [u8; 32]), KeyError> {
    let what = "the system gives no key for it";
    let failed = |_| KeyError::Exchange { what };
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(failed)?;
    let public = private.compute_public_key().map_err(failed)?;
    let public = public.as_ref().try_into();
    Ok((private, public.map_err(|_| KeyError::Exchange { what })?))
}

fn agreed(
    private: EphemeralPrivateKey,
    theirs: &[u8; 32],
    derive: impl FnOnce(&[u8]) -> Option<Zeroizing<[u8; 32]>>,
) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let what = "the other side's public key is none";
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    let kek = agree_ephemeral(private, &theirs, derive).ok().flatten();
    kek.ok_or(KeyError::Exchange { what })
}

struct Kek;

impl KeyType for Kek {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF with SHA-256: the exporter is the salt, what the X25519 keys agree on the secret, and
/// everything else, each behind its length, the info.
fn derive(
    secret: &[u8],
    bound: Bound<'_>,
    target: &[u8; 32],
    source: &[u8; 32],
) -> Option<Zeroizing<[u8; 32]>> {
    let mut info = Vec::new();
    for field in [
        LABEL,
        bound.exchange,
        bound.source.as_str().as_bytes(),
        bound.target.as_str().as_bytes(),
        bound.key.as_str().as_bytes(),
        target,
        source,
    ] {
        info.extend_from_slice(&u16::try_from(field.len()).ok()?.to_be_bytes());
        info.extend_from_slice(field);
    }
    let mut kek = Zeroizing::new([0; 32]);
    let extracted = Salt::new(HKDF_SHA256, bound.exporter).extract(secret);
    let info = [info.as_slice()];
    let expanded = extracted.expand(&info, Kek).ok()?;
    expanded.fill(kek.as_mut_slice()).ok()?;
    Some(kek)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sealift_host::OsRng;
    use sealift_terms::{RotationDays, Timestamp};

    use super::*;
    use crate::{material::Material, shared::SharedVersion};

    const KEY: &str = "key-00112233445566778899aabbccddeeff";
    const OTHER: &str = "key-ffeeddccbbaa99887766554433221100";

    fn region(name: &str) -> Region {
        Region::new(name).unwrap()
    }

    fn shared() -> SharedKey {
        let version = |number: u64| SharedVersion {
            id: number.to_string(),
            created: Timestamp::from_secs(1),
            reason: None,
            material: Some(Material::random(&OsRng)),
        };
        SharedKey {
            key: KeyId::new(KEY).unwrap(),
            primary: region("a"),
            term: 1,
            generation: 3,
            changed_at: Timestamp::from_secs(2),
            active: "1".to_owned(),
            allowed: BTreeSet::new(),
            members: BTreeSet::from([region("a"), region("b")]),
            created: Timestamp::from_secs(1),
            rotate_every_days: RotationDays::default(),
            total: 2,
            versions: vec![version(1), version(2)],
        }
    }

    struct Ends {
        source: Identity,
        target: Identity,
        key: KeyId,
    }

    impl Ends {
        fn new() -> Self {
            Self {
                source: "spiffe://d/region/a/agent/one".parse().unwrap(),
                target: "spiffe://d/region/b/agent/two".parse().unwrap(),
                key: KeyId::new(KEY).unwrap(),
            }
        }

        fn bound<'a>(&'a self, exporter: &'a [u8; 32], exchange: &'a [u8; 16]) -> Bound<'a> {
            Bound {
                exporter,
                exchange,
                source: &self.source,
                target: &self.target,
                key: &self.key,
            }
        }
    }

    #[test]
    fn a_key_arrives_where_it_was_wrapped_for_and_nowhere_else() {
        let (ends, shared) = (Ends::new(), shared());
        let (exporter, exchange) = ([7; 32], [9; 16]);
        let bound = ends.bound(&exporter, &exchange);
        let wrapped = |awaiting: &Awaiting| bring(&shared, &awaiting.public(), bound, &OsRng);

        let awaiting = Awaiting::new().unwrap();
        let brought = wrapped(&awaiting).unwrap();
        let secret = shared.versions[0].material.as_ref().unwrap().to_hex();
        let text = String::from_utf8_lossy(&brought.sealed).into_owned();
        assert!(!text.contains(secret.as_str()));
        let opened = awaiting.open(&brought, bound, &region("b")).unwrap();
        let opened = opened.versions[0].material.clone().unwrap();
        assert_eq!(opened.to_hex().as_str(), secret.as_str());

        let refused = |change: &dyn Fn(&mut Brought), bound: Bound<'_>| {
            let awaiting = Awaiting::new().unwrap();
            let mut brought = wrapped(&awaiting).unwrap();
            change(&mut brought);
            let opened = awaiting.open(&brought, bound, &region("b"));
            assert!(
                matches!(opened, Err(KeyError::Exchange { .. })),
                "{opened:?}"
            );
        };
        let as_it_is = |_: &mut Brought| {};
        refused(&as_it_is, ends.bound(&[8; 32], &exchange));
        refused(&as_it_is, ends.bound(&exporter, &[8; 16]));
        let swapped = Bound {
            source: bound.target,
            target: bound.source,
            ..bound
        };
        refused(&as_it_is, swapped);
        let other = KeyId::new(OTHER).unwrap();
        refused(
            &as_it_is,
            Bound {
                key: &other,
                ..bound
            },
        );
        refused(&|brought| brought.public[3] ^= 1, bound);
        refused(&|brought| brought.public = [0; 32], bound);
        refused(&|brought| brought.sealed.truncate(10), bound);
        for bit in [0, 200, 300] {
            refused(&|brought| brought.sealed[bit / 8] ^= 1 << (bit % 8), bound);
        }
        // What was wrapped for another target's key opens under no other.
        let (one, other) = (Awaiting::new().unwrap(), Awaiting::new().unwrap());
        let brought = wrapped(&one).unwrap();
        assert!(other.open(&brought, bound, &region("b")).is_err());
    }

    #[test]
    fn whatever_a_primary_sends_is_read_or_refused() {
        let json = shared().to_json().unwrap();
        let key = KeyId::new(KEY).unwrap();
        let (mut read, mut refused) = (0, 0);
        for bit in 0..json.len() * 8 {
            let mut altered = json.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            match SharedKey::parse(&altered, &key, &region("b")) {
                Ok(shared) => {
                    assert!(shared.key == key && shared.members.contains(&shared.primary));
                    assert!(shared.versions.len() as u64 <= shared.total);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
        // Another digit of material or of a time is as good as the one before.
        assert!(read > 0 && refused > read, "{read} read, {refused} refused");
        for cut in 0..json.len() {
            assert!(SharedKey::parse(&json[..cut], &key, &region("b")).is_err());
        }
    }

    #[test]
    fn what_no_key_can_be_is_refused_after_it_was_opened() {
        let parsed = |shared: &SharedKey, key: &KeyId| {
            SharedKey::parse(&shared.to_json().unwrap(), key, &region("b"))
        };
        for odd in [
            "alias/photos",
            "key-1",
            "key-0011223344556677889900aabbccddex",
        ] {
            let key = KeyId::new(odd).unwrap();
            let shared = SharedKey {
                key: key.clone(),
                ..shared()
            };
            let error = parsed(&shared, &key).unwrap_err();
            assert!(matches!(error, KeyError::RegionsDiffer { .. }), "{error}");
        }
        let refused = |change: &dyn Fn(&mut SharedKey)| {
            let mut shared = shared();
            change(&mut shared);
            let json = shared.to_json().unwrap();
            let key = KeyId::new(KEY).unwrap();
            SharedKey::parse(&json, &key, &region("b")).unwrap_err()
        };
        type Change = fn(&mut SharedKey);
        let changes: [Change; 8] = [
            |s| s.key = KeyId::new(OTHER).unwrap(),
            |s| s.versions[1].id = "3".to_owned(),
            |s| s.versions[1].id = "x".to_owned(),
            |s| s.versions[1].id = u64::MAX.to_string(),
            |s| s.active = "3".to_owned(),
            |s| s.active = "0".to_owned(),
            |s| s.members = BTreeSet::from([Region::new("b").unwrap()]),
            |s| s.total = 1,
        ];
        for (n, change) in changes.iter().enumerate() {
            let error = refused(change);
            assert!(
                matches!(error, KeyError::RegionsDiffer { .. }),
                "{n}: {error}"
            );
        }
        let many = |s: &mut SharedKey| {
            s.total = 1000;
            s.versions = (1..=1000)
                .map(|n: u64| SharedVersion {
                    id: n.to_string(),
                    ..s.versions[0].clone()
                })
                .collect();
        };
        assert!(matches!(refused(&many), KeyError::RegionsDiffer { .. }));
        let regions = |s: &mut SharedKey| {
            s.members.extend((0..100).map(|n| region(&format!("r{n}"))));
        };
        assert!(matches!(refused(&regions), KeyError::RegionsDiffer { .. }));
        let elsewhere = |s: &mut SharedKey| s.allowed = BTreeSet::from([region("a")]);
        assert!(matches!(refused(&elsewhere), KeyError::Residency { .. }));
    }
}
