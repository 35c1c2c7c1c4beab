//! An agent's memory has a limit, whatever passes through it.

use std::time::Duration;

use crate::support::{Content, Pair, roomy_dir};

const SIZE: u64 = 5 << 30;
const MEMORY_MAX: u64 = 256 << 20;
const TIME_MAX: Duration = Duration::from_secs(180);

#[test]
#[ignore = "large: run by cargo xtask test"]
fn each_agent_stays_under_256_mib_while_an_object_of_5_gib_passes() {
    let pair = Pair::alone_in(&roomy_dir(2 * SIZE));
    Content::new(9, SIZE).write(&pair.source.join("large"));
    pair.start();
    let taken = pair.wait_completed(1, TIME_MAX);
    for site in [&pair.a, &pair.b] {
        let peak = site.memory_peak();
        println!(
            "{}: {} MiB at most, 5 GiB in {taken:.1?}",
            site.name,
            peak >> 20
        );
        assert!(peak < MEMORY_MAX, "{} took {peak} bytes", site.name);
    }
    pair.b.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
    let peak = pair.b.memory_peak();
    println!("b: {} MiB at most with verification", peak >> 20);
    assert!(peak < MEMORY_MAX, "verification took {peak} bytes");
}
