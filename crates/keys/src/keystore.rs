//! The embedded keystore: CMKs of this site in one sealed file.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use sealift_seal::RecordKey;
use sealift_terms::{
    Clock, Disk, KeyId, Rng, Timestamp,
    limits::KEYSTORE_BYTES_MAX,
    world::{read_file, replace_file},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    EncryptionContext, FactsKey, KeyDescription, KeyError, KeyProvider, PassphraseCost,
    ProviderKind, RootSecret, Wrapped, envelope,
    keystore::{
        cmk::{Cmk, CmkVersion},
        copies::Copies,
    },
    material::Material,
    xaes::Xaes256Gcm,
};

mod backup;
mod cmk;
mod copies;
mod import;
mod life;
mod regions;
mod rekey;
mod replicas;

pub use backup::{Backup, Restored};
pub use import::Import;
pub use replicas::Synchronized;

/// The keystore's path within a data directory.
pub const KEYSTORE_FILE: &str = "keys/keystore.json";

/// The parameters that the keystore takes from outside.
#[derive(Clone)]
struct World {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// What the file's body holds.
#[derive(Clone, Serialize, Deserialize)]
struct Body {
    /// From which the site's [`FactsKey`] is made.
    facts_secret: Material,
    keys: Vec<Cmk>,
    /// The number of the last change.
    #[serde(default)]
    sequence: u64,
    /// Copies of older changes hold what was destroyed, or are under an old root key.
    #[serde(default)]
    copies_from: u64,
    /// The change that brought this root key.
    #[serde(default)]
    rekeyed_at: u64,
    /// Keys that were destroyed: no backup brings them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    destroyed: Vec<KeyId>,
}

/// The key provider `local`: CMKs in one file, sealed under a root key and
/// replaced in one step by every change.
pub struct LocalKeystore {
    world: World,
    path: PathBuf,
    secret: RwLock<RootSecret>,
    cost: PassphraseCost,
    body: RwLock<Arc<Body>>,
    /// Held while a change is made durable, so that changes follow one another.
    changing: Mutex<()>,
}

impl fmt::Debug for LocalKeystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKeystore({})", self.path.display())
    }
}

impl LocalKeystore {
    /// Makes a new keystore at `path`, without keys. An existing one is an error.
    ///
    /// # Errors
    /// [`KeyError::KeystoreExists`], or what the disk says.
    pub fn create(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        path: &Path,
        secret: RootSecret,
    ) -> Result<Self, KeyError> {
        let body = Body {
            facts_secret: Material::random(&*rng),
            keys: Vec::new(),
            sequence: 0,
            copies_from: 0,
            rekeyed_at: 0,
            destroyed: Vec::new(),
        };
        Self::install(World { disk, clock, rng }, path, secret, body)
    }

    /// Opens the keystore at `path`.
    ///
    /// # Errors
    /// [`KeyError::KeystoreNotAuthentic`] for a wrong root key or an altered file,
    /// [`KeyError::KeystoreHasCopy`] when a copy of it opens, [`KeyError::RootKeyBefore`]
    /// for the root key that it was sealed under before.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        path: &Path,
        secret: RootSecret,
    ) -> Result<Self, KeyError> {
        let file = read_file(&*disk, path, KEYSTORE_BYTES_MAX).map_err(|source| io(path, source));
        let body = file.and_then(|file| parse(&secret, &path.display().to_string(), &file));
        let body = body.map_err(|error| told_better(&*disk, path, &secret, error))?;
        // A change that failed at its very last step is seen, and not durable: what would be
        // sealed under its new version would not open after a power loss.
        let folder = path.parent().unwrap_or(Path::new("."));
        disk.sync_dir(folder).map_err(|source| io(folder, source))?;
        Ok(Self::assemble(
            World { disk, clock, rng },
            path,
            secret,
            body,
        ))
    }

    /// Every CMK, in the order they were made.
    #[must_use]
    pub fn list(&self) -> Vec<KeyDescription> {
        let now = self.world.clock.now();
        let body = self.body();
        body.keys.iter().map(|cmk| cmk.describe(now)).collect()
    }

    /// The key for small facts in this site's databases.
    #[must_use]
    pub fn facts_key(&self) -> FactsKey {
        FactsKey::derive(&self.body().facts_secret, self.world.rng.clone())
    }

    fn install(
        world: World,
        path: &Path,
        secret: RootSecret,
        body: Body,
    ) -> Result<Self, KeyError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let there = match world.disk.read_dir(dir) {
            Ok(entries) => entries
                .iter()
                .any(|entry| Some(entry.name.as_os_str()) == path.file_name()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(io(path, error)),
        };
        if there {
            let path = path.to_owned();
            return Err(KeyError::KeystoreExists { path });
        }
        world
            .disk
            .create_dir_all(dir)
            .map_err(|source| io(path, source))?;
        let keystore = Self::assemble(world, path, secret, body);
        keystore.change(|_| Ok(()))?;
        Ok(keystore)
    }

    fn assemble(world: World, path: &Path, secret: RootSecret, body: Body) -> Self {
        Self {
            world,
            path: path.to_owned(),
            secret: RwLock::new(secret),
            cost: PassphraseCost::default(),
            body: RwLock::new(Arc::new(body)),
            changing: Mutex::new(()),
        }
    }

    fn body(&self) -> Arc<Body> {
        self.body.read().clone()
    }

    /// Changes a copy, makes it durable, then lets everyone see it.
    fn change<T>(&self, act: impl FnOnce(&mut Body) -> Result<T, KeyError>) -> Result<T, KeyError> {
        self.change_under(None, act)
    }

    /// The same, and seals it under another root key.
    fn change_under<T>(
        &self,
        other: Option<RootSecret>,
        act: impl FnOnce(&mut Body) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let _one_at_a_time = self.changing.lock();
        let disk = &*self.world.disk;
        let copies = Copies::of(disk, &self.path)?;
        let mut body = Body::clone(&self.body());
        body.sequence = copies.next_number(body.sequence);
        let answer = act(&mut body)?;
        let is_other = other.is_some();
        let secret = other.unwrap_or_else(|| self.secret.read().clone());
        let file = encode(&secret, self.cost, &*self.world.rng, &body)?;
        if is_other {
            // Nothing else has shown yet that this root key opens anything.
            parse(&secret, "the keystore under its new root key", &file)?;
        }
        if file.len() > KEYSTORE_BYTES_MAX {
            return Err(KeyError::KeystoreFull);
        }
        // The copy first: what takes its place later is never newer than all copies. One
        // of a change that then fails holds nothing that was ever used.
        copies.add(disk, body.sequence, body.copies_from, &file)?;
        replace_file(disk, &self.path, &file).map_err(|source| io(&self.path, source))?;
        *self.secret.write() = secret;
        *self.body.write() = Arc::new(body);
        Ok(answer)
    }
}

impl Body {
    fn find(&self, key: &str) -> Option<&Cmk> {
        self.keys.iter().find(|cmk| cmk.is_called(key))
    }

    fn find_mut(&mut self, key: &str) -> Result<&mut Cmk, KeyError> {
        let found = self.keys.iter_mut().find(|cmk| cmk.is_called(key));
        found.ok_or_else(|| missing(key))
    }

    fn usable(&self, key: &str, now: Timestamp) -> Result<&Cmk, KeyError> {
        let cmk = self.find(key).ok_or_else(|| missing(key))?;
        match cmk.state_at(now) {
            state if state.is_usable() => Ok(cmk),
            state => Err(KeyError::NotUsable {
                key: key.to_owned(),
                state,
            }),
        }
    }

    /// More than its JSON can take: a CMK is 256 bytes of alias, as many of description, of
    /// which each may be written as two, and as much again; a version the same without alias;
    /// a region of a key three names of 63 bytes and some numbers.
    fn json_len_max(&self) -> usize {
        let versions: usize = self.keys.iter().map(|cmk| cmk.versions.len()).sum();
        let regions = self.keys.iter().filter_map(|cmk| cmk.regions.as_ref());
        let regions: usize = regions
            .map(|of| of.members.len() + of.allowed.len() + of.replicas.len() + 2)
            .sum();
        let keys = 2048 * self.keys.len() + 512 * regions;
        512 + keys + 1024 * versions + 64 * self.destroyed.len()
    }
}

#[async_trait]
impl KeyProvider for LocalKeystore {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Local
    }

    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let body = self.body();
        let cmk = body.find(key).ok_or_else(|| missing(key))?;
        Ok(cmk.describe(self.world.clock.now()))
    }

    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError> {
        let body = self.body();
        let cmk = body.usable(key, self.world.clock.now())?;
        let version = cmk.current().ok_or_else(|| missing(key))?;
        let kek = Xaes256Gcm::new(exposed(cmk, version)?);
        Ok(Wrapped {
            provider: ProviderKind::Local,
            cmk: cmk.id.clone(),
            cmk_version: version.id.clone(),
            bytes: kek.seal(&*self.world.rng, &context.aad(), record_key.as_bytes()),
        })
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &EncryptionContext,
    ) -> Result<RecordKey, KeyError> {
        wrapped.is_of(ProviderKind::Local)?;
        let body = self.body();
        let cmk = body.usable(wrapped.cmk.as_str(), self.world.clock.now())?;
        let version =
            cmk.version(&wrapped.cmk_version)
                .ok_or_else(|| KeyError::VersionMissing {
                    key: wrapped.cmk.to_string(),
                    version: wrapped.cmk_version.clone(),
                })?;
        let mismatch = || KeyError::ContextMismatch {
            expected: context.to_string(),
        };
        let kek = Xaes256Gcm::new(exposed(cmk, version)?);
        let bytes = kek
            .open(&context.aad(), &wrapped.bytes)
            .map_err(|_| mismatch())?;
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| mismatch())?;
        Ok(RecordKey::new(*bytes))
    }
}

/// The material of a version that has some.
fn exposed<'a>(cmk: &Cmk, version: &'a CmkVersion) -> Result<&'a [u8; 32], KeyError> {
    let material = version.material.as_ref().map(Material::expose);
    material.ok_or_else(|| KeyError::VersionMissing {
        key: cmk.id.to_string(),
        version: version.id.clone(),
    })
}

/// What can be done about a keystore that does not open, where that is known.
fn told_better(disk: &dyn Disk, path: &Path, secret: &RootSecret, error: KeyError) -> KeyError {
    let is_about_the_file = match &error {
        KeyError::KeystoreIo { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        KeyError::KeystoreNotAuthentic { .. } | KeyError::KeystoreFormat { .. } => true,
        _ => false,
    };
    if !is_about_the_file {
        return error;
    }
    let path = path.to_owned();
    if rekey::is_before(disk, &path, secret) {
        return KeyError::RootKeyBefore { path };
    }
    let copies = Copies::of(disk, &path).ok();
    match copies.and_then(|copies| copies.newest_whole(disk, secret)) {
        Some(copy) => KeyError::KeystoreHasCopy {
            path,
            copy,
            source: Box::new(error),
        },
        None => error,
    }
}

fn missing(key: &str) -> KeyError {
    KeyError::Missing {
        key: key.to_owned(),
    }
}

fn io(path: &Path, source: std::io::Error) -> KeyError {
    KeyError::KeystoreIo {
        path: path.to_owned(),
        source,
    }
}

fn encode(
    secret: &RootSecret,
    cost: PassphraseCost,
    rng: &dyn Rng,
    body: &Body,
) -> Result<Vec<u8>, KeyError> {
    // Sized first: a growing buffer would leave pieces of key material behind.
    let mut json = Zeroizing::new(Vec::with_capacity(body.json_len_max()));
    serde_json::to_writer(&mut *json, body).map_err(|_| KeyError::KeystoreFormat {
        subject: "the new keystore".to_owned(),
        what: "it cannot be written as JSON",
    })?;
    envelope::seal(secret, cost, rng, &json)
}

fn parse(secret: &RootSecret, subject: &str, file: &[u8]) -> Result<Body, KeyError> {
    let json = envelope::open(secret, subject, file)?;
    let format = |what| KeyError::KeystoreFormat {
        subject: subject.to_owned(),
        what,
    };
    let body: Body =
        serde_json::from_slice(&json).map_err(|_| format("its body has another shape"))?;
    if body.keys.iter().any(|cmk| cmk.versions.is_empty()) {
        return Err(format("a key has no version"));
    }
    if body.keys.iter().any(|cmk| cmk.current().is_none()) {
        return Err(format("the version of a key that wraps is not there"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
