//! A flipped bit is found, named, and never served.

use std::{
    fs::{self, OpenOptions},
    time::Duration,
};

use crate::support::{BUCKET, Content, PART, Pair, files_below, flip, resting};

const TIME_MAX: Duration = Duration::from_secs(60);

/// Three objects, of which `key` is damaged in the middle of its sealed bytes.
fn damaged(key: &str) -> Pair {
    let pair = Pair::new();
    Content::new(1, 5000).write(&pair.source.join("small"));
    Content::new(2, 2 * PART + 99).write(&pair.source.join("large"));
    Content::new(3, 7000).write(&pair.source.join("sound"));
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    let (file, offset, length) = resting(&pair.b, key);
    flip(&file, offset + length / 2);
    pair
}

/// Nothing of the object is served as whole, and nothing is left behind.
fn assert_not_served(pair: &Pair, key: &str) {
    let dir = pair.dir().join("out");
    fs::create_dir_all(&dir).unwrap();
    let (out, object) = (dir.join("file"), format!("{BUCKET}/{key}"));
    let ran = pair.b.run(&["get", &object, "-o", out.to_str().unwrap()]);
    assert_ne!(ran.code, 0, "{ran}");
    let left = files_below(&dir);
    assert!(left.is_empty(), "{left:?} is left behind");
    let ran = pair.b.run(&["get", &object]);
    assert_ne!(ran.code, 0, "{ran}");
    // What was authentic before the damage may have left already, and nothing else.
    let source = fs::read(pair.source.join(key)).unwrap();
    assert!(ran.stdout.len() < source.len() && source.starts_with(&ran.stdout));
}

fn assert_found(pair: &Pair, key: &str) {
    let ran = pair.b.run(&["verify", "--deep"]).exits(4);
    let ran = ran.tells(&[&format!("{BUCKET}/{key}"), "damaged"]);
    assert!(!ran.said().contains("sound"), "{ran}");
    let rows = pair.b.run(&["verify", "--deep", "--json"]).exits(4).rows();
    // The entry of a pack around it is damaged as well, and is no object.
    let keys: Vec<_> = rows.iter().filter_map(|row| row["key"].as_str()).collect();
    assert_eq!(keys, [key], "{rows:?}");
}

#[test]
fn a_flipped_bit_in_a_pack_is_found_and_never_served_by_a_running_agent() {
    let pair = damaged("small");
    assert_not_served(&pair, "small");
    assert_found(&pair, "small");
    assert_eq!(
        fs::read(pair.get("sound", "sound")).unwrap(),
        Content::new(3, 7000).bytes()
    );
}

#[test]
fn a_flipped_bit_in_a_large_object_is_found_and_never_served_by_a_running_agent() {
    let pair = damaged("large");
    assert_not_served(&pair, "large");
    assert_found(&pair, "large");
    assert_eq!(
        fs::read(pair.get("sound", "sound")).unwrap(),
        Content::new(3, 7000).bytes()
    );
}

#[test]
fn a_flipped_bit_is_found_and_never_served_by_a_stopped_site() {
    let pair = damaged("large");
    pair.stop();
    assert_not_served(&pair, "large");
    assert_found(&pair, "large");
}

#[test]
fn a_flipped_bit_anywhere_in_a_sealed_object_is_found() {
    let pair = Pair::new();
    Content::new(2, 1_200_000).write(&pair.source.join("object"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.stop();
    let (file, offset, length) = resting(&pair.b, "object");
    // Header, first salt, commitment, chunk, tag, the end of the META, the footer.
    for at in [
        0,
        20,
        70,
        95,
        100,
        150,
        160,
        16_600,
        length / 2,
        length - 100,
        length - 20,
        length - 1,
    ] {
        flip(&file, offset + at);
        pair.b
            .run(&["verify", "--deep"])
            .exits(4)
            .tells(&[&format!("{BUCKET}/object")]);
        flip(&file, offset + at);
    }
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn a_sealed_file_that_is_missing_or_cut_is_found() {
    let pair = Pair::new();
    Content::new(2, 1_200_000).write(&pair.source.join("object"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let (file, _, length) = resting(&pair.b, "object");
    let object = format!("{BUCKET}/object");
    let sealed = fs::read(&file).unwrap();
    fs::write(&file, &sealed[..length as usize - 1]).unwrap();
    pair.b.run(&["verify"]).exits(4).tells(&[&object]);
    fs::remove_file(&file).unwrap();
    pair.b.run(&["verify"]).exits(4).tells(&[&object]);
    pair.b.run(&["verify", "--deep"]).exits(4).tells(&[&object]);
    assert_not_served(&pair, "object");
}

#[test]
fn a_source_that_differs_from_what_was_sent_is_named_by_verification() {
    let pair = Pair::new();
    let path = pair.source.join("object");
    Content::new(2, 50_000).write(&path);
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.stop();
    // A disk that turns a bit leaves size and times as they are.
    let before = fs::metadata(&path).unwrap();
    flip(&path, 25_000);
    let times = fs::FileTimes::new().set_modified(before.modified().unwrap());
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(times)
        .unwrap();
    let ran = pair.a.run(&["verify", "--deep"]).exits(4);
    ran.tells(&["different", &format!("{BUCKET}/object")]);
}
