//! Seeds of the simulation, as many as there is time for.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

use std::process::Command;

fn simulate(arguments: &[&str]) {
    let program = env!("CARGO_BIN_EXE_sealift-simulate");
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "the line above runs the seed again");
}

#[test]
fn a_few_seeds_hold_and_are_the_same_twice() {
    simulate(&["--seeds", "4", "--from", "5000", "--rounds", "1"]);
}

#[test]
fn sites_that_are_both_written_to_list_the_same_in_the_end() {
    simulate(&["--both", "--seeds", "4", "--from", "5000", "--rounds", "1"]);
}

#[test]
fn writes_of_both_sites_meet_at_the_same_keys() {
    let program = env!("CARGO_BIN_EXE_sealift-simulate");
    let meet = |seed: u64| {
        let seed = seed.to_string();
        let arguments = ["--both", "--seed", &seed, "--rounds", "1"];
        let ran = Command::new(program).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8_lossy(&ran.stdout).contains("rests after conflicts")
    };
    assert!((1..=20).any(meet), "in none of twenty seeds");
}

#[test]
fn links_are_lost_within_parts_and_these_go_on() {
    let program = env!("CARGO_BIN_EXE_sealift-simulate");
    let went_on = |seed: u64| {
        let seed = seed.to_string();
        let arguments = ["--seed", &seed, "--rounds", "1"];
        let ran = Command::new(program).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8_lossy(&ran.stdout).contains("looks at parts that went on")
    };
    // One seed in forty, each a tenth of a second.
    assert!((1..=400).any(went_on), "in none of 400 seeds");
}

#[test]
#[ignore = "takes minutes: cargo xtask test"]
fn seeds_hold_and_are_the_same_twice() {
    let full = std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1");
    let seeds = if full { "500" } else { "100" };
    simulate(&["--seeds", seeds, "--rounds", "3"]);
    let seeds = if full { "500" } else { "20" };
    simulate(&["--both", "--seeds", seeds, "--rounds", "3"]);
}
