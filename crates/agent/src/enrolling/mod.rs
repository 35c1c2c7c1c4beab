//! Certificates asked for over HTTP in TLS: what is said, and who asks.
//!
//! ```text
//!   POST /v1/enrol  {"secret":"…","csr":"…"}   the server is known by a key of its CA
//!   POST /v1/renew  {"csr":"…"}                both are known by their certificates; that
//!                                              of who asks may be over for its grace
//!   POST /v1/bundle {"in_force":N}             likewise; the issuer remembers the number
//!   ◀── 200 {"certificate":"…","bundle":"…"} or 4xx {"refused":"…"}
//! ```

mod asking;
mod exchange;
mod first;

use serde::{Deserialize, Serialize};

pub(crate) use asking::{bundle, renew};
pub(crate) use exchange::{Bounds, exchange};
pub(crate) use first::given_for;
pub use first::{FirstCertificate, enrol, hold_roles};

/// A request or an answer is no longer than this: a chain, a bundle, or a signing request.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Enrol,
    Renew,
    Bundle,
}

impl Call {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Enrol => "/v1/enrol",
            Self::Renew => "/v1/renew",
            Self::Bundle => "/v1/bundle",
        }
    }

    /// Its word in logs, records and metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Renew => "renew",
            Self::Bundle => "bundle",
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

/// The body of a question for the trust bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedBundle {
    /// The number of the one in force.
    pub(crate) in_force: u64,
}

/// The body of its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenBundle {
    /// The authority's trust bundle, JSON, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<String>,
}

/// The body of an answer when there is no certificate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) refused: String,
}
