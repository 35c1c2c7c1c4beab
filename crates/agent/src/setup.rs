//! Making a site: data directory, root key, keystore, keys, configuration.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_endpoint::AccessSecret;
use sealift_keys::{
    KEYSTORE_FILE, KeyDescription, KeyName, LocalKeystore, ProviderKind, RootSecret,
};
use sealift_terms::{KeyAlias, Region};
use zeroize::Zeroizing;

use crate::{
    Error, World,
    config::{Bucket, Config, NamedKey, Source, Template},
};

/// A site to be made.
#[derive(Debug, Clone)]
pub struct NewSite {
    /// Where its configuration is written; must not exist.
    pub config: PathBuf,
    /// What the configuration says. A key is made for every bucket it names.
    pub template: Template,
}

/// A site that was made.
#[derive(Debug)]
pub struct CreatedSite {
    /// Its configuration.
    pub config: Config,
    /// Its keys.
    pub keys: Vec<KeyDescription>,
}

/// Makes a site. The configuration is written last: what stops in the middle can
/// be run again.
///
/// # Errors
/// [`Error`] for a template that would be refused, anything that exists already and
/// is not from an earlier try, and what the disk says.
pub fn create_site(new: &NewSite, world: &World) -> Result<CreatedSite, Error> {
    let text = new.template.render();
    let source = Source {
        path: new.config.clone(),
        text: text.clone(),
        overrides: Vec::new(),
    };
    let config = Config::check(&source)?;
    if new.config.exists() {
        let exists = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already");
        return Err(Error::io("write", &new.config)(exists));
    }
    let dir = new.config.parent().unwrap_or(Path::new("."));
    make_dir(dir, 0o755)?;
    make_dir(&config.site.data_dir, 0o700)?;
    let keystore = keystore(&config, world)?;
    let keys = make_keys(&keystore, &config)?;
    write_new(&new.config, text.as_bytes(), 0o644)?;
    Ok(CreatedSite { config, keys })
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(Error::io("make", path))
}

/// The keystore under the root key file that the template names; both are made
/// unless an earlier try made them.
fn keystore(config: &Config, world: &World) -> Result<LocalKeystore, Error> {
    let path = config.site.data_dir.join(KEYSTORE_FILE);
    if path.exists() {
        return Ok(crate::open_keystore(config, world)?);
    }
    let secret = match &config.root_key {
        crate::config::RootKeySource::File(path) => {
            if path.exists() {
                // Two sites under one root key would be one secret too few.
                let why = "it is there already, and may be another site's";
                let exists = io::Error::new(io::ErrorKind::AlreadyExists, why);
                return Err(Error::io("make", path)(exists));
            }
            let secret = RootSecret::generate(&*world.rng);
            let text = secret.to_file_text().unwrap_or_default();
            write_new(path, text.as_bytes(), 0o600)?;
            secret
        }
        other => crate::root_secret(other)?,
    };
    if let Some(dir) = path.parent() {
        make_dir(dir, 0o700)?;
    }
    Ok(LocalKeystore::create(
        Arc::clone(&world.disk),
        Arc::clone(&world.clock),
        Arc::clone(&world.rng),
        &path,
        secret,
    )?)
}

/// The keys of every bucket, of the site's region.
fn make_keys(keystore: &LocalKeystore, config: &Config) -> Result<Vec<KeyDescription>, Error> {
    let region: &Region = &config.site.region;
    // Those of key services are made there.
    let is_own = |key: &&NamedKey| KeyName::parse(&key.name).provider == ProviderKind::Local;
    let named = config.buckets.iter().flat_map(Bucket::keys);
    for named in named.map(|(_, key)| key).filter(is_own) {
        let known = keystore.list().iter().any(|key| {
            key.id.as_str() == named.name
                || key
                    .alias
                    .as_ref()
                    .is_some_and(|alias| alias.as_str() == named.name)
        });
        if !known {
            let alias = KeyAlias::new(&named.name).map_err(Error::failed("naming a key"))?;
            keystore.create_key(Some(alias), region.clone())?;
        }
    }
    Ok(keystore.list())
}

/// Makes the secret of an access key in a file that is not there yet.
///
/// # Errors
/// What the operating system says.
pub fn new_access_secret(path: &Path, world: &World) -> Result<(), Error> {
    let secret = AccessSecret::generate(&*world.rng);
    let mut line = Zeroizing::new(String::with_capacity(secret.expose().len() + 1));
    line.push_str(secret.expose());
    line.push('\n');
    write_new(path, line.as_bytes(), 0o600)
}

/// Writes a file that is not there yet, and makes it durable.
///
/// # Errors
/// What the operating system says; what is there already is left alone.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::config::TemplateBucket;

    fn new_site(dir: &Path) -> NewSite {
        let mut template = Template::example();
        template.data_dir = "data".to_owned();
        let bucket = |name: &str| TemplateBucket {
            name: name.to_owned(),
            key: "alias/one".to_owned(),
            second_key: None,
        };
        template.buckets = vec![bucket("one"), bucket("two")];
        NewSite {
            config: dir.join("site/sealift.toml"),
            template,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_site_has_its_own_directory_keys_of_its_region_and_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let site = create_site(&new_site(dir.path()), &World::real()).unwrap();
        assert_eq!(site.keys.len(), 1);
        assert_eq!(site.keys[0].region, site.config.site.region);
        assert_eq!(mode(&site.config.site.data_dir), 0o700);
        assert_eq!(mode(&dir.path().join("site/root.key")), 0o600);
        let opened = crate::open_keystore(&site.config, &World::real()).unwrap();
        assert_eq!(opened.list(), site.keys);
    }

    #[test]
    fn a_second_site_in_the_same_directory_does_not_share_the_root_key() {
        let dir = tempfile::tempdir().unwrap();
        create_site(&new_site(dir.path()), &World::real()).unwrap();
        let mut second = new_site(dir.path());
        second.config = dir.path().join("site/second.toml");
        second.template.data_dir = "second".to_owned();
        let failure = create_site(&second, &World::real()).unwrap_err().failure();
        assert!(failure.what.contains("root.key"), "{failure:?}");
        assert!(failure.causes[0].contains("another site's") && failure.hint.is_some());
        assert!(!second.config.exists());
    }

    #[test]
    fn an_existing_configuration_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        create_site(&new_site(dir.path()), &World::real()).unwrap();
        assert!(create_site(&new_site(dir.path()), &World::real()).is_err());
    }

    #[test]
    fn what_stopped_before_the_configuration_can_be_run_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = create_site(&new_site(dir.path()), &World::real()).unwrap();
        fs::remove_file(dir.path().join("site/sealift.toml")).unwrap();
        let again = create_site(&new_site(dir.path()), &World::real()).unwrap();
        assert_eq!(again.keys, first.keys);
    }
}
