//! From a bucket to a bucket over loopback: two stores of the same kind, each a process of its own.

use std::{fs, io, rc::Rc};

use super::{Setting, many_small};
use crate::{
    bucket::Bucket,
    contenders::{RcloneSync, SealiftBuckets, Settings},
    data::Work,
    hosts::Hosts,
    race::{Course, Entry, Ready, Unit},
    report::{Table, Wanted::AtLeast},
};

/// How many times what rclone moves is wanted of ours.
const WANTED: f64 = 3.0;

pub fn buckets(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let (name, count) = setting.scale.pick(("16 × 64 MiB", 16), ("8 × 64 MiB", 8));
    let large = Work {
        name,
        count,
        bytes: 64 << 20,
    };
    let small = many_small(setting.scale);
    Ok(vec![
        between(setting, &large, Unit::MegabytesPerSec, 8)?,
        between(setting, &small, Unit::ObjectsPerSec, 32)?,
    ])
}

fn between(setting: &Setting<'_>, work: &Work, unit: Unit, transfers: usize) -> io::Result<Table> {
    let place = setting.memory.join(format!("of-{}", work.count));
    let ready = Ready::make(work, &place)?;
    let source = Rc::new(Bucket::start(&place, "source", Some(&ready.folder))?);
    let course = Course {
        work: "buckets",
        title: format!("{}, bucket to bucket, loopback", work.name),
        unit,
        tools: setting.tools,
        hosts: &Hosts::loopback(),
        ready: &ready,
        place: &place,
        durable: false,
        rounds: setting.pairs,
    };
    let rclone = |settings| RcloneSync {
        source: source.clone(),
        settings,
    };
    let wanted = Some(AtLeast(WANTED));
    let entries = [
        Entry::new(SealiftBuckets(source.clone()), None),
        Entry::new(rclone(Settings::Usual), wanted),
        Entry::new(rclone(Settings::Tuned(transfers)), wanted),
    ];
    let mut table = course.race(&entries)?;
    let note = "each clock starts with the process that reads the source: its start is in it";
    table.notes.push(note.to_owned());
    fs::remove_dir_all(&place)?;
    Ok(table)
}
