//! The sources that a configuration names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_archive::ArchiveSource;
use sealift_outside::CredentialsFrom;
use sealift_store::{DirectorySource, S3Source, Source};

use crate::{
    Error, World,
    config::{BucketSource, Config, S3Bucket, SourceFrom},
    providers::{client, roots_or_system},
    site::Site,
};

/// A source. It may be away now: then every look at it fails.
///
/// # Errors
/// [`Error`] for roots that cannot be read.
pub(crate) fn open_source(site: &Site, source: &BucketSource) -> Result<Arc<dyn Source>, Error> {
    let world = &site.world;
    Ok(match &source.from {
        SourceFrom::Directory(directory) => Arc::new(DirectorySource::awaited(
            directory,
            Arc::clone(&world.clock),
        )),
        SourceFrom::S3(bucket) => Arc::new(open_bucket(world, bucket)?),
        SourceFrom::Archive => Arc::new(ArchiveSource::new(
            site.archive.clone(),
            source.bucket.clone(),
        )),
    })
}

/// A bucket as a source.
///
/// # Errors
/// As [`open_source`].
pub(crate) fn open_bucket(world: &World, bucket: &S3Bucket) -> Result<S3Source, Error> {
    let settings = bucket.settings.clone();
    let queue = settings.queue.as_ref();
    let is_tls = settings.endpoint.is_tls() || queue.is_some_and(|queue| queue.endpoint.is_tls());
    let tls = client(world, bucket.roots_file.as_deref(), is_tls)?;
    let (clock, rng) = (Arc::clone(&world.clock), Arc::clone(&world.rng));
    Ok(S3Source::new(settings, tls, clock, rng))
}

/// The files that sources need while the agent runs, directories aside.
pub(crate) fn files_of_sources(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for source in &config.sources {
        let SourceFrom::S3(bucket) = &source.from else {
            continue;
        };
        match &bucket.settings.credentials {
            CredentialsFrom::File(file) => files.push(file.clone()),
            CredentialsFrom::Container(container) => {
                files.extend(container.token_file().map(Path::to_owned));
            }
            CredentialsFrom::Instance => {}
        }
        let webhook = bucket.settings.webhook.as_ref();
        files.extend(webhook.map(|webhook| webhook.token_file.clone()));
        if bucket.settings.endpoint.is_tls() {
            files.push(roots_or_system(bucket.roots_file.as_deref()));
        }
    }
    files
}
