//! The keys of the buckets: there, enabled, and of this region, or nothing begins.

use sealift_archive::ArchiveError;
use sealift_keys::{KeyDescription, KeyError, KeyName, KeyProvider, ProviderKind};
use sealift_terms::Region;

use crate::{Error, config::Config, offline::place};

/// Refuses a bucket whose keys cannot seal here, or are one.
pub(crate) async fn usable(config: &Config, providers: &dyn KeyProvider) -> Result<(), Error> {
    each(config, providers, |_, _| false).await
}

/// The same before anything began: a key service that does not answer now may do so in a
/// moment, and objects wait for it. What it says of a key counts.
pub(crate) async fn fit_to_begin(
    config: &Config,
    providers: &dyn KeyProvider,
) -> Result<(), Error> {
    each(config, providers, |name, error| {
        let waits = may_pass(name, error);
        if waits {
            tracing::warn!(key = name, error = %in_one_line(error), "objects wait for the key");
        }
        waits
    })
    .await
}

/// Whether an error is the trouble of a key service, which passes by itself.
pub(crate) fn may_pass(name: &str, error: &KeyError) -> bool {
    KeyName::parse(name).provider != ProviderKind::Local
        && matches!(
            error,
            KeyError::Unavailable { .. } | KeyError::Throttled { .. }
        )
}

async fn each(
    config: &Config,
    providers: &dyn KeyProvider,
    is_let_pass: impl Fn(&str, &KeyError) -> bool,
) -> Result<(), Error> {
    for bucket in &config.buckets {
        let mut others: Vec<KeyDescription> = Vec::new();
        for (which, key) in bucket.keys() {
            let (name, what) = (&key.name, format!("the {which} of bucket {}", bucket.name));
            let described = providers.describe(name).await;
            match described.and_then(|key| fits(name, &config.site.region, key)) {
                Ok(described) => {
                    if others.iter().any(|other| is_same(other, &described)) {
                        let (bucket, id) = (bucket.name.clone(), described.id);
                        let same = ArchiveError::SameKey { bucket, key: id };
                        return Err(Error::refused(place(config, &key.place, &what))(same));
                    }
                    others.push(described);
                }
                Err(error) if is_let_pass(name, &error) => {}
                Err(error) => return Err(Error::refused(what)(error)),
            }
        }
    }
    Ok(())
}

/// Whether two names led to one key: two layers under it would be one.
pub(crate) fn is_same(one: &KeyDescription, other: &KeyDescription) -> bool {
    (one.provider, &one.id) == (other.provider, &other.id)
}

/// A key that seals in `region` now, or why it does not.
pub(crate) fn fits(
    name: &str,
    region: &Region,
    key: KeyDescription,
) -> Result<KeyDescription, KeyError> {
    let (name, state) = (name.to_owned(), key.state);
    if key.region != *region {
        return Err(KeyError::WrongRegion {
            key: name,
            found: key.region,
            wanted: region.clone(),
        });
    }
    match state.is_usable() {
        true => Ok(key),
        false => Err(KeyError::NotUsable { key: name, state }),
    }
}

fn in_one_line(error: &KeyError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
