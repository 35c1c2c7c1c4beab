//! The whole directory of an authority in one sealed file, and back.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_terms::{Rng, limits};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Authority, BUNDLE, LISTS, REGIONS, ROOT_CERTIFICATE, ROOT_KEY, sealed};
use crate::{enrolment::ENROLMENT, error::IdentityError, files};

/// How deep the directory is: `regions/REGION/issuing.key`, and some room.
const DEPTH_MAX: usize = 5;

/// The note of what was last backed up; no part of the authority.
const BACKED_UP: &str = "backed-up";
/// A SHA-256 in hex.
const DIGEST_CHARS: usize = 64;

/// What the sealed file holds: files by their path in the directory.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    files: BTreeMap<String, Kept>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// For the owner alone.
    secret: bool,
    base64: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.base64.zeroize();
    }
}

impl Authority {
    /// Seals every file of the authority under `passphrase`; the result is the text
    /// of a file. The root's key stays under its own passphrase within.
    ///
    /// # Errors
    /// [`IdentityError`] for a passphrase that is too short, and files that cannot be
    /// read or are more than an authority has.
    pub fn backup(&self, passphrase: &str, rng: &dyn Rng) -> Result<String, IdentityError> {
        let content = Content::of(&self.dir)?;
        let json = Zeroizing::new(serde_json::to_vec(&content).map_err(|_| not_json())?);
        sealed::seal(sealed::AUTHORITY, &json, passphrase, &self.domain, rng)
    }

    /// Opens a backup and compares it with the directory, file by file; says how many
    /// files it holds.
    ///
    /// # Errors
    /// [`IdentityError::BackupNotOpened`] for a wrong passphrase or an altered file,
    /// [`IdentityError::Backup`] when it holds something else.
    pub fn verify_backup(&self, text: &[u8], passphrase: &str) -> Result<usize, IdentityError> {
        let content = Content::open(text, passphrase, Some(&self.domain))?;
        if content != Content::of(&self.dir)? {
            let what = format!("differs from {}", self.dir.display());
            return Err(IdentityError::Backup { what });
        }
        Ok(content.files.len())
    }

    /// Notes that what is here now is in a backup that was opened again.
    ///
    /// # Errors
    /// [`IdentityError::File`] when the note cannot be written.
    pub fn note_backup(&self) -> Result<(), IdentityError> {
        let digest = Content::of(&self.dir)?.digest()?;
        files::write_secret(&self.dir.join(BACKED_UP), digest.as_bytes())
    }

    /// Whether everything that is here now is in a verified backup.
    ///
    /// # Errors
    /// [`IdentityError`] when the directory cannot be read.
    pub fn is_backed_up(&self) -> Result<bool, IdentityError> {
        let path = self.dir.join(BACKED_UP);
        if !path.exists() {
            return Ok(false);
        }
        let noted = files::read_public(&path, DIGEST_CHARS)?;
        Ok(noted == Content::of(&self.dir)?.digest()?.as_bytes())
    }

    /// Makes the directory of an authority from a backup. It appears whole, and only
    /// when its certificates and keys belong together.
    ///
    /// # Errors
    /// [`IdentityError::AuthorityExists`] when `dir` has one already;
    /// [`IdentityError::BackupNotOpened`] for a wrong passphrase or an altered file.
    pub fn restore(dir: &Path, text: &[u8], passphrase: &str) -> Result<Self, IdentityError> {
        let taken = |name: &&str| fs::symlink_metadata(dir.join(name)).is_ok();
        if [ROOT_CERTIFICATE, ROOT_KEY, BUNDLE, REGIONS]
            .iter()
            .any(taken)
        {
            let path = dir.to_owned();
            return Err(IdentityError::AuthorityExists { path });
        }
        let content = Content::open(text, passphrase, None)?;
        let mut new = dir.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let outcome = content.write(&new).and_then(|()| whole(&new));
        let outcome = outcome.and_then(|()| fs::rename(&new, dir).map_err(failed("write", dir)));
        if let Err(error) = outcome {
            // What was half made is in nobody's way at the next try.
            let _ = fs::remove_dir_all(&new);
            return Err(error);
        }
        let authority = Self::open(dir)?;
        authority.note_backup()?;
        Ok(authority)
    }
}

/// Opens everything that needs no passphrase of the root.
fn whole(dir: &Path) -> Result<(), IdentityError> {
    let authority = Authority::open(dir)?;
    for region in authority.regions()? {
        authority.issuing(&region)?;
    }
    Ok(())
}

impl Content {
    fn open(text: &[u8], passphrase: &str, domain: Option<&str>) -> Result<Self, IdentityError> {
        let json = sealed::open(sealed::AUTHORITY, text, passphrase, domain);
        let json = json.map_err(|error| match error {
            sealed::OpenError::Refused => IdentityError::BackupNotOpened,
            sealed::OpenError::Format(what) => IdentityError::Backup { what },
        })?;
        serde_json::from_slice(&json).map_err(|_| not_json())
    }

    fn of(dir: &Path) -> Result<Self, IdentityError> {
        let mut content = Self::default();
        content.take(dir, "", 0)?;
        Ok(content)
    }

    fn take(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), IdentityError> {
        for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
            let entry = entry.map_err(failed("read", dir))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| files::content(&path, "has a name that is not UTF-8"))?;
            let name = format!("{prefix}{name}");
            // What becomes of certificates changes with each of them, and is not needed to
            // issue others.
            if [BACKED_UP, ENROLMENT, LISTS].contains(&name.as_str()) {
                continue;
            }
            let kind = entry.file_type().map_err(failed("read", &path))?;
            if kind.is_dir() && depth < DEPTH_MAX {
                self.take(&path, &format!("{name}/"), depth + 1)?;
            } else if kind.is_file() && self.files.len() < limits::AUTHORITY_FILES_MAX {
                self.files.insert(name, Kept::of(&path)?);
            } else {
                return Err(files::content(&path, "does not belong to an authority"));
            }
        }
        Ok(())
    }

    /// Of every file with its name. The keys in it are random: it tells nothing of them.
    fn digest(&self) -> Result<String, IdentityError> {
        let json = Zeroizing::new(serde_json::to_vec(self).map_err(|_| not_json())?);
        let digest = ring::digest::digest(&ring::digest::SHA256, &json);
        Ok(hex::encode(digest))
    }

    fn write(&self, dir: &Path) -> Result<(), IdentityError> {
        for (name, kept) in &self.files {
            let path = dir.join(inner(name)?);
            files::create_dir(path.parent().unwrap_or(dir))?;
            let bytes = STANDARD.decode(&kept.base64).map_err(|_| not_json())?;
            let bytes = Zeroizing::new(bytes);
            match kept.secret {
                true => files::write_secret(&path, &bytes)?,
                false => files::write_public(&path, &bytes)?,
            }
        }
        Ok(())
    }
}

impl Kept {
    fn of(path: &Path) -> Result<Self, IdentityError> {
        let metadata = fs::metadata(path).map_err(failed("read", path))?;
        let bytes = files::read_public(path, limits::AUTHORITY_FILE_BYTES_MAX)?;
        let bytes = Zeroizing::new(bytes);
        Ok(Self {
            secret: metadata.permissions().mode() & 0o077 == 0,
            base64: STANDARD.encode(&*bytes),
        })
    }
}

/// A path that stays below the directory.
fn inner(name: &str) -> Result<&Path, IdentityError> {
    let path = Path::new(name);
    let plain = |part| matches!(part, Component::Normal(_));
    match !name.is_empty() && path.components().all(plain) {
        true => Ok(path),
        false => Err(IdentityError::Backup {
            what: format!("holds a file that would lie outside: {name:?}"),
        }),
    }
}

fn not_json() -> IdentityError {
    IdentityError::Backup {
        what: "does not hold the files of an authority".to_owned(),
    }
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { act, path, source }
}

#[cfg(test)]
mod tests {
    use sealift_host::{OsClock, OsRng};
    use sealift_terms::Region;

    use super::*;

    const PASS: &str = "correct horse";

    fn authority(dir: &Path) -> Authority {
        let regions = [Region::new("a").unwrap(), Region::new("b").unwrap()];
        Authority::init(
            dir,
            "example.org",
            &regions,
            "of the root",
            &OsClock,
            &OsRng,
        )
        .unwrap()
    }

    #[test]
    fn a_backup_brings_back_every_file_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let made = authority(&dir.path().join("ca"));
        let text = made.backup(PASS, &OsRng).unwrap();
        assert_eq!(made.verify_backup(text.as_bytes(), PASS).unwrap(), 7);
        let restored = Authority::restore(&dir.path().join("new"), text.as_bytes(), PASS).unwrap();
        assert!(restored.open_root("of the root").is_ok());
        assert!(restored.verify_backup(text.as_bytes(), PASS).is_ok());
        let key = restored.dir.join("regions/a/issuing.key");
        assert_eq!(
            fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_existing_authority_and_a_wrong_passphrase_leave_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let made = authority(&dir.path().join("ca"));
        let text = made.backup(PASS, &OsRng).unwrap();
        let over = Authority::restore(&made.dir, text.as_bytes(), PASS);
        assert!(matches!(over, Err(IdentityError::AuthorityExists { .. })));
        let new = dir.path().join("new");
        let wrong = Authority::restore(&new, text.as_bytes(), "battery staple");
        assert!(matches!(wrong, Err(IdentityError::BackupNotOpened)));
        assert!(!new.exists());
        fs::write(made.dir.join("bundle.json"), "{}").unwrap();
        let differs = made.verify_backup(text.as_bytes(), PASS);
        assert!(matches!(differs, Err(IdentityError::Backup { .. })));
    }

    #[test]
    fn a_backup_that_reaches_outside_or_is_not_whole_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let made = authority(&dir.path().join("ca"));
        let seal = |content: &Content| {
            let json = serde_json::to_vec(content).unwrap();
            sealed::seal(sealed::AUTHORITY, &json, PASS, "example.org", &OsRng).unwrap()
        };
        let new = dir.path().join("new");
        for name in ["../x", "/x", "", "a/../../x"] {
            let mut content = Content::of(&made.dir).unwrap();
            let kept = content.files.remove("bundle.json").unwrap();
            content.files.insert(name.to_owned(), kept);
            let text = seal(&content);
            assert!(
                Authority::restore(&new, text.as_bytes(), PASS).is_err(),
                "{name}"
            );
        }
        let mut content = Content::of(&made.dir).unwrap();
        content.files.remove("regions/b/issuing.key");
        let text = seal(&content);
        assert!(Authority::restore(&new, text.as_bytes(), PASS).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
