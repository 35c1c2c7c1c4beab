//! A server that speaks ACME (RFC 8555), through instant-acme.
//!
//! ```text
//!   account (sealed) ─▶ order: name, profile, what it replaces ─▶ challenge ─▶ our request ─▶ chain
//!                                                       answered on a listener of its own,
//!                                                       which is there for so long only
//! ```
//!
//! What the server gives is checked as by a peer, like every other source's; what it says
//! of renewal (ARI, RFC 9773) is advice. It is known by a file of roots, over TLS 1.3 alone.

mod account;
mod client;
mod error;
mod order;
mod responder;

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use instant_acme::CertificateIdentifier;
use sealift_identity::{Credentials, order_request};
use sealift_keys::FactsKey;
use sealift_terms::Timestamp;

use super::{Advice, CertificateSource, Renewed, TakesBundles, plan::Window};
use crate::{
    Error, World,
    config::{Acme, Config},
    providers::roots_or_system,
};
use error::AcmeError;

/// `[identity.acme]`.
pub(super) struct AcmeSource {
    renewed: Renewed,
    acme: Acme,
    facts: FactsKey,
}

impl AcmeSource {
    pub(super) fn new(config: &Config, world: &World, acme: Acme, facts: FactsKey) -> Self {
        Self {
            renewed: Renewed::new(config, world),
            acme,
            facts,
        }
    }
}

/// The roots that vouch for the server of a configuration.
pub(crate) fn roots_of(acme: &Acme) -> PathBuf {
    roots_or_system(acme.roots_file.as_deref())
}

#[async_trait]
impl CertificateSource for AcmeSource {
    fn word(&self) -> &'static str {
        "acme"
    }

    fn renews(&self) -> bool {
        true
    }

    async fn next(
        &self,
        shown: Option<&Credentials>,
        _: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error> {
        let account = self.account().await?;
        let key = self.renewed.next_key()?;
        let identity = self.acme.uri_in_request.then_some(&self.acme.agent);
        let request = order_request(&key, &self.acme.dns_name, identity)?;
        let chain = self.order(&account, &request, shown).await;
        let chain = chain.map_err(Error::refused("the certificate"))?;
        Ok(Some(self.renewed.settle(&chain, &key, shown)?))
    }

    async fn advice(&self, shown: &Credentials) -> Result<Option<Advice>, Error> {
        let Some(replaced) = identifier(shown) else {
            return Ok(None);
        };
        let asked = self.account().await?.renewal_info(&replaced).await;
        let (info, again) = match asked {
            Ok(answered) => answered,
            // It knows no such thing.
            Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(AcmeError::from(error).into()),
        };
        let moment = |at: time::OffsetDateTime| Timestamp::from_secs(at.unix_timestamp());
        let window = Window {
            start: moment(info.suggested_window.start),
            end: moment(info.suggested_window.end),
        };
        Ok(Some(Advice { window, again }))
    }
}

/// How a server knows the certificate that is shown, if it can.
fn identifier(shown: &Credentials) -> Option<CertificateIdentifier<'static>> {
    let first = shown.chain().first()?;
    let identifier = CertificateIdentifier::try_from(first).ok()?;
    Some(identifier.into_owned())
}

/// How long the server may take for one step of an order.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
