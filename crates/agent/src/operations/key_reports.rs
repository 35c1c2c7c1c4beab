//! The keys as `status`, alarms and metrics show them.

use std::time::Duration;

use sealift_keys::{KeyLife, KeyState};
use sealift_terms::Timestamp;

use super::SiteOperations;
use crate::{
    Metric, Metrics,
    admin::{Alarm, KeyReport},
};

/// Imported material whose time is over within this is told: 14 days.
const EXPIRY_WARNED: Duration = Duration::from_secs(14 * 86_400);

impl SiteOperations {
    pub(super) fn key_reports(&self) -> Vec<KeyReport> {
        self.site.keystore.lives().into_iter().map(report).collect()
    }
}

fn report(key: KeyLife) -> KeyReport {
    let is_missing = |version: &&sealift_keys::VersionLife| {
        !version.backed_up && !version.material_missing && version.destroyed.is_none()
    };
    let without_backup = key.versions.iter().filter(is_missing).count() as u64;
    KeyReport {
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

/// What somebody has to look at about keys.
pub(super) fn alarms(keys: &[KeyReport], now: Timestamp) -> impl Iterator<Item = Alarm> {
    keys.iter().filter_map(move |key| alarm(key, now))
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
