//! Certificate revocation lists (RFC 5280, section 5), as a verifier is given them.

use std::fmt;

use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};
use sealift_terms::{Timestamp, limits};
use std::path::Path;
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use crate::{certificate::serial_hex, error::IdentityError, files};

/// The revocation lists that count for one peer. Every certificate has to be in the scope
/// of one of them that is not over: without that nobody is let in.
pub struct RevocationLists {
    der: Vec<CertificateRevocationListDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    facts: Vec<ListFacts>,
}

/// What one revocation list says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFacts {
    /// The CA that issued it, by its name.
    pub issuer: String,
    /// Its number, which grows.
    pub number: u64,
    /// From when it is.
    pub this_update: Timestamp,
    /// Until when it is good.
    pub next_update: Timestamp,
    /// The serial numbers on it, lower-case hex.
    pub serials: Vec<String>,
}

impl RevocationLists {
    /// Reads a file of one or more lists, PEM.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let pem = files::read_public(path, limits::CRL_BYTES_MAX)?;
        Self::parse(&pem).map_err(|error| files::in_file(path, error))
    }

    /// Reads one or more lists, PEM.
    ///
    /// # Errors
    /// [`IdentityError::RevocationList`] for what is none, too many, or one that names no end.
    pub fn parse(pem: &[u8]) -> Result<Self, IdentityError> {
        let refused = |what: String| IdentityError::RevocationList { what };
        let mut all = Self {
            der: Vec::new(),
            lists: Vec::new(),
            facts: Vec::new(),
        };
        for der in CertificateRevocationListDer::pem_slice_iter(pem) {
            let der = der.map_err(|error| refused(format!("bad PEM, {error}")))?;
            if all.der.len() >= limits::CRLS_MAX {
                return Err(refused(format!("more than {} lists", limits::CRLS_MAX)));
            }
            let list = OwnedCertRevocationList::from_der(&der);
            let list = list.map_err(|error| refused(error.to_string()))?;
            all.facts.push(ListFacts::parse(&der)?);
            all.lists.push(list.into());
            all.der.push(der);
        }
        match all.lists.is_empty() {
            true => Err(refused("no X509 CRL section in the PEM text".to_owned())),
            false => Ok(all),
        }
    }

    /// What each list says of itself.
    #[must_use]
    pub fn facts(&self) -> &[ListFacts] {
        &self.facts
    }

    /// Until when all of them are good.
    #[must_use]
    pub fn next_update(&self) -> Timestamp {
        let ends = self.facts.iter().map(|facts| facts.next_update);
        ends.min().unwrap_or(Timestamp::from_secs(0))
    }

    /// Whether a serial number is on one of them.
    #[must_use]
    pub fn names(&self, serial: &str) -> bool {
        let mut serials = self.facts.iter().flat_map(|facts| &facts.serials);
        serials.any(|known| known == serial)
    }

    /// Runs a check of a chain with these lists: fail closed.
    pub(crate) fn with_options<T>(
        &self,
        check: impl FnOnce(Option<RevocationOptions<'_>>) -> T,
    ) -> T {
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        // There is one at least, as `parse` holds it.
        let options = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::EndEntity)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        check(options)
    }
}

impl PartialEq for RevocationLists {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for RevocationLists {}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists")
            .field("lists", &self.der.len())
            .field("next_update", &self.next_update())
            .finish()
    }
}

impl ListFacts {
    fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let refused = |what: &str| IdentityError::RevocationList {
            what: what.to_owned(),
        };
        let (rest, list) =
            CertificateRevocationList::from_der(der).map_err(|_| refused("it cannot be read"))?;
        if !rest.is_empty() {
            return Err(refused("bytes follow it"));
        }
        let next = list.next_update();
        let next = next.ok_or_else(|| refused("it does not say until when it is good"))?;
        let number = list
            .crl_number()
            .and_then(|number| u64::try_from(number).ok());
        let serials = list.iter_revoked_certificates();
        Ok(Self {
            issuer: list.issuer().to_string(),
            number: number.unwrap_or(0),
            this_update: Timestamp::from_secs(list.last_update().timestamp()),
            next_update: Timestamp::from_secs(next.timestamp()),
            serials: serials.map(|one| serial_hex(one.raw_serial())).collect(),
        })
    }
}
