//! From a bucket to a bucket: sealift, and rclone's sync to crypt over the other bucket.

use std::{
    fs, io, os::unix::fs::PermissionsExt, path::Path, process::Command, rc::Rc, time::Instant,
};

use sealift_fake_kms::OWNER;

use super::{Contender, Job, Run, Sealift, rclone::obscured, timed};
use crate::{
    bucket::{self, Bucket},
    hosts::{self, Of},
    inside::succeed,
    sites::{BUCKET, Ours, Sites, text},
};

/// Two agents between two buckets. The receiver stands as its store does; the clock starts with
/// the sender, whose first scan finds the objects.
pub struct SealiftBuckets(pub Rc<Bucket>);

impl Contender for SealiftBuckets {
    fn name(&self) -> String {
        "sealift".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "AES-256-GCM"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = Bucket::start(job.place, "target", None)?;
        let sites = self.sites(job, &target)?;
        let receiver = sites.start_one("b");
        let (before, started) = (receiver.busy(), Instant::now());
        let sender = sites.start_one("a");
        let taken = sites.wait_completed(job.files.len() as u64, started);
        let ours = Ours {
            taken,
            busy: sender.busy() + receiver.busy().saturating_sub(before),
            sender_mib: sender.peak_mib(),
            receiver_mib: receiver.peak_mib(),
        };
        sender.stop();
        receiver.stop();
        if job.checked {
            Sealift.check(job, &sites)?;
        }
        Ok(Run {
            taken,
            busy: Some(ours.busy),
            ours: Some(ours),
        })
    }
}

impl SealiftBuckets {
    /// Two sites, of which one has the bucket for a source and the other its own for a store.
    fn sites(&self, job: &Job<'_>, target: &Bucket) -> io::Result<Sites> {
        let place = job.place.join("sites");
        let sites = job.tools.authority.sites(&place, job.source, job.hosts);
        for name in ["a", "b"] {
            let file = Path::new(&sites.config(name)).with_file_name("aws-credentials");
            fs::write(&file, bucket::credentials())?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
        let config = sites.config("a");
        let before = fs::read_to_string(&config)?;
        let directory = format!("directory = \"{}\"\n", text(job.source));
        let section = format!("[source.s3]\n{}", self.0.section());
        let after = before.replacen(&directory, &section, 1);
        if after == before {
            return Err(io::Error::other(format!("no source in {before}")));
        }
        fs::write(&config, after)?;
        sites.configure("b", &format!("[store.s3]\n{}", target.section()))?;
        Ok(sites)
    }
}

/// rclone's sync from the one bucket to crypt over the other.
pub struct RcloneSync {
    pub source: Rc<Bucket>,
    pub settings: Settings,
}

/// How rclone is told to go about it.
#[derive(Clone, Copy)]
pub enum Settings {
    /// As it comes: nothing but where the buckets are, and the listing that the stores answer.
    Usual,
    /// No request and no sum that is not needed, and so many objects at once.
    Tuned(usize),
}

impl Settings {
    /// What stands with each of its buckets: none that is asked for what is known
    /// (`no_head…`, `no_check_bucket`), nothing hashed where that can be left out, and no
    /// entity tag taken for an MD5.
    fn of_buckets(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Tuned(_) => {
                "no_check_bucket = true\nno_head = true\n\
                 no_head_object = true\nuse_multipart_etag = false\n\
                 use_unsigned_payload = true\ndisable_checksum = true\nchunk_size = 8M\n\
                 upload_cutoff = 16M\nupload_concurrency = 4\n"
            }
        }
    }

    /// Times as the store has them, which costs no request; no sum of what is sealed, as the
    /// stores tell of none that it could be held against.
    fn of_sync(self) -> Vec<String> {
        match self {
            Self::Usual => Vec::new(),
            Self::Tuned(transfers) => {
                let at_once = transfers.to_string();
                let told = ["--transfers", &at_once, "--checkers", &at_once];
                let few = ["--use-server-modtime", "--ignore-checksum"];
                told.iter().chain(&few).map(ToString::to_string).collect()
            }
        }
    }
}

impl Contender for RcloneSync {
    fn name(&self) -> String {
        match self.settings {
            Settings::Usual => "rclone sync to crypt, as it comes".to_owned(),
            Settings::Tuned(_) => "rclone sync to crypt, tuned".to_owned(),
        }
    }

    fn sealed(&self) -> &'static str {
        "XSalsa20-Poly1305"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = Bucket::start(job.place, "target", None)?;
        let config = self.configure(job, &target)?;
        let mut sync = job.hosts.near(&job.tools.rclone);
        sync.args(["sync", "from:bench", "sealed:", "--config", &config]);
        // One listing of each side: the stores roll no folders up.
        sync.args(["--retries", "1", "--fast-list"]);
        sync.args(self.settings.of_sync());
        let before = hosts::busy("self", Of::Children);
        let taken = timed(&sync)?;
        let busy = hosts::busy("self", Of::Children).saturating_sub(before);
        if job.checked {
            self.check(job, &config)?;
        }
        Ok(Run {
            taken,
            busy: Some(busy),
            ours: None,
        })
    }
}

impl RcloneSync {
    /// Brings all of it back by rclone's way, and compares.
    fn check(&self, job: &Job<'_>, config: &str) -> io::Result<()> {
        let restored = text(&job.place.join("restored"));
        let mut back = Command::new(&job.tools.rclone);
        back.args(["copy", "sealed:", &restored, "--config", config]);
        succeed(back.arg("--fast-list"))?;
        job.compare(restored.as_ref())
    }

    fn configure(&self, job: &Job<'_>, target: &Bucket) -> io::Result<String> {
        let ((id, secret), settings) = (OWNER, self.settings.of_buckets());
        let of = |name: &str, url: &str| {
            format!(
                "[{name}]\ntype = s3\nprovider = Other\naccess_key_id = {id}\n\
                 secret_access_key = {secret}\nregion = eu-west-1\nendpoint = {url}\n\
                 force_path_style = true\nlist_version = 2\n{settings}"
            )
        };
        let password = obscured(&job.tools.rclone)?;
        let config = job.place.join("rclone.conf");
        let (from, to) = (of("from", &self.source.url), of("to", &target.url));
        let crypt = format!(
            "[sealed]\ntype = crypt\nremote = to:{BUCKET}\npassword = {password}\n\
             filename_encryption = off\ndirectory_name_encryption = false\n"
        );
        fs::write(&config, [from, to, crypt].concat())?;
        Ok(text(&config))
    }
}
