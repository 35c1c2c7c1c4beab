//! `[[source]]`: what is replicated from here, and where its objects are.

use std::{path::Path, time::Duration};

use sealift_terms::{BucketName, limits};
use toml::Spanned;

use super::{
    azure,
    checked::BucketSource,
    checker::Checker,
    declared::{Declared, Seen},
    error::Place,
    gcs,
    places::SourceFrom,
    raw::{self, Text},
    s3,
};

/// How the endpoint stands in front of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFront {
    /// How long the answer to a write waits for its replicas, where it does.
    pub synchronous: Option<Duration>,
}

pub(super) fn sources(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::SourceEntry>],
    declared: &Declared,
    data_dir: &Path,
) -> Vec<BucketSource> {
    let mut seen = Seen::new("source.bucket");
    let mut sources = Vec::new();
    for whole in raw {
        let entry = whole.get_ref();
        let bucket: Option<BucketName> = c.name("source.bucket", &entry.bucket);
        let from = source_from(c, whole, bucket.as_ref(), declared, data_dir);
        let usual = match (entry.is_bucket(), &entry.archive) {
            (true, _) => limits::S3_SCAN_INTERVAL_DEFAULT,
            (_, Some(_)) => limits::ARCHIVE_SCAN_INTERVAL_DEFAULT,
            _ => limits::SCAN_INTERVAL_DEFAULT,
        };
        let scan_secs = c.number(
            "source.scan_interval_secs",
            entry.scan_interval_secs.as_ref(),
            1..=86_400,
            usual.as_secs(),
        );
        let (Some(bucket), Some((from, place))) = (bucket, from) else {
            continue;
        };
        let front = front(c, entry, declared, &from);
        seen.once(c, &bucket, entry.bucket.span());
        sources.push(BucketSource {
            bucket,
            from,
            place,
            scan_interval: Duration::from_secs(scan_secs),
            front,
        });
    }
    sources
}

/// Whether the endpoint stands in front of a source. There has to be one, and something behind
/// it that speaks S3.
fn front(
    c: &mut Checker<'_>,
    entry: &raw::SourceEntry,
    declared: &Declared,
    from: &SourceFrom,
) -> Option<InFront> {
    let longest = limits::FRONT_SYNCHRONOUS_TIME_MAX.as_secs();
    let secs = c.number(
        "source.synchronous_secs",
        entry.synchronous_secs.as_ref(),
        1..=longest,
        longest,
    );
    let Some(told) = entry.fronted.as_ref().filter(|told| *told.get_ref()) else {
        if let Some(told) = entry.synchronous.as_ref().filter(|told| *told.get_ref()) {
            let (found, allowed) = ("true, and nothing is in front of it", "fronted = true, too");
            let remedy = "add fronted = true, or remove it";
            c.refuse::<()>("source.synchronous", &told.span(), found, allowed, remedy);
        }
        return None;
    };
    let setting = "source.fronted";
    if !matches!(from, SourceFrom::S3(_)) {
        let (found, allowed) = (
            "true, and its objects are in no bucket of S3",
            "a [source.s3]",
        );
        let remedy = "write to the directory or the archive itself, or use a bucket";
        return c.refuse(setting, &told.span(), found, allowed, remedy);
    }
    if !declared.has_endpoint {
        let (found, allowed) = ("true, and there is no endpoint", "an [endpoint]");
        let remedy = "add [endpoint] with a key for the application, or remove it";
        return c.refuse(setting, &told.span(), found, allowed, remedy);
    }
    Some(InFront {
        synchronous: entry
            .synchronous
            .as_ref()
            .filter(|told| *told.get_ref())
            .map(|_| Duration::from_secs(secs)),
    })
}

/// Where a source's objects are, and where that is said.
fn source_from(
    c: &mut Checker<'_>,
    whole: &Spanned<raw::SourceEntry>,
    bucket: Option<&BucketName>,
    declared: &Declared,
    data_dir: &Path,
) -> Option<(SourceFrom, Place)> {
    let entry = whole.get_ref();
    let archive = entry.archive.as_ref().filter(|told| *told.get_ref());
    let given = [
        entry.directory.as_ref().map(|_| "directory"),
        entry.s3.as_ref().map(|_| "[source.s3]"),
        entry.azure.as_ref().map(|_| "[source.azure]"),
        entry.gcs.as_ref().map(|_| "[source.gcs]"),
        archive.map(|_| "archive = true"),
    ];
    let given: Vec<_> = given.into_iter().flatten().collect();
    let buckets = (&entry.s3, &entry.azure, &entry.gcs);
    match (&entry.directory, buckets, archive) {
        (Some(text), (None, None, None), None) => Some(directory(c, text, data_dir)),
        (None, (None, None, Some(section)), None) => {
            let place = c.place(&section.span());
            let gcs = gcs::source(c, section, bucket)?;
            Some((SourceFrom::Gcs(Box::new(gcs)), place))
        }
        (None, (None, Some(section), None), None) => {
            let place = c.place(&section.span());
            let azure = azure::source(c, section)?;
            Some((SourceFrom::Azure(Box::new(azure)), place))
        }
        (None, (Some(section), None, None), None) => {
            let place = c.place(&section.span());
            let s3 = s3::s3(c, section, bucket)?;
            Some((SourceFrom::S3(Box::new(s3)), place))
        }
        (None, (None, None, None), Some(told)) => {
            let place = c.place(&told.span());
            archived(c, &entry.bucket, declared)?;
            Some((SourceFrom::Archive, place))
        }
        _ => {
            let found = match given.is_empty() {
                true => "none".to_owned(),
                false => given.join(" and "),
            };
            let allowed = "one place that its objects are in: directory, or [source.s3], or [source.azure], or [source.gcs], or archive = true";
            c.refuse("source", &whole.span(), found, allowed, "keep or write one")
        }
    }
}

fn directory(c: &mut Checker<'_>, text: &Text, data_dir: &Path) -> (SourceFrom, Place) {
    let directory = c.source.resolve(text.get_ref());
    if directory.starts_with(data_dir) || data_dir.starts_with(&directory) {
        c.refuse::<()>(
            "source.directory",
            &text.span(),
            format!("{}, which overlaps site.data_dir", directory.display()),
            "a directory apart from the agent's own data",
            "move one of the two",
        );
    }
    let place = c.place(&text.span());
    (SourceFrom::Directory(directory), place)
}

/// What is sent on must be archived here.
fn archived(c: &mut Checker<'_>, bucket: &Text, declared: &Declared) -> Option<()> {
    if declared.buckets.contains(bucket.get_ref()) {
        return Some(());
    }
    c.refuse(
        "source.archive",
        &bucket.span(),
        format!("{:?}, which no [[bucket]] declares", bucket.get_ref()),
        "a bucket that is archived here",
        "add the [[bucket]] that peers write to, or name it",
    )
}

#[cfg(test)]
mod tests {
    use crate::config::{SourceFrom, tests::example_with as check};

    const BUCKET: &str = "[[bucket]]\nname = \"kept\"\nkey = \"alias/kept\"\n";

    #[test]
    fn a_bucket_that_is_archived_here_is_a_source_too_and_no_other_is() {
        let kept = "[[source]]\nbucket = \"kept\"\narchive = true\n";
        let config = check(&format!("{BUCKET}{kept}")).unwrap();
        assert_eq!(config.sources[0].from, SourceFrom::Archive);
        let told = check(kept).unwrap_err().to_string();
        assert!(
            told.contains("source.archive") && told.contains("kept"),
            "{told}"
        );
        for more in ["directory = \"/srv/kept\"\n", "archive = false\n"] {
            let told = check(&format!(
                "{BUCKET}{}",
                kept.replace("archive = true\n", more)
            ));
            assert_eq!(told.is_ok(), more.starts_with("directory"), "{told:?}");
        }
        let both = check(&format!("{BUCKET}{kept}directory = \"/srv/kept\"\n"));
        let told = both.unwrap_err().to_string();
        assert!(told.contains("directory and archive = true"), "{told}");
    }
}
