//! What an authority revoked: in its bundle at once, and in a list of each issuing CA for
//! whoever does not read bundles.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use sealift_terms::{Clock, Identity, Region, Timestamp};
use std::{fs, path::PathBuf, time::Duration};

use super::{Authority, ISSUING_CERTIFICATE, ISSUING_KEY, IssuingAuthority, REGIONS, profile};
use crate::{
    error::IdentityError,
    files,
    lists::RevocationLists,
    revoked::{self, Revocation},
};

/// The lists, in the authority's directory.
pub(crate) const LISTS: &str = "crl";

impl Authority {
    /// Puts a revocation into the bundle: whether it was not in it. Those that are over
    /// leave it.
    ///
    /// # Errors
    /// [`IdentityError::TrustBundle`] when it is full.
    pub fn revoke(&mut self, one: Revocation, now: Timestamp) -> Result<bool, IdentityError> {
        let is_there = |known: &Revocation| match &one.identity {
            // Again: what it was given since is revoked too.
            Some(_) => known.identity == one.identity && known.serials == one.serials,
            None => one
                .serials
                .iter()
                .all(|serial| known.serials.contains(serial)),
        };
        if self.bundle.revoked().iter().any(is_there) {
            return Ok(false);
        }
        let mut revoked = self.bundle.revoked().to_vec();
        revoked.retain(|known| !known.is_over(now));
        revoked.push(one);
        self.set_bundle(self.bundle.followed_by_revoked(revoked)?)?;
        Ok(true)
    }

    /// When a certificate of an identity may begin at the earliest: what began before is
    /// revoked.
    #[must_use]
    pub fn earliest_start(&self, identity: &Identity) -> Option<Timestamp> {
        // Certificates count whole seconds.
        self.revoked_at(identity)
            .map(|at| Timestamp::from_secs(at.as_secs() + 1))
    }

    /// When an identity was revoked last.
    pub(crate) fn revoked_at(&self, identity: &Identity) -> Option<Timestamp> {
        let revoked = self.bundle.revoked().iter();
        let revoked = revoked.filter(|one| one.identity.as_ref() == Some(identity));
        revoked.map(|one| one.at).max()
    }

    /// Where the revocation lists of a region are, PEM: one of each issuing CA whose
    /// certificates may be in use.
    #[must_use]
    pub fn list_path(&self, region: &Region) -> PathBuf {
        self.dir.join(LISTS).join(format!("{region}.pem"))
    }

    /// The lists of a region as they were issued last; none when there are none yet.
    ///
    /// # Errors
    /// [`IdentityError`] when they cannot be read.
    pub fn lists(&self, region: &Region) -> Result<Option<RevocationLists>, IdentityError> {
        let path = self.list_path(region);
        match path.exists() {
            true => RevocationLists::load(&path).map(Some),
            false => Ok(None),
        }
    }

    /// Issues the lists of a region anew, good for `life`.
    ///
    /// # Errors
    /// [`IdentityError`] when they cannot be made or written.
    pub fn issue_lists(
        &self,
        region: &Region,
        life: Duration,
        clock: &dyn Clock,
    ) -> Result<RevocationLists, IdentityError> {
        // What cannot be read any more is made anew.
        let before = self.lists(region).ok().flatten();
        let before = before.iter().flat_map(|lists| lists.facts());
        let number = before.map(|facts| facts.number).max().unwrap_or(0);
        let now = clock.now();
        let params = params(self.bundle.revoked(), region, number + 1, now, life)?;
        let mut pem = String::new();
        for dir in self.issuing_dirs() {
            let dir = dir.join(REGIONS).join(region.as_str());
            let (certificate, key) = (dir.join(ISSUING_CERTIFICATE), dir.join(ISSUING_KEY));
            let issuing = IssuingAuthority::load(&certificate, &key)?;
            let list = params
                .signed_by(&issuing.issuer()?)
                .and_then(|list| list.pem());
            pem.push_str(&list.map_err(IdentityError::Issuing)?);
        }
        let path = self.list_path(region);
        fs::create_dir_all(self.dir.join(LISTS)).map_err(files::failed("write", &path))?;
        let lists = RevocationLists::parse(pem.as_bytes())?;
        files::write_public(&path, pem.as_bytes())?;
        Ok(lists)
    }
}

fn params(
    revoked: &[Revocation],
    region: &Region,
    number: u64,
    now: Timestamp,
    life: Duration,
) -> Result<CertificateRevocationListParams, IdentityError> {
    let of_region = |one: &&Revocation| {
        let identity = one.identity.as_ref();
        identity.is_none_or(|identity| identity.region() == region)
    };
    let mut revoked_certs = Vec::new();
    for one in revoked.iter().filter(of_region) {
        for serial in one
            .serials
            .iter()
            .filter(|serial| revoked::is_serial(serial))
        {
            let bytes = hex::decode(serial).unwrap_or_default();
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes),
                revocation_time: profile::moment(one.at)?,
                reason_code: None,
                invalidity_date: None,
            });
        }
    }
    // Begun a little earlier, for clocks that are behind.
    let begins = now.minus((life / 10).min(sealift_terms::limits::CERTIFICATE_BACKDATE_MAX));
    Ok(CertificateRevocationListParams {
        this_update: profile::moment(begins)?,
        next_update: profile::moment(now.plus(life))?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    })
}
