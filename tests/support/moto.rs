//! An S3 store that is not ours.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sealift_fake_kms::OWNER;

use super::{
    pair::{BUCKET, free_address},
    program::{Ran, run_program},
    wait::wait_until,
};

const TIME_MAX: Duration = Duration::from_secs(120);

/// A store that is not ours: moto, driven by boto3.
pub(crate) struct Moto {
    process: Child,
    pub(crate) url: String,
}

impl Moto {
    pub(crate) fn start(dir: &Path) -> Self {
        let address = free_address();
        let (host, port) = address.split_once(':').unwrap();
        let log = fs::File::create(dir.join("moto.log")).unwrap();
        let process = Command::new("python3")
            .args(["-m", "moto.server", "-H", host, "-p", port])
            .env("PYTHONPATH", std::env::var("SEALIFT_MOTO").unwrap())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        wait_until("moto answers", TIME_MAX, || {
            TcpStream::connect(&address).is_ok()
        });
        Self {
            process,
            url: format!("http://{address}"),
        }
    }

    /// What the bucket's own client does to it, and says of it.
    pub(crate) fn boto3(&self, what: &str) -> Ran {
        let python = format!("PYTHONPATH={}", std::env::var("SEALIFT_BOTO3").unwrap());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/s3_bucket.py");
        let arguments = [
            &python, "python3", script, &self.url, OWNER.0, OWNER.1, BUCKET, what,
        ];
        run_program("env", &arguments, &[0])
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
