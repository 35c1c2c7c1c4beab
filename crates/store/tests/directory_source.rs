//! What a directory as a source does, property by property.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sealift_host::OsClock;
use sealift_store::{
    DirectorySource, Hint, MemorySource, Page, Source, StoreError, Watch, conformance,
};
use sealift_terms::{ObjectKey, Reason};

fn source(path: &Path) -> DirectorySource {
    DirectorySource::new(path, Arc::new(OsClock)).unwrap()
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

fn put(root: &Path, key: &str, bytes: &[u8]) {
    let path = root.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

async fn everything(source: &dyn Source) -> Page {
    source.scan("").await.unwrap().page(10_000).await.unwrap()
}

#[tokio::test]
async fn a_directory_passes_the_suite() {
    let temp = tempfile::tempdir().unwrap();
    let remove = |key: &str| fs::remove_file(temp.path().join(key)).unwrap();
    conformance::source(
        &source(temp.path()),
        |key, bytes| put(temp.path(), key, bytes),
        remove,
    )
    .await;
}

#[tokio::test]
async fn a_memory_source_passes_the_suite() {
    let memory = MemorySource::new();
    let put = |key: &str, bytes: &[u8]| drop(memory.put(key, bytes).unwrap());
    conformance::source(&memory, put, |key| memory.remove(key).unwrap()).await;
}

#[tokio::test]
async fn a_symbolic_link_is_not_followed() {
    let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(outside.path(), "secret", b"secret");
    symlink(outside.path().join("secret"), temp.path().join("file")).unwrap();
    symlink(outside.path(), temp.path().join("tree")).unwrap();
    let source = source(temp.path());
    let page = everything(&source).await;
    assert!(page.objects.is_empty());
    let reasons: Vec<_> = page
        .skipped
        .iter()
        .map(|s| (s.name.as_str(), s.reason))
        .collect();
    let why = Reason::SkippedUnreadable;
    assert_eq!(reasons, [("file", why), ("tree", why)]);
    for name in ["file", "tree/secret"] {
        let looked = source.look(&key(name)).await;
        assert!(
            matches!(looked, Err(StoreError::SourceUnsupported { .. })),
            "{name}: {looked:?}"
        );
    }
}

#[tokio::test]
async fn a_key_never_leads_out_of_the_root() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "root/in", b"");
    put(temp.path(), "out", b"");
    let source = source(&temp.path().join("root"));
    for name in ["../out", "in/../../out", "/etc/hostname", "./in", "a//b"] {
        assert!(matches!(source.look(&key(name)).await, Ok(None)), "{name}");
    }
}

#[tokio::test]
async fn names_that_cannot_be_keys_are_skipped_with_why() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "good", b"");
    fs::write(
        temp.path().join(std::ffi::OsStr::from_bytes(b"bad-\xff")),
        b"",
    )
    .unwrap();
    let deep = vec!["d".repeat(250); 5].join("/");
    put(temp.path(), &deep, b"");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        temp.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    let page = everything(&source(temp.path())).await;
    assert_eq!(page.objects.len(), 1);
    let skipped: Vec<_> = page
        .skipped
        .iter()
        .map(|s| (s.name.len(), s.reason, s.evidence.as_str()))
        .collect();
    assert_eq!(
        skipped,
        [
            (8, Reason::SrcNameUnsupported, "the name is not UTF-8"),
            (
                1254,
                Reason::SrcNameUnsupported,
                "the name is longer than 1,024 bytes"
            ),
            (4, Reason::SkippedUnreadable, "a named pipe"),
        ]
    );
    assert_eq!(page.skipped[0].name, "bad-\\xff");
}

#[tokio::test]
async fn mode_and_time_of_modification_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "file", b"x");
    let path = temp.path().join("file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let listed = source(temp.path())
        .look(&key("file"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(listed.facts.system["posix-mode"], "4751");
    assert_eq!(
        listed.facts.last_modified.unwrap().as_millis(),
        1_700_000_000_123
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_are_those_of_the_file_whether_in_memory_or_not_and_end_with_it() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| ((at * 31) >> 3) as u8).collect();
    // A tmpfs says nothing of what is in memory, other file systems do.
    let roots = ["/dev/shm", "/tmp", "."]
        .into_iter()
        .filter(|root| Path::new(root).is_dir());
    for root in roots {
        let temp = tempfile::tempdir_in(root).unwrap();
        put(temp.path(), "file", &bytes);
        let source = source(temp.path());
        let listed = source.look(&key("file")).await.unwrap().unwrap();
        let object = source.open(&listed.key, &listed.version).await.unwrap();
        for (from, count) in [(0, 1000), (131_000, 100_001), (299_999, 1), (300_000, 0)] {
            let mut piece = vec![0; count];
            object.read_exact_at(&mut piece, from as u64).await.unwrap();
            assert!(
                piece == bytes[from..from + count],
                "{root}: {count} from {from}"
            );
        }
        let beyond = object.read_exact_at(&mut [0; 2000], 299_000).await;
        assert!(
            matches!(beyond, Err(StoreError::SourceChanged { .. })),
            "{root}: {beyond:?}"
        );
    }
}

#[tokio::test]
async fn a_change_during_reading_is_detected() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "file", &[7; 1000]);
    let source = source(temp.path());
    let listed = source.look(&key("file")).await.unwrap().unwrap();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    object.read_exact_at(&mut [0; 1000], 0).await.unwrap();
    object.finish().await.unwrap();
    // The same length, in place, right after the reading.
    fs::File::options()
        .write(true)
        .open(temp.path().join("file"))
        .unwrap()
        .write_all(b"8")
        .unwrap();
    assert!(matches!(
        object.finish().await,
        Err(StoreError::SourceChanged { .. })
    ));
}

#[tokio::test]
async fn an_edit_of_equal_length_and_equal_modification_time_is_another_version() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    let source = source(temp.path());
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut versions = std::collections::BTreeSet::new();
    for round in 0..20_u8 {
        fs::write(&path, [round; 8]).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        let listed = source.look(&key("file")).await.unwrap().unwrap();
        // Opening waits until a later edit cannot carry the same stamps.
        let object = source.open(&listed.key, &listed.version).await.unwrap();
        object.read_exact_at(&mut [0; 8], 0).await.unwrap();
        object.finish().await.unwrap();
        versions.insert(listed.version);
    }
    assert_eq!(versions.len(), 20);
}

#[tokio::test]
async fn a_root_that_is_away_or_replaced_is_an_error_and_never_an_empty_listing() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    put(&root, "file", b"x");
    let source = source(&root);
    let mut scan = source.scan("").await.unwrap();
    fs::rename(&root, temp.path().join("away")).unwrap();
    let is_away = |error: StoreError| assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
    is_away(scan.page(10).await.unwrap_err());
    is_away(source.scan("").await.err().unwrap());
    is_away(source.look(&key("file")).await.unwrap_err());
    fs::create_dir(&root).unwrap();
    is_away(source.scan("").await.err().unwrap());
    is_away(source.look(&key("file")).await.unwrap_err());
    fs::remove_dir(&root).unwrap();
    fs::rename(temp.path().join("away"), &root).unwrap();
    assert_eq!(everything(&source).await.objects.len(), 1);
    assert!(DirectorySource::new(temp.path().join("none"), Arc::new(OsClock)).is_err());
}

#[tokio::test]
async fn a_root_that_comes_late_is_taken_when_it_comes_and_no_other_after_it() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    let source = DirectorySource::awaited(&root, Arc::new(OsClock));
    let error = source.scan("").await.err().unwrap();
    assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
    put(&root, "file", b"x");
    assert_eq!(everything(&source).await.objects.len(), 1);
    fs::rename(&root, temp.path().join("away")).unwrap();
    fs::create_dir(&root).unwrap();
    assert!(source.scan("").await.is_err());
}

#[tokio::test]
async fn a_directory_that_may_not_be_listed_hides_its_keys() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "closed/file", b"x");
    put(temp.path(), "open", b"x");
    fs::set_permissions(temp.path().join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    let page = everything(&source(temp.path())).await;
    fs::set_permissions(
        temp.path().join("closed"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    if page.objects.len() == 2 {
        return; // The superuser may list everything.
    }
    assert_eq!(page.skipped[0].hides.as_deref(), Some("closed/"));
}

/// Waits for a hint that satisfies; the hints before it are handed over too.
async fn wait(watch: &mut Watch, within: Duration, mut is_it: impl FnMut(&Hint) -> bool) -> bool {
    let deadline = Instant::now() + within;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match tokio::time::timeout(left, watch.hints.recv()).await {
            Ok(Some(hint)) if is_it(&hint) => return true,
            Ok(Some(_)) => {}
            _ => return false,
        }
    }
    false
}

async fn watching(source: &DirectorySource) -> Watch {
    let mut watch = source.watch().unwrap();
    // The first says that the watch stands.
    assert!(wait(&mut watch, SOON, |hint| *hint == Hint::Rescan).await);
    watch
}

/// It takes milliseconds, where a machine has time for it.
const SOON: Duration = Duration::from_secs(30);
/// Without a change for this long a file has settled.
const QUIET: Duration = Duration::from_secs(1);

#[tokio::test]
async fn new_changed_and_removed_files_are_seen_without_a_scan() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "old/file", b"1");
    let source = source(temp.path());
    let mut watch = watching(&source).await;
    let changed = |name: &str| {
        let hint = Hint::Changed(key(name));
        move |found: &Hint| *found == hint
    };
    put(temp.path(), "new", b"1");
    assert!(wait(&mut watch, SOON, changed("new")).await, "created");
    put(temp.path(), "old/file", b"2");
    assert!(wait(&mut watch, SOON, changed("old/file")).await, "written");
    fs::rename(temp.path().join("new"), temp.path().join("moved")).unwrap();
    assert!(wait(&mut watch, SOON, changed("moved")).await, "renamed");
    fs::remove_file(temp.path().join("old/file")).unwrap();
    assert!(wait(&mut watch, SOON, changed("old/file")).await, "removed");
    put(temp.path(), "fresh/deeper/file", b"1");
    let beneath_or_file = |hint: &Hint| match hint {
        Hint::Changed(found) => *found == key("fresh/deeper/file"),
        _ => false,
    };
    assert!(
        wait(&mut watch, SOON, beneath_or_file).await,
        "in a new directory"
    );
}

#[tokio::test]
async fn a_renamed_directory_is_scanned_at_both_places_and_watched_at_the_new_one() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "from/deep/file", b"1");
    let source = source(temp.path());
    let mut watch = watching(&source).await;
    fs::rename(temp.path().join("from"), temp.path().join("to")).unwrap();
    let mut seen = Vec::new();
    wait(&mut watch, SOON, |hint| {
        seen.push(hint.clone());
        seen.len() == 2
    })
    .await;
    assert_eq!(
        seen,
        [Hint::Beneath("from/".into()), Hint::Beneath("to/".into())]
    );
    put(temp.path(), "to/deep/file", b"2");
    let hint = Hint::Changed(key("to/deep/file"));
    assert!(wait(&mut watch, SOON, |found| *found == hint).await);
}

#[tokio::test]
async fn a_file_still_being_written_is_left_until_it_settles() {
    let temp = tempfile::tempdir().unwrap();
    let source = source(temp.path());
    let mut watch = watching(&source).await;
    let mut file = fs::File::create(temp.path().join("growing")).unwrap();
    let hint = Hint::Changed(key("growing"));
    let mut written = Instant::now();
    for _ in 0..6 {
        let before = written;
        file.write_all(b"more").unwrap();
        written = Instant::now();
        let is_settled = everything(&source).await.objects[0].settled;
        let is_hinted = wait(&mut watch, QUIET / 3, |found| *found == hint).await;
        // Where the machine stood still it was quiet for long enough.
        let is_quiet = before.elapsed() > QUIET * 4 / 5;
        assert!(is_quiet || !(is_settled || is_hinted));
    }
    assert!(
        wait(&mut watch, SOON, |found| *found == hint).await,
        "after a second of quiet"
    );
    assert!(everything(&source).await.objects[0].settled);
    file.write_all(b"end").unwrap();
    drop(file);
    assert!(
        wait(&mut watch, SOON, |found| *found == hint).await,
        "closed"
    );
}

#[tokio::test]
async fn when_the_limit_of_watches_is_reached_the_source_says_that_it_must_be_polled() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "a/b/c", b"");
    let source = source(temp.path()).with_watches_max(2);
    let mut watch = source.watch().unwrap();
    assert!(wait(&mut watch, SOON, |hint| matches!(hint, Hint::Poll(_))).await);
}

#[tokio::test]
async fn a_root_that_comes_back_is_watched_again() {
    let temp = tempfile::tempdir().unwrap();
    let (root, away) = (temp.path().join("root"), temp.path().join("away"));
    put(&root, "file", b"1");
    let source = source(&root);
    let mut watch = watching(&source).await;
    fs::rename(&root, &away).unwrap();
    assert!(wait(&mut watch, SOON, |hint| *hint == Hint::Rescan).await);
    fs::rename(&away, &root).unwrap();
    let hint = Hint::Changed(key("file"));
    let begun = Instant::now();
    // What is written before it is watched is a scan's to find.
    loop {
        put(&root, "file", b"2");
        if wait(&mut watch, Duration::from_secs(1), |found| *found == hint).await {
            break;
        }
        assert!(begun.elapsed() < SOON, "it is not watched again");
    }
}

#[tokio::test]
async fn more_hints_than_the_queue_holds_become_a_rescan() {
    let temp = tempfile::tempdir().unwrap();
    let source = source(temp.path());
    let mut watch = watching(&source).await;
    for i in 0..sealift_store::HINTS_QUEUED_MAX + 1000 {
        put(temp.path(), &format!("f{i}"), b"");
    }
    let begun = Instant::now();
    while watch.hints.len() < sealift_store::HINTS_QUEUED_MAX || source.settling() > 0 {
        assert!(begun.elapsed() < SOON, "{} hints", watch.hints.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Those that are settled by now are on their way into a queue that is full.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(wait(&mut watch, SOON, |hint| *hint == Hint::Rescan).await);
}

/// Not a property: what reading small objects costs in time, here and where it is run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a measurement: prints microseconds an object, best on an idle machine"]
async fn what_a_small_object_costs() {
    const COUNT: usize = 20_000;
    const AT_ONCE: usize = 64;
    let temp = tempfile::tempdir().unwrap();
    for n in 0..COUNT {
        std::fs::write(temp.path().join(format!("f{n:05}")), [7; 4096]).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let source = Arc::new(DirectorySource::new(temp.path(), Arc::new(OsClock)).unwrap());
    let mut scan = source.scan("").await.unwrap();
    let mut listed = Vec::new();
    loop {
        let page = scan.page(10_000).await.unwrap();
        listed.extend(page.objects);
        if page.last {
            break;
        }
    }
    let per_object = |begun: std::time::Instant| begun.elapsed().as_nanos() / COUNT as u128;
    for round in 0..3 {
        let begun = std::time::Instant::now();
        for object in &listed {
            let bytes = std::fs::read(temp.path().join(object.key.as_str())).unwrap();
            assert_eq!(bytes.len(), 4096);
        }
        let plain = per_object(begun);
        let mut means = Vec::new();
        for on_readers in [true, false] {
            let begun = std::time::Instant::now();
            let (mut tasks, listed) = (tokio::task::JoinSet::new(), Arc::new(listed.clone()));
            for first in 0..AT_ONCE {
                let (source, listed) = (source.clone(), listed.clone());
                tasks.spawn(async move {
                    for object in listed.iter().skip(first).step_by(AT_ONCE) {
                        let (key, version) = (&object.key, &object.version);
                        if on_readers {
                            source.read_whole(key, version, 4096).await.unwrap();
                            continue;
                        }
                        // One wake-up for each call.
                        let object = source.open(key, version).await.unwrap();
                        let mut bytes = vec![0; 4096];
                        object.read_exact_at(&mut bytes, 0).await.unwrap();
                        object.finish().await.unwrap();
                    }
                });
            }
            while tasks.join_next().await.is_some() {}
            means.push(per_object(begun));
        }
        println!(
            "round {round}: {plain} ns read in a row, {means:?} ns by readers, by a hop for each call"
        );
    }
}
