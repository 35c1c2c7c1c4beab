//! Every command works on a running agent and on a stopped one.

use std::{
    fs::{self, File},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{BUCKET, Content, Pair, Site, files_below, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// A pair with versions, a delete marker and objects of several sizes.
fn filled() -> Pair {
    let pair = Pair::new();
    for size in [0, 1000, 70_000, 3_000_000] {
        Content::new(size, size).write(&pair.source.join(format!("d/{size}")));
    }
    write_file(&pair.source.join("changed"), "before");
    write_file(&pair.source.join("removed"), "before");
    pair.start();
    pair.wait_completed(6, TIME_MAX);
    write_file(&pair.source.join("changed"), "after");
    fs::remove_file(pair.source.join("removed")).unwrap();
    pair.wait_completed(8, TIME_MAX);
    pair
}

/// What commands say of a site, in the order of their names.
fn answers(site: &Site) -> Vec<(String, i32, String)> {
    let large = format!("{BUCKET}/d/3000000");
    let commands: [&[&str]; 12] = [
        &["ls"],
        &["ls", "--json"],
        &["ls", "--versions", "--json"],
        &["ls", "--json", &format!("{BUCKET}/d/")],
        &["ls", "--json", "--status", "PENDING"],
        &["inspect", "--json", &large],
        &["explain", &large],
        &["explain", "--json", &format!("{BUCKET}/changed")],
        &["verify", "--json"],
        &["verify", "--deep"],
        &["explain", &format!("{BUCKET}/nothing")],
        &["get", &format!("{BUCKET}/nothing")],
    ];
    let run = |command: &&[&str]| {
        let ran = site.run(command);
        (command.join(" "), ran.code, ran.said())
    };
    commands.iter().map(run).collect()
}

#[test]
fn commands_say_the_same_of_a_running_agent_and_of_a_stopped_one() {
    let pair = filled();
    for site in [&pair.a, &pair.b] {
        let running = answers(site);
        site.stop();
        let stopped = answers(site);
        for (running, stopped) in running.iter().zip(&stopped) {
            assert_eq!(running, stopped, "of {}", site.name);
        }
        site.start();
    }
    let large = format!("{BUCKET}/d/3000000");
    let running = pair.b.run(&["get", &large]).exits(0).stdout;
    pair.b.stop();
    let stopped = pair.b.run(&["get", &large]).exits(0).stdout;
    assert!(running == stopped && running == Content::new(3_000_000, 3_000_000).bytes());
}

#[test]
fn status_tells_the_same_counts_of_a_running_agent_and_of_a_stopped_one() {
    let pair = filled();
    let counts = |status: &Value| {
        (
            status["totals"].clone(),
            status["rules"][0]["counts"].clone(),
        )
    };
    for site in [&pair.a, &pair.b] {
        let running = site.status();
        assert_eq!(running["running"], true, "{running}");
        assert_eq!(running["ready"], true, "{running}");
        site.stop();
        let stopped = site.status();
        assert_eq!(stopped["running"], false, "{stopped}");
        assert_eq!(counts(&running), counts(&stopped));
        for field in ["site", "region", "site_id", "epoch", "sequence"] {
            assert_eq!(running[field], stopped[field], "{field}");
        }
    }
}

#[test]
fn a_site_whose_lock_is_held_and_that_has_no_socket_is_to_be_tried_again_later() {
    let pair = Pair::new();
    pair.b.run(&["ls"]).exits(0);
    let lock = File::options()
        .read(true)
        .write(true)
        .open(pair.b.data().join("LOCK"))
        .unwrap();
    lock.try_lock().unwrap();
    for command in [&["ls"][..], &["status"], &["verify"], &["up"]] {
        pair.b.run(command).exits(5).tells(&["in use", "hint:"]);
    }
    drop(lock);
    pair.b.run(&["ls"]).exits(0);
}

#[test]
fn an_agent_that_starts_while_a_command_has_the_lock_waits_for_it() {
    let pair = Pair::new();
    pair.b.run(&["ls"]).exits(0);
    let lock = File::options()
        .read(true)
        .write(true)
        .open(pair.b.data().join("LOCK"))
        .unwrap();
    lock.try_lock().unwrap();
    pair.b.start_without_waiting();
    std::thread::sleep(Duration::from_millis(700));
    assert!(pair.b.runs(), "it did not wait");
    drop(lock);
    wait_until("the agent is ready", TIME_MAX, || {
        pair.b.log().contains(" ready ")
    });
    pair.b.stop();
}

#[test]
fn a_second_agent_on_the_same_site_does_not_start() {
    let pair = Pair::new();
    pair.b.start();
    pair.b.run(&["up"]).exits(5).tells(&["in use"]);
    pair.b.run(&["status"]).exits(0).tells(&["ready"]);
}

#[test]
fn what_does_not_exist_is_told_by_exit_code_10_and_leaves_no_file() {
    let pair = filled();
    let dir = pair.dir().join("out");
    fs::create_dir(&dir).unwrap();
    let out = dir.join("file");
    let nothing = format!("{BUCKET}/nothing");
    pair.b
        .run(&["get", &nothing, "-o", out.to_str().unwrap()])
        .exits(10)
        .tells(&["hint:"]);
    pair.b.run(&["explain", &nothing]).exits(10);
    assert!(files_below(&dir).is_empty());
}

#[test]
fn agents_stop_in_order_and_start_again_where_they_were() {
    let pair = filled();
    let before = pair.b.rows(&["ls", "--versions"]);
    pair.stop();
    assert!(
        !pair.b.data().join("agent.sock").exists(),
        "the socket is left behind"
    );
    pair.start();
    assert_eq!(pair.b.rows(&["ls", "--versions"]), before);
    pair.wait_completed(8, TIME_MAX);
    let sent = pair.a.metric("sealift_sent_bytes_total");
    assert_eq!(sent, Some(0), "something was sent again");
}

#[test]
fn a_reader_that_has_enough_ends_a_command_without_a_word() {
    let pair = Pair::new();
    for n in 0..3000 {
        write_file(&pair.source.join(format!("a-rather-long-name-{n:06}")), "");
    }
    pair.start();
    pair.wait_completed(3000, TIME_MAX);
    for command in [
        &["ls"][..],
        &["ls", "--json"],
        &["audit", "tail", "-n", "9000"],
    ] {
        let ran = pair.b.run_into_closed_pipe(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (130, ""), "{ran}");
    }
}

#[test]
fn what_a_command_opens_on_a_stopped_site_is_on_record_as_of_its_user() {
    let pair = filled();
    pair.stop();
    let object = format!("{BUCKET}/changed");
    pair.b.run(&["get", &object]).exits(0);
    let me = format!("uid:{} offline", rustix::process::getuid().as_raw());
    pair.b.audits("key.unwrapped", &[&me]);
    pair.b.run(&["verify", "--deep"]).exits(0);
    pair.b.audits("administration", &[&me, "verify"]);
}

#[test]
fn a_retry_to_an_unknown_peer_is_not_found() {
    let pair = Pair::new();
    let ran = pair.a.run(&["retry", "--peer", "nope"]).exits(10);
    ran.tells(&["peer nope", "hint:", "[[peer]]"]);
    pair.a.run(&["retry", "--peer", "b"]).exits(0);
}

#[test]
fn a_reload_that_is_refused_is_logged_with_its_cause_and_one_that_is_taken_up_too() {
    let pair = Pair::new();
    pair.b.start();
    pair.b.run(&["reload"]).exits(0);
    pair.b.logs(&["configuration reloaded", "uid:"]);
    pair.b.edit("[keys]", "[kyes]");
    pair.b.signal(Signal::HUP);
    pair.b
        .logs(&["the configuration stays as it was", "SIGHUP", "kyes"]);
    pair.b.edit("[kyes]", "[keys]");
    pair.b.signal(Signal::HUP);
    pair.b.logs(&["configuration reloaded", "SIGHUP"]);
}

#[test]
fn a_source_that_is_away_is_logged_once() {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    fs::rename(&pair.source, pair.dir().join("away")).unwrap();
    pair.a.logs(&["the source cannot be watched"]);
    std::thread::sleep(Duration::from_secs(4));
    let told = pair.a.log().matches("the source cannot be watched").count();
    assert_eq!(told, 1, "{}", pair.a.log());
    fs::rename(pair.dir().join("away"), &pair.source).unwrap();
    pair.a.logs(&["the source is watched again"]);
}
