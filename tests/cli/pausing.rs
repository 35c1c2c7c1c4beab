//! A batch of replication that is interrupted, and gone on with.

use std::{fs, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{BUCKET, Pair, program, text, wait_for, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);
const OBJECTS: u64 = 1500;
/// What a batch has under way at most.
const UNDER_WAY: u64 = 900;

#[test]
fn a_batch_that_is_interrupted_queues_nothing_more_and_goes_on_behind_its_report() {
    let pair = Pair::new();
    for n in 0..OBJECTS {
        write_file(&pair.source.join(format!("k{n:04}")), format!("{n}"));
    }
    pair.start();
    pair.wait_completed(OBJECTS, TIME_MAX);
    let report = pair.dir().join("report.csv");
    let reported = || {
        fs::read_to_string(&report)
            .unwrap()
            .matches(",replicated,")
            .count()
    };
    let report_text = text(&report);
    let first = format!("{BUCKET}/k00");
    let begin = ["batch", "replicate", &first, "--report", &report_text];
    pair.a.run_in_time(TIME_MAX, &begin).exits(0);
    assert_eq!(reported(), 100);

    // With nobody there what it queued stays under way, and it waits for that.
    pair.b.stop();
    let on = [
        "batch",
        "replicate",
        BUCKET,
        "--report",
        &report_text,
        "--resume",
    ];
    let mut command = program();
    command.args(on).args(["-c", &text(&pair.a.config())]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut batch = command.spawn().unwrap();
    wait_until("as much as may be is under way", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == UNDER_WAY
    });
    kill_process(Pid::from_child(&batch), Signal::INT).unwrap();
    let (code, _) = wait_for("the batch ends", TIME_MAX, || batch.try_wait().unwrap());
    assert_eq!(code.code(), Some(130));
    assert_eq!(pair.a.transfers("PENDING").0, UNDER_WAY);
    assert_eq!(reported(), 100, "what is not there is not said to be");
    // What is under way arrives.
    pair.b.start();
    pair.wait_completed(OBJECTS, TIME_MAX);

    let rows = pair
        .a
        .run_in_time(TIME_MAX, &[&on[..], &["--json"]].concat());
    let rows = rows.exits(0).rows();
    let summary = rows.last().unwrap();
    assert_eq!(
        (&summary["replicated"], &summary["skipped"]),
        (&(OBJECTS - 100).into(), &100.into())
    );
    assert_eq!(reported() as u64, OBJECTS);
}
