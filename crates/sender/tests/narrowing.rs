//! Rules that send less than those by which something was recorded.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod far;
mod near;
mod site;

use std::sync::Arc;

use near::{
    Near, all, bucket, complete, journal, peer, rules, tagged, tagged_rule, until,
    versioned::Versioned,
};
use sealift_host::OsClock;
use sealift_ledger::{Journal, Requeue, Settlement, TransferOutcome};
use sealift_sender::{Rule, Rules};
use sealift_store::MemorySource;
use sealift_terms::{ChangeKind, Clock, Reason, Status};
use site::{Site, content, takes_all};

/// How each key stands, in their order; a `-` before what is no version with content.
async fn stand(journal: &dyn Journal) -> Vec<String> {
    let rows = all(journal).await;
    let to_far = rows.iter().filter(|row| row.peer == peer());
    let told = to_far.map(|row| {
        let kind = match row.change.kind {
            ChangeKind::Put => "",
            _ => "-",
        };
        format!("{kind}{} {}", row.change.name.key, row.status)
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

async fn stands(journal: &dyn Journal, expected: &[&str]) {
    until(&format!("{expected:?}"), async || {
        stand(journal).await == expected
    })
    .await;
}

async fn with_two() -> (tempfile::TempDir, MemorySource, Near) {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for key in ["a", "zzz/b"] {
        source.put(key, *b"x").unwrap();
    }
    let all = rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), all).await;
    near.scan().await;
    (temp, source, near)
}

#[tokio::test]
async fn what_waits_is_left_out_with_why_and_goes_when_a_rule_sends_it_again() {
    let (_temp, _source, near) = with_two().await;
    let journal = near.journal.clone();
    stands(&*journal, &["a PENDING", "zzz/b PENDING"]).await;
    // What was given up is no other than what waits.
    let leased = journal.lease(&peer(), 1, OsClock.now()).await.unwrap();
    let given_up = Settlement {
        id: leased[0].id,
        at: OsClock.now(),
        outcome: TransferOutcome::Failed {
            reason: Reason::PolicyDenied,
            evidence: String::new(),
        },
    };
    journal.settle(vec![given_up]).await.unwrap();
    for rows in [&[("some", "zzz/", "far")], &[("all", "", "other")]] {
        near.rules.send_replace(rules(rows));
        let is_some = rows[0].0 == "some";
        let b = ["zzz/b SKIPPED", "zzz/b PENDING"][usize::from(is_some)];
        until("no more than a rule sends", async || {
            let stand = stand(&*journal).await;
            stand.contains(&"a SKIPPED".to_owned()) && stand.contains(&b.to_owned())
        })
        .await;
        let rows = all(&*journal).await;
        let left_out = rows.iter().find(|row| row.status == Status::Skipped);
        let left_out = left_out.unwrap();
        assert_eq!(left_out.reason, Some(Reason::SkippedFiltered));
        let evidence = left_out.evidence.as_deref().unwrap_or_default();
        assert!(
            evidence.contains("no rule in force sends it to far"),
            "{evidence}"
        );
    }
    near.rules.send_replace(rules(&[("all", "", "far")]));
    stands(&*journal, &["a PENDING", "zzz/b PENDING"]).await;
    near.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_that_no_rule_in_force_sends() {
    let mut site = Site::new().await;
    for key in ["a", "zzz/b", "zzz/cold", "gone", "zzz/gone"] {
        site.source.put(key, content(9)).unwrap();
    }
    for (key, class) in [("a", "hot"), ("zzz/b", "hot"), ("zzz/cold", "cold")] {
        site.source.tag(key, &[("class", class)]).unwrap();
    }
    site.near.scan().await;
    for key in ["gone", "zzz/gone"] {
        site.source.remove(key).unwrap();
    }
    site.near.scan().await;
    until("the markers are recorded", async || {
        all(site.journal()).await.len() == 7
    })
    .await;
    // Nobody is there to leave out what waits: it is held when it is to be sent.
    site.near.rest().await;
    let hot = Rule {
        prefix: "zzz/".to_owned(),
        delete_markers: false,
        ..tagged_rule("class", "hot")
    };
    site.near
        .rules
        .send_replace(Arc::new(Rules::new(vec![hot])));
    let far = takes_all();
    let running = site.run(&far);
    site.completed(1).await;
    stands(
        site.journal(),
        &[
            "-gone SKIPPED",
            "-zzz/gone SKIPPED",
            "a SKIPPED",
            "gone SKIPPED",
            "zzz/b COMPLETED",
            "zzz/cold SKIPPED",
            "zzz/gone SKIPPED",
        ],
    )
    .await;
    running.end().await;
    assert_eq!(far.store.lock().order, ["zzz/b"]);
}

/// Widening and narrowing again: what a rule sends, and what it does not.
async fn changes_to(near: &Near, rows: Arc<Rules>) {
    near.rules.send_replace(rows);
    near.scan().await;
}

#[tokio::test]
async fn what_was_removed_while_no_rule_sent_that_is_removed_when_one_does() {
    let (_temp, source, near) = with_two().await;
    let journal = near.journal.clone();
    complete(&*journal, OsClock.now()).await;
    changes_to(&near, rules(&[("some", "zzz/", "far")])).await;
    source.remove("a").unwrap();
    until("it is known to be removed", async || {
        let counts = journal.known_counts(&bucket()).await.unwrap();
        counts.deleted == 1
    })
    .await;
    stands(&*journal, &["a COMPLETED", "zzz/b COMPLETED"]).await;
    let all = rules(&[("all", "", "far")]);
    for _ in 0..2 {
        changes_to(&near, all.clone()).await;
        stands(&*journal, &["-a PENDING", "a COMPLETED", "zzz/b COMPLETED"]).await;
    }
    complete(&*journal, OsClock.now()).await;
    // A rule without delete markers says that it left one out, until it sends them.
    changes_to(&near, keeping()).await;
    source.remove("zzz/b").unwrap();
    until("it is left out", async || {
        stand(&*journal)
            .await
            .contains(&"-zzz/b SKIPPED".to_owned())
    })
    .await;
    changes_to(&near, all).await;
    let sent = [
        "-a COMPLETED",
        "-zzz/b PENDING",
        "a COMPLETED",
        "zzz/b COMPLETED",
    ];
    stands(&*journal, &sent).await;
    near.end().await;
}

/// Queues what is at the peer again, and has rules leave it out.
async fn queued_and_left_out(near: &Near, to: Arc<Rules>, stand: &[&str]) {
    for row in all(&*near.journal).await {
        let which = Requeue::Version {
            peer: peer(),
            name: row.change.name,
        };
        near.journal.requeue(which, OsClock.now()).await.unwrap();
    }
    changes_to(near, to).await;
    stands(&*near.journal, stand).await;
}

#[tokio::test]
async fn what_was_there_before_it_was_left_out_is_removed_there() {
    let (_temp, source, near) = with_two().await;
    let journal = near.journal.clone();
    complete(&*journal, OsClock.now()).await;
    let some = rules(&[("some", "zzz/", "far")]);
    queued_and_left_out(&near, some, &["a SKIPPED", "zzz/b PENDING"]).await;
    source.put("new", *b"x").unwrap();
    near.scan().await;
    for key in ["a", "new"] {
        source.remove(key).unwrap();
    }
    near.scan().await;
    let counts = journal.known_counts(&bucket()).await.unwrap();
    assert_eq!(counts.deleted, 2);
    changes_to(&near, rules(&[("all", "", "far")])).await;
    // The other one was never there.
    stands(&*journal, &["-a PENDING", "a SKIPPED", "zzz/b PENDING"]).await;
    near.end().await;
}

#[tokio::test]
async fn tags_and_removals_go_where_a_version_was_before_its_tags_left_it_out() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    source.put("k", *b"x").unwrap();
    source.tag("k", &[("class", "hot")]).unwrap();
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source.clone()),
        tagged("class", "hot"),
    )
    .await;
    near.scan().await;
    complete(&*near.journal, OsClock.now()).await;
    let cold = tagged("class", "cold");
    queued_and_left_out(&near, cold, &["k SKIPPED"]).await;
    source.remove("k").unwrap();
    stands(&*near.journal, &["-k PENDING", "k SKIPPED"]).await;
    near.end().await;
}

/// One rule for `far` that sends no delete markers.
fn keeping() -> Arc<Rules> {
    let rule = Rule {
        tags: Default::default(),
        delete_markers: false,
        existing_objects: false,
        ..tagged_rule("", "")
    };
    Arc::new(Rules::new(vec![rule]))
}

#[tokio::test]
async fn much_that_was_removed_meanwhile_waits_for_somebody_to_say_that_it_is_meant() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for n in 0..20 {
        source.put(&format!("k{n:02}"), *b"x").unwrap();
    }
    let all_rules = rules(&[("all", "", "far")]);
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source.clone()),
        all_rules.clone(),
    )
    .await;
    near.scan().await;
    let journal = near.journal.clone();
    complete(&*journal, OsClock.now()).await;
    changes_to(&near, rules(&[("some", "zzz/", "far")])).await;
    // Little by little, so that nothing of it is held.
    for (from, to) in [(0, 8), (8, 14)] {
        for n in from..to {
            source.remove(&format!("k{n:02}")).unwrap();
        }
        near.scan().await;
        let counts = journal.known_counts(&bucket()).await.unwrap();
        assert_eq!(counts.deleted, to);
    }
    let markers = async || {
        let rows = all(&*journal).await;
        let markers = rows
            .iter()
            .filter(|row| row.change.kind == ChangeKind::DeleteMarker);
        markers.count()
    };
    changes_to(&near, all_rules).await;
    for _ in 0..2 {
        let held = near.handle.status().held.unwrap();
        assert_eq!((held.vanished, held.of), (14, 20));
        assert_eq!(markers().await, 0);
        near.scan().await;
    }
    // What is new is not held with it.
    source.put("new", *b"x").unwrap();
    near.scan().await;
    assert!(stand(&*journal).await.contains(&"new PENDING".to_owned()));
    assert!(near.handle.accept_deletes().is_some());
    until("they are removed", async || markers().await == 14).await;
    near.scan().await;
    assert_eq!(near.handle.status().held, None);
    near.end().await;
}

#[tokio::test]
async fn older_versions_that_waited_go_again_where_the_source_keeps_them() {
    let temp = tempfile::tempdir().unwrap();
    let source = Versioned::default();
    source.put("k", "v1");
    source.remove("k", "v2");
    source.put("k", "v3");
    let all = rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), all.clone()).await;
    near.scan().await;
    for (rules, status) in [
        (rules(&[("some", "zzz/", "far")]), "SKIPPED"),
        (all, "PENDING"),
    ] {
        changes_to(&near, rules).await;
        let rows = ["-k", "k", "k"].map(|row| format!("{row} {status}"));
        stands(&*near.journal, &rows.each_ref().map(String::as_str)).await;
    }
    near.end().await;
}
