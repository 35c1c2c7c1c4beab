//! Certificates asked for over HTTP in TLS: what is said, and who asks.
//!
//! ```text
//!   POST /v1/enrol  {"secret":"…","csr":"…"}   the server is known by a key of its CA
//!   POST /v1/renew  {"csr":"…"}                both are known by their certificates
//!   ◀── 200 {"certificate":"…","bundle":"…"} or 4xx {"refused":"…"}
//! ```

mod asking;
mod first;

use serde::{Deserialize, Serialize};

pub(crate) use asking::renew;
pub use first::{FirstCertificate, enrol};

/// A request or an answer is no longer than this: a chain, a bundle, or a signing request.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Enrol,
    Renew,
}

impl Call {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Enrol => "/v1/enrol",
            Self::Renew => "/v1/renew",
        }
    }
}

/// The body of a request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Of the token; none for a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    /// The signing request, PEM.
    pub(crate) csr: String,
}

/// The body of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    /// The chain, PEM.
    pub(crate) certificate: String,
    /// The authority's trust bundle, JSON.
    pub(crate) bundle: String,
}

/// The body of an answer when there is no certificate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) refused: String,
}
