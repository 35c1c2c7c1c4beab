//! The embedded certificate authority, as a directory.
//!
//! ```text
//!   DIR/root.pem                     the root's certificate
//!   DIR/root.key                     the root's key under a passphrase; no agent reads it
//!   DIR/bundle.json                  the trust bundle that peers are given
//!   DIR/regions/REGION/issuing.pem   the region's issuing CA
//!   DIR/regions/REGION/issuing.key   its key, mode 0600: belongs on one host of that region
//!   DIR/crl/REGION.pem               what is revoked, for whoever does not read bundles
//!   DIR/next/, DIR/rollover.json     while another root takes the place of this one
//! ```

mod backup;
mod issuing;
mod profile;
mod request;
mod revoking;
mod rollover;
mod root;
mod sealed;

use std::{
    fs,
    path::{Path, PathBuf},
};

use sealift_terms::{Clock, Region, Rng, limits};

pub use issuing::{Issued, IssuingAuthority, LeafRequest};
pub(crate) use profile::new_key;
pub(crate) use request::signing_key;
pub(crate) use revoking::LISTS;
pub use rollover::Rollover;
pub use root::RootAuthority;

use crate::{bundle::TrustBundle, error::IdentityError, files};

const ROOT_CERTIFICATE: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const BUNDLE: &str = "bundle.json";
const REGIONS: &str = "regions";
const ISSUING_CERTIFICATE: &str = "issuing.pem";
const ISSUING_KEY: &str = "issuing.key";

/// A certificate authority in a directory. Opening it needs no passphrase: only
/// what the root signs does, and that is a new region.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
    domain: String,
    bundle: TrustBundle,
}

impl Authority {
    /// Makes an authority: a root under `passphrase`, and an issuing CA for each region.
    ///
    /// # Errors
    /// [`IdentityError`]: the directory has one already, a name or the passphrase is
    /// not allowed, or a file cannot be written.
    pub fn init(
        dir: &Path,
        domain: &str,
        regions: &[Region],
        passphrase: &str,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Self, IdentityError> {
        let taken = |name: &&str| fs::symlink_metadata(dir.join(name)).is_ok();
        if [ROOT_CERTIFICATE, ROOT_KEY, BUNDLE, REGIONS]
            .iter()
            .any(taken)
        {
            return Err(IdentityError::AuthorityExists {
                path: dir.to_owned(),
            });
        }
        check_regions(regions)?;
        sealed::check_passphrase(passphrase)?;
        let root = RootAuthority::generate(domain, clock, rng)?;
        let bundle = root.bundle(1)?;
        files::create_dir(dir)?;
        files::write_secret(
            &dir.join(ROOT_KEY),
            root.seal_key(passphrase, rng)?.as_bytes(),
        )?;
        files::write_public(
            &dir.join(ROOT_CERTIFICATE),
            root.certificate_pem().as_bytes(),
        )?;
        let authority = Self {
            dir: dir.to_owned(),
            domain: domain.to_owned(),
            bundle,
        };
        for region in regions {
            authority.write_region(&root.issuing(region, clock, rng)?)?;
        }
        // Last, so that a directory with a bundle is a whole authority.
        authority.bundle.save(&authority.bundle_path())?;
        Ok(authority)
    }

    /// Opens the authority in a directory.
    ///
    /// # Errors
    /// [`IdentityError`] when its bundle cannot be read or names no domain.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(BUNDLE);
        let bundle = TrustBundle::load(&path)?;
        let domain = bundle.domain().map(str::to_owned);
        let domain = domain.ok_or_else(|| files::content(&path, "names no trust domain"))?;
        Ok(Self {
            dir: dir.to_owned(),
            domain,
            bundle,
        })
    }

    /// Adds an issuing CA for another region, or a new one for a region that has one.
    ///
    /// # Errors
    /// [`IdentityError::Passphrase`] for a wrong passphrase; what [`Authority::init`] says otherwise.
    pub fn add_region(
        &self,
        region: &Region,
        passphrase: &str,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<(), IdentityError> {
        if !matches!(self.rollover()?, Rollover::None | Rollover::Retired { .. }) {
            return Err(IdentityError::AuthorityState {
                what: "a roll-over is under way".to_owned(),
            });
        }
        let mut regions = self.regions()?;
        if !regions.contains(region) {
            regions.push(region.clone());
            check_regions(&regions)?;
        }
        self.write_region(&self.open_root(passphrase)?.issuing(region, clock, rng)?)
    }

    /// Opens the root.
    ///
    /// # Errors
    /// [`IdentityError::Passphrase`] for a wrong passphrase or an altered file.
    pub fn open_root(&self, passphrase: &str) -> Result<RootAuthority, IdentityError> {
        let (certificate, key) = (self.dir.join(ROOT_CERTIFICATE), self.dir.join(ROOT_KEY));
        RootAuthority::open(&self.domain, &certificate, &key, passphrase)
    }

    /// The issuing CA of a region: from the second step of a roll-over on the new one.
    ///
    /// # Errors
    /// [`IdentityError::UnknownRegion`] when there is none, or what is wrong with its files.
    pub fn issuing(&self, region: &Region) -> Result<IssuingAuthority, IdentityError> {
        let dir = self.issuing_dir()?.join(REGIONS).join(region.as_str());
        if !dir.is_dir() {
            return Err(IdentityError::UnknownRegion {
                region: region.clone(),
            });
        }
        let issuing =
            IssuingAuthority::load(&dir.join(ISSUING_CERTIFICATE), &dir.join(ISSUING_KEY))?;
        if issuing.region() != region || issuing.domain() != self.domain {
            return Err(files::content(
                &dir,
                &format!("holds the CA of {}", issuing.uri()),
            ));
        }
        Ok(issuing)
    }

    /// A certificate for the key in a signing request (PEM), as a command asks for it.
    ///
    /// # Errors
    /// [`IdentityError::UnknownRegion`] for a region without an issuing CA; otherwise as
    /// [`IssuingAuthority::issue_for_csr`].
    pub fn issue_by_command(
        &self,
        csr_pem: &[u8],
        request: LeafRequest,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Issued, IdentityError> {
        let request = LeafRequest {
            not_before_min: self.earliest_start(&request.identity),
            ..request
        };
        let issuing = self.issuing(request.identity.region())?;
        issuing.issue_for_csr(csr_pem, &request, clock, rng)
    }

    /// The regions that have an issuing CA, in order.
    ///
    /// # Errors
    /// [`IdentityError::File`] when the directory cannot be read.
    pub fn regions(&self) -> Result<Vec<Region>, IdentityError> {
        let path = self.dir.join(REGIONS);
        let failed = |source| IdentityError::File {
            act: "read",
            path: path.clone(),
            source,
        };
        let mut regions = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            regions.extend(name.to_str().and_then(|name| Region::new(name).ok()));
        }
        regions.sort();
        Ok(regions)
    }

    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The trust bundle that peers are given.
    #[must_use]
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// The file of the trust bundle.
    #[must_use]
    pub fn bundle_path(&self) -> PathBuf {
        self.dir.join(BUNDLE)
    }

    fn region_dir(&self, region: &Region) -> PathBuf {
        self.dir.join(REGIONS).join(region.as_str())
    }

    fn write_region(&self, issuing: &IssuingAuthority) -> Result<(), IdentityError> {
        let dir = self.region_dir(issuing.region());
        files::create_dir(&dir)?;
        issuing.save(&dir.join(ISSUING_CERTIFICATE), &dir.join(ISSUING_KEY))
    }
}

fn check_regions(regions: &[Region]) -> Result<(), IdentityError> {
    let found = regions.len();
    if (1..=limits::AUTHORITY_REGIONS_MAX).contains(&found) {
        return Ok(());
    }
    Err(IdentityError::BadName {
        what: "set of regions",
        found: format!("{found} regions"),
        allowed: "1 to 64 regions",
    })
}
