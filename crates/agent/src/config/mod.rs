//! Configuration: one TOML file, read once, every refusal with its line.
//!
//! ```text
//!   flags ▶ environment ▶ file ──▶ raw structure ──▶ checked structure
//!                                  (unknown fields    (names, numbers, files,
//!                                   refused)           what refers to what)
//! ```

mod azure;
mod buckets;
mod check;
mod checked;
mod checker;
mod classes;
mod declared;
mod endpoint;
mod error;
mod forwards;
mod gcs;
mod grants;
mod identity;
mod key_services;
mod limit;
mod named;
mod operators;
mod overrides;
mod peer_quota;
mod peers;
mod places;
mod raw;
mod residency;
mod rule_tags;
mod rules;
mod s3;
mod source;
mod sources;
mod stores;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use sealift_terms::limits;

pub use checked::{
    AccessKey, Acme, AwsKmsService, Bucket, BucketSource, Ca, CertificatesFrom, Challenge,
    Compression, Config, DialFor, EndpointSettings, ExternalAccount, IdentityFiles, Issuer,
    KeyServices, Limits, Listen, Log, LogFormat, Memory, NamedKey, Peer, Pkcs11Token,
    RootKeySource, Rule, Scrub, Site, Spiffe, TransitService,
};
pub use error::{ConfigError, Place, Refusal};
pub use overrides::{SETTINGS, from_environment, variable};
pub use places::{AzureContainer, S3Bucket, SourceFrom, StoreBucket};
pub use source::{Override, Source};
pub use sources::InFront;
pub use template::{Template, TemplateBucket, TemplateGrant, TemplatePeer};
pub(crate) use trust::{is_workload_bundle, workload_bundle};

use checker::Checker;

impl Config {
    /// Reads a configuration and checks its form. `flags` win over the environment,
    /// which wins over the file. What it names on disk [`look_at`](Self::look_at)
    /// looks at.
    ///
    /// # Errors
    /// [`ConfigError`] tells everything that cannot work, each with its line.
    pub fn load(path: &Path, flags: Vec<Override>) -> Result<Self, ConfigError> {
        let mut overrides = from_environment(std::env::vars());
        overrides.extend(flags);
        let source = Source {
            // Two readings of one file are to be the same, whatever it was called.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            text: read(path)?,
            overrides,
        };
        Self::check(&source)
    }

    /// Where the running agent of a configuration has its socket, as far as
    /// `site.data_dir` can be told whatever else is wrong with the file: commands
    /// reach an agent in its health although its file was spoilt since.
    #[must_use]
    pub fn find_socket(path: &Path, flags: &[Override]) -> Option<PathBuf> {
        let data_dir = find_path(path, flags, ("site", "data_dir"))?;
        Some(data_dir.join(crate::SOCKET_FILE))
    }

    /// As [`find_socket`](Self::find_socket), the one for operators.
    #[must_use]
    pub fn find_operators_socket(path: &Path, flags: &[Override]) -> Option<PathBuf> {
        find_path(path, flags, ("admin", "socket"))
    }

    /// The directory of the authority that the agent of a configuration file issues from,
    /// if it does, whatever else is wrong in the file.
    #[must_use]
    pub fn find_authority(path: &Path, flags: &[Override]) -> Option<PathBuf> {
        find_path(path, flags, ("ca", "directory"))
    }

    /// Checks a configuration by its form.
    ///
    /// # Errors
    /// [`ConfigError`] tells everything that cannot work, each with its line.
    pub fn check(source: &Source) -> Result<Self, ConfigError> {
        let mut c = Checker {
            source,
            refusals: Vec::new(),
            named: Vec::new(),
        };
        let config = raw(&mut c).and_then(|raw| checked(&mut c, &raw));
        match config {
            Some(mut config) if c.refusals.is_empty() => {
                config.named = c.named;
                Ok(config)
            }
            _ => {
                let mut refusals = c.refusals;
                refusals.sort_by_key(|refusal| match refusal.place {
                    Place::Line(line) => line,
                    _ => 0,
                });
                Err(ConfigError {
                    path: source.path.clone(),
                    refusals,
                })
            }
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error: std::io::Error| {
        ConfigError::file(
            path.to_owned(),
            error.to_string(),
            "a configuration file that can be read",
            "write one with `sealift init`, or name another with -c FILE",
        )
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(limits::CONFIG_BYTES_MAX as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(unreadable)?;
    if text.len() > limits::CONFIG_BYTES_MAX {
        let found = "more than 1 MiB".to_owned();
        let remedy = "name the configuration, not another file";
        return Err(ConfigError::file(
            path.to_owned(),
            found,
            "at most 1 MiB",
            remedy,
        ));
    }
    Ok(text)
}

/// A path in a configuration of which nothing else has to be right.
fn find_path(path: &Path, flags: &[Override], (section, key): (&str, &str)) -> Option<PathBuf> {
    let mut overrides = from_environment(std::env::vars());
    overrides.extend_from_slice(flags);
    let source = Source {
        path: path.to_owned(),
        text: read(path).unwrap_or_default(),
        overrides,
    };
    let (file, _) = toml::de::DeTable::parse_recoverable(&source.text);
    let in_file = file.get_ref().get(section);
    let in_file = in_file
        .and_then(|section| section.get_ref().as_table())
        .and_then(|section| section.get(key))
        .and_then(|value| value.get_ref().as_str());
    let setting = format!("{section}.{key}");
    let given = source.overrides.iter().rev();
    let given = given
        .filter(|given| given.setting == setting)
        .map(|given| given.value.as_str());
    let found = given.chain(in_file).next()?;
    Some(source.resolve(found))
}

fn raw(c: &mut Checker<'_>) -> Option<raw::Raw> {
    match toml::from_str::<raw::Raw>(&c.source.text) {
        Ok(mut raw) => {
            overrides::apply(&mut raw, c.source, &mut c.refusals);
            Some(raw)
        }
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let found = error.message().replace('\n', " ");
            let (allowed, remedy) = (
                "TOML with the fields of the documented sections",
                "correct the line; `sealift generate config` prints every setting",
            );
            c.refuse("configuration", &span, found, allowed, remedy)
        }
    }
}

/// Every section is looked at whatever became of the others, so that all
/// refusals are told at once.
fn checked(c: &mut Checker<'_>, raw: &raw::Raw) -> Option<Config> {
    let data_dir = c.source.resolve(raw.site.data_dir.get_ref());
    let site = check::site(c, &raw.site);
    let identity = identity::identity(c, raw, &data_dir);
    let root_key = check::root_key(c, raw.keys.get_ref(), &raw.keys.span());
    let key_services = key_services::key_services(c, raw.keys.get_ref(), site.as_ref());
    let listen = check::listen(c, &raw.listen);
    let admin = check::admin(c, &raw.admin);
    let operators_socket = operators::socket(c, raw);
    let peers = peers::peers(c, raw, &data_dir);
    let buckets = buckets::buckets(c, &raw.buckets, &key_services);
    let declared = declared::Declared::new(raw);
    let sources = sources::sources(c, &raw.sources, &declared, &data_dir);
    let rules = rules::rules(c, &raw.rules, &declared, &peers);
    let grants = grants::grants(c, &raw.grants, &raw.buckets, &declared);
    let operators = operators::operators(c, &raw.operators, &declared);
    let endpoint = endpoint::endpoint(c, raw.endpoint.as_ref(), &declared);
    let forwards = forwards::forwards(c, &raw.forwards, &declared, &peers);
    let forward_targets = forwards::targets(c, &raw.forward_targets, &declared);
    Some(Config {
        path: c.source.path.clone(),
        tls: check::tls(c, &raw.tls),
        limits: check::limits(c, &raw.limits),
        log: check::log(c, &raw.log),
        scrub: check::scrub(c, &raw.scrub),
        store: raw
            .store
            .as_ref()
            .and_then(|raw| stores::store(c, raw))
            .map(Box::new),
        ca: raw.ca.as_ref().and_then(|raw| check::ca(c, raw)),
        stalled_after: check::stalled_after(c, &raw.watchdog),
        site: site?,
        identity: identity?,
        root_key: root_key?,
        key_services,
        listen,
        admin,
        operators_socket,
        operators,
        peers,
        buckets,
        sources,
        rules,
        grants,
        endpoint,
        forwards,
        forward_targets,
        named: Vec::new(),
    })
}
