//! Which bytes rest where, and under which keys, as each site knows it.

use std::time::Duration;

use serde_json::Value;

use crate::support::{BUCKET, Pair, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// The rows of a site for what it holds itself, or a peer holds.
fn held(rows: &[Value], peer: Option<&str>) -> Vec<Value> {
    let is_one = |row: &&Value| row["peer"].as_str() == peer;
    rows.iter().filter(is_one).cloned().collect()
}

#[test]
fn each_site_says_what_rests_in_which_region_and_which_keys_open_it() {
    let pair = Pair::new();
    let c = pair.onward("c", "");
    write_file(&pair.source.join("one"), "12345");
    write_file(&pair.source.join("two"), "1234567");
    pair.start();
    c.start();
    pair.wait_completed(2, TIME_MAX);
    wait_until("both went on", TIME_MAX, || {
        pair.b.transfers("COMPLETED").0 == 2
    });
    let key_of = |site: &crate::support::Site| {
        let keys = site.rows(&["keys", "list"]);
        keys[0]["id"].as_str().unwrap().to_owned()
    };
    let (of_b, of_c) = (key_of(&pair.b), key_of(&c));

    let at_a = pair.a.rows(&["residency"]);
    assert_eq!(
        at_a.len(),
        1,
        "plaintext rests at a, and nothing sealed: {at_a:?}"
    );
    let to_b = &at_a[0];
    assert_eq!(
        (&to_b["region"], &to_b["peer"]),
        (&"region-b".into(), &"b".into())
    );
    assert_eq!((&to_b["versions"], &to_b["bytes"]), (&2.into(), &12.into()));
    assert_eq!(to_b["cmk"], of_b.as_str());

    let at_b = pair.b.rows(&["residency", BUCKET]);
    let here = held(&at_b, None);
    assert_eq!(here.len(), 1, "{at_b:?}");
    assert_eq!(
        (&here[0]["cmk"], &here[0]["cmk_version"]),
        (&of_b.as_str().into(), &"1".into())
    );
    assert_eq!(here[0]["source_region"], "region-a");
    let onward = held(&at_b, Some("c"));
    assert_eq!(onward.len(), 1, "{at_b:?}");
    assert_eq!(
        (&onward[0]["cmk"], &onward[0]["bytes"]),
        (&of_c.as_str().into(), &12.into())
    );

    // A new version of the key opens what comes, and after a rewrap all of it.
    let alias = format!("alias/{BUCKET}");
    pair.b.run(&["keys", "rotate", &alias]).exits(0);
    pair.b.run(&["keys", "rewrap", "--to", &alias]).exits(0);
    let here = held(&pair.b.rows(&["residency"]), None);
    assert_eq!(
        (here.len(), &here[0]["cmk_version"]),
        (1, &"2".into()),
        "{here:?}"
    );
    pair.b.run(&["residency", "elsewhere"]).exits(10);
    pair.b
        .run(&["residency"])
        .tells(&["REGION", "HELD BY", "here", "region-b"]);
}
