//! From tmpfs onto a disk, durable when the clock stops.

use std::{fs, io, process::Command, time::Instant};

use super::{Setting, many_small, one_large};
use crate::{
    contenders::{At, Contender, Job, Rsync, Run, Sealift},
    data::Work,
    hosts::Hosts,
    inside::succeed,
    race::{Course, Entry, Ready, Unit},
    report::{Table, Wanted::AtLeast},
};

pub fn small(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let work = many_small(setting.scale);
    let entries = [
        Entry::new(Sealift, Some(AtLeast(25_000.0))),
        Entry::new(Rsync(At::Rest), None),
    ];
    let unit = Unit::ObjectsPerSec;
    on_disk(setting, "small-durable", &work, unit, &entries)
}

pub fn large(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let work = one_large(setting.scale);
    let entries = [
        Entry::new(Sealift, None),
        Entry::new(Dd, Some(AtLeast(0.9))),
        Entry::new(Rsync(At::Rest), None),
    ];
    let unit = Unit::MegabytesPerSec;
    on_disk(setting, "large-durable", &work, unit, &entries)
}

fn on_disk(
    setting: &Setting<'_>,
    name: &'static str,
    work: &Work,
    unit: Unit,
    entries: &[Entry],
) -> io::Result<Vec<Table>> {
    let ready = Ready::make(work, setting.memory)?;
    let course = Course {
        work: name,
        title: format!("{}, onto the disk, durable, loopback", work.name),
        unit,
        tools: setting.tools,
        hosts: &Hosts::loopback(),
        ready: &ready,
        place: setting.disk,
        durable: true,
        rounds: setting.pairs,
    };
    let mut table = course.race(entries)?;
    let note = "rsync: one sync of the file system at its end; sealift: every receipt is durable";
    table.notes.push(note.to_owned());
    Ok(vec![table])
}

/// `dd conv=fsync` on this machine: no network, no sealing.
struct Dd;

impl Contender for Dd {
    fn name(&self) -> String {
        "dd conv=fsync, no network".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "no"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("dd");
        let started = Instant::now();
        for (index, file) in job.files.iter().enumerate() {
            let output = target.with_extension(index.to_string());
            succeed(
                Command::new("dd")
                    .args(["bs=1M", "conv=fsync", "status=none"])
                    .arg(format!("if={}", file.display()))
                    .arg(format!("of={}", output.display())),
            )?;
        }
        let taken = started.elapsed();
        if job.checked {
            for (index, file) in job.files.iter().enumerate() {
                let copied = fs::read(target.with_extension(index.to_string()))?;
                let mut expected = crate::arrived::Expected::open(file)?;
                expected.takes(&copied)?;
                expected.ends_whole()?;
            }
        }
        Ok(Run::of(taken))
    }
}
