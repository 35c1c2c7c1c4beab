//! What is known, recorded and listed.

use std::collections::HashSet;

use sealift_terms::{ChangeKind, Epoch, Reason, SiteId, Status, VersionId};

use super::sample::{at, bucket, change, facts, key, order, peer, put, rule};
use crate::{
    Destination, Followed, HighWater, IntentCount, Journal, KnownCounts, ListTransfers, NewChange,
    PeerMemory, Skip, Touched, UnsupportedName,
};

pub(super) async fn known_keys_come_in_the_order_of_their_bytes(journal: &dyn Journal) {
    let mut keys = [
        "z", "a", "a/b", "a.b", "a\u{1}", "ä", "é", "e\u{301}", "日本", "🦀", "\u{ffff}", "Z", "~",
    ];
    let changes = keys.iter().zip(1..).map(|(key, n)| put(key, n, 1));
    journal.record(changes.collect(), at(1)).await.unwrap();
    keys.sort_unstable_by_key(|key| key.as_bytes());
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = journal
            .known_page(&bucket(), after.as_ref(), 3)
            .await
            .unwrap();
        let Some(last) = page.last() else {
            break;
        };
        assert!(page.len() <= 3);
        after = Some(last.key.clone());
        found.extend(page.into_iter().map(|known| known.key));
    }
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    assert_eq!(found, keys);
}

pub(super) async fn what_is_known_is_the_highest_order(journal: &dyn Journal) {
    let changes = vec![
        put("k", 5, 50),
        put("k", 3, 30),
        change("k", 6, 0, ChangeKind::Tags),
    ];
    journal.record(changes, at(1)).await.unwrap();
    let known = journal.known(&bucket(), &key("k")).await.unwrap().unwrap();
    assert_eq!((known.order, known.size), (order(5), 50));
    let gone = change("k", 7, 0, ChangeKind::DeleteMarker);
    journal
        .record(vec![gone, put("live", 8, 1)], at(2))
        .await
        .unwrap();
    let known = journal.known(&bucket(), &key("k")).await.unwrap().unwrap();
    assert!(known.deleted);
    let counts = journal.known_counts(&bucket()).await.unwrap();
    assert_eq!(
        counts,
        KnownCounts {
            live: 1,
            deleted: 1
        }
    );
}

pub(super) async fn recording_twice_keeps_one_transfer(journal: &dyn Journal) {
    let first = journal.record(vec![put("k", 1, 10)], at(1)).await.unwrap();
    let again = journal
        .record(vec![put("k", 1, 10), put("l", 2, 10)], at(2))
        .await
        .unwrap();
    assert_eq!(first[0], again[0]);
    assert_ne!(again[0], again[1]);
    let tags = |n| {
        let mut tags = change("k", 1, 0, ChangeKind::Tags);
        tags.change.order = order(n);
        tags
    };
    let tagged = journal
        .record(vec![tags(3), tags(4), tags(4)], at(3))
        .await
        .unwrap();
    let different: HashSet<_> = again.iter().chain(&tagged).collect();
    assert_eq!(different.len(), 4, "two puts, two sets of tags");
    let counts = journal.counts().await.unwrap();
    assert_eq!(counts.iter().map(|count| count.objects).sum::<u64>(), 4);
}

pub(super) async fn all_facts_of_a_transfer_come_back(journal: &dyn Journal) {
    let mut new = put("ä/日本", 9, 123);
    new.destinations.push(Destination {
        rule: rule("other"),
        peer: peer("c"),
        skip: Some(Skip {
            reason: Reason::SkippedReplica,
            evidence: "came from there".to_owned(),
        }),
    });
    let ids = journal.record(vec![new.clone()], at(7)).await.unwrap();
    let sent = journal.transfer(ids[0]).await.unwrap().unwrap();
    assert_eq!(sent.change, new.change);
    assert_eq!(sent.change.facts, facts(123));
    assert_eq!((sent.status, sent.reason), (Status::Pending, None));
    assert_eq!((sent.recorded_at, sent.next_try), (at(7), at(7)));
    let skipped = journal.transfer(ids[1]).await.unwrap().unwrap();
    assert_eq!(skipped.status, Status::Skipped);
    assert_eq!(skipped.reason, Some(Reason::SkippedReplica));
    assert_eq!(skipped.evidence.as_deref(), Some("came from there"));
    assert_eq!((skipped.rule, skipped.peer), (rule("other"), peer("c")));
    let newest_first = journal
        .transfers_of(&bucket(), &key("ä/日本"), 10)
        .await
        .unwrap();
    assert_eq!(newest_first.len(), 2);
    assert_eq!(newest_first[0].id, ids[1]);
}

pub(super) async fn how_a_version_stands_is_told_with_those_whose_ids_begin_as_its_own(
    journal: &dyn Journal,
) {
    let mut twice = put("k", 1, 10);
    twice.destinations.push(Destination {
        rule: rule("other"),
        peer: peer("c"),
        skip: Some(Skip {
            reason: Reason::SkippedFiltered,
            evidence: "it has no tags".to_owned(),
        }),
    });
    let own = twice.change.name.version.clone();
    let mut returned = put("k", 2, 10);
    returned.change.name.version = VersionId::new(format!("{own}~returned-2")).unwrap();
    let another = put("k", 3, 10);
    let other = another.change.name.version.clone();
    assert!(!other.as_str().starts_with(own.as_str()));
    let mut elsewhere = put("kk", 4, 10);
    elsewhere.change.name.version = own.clone();
    let all = vec![twice, another, elsewhere, returned];
    journal.record(all, at(1)).await.unwrap();
    let stand = |version: String, limit| async move {
        let (bucket, key) = (bucket(), key("k"));
        let found = journal.standings(&bucket, &key, &version, limit).await;
        let told = found.unwrap().into_iter().map(|one| {
            assert_eq!(one.kind, ChangeKind::Put);
            let is_own = one.version.as_str() == version;
            (one.peer.to_string(), is_own, one.status, one.reason)
        });
        told.collect::<Vec<_>>()
    };
    let pending = |is_own| ("b".to_owned(), is_own, Status::Pending, None);
    let filtered = Some(Reason::SkippedFiltered);
    let skipped = ("c".to_owned(), true, Status::Skipped, filtered);
    let found = stand(own.to_string(), 9).await;
    assert_eq!(found, [pending(false), skipped, pending(true)]);
    assert_eq!(stand(own.to_string(), 1).await, [pending(false)]);
    assert_eq!(stand(other.to_string(), 9).await, [pending(true)]);
    // An id is no pattern.
    assert!(stand("%".to_owned(), 9).await.is_empty());
}

pub(super) async fn listings_filter_and_go_on(journal: &dyn Journal) {
    let changes = (1..=10).map(|n| put(&format!("k{n}"), n, 1)).collect();
    let ids = journal.record(changes, at(1)).await.unwrap();
    let mut list = ListTransfers {
        limit: 4,
        ..ListTransfers::default()
    };
    let mut found = Vec::new();
    loop {
        let page = journal.transfers(&list).await.unwrap();
        let Some(last) = page.last() else {
            break;
        };
        list.after = Some(last.id);
        found.extend(page.into_iter().map(|transfer| transfer.id));
    }
    assert_eq!(found, ids);
    let filtered = |list: ListTransfers| async move {
        let list = ListTransfers { limit: 99, ..list };
        journal.transfers(&list).await.unwrap().len()
    };
    let all = ListTransfers {
        status: Some(Status::Pending),
        rule: Some(rule("all")),
        peer: Some(peer("b")),
        bucket: Some(bucket()),
        ..ListTransfers::default()
    };
    assert_eq!(filtered(all.clone()).await, 10);
    let failed = ListTransfers {
        status: Some(Status::Failed),
        ..all.clone()
    };
    assert_eq!(filtered(failed).await, 0);
    let elsewhere = ListTransfers {
        peer: Some(peer("elsewhere")),
        ..all
    };
    assert_eq!(filtered(elsewhere).await, 0);
}

pub(super) async fn a_new_rule_finds_what_was_never_sent(journal: &dyn Journal) {
    let mut nowhere = put("unsent", 1, 10);
    nowhere.destinations.clear();
    let gone = change("gone", 3, 0, ChangeKind::DeleteMarker);
    let changes = vec![nowhere, put("sent", 2, 10), gone];
    let ids = journal.record(changes, at(1)).await.unwrap();
    assert_eq!(ids.len(), 2);
    let keys = |peer| async move {
        let page = journal.unsent_page(&bucket(), &peer, None, 10).await;
        let page = page.unwrap().into_iter();
        page.map(|known| known.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(peer("b")).await, [key("unsent")]);
    assert_eq!(keys(peer("c")).await, [key("sent"), key("unsent")]);
}

pub(super) async fn a_new_rule_finds_what_was_removed_here_and_lives_there(journal: &dyn Journal) {
    let elsewhere = |of: &str, n, kind| {
        let mut new = change(of, n, 0, kind);
        new.destinations.clear();
        new
    };
    let marker = |of: &str, n| change(of, n, 0, ChangeKind::DeleteMarker);
    let skipped = |mut new: NewChange| {
        for to in &mut new.destinations {
            to.skip = Some(Skip {
                reason: Reason::SkippedFiltered,
                evidence: String::new(),
            });
        }
        new
    };
    let gone = ChangeKind::DeleteMarker;
    let changes = vec![
        put("back", 1, 1),
        elsewhere("back", 2, gone),
        put("back", 3, 1),
        put("live", 4, 1),
        put("missed", 5, 1),
        elsewhere("missed", 6, gone),
        put("never", 7, 1),
        elsewhere("never", 8, ChangeKind::Put),
        marker("never", 9),
        skipped(put("nowhere", 10, 1)),
        elsewhere("nowhere", 11, gone),
        put("skipped", 12, 1),
        skipped(marker("skipped", 13)),
        put("told", 14, 1),
        marker("told", 15),
        elsewhere("told", 16, ChangeKind::Put),
        elsewhere("told", 17, gone),
    ];
    journal.record(changes, at(1)).await.unwrap();
    let page = |peer, after, rows| async move {
        let after: Option<&str> = after;
        let after = after.map(key);
        let bucket = bucket();
        let page = journal.unremoved_page(&bucket, &peer, after.as_ref(), rows);
        let page = page.await.unwrap().into_iter();
        page.map(|known| known.key).collect::<Vec<_>>()
    };
    let all = [key("missed"), key("skipped")];
    assert_eq!(page(peer("b"), None, 9).await, all);
    assert_eq!(page(peer("b"), None, 1).await, all[..1]);
    assert_eq!(page(peer("b"), Some("missed"), 9).await, all[1..]);
    assert!(page(peer("c"), None, 9).await.is_empty());
}

pub(super) async fn small_memories_are_kept(journal: &dyn Journal) {
    assert_eq!(journal.high_water().await.unwrap(), HighWater::default());
    let mut late = put("k", 7, 1);
    late.change.order.clock = u64::MAX;
    journal
        .record(vec![late, put("l", 6, 1)], at(1))
        .await
        .unwrap();
    let high = journal.high_water().await.unwrap();
    assert_eq!((high.clock, high.change), (u64::MAX, 7));

    assert_eq!(journal.peer(&peer("b")).await.unwrap(), None);
    for sequence in [5, 3] {
        let memory = PeerMemory {
            site: SiteId([1; 16]),
            epoch: Epoch([2; 16]),
            sequence,
            policy: (sequence == 3).then_some(u64::MAX),
            seen_at: at(4),
        };
        journal.remember_peer(&peer("b"), memory).await.unwrap();
        assert_eq!(journal.peer(&peer("b")).await.unwrap(), Some(memory));
    }

    assert!(!journal.is_scanned(&bucket()).await.unwrap());
    for _ in 0..2 {
        journal.mark_scanned(&bucket()).await.unwrap();
        assert!(journal.is_scanned(&bucket()).await.unwrap());
    }
    let other = sealift_terms::BucketName::new("other").unwrap();
    assert!(!journal.is_scanned(&other).await.unwrap());

    assert_eq!(journal.followed(&other).await.unwrap(), None);
    for sequence in [7, 9] {
        let to = Followed {
            epoch: Epoch([3; 16]),
            sequence,
            rules: u64::MAX - sequence,
        };
        journal.set_followed(&bucket(), to).await.unwrap();
        assert_eq!(journal.followed(&bucket()).await.unwrap(), Some(to));
    }
    assert_eq!(journal.followed(&other).await.unwrap(), None);

    let names = |count: usize| {
        let name = |n| UnsupportedName {
            name: format!("bad-{n:05}"),
            reason: Reason::SkippedUnreadable,
            evidence: "not UTF-8".to_owned(),
        };
        (0..count).map(name).collect::<Vec<_>>()
    };
    let max = sealift_terms::limits::UNSUPPORTED_NAMES_MAX;
    for (given, kept) in [(3, 3), (1, 1), (max + 1, max)] {
        journal
            .replace_unsupported(&bucket(), names(given))
            .await
            .unwrap();
        let found = journal.unsupported(&bucket()).await.unwrap();
        assert_eq!(found, names(kept));
    }
}

pub(super) async fn intents_are_kept_by_bucket_until_they_are_forgotten(journal: &dyn Journal) {
    let other = sealift_terms::BucketName::new("other").unwrap();
    let keys = ["a", "b", "a"].map(key).to_vec();
    let tags = Touched::Tags(Some(sealift_terms::VersionId::new("v1").unwrap()));
    let ids = journal.intend(&bucket(), keys, tags.clone(), at(1)).await;
    let ids = ids.unwrap();
    let elsewhere = journal.intend(&other, vec![key("a")], Touched::Versions, at(2));
    let elsewhere = elsewhere.await.unwrap();
    assert!(ids.is_sorted() && !ids.contains(&elsewhere[0]), "{ids:?}");
    let count = journal.intent_count(&bucket()).await.unwrap();
    assert_eq!((count.intents, count.oldest), (3, Some(at(1))));
    let found = journal.intents(&bucket(), 0, 2).await.unwrap();
    let found: Vec<_> = found.iter().map(|one| (one.id, one.key.as_str())).collect();
    assert_eq!(found, [(ids[0], "a"), (ids[1], "b")]);
    let rest = journal.intents(&bucket(), ids[1], 9).await.unwrap();
    assert_eq!((rest.len(), rest[0].id, rest[0].at), (1, ids[2], at(1)));
    let left = journal.intents(&other, 0, 9).await.unwrap();
    let touched = (&rest[0].touched, &left[0].touched);
    assert_eq!(touched, (&tags, &Touched::Versions));
    journal.forget_intents(ids.clone()).await.unwrap();
    // What is not there is forgotten.
    journal.forget_intents(ids.clone()).await.unwrap();
    assert!(journal.intents(&bucket(), 0, 9).await.unwrap().is_empty());
    assert_eq!(journal.intents(&other, 0, 9).await.unwrap().len(), 1);
    let none = journal.intent_count(&bucket()).await.unwrap();
    assert_eq!(none, IntentCount::default());
    let left = journal.intent_count(&other).await.unwrap();
    assert_eq!((left.intents, left.oldest), (1, Some(at(2))));
    journal.forget_intents(elsewhere.clone()).await.unwrap();
    let latest = Touched::Tags(None);
    let bucket = bucket();
    let next = journal.intend(&bucket, vec![key("c")], latest.clone(), at(3));
    assert!(next.await.unwrap() > elsewhere, "no number is given twice");
    let left = journal.intents(&bucket, 0, 9).await.unwrap();
    assert_eq!(left[0].touched, latest);
}
