//! Keys of several regions: two and three keystores that are told of each other what their
//! agents would tell.

use std::{collections::BTreeSet, time::Duration};

use sealift_terms::{
    DeletionDays, ObjectUid, RotationDays,
    limits::{KEY_REGIONS_MAX, KEY_VERSIONS_PER_EXCHANGE_MAX},
};

use super::{
    life::{HandClock, in_time, note},
    *,
};
use crate::{KeyChange, KeyLife, KeyRegions, KeySeen, NewKey, SharedKey};

const DAY: Duration = Duration::from_secs(86_400);

/// A region with its keystore.
struct Site {
    region: Region,
    keystore: LocalKeystore,
    clock: Arc<HandClock>,
    place: Place,
}

impl Site {
    fn new(name: &str) -> Self {
        let place = Place::new();
        let (keystore, clock) = in_time(&place);
        Self {
            region: Region::new(name).unwrap(),
            keystore,
            clock,
            place,
        }
    }

    fn create(&self, allowed: &[&str]) -> KeyId {
        let new = NewKey {
            alias: alias("alias/shared"),
            is_multi_region: true,
            allowed_regions: allowed
                .iter()
                .map(|name| Region::new(*name).unwrap())
                .collect(),
            ..NewKey::of(self.region.clone())
        };
        self.keystore.create_new(new).unwrap().id
    }

    fn life(&self, key: &KeyId) -> KeyLife {
        self.keystore.life(key.as_str()).unwrap()
    }

    fn regions(&self, key: &KeyId) -> KeyRegions {
        self.life(key).regions.unwrap()
    }

    fn seen(&self, key: &KeyId) -> KeySeen {
        self.keystore.seen(key.as_str()).unwrap()
    }

    fn rotate(&self, key: &KeyId) {
        self.keystore.rotate(key.as_str()).unwrap();
    }

    /// What goes to a replica, as it arrives there.
    fn shared(&self, key: &KeyId, after: u64, region: &Region) -> SharedKey {
        let shared = self.keystore.share(key.as_str(), after).unwrap();
        SharedKey::parse(&shared.to_json().unwrap(), key, region).unwrap()
    }

    /// Adds the replica and brings it.
    fn replicate(&self, key: &KeyId, to: &Self) {
        self.keystore.add_replica(key.as_str(), &to.region).unwrap();
        self.bring(key, to);
    }

    /// One exchange, acknowledged.
    fn bring(&self, key: &KeyId, to: &Self) {
        let seen = self.take(key, to);
        self.keystore.replica_is(key.as_str(), &seen).unwrap();
    }

    /// One exchange of which the acknowledgement is lost.
    fn take(&self, key: &KeyId, to: &Self) -> KeySeen {
        let there = to
            .keystore
            .seen(key.as_str())
            .map_or(0, |seen| seen.versions);
        let shared = self.shared(key, there, &to.region);
        to.keystore
            .take_shared(&shared, &to.region, true)
            .unwrap()
            .seen
    }
}

fn versions(site: &Site, key: &KeyId) -> Vec<String> {
    let body = site.keystore.body();
    let cmk = body.find(key.as_str()).unwrap();
    let hex = cmk
        .versions
        .iter()
        .map(|one| one.material.as_ref().unwrap().to_hex());
    hex.map(|hex| hex.to_string()).collect()
}

#[test]
fn a_replica_has_id_material_and_rotation_and_nothing_else_of_its_primary() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    a.rotate(&key);
    let change = KeyChange {
        description: note("of the photos"),
        rotate_every_days: Some(RotationDays::new(90).unwrap()),
        ..KeyChange::default()
    };
    a.keystore.set(key.as_str(), change).unwrap();
    a.replicate(&key, &b);
    let life = b.life(&key);
    assert_eq!(life.id, key);
    assert_eq!(versions(&a, &key), versions(&b, &key));
    assert_eq!((life.region.as_str(), life.current.as_str()), ("b", "2"));
    assert_eq!(life.rotate_every_days.map(RotationDays::days), Some(90));
    assert_eq!(
        (life.alias, life.description, life.state),
        (None, None, KeyState::Enabled)
    );
    assert_eq!(life.next_rotation, None, "the primary rotates");
    // State, alias and description are each region's own.
    b.keystore.disable(key.as_str()).unwrap();
    let change = KeyChange {
        alias: alias("alias/theirs"),
        ..KeyChange::default()
    };
    b.keystore.set(key.as_str(), change).unwrap();
    a.bring(&key, &b);
    assert_eq!(b.life(&key).state, KeyState::Disabled);
    assert_eq!(a.life(&key).state, KeyState::Enabled);
    let differ: Vec<_> = a.seen(&key).differences(&b.seen(&key));
    let properties: Vec<_> = differ
        .iter()
        .map(|one| (one.property.as_str(), one.shared))
        .collect();
    assert_eq!(
        properties,
        [("state", false), ("alias", false), ("description", false)]
    );
    // Both survive a restart.
    for site in [&a, &b] {
        let read = site.place.open(&site.place.secret).unwrap();
        assert_eq!(read.seen(key.as_str()).unwrap(), site.seen(&key));
    }
    // And only b's backup holds what b has.
    assert_eq!(b.keystore.without_backup().len(), 2);
}

#[test]
fn a_new_version_wraps_once_every_replica_has_said_that_it_has_it() {
    let (a, b, c) = (Site::new("a"), Site::new("b"), Site::new("c"));
    let key = a.create(&[]);
    a.rotate(&key);
    assert_eq!(a.life(&key).current, "2", "nobody else has to have it");
    a.replicate(&key, &b);
    a.replicate(&key, &c);
    a.bring(&key, &b);
    a.rotate(&key);
    assert_eq!(
        (a.life(&key).current, a.regions(&key).waiting),
        ("2".into(), Some("3".into()))
    );
    // One has it, and holds it back.
    a.bring(&key, &b);
    assert_eq!(
        (a.life(&key).current, b.life(&key).current),
        ("2".into(), "2".into())
    );
    assert_eq!(b.seen(&key).versions, 3);
    // Another one while the first waits: it is a version further.
    a.rotate(&key);
    a.bring(&key, &b);
    // The other took it, and its word is lost: nothing wraps with it yet.
    let seen = a.take(&key, &c);
    assert_eq!((seen.versions, a.life(&key).current), (4, "2".into()));
    a.keystore.replica_is(key.as_str(), &seen).unwrap();
    assert_eq!(
        (a.life(&key).current, a.regions(&key).waiting),
        ("4".into(), None)
    );
    // The replicas follow when they are told.
    assert_eq!(c.life(&key).current, "2");
    a.bring(&key, &b);
    a.bring(&key, &c);
    assert_eq!(
        (b.life(&key).current, c.life(&key).current),
        ("4".into(), "4".into())
    );
    let behind = a
        .regions(&key)
        .replicas
        .iter()
        .any(|one| one.generation != a.seen(&key).generation);
    assert!(!behind, "{:?}", a.regions(&key));
    // A replica that is added later holds up what comes, and takes back nothing.
    let d = Site::new("d");
    a.keystore.add_replica(key.as_str(), &d.region).unwrap();
    assert_eq!(a.life(&key).current, "4");
    a.rotate(&key);
    for site in [&b, &c] {
        a.bring(&key, site);
    }
    assert_eq!(a.life(&key).current, "4");
    a.bring(&key, &d);
    assert_eq!(a.life(&key).current, "5");
    // One that is given up holds up nothing.
    a.rotate(&key);
    for site in [&b, &c] {
        a.bring(&key, site);
    }
    assert_eq!(a.life(&key).current, "5");
    a.keystore.remove_replica(key.as_str(), &d.region).unwrap();
    assert_eq!(a.life(&key).current, "6");
    let again = a
        .keystore
        .remove_replica(key.as_str(), &d.region)
        .unwrap_err();
    assert!(matches!(again, KeyError::NoReplica { .. }), "{again}");
}

#[test]
fn a_replica_that_was_away_for_many_versions_gets_them_in_steps() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    a.replicate(&key, &b);
    let many = KEY_VERSIONS_PER_EXCHANGE_MAX + 20;
    for _ in 0..many {
        a.rotate(&key);
    }
    a.bring(&key, &b);
    let all = many as u64 + 1;
    assert_eq!(
        b.seen(&key).versions,
        KEY_VERSIONS_PER_EXCHANGE_MAX as u64 + 1
    );
    assert_ne!(
        b.seen(&key).generation,
        a.seen(&key).generation,
        "not all of it is there"
    );
    a.bring(&key, &b);
    assert_eq!(b.seen(&key).versions, all);
    a.bring(&key, &b);
    assert_eq!(
        (a.life(&key).current, b.life(&key).current),
        (all.to_string(), all.to_string())
    );
}

#[test]
fn only_the_primary_rotates_and_gives_away_and_a_key_of_one_region_stays_there() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&["b"]);
    a.replicate(&key, &b);
    let (at_b, name) = (&b.keystore, key.as_str());
    let days = KeyChange {
        rotate_every_days: Some(RotationDays::new(100).unwrap()),
        ..KeyChange::default()
    };
    let c = Region::new("c").unwrap();
    let refused = [
        at_b.rotate(name).map(drop),
        at_b.set(name, days).map(drop),
        at_b.add_replica(name, &c).map(drop),
        at_b.remove_replica(name, &a.region).map(drop),
        at_b.share(name, 0).map(drop),
        at_b.replica_is(name, &a.seen(&key)).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, KeyError::NotPrimary { .. }), "{error}");
    }
    let elsewhere = a.keystore.add_replica(name, &c).unwrap_err();
    assert!(
        matches!(elsewhere, KeyError::Residency { .. }),
        "{elsewhere}"
    );
    assert_eq!(elsewhere.reason(), sealift_terms::Reason::ResidencyDenied);
    assert!(a.keystore.add_replica(name, &a.region).is_err());
    let single = a
        .keystore
        .create_key(alias("alias/single"), a.region.clone())
        .unwrap()
        .id;
    for refused in [
        a.keystore.add_replica(single.as_str(), &b.region).map(drop),
        a.keystore.share(single.as_str(), 0).map(drop),
        a.keystore.seen(single.as_str()).map(drop),
        a.keystore.take_over(single.as_str(), 2).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, KeyError::NotShared { .. }), "{error}");
    }
    let many = a.create_many();
    for n in 1..KEY_REGIONS_MAX {
        let region = Region::new(format!("r{n}")).unwrap();
        a.keystore.add_replica(many.as_str(), &region).unwrap();
    }
    let full = a.keystore.add_replica(many.as_str(), &c).unwrap_err();
    assert!(matches!(full, KeyError::RegionsDiffer { .. }), "{full}");
    a.place.open(&a.place.secret).unwrap();
}

impl Site {
    fn create_many(&self) -> KeyId {
        let new = NewKey {
            is_multi_region: true,
            ..NewKey::of(self.region.clone())
        };
        self.keystore.create_new(new).unwrap().id
    }
}

#[test]
fn a_primary_is_deleted_after_its_replicas_and_cancelling_leaves_it_disabled() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    let name = key.as_str();
    a.replicate(&key, &b);
    let days = DeletionDays::new(7).unwrap();
    a.keystore.schedule_deletion(name, days).unwrap();
    let life = a.life(&key);
    assert_eq!(
        (life.state, life.delete_at),
        (KeyState::PendingReplicaDeletion, None)
    );
    a.clock.pass(60 * DAY);
    assert!(a.keystore.destroy(name).is_err(), "it has a replica");
    for refused in [
        a.keystore.rotate(name).map(drop),
        a.keystore.enable(name).map(drop),
        a.keystore
            .add_replica(name, &Region::new("c").unwrap())
            .map(drop),
        a.keystore.yield_to(name, &b.region, 2).map(drop),
    ] {
        assert!(refused.is_err());
    }
    a.keystore.cancel_deletion(name).unwrap();
    assert_eq!(a.life(&key).state, KeyState::Disabled);
    a.keystore.schedule_deletion(name, days).unwrap();
    // The replica has a life of its own: it waits, and is destroyed.
    b.keystore.schedule_deletion(name, days).unwrap();
    assert_eq!(b.life(&key).state, KeyState::PendingDeletion);
    b.clock.pass(7 * DAY);
    b.keystore.destroy(name).unwrap();
    assert!(b.keystore.was_destroyed(&key));
    // What still comes does not bring it back, and another replication does.
    let shared = a.shared(&key, 0, &b.region);
    assert!(b.keystore.take_shared(&shared, &b.region, false).is_err());
    a.keystore.remove_replica(name, &b.region).unwrap();
    let life = a.life(&key);
    assert_eq!(life.state, KeyState::PendingDeletion);
    assert_eq!(life.delete_at, Some(a.clock.now().plus(7 * DAY)));
    assert!(a.keystore.destroy(name).is_err());
    a.clock.pass(7 * DAY);
    a.keystore.destroy(name).unwrap();
    b.keystore.take_shared(&shared, &b.region, true).unwrap();
    assert!(!b.keystore.was_destroyed(&key));
}

#[test]
fn a_replica_leads_once_the_primary_has_yielded_and_may_ask_twice() {
    let (a, b, c) = (Site::new("a"), Site::new("b"), Site::new("c"));
    let key = a.create(&[]);
    let name = key.as_str();
    a.replicate(&key, &b);
    let early = a.keystore.yield_to(name, &c.region, 2).unwrap_err();
    assert!(matches!(early, KeyError::NoReplica { .. }), "{early}");
    a.replicate(&key, &c);
    let behind = a.keystore.yield_to(name, &b.region, 2).unwrap_err();
    assert!(matches!(behind, KeyError::ReplicaBehind { .. }), "{behind}");
    a.bring(&key, &b);
    for term in [0, 1, 3, u64::MAX] {
        assert!(
            a.keystore.yield_to(name, &b.region, term).is_err(),
            "{term}"
        );
    }
    // Its answer is lost; it is asked again, and says the same.
    let first = a.keystore.yield_to(name, &b.region, 2).unwrap();
    assert_eq!(a.keystore.yield_to(name, &b.region, 2).unwrap(), first);
    assert!(a.keystore.yield_to(name, &c.region, 2).is_err());
    assert!(
        a.keystore.rotate(name).is_err(),
        "nobody leads it for the moment"
    );
    b.keystore.take_over(name, 2).unwrap();
    b.keystore.take_over(name, 2).unwrap();
    assert_eq!(b.regions(&key).primary.as_str(), "b");
    let mut others: Vec<_> = b
        .regions(&key)
        .replicas
        .into_iter()
        .map(|one| one.region)
        .collect();
    others.sort_unstable();
    assert_eq!(others, [a.region.clone(), c.region.clone()]);
    // It waits for both, and both follow it.
    b.rotate(&key);
    assert_eq!(b.life(&key).current, "1");
    b.bring(&key, &a);
    b.bring(&key, &c);
    b.bring(&key, &a);
    b.bring(&key, &c);
    for site in [&a, &b, &c] {
        assert_eq!(site.life(&key).current, "2");
        assert_eq!(site.seen(&key).primary.as_str(), "b");
    }
    assert_eq!(versions(&a, &key), versions(&b, &key));
    // What the one before says is not heard any more.
    let shared = SharedKey {
        term: 1,
        primary: a.region.clone(),
        ..b.shared(&key, 0, &c.region)
    };
    let stale = c
        .keystore
        .take_shared(&shared, &c.region, false)
        .unwrap_err();
    assert!(matches!(stale, KeyError::PrimaryBefore { .. }), "{stale}");
}

#[test]
fn a_primary_that_comes_back_after_it_was_replaced_forgets_what_never_wrapped() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    let name = key.as_str();
    a.replicate(&key, &b);
    a.rotate(&key);
    assert_eq!(a.life(&key).current, "1");
    // It is gone before the replica has heard of that version, which makes one of its own.
    b.keystore.take_over(name, 2).unwrap();
    b.rotate(&key);
    assert_eq!(b.life(&key).current, "1", "it waits for the other one");
    // A word of the old one is refused, and it follows.
    let shared = a.shared(&key, 0, &b.region);
    assert!(b.keystore.take_shared(&shared, &b.region, false).is_err());
    let theirs = b.shared(&key, 1, &a.region);
    let seen = a
        .keystore
        .take_shared(&theirs, &a.region, false)
        .unwrap()
        .seen;
    b.keystore.replica_is(name, &seen).unwrap();
    b.bring(&key, &a);
    assert_eq!(versions(&a, &key), versions(&b, &key));
    assert_eq!(
        (a.life(&key).current, b.life(&key).current),
        ("2".into(), "2".into())
    );
}

#[test]
fn nothing_replaces_material_and_what_contradicts_is_refused() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    let name = key.as_str();
    a.replicate(&key, &b);
    a.bring(&key, &b);
    let before = (versions(&b, &key), b.seen(&key));
    let good = a.shared(&key, 0, &b.region);
    type Change = fn(&mut SharedKey);
    let changes: [Change; 5] = [
        // Another key under the number of one that is there.
        |s| s.versions[0].material = Some(Material::random(&OsRng)),
        // A gap.
        |s| {
            s.total = 5;
            s.versions[0].id = "5".to_owned();
        },
        // A second primary of the same term.
        |s| {
            s.primary = Region::new("x").unwrap();
            s.members.insert(s.primary.clone());
        },
        // Somebody speaks for this region.
        |s| s.primary = Region::new("b").unwrap(),
        // One that is not the primary any more.
        |s| s.term = 0,
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut shared = good.clone();
        shared.generation += 1;
        change(&mut shared);
        assert!(
            b.keystore.take_shared(&shared, &b.region, false).is_err(),
            "{n}"
        );
        assert_eq!((versions(&b, &key), b.seen(&key)), before, "{n}");
    }
    // An older word than the last is no error, and changes nothing.
    let mut older = good.clone();
    older.generation -= 1;
    older.rotate_every_days = RotationDays::new(90).unwrap();
    b.keystore.take_shared(&older, &b.region, false).unwrap();
    assert_eq!(b.seen(&key), before.1);
    // A key of one region that has the same id is not made one of several.
    let single = Site::new("c");
    single
        .keystore
        .create_key(None, single.region.clone())
        .unwrap();
    let id = single.keystore.list()[0].id.clone();
    let stray = SharedKey { key: id, ..good };
    let error = single
        .keystore
        .take_shared(&stray, &single.region, true)
        .unwrap_err();
    assert!(matches!(error, KeyError::RegionsDiffer { .. }), "{error}");
    // A primary does not count as held what is another key there.
    a.rotate(&key);
    let mut seen = b.seen(&key);
    seen.versions = 2;
    seen.prints.push(("2".to_owned(), Some("00".repeat(16))));
    let error = a.keystore.replica_is(name, &seen).unwrap_err();
    assert!(matches!(error, KeyError::RegionsDiffer { .. }), "{error}");
    assert_eq!(a.life(&key).current, "1");
}

#[test]
fn a_primary_that_is_an_older_copy_makes_no_version_that_a_replica_has_another_one_for() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    let name = key.as_str();
    a.replicate(&key, &b);
    a.bring(&key, &b);
    let copy = fs::read(a.place.path()).unwrap();
    a.rotate(&key);
    a.bring(&key, &b);
    a.bring(&key, &b);
    assert_eq!(b.life(&key).current, "2");
    fs::write(a.place.path(), copy).unwrap();
    let old = a.place.open(&a.place.secret).unwrap();
    old.replica_is(name, &b.seen(&key)).unwrap();
    let error = old.rotate(name).unwrap_err();
    assert!(matches!(error, KeyError::RegionsDiffer { .. }), "{error}");
    // The replica has everything: it may lead, and the other one gets it back.
    b.keystore.take_over(name, 2).unwrap();
    let shared = b.shared(&key, 1, &a.region);
    old.take_shared(&shared, &a.region, false).unwrap();
    assert_eq!(old.seen(name).unwrap().prints, b.seen(&key).prints);
}

#[test]
fn an_old_version_is_retired_in_each_region_by_itself_and_not_before_it_has_settled() {
    let (a, b) = (Site::new("a"), Site::new("b"));
    let key = a.create(&[]);
    let name = key.as_str();
    a.replicate(&key, &b);
    a.rotate(&key);
    a.clock.pass(DAY);
    let waiting = a.keystore.retire(name, "1").unwrap_err();
    assert!(matches!(waiting, KeyError::InUse { .. }), "{waiting}");
    a.bring(&key, &b);
    let fresh = a.keystore.retire(name, "1").unwrap_err();
    assert!(
        matches!(fresh, KeyError::InUse { .. }),
        "it wraps for no time: {fresh}"
    );
    a.clock.pass(DAY);
    a.keystore.retire(name, "1").unwrap();
    a.bring(&key, &b);
    assert_eq!(b.keystore.list()[0].versions.len(), 2);
    // A replica that is made now has its number, and nothing behind it.
    let c = Site::new("c");
    a.replicate(&key, &c);
    assert_eq!(c.seen(&key).versions, 2);
    assert_eq!(c.keystore.list()[0].versions.len(), 1);
    assert!(c.life(&key).versions[0].destroyed.is_some());
}

#[tokio::test]
async fn what_one_region_wrapped_opens_in_the_other_and_in_no_third() {
    use sealift_terms::Audit;

    struct NoLog;
    impl Audit for NoLog {
        fn record(
            &self,
            _: sealift_terms::AuditRecord,
        ) -> Result<(), sealift_terms::AuditUnavailable> {
            Ok(())
        }
    }
    let (a, b, c) = (Site::new("a"), Site::new("b"), Site::new("c"));
    let key = a.create(&[]);
    a.replicate(&key, &b);
    a.bring(&key, &b);
    // A third one that was brought the material by hand, as it were: it is no region of it.
    let mut shared = a.shared(&key, 0, &c.region);
    shared.members = BTreeSet::from([Region::new("x").unwrap(), c.region.clone()]);
    shared.primary = Region::new("x").unwrap();
    c.keystore.take_shared(&shared, &c.region, true).unwrap();
    let ring = |site: Site| {
        let (region, clock) = (site.region.clone(), site.clock.clone());
        let keystore = Arc::new(site.keystore);
        crate::RecordRing::new(keystore, region, clock, Arc::new(OsRng), Arc::new(NoLog))
    };
    let (at_a, at_b, at_c) = (ring(a), ring(b), ring(c));
    let bucket = BucketName::new("photos").unwrap();
    let object = ObjectUid([3; 16]);
    for record in [
        at_a.current(&bucket, key.as_str()).await.unwrap(),
        at_a.for_object(&bucket, key.as_str(), object)
            .await
            .unwrap(),
    ] {
        let opened = at_b.open(record.record(), &bucket).await.unwrap();
        assert!(opened.key() == record.key());
        assert_eq!(opened.record(), record.record(), "as it was wrapped");
        assert!(at_c.open(record.record(), &bucket).await.is_err());
        // A record that lies about its region opens nowhere.
        let mut lying = record.record().clone();
        lying.region = Region::new("b").unwrap();
        assert!(at_b.open_anew(&lying, &bucket).await.is_err());
        // Wrapped anew it is b's own.
        let own = at_b
            .rewrap(record.record(), &bucket, key.as_str())
            .await
            .unwrap();
        assert_eq!(own.record().region.as_str(), "b");
        assert!(own.key() == record.key());
    }
}
