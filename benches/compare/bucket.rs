//! A store with one bucket, in a process of its own: that of the tests, in memory.
//!
//! It is the same for whoever asks it, and costs as little as a store can: it hashes nothing,
//! and waits for no disk. This program runs itself again for it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use sealift_fake_kms::{FakeS3, OWNER, Put};

use crate::{hosts::Server, sites::BUCKET};

/// The file that its address is written to.
const SERVES: &str = "SEALIFT_COMPARE_SERVES";
/// The folder of the files that are its objects.
const HOLDS: &str = "SEALIFT_COMPARE_HOLDS";
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// One object in so many has a tag: a store that is seen to tell of tags is not asked for
/// those of each of the others.
const TAGGED_EACH: usize = 100;

/// A store that runs until this is dropped.
pub struct Bucket {
    _process: Server,
    pub url: String,
}

impl Bucket {
    /// Starts one below `place`, with the files below `holds` under their names there.
    pub fn start(place: &Path, name: &str, holds: Option<&Path>) -> io::Result<Self> {
        let told = place.join(format!("{name}.url"));
        let mut command = Command::new(env::current_exe()?);
        command.env(SERVES, &told);
        if let Some(holds) = holds {
            command.env(HOLDS, holds);
        }
        let mut server = Server::start(command, &place.join("log"))?;
        let begun = Instant::now();
        loop {
            if let Ok(url) = fs::read_to_string(&told) {
                return Ok(Self {
                    _process: server,
                    url,
                });
            }
            if let Some(status) = server.0.try_wait()? {
                return Err(io::Error::other(format!("a bucket ended with {status}")));
            }
            if begun.elapsed() > STARTS_WITHIN {
                return Err(io::Error::other("a bucket does not start"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How sealift is told of it, in a section of its configuration.
    pub fn section(&self) -> String {
        let url = &self.url;
        format!(
            "region = \"eu-west-1\"\nendpoint = \"{url}\"\nbucket = \"{BUCKET}\"\n\
             credentials_file = \"aws-credentials\"\n"
        )
    }
}

/// Whoever may ask.
pub fn credentials() -> String {
    let (id, secret) = OWNER;
    format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n")
}

/// Serves until it is killed, where this process was started for that.
pub fn serve_if_asked() -> Option<ExitCode> {
    let told = PathBuf::from(env::var_os(SERVES)?);
    let holds = env::var_os(HOLDS).map(PathBuf::from);
    let served = serve(&told, holds.as_deref());
    eprintln!("a bucket: {served:?}");
    Some(ExitCode::FAILURE)
}

fn serve(told: &Path, holds: Option<&Path>) -> io::Result<()> {
    let store = FakeS3::start_light(BUCKET);
    if let Some(holds) = holds {
        let mut count = 0;
        put_all(&store, holds, holds, &mut count)?;
    }
    // Whole, or not there.
    let written = told.with_extension("new");
    fs::write(&written, store.url())?;
    fs::rename(&written, told)?;
    loop {
        thread::park();
    }
}

fn put_all(store: &FakeS3, below: &Path, folder: &Path, count: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            put_all(store, below, &path, count)?;
            continue;
        }
        let key = path.strip_prefix(below).map_err(io::Error::other)?;
        let key = key.to_str().ok_or(io::ErrorKind::InvalidData)?;
        let tag = ("team".to_owned(), "imaging".to_owned());
        let tags = count.is_multiple_of(TAGGED_EACH).then_some(tag);
        let bytes = fs::read(&path)?.into();
        let put = Put {
            bytes,
            tags: tags.into_iter().collect(),
            ..Put::default()
        };
        store.put(key, put);
        *count += 1;
    }
    Ok(())
}
