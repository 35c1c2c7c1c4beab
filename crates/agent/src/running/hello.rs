//! What this site says of itself at the beginning of every link.

use sealift_terms::{PeerName, PeerQuota, Quota, SessionId};
use sealift_wire::{
    Cuts, DECOMPRESSES_ZSTD, Hello, KEY_EXCHANGE, Limits, PROTOCOL_MAX, PROTOCOL_MIN, Remembered,
    Role, TAKES_PURGES, checksum::Crc64,
};

use crate::{config::Config, site::Site};

/// What is sent in a HELLO's `software`.
const SOFTWARE: &str = concat!("sealift/", env!("CARGO_PKG_VERSION"));

/// The HELLO of link `link` of `session`, in which this site does what `role` says.
pub(super) fn hello(site: &Site, session: SessionId, link: u32, role: Role) -> Hello {
    let here = site.archive.site();
    Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        session,
        link,
        role,
        site: here.site,
        site_name: site.config.site.name.clone(),
        region: site.config.site.region.clone(),
        epoch: here.epoch,
        commit_sequence: here.sequence,
        clock: site.world.clock.now(),
        software: SOFTWARE.to_owned(),
        limits: Limits::default(),
        // Of one that sends nobody asks what it allows.
        policy: (role == Role::Receive).then(|| policy_of(&site.current())),
        remembered: None,
        decompresses: (role == Role::Receive && site.config.limits.compression.is_on())
            .then_some(DECOMPRESSES_ZSTD),
        cuts: Some(Cuts::default()),
        key_exchange: (link == 0).then_some(KEY_EXCHANGE),
        takes: (role == Role::Receive).then_some(TAKES_PURGES),
    }
}

/// What peers may do here, under which keys, and up to which quotas, in one number: a peer that sees another
/// one than before tries again what was refused.
pub(super) fn policy_of(config: &Config) -> u64 {
    let mut crc = Crc64::new();
    for row in config.grants.rows() {
        crc.update(row.as_bytes());
        crc.update(b"\n");
    }
    for bucket in &config.buckets {
        let second = bucket.second_key.as_ref();
        let second = second.map(|key| format!(" {}", key.name));
        let second = second.unwrap_or_default();
        let row = format!("{} {}{second}\n", bucket.name, bucket.key.name);
        crc.update(row.as_bytes());
        if bucket.quota != Quota::default() {
            let Quota { bytes, objects } = bucket.quota;
            crc.update(format!("{bytes:?} {objects:?}\n").as_bytes());
        }
        if let Some(min) = bucket.retention.min {
            crc.update(format!("kept {}\n", min.as_secs()).as_bytes());
        }
    }
    for peer in &config.peers {
        if peer.quota != PeerQuota::default() {
            let PeerQuota {
                held: Quota { bytes, objects },
                unfinished_bytes,
                // Nothing is refused for that.
                rate: _,
            } = peer.quota;
            let row = format!("{} {bytes:?} {objects:?} {unfinished_bytes:?}\n", peer.name);
            crc.update(row.as_bytes());
        }
    }
    // Keys of the same names are others where they are asked for elsewhere.
    let services = &config.key_services;
    if let Some(aws_kms) = &services.aws_kms {
        let row = format!("{} {}\n", aws_kms.endpoint, aws_kms.aws_region);
        crc.update(row.as_bytes());
    }
    if let Some(transit) = &services.transit {
        let namespace = transit.namespace.as_deref().unwrap_or_default();
        let row = format!("{} {namespace} {}\n", transit.endpoint, transit.mount);
        crc.update(row.as_bytes());
    }
    if let Some(pkcs11) = &services.pkcs11 {
        crc.update(format!("{}\n", pkcs11.token).as_bytes());
    }
    crc.value()
}

/// What is remembered of a peer that is about to be sent to. One that cannot be read is
/// found by the sender itself.
pub(super) async fn remembered(site: &Site, peer: &PeerName) -> Option<Remembered> {
    let memory = site.journal.peer(peer).await.ok().flatten()?;
    Some(Remembered {
        epoch: memory.epoch,
        commit_sequence: memory.sequence,
    })
}
