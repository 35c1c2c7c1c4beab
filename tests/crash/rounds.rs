//! `kill -9` of either agent at random times, again and again, while objects of all
//! sizes are written.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread::{self, sleep},
    time::Duration,
};

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

/// Writes, changes and removes files, for about a second.
fn write_round(source: &Path, mut dice: Dice, round: u64) {
    // Of many parts now and then only: many rounds would fill any memory.
    let large_max = if is_full() && !round.is_multiple_of(5) {
        2 << 20
    } else {
        24 << 20
    };
    let mut content = |max| Content::new(dice.below(u64::MAX), dice.below(max));
    for n in 0..60 {
        content(40_000).write(&source.join(format!("small/{round}/{n}")));
        if n % 10 == 0 {
            content(large_max).write(&source.join(format!("large/{round}/{n}")));
        }
        sleep(Duration::from_millis(12));
    }
    content(100_000).write(&source.join("changed-every-round"));
    if round > 2 {
        let gone = format!("small/{}/{}", round - 2, dice.below(60));
        // It may have gone before.
        let _ = fs::remove_file(source.join(gone));
    }
}

/// What was killed.
struct Killed {
    agents: u64,
    /// What the sender had sent in the life that ended, if it did.
    sent: Option<u64>,
}

/// Kills one of the two, or both, at some time, and starts them again.
fn kill_round(pair: &Pair, dice: &mut Dice) -> Killed {
    sleep(Duration::from_millis(dice.below(900)));
    let sites = match dice.below(5) {
        0 | 1 => vec![&pair.a],
        2 | 3 => vec![&pair.b],
        _ => vec![&pair.b, &pair.a],
    };
    let mut killed = Killed {
        agents: sites.len() as u64,
        sent: None,
    };
    for site in &sites {
        if site.name == pair.a.name {
            killed.sent = Some(sent(pair));
        }
        assert!(site.kill());
    }
    sleep(Duration::from_millis(dice.below(300)));
    for site in &sites {
        site.start();
    }
    killed
}

/// Bytes of content that the sender has sent since its start.
fn sent(pair: &Pair) -> u64 {
    pair.a.metric("sealift_sent_bytes_total").unwrap_or(0)
}

/// Bytes of content that the receiver has, of all versions.
fn stored(pair: &Pair) -> u64 {
    let report = pair.b.status();
    let buckets = report["buckets"].as_array().unwrap().iter();
    buckets.map(|row| row["bytes"].as_u64().unwrap()).sum()
}

/// One round of load and a kill in the middle of it, until everything is there. The
/// bytes that were sent again.
fn round(pair: &Pair, dice: &mut Dice, round: u64) -> u64 {
    let (sent_before, stored_before) = (sent(pair), stored(pair));
    let writing = Dice(dice.below(u64::MAX));
    let killed = thread::scope(|scope| {
        scope.spawn(|| write_round(&pair.source, writing, round));
        kill_round(pair, dice)
    });
    wait_until("all is there and nothing is pending", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 0 && replicas(pair) == sources(pair)
    });
    let sent = match killed.sent {
        None => sent(pair) - sent_before,
        Some(in_ended_life) => in_ended_life - sent_before + sent(pair),
    };
    let repeated = sent.saturating_sub(stored(pair) - stored_before);
    assert!(
        repeated <= killed.agents * REPEATED_MAX,
        "round {round}: {repeated} bytes were sent again"
    );
    repeated
}

#[test]
#[ignore = "long: run by cargo xtask test"]
fn killed_at_any_time_agents_lose_nothing_and_repeat_little() {
    let (rounds, bytes) = match is_full() {
        true => (ROUNDS_FULL, 12 << 30),
        false => (ROUNDS, ROUNDS * (250 << 20)),
    };
    let pair = Pair::alone_in(&roomy_dir(bytes));
    let mut dice = Dice(seed("crash::rounds"));
    pair.start();
    let mut repeated: Vec<u64> = (0..rounds).map(|n| round(&pair, &mut dice, n)).collect();
    repeated.sort_unstable();
    for row in pair.a.rows(&["ls", "--versions", "--status", "FAILED"]) {
        // Removed again before anyone could read it: the only way to fail here.
        assert_eq!(row["reason"], "SrcObjectGone", "{row}");
        let key = row["key"].as_str().unwrap();
        assert!(!pair.source.join(key).exists(), "{row}");
    }
    assert_the_same(&pair);
    println!(
        "{rounds} rounds, {} MiB stored; sent again in a round: median {} MiB, at most {} MiB",
        stored(&pair) >> 20,
        repeated[repeated.len() / 2] >> 20,
        repeated[repeated.len() - 1] >> 20
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
