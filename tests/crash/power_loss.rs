//! The power goes, again and again: what was acknowledged is on the disk, whole.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use super::rounds::{Dice, is_full, seed};
use crate::support::{Content, Image, Pair, Ran, Site, roomy_dir, run_in_time};

const IMAGES: u64 = 60;
const IMAGES_FULL: u64 = 300;
const IMAGE_BYTES: u64 = 6 << 30;
const TIME_MAX: Duration = Duration::from_secs(240);

/// Versions, by key and id.
type Versions = BTreeSet<(String, String)>;

fn versions(rows: &[serde_json::Value]) -> Versions {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| (text(&row["key"]), text(&row["version"])))
        .collect()
}

fn acknowledged(a: &Site) -> Versions {
    versions(&a.rows(&["ls", "--versions", "--status", "COMPLETED"]))
}

fn write_some(pair: &Pair, dice: &mut Dice, round: u64) {
    for n in 0..20 {
        let content = Content::new(dice.below(u64::MAX), dice.below(30_000));
        content.write(&pair.source.join(format!("small/{round}/{n}")));
    }
    let changed = Content::new(dice.below(u64::MAX), dice.below(90_000));
    changed.write(&pair.source.join("changed-every-round"));
    if round.is_multiple_of(4) {
        let content = Content::new(dice.below(u64::MAX), dice.below(20 << 20));
        content.write(&pair.source.join(format!("large/{round}")));
    }
}

/// The site as it would come up after the power went: everything but its data is copied.
fn come_up(pair: &Pair, at: &Path) {
    for entry in fs::read_dir(&pair.b.dir).unwrap().flatten() {
        if entry.metadata().unwrap().is_file() {
            fs::copy(entry.path(), at.join(entry.file_name())).unwrap();
        }
    }
}

fn on_copy(at: &Path, arguments: &[&str]) -> Ran {
    let config = at.join("sealift.toml");
    let config = ["-c", config.to_str().unwrap()];
    run_in_time(TIME_MAX, [arguments, &config].concat())
}

#[test]
#[ignore = "needs root and ext4: run by cargo xtask test"]
fn after_a_power_cut_all_that_was_acknowledged_opens_and_nothing_else_is_visible() {
    let images = if is_full() { IMAGES_FULL } else { IMAGES };
    let mut dice = Dice(seed("crash::power_loss"));
    let pair = Pair::alone_in(&roomy_dir(images * (24 << 20)));
    let image = Image::make(pair.dir().join("b.img"), IMAGE_BYTES);
    let mount = image.take_over(&pair.b);
    let copy_dir = pair.dir().join("copy");
    fs::create_dir(&copy_dir).unwrap();
    come_up(&pair, &copy_dir);
    pair.start();
    let (mut early, mut checked) = (Versions::new(), 0);
    let begun = Instant::now();
    for round in 0..images {
        write_some(&pair, &mut dice, round);
        sleep(Duration::from_millis(dice.below(400)));
        let before = acknowledged(&pair.a);
        // It is stopped while the copy is made, which the power would not wait for.
        pair.b.freeze(true);
        let copy = image.copy(pair.dir().join("copy.img"));
        pair.b.freeze(false);
        let copied = copy.mount(&copy_dir.join("data"));
        on_copy(&copy_dir, &["verify", "--deep"]).exits(0);
        let rows = on_copy(&copy_dir, &["ls", "--versions", "--json"]).exits(0);
        let visible = versions(&rows.rows());
        let lost: Vec<_> = before.difference(&visible).collect();
        assert!(
            lost.is_empty(),
            "image {round}: acknowledged and lost: {lost:?}"
        );
        early.extend(visible.difference(&before).cloned());
        checked += before.len();
        copied.end();
    }
    println!(
        "{images} images in {:.0?}, {checked} acknowledged versions looked for, {} seen before their receipt",
        begun.elapsed(),
        early.len()
    );
    assert!(checked > 0);
    crate::support::wait_until("nothing is pending", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 0
    });
    // What was durable before its receipt arrived is acknowledged in the end.
    let at_last = acknowledged(&pair.a);
    let never: Vec<_> = early.difference(&at_last).collect();
    assert!(
        never.is_empty(),
        "visible and never acknowledged: {never:?}"
    );
    pair.verify_both(TIME_MAX);
    pair.stop();
    mount.end();
}
