//! On tmpfs over loopback: what the path itself costs.

use std::io;

use super::{Setting, many_small, one_large};
use crate::{
    contenders::{At, Floor, Nginx, Rclone, Restic, Rsync, Sealift},
    data::Work,
    hosts::Hosts,
    race::{Course, Entry, Ready, Unit},
    report::{Table, Wanted::AtLeast},
};

pub fn large(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let work = one_large(setting.scale);
    bytes(setting, "large", &work)
}

pub fn middle(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let (name, count) = setting.scale.pick(("200 × 8 MiB", 200), ("32 × 8 MiB", 32));
    let work = Work {
        name,
        count,
        bytes: 8 << 20,
    };
    bytes(setting, "middle", &work)
}

fn bytes(setting: &Setting<'_>, name: &'static str, work: &Work) -> io::Result<Vec<Table>> {
    let entries = [
        Entry::new(Sealift, None),
        Entry::new(Floor, Some(AtLeast(0.95))),
        Entry::new(Rclone { transfers: 8 }, Some(AtLeast(4.0))),
        Entry::new(Rsync(At::Gocryptfs), Some(AtLeast(5.0))),
        Entry::new(Rsync(At::Rest), Some(AtLeast(2.5))),
        Entry::new(Nginx, Some(AtLeast(1.0))),
        Entry::new(Restic, None).every(3),
    ];
    on_tmpfs(setting, name, work, Unit::MegabytesPerSec, &entries)
}

pub fn small(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let work = many_small(setting.scale);
    let entries = [
        Entry::new(Sealift, Some(AtLeast(40_000.0))),
        Entry::new(Rsync(At::Rest), None),
        Entry::new(Nginx, None),
        Entry::new(Restic, None).every(3),
        Entry::new(Rclone { transfers: 16 }, None).every(3),
        Entry::new(Rsync(At::Gocryptfs), None).every(3),
    ];
    on_tmpfs(setting, "small", &work, Unit::ObjectsPerSec, &entries)
}

fn on_tmpfs(
    setting: &Setting<'_>,
    name: &'static str,
    work: &Work,
    unit: Unit,
    entries: &[Entry],
) -> io::Result<Vec<Table>> {
    let ready = Ready::make(work, setting.memory)?;
    let course = Course {
        work: name,
        title: format!("{}, tmpfs, loopback", work.name),
        unit,
        tools: setting.tools,
        hosts: &Hosts::loopback(),
        ready: &ready,
        place: setting.memory,
        durable: false,
        rounds: setting.pairs,
    };
    Ok(vec![course.race(entries)?])
}
