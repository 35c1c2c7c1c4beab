//! The keys of the buckets: there, enabled, and of this region, or nothing begins.

use sealift_keys::{KeyError, KeyProvider, LocalKeystore};

use crate::{Error, config::Config};

/// Refuses a bucket whose key cannot seal here.
pub(crate) async fn usable(config: &Config, keystore: &LocalKeystore) -> Result<(), Error> {
    for bucket in &config.buckets {
        let described = keystore.describe(&bucket.key).await;
        let refused = match described {
            Ok(key) if key.region != config.site.region => KeyError::WrongRegion {
                key: bucket.key.clone(),
                found: key.region,
                wanted: config.site.region.clone(),
            },
            Ok(key) if !key.state.is_usable() => KeyError::NotUsable {
                key: bucket.key.clone(),
                state: key.state,
            },
            Ok(_) => continue,
            Err(error) => error,
        };
        return Err(Error::refused(format!("the key of bucket {}", bucket.name))(refused));
    }
    Ok(())
}
