//! The sources that a configuration names, and a store that is a bucket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_archive::ArchiveSource;
use sealift_outside::CredentialsFrom;
use sealift_store::{
    AzureSettings, AzureSource, BucketSettings, BucketStore, DirectorySource, GcsSource,
    LeaseTimes, Machine, S3Settings, S3Source, Source,
};

use crate::{
    Error, World,
    config::{AzureContainer, BucketSource, Config, S3Bucket, SourceFrom, StoreBucket},
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
        SourceFrom::Azure(container) => Arc::new(open_container(world, container)?),
        SourceFrom::Gcs(bucket) => Arc::new(open_google(world, bucket)?),
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

/// A container as a source.
///
/// # Errors
/// As [`open_source`].
pub(crate) fn open_container(
    world: &World,
    container: &AzureContainer,
) -> Result<AzureSource, Error> {
    let settings = container.settings.clone();
    let roots = container.roots_file.as_deref();
    let tls = client(world, roots, settings.endpoint.is_tls())?;
    let (clock, rng) = (Arc::clone(&world.clock), Arc::clone(&world.rng));
    Ok(AzureSource::new(settings, tls, clock, rng))
}

/// A bucket of Google as a source.
///
/// # Errors
/// As [`open_source`].
pub(crate) fn open_google(world: &World, bucket: &S3Bucket) -> Result<GcsSource, Error> {
    let settings = bucket.settings.clone();
    let roots = bucket.roots_file.as_deref();
    let tls = client(world, roots, settings.endpoint.is_tls())?;
    let (clock, rng) = (Arc::clone(&world.clock), Arc::clone(&world.rng));
    Ok(GcsSource::new(settings, tls, clock, rng))
}

/// A bucket as the store. Nothing is asked of it yet.
///
/// # Errors
/// As [`open_source`], and what the disk says.
pub(crate) async fn open_store(
    world: &World,
    bucket: &StoreBucket,
    (data_dir, staging): (&Path, &Path),
) -> Result<BucketStore, Error> {
    let settings = bucket.settings.clone();
    let tls = client(
        world,
        bucket.roots_file.as_deref(),
        settings.endpoint().is_tls(),
    )?;
    let machine = Machine {
        disk: Arc::clone(&world.disk),
        clock: Arc::clone(&world.clock),
        rng: Arc::clone(&world.rng),
    };
    let times = LeaseTimes::default();
    let store = BucketStore::new(settings, tls, machine, data_dir, staging, times).await;
    store.map_err(Error::failed("opening the store"))
}

/// The files that sources, and a store that is a bucket, need while the agent runs,
/// directories aside.
pub(crate) fn files_of_sources(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for source in &config.sources {
        match &source.from {
            SourceFrom::S3(bucket) | SourceFrom::Gcs(bucket) => {
                files_of_s3(&mut files, &bucket.settings, bucket.roots_file.as_deref());
            }
            SourceFrom::Azure(container) => {
                let roots = container.roots_file.as_deref();
                files_of_azure(&mut files, &container.settings, roots);
            }
            SourceFrom::Directory(_) | SourceFrom::Archive => {}
        }
    }
    if let Some(bucket) = &config.store {
        let roots = bucket.roots_file.as_deref();
        match &bucket.settings {
            BucketSettings::S3(settings) => files_of_s3(&mut files, settings, roots),
            BucketSettings::Azure(settings) => files_of_azure(&mut files, settings, roots),
        }
    }
    files
}

fn files_of_s3(files: &mut Vec<PathBuf>, settings: &S3Settings, roots: Option<&Path>) {
    match &settings.credentials {
        CredentialsFrom::File(file) => files.push(file.clone()),
        CredentialsFrom::Container(container) => {
            files.extend(container.token_file().map(Path::to_owned));
        }
        CredentialsFrom::Instance => {}
    }
    let webhook = settings.webhook.as_ref();
    files.extend(webhook.map(|webhook| webhook.token_file.clone()));
    if settings.endpoint.is_tls() {
        files.push(roots_or_system(roots));
    }
}

fn files_of_azure(files: &mut Vec<PathBuf>, settings: &AzureSettings, roots: Option<&Path>) {
    files.push(settings.credentials.file().to_owned());
    if settings.endpoint.is_tls() {
        files.push(roots_or_system(roots));
    }
}
