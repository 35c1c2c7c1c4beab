//! Whether sources can be read: a directory is listed, of a bucket each action is tried.

use std::{fs, path::Path};

use sealift_store::{AzureSource, GcsSource, Probe, S3_LOCK_ACTIONS, S3Source, StoreError};
use sealift_terms::Reason;

use super::{chain, halves, place};
use crate::{
    CheckLine, Error, World,
    config::{BucketSource, Config, SourceFrom},
    sources::{open_bucket, open_container, open_google},
};

/// How the check of a source is called, its bucket behind it.
pub(crate) const SOURCE: &str = "source of bucket ";

/// Whether a line is about a source.
pub(crate) fn is_source(line: &CheckLine) -> bool {
    line.check.starts_with(SOURCE)
}

pub(super) async fn check(config: &Config, world: &World) -> Vec<CheckLine> {
    let mut lines = Vec::new();
    for source in &config.sources {
        match &source.from {
            SourceFrom::Directory(path) => lines.push(directory(config, source, path)),
            SourceFrom::Archive => {
                let check = format!("{SOURCE}{}", source.bucket);
                let found = "what is archived here is sent on";
                lines.push(CheckLine::pass(check, found));
            }
            SourceFrom::S3(bucket) => {
                let opened = open_bucket(world, bucket);
                let is_fronted = source.front.is_some();
                let probes = async |opened: S3Source| {
                    let mut probes = opened.probe().await;
                    if is_fronted {
                        probes.extend(opened.front().probe().await);
                    }
                    probes
                };
                lines.extend(probed(config, source, opened, probes).await);
            }
            SourceFrom::Azure(container) => {
                let opened = open_container(world, container);
                let probes = async |opened: AzureSource| opened.probe().await;
                lines.extend(probed(config, source, opened, probes).await);
            }
            SourceFrom::Gcs(bucket) => {
                let opened = open_google(world, bucket);
                let probes = async |opened: GcsSource| opened.probe().await;
                lines.extend(probed(config, source, opened, probes).await);
            }
        }
    }
    lines
}

fn directory(config: &Config, source: &BucketSource, path: &Path) -> CheckLine {
    let check = format!("{SOURCE}{}", source.bucket);
    let shown = path.display();
    match fs::read_dir(path).and_then(|mut entries| entries.next().transpose()) {
        Ok(_) => CheckLine::pass(check, format!("{shown} can be read")),
        Err(error) => CheckLine::fail(
            check,
            place(
                config,
                &source.place,
                &format!("source.directory: {shown}: {error}"),
            ),
            "mount it, and let the agent's user read it",
        ),
    }
}

/// A line for each action, so that the one that is missing is named.
async fn probed<S>(
    config: &Config,
    source: &BucketSource,
    opened: Result<S, Error>,
    probes: impl AsyncFnOnce(S) -> Vec<Probe>,
) -> Vec<CheckLine> {
    let name = format!("{SOURCE}{}", source.bucket);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let found = place(config, &source.place, &chain(&error));
            let remedy = "write the roots that vouch for the store into roots_file, PEM";
            return vec![CheckLine::fail(name, found, remedy)];
        }
    };
    let line = |Probe { action, outcome }| {
        let check = format!("{name}: {action}");
        match outcome {
            Ok(found) => CheckLine::pass(check, found),
            Err(error) => {
                let found = place(config, &source.place, &chain(&error));
                let remedy = remedy(action, &error);
                // Objects come without it, and their locks are not known.
                match S3_LOCK_ACTIONS.contains(&action) {
                    true => CheckLine::warn(check, found, remedy),
                    false => CheckLine::fail(check, found, remedy),
                }
            }
        }
    };
    probes(opened).await.into_iter().map(line).collect()
}

fn remedy(action: &str, error: &StoreError) -> String {
    match error {
        StoreError::SourceDenied { .. } => halves::remedy(action, &chain(error)),
        error if error.reason() == Reason::SrcKmsDecryptDenied => {
            halves::remedy(action, &chain(error))
        }
        error => error.reason().remedy().to_owned(),
    }
}
