//! The keys as `status`, alarms and metrics show them.

use std::time::Duration;

use sealift_keys::{KeyLife, KeyRegions, KeyReplica, KeyState};
use sealift_terms::Timestamp;

use super::SiteOperations;
use crate::{
    Metric, Metrics,
    admin::{Alarm, KeyReport, ReplicaReport},
};

/// Imported material whose time is over within this is told: 14 days.
const EXPIRY_WARNED: Duration = Duration::from_secs(14 * 86_400);
/// A replica that lacks something for as long is told: it is tried again every minute.
const REPLICA_LAG_MAX: Duration = Duration::from_secs(300);

impl SiteOperations {
    pub(super) fn key_reports(&self) -> Vec<KeyReport> {
        let now = self.site.world.clock.now();
        let lives = self.site.keystore.lives().into_iter();
        lives
            .map(|key| report(self.with_trouble(key), now))
            .collect()
    }
}

fn report(key: KeyLife, now: Timestamp) -> KeyReport {
    let is_missing = |version: &&sealift_keys::VersionLife| {
        !version.backed_up && !version.material_missing && version.destroyed.is_none()
    };
    let without_backup = key.versions.iter().filter(is_missing).count() as u64;
    let (mut replicas, mut waiting) = (Vec::new(), None);
    if let Some(regions) = &key.regions {
        let all = regions.replicas.iter();
        replicas.extend(all.map(|one| replica(&key, regions, one, now)));
        waiting.clone_from(&regions.waiting);
    }
    KeyReport {
        replicas,
        waiting,
        id: key.id,
        alias: key.alias,
        state: key.state,
        version: key.current,
        without_backup,
        next_rotation: key.next_rotation,
        overdue: key.overdue,
        delete_at: key.delete_at,
        expires: key.expires,
    }
}

/// How far behind its primary a replica is.
fn replica(
    key: &KeyLife,
    regions: &KeyRegions,
    replica: &KeyReplica,
    now: Timestamp,
) -> ReplicaReport {
    let held = usize::try_from(replica.versions).unwrap_or(usize::MAX);
    let missing = key.versions.get(held..).unwrap_or_default();
    let is_behind = !missing.is_empty() || replica.generation != regions.generation;
    // The first thing that it lacks; nothing was lacking before it was last whole.
    let since = missing
        .first()
        .map_or(regions.changed_at, |version| version.created)
        .max(replica.synchronized.unwrap_or(regions.changed_at));
    ReplicaReport {
        region: replica.region.clone(),
        versions_missing: missing.len() as u64,
        lag_secs: is_behind.then(|| now.since(since).as_secs()),
        trouble: replica.trouble.clone(),
    }
}

/// What somebody has to look at about keys.
pub(super) fn alarms(keys: &[KeyReport], now: Timestamp) -> impl Iterator<Item = Alarm> {
    let of_key = move |key: &KeyReport| {
        let behind = key.replicas.iter().filter_map(|one| behind(key, one));
        let all: Vec<_> = alarm(key, now).into_iter().chain(behind).collect();
        all
    };
    keys.iter().flat_map(of_key)
}

/// A new version waits for the last replica: what is behind for long keeps it from wrapping.
fn behind(key: &KeyReport, replica: &ReplicaReport) -> Option<Alarm> {
    let lag = replica.lag_secs?;
    if lag < REPLICA_LAG_MAX.as_secs() {
        return None;
    }
    let (name, region, missing) = (name(key), &replica.region, replica.versions_missing);
    let why = replica.trouble.as_ref().map(|why| format!(": {why}"));
    let waits = key
        .waiting
        .as_ref()
        .map(|version| format!("; version {version} does not wrap before every region has it"));
    Some(Alarm {
        alarm: "key_replica_behind".to_owned(),
        evidence: format!(
            "the replica of {name} in region {region} is {lag} s behind and lacks {missing} of its versions{}{}",
            why.unwrap_or_default(),
            waits.unwrap_or_default()
        ),
        remedy: "mend the way there; `sealift keys drop-replica` gives up a region that does not come back"
            .to_owned(),
    })
}

fn alarm(key: &KeyReport, now: Timestamp) -> Option<Alarm> {
    let name = name(key);
    let (alarm, evidence, remedy) = if key.delete_at.is_some_and(|due| due <= now) {
        (
            "key_deletion_held",
            format!("{name} was to be destroyed, and something still needs it"),
            "`sealift keys list` counts what rests under it; `sealift keys cancel-deletion` keeps it",
        )
    } else if key.state == KeyState::PendingImport {
        (
            "key_expired",
            format!("the imported material of {name} is away: nothing under it opens"),
            "bring it again with `sealift keys import`",
        )
    } else if let Some(until) = key.expires.filter(|it| it.minus(EXPIRY_WARNED) <= now) {
        (
            "key_expires",
            format!("the imported material of {name} may be used until {until}"),
            "import it again with a later --expires, or without one",
        )
    } else if key.overdue && key.state == KeyState::Enabled {
        (
            "key_rotation_overdue",
            format!("{name} should have got a new version by itself"),
            "the running agent does that within a minute; its log says what is in the way",
        )
    } else {
        return None;
    };
    Some(Alarm {
        alarm: alarm.to_owned(),
        evidence,
        remedy: remedy.to_owned(),
    })
}

fn name(key: &KeyReport) -> String {
    match &key.alias {
        Some(alias) => alias.to_string(),
        None => key.id.to_string(),
    }
}

pub(super) fn fill(metrics: &Metrics, keys: &[KeyReport]) {
    let missing = keys.iter().map(|key| key.without_backup).sum();
    metrics.series(Metric::KeysNotBackedUp, &[]).set(missing);
    for key in keys {
        let name = name(key);
        let labels = [name.as_str()];
        let flags = [
            (Metric::KeyUsable, key.state.is_usable()),
            (Metric::KeyOverdue, key.overdue),
        ];
        for (metric, flag) in flags {
            metrics.series(metric, &labels).set(u64::from(flag));
        }
        for replica in &key.replicas {
            let labels = [name.as_str(), replica.region.as_str()];
            let lag = replica.lag_secs.unwrap_or(0);
            let missing = replica.versions_missing;
            metrics.series(Metric::KeyReplicaLag, &labels).set(lag);
            metrics
                .series(Metric::KeyReplicaVersions, &labels)
                .set(missing);
        }
        let times = [
            (Metric::KeyRotation, key.next_rotation),
            (Metric::KeyDeletion, key.delete_at),
            (Metric::KeyExpiry, key.expires),
        ];
        for (metric, time) in times {
            if let Some(time) = time {
                let secs = u64::try_from(time.as_secs()).unwrap_or(0);
                metrics.series(metric, &labels).set(secs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyReport {
        KeyReport {
            id: "key-1".parse().unwrap(),
            alias: "alias/a".parse().ok(),
            state: KeyState::Enabled,
            version: "1".to_owned(),
            without_backup: 0,
            next_rotation: None,
            overdue: false,
            delete_at: None,
            expires: None,
            waiting: None,
            replicas: Vec::new(),
        }
    }

    #[test]
    fn a_replica_is_behind_since_the_first_thing_that_it_lacks() {
        let at = |secs: i64| Timestamp::from_secs(1_790_000_000 + secs);
        let version = |id: u8, created| sealift_keys::VersionLife {
            id: id.to_string(),
            created,
            backed_up: true,
            reason: None,
            fingerprint: None,
            material_missing: false,
            destroyed: None,
            held: None,
        };
        let life = |replica: KeyReplica| KeyLife {
            id: "key-1".parse().unwrap(),
            alias: "alias/a".parse().ok(),
            region: "region-b".parse().unwrap(),
            provider: sealift_keys::ProviderKind::Local,
            state: KeyState::Enabled,
            current: "1".to_owned(),
            versions: vec![
                version(1, at(0)),
                version(2, at(1000)),
                version(3, at(2000)),
            ],
            created: at(0),
            description: None,
            origin: sealift_keys::KeyOrigin::Generated,
            rotate_every_days: None,
            next_rotation: None,
            overdue: false,
            delete_at: None,
            expires: None,
            regions: Some(KeyRegions {
                primary: "region-b".parse().unwrap(),
                members: ["region-b".parse().unwrap(), replica.region.clone()].into(),
                allowed: std::collections::BTreeSet::new(),
                term: 1,
                generation: 5,
                changed_at: at(2000),
                waiting: Some("3".to_owned()),
                replicas: vec![replica],
            }),
        };
        let replica = |versions, generation, synchronized| KeyReplica {
            region: "region-a".parse().unwrap(),
            versions,
            generation,
            synchronized,
            trouble: Some("no session is open".to_owned()),
        };
        for (replica, missing, lag) in [
            (replica(3, 5, Some(at(2001))), 0, None),
            (replica(2, 4, Some(at(1001))), 1, Some(100)),
            (replica(1, 3, Some(at(1))), 2, Some(1100)),
            // It has every version, and not the last change of something else.
            (replica(3, 4, Some(at(1001))), 0, Some(100)),
            // It is to be one since the last change only.
            (replica(0, 0, None), 3, Some(100)),
        ] {
            let told = report(life(replica), at(2100));
            let one = &told.replicas[0];
            assert_eq!((one.versions_missing, one.lag_secs), (missing, lag));
            let alarms: Vec<_> = alarms(&[told], at(2100)).collect();
            assert_eq!(!alarms.is_empty(), lag >= Some(REPLICA_LAG_MAX.as_secs()));
            for alarm in alarms {
                assert_eq!(alarm.alarm, "key_replica_behind");
                assert!(alarm.evidence.contains("region-a"), "{alarm:?}");
                assert!(alarm.evidence.contains("no session is open"), "{alarm:?}");
            }
        }
    }

    #[test]
    fn whatever_stops_a_key_or_will_is_an_alarm() {
        let now = Timestamp::from_secs(1_790_000_000);
        let (soon, later) = (now.plus(EXPIRY_WARNED), now.plus(EXPIRY_WARNED * 2));
        let cases = [
            (key(), None),
            (
                KeyReport {
                    overdue: true,
                    ..key()
                },
                Some("key_rotation_overdue"),
            ),
            (
                KeyReport {
                    overdue: true,
                    state: KeyState::Disabled,
                    ..key()
                },
                None,
            ),
            (
                KeyReport {
                    delete_at: Some(now),
                    state: KeyState::PendingDeletion,
                    ..key()
                },
                Some("key_deletion_held"),
            ),
            (
                KeyReport {
                    delete_at: Some(soon),
                    state: KeyState::PendingDeletion,
                    ..key()
                },
                None,
            ),
            (
                KeyReport {
                    expires: Some(soon),
                    ..key()
                },
                Some("key_expires"),
            ),
            (
                KeyReport {
                    expires: Some(later),
                    ..key()
                },
                None,
            ),
            (
                KeyReport {
                    state: KeyState::PendingImport,
                    ..key()
                },
                Some("key_expired"),
            ),
        ];
        for (key, expected) in cases {
            let told: Vec<_> = alarms(std::slice::from_ref(&key), now).collect();
            let words: Vec<_> = told.iter().map(|alarm| alarm.alarm.as_str()).collect();
            assert_eq!(words, Vec::from_iter(expected), "{key:?}");
            assert!(told.iter().all(|alarm| alarm.evidence.contains("alias/a")));
        }
    }
}
