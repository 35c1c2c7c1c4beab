//! The newest trust bundle of each authority that this site ever had in force: an older
//! one, in a file or from an issuer, never takes its place.
//!
//! ```text
//!   files of the configuration ─┐
//!                               ├─▶ the newest of an authority ─▶ credentials, peers
//!   the issuer ─▶ bundles.json ─┘
//! ```
//!
//! Bundles are of one authority when they have a root in common, or one that was in force
//! before: an authority that took another root is still the same.

use std::{
    io,
    path::{Path, PathBuf},
};

use sealift_identity::{IdentityError, TrustBundle};
use sealift_terms::{
    limits::{PEERS_MAX, RETIRED_ROOTS_MAX, TRUST_BUNDLE_BYTES_MAX},
    world::{read_file, replace_file},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    World,
    config::{Config, is_workload_bundle},
};

/// The bundles in a data directory.
const BUNDLES_FILE: &str = "bundles.json";
/// Those of the peers, and this site's own.
const AUTHORITIES_MAX: usize = PEERS_MAX + 1;
const FILE_BYTES_MAX: usize = AUTHORITIES_MAX * TRUST_BUNDLE_BYTES_MAX;

/// Who hands a bundle over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandedBy {
    /// The issuing agent: other roots have to be signed.
    Issuer,
    /// Whoever administrates this host.
    Operator,
}

/// The newest bundle of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Newest {
    bundle: TrustBundle,
    /// Roots that were in force before, the oldest first.
    retired: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    bundle: Value,
    retired: Vec<String>,
}

/// All of them, as they are on the disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Bundles(Vec<Newest>);

impl Newest {
    fn is_of(&self, given: &TrustBundle) -> bool {
        let other_domain = match (self.bundle.domain(), given.domain()) {
            (Some(own), Some(given)) => own != given,
            // Plain PEM names none.
            _ => false,
        };
        let own = self.bundle.root_fingerprints();
        let mut given = given.root_fingerprints().into_iter();
        !other_domain && given.any(|root| own.contains(&root) || self.retired.contains(&root))
    }
}

impl Bundles {
    /// Reads them. What cannot be read is an error: a stale bundle must not win.
    pub(crate) fn load(config: &Config, world: &World) -> Result<Self, IdentityError> {
        let path = path(config);
        let bytes = match read_file(&*world.disk, &path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(failed("read", &path))?,
        };
        Self::parse(&bytes).map_err(|what| IdentityError::FileContent { path, what })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let rows: Vec<Row> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let newest = rows.into_iter().map(|row| {
            let bundle = TrustBundle::parse(row.bundle.to_string().as_bytes());
            let (bundle, retired) = (bundle.map_err(|error| error.to_string())?, row.retired);
            Ok(Newest { bundle, retired })
        });
        newest.collect::<Result<Vec<_>, String>>().map(Self)
    }

    fn save(&self, config: &Config, world: &World) -> Result<(), IdentityError> {
        let path = path(config);
        let row = |newest: &Newest| {
            let bundle = serde_json::from_str(&newest.bundle.to_json())?;
            let retired = newest.retired.clone();
            Ok(Row { bundle, retired })
        };
        let rows: Result<Vec<Row>, serde_json::Error> = self.0.iter().map(row).collect();
        let text = rows.and_then(|rows| serde_json::to_vec(&rows));
        let text = text.map_err(|error| IdentityError::FileContent {
            path: path.clone(),
            what: error.to_string(),
        })?;
        replace_file(&*world.disk, &path, &text).map_err(failed("write", &path))
    }

    /// What is in force where `given` stands in a file: that, or one that is newer.
    pub(crate) fn newest(&self, given: TrustBundle) -> Result<TrustBundle, IdentityError> {
        match self.0.iter().find(|newest| newest.is_of(&given)) {
            Some(newest) if given.sequence() < newest.bundle.sequence() => {
                Ok(newest.bundle.clone())
            }
            Some(newest) => given.check_successor_of(&newest.bundle).map(|()| given),
            None => Ok(given),
        }
    }

    /// Remembers `bundle` in the place of `current`, which was in force: whether that is news.
    fn take(&mut self, bundle: &TrustBundle, current: &TrustBundle) -> bool {
        if bundle.sequence() == 0 {
            return false;
        }
        let is_of = |newest: &Newest| newest.is_of(bundle) || newest.is_of(current);
        let at = self.0.iter().position(is_of);
        let before = at.map(|at| self.0.remove(at));
        let mut newest = Newest {
            bundle: bundle.clone(),
            retired: before.as_ref().map_or(Vec::new(), |it| it.retired.clone()),
        };
        let roots = bundle.root_fingerprints();
        let gone = before.iter().flat_map(|it| it.bundle.root_fingerprints());
        for root in gone.chain(current.root_fingerprints()) {
            if !roots.contains(&root) && !newest.retired.contains(&root) {
                newest.retired.push(root);
            }
        }
        let too_many = newest.retired.len().saturating_sub(RETIRED_ROOTS_MAX);
        newest.retired.drain(..too_many);
        let is_news = before.as_ref() != Some(&newest);
        self.0.push(newest);
        // Those that were not looked at for longest come first.
        let too_many = self.0.len().saturating_sub(AUTHORITIES_MAX);
        self.0.drain(..too_many);
        is_news
    }
}

/// What vouches for this agent's own certificate.
///
/// # Errors
/// [`IdentityError`] for what cannot be read or used.
pub(crate) fn own_bundle(config: &Config, world: &World) -> Result<TrustBundle, IdentityError> {
    let path = &config.identity.trust_bundle;
    let given = TrustBundle::load(path)?;
    match is_workload_bundle(&config.site.data_dir, path) {
        true => Ok(given),
        false => Bundles::load(config, world)?.newest(given),
    }
}

/// What vouches for a peer; none where the Workload API does not, now: nobody is let in
/// then under what it said once.
///
/// # Errors
/// [`IdentityError`] for what cannot be read or used.
pub(crate) fn peer_bundle(
    config: &Config,
    bundles: &Bundles,
    path: &Path,
) -> Result<Option<TrustBundle>, IdentityError> {
    // It says by itself which one counts, and has no numbers.
    if is_workload_bundle(&config.site.data_dir, path) {
        return match path.exists() {
            true => TrustBundle::load(path).map(Some),
            false => Ok(None),
        };
    }
    bundles.newest(TrustBundle::load(path)?).map(Some)
}

/// Remembers what the files hold and is newer than everything before: one that is older
/// does not win when it is put there later.
pub(crate) fn remember_files(config: &Config, world: &World) -> Result<(), IdentityError> {
    let (mut bundles, mut is_news) = (Bundles::load(config, world)?, false);
    let peers = config.peers.iter().map(|peer| &peer.trust_bundle);
    let mut seen = Vec::new();
    for path in peers.chain([&config.identity.trust_bundle]) {
        if seen.contains(&path) || is_workload_bundle(&config.site.data_dir, path) {
            continue;
        }
        seen.push(path);
        let given = TrustBundle::load(path)?;
        let newest = bundles.newest(given.clone())?;
        if newest == given {
            is_news |= bundles.take(&given, &given);
        }
    }
    match is_news {
        true => bundles.save(config, world),
        false => Ok(()),
    }
}

/// Takes up a bundle of this agent's own authority: whether it is another one than before.
///
/// # Errors
/// [`IdentityError::StaleBundle`] for an older one, [`IdentityError::TrustBundle`] for one
/// of another authority or, from an issuer, with roots that nobody vouches for.
pub(crate) fn offer(
    config: &Config,
    world: &World,
    bundle: &TrustBundle,
    by: HandedBy,
) -> Result<bool, IdentityError> {
    let current = own_bundle(config, world)?;
    if *bundle == current {
        return Ok(false);
    }
    match by {
        HandedBy::Issuer => bundle.check_offered_to(&current)?,
        HandedBy::Operator => bundle.check_successor_of(&current)?,
    }
    let mut bundles = Bundles::load(config, world)?;
    if bundles.take(bundle, &current) {
        bundles.save(config, world)?;
    }
    Ok(true)
}

/// What is in force beside `given`, which an operator hands over with a certificate: that,
/// or a newer one of the same authority that was in force already.
///
/// # Errors
/// [`IdentityError`] for what cannot be read, or another bundle of the same number.
pub(crate) fn newest_beside(
    given: TrustBundle,
    config: &Config,
    world: &World,
) -> Result<TrustBundle, IdentityError> {
    Bundles::load(config, world)?.newest(given)
}

/// Puts an operator's bundle in the place of this agent's own, in its file and in memory
/// of what was in force.
///
/// # Errors
/// [`IdentityError`] for what cannot be read or written.
pub(crate) fn replace_own(
    bundle: &TrustBundle,
    config: &Config,
    world: &World,
) -> Result<(), IdentityError> {
    let mut bundles = Bundles::load(config, world)?;
    // What stands there may be lost, or of an authority that is no more.
    let current = own_bundle(config, world).unwrap_or_else(|_| bundle.clone());
    if bundles.take(bundle, &current) {
        bundles.save(config, world)?;
    }
    bundle.save(&config.identity.trust_bundle)
}

fn path(config: &Config) -> PathBuf {
    config.site.data_dir.join(BUNDLES_FILE)
}

fn failed(act: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { act, path, source }
}

#[cfg(test)]
mod tests {
    use sealift_identity::{Authority, Revocation};
    use sealift_terms::{Region, Timestamp};

    use super::*;

    /// An authority's first bundle, and those of a roll-over after it.
    fn bundles() -> Vec<TrustBundle> {
        let dir = tempfile::tempdir().unwrap();
        let (at, World { clock, rng, .. }) = (dir.path().join("ca"), World::real());
        let regions = [Region::new("r").unwrap()];
        let words = "correct horse";
        let made = Authority::init(&at, "example.org", &regions, words, &*clock, &*rng);
        let mut ca = made.unwrap();
        let mut all = vec![ca.bundle().clone()];
        ca.prepare_rollover(words, &*clock, &*rng).unwrap();
        for step in [
            Authority::announce,
            Authority::issue_from_next,
            Authority::retire,
        ] {
            step(&mut ca).unwrap();
            all.push(ca.bundle().clone());
        }
        let revoked = Revocation {
            identity: None,
            serials: vec!["0a".to_owned()],
            at: Timestamp::from_secs(0),
        };
        ca.revoke(revoked, clock.now()).unwrap();
        all.push(ca.bundle().clone());
        all
    }

    #[test]
    fn a_stale_bundle_never_wins_over_a_newer_one_whichever_arrives_first() {
        let all = bundles();
        for (n, older) in all.iter().enumerate() {
            for newer in &all[n + 1..] {
                let mut kept = Bundles::default();
                // They came one after the other, as they do.
                let mut before = older;
                for next in all
                    .iter()
                    .skip(n)
                    .take_while(|it| it.sequence() <= newer.sequence())
                {
                    kept.take(next, before);
                    before = next;
                }
                assert_eq!(kept.newest(older.clone()).unwrap(), *newer);
                assert_eq!(kept.newest(newer.clone()).unwrap(), *newer);
                let mut kept = Bundles::default();
                kept.take(older, older);
                let is_known = kept.0[0].is_of(newer);
                assert_eq!(
                    kept.newest(newer.clone()).unwrap(),
                    *newer,
                    "the other way round"
                );
                // From the first to the last there is no root in common: its signature tells.
                assert_eq!(is_known, newer.sequence() < 4 || older.sequence() > 1);
            }
        }
    }

    #[test]
    fn what_is_remembered_is_read_back_and_bounded() {
        let all = bundles();
        let mut kept = Bundles::default();
        for (before, bundle) in all.iter().zip(&all[1..]) {
            assert!(kept.take(bundle, before));
            assert!(!kept.take(bundle, bundle), "that is no news");
        }
        assert_eq!((kept.0.len(), kept.0[0].retired.len()), (1, 1));
        let row = |newest: &Newest| Row {
            bundle: serde_json::from_str(&newest.bundle.to_json()).unwrap(),
            retired: newest.retired.clone(),
        };
        let rows: Vec<_> = kept.0.iter().map(row).collect();
        let text = serde_json::to_vec(&rows).unwrap();
        assert_eq!(Bundles::parse(&text).unwrap(), kept);
        assert!(Bundles::parse(&text[1..]).is_err());
        kept.0[0].retired = vec!["00".to_owned(); RETIRED_ROOTS_MAX + 1];
        assert!(kept.take(&all[3], &all[0]));
        assert_eq!(kept.0[0].retired.len(), RETIRED_ROOTS_MAX);
        kept.0 = vec![kept.0[0].clone(); AUTHORITIES_MAX + 5];
        let other = bundles().remove(0);
        kept.take(&other, &other);
        assert_eq!(kept.0.len(), AUTHORITIES_MAX);
        assert_eq!(kept.0.last().unwrap().bundle, other);
    }

    #[test]
    fn plain_roots_are_replaced_by_any_numbered_bundle_of_theirs() {
        let all = bundles();
        let plain = TrustBundle::new(None, 0, all[0].roots().to_vec()).unwrap();
        let mut kept = Bundles::default();
        assert!(!kept.take(&plain, &plain));
        assert!(kept.take(&all[1], &plain));
        assert_eq!(kept.newest(plain).unwrap(), all[1]);
        let two = TrustBundle::parse(
            all[0]
                .to_json()
                .replace("\"sequence\": 1", "\"sequence\": 2")
                .as_bytes(),
        );
        let differs = kept.newest(two.unwrap());
        assert!(matches!(differs, Err(IdentityError::TrustBundle { .. })));
    }
}
