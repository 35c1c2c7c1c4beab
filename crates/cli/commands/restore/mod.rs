//! `sealift restore`: the latest versions of a bucket as files of a directory.
//!
//! Each file is written under another name and takes its own once it is whole, with
//! permissions and time: a restore that was broken off goes on when it is run again.

mod target;

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, Answers, ObjectRow, Piece, Reached, Request},
};
use sealift_terms::Status;
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
            status: Some(Status::Replica),
            versions: false,
        });
        let (site, answers) = ask(global, request).await?;
        let rows = all(answers).await?;
        if rows.is_empty() {
            let what = format!("archived object at {}", output::safe(&self.prefix));
            return Err(Error::NotFound { what }.into());
        }
        let keys: BTreeSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let target = Target::open(&self.directory)?;
        let (mut summary, mut damaged) = (Summary::default(), false);
        for row in &rows {
            let left = match self.one(&site, &target, &keys, row).await? {
                Became::Restored => {
                    summary.restored += 1;
                    summary.bytes += row.size;
                    continue;
                }
                Became::There => {
                    summary.there += 1;
                    continue;
                }
                Became::Left(why) => why,
                Became::Damaged(why) => {
                    damaged = true;
                    why
                }
            };
            summary.left += 1;
            let key = row.key.as_str();
            let line = format!("left  {}: {}", output::safe(key), output::safe(&left));
            output::row(global.json, &LeftRow { key, left }, line)?;
        }
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
        keys: &BTreeSet<&str>,
        row: &ObjectRow,
    ) -> Result<Became, Error> {
        let key = row.key.as_str();
        if !is_safe(key) {
            return Ok(Became::Left(
                "its key is no path beneath a directory".to_owned(),
            ));
        }
        if let Some(above) = collides(key, keys) {
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

async fn all(mut answers: Answers) -> Result<Vec<ObjectRow>, Error> {
    let mut rows = Vec::new();
    while let Some(row) = answers.next_row().await? {
        rows.push(row);
    }
    answers.finish().await?;
    Ok(rows)
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

/// The object that is where this key needs a directory.
fn collides<'k>(key: &'k str, keys: &BTreeSet<&str>) -> Option<&'k str> {
    let mut above = key.match_indices('/').filter_map(|(at, _)| key.get(..at));
    above.find(|above| keys.contains(above))
}

fn told(summary: &Summary) -> String {
    let Summary {
        restored,
        bytes,
        there,
        left,
    } = summary;
    let mut text = format!("restored  {restored} objects, {}", output::bytes(*bytes));
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
        let keys = BTreeSet::from(["a", "a/b", "a/b/c", "ab", "x/y"]);
        assert_eq!(collides("a/b", &keys), Some("a"));
        assert_eq!(collides("a/b/c", &keys), Some("a"));
        assert_eq!(collides("a", &keys), None);
        assert_eq!(collides("ab", &keys), None);
        assert_eq!(collides("x/y", &keys), None);
    }
}
