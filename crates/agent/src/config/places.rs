//! Where the objects of a source are, and where sealed ones rest.

use std::path::{Path, PathBuf};

use sealift_store::{AzureSettings, BucketSettings, S3Settings};

/// Where the objects of a source are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFrom {
    /// The files of a directory.
    Directory(PathBuf),
    /// `[source.s3]`.
    S3(Box<S3Bucket>),
    /// `[source.azure]`.
    Azure(Box<AzureContainer>),
    /// `[source.gcs]`.
    Gcs(Box<S3Bucket>),
    /// `archive = true`: the bucket of this name that is archived here.
    Archive,
}

impl SourceFrom {
    /// The directory, where it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory),
            Self::S3(_) | Self::Azure(_) | Self::Gcs(_) | Self::Archive => None,
        }
    }
}

/// `[source.azure]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureContainer {
    /// Where it is, as whom it is asked, and what of it is meant.
    pub settings: AzureSettings,
    /// The roots that vouch for it, PEM; those of the system without it.
    pub roots_file: Option<PathBuf>,
}

/// `[store.s3]`, `[store.azure]`, `[store.gcs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreBucket {
    /// Where it is, as whom it is asked, and what of it is meant.
    pub settings: BucketSettings,
    /// The roots that vouch for it, PEM; those of the system without it.
    pub roots_file: Option<PathBuf>,
}

/// `[source.s3]`, `[source.gcs]`, or what of `[store.s3]` and `[store.gcs]` is alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Bucket {
    /// Where it is, as whom it is asked, and what of it is meant.
    pub settings: S3Settings,
    /// The roots that vouch for it, PEM; those of the system without it.
    pub roots_file: Option<PathBuf>,
}
