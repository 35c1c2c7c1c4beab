//! `sealift keys import`: material from a file that nobody else can read, or from standard
//! input.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use sealift_agent::{Error, admin::Keys as Act};
use sealift_host::read_secret_file;
use sealift_keys::{ImportedMaterial, KeyError};
use sealift_terms::{KeyAlias, KeyNote, Timestamp};
use zeroize::Zeroizing;

/// 64 hex digits, with room for white space.
const MATERIAL_FILE_BYTES_MAX: usize = 128;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Id or alias of the key, or the alias of a new one
    key: KeyAlias,
    /// A file of 64 hex digits, readable by its owner alone; - is standard input
    #[arg(long, value_name = "FILE")]
    material_file: PathBuf,
    /// Until when it may be used, as 2027-11-27T00:00:00Z; for good without it
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    /// Bring a new version of the key, which seals from now on
    #[arg(long)]
    new_version: bool,
    /// What the key is for
    #[arg(long, value_name = "TEXT")]
    description: Option<KeyNote>,
}

impl Import {
    pub(super) fn act(&self) -> Result<Act, Error> {
        let text = read(&self.material_file)?;
        let material = ImportedMaterial::from_hex(&text).ok_or_else(|| Error::Request {
            what: "key material",
            found: "something else".to_owned(),
            allowed: "64 hex digits: `openssl rand -hex 32` draws them".to_owned(),
        })?;
        Ok(Act::Import {
            key: self.key.clone(),
            material,
            expires: self.expires,
            new_version: self.new_version,
            description: self.description.clone(),
        })
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    if path != Path::new("-") {
        let read = read_secret_file(path, MATERIAL_FILE_BYTES_MAX);
        return read.map_err(|error| KeyError::from(error).into());
    }
    let mut text = Zeroizing::new(vec![0; MATERIAL_FILE_BYTES_MAX]);
    let mut len = 0;
    let mut input = std::io::stdin().lock();
    while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match input
            .read(rest)
            .map_err(Error::io("read", "standard input"))?
        {
            0 => break,
            more => len += more,
        }
    }
    text.truncate(len);
    Ok(text)
}
