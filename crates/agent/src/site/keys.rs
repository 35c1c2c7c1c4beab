//! The keys of the buckets: there, enabled, and of this region, or nothing begins.

use sealift_keys::{KeyDescription, KeyError, KeyName, KeyProvider, ProviderKind};
use sealift_terms::Region;

use crate::{Error, config::Config};

/// Refuses a bucket whose key cannot seal here.
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
        let name = bucket.key.as_str();
        let described = providers.describe(name).await;
        match described.and_then(|key| fits(name, &config.site.region, key)) {
            Ok(_) => {}
            Err(error) if is_let_pass(name, &error) => {}
            Err(error) => {
                let what = format!("the key of bucket {}", bucket.name);
                return Err(Error::refused(what)(error));
            }
        }
    }
    Ok(())
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
