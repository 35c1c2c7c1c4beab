//! Buckets under keys of key services: objects are sealed under them, and what goes wrong
//! there in the middle of everything puts objects off with its reason, until it is right.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use sealift_fake_kms::{FakeKms, FakeTransit, OWNER, Trouble};
use serde_json::{Value, json};

use crate::support::{BUCKET, Pair, Site, run_program, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(90);
/// Objects written within the last seconds.
const YOUNG: usize = 15;
const TOKEN: &str = "hvs.a-token-of-a-test";
pub(super) const AWS_REGION: &str = "eu-west-1";

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn name_key(site: &Site, key: &str) {
    site.edit(
        &format!("\nkey = \"alias/{BUCKET}\""),
        &format!("\nkey = \"{key}\""),
    );
}

/// Adds `[keys.transit]` to a site; its bucket's key is `transit/photos`.
pub(super) fn with_transit(site: &Site) -> FakeTransit {
    let roots = site.dir.join("vault-roots.pem");
    let server = FakeTransit::start(TOKEN, Some(&roots));
    secret(&site.dir.join("vault-token"), TOKEN);
    site.configure(&format!(
        "[keys.transit]\naddress = \"{}\"\ntoken_file = \"vault-token\"\nroots_file = \"vault-roots.pem\"\n\
         state_known_secs = 0\n",
        server.url()
    ));
    name_key(site, "transit/photos");
    server.create("photos");
    server
}

/// Adds `[keys.aws_kms]` to a site; its bucket's key is a new one, whose ARN is given back.
pub(super) fn with_aws(site: &Site) -> (FakeKms, String) {
    let roots = site.dir.join("aws-roots.pem");
    let server = FakeKms::start(Some(&roots));
    let credentials = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        OWNER.0, OWNER.1
    );
    secret(&site.dir.join("aws-credentials"), &credentials);
    site.configure(&format!(
        "[keys.aws_kms]\nregion = \"{AWS_REGION}\"\nendpoint = \"{}\"\n\
         credentials_file = \"aws-credentials\"\nroots_file = \"aws-roots.pem\"\nstate_known_secs = 0\n",
        server.url()
    ));
    let key = server.create(AWS_REGION);
    name_key(site, &format!("aws-kms/{key}"));
    (server, key)
}

fn sealing(site: &Site, object: &str) -> Value {
    let rows = site.rows(&["inspect", &format!("{BUCKET}/{object}")]);
    rows[0]["sealing"].clone()
}

/// Writes objects without a pause until one that has settled is put off for `reason`; gives
/// back what is told of it.
#[track_caller]
fn wait_put_off(pair: &Pair, reason: &str, mut write: impl FnMut() -> String) -> String {
    let begun = Instant::now();
    let mut objects = Vec::new();
    loop {
        objects.push(write());
        // The last ones are young: a file is left alone while it may still be written to.
        let old = objects
            .get(objects.len().saturating_sub(YOUNG))
            .filter(|_| objects.len() > YOUNG);
        let told = old.map(|object| pair.a.run(&["explain", object]).said());
        let told = told.unwrap_or_default();
        if told.contains(reason) {
            return told;
        }
        assert!(begun.elapsed() < TIME_MAX, "{reason}: {told}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Objects come without a pause while `begin` makes trouble; some are put off for `reason`
/// until `end` ends it, and then all arrive by themselves.
#[track_caller]
fn put_off_until_it_is_over(
    pair: &Pair,
    round: &str,
    reason: &str,
    begin: impl FnOnce(),
    end: impl FnOnce(),
) {
    let mut written = 0_u32;
    let mut write = || {
        write_file(
            &pair.source.join(format!("{round}/{written}")),
            format!("{round} {written}"),
        );
        written += 1;
        format!("{BUCKET}/{round}/{}", written - 1)
    };
    let before = pair.a.transfers("COMPLETED").0;
    (0..10).for_each(|_| drop(write()));
    wait_until("the first are there", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == before + 10
    });
    begin();
    let told = wait_put_off(pair, reason, &mut write);
    assert!(told.contains("PENDING"), "{told}");
    let (code, _) = pair.b.get("/ready").unwrap_or_default();
    assert_ne!(code, 0, "the receiver lives");
    end();
    let objects = before + u64::from(written);
    pair.wait_completed(objects, TIME_MAX);
}

#[test]
fn objects_under_keys_of_several_providers_rest_in_one_store_and_all_open() {
    let pair = Pair::new();
    write_file(&pair.source.join("local"), "under the keystore");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.b.stop();
    let transit = with_transit(&pair.b);
    pair.b.start();
    write_file(&pair.source.join("transit"), "under transit");
    pair.wait_completed(2, TIME_MAX);
    transit.rotate("photos");
    pair.b.stop();
    pair.b.edit(
        "\nkey = \"transit/photos\"",
        &format!(
            "
key = \"alias/{BUCKET}\""
        ),
    );
    let (aws, arn) = with_aws(&pair.b);
    pair.b.start();
    write_file(&pair.source.join("aws"), "under AWS KMS");
    pair.wait_completed(3, TIME_MAX);
    assert_eq!(sealing(&pair.b, "transit")["cmk"], "photos");
    assert_eq!(sealing(&pair.b, "transit")["cmk_version"], "1");
    assert_eq!(sealing(&pair.b, "aws")["cmk"], arn.as_str());
    let keys: [(&str, &str); 3] = [
        ("local", "under the keystore"),
        ("transit", "under transit"),
        ("aws", "under AWS KMS"),
    ];
    for (object, content) in keys {
        let got = pair.get(object, &format!("got-{object}"));
        assert_eq!(fs::read_to_string(got).unwrap(), content);
    }
    pair.verify_both(TIME_MAX);
    let told = pair.b.run(&["check"]).said();
    assert!(
        told.contains("wraps and unwraps") && told.contains("TLS 1.3"),
        "{told}"
    );
    every_key_is_listed(&pair, &arn);
    drop(aws);
    let away = listed(&pair, "aws-kms");
    assert_eq!(away["reason"], "DstKmsUnavailable", "{away}");
    assert!(
        away["state"].is_null() && away["current"].is_null(),
        "{away}"
    );
    assert_eq!(away["versions"][0]["objects"], 1, "{away}");
    let shown = pair.b.run(&["keys", "list"]).exits(0);
    shown.tells(&["transit/photos", "DstKmsUnavailable", "alias/photos"]);
    let ran = pair.b.run(&["check"]);
    ran.tells(&["cannot connect", "warn"]);
}

/// The one key of a provider, as `keys list` tells it.
#[track_caller]
fn listed(pair: &Pair, provider: &str) -> Value {
    let rows = pair.b.rows(&["keys", "list"]);
    let mut of = rows.into_iter().filter(|row| row["provider"] == provider);
    let (one, more) = (of.next().unwrap(), of.next());
    assert_eq!(more, None);
    one
}

/// Keys of services with what those say of them, beside the keystore's own; each with the
/// one object that rests under it.
#[track_caller]
fn every_key_is_listed(pair: &Pair, arn: &str) {
    let own = listed(pair, "local");
    assert_eq!(own["versions"][0]["objects"], 1, "{own}");
    // No bucket has it any more: a key record does.
    let transit = listed(pair, "transit");
    assert_eq!(transit["name"], "transit/photos", "{transit}");
    assert_eq!(
        (&transit["state"], &transit["current"]),
        (&"Enabled".into(), &"2".into())
    );
    let (first, second) = (&transit["versions"][0], &transit["versions"][1]);
    assert_eq!((&first["id"], &first["objects"]), (&"1".into(), &1.into()));
    assert_eq!(
        (&second["id"], &second["objects"]),
        (&"2".into(), &0.into())
    );
    let aws = listed(pair, "aws-kms");
    assert_eq!(
        (&aws["id"], &aws["buckets"][0]),
        (&arn.into(), &BUCKET.into())
    );
    let (version, made) = (&aws["versions"][0], &aws["created"]);
    assert_eq!(
        (&version["objects"], &version["records"]),
        (&1.into(), &1.into())
    );
    // AWS does not tell an agent when material was made, so nobody does.
    assert!(made.is_string() && version["created"].is_null(), "{aws}");
    let one = pair.b.run(&["keys", "describe", "transit/photos"]).exits(0);
    one.tells(&["transit, where it is changed", "1 objects", "wraps"]);
    let refused = pair.b.run(&["keys", "rotate", "transit/photos"]).exits(2);
    refused.tells(&["changed there"]);
}

#[test]
fn what_goes_wrong_at_transit_puts_objects_off_with_its_reason_until_it_is_right() {
    let pair = Pair::new();
    let server = with_transit(&pair.b);
    pair.start();
    let trouble = |what| move |server: &FakeTransit| server.trouble(what);
    let over = |server: &FakeTransit| server.trouble(Trouble::None);
    type Act = Box<dyn Fn(&FakeTransit)>;
    let rounds: [(&str, &str, Act, Act); 5] = [
        (
            "throttled",
            "DstKmsThrottled",
            Box::new(trouble(Trouble::Throttled)),
            Box::new(over),
        ),
        (
            "denied",
            "DstKmsAccessDenied",
            Box::new(trouble(Trouble::Denied)),
            Box::new(over),
        ),
        (
            "unreachable",
            "DstKmsUnavailable",
            Box::new(trouble(Trouble::Unreachable)),
            Box::new(over),
        ),
        (
            "disabled",
            "DstKmsKeyDisabled",
            Box::new(|server| server.soft_delete("photos", true)),
            Box::new(|server| server.soft_delete("photos", false)),
        ),
        (
            "sealed",
            "DstKmsUnavailable",
            Box::new(trouble(Trouble::Broken)),
            Box::new(over),
        ),
    ];
    for (round, reason, begin, end) in rounds {
        put_off_until_it_is_over(&pair, round, reason, || begin(&server), || end(&server));
    }
    // A key that is gone is gone, and objects wait for another.
    server.delete("photos");
    let mut written = 0_u32;
    wait_put_off(&pair, "DstKmsKeyMissing", || {
        let object = format!("late/{written}");
        write_file(&pair.source.join(&object), "late");
        written += 1;
        format!("{BUCKET}/{object}")
    });
}

#[test]
fn what_goes_wrong_at_aws_puts_objects_off_with_its_reason_until_it_is_right() {
    let pair = Pair::new();
    let (server, key) = with_aws(&pair.b);
    pair.start();
    let of_key = |operation: &'static str| {
        let key = key.clone();
        move |server: &FakeKms| {
            server.operate(AWS_REGION, operation, &json!({ "KeyId": key }));
        }
    };
    let (enable, schedule) = (of_key("EnableKey"), of_key("ScheduleKeyDeletion"));
    let cancel = of_key("CancelKeyDeletion");
    let enable_again = enable.clone();
    type Act = Box<dyn Fn(&FakeKms)>;
    let trouble = |what| Box::new(move |server: &FakeKms| server.trouble(what)) as Act;
    let rounds: [(&str, &str, Act, Act); 5] = [
        (
            "throttled",
            "DstKmsThrottled",
            trouble(Trouble::Throttled),
            trouble(Trouble::None),
        ),
        (
            "denied",
            "DstKmsAccessDenied",
            Box::new(|server| server.deny("DescribeKey", true)),
            Box::new(|server| server.deny("DescribeKey", false)),
        ),
        (
            "unreachable",
            "DstKmsUnavailable",
            trouble(Trouble::Unreachable),
            trouble(Trouble::None),
        ),
        (
            "disabled",
            "DstKmsKeyDisabled",
            Box::new(of_key("DisableKey")),
            Box::new(enable),
        ),
        (
            "pending-deletion",
            "DstKmsKeyPendingDeletion",
            Box::new(schedule),
            Box::new(move |server| {
                cancel(server);
                enable_again(server);
            }),
        ),
    ];
    for (round, reason, begin, end) in rounds {
        put_off_until_it_is_over(&pair, round, reason, || begin(&server), || end(&server));
    }
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_key_of_another_region_is_refused_before_the_first_object_and_nothing_begins() {
    let pair = Pair::new();
    let (server, key) = with_aws(&pair.b);
    let far = server.create("us-east-1");
    pair.b.edit(&key, &far);
    for command in [&["check", "--offline"][..], &["up"]] {
        let ran = pair.b.run(command);
        assert_ne!(ran.code, 0, "{ran}");
        ran.tells(&["us-east-1", AWS_REGION]);
    }
    // A reload does not take it up either.
    pair.b.edit(&far, &key);
    pair.b.start();
    pair.b.edit(&key, &far);
    let ran = pair.b.run(&["reload"]);
    assert_ne!(ran.code, 0, "{ran}");
    ran.tells(&["us-east-1"]);
}

#[test]
fn a_key_service_that_is_away_at_the_start_is_waited_for() {
    let pair = Pair::new();
    let server = with_transit(&pair.b);
    server.trouble(Trouble::Unreachable);
    write_file(&pair.source.join("early"), "before the key");
    pair.start();
    wait_until("it is put off", TIME_MAX, || {
        let told = pair.a.run(&["explain", &format!("{BUCKET}/early")]).said();
        told.contains("DstKmsUnavailable")
    });
    server.trouble(Trouble::None);
    pair.wait_completed(1, TIME_MAX);
}

/// A token of a test in the system's SoftHSM, gone when dropped.
pub(super) struct SoftHsm(String);

impl SoftHsm {
    pub(super) const PIN: &str = "123456";

    pub(super) fn new(of: &str) -> Self {
        let label = format!("sealift-scenario-{of}-{}", std::process::id());
        let pins = ["--pin", Self::PIN, "--so-pin", Self::PIN];
        let init = [&["--init-token", "--free", "--label", &label][..], &pins].concat();
        run_program("softhsm2-util", &init, &[0]);
        Self(label)
    }

    /// Makes a key with this label and id.
    pub(super) fn make(&self, label: &str, id: &str) {
        let module = "/usr/lib/softhsm/libsofthsm2.so";
        let token = [
            "--module",
            module,
            "--token-label",
            &self.0,
            "--login",
            "--pin",
            Self::PIN,
        ];
        let key = [
            "--keygen",
            "--key-type",
            "aes:32",
            "--sensitive",
            "--label",
            label,
            "--id",
            id,
        ];
        run_program("pkcs11-tool", &[&token[..], &key].concat(), &[0]);
    }
}

impl Drop for SoftHsm {
    fn drop(&mut self) {
        run_program(
            "softhsm2-util",
            &["--delete-token", "--token", &self.0],
            &[0],
        );
    }
}

/// Adds `[keys.pkcs11]` to a site; its bucket's key is `pkcs11/photos`.
pub(super) fn with_token(site: &Site, token: &SoftHsm) {
    secret(&site.dir.join("hsm-pin"), SoftHsm::PIN);
    site.configure(&format!(
        "[keys.pkcs11]\nmodule = \"/usr/lib/softhsm/libsofthsm2.so\"\ntoken = \"{}\"\npin_file = \"hsm-pin\"\n\
         directories = [\"/var/lib/softhsm/tokens\"]\nstate_known_secs = 0\n",
        token.0
    ));
    name_key(site, "pkcs11/photos");
}

#[test]
#[ignore = "needs softhsm2 and opensc, which cargo xtask test installs"]
fn a_bucket_rests_under_a_key_of_a_token_and_under_its_next_version() {
    let token = SoftHsm::new("bucket");
    token.make("photos", "01");
    let pair = Pair::new();
    with_token(&pair.b, &token);
    write_file(&pair.source.join("one"), "under the token");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert_eq!(sealing(&pair.b, "one")["cmk_version"], "01");
    let told = pair.b.run(&["check"]).said();
    assert!(
        told.contains("wraps and unwraps (token sealift-scenario"),
        "{told}"
    );
    token.make("photos", "02");
    wait_until("the next version wraps", TIME_MAX, || {
        write_file(&pair.source.join("two"), format!("{:?}", Instant::now()));
        std::thread::sleep(Duration::from_secs(1));
        let ran = pair.b.run(&["inspect", "--json", &format!("{BUCKET}/two")]);
        ran.code == 0 && ran.rows()[0]["sealing"]["cmk_version"] == "02"
    });
    let got = pair.get("one", "got-one");
    assert_eq!(fs::read_to_string(got).unwrap(), "under the token");
    pair.verify_both(TIME_MAX);
}

/// What is asked of AWS for an object is what `sealift policy` lets the agent do, and all of it.
#[test]
fn the_policy_that_is_printed_allows_exactly_the_calls_that_are_made() {
    let pair = Pair::new();
    write_file(&pair.source.join("zero"), "under the keystore");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.b.stop();
    let (server, key) = with_aws(&pair.b);
    pair.b.start();
    write_file(&pair.source.join("one"), "1");
    pair.wait_completed(2, TIME_MAX);
    let name = format!("aws-kms/{key}");
    pair.b.run(&["keys", "rewrap", "--to", &name]).exits(0);
    assert_eq!(sealing(&pair.b, "zero")["cmk"], key.as_str());
    pair.stop();
    pair.b.run(&["get", &format!("{BUCKET}/one")]).exits(0);
    let mut made: Vec<String> = server.asked().into_iter().map(|asked| asked.call).collect();
    made.sort();
    made.dedup();
    let role = "arn:aws:iam::111122223333:role/sealift";
    let printed = pair.b.rows(&["policy", "--principal", role]).remove(0);
    let of_role = printed["iam_policy"]["Statement"].as_array().unwrap();
    let of_key = printed["key_policies"][&key]["Statement"]
        .as_array()
        .unwrap();
    let [administering, of_key @ ..] = &of_key[..] else {
        panic!("{printed}");
    };
    let owner = "arn:aws:iam::111122223333:root";
    assert_eq!(administering["Principal"]["AWS"], owner);
    assert!(of_key.iter().all(|one| one["Principal"]["AWS"] == role));
    for statements in [&of_role[..], of_key] {
        let actions = statements
            .iter()
            .flat_map(|one| one["Action"].as_array().unwrap());
        let mut allowed: Vec<String> = actions
            .map(|action| {
                action
                    .as_str()
                    .unwrap()
                    .trim_start_matches("kms:")
                    .to_owned()
            })
            .collect();
        allowed.sort();
        assert_eq!(allowed, made);
        assert!(
            statements
                .iter()
                .all(|one| one["Resource"] != "*" || one["Principal"] != Value::Null)
        );
        let context = &statements[1]["Condition"]["StringEquals"];
        assert_eq!(context["kms:EncryptionContext:sealift:bucket"], BUCKET);
    }
    assert_eq!(
        printed["iam_policy"]["Statement"][0]["Resource"],
        key.as_str()
    );
    pair.a.run(&["policy"]).exits(10);
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn boto3_finds_the_service_of_these_tests_to_be_as_the_models_of_aws_say() {
    let server = FakeKms::start(None);
    let folder = std::env::var("SEALIFT_BOTO3").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kms_shapes.py");
    let python = format!("PYTHONPATH={folder}");
    let ran = run_program(
        "env",
        &[&python, "python3", script, &server.url(), OWNER.0, OWNER.1],
        &[0],
    );
    ran.tells(&["as the models say"]);
}
