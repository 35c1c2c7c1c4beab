//! The root key of a keystore under a key of a key service: it opens with that key and not
//! without it, and goes from one kind to another.

use std::{fs, path::PathBuf, time::Duration};

use sealift_fake_kms::{FakeTransit, Trouble};
use serde_json::{Value, json};

use super::key_services::{AWS_REGION, SoftHsm, with_aws, with_token, with_transit};
use crate::support::{BUCKET, Pair, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const FILE: &str = "root.key.wrapped";

fn object() -> String {
    format!("{BUCKET}/one")
}

/// Two sites with one object, which rests under a key of the keystore. `add` adds a key
/// service to the receiver, which then runs.
fn with_an_object<T>(add: impl FnOnce(&Pair) -> T) -> (Pair, T) {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "under the keystore");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.b.stop();
    let own = format!("\nkey = \"alias/{BUCKET}\"");
    let service = add(&pair);
    // What the service is wanted for here is the root key alone.
    let text = fs::read_to_string(pair.b.config()).unwrap();
    let named = text.lines().find(|line| line.starts_with("key = \""));
    let named = format!("\n{}", named.unwrap());
    pair.b.edit(&named, &own);
    pair.b.start();
    (pair, service)
}

/// Where the wrapped root key of the receiver is: where a running agent can read it.
fn file(pair: &Pair) -> PathBuf {
    pair.b.data().join(FILE)
}

/// Has the root key of the receiver made and wrapped, and removes the one before.
#[track_caller]
fn rekey(pair: &Pair, under: &str) {
    let file = file(pair);
    let file = file.to_str().unwrap();
    let rekey = ["keys", "rekey-root", "--root-key-wrapped-file", file];
    let under = [&rekey[..], &["--under", under]].concat();
    let done = pair.b.run(&under).exits(0);
    done.tells(&["keys.root_key_wrapped_file"]);
    // What is there already is not made again under the same name.
    pair.b.run(&under).exits(2).tells(&["there already"]);
    pair.b.audits("key.wrapped", &["root_key"]);
    pair.b.stop();
    pair.b.edit(
        "\nroot_key_file = \"root.key\"",
        &format!("\nroot_key_wrapped_file = \"data/{FILE}\""),
    );
    fs::remove_file(pair.b.dir.join("root.key")).unwrap();
}

/// It opens, with the agent running and without it.
#[track_caller]
fn opens(pair: &Pair, key: &str) {
    pair.b.run(&["get", &object()]).exits(0);
    let line = |row: &Value| row["check"] == "keystore";
    let checked = pair.b.run(&["check", "--offline", "--json"]).rows();
    let told = checked.into_iter().find(line).unwrap();
    assert_eq!(told["outcome"], "pass", "{told}");
    assert!(told.to_string().contains(key), "{told}");
    pair.b.start();
    pair.b.run(&["get", &object()]).exits(0);
    pair.b.audits("key.unwrapped", &["root_key"]);
    let before = pair.b.data().join("keys/keystore.json.old-root-key");
    assert!(!before.exists());
    pair.b.stop();
}

/// Nothing opens while the service does what `begin` makes it do.
#[track_caller]
fn is_refused(pair: &Pair, server: &FakeTransit, trouble: Trouble, words: &[&str]) {
    server.trouble(trouble);
    for command in [&["get", &object()][..], &["up"], &["check", "--offline"]] {
        let ran = pair.b.run(command);
        assert_ne!(ran.code, 0, "{ran}");
        ran.tells(words);
    }
    server.trouble(Trouble::None);
}

#[test]
fn a_root_key_under_transit_opens_with_it_and_goes_back_to_a_file() {
    let (pair, server) = with_an_object(|pair| with_transit(&pair.b));
    let own = format!("alias/{BUCKET}");
    let wrapped = file(&pair);
    let refused = [
        "keys",
        "rekey-root",
        "--root-key-wrapped-file",
        FILE,
        "--under",
    ];
    let refused = [&refused[..], &[&own]].concat();
    pair.b.run(&refused).exits(12).tells(&["own keys cannot"]);
    rekey(&pair, "transit/photos");
    opens(&pair, "transit/photos");
    // An older version of that key opens it as before.
    server.rotate("photos");
    opens(&pair, "transit/photos");

    let named = ["transit/photos", "hint:"];
    is_refused(&pair, &server, Trouble::Unreachable, &["transit/photos"]);
    is_refused(&pair, &server, Trouble::Denied, &["transit/photos"]);
    server.trouble(Trouble::Unreachable);
    for command in [&["get", &object()][..], &["up"]] {
        pair.b.run(command).exits(5).tells(&named);
    }
    server.trouble(Trouble::None);
    let whole = fs::read_to_string(&wrapped).unwrap();
    let mut altered: Value = serde_json::from_str(&whole).unwrap();
    altered["id"] = "00".repeat(16).into();
    fs::write(&wrapped, altered.to_string()).unwrap();
    pair.b.run(&["get", &object()]).exits(12);
    fs::write(&wrapped, "{}").unwrap();
    pair.b.run(&["get", &object()]).exits(12).tells(&["hint:"]);
    fs::write(&wrapped, &whole).unwrap();
    opens(&pair, "transit/photos");

    // Back to a file of its own, without the agent.
    let new = pair.b.dir.join("new.key");
    let rekey = [
        "keys",
        "rekey-root",
        "--root-key-file",
        new.to_str().unwrap(),
    ];
    pair.b.run(&rekey).exits(0);
    pair.b.edit(
        &format!("root_key_wrapped_file = \"data/{FILE}\""),
        "root_key_file = \"new.key\"",
    );
    pair.b.run(&["get", &object()]).exits(0);
    server.delete("photos");
    pair.b.start();
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_root_key_under_aws_opens_with_what_the_printed_policy_allows() {
    let (pair, (server, key)) = with_an_object(|pair| with_aws(&pair.b));
    rekey(&pair, &format!("aws-kms/{key}"));
    let asked = server.asked().len();
    opens(&pair, &key);
    let mut made: Vec<String> = server.asked()[asked..]
        .iter()
        .map(|asked| asked.call.clone())
        .collect();
    made.dedup();
    assert_eq!(made, ["Decrypt"]);
    let printed = pair.b.rows(&["policy"]).remove(0);
    let of_role = printed["iam_policy"]["Statement"].as_array().unwrap();
    let of_key = printed["key_policies"][&key]["Statement"]
        .as_array()
        .unwrap();
    assert_eq!((of_role.len(), of_key.len()), (1, 2), "{printed}");
    assert_eq!(of_key[0]["Sid"], "Administer");
    for statement in [&of_role[0], &of_key[1]] {
        assert_eq!(statement["Action"], json!(["kms:Decrypt"]));
        let context = &statement["Condition"]["StringEquals"];
        assert!(context["kms:EncryptionContext:sealift:keystore"].is_string());
    }
    server.operate(AWS_REGION, "DisableKey", &json!({ "KeyId": key }));
    let refused = pair.b.run(&["up"]);
    assert_ne!(refused.code, 0, "{refused}");
    refused.tells(&[&key, "Disabled"]);
    server.operate(AWS_REGION, "EnableKey", &json!({ "KeyId": key }));
    opens(&pair, &key);
}

#[test]
#[ignore = "needs softhsm2 and opensc, which cargo xtask test installs"]
fn a_root_key_under_a_token_opens_with_it() {
    let token = SoftHsm::new("root");
    token.make("photos", "01");
    let (pair, ()) = with_an_object(|pair| with_token(&pair.b, &token));
    rekey(&pair, "pkcs11/photos");
    opens(&pair, "pkcs11/photos");
    drop(token);
    let refused = pair.b.run(&["up"]);
    assert_ne!(refused.code, 0, "{refused}");
    refused.tells(&["pkcs11/photos"]);
}
