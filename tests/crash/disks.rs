//! Disks that fill up, fail or vanish, and too few file descriptors.

use std::{fs, time::Duration};

use crate::support::{
    BUCKET, Content, Image, Mount, Pair, Site, roomy_dir, run_program, wait_until,
};

const TIME_MAX: Duration = Duration::from_secs(90);
/// More than what is kept free for catalog and audit.
const IMAGE_BYTES: u64 = 1400 << 20;

/// A receiver on a disk of its own, with some objects.
fn on_a_disk() -> (Pair, Mount) {
    let pair = Pair::alone_in(&roomy_dir(2 << 30));
    let image = Image::make(pair.dir().join("b.img"), IMAGE_BYTES);
    let mount = image.take_over(&pair.b);
    write(&pair, "before", 12);
    pair.start();
    pair.wait_completed(13, TIME_MAX);
    (pair, mount)
}

/// Some small ones, and one of three parts.
fn write(pair: &Pair, folder: &str, small: u64) {
    for n in 0..small {
        Content::new(n, 3000 + n).write(&pair.source.join(format!("{folder}/{n}")));
    }
    Content::new(99, 17_000_000).write(&pair.source.join(format!("{folder}/large")));
}

/// Waits until something new is known to wait, for one of these reasons.
fn waits_for(pair: &Pair, reasons: &[&str]) {
    wait_until(&format!("objects wait for {reasons:?}"), TIME_MAX, || {
        let rows = pair.a.rows(&["ls", "--versions", "--status", "PENDING"]);
        rows.iter()
            .any(|row| reasons.iter().any(|reason| row["reason"] == *reason))
    });
}

/// Everything arrives in the end, and the agents are well.
fn goes_on(pair: &Pair, objects: u64) {
    let taken = pair.wait_completed(objects, TIME_MAX);
    println!("all is there {taken:.1?} after it was mended");
    assert!(pair.a.runs() && pair.b.runs());
    pair.verify_both(TIME_MAX);
}

#[test]
#[ignore = "needs root and ext4: run by cargo xtask test"]
fn a_disk_that_is_full_to_the_reserve_is_told_and_goes_on_when_there_is_room() {
    let (pair, mount) = on_a_disk();
    let ballast = mount.fill(1 << 30);
    // For as long the receiver believes what it was told of its room.
    std::thread::sleep(Duration::from_secs(2));
    write(&pair, "after", 12);
    waits_for(&pair, &["DstStoreFull"]);
    assert_eq!(pair.a.transfers("COMPLETED").0, 13);
    fs::remove_file(ballast).unwrap();
    pair.a.run(&["retry"]).exits(0);
    goes_on(&pair, 26);
    pair.stop();
    mount.end();
}

#[test]
#[ignore = "needs root and ext4: run by cargo xtask test"]
fn a_disk_without_a_single_byte_left_loses_nothing_and_goes_on_by_itself() {
    let (pair, mount) = on_a_disk();
    let ballast = mount.fill(0);
    write(&pair, "after", 12);
    waits_for(
        &pair,
        &["DstStoreFull", "AuditUnavailable", "DstStoreUnavailable"],
    );
    assert_eq!(pair.a.transfers("COMPLETED").0, 13);
    assert!(pair.b.runs(), "the agent ended");
    // The power goes on top of it, and comes back while the disk is still full.
    pair.b.kill();
    pair.b.start_without_waiting();
    std::thread::sleep(Duration::from_secs(2));
    fs::remove_file(ballast).unwrap();
    if !pair.b.runs() {
        pair.b.kill();
        pair.b.start();
    }
    goes_on(&pair, 26);
    pair.stop();
    mount.end();
}

#[test]
#[ignore = "needs root and ext4: run by cargo xtask test"]
fn a_disk_that_can_only_be_read_any_more_acknowledges_nothing() {
    let (pair, mount) = on_a_disk();
    mount.abort();
    write(&pair, "after", 12);
    waits_for(
        &pair,
        &[
            "DstPutDenied",
            "AuditUnavailable",
            "DstStoreUnavailable",
            "DstStoreFull",
        ],
    );
    assert_eq!(pair.a.transfers("COMPLETED").0, 13);
    // What is there is still served.
    let object = format!("{BUCKET}/before/3");
    let ran = pair.b.run(&["get", &object]);
    println!("reading on it ends with {}", ran.code);
    pair.b.kill();
    mount.end();
    let image = pair.dir().join("b.img");
    run_program("fsck.ext4", &["-p", image.to_str().unwrap()], &[0, 1]);
    let mount = Image::existing(image).mount(&pair.b.data());
    pair.b.start();
    goes_on(&pair, 26);
    pair.stop();
    mount.end();
}

/// Lets an agent open so many files more than it has open; none for a number that is
/// no limit here.
fn open_files_max(site: &Site, more: Option<u64>) {
    let pid = site.pid().to_string();
    let limit = match more {
        None => 2000,
        Some(more) => fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64 + more,
    };
    // The soft limit alone: raising the hard one is a right not every root has.
    let limit = format!("--nofile={limit}:");
    run_program("prlimit", &["--pid", &pid, &limit], &[0]);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn too_few_file_descriptors_at_the_receiver_are_no_damage_and_it_goes_on() {
    let pair = Pair::alone_in(&roomy_dir(2 << 30));
    write(&pair, "before", 12);
    pair.start();
    pair.wait_completed(13, TIME_MAX);
    open_files_max(&pair.b, Some(1));
    for n in 0..30 {
        Content::new(n, 9_000_000).write(&pair.source.join(format!("after/{n}")));
    }
    std::thread::sleep(Duration::from_secs(6));
    assert!(pair.b.runs(), "the agent ended");
    open_files_max(&pair.b, None);
    pair.a.run(&["retry"]).exits(0);
    goes_on(&pair, 43);
    let (damaged, repaired) = quarantined(&pair.b);
    assert_eq!((damaged, repaired), (0, 0));
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn too_few_file_descriptors_at_the_sender_lose_nothing_and_it_goes_on() {
    let pair = Pair::alone_in(&roomy_dir(2 << 30));
    write(&pair, "before", 12);
    pair.start();
    pair.wait_completed(13, TIME_MAX);
    open_files_max(&pair.a, Some(1));
    for n in 0..30 {
        Content::new(n, 3_000_000).write(&pair.source.join(format!("after/{n}")));
    }
    std::thread::sleep(Duration::from_secs(6));
    assert!(pair.a.runs(), "the agent ended");
    open_files_max(&pair.a, None);
    pair.a.run(&["retry"]).exits(0);
    goes_on(&pair, 43);
    let rows = pair.b.rows(&["ls", BUCKET]);
    assert_eq!(rows.len(), 43, "nothing was taken for removed");
}

fn quarantined(site: &Site) -> (u64, u64) {
    let row = site.rows(&["scrub"]).remove(0);
    let of = |state: &str| row[state].as_u64().unwrap();
    (of("damaged"), of("repaired"))
}

#[test]
#[ignore = "slow: run by cargo xtask test"]
fn a_store_deleted_under_the_agent_is_told_and_not_made_anew() {
    let pair = Pair::alone_in(&roomy_dir(1 << 30));
    write(&pair, "before", 12);
    pair.start();
    pair.wait_completed(13, TIME_MAX);
    let store = pair.b.data().join("store");
    fs::remove_dir_all(&store).unwrap();
    write(&pair, "after", 12);
    waits_for(&pair, &["DstStoreUnavailable"]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(pair.a.transfers("COMPLETED").0, 13, "into a deleted file");
    assert!(!store.exists(), "it was made anew");
    assert!(pair.b.runs());
    pair.b.run(&["status"]).exits(0);
    pair.b.run(&["scrub", "--now"]).exits(0);
    pair.b.logs(&["scrub", "mounted"]);
    assert_eq!(quarantined(&pair.b), (0, 0));
    // Whoever knows that it is lost says so.
    fs::create_dir(&store).unwrap();
    fs::write(store.join(".sealift-store"), "").unwrap();
    pair.a.run(&["retry"]).exits(0);
    wait_until("all of it came again", TIME_MAX, || {
        quarantined(&pair.b) == (0, 13)
    });
    goes_on(&pair, 26);
}

#[test]
#[ignore = "needs root and ext4: run by cargo xtask test"]
fn a_source_that_is_unmounted_is_no_removal() {
    let pair = Pair::alone_in(&roomy_dir(2 << 30));
    let image = Image::make(pair.dir().join("source.img"), 200 << 20);
    let mount = image.mount(&pair.source);
    pair.a
        .edit("# scan_interval_secs = 60", "scan_interval_secs = 1");
    write(&pair, "before", 12);
    pair.start();
    pair.wait_completed(13, TIME_MAX);
    mount.vanish();
    wait_until("the source is told to be gone", TIME_MAX, || {
        let report = pair.a.status();
        report["sources"][0]["reason"] == "SrcUnavailable"
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 13);
    let mount = image.mount(&pair.source);
    write(&pair, "after", 12);
    goes_on(&pair, 26);
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 26);
    pair.stop();
    mount.end();
}
