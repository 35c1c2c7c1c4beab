//! What goes wrong with a key in the middle of one large object: it is put off or given up
//! with a reason of its own, nothing of it rests in the clear, and it arrives by itself once
//! the cause is gone.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use sealift_fake_kms::Trouble;
use sealift_terms::Reason;
use serde_json::json;

use super::key_services::{AWS_REGION, with_aws, with_transit};
use crate::support::{BUCKET, Content, Pair, Plaintext, files_below, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);
/// An object is on its way for longer than a key's state is believed.
const SIZE: u64 = 12 << 20;
const RATE_BYTES_PER_SEC: u64 = 1_000_000;
/// There is more than one part of it then, and less than half.
const IN_THE_MIDDLE: u64 = 2 << 20;
/// The beginning of an object is what is searched for: it was received for sure.
const SEARCHED_BYTES: u64 = 1 << 20;

/// Two sites on a slow line, in small parts.
fn on_a_slow_line() -> Pair {
    let pair = Pair::new();
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        &format!("[peer.limit]\nrate_bytes_per_sec = {RATE_BYTES_PER_SEC}"),
    );
    pair.a.configure("[limits]\npart_bytes = 262144");
    pair
}

/// One object that meets trouble on its way.
struct Large<'a> {
    pair: &'a Pair,
    name: &'a str,
    content: Content,
    /// Transfers that are completed when it is.
    completed: u64,
}

impl<'a> Large<'a> {
    /// Writes it, and waits until some of it is stored.
    fn in_the_middle(pair: &'a Pair, name: &'a str) -> Self {
        let completed = pair.a.transfers("COMPLETED").0 + 1;
        let content = Content::new(completed, SIZE);
        content.write(&pair.source.join(name));
        wait_until(&format!("some of {name} is there"), TIME_MAX, || {
            let stored = pair.a.status()["under_way"][0]["stored"].as_u64();
            stored >= Some(IN_THE_MIDDLE)
        });
        Self {
            pair,
            name,
            content,
            completed,
        }
    }

    fn object(&self) -> String {
        format!("{BUCKET}/{}", self.name)
    }

    /// Waits until it is explained by this reason, with the status that the reason leads to
    /// and what to do about it; what came of it is neither in the clear nor to be read.
    #[track_caller]
    fn is_stopped_by(&self, reason: &str) {
        let code: Reason = reason.parse().unwrap();
        let status = code.status().to_string();
        wait_until(&format!("{} meets {reason}", self.name), TIME_MAX, || {
            let said = self.pair.a.run(&["explain", &self.object()]).said();
            [reason, &status, code.remedy()]
                .iter()
                .all(|word| said.contains(word))
        });
        let b = &self.pair.b;
        let (sample, staging) = (self.sample(), b.data().join("staging"));
        assert!(!files_below(&staging).is_empty(), "{reason}");
        for place in [staging, self.pair.a.data()] {
            let found = sample.find_below(&place);
            assert!(found.is_none(), "{reason}: plaintext in {found:?}");
        }
        assert_ne!(b.run(&["get", &self.object()]).code, 0, "{reason}");
    }

    fn sample(&self) -> Plaintext {
        let dir = self.pair.dir().join("sample").join(self.name);
        let content = Content::new(self.content.seed, SEARCHED_BYTES);
        content.write(&dir.join("beginning"));
        Plaintext::below(&dir)
    }

    /// Waits until it is there, by itself.
    #[track_caller]
    fn arrives(&self) {
        self.pair.wait_completed(self.completed, TIME_MAX);
        let out = format!("got-{}", self.name);
        assert!(self.content.is_in(&self.pair.get(self.name, &out)));
    }
}

/// That nothing was left in the clear, and that everything opens.
#[track_caller]
fn all_is_well(pair: &Pair) {
    let sample = Plaintext::below(&pair.dir().join("sample"));
    let found = sample.find_below(&pair.b.data());
    assert!(found.is_none(), "plaintext in {found:?}");
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_key_of_the_keystore_that_is_disabled_meets_an_object_on_its_way() {
    let pair = on_a_slow_line();
    pair.start();
    let key = format!("alias/{BUCKET}");
    let large = Large::in_the_middle(&pair, "disabled");
    pair.b.run(&["keys", "disable", &key]).exits(0);
    large.is_stopped_by("DstKmsKeyDisabled");
    pair.b.run(&["keys", "enable", &key]).exits(0);
    large.arrives();
    all_is_well(&pair);
}

#[test]
fn what_becomes_of_a_key_at_aws_meets_an_object_on_its_way() {
    let pair = on_a_slow_line();
    let (server, key) = with_aws(&pair.b);
    let operate = |operation: &str| {
        server.operate(AWS_REGION, operation, &json!({ "KeyId": key }));
    };
    pair.start();

    let large = Large::in_the_middle(&pair, "disabled");
    operate("DisableKey");
    large.is_stopped_by("DstKmsKeyDisabled");
    operate("EnableKey");
    large.arrives();

    let large = Large::in_the_middle(&pair, "pending-deletion");
    operate("ScheduleKeyDeletion");
    large.is_stopped_by("DstKmsKeyPendingDeletion");
    operate("CancelKeyDeletion");
    large.is_stopped_by("DstKmsKeyDisabled");
    operate("EnableKey");
    large.arrives();

    let large = Large::in_the_middle(&pair, "denied");
    server.deny("DescribeKey", true);
    large.is_stopped_by("DstKmsAccessDenied");
    server.deny("DescribeKey", false);
    large.arrives();
    all_is_well(&pair);
}

#[test]
fn what_becomes_of_a_transit_engine_meets_an_object_on_its_way() {
    let pair = on_a_slow_line();
    let server = with_transit(&pair.b);
    pair.start();

    let large = Large::in_the_middle(&pair, "throttled");
    server.trouble(Trouble::Throttled);
    large.is_stopped_by("DstKmsThrottled");
    server.trouble(Trouble::None);
    large.arrives();

    let large = Large::in_the_middle(&pair, "unreachable");
    server.trouble(Trouble::Unreachable);
    large.is_stopped_by("DstKmsUnavailable");
    server.trouble(Trouble::None);
    large.arrives();

    let large = Large::in_the_middle(&pair, "missing");
    let backup = server.take_away("photos");
    large.is_stopped_by("DstKmsKeyMissing");
    server.restore("photos", backup);
    large.arrives();
    all_is_well(&pair);
}

/// Each region of an account has its own key behind the same alias: whoever points an agent
/// at another region finds a key there, and not the one that the object was begun under.
#[test]
fn a_key_service_of_another_region_meets_an_object_on_its_way() {
    let pair = on_a_slow_line();
    let (server, key) = with_aws(&pair.b);
    let elsewhere = "us-east-1";
    for (region, key) in [(AWS_REGION, &key), (elsewhere, &server.create(elsewhere))] {
        let alias = json!({ "AliasName": "alias/photos", "TargetKeyId": key });
        server.operate(region, "CreateAlias", &alias);
    }
    pair.b.edit(&key, "alias/photos");
    pair.start();
    let large = Large::in_the_middle(&pair, "wrong-region");
    let section = |region: &str| format!("[keys.aws_kms]\nregion = \"{region}\"");
    let (here, there) = (section(AWS_REGION), section(elsewhere));
    assert!(pair.b.kill());
    pair.b.edit(&here, &there);
    pair.b.start();
    large.is_stopped_by("DstKmsKeyWrongRegion");
    assert_eq!(pair.a.transfers("FAILED").0, 1);
    assert!(pair.b.kill());
    pair.b.edit(&there, &here);
    pair.b.start();
    large.arrives();
    all_is_well(&pair);
}

#[test]
fn two_names_that_come_to_lead_to_one_key_put_objects_off_until_they_lead_to_two() {
    let pair = Pair::new();
    let (server, key) = with_aws(&pair.b);
    let outer = server.create(AWS_REGION);
    let alias = |operation: &str, name: &str, key: &str| {
        let body = json!({ "AliasName": format!("alias/{name}"), "TargetKeyId": key });
        server.operate(AWS_REGION, operation, &body);
    };
    alias("CreateAlias", "inner", &key);
    alias("CreateAlias", "outer", &outer);
    let named = format!("key = \"aws-kms/{key}\"");
    // Without bucket keys every object asks for its keys by their names.
    let both =
        "key = \"aws-kms/alias/inner\"\nsecond_key = \"aws-kms/alias/outer\"\nbucket_keys = false";
    pair.b.edit(&named, both);
    write_file(&pair.source.join("before"), "in two layers");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    alias("UpdateAlias", "outer", &key);
    write_file(&pair.source.join("after"), "in two layers again");
    wait_until("the object is put off", TIME_MAX, || {
        let said = pair.a.run(&["explain", &format!("{BUCKET}/after")]).said();
        let words = ["DstKmsKeysSame", "PENDING", Reason::DstKmsKeysSame.remedy()];
        words.iter().all(|word| said.contains(word))
    });
    alias("UpdateAlias", "outer", &outer);
    pair.wait_completed(2, TIME_MAX);
    pair.verify_both(TIME_MAX);
}

/// Each of them is produced by a real cause and explained by `explain` in a scenario: a code
/// without one could be told of nothing, or be told and explained by nobody.
#[test]
fn every_reason_that_names_a_key_service_is_met_and_explained_in_a_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenario");
    let mut met: BTreeSet<&Reason> = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        if text.contains("\"explain\"") {
            let is_met = |code: &&Reason| text.contains(&format!("\"{code}\""));
            met.extend(Reason::ALL.iter().filter(is_met));
        }
    }
    let of_keys = Reason::ALL
        .iter()
        .filter(|code| code.as_str().contains("Kms"));
    let unmet: Vec<_> = of_keys.filter(|code| !met.contains(code)).collect();
    assert!(unmet.is_empty(), "{unmet:?}");
}
