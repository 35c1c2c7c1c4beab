//! The SPIFFE Workload API: a socket on this machine that knows who asks.
//!
//! ```text
//!   agent.sock ══ stream of answers ══▶ keeper ──▶ asks ──▶ workload/DOMAIN.json   who vouches for whom
//!                 (something changed)                       identity.pem           this agent's certificate
//! ```
//!
//! What it gives is kept in the data directory like every other certificate that the agent
//! gets itself, so that a restart does not wait for the socket.

use std::{path::Path, pin::Pin, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_core::Stream;
use sealift_identity::{Credentials, TrustBundle};
use sealift_terms::{
    Identity,
    limits::{CERTIFICATE_CHAIN_MAX, TRUST_BUNDLE_BYTES_MAX, WORKLOAD_DOCUMENTS_MAX},
    world::{read_file, replace_file},
};
use spiffe::{
    TrustDomain, WorkloadApiClient, WorkloadApiError, X509BundleSet, X509Context, X509Svid,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{CertificateSource, Renewed, TakesBundles, Watch};
use crate::{
    Error, World,
    config::{Config, Spiffe, is_workload_bundle, workload_bundle},
};

/// One question and its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// `[identity.spiffe]`.
pub(super) struct Workload {
    renewed: Renewed,
    spiffe: Spiffe,
}

/// What became of the bundles of an answer.
#[derive(Default)]
struct Kept {
    /// Whether a file holds something else than before.
    changed: bool,
    /// The last one that could not be kept: its old file stays.
    refused: Option<Error>,
}

impl Workload {
    pub(super) fn new(config: &Config, world: &World, spiffe: Spiffe) -> Self {
        Self {
            renewed: Renewed::new(config, world),
            spiffe,
        }
    }

    async fn connect(&self) -> Result<WorkloadApiClient, Error> {
        let endpoint = format!("unix:{}", self.spiffe.socket.display());
        let connecting = WorkloadApiClient::connect_to(endpoint);
        in_time(connecting, "connecting to the Workload API").await
    }

    async fn ask(&self) -> Result<X509Context, Error> {
        let client = self.connect().await?;
        in_time(client.fetch_x509_context(), "asking the Workload API").await
    }

    /// The document for this agent, and for nobody else, whatever comes first.
    fn document<'a>(&self, given: &'a X509Context) -> Result<&'a X509Svid, Error> {
        let mut known = given.svids().iter().take(WORKLOAD_DOCUMENTS_MAX);
        let agent = self.spiffe.agent.as_str();
        let document = known.find(|one| one.spiffe_id().to_string() == agent);
        let document = document.ok_or_else(|| {
            let count = given.svids().len();
            refused(format!(
                "the Workload API gives this process {count} documents, and none for {agent}"
            ))
        })?;
        match document.cert_chain().len() > CERTIFICATE_CHAIN_MAX {
            true => Err(refused(format!(
                "its chain has more than {CERTIFICATE_CHAIN_MAX} certificates"
            ))),
            false => Ok(document),
        }
    }

    /// Puts what vouches for this agent and its peers where it is read from.
    fn keep_bundles(&self, given: &X509BundleSet) -> Kept {
        let (config, mut kept) = (self.renewed.config(), Kept::default());
        let peers = config.peers.iter();
        let peers = peers.map(|peer| (&peer.identity, &peer.trust_bundle));
        let own = (&self.spiffe.agent, &config.identity.trust_bundle);
        let mut seen = Vec::new();
        for (of, path) in peers.chain([own]) {
            if seen.contains(&path) || !is_workload_bundle(&config.site.data_dir, path) {
                continue;
            }
            seen.push(path);
            match self.keep_bundle(given, of) {
                Ok(changed) => kept.changed |= changed,
                Err(error) => kept.refused = Some(error),
            }
        }
        kept
    }

    /// Whether the file of a domain holds something else now.
    fn keep_bundle(&self, given: &X509BundleSet, of: &Identity) -> Result<bool, Error> {
        let domain = TrustDomain::new(of.domain());
        let domain = domain.map_err(Error::failed("reading a trust domain"))?;
        let roots = given.get_ref(&domain);
        let roots = roots.map(|bundle| bundle.authorities());
        let path = workload_bundle(&self.renewed.config().site.data_dir, of);
        let Some(roots) = roots.filter(|roots| !roots.is_empty()) else {
            return self.forget_bundle(&path);
        };
        let roots = roots.iter().map(|root| root.as_bytes().to_vec().into());
        let bundle = TrustBundle::new(Some(of.domain().to_owned()), 0, roots.collect())?;
        let (text, disk) = (bundle.to_json(), &*self.renewed.world().disk);
        if text.len() > TRUST_BUNDLE_BYTES_MAX {
            let found = format!("the bundle of {} has {} bytes", of.domain(), text.len());
            return Err(refused(found));
        }
        if read_file(disk, &path, TRUST_BUNDLE_BYTES_MAX).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(false);
        }
        if let Some(dir) = path.parent() {
            disk.create_dir_all(dir).map_err(Error::io("make", dir))?;
        }
        replace_file(disk, &path, text.as_bytes()).map_err(Error::io("write", path))?;
        Ok(true)
    }

    /// Nothing vouches for a domain any more: what once did must not.
    fn forget_bundle(&self, path: &Path) -> Result<bool, Error> {
        match self.renewed.world().disk.remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", path)(error)),
        }
    }

    fn settle(
        &self,
        document: &X509Svid,
        shown: Option<&Credentials>,
    ) -> Result<Option<Credentials>, Error> {
        let given = document.cert_chain().iter().map(|one| one.as_bytes());
        if shown.is_some_and(|shown| given.clone().eq(shown.chain().iter().map(|one| &**one))) {
            return Ok(None);
        }
        let chain = given.map(|one| pem("CERTIFICATE", one).to_string());
        let key = pem("PRIVATE KEY", document.private_key().as_bytes());
        let chain: String = chain.collect();
        self.renewed.settle(&chain, &key, shown).map(Some)
    }
}

fn refused(why: String) -> Error {
    Error::Refused {
        what: "what the Workload API gives".to_owned(),
        source: why.into(),
    }
}

async fn in_time<T>(
    asked: impl Future<Output = Result<T, WorkloadApiError>>,
    doing: &'static str,
) -> Result<T, Error> {
    match timeout(ANSWER_TIME_MAX, asked).await {
        Ok(answer) => answer.map_err(Error::failed(doing)),
        Err(_late) => Err(Error::TryAgain {
            what: format!(
                "the Workload API did not answer within {} s",
                ANSWER_TIME_MAX.as_secs()
            ),
            reason: None,
        }),
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

    /// Its agent renews; here it is asked what there is.
    fn renews(&self) -> bool {
        false
    }

    async fn next(
        &self,
        shown: Option<&Credentials>,
        bundles: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error> {
        let given = self.ask().await?;
        let document = self.document(&given)?;
        // First: a certificate may come from a root that came with it.
        let kept = self.keep_bundles(given.bundle_set());
        let settled = self.settle(document, shown);
        if kept.changed {
            bundles.files_changed().await;
        }
        match kept.refused {
            Some(error) => settled.and(Err(error)),
            None => settled,
        }
    }

    async fn watch(&self) -> Result<Option<Box<dyn Watch>>, Error> {
        let client = self.connect().await?;
        let answers = in_time(client.stream_x509_contexts(), "watching the Workload API").await?;
        Ok(Some(Box::new(Answers(Box::pin(answers)))))
    }
}

/// The answers on one stream. They are not used: what they say is asked for again, so that
/// there is one way in for what is to be checked.
struct Answers<S>(Pin<Box<S>>);

#[async_trait]
impl<S> Watch for Answers<S>
where
    S: Stream<Item = Result<X509Context, WorkloadApiError>> + Send,
{
    async fn changed(&mut self) -> Result<(), Error> {
        let answer = std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await;
        match answer {
            None => Err(Error::TryAgain {
                what: "the Workload API closed its stream".to_owned(),
                reason: None,
            }),
            Some(Err(
                error @ (WorkloadApiError::Transport(_)
                | WorkloadApiError::PermissionDenied(_)
                | WorkloadApiError::NoIdentityIssued),
            )) => Err(Error::failed("watching the Workload API")(error)),
            // What is wrong with it is told by whoever asks.
            Some(_) => Ok(()),
        }
    }
}
