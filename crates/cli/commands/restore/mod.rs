//! `sealift restore`: the latest versions of a bucket as files of a directory.
//!
//! Each file is written under another name and takes its own once it is whole, with
//! permissions and time: a restore that was broken off goes on when it is run again.

mod target;

use std::path::PathBuf;

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, Answers, ObjectRow, Piece, Reached, Request},
};
use serde::Serialize;

use super::{ask, object::prefix};
use crate::{
    cli::Global,
    output::{self, Outcome},
};
use target::{Place, Target, is_safe};

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// BUCKET or BUCKET/PREFIX
    prefix: String,
    /// Where to; made if it is missing
    directory: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// An object that was not restored.
#[derive(Debug, Serialize)]
struct LeftRow<'a> {
    key: &'a str,
    left: String,
}

/// What was done; the last row.
#[derive(Debug, Default, Serialize)]
struct Summary {
    restored: u64,
    bytes: u64,
    /// Of an earlier restore: same size, same time.
    there: u64,
    left: u64,
}

/// What became of one object.
enum Became {
    Restored,
    There,
    Left(String),
    Damaged(String),
}

impl Restore {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, prefix) = prefix(Some(&self.prefix))?;
        let request = Request::Ls(admin::Ls {
            bucket,
            prefix,
            rests: true,
            versions: false,
            status: None,
        });
        let (site, mut answers) = ask(global, request).await?;
        let mut next: Option<ObjectRow> = answers.next_row().await?;
        if next.is_none() {
            answers.finish().await?;
            let what = format!("archived object at {}", output::safe(&self.prefix));
            return Err(Error::NotFound { what }.into());
        }
        let target = Target::open(&self.directory)?;
        let (mut above, mut summary, mut damaged) = (Above::default(), Summary::default(), false);
        while let Some(row) = &next {
            let object_above = above.pass(row.key.as_str());
            let became = self.one(&site, &target, object_above, row).await?;
            let left = match became {
                Became::Restored => {
                    summary.restored += 1;
                    summary.bytes += row.size;
                    None
                }
                Became::There => {
                    summary.there += 1;
                    None
                }
                Became::Left(why) => Some(why),
                Became::Damaged(why) => {
                    damaged = true;
                    Some(why)
                }
            };
            if let Some(left) = left {
                summary.left += 1;
                let key = row.key.as_str();
                let line = format!("left  {}: {}", output::safe(key), output::safe(&left));
                output::row(global.json, &LeftRow { key, left }, line)?;
            }
            next = answers.next_row().await?;
        }
        answers.finish().await?;
        target.sync()?;
        output::row(global.json, &summary, told(&summary))?;
        Ok(match (damaged, summary.left) {
            (true, _) => Exit::VerificationFailed,
            (false, 0) => Exit::Done,
            (false, _) => Exit::Partly,
        })
    }

    async fn one(
        &self,
        site: &Reached,
        target: &Target,
        above: Option<String>,
        row: &ObjectRow,
    ) -> Result<Became, Error> {
        let key = row.key.as_str();
        if !is_safe(key) {
            return Ok(Became::Left(
                "its key is no path beneath a directory".to_owned(),
            ));
        }
        if let Some(above) = above {
            return Ok(Became::Left(format!(
                "{above} is an object, too, and so no directory"
            )));
        }
        let place = match target.place(key) {
            Ok(place) => place,
            Err(error) => return Ok(Became::Left(format!("its directory: {error}"))),
        };
        match place.found() {
            Ok(None) => {}
            Ok(Some(found)) if found.is(row) => return Ok(Became::There),
            Ok(Some(found)) if !found.is_file => {
                return Ok(Became::Left(
                    "something that is no file is there".to_owned(),
                ));
            }
            Ok(Some(_)) if self.force => {}
            Ok(Some(_)) => {
                return Ok(Became::Left(
                    "another file is there; --force replaces it".to_owned(),
                ));
            }
            Err(error) => return Ok(Became::Left(error.to_string())),
        }
        self.fetch(site, &place, row).await
    }

    async fn fetch(&self, site: &Reached, place: &Place, row: &ObjectRow) -> Result<Became, Error> {
        let answers = site.ask(Request::Get(admin::Get {
            bucket: row.bucket.clone(),
            key: row.key.clone(),
            version: Some(row.version.clone()),
            range: None,
        }));
        match write(answers, place, row, self.force).await {
            Ok(()) => Ok(Became::Restored),
            Err(error) => {
                place.abandon();
                let told = error.failure();
                let why = [vec![told.what], told.causes].concat().join(": ");
                match error.exit() {
                    Exit::Cancelled => Err(error),
                    Exit::VerificationFailed => Ok(Became::Damaged(why)),
                    _ => Ok(Became::Left(why)),
                }
            }
        }
    }
}

async fn write(
    mut answers: Answers,
    place: &Place,
    row: &ObjectRow,
    force: bool,
) -> Result<(), Error> {
    let failed = |error| Error::io("write", place.path())(error);
    let mut part = place.begin().map_err(failed)?;
    while let Some(piece) = answers.next().await {
        if let Piece::Bytes(bytes) = piece {
            part.write(&bytes).map_err(failed)?;
        }
    }
    answers.finish().await?;
    part.finish(row, force).map_err(failed)
}

/// The objects that came by, as far as a later one can need a directory in their
/// place. Keys come sorted by their bytes: only those that the last one begins with
/// can, and they are no more than it has bytes.
#[derive(Debug, Default)]
struct Above(Vec<String>);

impl Above {
    /// Takes the next key; gives the object that is where it needs a directory.
    fn pass(&mut self, key: &str) -> Option<String> {
        while self.0.last().is_some_and(|above| !key.starts_with(above)) {
            self.0.pop();
        }
        let is_directory = |above: &&String| key.as_bytes().get(above.len()) == Some(&b'/');
        let found = self.0.iter().find(is_directory).cloned();
        self.0.push(key.to_owned());
        found
    }
}

fn told(summary: &Summary) -> String {
    let Summary {
        restored,
        bytes,
        there,
        left,
    } = summary;
    let objects = output::counted(*restored, "object", "objects");
    let mut text = format!("restored  {objects}, {}", output::bytes(*bytes));
    if *there > 0 {
        text.push_str(&format!("\nthere     {there} already"));
    }
    if *left > 0 {
        text.push_str(&format!("\nleft      {left}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_beneath_another_object_collides() {
        let mut above = Above::default();
        let sorted = [
            "a", "a-b", "a.d/x", "a/b", "a/b/c", "ab", "x/y", "x/y-z/1", "x/y/2",
        ];
        let found: Vec<_> = sorted.iter().map(|key| above.pass(key)).collect();
        let beneath = |above: &str| Some(above.to_owned());
        assert_eq!(found[3..5], [beneath("a"), beneath("a")]);
        assert_eq!(found[8], beneath("x/y"));
        let free = found.iter().filter(|found| found.is_none());
        assert_eq!(free.count(), 6, "{found:?}");
    }

    #[test]
    fn no_more_is_held_than_one_key_begins_with() {
        let mut above = Above::default();
        for n in 0..100_000 {
            above.pass(&format!("k{n:06}"));
        }
        assert!(above.0.len() <= 7, "{}", above.0.len());
    }
}
