//! `sealift get`: opened bytes leave as soon as they are authentic; a failure on
//! the way leaves no file behind that looks whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, Answers, Piece, Request},
};
use sealift_terms::VersionId;

use super::{ask, object::object};
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// BUCKET/KEY
    object: String,
    /// First and last byte, as in 0-99, 100-
    #[arg(long, value_name = "A-B", value_parser = range)]
    range: Option<(u64, Option<u64>)>,
    /// Another version than the latest
    #[arg(long)]
    version: Option<VersionId>,
    /// The file to write; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn range(text: &str) -> Result<(u64, Option<u64>), String> {
    let refused = || format!("{text:?} is not A-B or A-");
    let (first, last) = text.split_once('-').ok_or_else(refused)?;
    let first = first.parse().map_err(|_| refused())?;
    let last = match last {
        "" => None,
        last => Some(last.parse().map_err(|_| refused())?),
    };
    match last.is_some_and(|last| last < first) {
        true => Err(format!("{text:?} ends before it begins")),
        false => Ok((first, last)),
    }
}

impl Get {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, key) = object(&self.object)?;
        let request = Request::Get(admin::Get {
            bucket,
            key,
            version: self.version.clone(),
            range: self.range,
        });
        let (_site, answers) = ask(global, request).await?;
        match &self.output {
            Some(path) => to_file(answers, path).await?,
            None => {
                copy(
                    answers,
                    &mut io::stdout().lock(),
                    Path::new("standard output"),
                )
                .await?
            }
        }
        Ok(Exit::Done)
    }
}

/// Writes beside the target and renames: the target is whole or not there.
async fn to_file(answers: Answers, path: &Path) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part);
    let mut file: File = open.map_err(Error::io("write", &part))?;
    let outcome = match copy(answers, &mut file, &part).await {
        Ok(()) => file
            .sync_all()
            .and_then(|()| fs::rename(&part, path))
            .map_err(Error::io("write", path)),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&part);
    }
    outcome
}

async fn copy(mut answers: Answers, out: &mut impl Write, path: &Path) -> Result<(), Error> {
    while let Some(piece) = answers.next().await {
        if let Piece::Bytes(bytes) = piece {
            match out.write_all(&bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(Error::ReaderGone);
                }
                written => written.map_err(Error::io("write", path))?,
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Error::ReaderGone),
        flushed => flushed.map_err(Error::io("write", path))?,
    }
    answers.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_first_byte_and_may_have_a_last_one() {
        assert_eq!(range("0-99").unwrap(), (0, Some(99)));
        assert_eq!(range("7-").unwrap(), (7, None));
        for bad in ["", "-", "-5", "9-8", "a-b", "1"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
