//! `kill -9` of either agent at random times, again and again, while objects of all
//! sizes are written.

use std::{collections::BTreeSet, fs, path::PathBuf, thread::sleep, time::Duration};

use crate::support::{BUCKET, Content, PART, Pair, files_below, mix, roomy_dir, wait_until};

const TIME_MAX: Duration = Duration::from_secs(240);
const ROUNDS: u64 = 20;
const ROUNDS_FULL: u64 = 200;
/// What a kill may cause to be sent again: the parts in flight on each connection, and
/// one commit group.
const REPEATED_MAX: u64 = 2 * 2 * PART + (8 << 20);

/// Numbers that follow from one seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
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
    // Of many parts now and then only: many rounds would fill any memory.
    let large_max = if is_full() && !round.is_multiple_of(5) {
        2 << 20
    } else {
        30 << 20
    };
    for n in 0..3 {
        let content = Content::new(dice.below(u64::MAX), dice.below(large_max));
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
    let (rounds, bytes) = match is_full() {
        true => (ROUNDS_FULL, 8 << 30),
        false => (ROUNDS, ROUNDS * (100 << 20)),
    };
    let pair = Pair::alone_in(&roomy_dir(bytes));
    let mut dice = Dice(seed("crash::rounds"));
    pair.start();
    let mut sent = 0;
    for round in 0..rounds {
        write_round(&pair, &mut dice, round);
        sent += kill_round(&pair, &mut dice);
    }
    let taken = wait_until("all is there and nothing is pending", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 0 && replicas(&pair) == sources(&pair)
    });
    println!("{rounds} rounds; done {taken:.1?} after the last");
    for row in pair.a.rows(&["ls", "--versions", "--status", "FAILED"]) {
        // Removed again before anyone could read it: the only way to fail here.
        assert_eq!(row["reason"], "SrcObjectGone", "{row}");
        let key = row["key"].as_str().unwrap();
        assert!(!pair.source.join(key).exists(), "{row}");
    }
    sent += pair.a.metric("sealift_sent_bytes_total").unwrap();
    assert_the_same(&pair);
    let versions = pair.b.rows(&["ls", "--versions"]);
    let stored: u64 = versions
        .iter()
        .map(|row| row["size"].as_u64().unwrap())
        .sum();
    let repeated = sent.saturating_sub(stored);
    println!(
        "{} MiB stored, {} MiB sent again",
        stored >> 20,
        repeated >> 20
    );
    assert!(
        repeated <= rounds * REPEATED_MAX,
        "{repeated} bytes were sent again"
    );
    pair.verify_both(TIME_MAX);
}

fn replicas(pair: &Pair) -> BTreeSet<String> {
    let rows = pair.b.rows(&["ls", BUCKET]);
    let key = |row: &serde_json::Value| row["key"].as_str().unwrap().to_owned();
    rows.iter().map(key).collect()
}

fn sources(pair: &Pair) -> BTreeSet<String> {
    let paths = files_below(&pair.source).into_keys();
    let key = |path: PathBuf| {
        path.strip_prefix(&pair.source)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    paths.map(key).collect()
}

/// Many replicas, byte by byte. The rest is compared by verification.
fn assert_the_same(pair: &Pair) {
    for key in sources(pair).iter().step_by(7) {
        let out = pair.get(key, "out");
        assert!(
            fs::read(out).unwrap() == fs::read(pair.source.join(key)).unwrap(),
            "{key}"
        );
    }
}

/// Whether many rounds are wanted.
pub(super) fn is_full() -> bool {
    std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1")
}

/// The seed given, or one of the moment; prints the line that runs the tests with it again.
pub(super) fn seed(tests: &str) -> u64 {
    let given = std::env::var("SEALIFT_TEST_SEED").ok();
    let seed = given.map_or_else(random, |seed| seed.parse().unwrap());
    println!(
        "SEALIFT_TEST_SEED={seed} cargo test --release -p sealift --test sealift -- \
         --include-ignored --nocapture {tests}"
    );
    seed
}

fn random() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    mix(now.unwrap().as_nanos() as u64 ^ u64::from(std::process::id()))
}
