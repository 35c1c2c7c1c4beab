//! Another certificate for a site that is there already, with a token: its own ended too
//! long ago, was revoked, or is lost.
//!
//! ```text
//!   token ─▶ issuer ─▶ checked as a peer would ─▶ on record ─▶ bundle, certificate and key
//! ```
//!
//! Whatever stops on the way can be run again with the same token. Certificate and key are
//! in force together, with one file; that they are in the configured files as well comes
//! after it.

use sealift_host::DataDirLock;
use sealift_identity::{Credentials, EnrolmentToken, IdentityError, Issued, SiteRole};
use sealift_terms::{AuditKind, AuditRecord, Boxed};
use zeroize::Zeroizing;

use super::{Renewed, load_last_credentials, own_authority};
use crate::{
    Error, Outcome, RENEWED_FILE, World,
    admin::Actor,
    bundles::{newest_beside, replace_own},
    config::{CertificatesFrom, Config},
    enrolling::{given_for, hold_roles},
    offline,
    site::Site,
};

/// The key of the certificate that a token is shown for.
const KEY_FILE: &str = "identity.key.again";

/// Gets a site that is there the certificate that a token is for. Its configuration, keys
/// and data stay as they are.
///
/// # Errors
/// [`Error::Request`] for a token of another site, [`Error::Locked`] while the agent runs,
/// [`Error::Refused`] when the issuer gives none. The old certificate stays then.
pub fn enrol_again<'a>(
    config: &'a Config,
    token: &'a EnrolmentToken,
    world: &'a World,
) -> Boxed<'a, Result<Credentials, Error>> {
    Box::pin(async move {
        hold_token(config, token, world)?;
        // What another user writes there the agent could not read.
        let directory = offline::data_dir(config);
        if directory.outcome == Outcome::Fail {
            return Err(Error::Unready(vec![directory]));
        }
        let lock = DataDirLock::acquire(&config.site.data_dir).map_err(Error::Locked)?;
        config.look_at(&["keys."])?;
        let site = Site::open_stopped(config.clone(), world.clone(), lock).await?;
        let taken = take(&site, token).await;
        site.close().await;
        taken
    })
}

/// Refuses a token that is not for this site as it is.
fn hold_token(config: &Config, token: &EnrolmentToken, world: &World) -> Result<(), Error> {
    let CertificatesFrom::Issuer(issuer) = &config.identity.source else {
        return Err(Error::Request {
            what: "site",
            found: format!(
                "one whose certificates come from {}",
                config.identity.source.as_str()
            ),
            allowed: "one that renews at an issuer: `[identity] issuer`".to_owned(),
        });
    };
    if own_authority(config, &token.identity).is_some() {
        return Err(Error::Request {
            what: "site",
            found: "the issuing one itself, which answers nobody while it is stopped".to_owned(),
            allowed: "`sealift ca issue --out DIR` there, into the directory of its certificate"
                .to_owned(),
        });
    }
    if issuer.identity != token.issuer_identity {
        return Err(Error::Request {
            what: "token",
            found: format!("one of {}", token.issuer_identity),
            allowed: format!(
                "one of the issuer that this site names, {}",
                issuer.identity
            ),
        });
    }
    hold_identity(config, token, world)?;
    let does = [
        (SiteRole::Sender, !config.sources.is_empty()),
        (SiteRole::Receiver, !config.buckets.is_empty()),
    ];
    hold_roles(token, &does)
}

/// What is left of the certificate says who the site is, otherwise its configuration does.
fn hold_identity(config: &Config, token: &EnrolmentToken, world: &World) -> Result<(), Error> {
    let last = load_last_credentials(config, world).ok();
    let known = last.map(|last| last.leaf().identity.clone());
    let is_own = match known.as_ref().or(config.identity.agent.as_ref()) {
        Some(known) => *known == token.identity,
        None => {
            *token.identity.name() == config.site.name
                && *token.identity.region() == config.site.region
        }
    };
    match is_own {
        true => Ok(()),
        false => Err(Error::Request {
            what: "token",
            found: format!("one for {}", token.identity),
            allowed: match known {
                Some(known) => format!("one for {known}, which this site is"),
                None => format!(
                    "one for {} of region {}, which this site is",
                    config.site.name, config.site.region
                ),
            },
        }),
    }
}

async fn take(site: &Site, token: &EnrolmentToken) -> Result<Credentials, Error> {
    let (config, world) = (&site.config, &site.world);
    let renewed = Renewed::new(config, world);
    let key = renewed.key_in(KEY_FILE)?;
    let (chain, bundle) = given_for(token, &key, world).await?;
    let bundle = newest_beside(bundle, config, world)?;
    let (own, now) = (&config.identity.own, world.clock.now());
    let checked = Credentials::from_pem_as(chain.as_bytes(), key.as_bytes(), &bundle, own, now)?;
    let leaf = checked.leaf();
    if leaf.identity != token.identity {
        return Err(IdentityError::IdentityChanged {
            expected: token.identity.clone(),
            found: leaf.identity.clone(),
        }
        .into());
    }
    let actor = Actor::offline().to_string();
    let record = AuditRecord::new(now, AuditKind::CertificateReplaced, actor)
        .with("identity", &leaf.identity)
        .with("serial", &leaf.serial)
        .with("not_after", leaf.not_after)
        .with("source", "token");
    site.record(record)?;
    replace_own(&bundle, config, world)?;
    let settled = renewed.settle(&chain, &key, Some(&checked))?;
    save_as_configured(config, chain, key, &settled)?;
    renewed.forget(KEY_FILE)?;
    Ok(settled)
}

/// The configured files hold the same: what they held before is of no use any more.
fn save_as_configured(
    config: &Config,
    chain_pem: String,
    key: Zeroizing<String>,
    settled: &Credentials,
) -> Result<(), Error> {
    let files = &config.identity;
    if files.certificate == config.site.data_dir.join(RENEWED_FILE) {
        return Ok(());
    }
    let issued = Issued {
        chain_pem,
        private_key_pem: Some(key),
        leaf: (**settled.leaf()).clone(),
    };
    Ok(issued.save(&files.certificate, &files.private_key_file)?)
}
