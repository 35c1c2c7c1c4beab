//! What a receiver says it stored, once it is durable.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Checksum, Epoch, Identity, KeyId, ObjectUid, RecordId, Region, SiteId, Timestamp, VersionName,
};

/// The facts of the session over which an object came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The TLS version, `TLSv1.3`.
    pub tls_version: String,
    /// The cipher suite, spelt as in the allow-list: `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// The key-exchange group, spelt as in the allow-list: `X25519MLKEM768`.
    pub group: String,
    /// The identity of the agent that sent.
    pub sender: Identity,
    /// The serial number of the sender's certificate, hex.
    pub sender_serial: String,
    /// The identity of the agent that received.
    pub receiver: Identity,
    /// The serial number of the receiver's certificate, hex.
    pub receiver_serial: String,
}

impl SessionFacts {
    /// For what came over no session that is known: a version that a site of `region`
    /// found in its own store.
    #[must_use]
    pub fn none(region: &Region) -> Self {
        let none = || "none".to_owned();
        let here = Identity::unknown_of(region);
        Self {
            tls_version: none(),
            cipher_suite: none(),
            group: none(),
            sender: here.clone(),
            sender_serial: none(),
            receiver: here,
            receiver_serial: none(),
        }
    }
}

/// The key of the outer layer of a sealing in two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondKey {
    /// The key record.
    pub record: RecordId,
    /// The customer-managed key that wraps the record.
    pub cmk: KeyId,
    /// The version of that key when the record was last wrapped.
    pub cmk_version: String,
}

/// A receipt: the version is durable, sealed, under this key, in this region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which version.
    #[serde(flatten)]
    pub name: VersionName,
    /// Bytes of plaintext.
    pub size: u64,
    /// The checksum of the plaintext; none for a delete marker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// The sealing.
    pub object_uid: ObjectUid,
    /// The key record it is sealed under; of two layers, the inner one.
    pub record: RecordId,
    /// The customer-managed key that wraps the record.
    pub cmk: KeyId,
    /// The version of that key when the receipt was made.
    pub cmk_version: String,
    /// The outer layer's key, where it is sealed in two layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondKey>,
    /// The region in which it rests.
    pub region: Region,
    /// The site that holds it.
    pub site: SiteId,
    /// That site's epoch.
    pub epoch: Epoch,
    /// That site's commit sequence: grows with every commit.
    pub sequence: u64,
    /// When it was committed.
    pub stored_at: Timestamp,
    /// Over which session it came: shared by all of that.
    pub session: Arc<SessionFacts>,
    /// The receiver's signature over the fields above. No receiver signs yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}
