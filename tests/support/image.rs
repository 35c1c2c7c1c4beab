//! A file system of its own for a site's data: an ext4 image on a loop device, which
//! can fill up, fail, and be copied as a power cut would leave it.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    program::{run_program, text},
    site::Site,
};

/// Bytes that are written, not set aside at once: ext4 keeps some for itself.
const FILLED_SLACK: u64 = 64 << 20;

/// Copies of a disk that was not stopped in time.
const COPIES_MAX: u32 = 50;

/// An image file with a file system in it.
pub(crate) struct Image {
    file: PathBuf,
}

impl Image {
    /// A sparse image of so many bytes.
    pub(crate) fn make(file: PathBuf, bytes: u64) -> Self {
        File::create(&file).unwrap().set_len(bytes).unwrap();
        // A journal that does not wrap while a copy is made, and an end at the first
        // error, as servers have it.
        let options = "lazy_itable_init=1,lazy_journal_init=1";
        let path = text(&file);
        run(
            "mkfs.ext4",
            &[
                "-q",
                "-F",
                "-m",
                "0",
                "-e",
                "remount-ro",
                "-E",
                options,
                "-J",
                "size=64",
                &path,
            ],
        );
        Self { file }
    }

    /// One that was made before.
    pub(crate) fn existing(file: PathBuf) -> Self {
        Self { file }
    }

    /// What would be on the disk if the power went now: what was not written there yet
    /// is lost. Whoever writes there is to be stopped; what the system itself writes while
    /// the copy is made would tear it, as the power does not, so it is made again then.
    pub(crate) fn copy(&self, to: PathBuf) -> Self {
        for _ in 0..COPIES_MAX {
            let before = self.sectors_written();
            run("cp", &["--sparse=always", &text(&self.file), &text(&to)]);
            if self.sectors_written() == before {
                return Self { file: to };
            }
        }
        panic!("the disk is written to all the time although its agent is stopped");
    }

    /// Sectors that were written to it since it was mounted (Documentation/block/stat.rst).
    fn sectors_written(&self) -> u64 {
        let ran = run_program("losetup", &["-nO", "NAME", "-j", &text(&self.file)], &[0]);
        let device = String::from_utf8(ran.stdout).unwrap();
        let name = device.trim().strip_prefix("/dev/").unwrap();
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        stat.split_whitespace().nth(6).unwrap().parse().unwrap()
    }

    pub(crate) fn mount(&self, at: &Path) -> Mount {
        fs::create_dir_all(at).unwrap();
        run("mount", &["-o", "loop", &text(&self.file), &text(at)]);
        Mount { at: at.to_owned() }
    }

    /// Mounts it where a site has its data, with what is there already.
    pub(crate) fn take_over(&self, site: &Site) -> Mount {
        let aside = site.dir.join("data-aside");
        let mount = self.mount(&aside);
        let all = format!("{}/.", text(&site.data()));
        run("cp", &["-a", &all, &text(&aside)]);
        run("chmod", &["0700", &text(&aside)]);
        mount.end();
        self.mount(&site.data())
    }
}

/// A mounted image; unmounted when it is dropped, come what may.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Unmounts it in order.
    #[track_caller]
    pub(crate) fn end(self) {
        run("umount", &[&text(&self.at)]);
        std::mem::forget(self);
    }

    /// Makes it vanish from where it is, whoever uses it.
    pub(crate) fn vanish(self) {
        drop(self);
    }

    /// Lets it fail: from here on it can only be read.
    pub(crate) fn abort(&self) {
        run("mount", &["-o", "remount,abort", &text(&self.at)]);
    }

    /// Takes all room but `left` bytes; the room is free again when the file is removed.
    pub(crate) fn fill(&self, left: u64) -> PathBuf {
        let ballast = self.at.join("ballast");
        let facts = rustix::fs::statvfs(&self.at).unwrap();
        let free = facts.f_bfree * facts.f_frsize;
        let bytes = free.saturating_sub(left.max(FILLED_SLACK));
        run("fallocate", &["-l", &bytes.to_string(), &text(&ballast)]);
        if left == 0 {
            let mut rest = File::options().append(true).open(&ballast).unwrap();
            for piece in [1 << 20, 4096] {
                while rest.write_all(&vec![0; piece]).is_ok() {}
            }
        }
        ballast
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    run_program(program, arguments, &[0]);
}
