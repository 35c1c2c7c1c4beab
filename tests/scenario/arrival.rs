//! A directory arrives, whole and the same.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{BUCKET, CHUNK, Content, PACKED, PART, Pair};

const TIME_MAX: Duration = Duration::from_secs(120);

/// Writes every object below the source, each with content of its own.
fn write_all(
    pair: &Pair,
    sizes: impl IntoIterator<Item = (String, u64)>,
) -> BTreeMap<String, Content> {
    let named = sizes.into_iter().zip(100..);
    let objects: BTreeMap<_, _> = named
        .map(|((key, size), seed)| (key, Content::new(seed, size)))
        .collect();
    for (key, content) in &objects {
        content.write(&pair.source.join(key));
    }
    objects
}

/// Replicates them, gets each back and compares; then everything is opened again.
fn arrive(pair: &Pair, objects: &BTreeMap<String, Content>) {
    pair.start();
    let taken = pair.wait_completed(objects.len() as u64, TIME_MAX);
    println!("{} objects arrived in {taken:.1?}", objects.len());
    for (n, (key, content)) in objects.iter().enumerate() {
        let out = pair.get(key, &format!("out-{n}"));
        assert!(content.is_in(&out), "{key:?} is not its source");
    }
    let listed = pair.b.rows(&["ls", BUCKET]);
    let keys: Vec<_> = listed
        .iter()
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    let written: Vec<_> = objects.keys().map(String::as_str).collect();
    assert_eq!(keys, written);
    for (row, content) in listed.iter().zip(objects.values()) {
        assert_eq!(row["size"], content.size, "{row}");
        assert_eq!(row["status"], "REPLICA", "{row}");
    }
    pair.verify_both(TIME_MAX);
}

#[test]
fn objects_of_every_size_around_every_boundary_arrive_as_they_are() {
    let pair = Pair::new();
    let edges = [
        CHUNK,
        2 * CHUNK,
        64 * CHUNK,
        PACKED,
        PART - CHUNK,
        PART,
        PART + CHUNK,
        2 * PART,
    ];
    let around = edges
        .into_iter()
        .flat_map(|edge| [edge - 1, edge, edge + 1]);
    let sizes = [0, 1, 2, 23].into_iter().chain(around);
    let objects = write_all(&pair, sizes.map(|size| (format!("size-{size:09}"), size)));
    arrive(&pair, &objects);
}

#[test]
fn names_of_every_kind_arrive_as_they_are() {
    let pair = Pair::new();
    let deep: Vec<_> = (0..60).map(|level| format!("level-{level}")).collect();
    let long = "n".repeat(250);
    let names = [
        format!("deep/{}/object", deep.join("/")),
        format!("long/{long}/{long}/{long}/{long}"),
        "Größe/übergroß.txt".to_owned(),
        "日本語/写真/猫.jpg".to_owned(),
        "عربي/ملف".to_owned(),
        "emoji/🦀📦🔐".to_owned(),
        "composed/\u{e9}".to_owned(),
        "decomposed/e\u{301}".to_owned(),
        " leading and trailing ".to_owned(),
        "quote'\"\\backslash".to_owned(),
        "new\nline and\ttab".to_owned(),
        "percent%20+plus&and=equals?question#hash".to_owned(),
        "-dash".to_owned(),
        ".hidden".to_owned(),
        "a/b".to_owned(),
        "a.b".to_owned(),
        "UPPER".to_owned(),
        "upper".to_owned(),
    ];
    let objects = write_all(&pair, names.into_iter().zip(500..));
    arrive(&pair, &objects);
}

#[test]
fn thousands_of_small_objects_arrive() {
    let pair = Pair::new();
    let names = (0..3000_u64).map(|n| (format!("{:02}/{n:05}", n % 37), n * 7919 % 6000));
    let objects = write_all(&pair, names);
    pair.start();
    let taken = pair.wait_completed(objects.len() as u64, TIME_MAX);
    println!("{} objects arrived in {taken:.1?}", objects.len());
    pair.verify_both(TIME_MAX);
}

#[test]
fn what_cannot_be_an_object_is_left_out_and_told() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let pair = Pair::new();
    write_all(&pair, [("plain".to_owned(), 10)]);
    std::fs::write(pair.source.join(OsStr::from_bytes(b"not-utf8-\xff")), "x").unwrap();
    std::os::unix::fs::symlink("plain", pair.source.join("link")).unwrap();
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let report = pair.a.status();
    assert!(
        report["sources"][0]["skipped"].as_u64() >= Some(1),
        "{report}"
    );
    let keys = pair.b.rows(&["ls", BUCKET]);
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[test]
fn a_range_is_the_same_bytes_as_in_the_source() {
    let pair = Pair::new();
    let content = Content::new(5, 2 * PART + 12_345);
    content.write(&pair.source.join("object"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let all = content.bytes();
    let object = format!("{BUCKET}/object");
    let end = all.len() as u64;
    for (first, last) in [
        (0, 0),
        (CHUNK - 1, CHUNK),
        (PART - 3, PART + 3),
        (PART - 1, 2 * PART + 1),
        (end - 1, end - 1),
    ] {
        let range = format!("{first}-{last}");
        let ran = pair.b.run(&["get", "--range", &range, &object]).exits(0);
        assert!(ran.stdout == all[first as usize..=last as usize], "{range}");
    }
    let open = format!("{}-", end - 5);
    let ran = pair.b.run(&["get", "--range", &open, &object]).exits(0);
    assert!(ran.stdout == all[all.len() - 5..]);
}
