//! Whose keys open what, and keys that change while objects arrive.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::support::{BUCKET, Content, Pair, files_below, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);
/// How long keys are rotated, a second apart.
const ROTATIONS: u64 = 15;

fn alias() -> String {
    format!("alias/{BUCKET}")
}

/// Puts another site's keystore, with its copies and its root key, in the place of this
/// site's, and gives back what is to be done to undo that.
fn with_keys_of(from: &Path, to: &Path) -> impl FnOnce() + use<> {
    let aside = to.with_extension("aside");
    fs::create_dir(&aside).unwrap();
    let own = [to.join("data/keys"), to.join("root.key")];
    let kept = [aside.join("keys"), aside.join("root.key")];
    for (own, kept) in own.iter().zip(&kept) {
        fs::rename(own, kept).unwrap();
    }
    fs::create_dir(&own[0]).unwrap();
    fs::copy(
        from.join("data/keys/keystore.json"),
        own[0].join("keystore.json"),
    )
    .unwrap();
    fs::copy(from.join("root.key"), &own[1]).unwrap();
    move || {
        fs::remove_dir_all(&own[0]).unwrap();
        for (own, kept) in own.iter().zip(&kept) {
            fs::rename(kept, own).unwrap();
        }
    }
}

#[test]
fn the_keys_of_the_sender_open_no_object_at_the_receiver() {
    let pair = Pair::new();
    // As much like the receiver's as it can be made.
    pair.a.run(&["keys", "create", &alias()]).exits(0);
    for size in [0, 24, 5000, 300_000, 3 << 20, 20 << 20] {
        Content::new(size + 1, size).write(&pair.source.join(format!("of-{size}")));
    }
    pair.start();
    let names: Vec<String> = files_below(&pair.source)
        .into_keys()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    pair.wait_completed(names.len() as u64, TIME_MAX);
    pair.verify_both(TIME_MAX);
    pair.stop();
    let own = fs::read(pair.b.data().join("keys/keystore.json")).unwrap();
    let back = with_keys_of(&pair.a.dir, &pair.b.dir);
    assert_ne!(
        fs::read(pair.b.data().join("keys/keystore.json")).unwrap(),
        own
    );
    // The keystore itself opens: it is the objects that do not.
    let keys = pair.b.rows(&["keys", "list"]);
    assert_eq!(keys[0]["alias"], alias().as_str());
    for name in &names {
        let ran = pair.b.run(&["get", &format!("{BUCKET}/{name}")]);
        assert_ne!(ran.code, 0, "{ran}");
        assert!(ran.stdout.is_empty(), "{ran}");
    }
    let out = pair.dir().join("restored");
    let out = out.to_str().unwrap();
    assert_ne!(pair.b.run(&["restore", BUCKET, out]).code, 0);
    let restored = files_below(Path::new(out));
    assert!(restored.values().all(|len| *len == 0), "{restored:?}");
    assert_ne!(pair.b.run(&["verify", "--deep"]).code, 0);
    // An agent does not even start on a key of another region.
    assert_ne!(pair.b.run(&["up"]).code, 0);
    // Nor do they open anything when the catalog is made anew with them.
    let catalog = pair.b.data().join("catalog.db");
    let whole = fs::read(&catalog).unwrap();
    pair.b.run(&["verify", "--rebuild-catalog"]);
    for name in &names {
        let ran = pair.b.run(&["get", &format!("{BUCKET}/{name}")]);
        assert!(ran.code != 0 && ran.stdout.is_empty(), "{ran}");
    }
    back();
    for left in ["catalog.db-wal", "catalog.db-shm"] {
        let _none = fs::remove_file(pair.b.data().join(left));
    }
    fs::write(&catalog, whole).unwrap();
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn a_rotation_every_second_loses_nothing_and_every_object_opens() {
    let pair = Pair::new();
    pair.start();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let n = written.fetch_add(1, Ordering::Relaxed);
                let path = pair.source.join(format!("{:02}/{n}", n % 7));
                match n % 40 {
                    // Of several parts: a rotation falls into the middle of it.
                    39 => Content::new(n, 20 << 20).write(&path),
                    _ => write_file(&path, format!("object {n}")),
                }
                thread::sleep(Duration::from_millis(25));
            }
        });
        for n in 0..ROTATIONS {
            let why = format!("rotation {n}");
            pair.b
                .run(&["keys", "rotate", &alias(), "--reason", &why])
                .exits(0);
            thread::sleep(Duration::from_secs(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let objects = written.load(Ordering::Relaxed);
    wait_until("every object is completed", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == objects
    });
    pair.verify_both(TIME_MAX);
    let key = pair.b.rows(&["keys", "describe", &alias()]).remove(0);
    let versions = key["versions"].as_array().unwrap();
    assert_eq!(versions.len() as u64, ROTATIONS + 1);
    assert_eq!(versions[3]["reason"], "rotation 2");
    let each = |field: &str| -> Vec<u64> {
        let values = versions.iter().map(|one| one[field].as_u64().unwrap());
        values.collect()
    };
    assert_eq!(each("objects").iter().sum::<u64>(), objects);
    let bytes: u64 = files_below(&pair.source).values().sum();
    assert_eq!(each("bytes").iter().sum::<u64>(), bytes);
    let used = each("objects").iter().filter(|one| **one > 0).count() as u64;
    assert!(used > ROTATIONS / 2, "{used} versions seal anything: {key}");
    // And with nothing of it in memory.
    pair.stop();
    pair.verify_both(TIME_MAX);
}
