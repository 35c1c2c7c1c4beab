//! Where plaintext may be looked for, and what of a store is the store's own.

use std::path::{Path, PathBuf};

use super::open::STORE_DIR;
use crate::{Error, config::Config};

/// What the store itself has below its directory.
const OF_STORE: [&str; 4] = ["objects", "packs", "records", ".sealift-store"];

/// A directory in which plaintext is looked for.
#[derive(Debug)]
pub(crate) struct Place {
    /// The path below the store's directory, where it is below that.
    within: Option<PathBuf>,
}

impl Place {
    /// Whether a path below the directory is one of the store's own files.
    pub(crate) fn is_of_store(&self, path: &str) -> bool {
        let within = self.within.as_ref().map(|within| within.join(path));
        within.is_some_and(|path| OF_STORE.iter().any(|own| path.starts_with(own)))
    }
}

/// Takes a directory; refuses those in which there is what must not become an object: keys, databases.
///
/// # Errors
/// [`Error::Request`] for the data directory, and what of it is not the store;
/// [`Error::Io`] for one that is not there.
pub(crate) fn hold(config: &Config, from: &Path) -> Result<Place, Error> {
    let (from, data_dir) = (real(from)?, real(&config.site.data_dir)?);
    let store = data_dir.join(STORE_DIR);
    let place = Place {
        within: from.strip_prefix(&store).ok().map(Path::to_owned),
    };
    let is_refused = match &place.within {
        Some(_) => place.is_of_store(""),
        None => from.starts_with(&data_dir) || data_dir.starts_with(&from),
    };
    if !is_refused {
        return Ok(place);
    }
    Err(Error::Request {
        what: "--from",
        found: format!("{}, where the agent's own files are", from.display()),
        allowed: format!(
            "a directory of plaintext apart from them; of the data directory only {}",
            store.display()
        ),
    })
}

/// Refuses to remove files of a directory that is a source: their removal would be replicated.
///
/// # Errors
/// [`Error::Request`], and as [`hold`].
pub(crate) fn hold_removal(config: &Config, from: &Path) -> Result<(), Error> {
    let from = real(from)?;
    for source in &config.sources {
        let Some(directory) = source.from.directory() else {
            continue;
        };
        // One that is away now is where it is said to be.
        let real = directory.canonicalize();
        let directory = real.unwrap_or_else(|_| directory.to_owned());
        if from.starts_with(&directory) || directory.starts_with(&from) {
            return Err(Error::Request {
                what: "--remove-plaintext",
                found: format!("files of the source of bucket {}", source.bucket),
                allowed: "files that are no source: what is removed there is removed everywhere"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

fn real(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize()
        .map_err(Error::io("finding the directory", path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Source, Template};

    #[test]
    fn keys_and_databases_are_no_plaintext_and_a_source_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let data = root.join("data");
        for path in [
            "data/store/objects/ab",
            "data/store/found",
            "data/keys",
            "in/deep",
            "out",
        ] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let rendered = Template::example().render();
        let config = Config::check(&Source {
            path: root.join("sealift.toml"),
            text: format!(
                "{rendered}\n[[source]]\nbucket = \"kept\"\ndirectory = \"{}\"\n",
                root.join("in").display()
            ),
            overrides: vec![crate::config::Override {
                setting: "site.data_dir".to_owned(),
                value: data.display().to_string(),
                place: crate::config::Place::Flag("--set".to_owned()),
            }],
        })
        .unwrap();
        for refused in [
            "",
            "data",
            "data/keys",
            "data/store/objects",
            "data/store/objects/ab",
        ] {
            let told = hold(&config, &root.join(refused));
            assert!(told.is_err(), "{refused}: {told:?}");
        }
        assert!(hold(&config, &root.join("none")).is_err());
        let outside = hold(&config, &root.join("out")).unwrap();
        assert!(!outside.is_of_store("objects/a"));
        let store = hold(&config, &data.join("store")).unwrap();
        for (path, own) in [
            ("objects/ab/c.slf", true),
            ("packs/p", true),
            (".sealift-store", true),
            ("objectsx", false),
            ("found/objects/a", false),
        ] {
            assert_eq!(store.is_of_store(path), own, "{path}");
        }
        let found = hold(&config, &data.join("store/found")).unwrap();
        assert!(!found.is_of_store("objects/a"));
        assert!(hold_removal(&config, &root.join("out")).is_ok());
        for source in ["in", "in/deep", ""] {
            assert!(
                hold_removal(&config, &root.join(source)).is_err(),
                "{source}"
            );
        }
    }
}
