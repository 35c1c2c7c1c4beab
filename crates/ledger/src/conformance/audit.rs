//! The audit log.

use std::{collections::BTreeMap, net::IpAddr};

use sealift_terms::{AuditKind, AuditRecord};

use super::{
    catalog::group,
    sample::{at, version},
};
use crate::{AuditLog, Catalog, Refusal, merkle};

pub(super) async fn leaves_are_canonical_and_hashed(log: &dyn AuditLog) {
    assert_eq!(log.head().await.unwrap().size, 0);
    let record = AuditRecord::new(at(1), AuditKind::KeyCreated, "uid:0")
        .with("zone", "z")
        .with("alias", "ä \"quoted\"");
    log.record(record).unwrap();
    log.record(AuditRecord::new(at(2), AuditKind::AgentStarted, "agent"))
        .unwrap();
    log.flush().await.unwrap();
    let leaves = log.leaves(0, 9).await.unwrap();
    assert_eq!(
        leaves[0].json,
        r#"{"actor":"uid:0","at":"1970-01-01T00:00:01.000Z","details":{"alias":"ä \"quoted\"","zone":"z"},"index":0,"kind":"key.created"}"#
    );
    assert_eq!(
        leaves[1].json,
        r#"{"actor":"agent","at":"1970-01-01T00:00:02.000Z","index":1,"kind":"agent.started"}"#
    );
    let mut frontier = merkle::Frontier::default();
    for leaf in &leaves {
        assert_eq!(leaf.hash, merkle::leaf_hash(leaf.json.as_bytes()));
        frontier.push(leaf.hash);
    }
    assert_eq!(log.head().await.unwrap(), frontier.head());
    assert_eq!(log.leaves(1, 9).await.unwrap(), leaves[1..]);
    let verdict = log.verify().await.unwrap();
    assert_eq!((verdict.head, verdict.flaws), (frontier.head(), Vec::new()));
}

pub(super) async fn leaves_of_a_commit_are_durable_with_it(
    catalog: &dyn Catalog,
    log: &dyn AuditLog,
) {
    let before = log.head().await.unwrap().size;
    let mut commit = group(vec![version("k", 1)]);
    let stored = AuditRecord::new(at(3), AuditKind::ObjectStored, "agent").with("key", "k");
    commit.audit = vec![stored.clone(), stored];
    catalog.commit(commit).await.unwrap();
    assert_eq!(log.head().await.unwrap().size, before + 2);
    assert_eq!(log.verify().await.unwrap().flaws, []);
}

pub(super) async fn refusals_are_counted_together(log: &dyn AuditLog) {
    let refuse = |cause: &str, source: &str, secs| {
        log.refused(Refusal {
            at: at(secs),
            kind: AuditKind::SessionRefused,
            cause: cause.to_owned(),
            source: Some(source.parse::<IpAddr>().unwrap()),
            details: BTreeMap::new(),
        })
        .unwrap();
    };
    for host in 1..=200 {
        refuse("plaintext", &format!("192.0.2.{host}"), 100);
    }
    refuse("plaintext", "::ffff:192.0.2.9", 101);
    refuse("tls-1.2", "192.0.2.1", 101);
    refuse("plaintext", "198.51.100.1", 101);
    refuse("plaintext", "2001:db8:1:1::1", 101);
    refuse("plaintext", "2001:db8:1:2::1", 102);
    log.settle_refusals(at(120)).unwrap();
    assert_eq!(counts(log).await, [1, 1, 1, 1], "one for each at once");
    refuse("plaintext", "192.0.2.7", 170);
    assert_eq!(counts(log).await, [1, 1, 1, 1, 201], "the next minute");
    log.settle_refusals(at(100_000)).unwrap();
    assert_eq!(counts(log).await, [1, 1, 1, 1, 201, 1], "2001:db8:1::/48");
    log.settle_refusals(at(200_000)).unwrap();
    assert_eq!(counts(log).await.len(), 6);
    let refused = AuditKind::SessionRefused.as_str();
    let leaves = log.leaves(0, 9).await.unwrap();
    assert!(leaves.iter().all(|leaf| leaf.json.contains(refused)));
}

async fn counts(log: &dyn AuditLog) -> Vec<u64> {
    log.flush().await.unwrap();
    let leaves = log.leaves(0, 99).await.unwrap();
    let count = |json: &str| {
        let (_, rest) = json.split_once(r#""count":""#)?;
        rest.split_once('"')?.0.parse().ok()
    };
    leaves
        .iter()
        .map(|leaf| count(&leaf.json).unwrap())
        .collect()
}
