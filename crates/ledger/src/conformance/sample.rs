//! Sample rows, and a sealer that is good enough for tests.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, Epoch, Identity, KeyId, ObjectFacts, ObjectKey,
    ObjectUid, Order, PeerName, Receipt, RecordId, Region, RuleName, SessionFacts, SiteId,
    Timestamp, VersionId, VersionName,
};

use crate::{
    Destination, FactsError, FactsSealer, Location, NewChange, NewVersion, ReceiptTerms, RecordRow,
    VersionKind,
};

/// Seals with AES-256-GCM under a fixed key and counted nonces: for tests only,
/// where no value is sealed under it twice in earnest.
#[derive(Debug)]
pub struct TestSealer {
    key: LessSafeKey,
    count: AtomicU64,
}

impl TestSealer {
    /// A sealer.
    #[must_use]
    pub fn shared() -> Arc<dyn FactsSealer> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key of 32 bytes");
        Arc::new(Self {
            key: LessSafeKey::new(key),
            count: AtomicU64::new(0),
        })
    }
}

impl FactsSealer for TestSealer {
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, FactsError> {
        let mut nonce = [0; 12];
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        nonce[4..].copy_from_slice(&count.to_be_bytes());
        let mut sealed = plaintext.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut sealed,
            )
            .map_err(FactsError::new)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FactsError> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<12>()
            .ok_or_else(|| FactsError::new("too short"))?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(aad), &mut bytes)
            .map_err(FactsError::new)?;
        Ok(opened.to_vec())
    }
}

/// A moment, in seconds.
#[must_use]
pub fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// The bucket of all samples.
#[must_use]
pub fn bucket() -> BucketName {
    BucketName::new("photos").expect("a bucket name")
}

/// A key.
#[must_use]
pub fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).expect("a key")
}

/// A peer.
#[must_use]
pub fn peer(name: &str) -> PeerName {
    PeerName::new(name).expect("a peer name")
}

/// A rule.
#[must_use]
pub fn rule(name: &str) -> RuleName {
    RuleName::new(name).expect("a rule name")
}

/// A version of a key in the bucket of all samples.
#[must_use]
pub fn name(of: &str, version: &str) -> VersionName {
    VersionName {
        bucket: bucket(),
        key: key(of),
        version: VersionId::new(version).expect("a version id"),
    }
}

/// The `n`-th order.
#[must_use]
pub fn order(n: u64) -> Order {
    Order {
        clock: n << 16,
        region: Region::new("eu-west").expect("a region"),
        change: n,
    }
}

/// Facts with something in every field.
#[must_use]
pub fn facts(size: u64) -> ObjectFacts {
    let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    ObjectFacts {
        size,
        content_type: Some("image/x-sample".to_owned()),
        metadata: map("patient-name", "very-private-metadata"),
        system: map("posix-mode", "0644"),
        tags: map("team", "secret-tag-value"),
        etag: Some("etag-in-the-source".to_owned()),
        last_modified: Some(at(5)),
        source_region: Some(Region::new("eu-west").expect("a region")),
    }
}

/// A put of `size` bytes of version `v<n>`, of order `n`, by the rule `all` to the peer `b`.
#[must_use]
pub fn put(of: &str, n: u64, size: u64) -> NewChange {
    change(of, n, size, ChangeKind::Put)
}

/// A change, as [`put`].
#[must_use]
pub fn change(of: &str, n: u64, size: u64, kind: ChangeKind) -> NewChange {
    NewChange {
        change: Change {
            name: name(of, &format!("v{n}")),
            order: order(n),
            kind,
            facts: facts(size),
        },
        destinations: vec![Destination {
            rule: rule("all"),
            peer: peer("b"),
            skip: None,
        }],
        held_until: None,
        ahead: false,
    }
}

/// The facts of a session.
#[must_use]
pub fn session() -> SessionFacts {
    let identity = |text: &str| text.parse::<Identity>().expect("an identity");
    SessionFacts {
        tls_version: "TLSv1.3".to_owned(),
        cipher_suite: "TLS13_AES_256_GCM_SHA384".to_owned(),
        group: "X25519MLKEM768".to_owned(),
        sender: identity("spiffe://example.org/region/eu-west/agent/a"),
        sender_serial: "01".to_owned(),
        receiver: identity("spiffe://example.org/region/us-east/agent/b"),
        receiver_serial: "02".to_owned(),
    }
}

/// What a receipt says beyond its version.
#[must_use]
pub fn terms() -> ReceiptTerms {
    ReceiptTerms {
        cmk: KeyId::new("key-01").expect("a key id"),
        cmk_version: "1".to_owned(),
        second: None,
        region: Region::new("us-east").expect("a region"),
        session: session().into(),
    }
}

/// A receipt for a version, of this sequence.
#[must_use]
pub fn receipt(name: &VersionName, sequence: u64) -> Receipt {
    Receipt {
        name: name.clone(),
        size: 10,
        checksum: Some(checksum()),
        object_uid: ObjectUid([1; 16]),
        record: RecordId([2; 16]),
        cmk: terms().cmk,
        cmk_version: "1".to_owned(),
        second: None,
        region: terms().region,
        site: SiteId([3; 16]),
        epoch: Epoch([4; 16]),
        sequence,
        stored_at: at(9),
        session: session().into(),
        signature: None,
    }
}

/// The checksum of all samples.
#[must_use]
pub fn checksum() -> Checksum {
    Checksum::crc64nvme(0x6b1d_90c4_f1a7_22e5)
}

/// The key record of all samples.
#[must_use]
pub fn record() -> RecordRow {
    RecordRow {
        id: RecordId([2; 16]),
        bucket: bucket(),
        cmk: terms().cmk,
        cmk_version: "1".to_owned(),
        json: r#"{"id":"02020202020202020202020202020202"}"#.to_owned(),
    }
}

/// A version `v<n>` of order and sequence `n` in the pack `pack-1`.
#[must_use]
pub fn version(of: &str, n: u64) -> NewVersion {
    NewVersion {
        name: name(of, &format!("v{n}")),
        order: order(n),
        kind: VersionKind::Object,
        facts: facts(100),
        checksum: Some(checksum()),
        object_uid: ObjectUid([u8::try_from(n % 256).expect("below 256"); 16]),
        record: RecordId([2; 16]),
        second_record: None,
        location: Location {
            file: "pack-1".to_owned(),
            offset: n * 1000,
            length: 500,
        },
        sequence: n,
        replaces: None,
        terms: Some(terms().into()),
    }
}
