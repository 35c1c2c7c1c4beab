//! Cases of S3's API at the endpoint, named after its pages; docs/s3.md has the table of them.

use std::{collections::BTreeSet, fs};

use super::{
    endpoint::{Fronted, TIME_MAX},
    endpoint_writes::promoted,
};
use crate::support::{BUCKET, Ran, run_program_in_time, write_file};

const ALL: &str = "get\", \"list\", \"put\", \"delete";

/// Runs the cases for a bucket of this sort; one that fails shows why.
fn cases(fronted: &Fronted, mode: &str) -> Ran {
    let python = format!("PYTHONPATH={}", std::env::var("SEALIFT_BOTO3").unwrap());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/endpoint_conformance.py"
    );
    let s3 = &fronted.s3;
    let url = format!("http://{}", s3.address);
    let arguments = [
        &python, "python3", script, &url, &s3.id, &s3.secret, BUCKET, mode,
    ];
    let ran = run_program_in_time(2 * TIME_MAX, "env", &arguments, &[0]);
    is_in_the_table(&ran, mode);
    ran
}

/// Whether the documentation has a row for each case that passed, and for no other.
fn is_in_the_table(ran: &Ran, mode: &str) {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/s3.md");
    let table = fs::read_to_string(table).unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        cells.nth(1)?.contains(mode).then_some(name)
    });
    let rows: BTreeSet<String> = rows.collect();
    let text = ran.text();
    let passed = text.lines().filter_map(|line| line.strip_prefix("passed "));
    let passed: BTreeSet<String> = passed.map(str::to_owned).collect();
    assert_eq!(rows, passed, "docs/s3.md has other cases of a {mode}");
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn a_replica_answers_the_calls_of_s3_as_the_table_says() {
    let fronted = Fronted::allowed(ALL, "");
    let pair = &fronted.pair;
    let write = |key: &str, text: &str| write_file(&pair.source.join(key), text);
    let listed = ["A", "a", "b/1", "b/2", "b/c/3", "b0", "d+e f&<>", "z!~*'()"];
    for key in listed.iter().chain(&["ä%2F", "日本"]) {
        let key = format!("list/{key}");
        write(&key, &key);
    }
    write("read/object", &"0123456789".repeat(10_000));
    write("read/empty", "");
    write("read/twice", "first");
    write("read/gone", "gone");
    pair.start();
    pair.wait_completed(14, TIME_MAX);
    write("read/twice", "second");
    fs::remove_file(pair.source.join("read/gone")).unwrap();
    pair.wait_completed(16, TIME_MAX);
    cases(&fronted, "replica");
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn a_promoted_bucket_answers_the_calls_of_s3_as_the_table_says() {
    cases(&promoted(0, |_| ()), "promoted");
}
