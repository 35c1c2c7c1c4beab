//! The SPIFFE Workload API: a socket on this machine that knows who asks.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_identity::Credentials;
use spiffe::WorkloadApiClient;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{CertificateSource, Renewed, TakesBundles};
use crate::{
    Error, World,
    config::{Config, Spiffe},
};

/// One question and its answer.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Documents for one process; the one that is wanted is among them.
const DOCUMENTS_MAX: usize = 32;

/// `[identity.spiffe]`.
///
/// Its agent renews; here it is only looked at, as files are. What it gives is written to
/// the data directory like every other certificate that the agent gets itself, so that a
/// restart does not wait for the socket.
pub(super) struct Workload {
    renewed: Renewed,
    spiffe: Spiffe,
}

impl Workload {
    pub(super) fn new(config: &Config, world: &World, spiffe: Spiffe) -> Self {
        Self {
            renewed: Renewed::new(config, world),
            spiffe,
        }
    }

    /// The chain and the key of the document for this agent, both PEM.
    async fn ask(&self) -> Result<(String, Zeroizing<String>), Error> {
        let endpoint = format!("unix:{}", self.spiffe.socket.display());
        let asked = async {
            let client = WorkloadApiClient::connect_to(endpoint).await?;
            client.fetch_all_x509_svids().await
        };
        let late = |_| Error::TryAgain {
            what: format!(
                "the Workload API did not answer within {} s",
                TIME_MAX.as_secs()
            ),
            reason: None,
        };
        let documents = timeout(TIME_MAX, asked).await.map_err(late)?;
        let documents = documents.map_err(Error::failed("asking the Workload API"))?;
        let mut known = documents.iter().take(DOCUMENTS_MAX);
        let wanted = known.find(|one| one.spiffe_id().to_string() == self.spiffe.agent.as_str());
        let document = wanted.ok_or_else(|| Error::Refused {
            what: "the certificate".to_owned(),
            source: format!(
                "the Workload API gives this process none for {}",
                self.spiffe.agent
            )
            .into(),
        })?;
        let chain = document.cert_chain().iter();
        let chain = chain
            .map(|one| pem("CERTIFICATE", one.as_bytes()).to_string())
            .collect();
        Ok((chain, pem("PRIVATE KEY", document.private_key().as_bytes())))
    }
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    Zeroizing::new(format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        *text
    ))
}

#[async_trait]
impl CertificateSource for Workload {
    fn word(&self) -> &'static str {
        "spiffe"
    }

    fn renews(&self) -> bool {
        false
    }

    async fn next(
        &self,
        shown: Option<&Credentials>,
        _: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error> {
        let (chain, key) = self.ask().await?;
        if shown.is_some_and(|shown| shown.is_shown_by(&chain)) {
            return Ok(None);
        }
        let settled = self.renewed.settle(&chain, &key, shown)?;
        Ok(Some(settled))
    }
}
