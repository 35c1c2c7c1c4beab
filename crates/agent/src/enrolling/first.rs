//! The first certificate of an agent, against a token.

use std::{io, path::Path};

use sealift_host::read_secret_file;
use sealift_identity::{
    Credentials, EnrolmentToken, SiteRole, TlsPolicy, TrustBundle, enrolling_client,
    new_private_key, signing_request,
};
use sealift_terms::{Boxed, limits::CERTIFICATE_FILE_BYTES_MAX};
use zeroize::Zeroizing;

use super::{Asked, Call, Given, asking::ask};
use crate::{Error, World, setup::write_new};

/// Where the first certificate and what belongs to it are written.
#[derive(Debug, Clone, Copy)]
pub struct FirstCertificate<'a> {
    /// The private key, mode 0600. One that is there already, from an earlier try, is used.
    pub private_key: &'a Path,
    /// The certificate.
    pub certificate: &'a Path,
    /// The authority's trust bundle.
    pub trust_bundle: &'a Path,
}

/// Gets the certificate that a token is for. The key is on the disk before it is
/// asked for: whatever happens then, the same can be asked again.
///
/// # Errors
/// [`Error::Refused`] when the issuer gives none; what keeps it from being asked; a
/// certificate or a bundle that is not what the token promised.
pub fn enrol<'a>(
    token: &'a EnrolmentToken,
    to: FirstCertificate<'a>,
    world: &'a World,
) -> Boxed<'a, Result<Credentials, Error>> {
    Box::pin(async move {
        for there in [to.certificate, to.trust_bundle] {
            if there.exists() {
                let exists = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already");
                return Err(Error::io("write", there)(exists));
            }
        }
        let key = private_key(to.private_key)?;
        let (chain, bundle) = given_for(token, &key, world).await?;
        let now = world.clock.now();
        let credentials = Credentials::from_pem(chain.as_bytes(), key.as_bytes(), &bundle, now)?;
        let (expected, found) = (&token.identity, &credentials.leaf().identity);
        if expected != found {
            return Err(sealift_identity::IdentityError::IdentityChanged {
                expected: expected.clone(),
                found: found.clone(),
            }
            .into());
        }
        bundle.save(to.trust_bundle)?;
        write_new(to.certificate, chain.as_bytes(), 0o644)?;
        Ok(credentials)
    })
}

/// What a token is worth for a key: the chain, PEM, and the trust bundle of its authority.
/// Neither is checked.
pub(crate) async fn given_for(
    token: &EnrolmentToken,
    key: &str,
    world: &World,
) -> Result<(String, TrustBundle), Error> {
    let policy = TlsPolicy::default();
    let tls = enrolling_client(&policy, token, world.clock.clone())?;
    let asked = Asked {
        secret: Some(token.secret().to_string()),
        csr: signing_request(key)?,
    };
    let given: Given = ask(&token.issuer, tls, Call::Enrol, &asked).await?;
    let bundle = TrustBundle::parse(given.bundle.as_bytes())?;
    Ok((given.certificate, bundle))
}

/// Holds what a site is to do, or does, against what its token is for.
///
/// # Errors
/// [`Error::Request`] names the first that it is not for.
pub fn hold_roles(token: &EnrolmentToken, does: &[(SiteRole, bool)]) -> Result<(), Error> {
    for &(role, is_done) in does {
        if !is_done || token.roles.allow(role) {
            continue;
        }
        let has = match role {
            SiteRole::Sender => "sources to send",
            SiteRole::Receiver => "buckets to archive",
        };
        return Err(Error::Request {
            what: "token",
            found: format!("one for a {}, and a site with {has}", token.roles),
            allowed: format!("a site without them, or a token of `sealift ca token --role {role}`"),
        });
    }
    Ok(())
}

fn private_key(path: &Path) -> Result<Zeroizing<String>, Error> {
    if path.exists() {
        let read = read_secret_file(path, CERTIFICATE_FILE_BYTES_MAX);
        let bytes = read.map_err(Error::refused("the private key"))?;
        let text = std::str::from_utf8(&bytes).map_err(Error::refused("the private key"))?;
        return Ok(Zeroizing::new(text.to_owned()));
    }
    let key = new_private_key()?;
    write_new(path, key.as_bytes(), 0o600)?;
    Ok(key)
}
