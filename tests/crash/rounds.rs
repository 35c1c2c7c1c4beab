//! `kill -9` of either agent at random times, again and again, while objects of all
//! sizes are written.

use std::{fs, thread::sleep, time::Duration};

use crate::support::{BUCKET, Content, PART, Pair, files_below, mix, roomy_dir};

const TIME_MAX: Duration = Duration::from_secs(240);
const ROUNDS: u64 = 20;
const ROUNDS_FULL: u64 = 50;
/// What a kill may cause to be sent again: parts in flight and small objects on
/// their way on each connection, and one commit group.
const REPEATED_MAX: u64 = (2 * 2 + 4) * PART + (8 << 20);

/// Numbers that follow from one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % end
    }
}

/// Writes, changes and removes files as a round does.
fn write_round(pair: &Pair, dice: &mut Dice, round: u64) {
    for n in 0..60 {
        let content = Content::new(dice.below(u64::MAX), dice.below(40_000));
        content.write(&pair.source.join(format!("small/{round}/{n}")));
    }
    for n in 0..3 {
        let content = Content::new(dice.below(u64::MAX), dice.below(30 << 20));
        content.write(&pair.source.join(format!("large/{round}/{n}")));
    }
    let changed = Content::new(dice.below(u64::MAX), dice.below(100_000));
    changed.write(&pair.source.join("changed-every-round"));
    if round > 2 {
        let gone = format!("small/{}/{}", round - 2, dice.below(60));
        // It may have gone before.
        let _ = fs::remove_file(pair.source.join(gone));
    }
}

/// Kills one of the two, or both, at some time, and starts them again. What the
/// sender had sent in the life that ended, if it did.
fn kill_round(pair: &Pair, dice: &mut Dice) -> u64 {
    sleep(Duration::from_millis(dice.below(900)));
    let sites = match dice.below(5) {
        0 | 1 => vec![&pair.a],
        2 | 3 => vec![&pair.b],
        _ => vec![&pair.b, &pair.a],
    };
    let mut sent = 0;
    for site in &sites {
        if site.name == pair.a.name {
            sent = site.metric("sealift_sent_bytes_total").unwrap_or(0);
        }
        assert!(site.kill());
    }
    sleep(Duration::from_millis(dice.below(300)));
    for site in &sites {
        site.start();
    }
    sent
}

#[test]
#[ignore = "long: run by cargo xtask test"]
fn killed_at_any_time_agents_lose_nothing_and_repeat_little() {
    let is_full = std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1");
    let rounds = if is_full { ROUNDS_FULL } else { ROUNDS };
    let given = std::env::var("SEALIFT_TEST_SEED").ok();
    let seed = given.map_or_else(random, |seed| seed.parse().unwrap());
    println!(
        "SEALIFT_TEST_SEED={seed} cargo test --release -p sealift --test sealift -- \
         --include-ignored --nocapture crash::rounds"
    );
    let pair = Pair::alone_in(&roomy_dir(rounds * (100 << 20)));
    let mut dice = Dice(seed);
    pair.start();
    let mut sent = 0;
    for round in 0..rounds {
        write_round(&pair, &mut dice, round);
        sent += kill_round(&pair, &mut dice);
    }
    let taken = crate::support::wait_until("nothing is pending", TIME_MAX, || {
        let report = pair.a.status();
        !report["sources"][0]["scanned"].is_null() && pair.a.transfers("PENDING").0 == 0
    });
    println!("{rounds} rounds; done {taken:.1?} after the last");
    assert_eq!(pair.a.transfers("FAILED").0, 0);
    sent += pair.a.metric("sealift_sent_bytes_total").unwrap();
    assert_all_there(&pair);
    let versions = pair.b.rows(&["ls", "--versions"]);
    let stored: u64 = versions.iter().map(|row| row["size"].as_u64().unwrap()).sum();
    let repeated = sent.saturating_sub(stored);
    println!("{} MiB stored, {} MiB sent again", stored >> 20, repeated >> 20);
    assert!(repeated <= rounds * REPEATED_MAX, "{repeated} bytes were sent again");
    pair.verify_both(TIME_MAX);
}

/// The replica is the source: its keys, and every object byte by byte.
fn assert_all_there(pair: &Pair) {
    let rows = pair.b.rows(&["ls", BUCKET]);
    let sources = files_below(&pair.source);
    let mut keys: Vec<_> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    let mut written: Vec<_> = sources
        .keys()
        .map(|path| path.strip_prefix(&pair.source).unwrap().to_str().unwrap())
        .collect();
    keys.sort_unstable();
    written.sort_unstable();
    assert_eq!(keys, written);
    for key in written.iter().step_by(7) {
        let out = pair.get(key, "out");
        assert!(fs::read(out).unwrap() == fs::read(pair.source.join(key)).unwrap(), "{key}");
    }
}

fn random() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    mix(now.unwrap().as_nanos() as u64 ^ u64::from(std::process::id()))
}
