//! What can go wrong with an ACME server.

use crate::Error;

/// Why an ACME server gives no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// The operator's: there is no such profile.
    #[error("the ACME server has no profile {asked:?}: it has {offered}")]
    UnknownProfile { asked: String, offered: String },
    /// The server's: it took the order and left the profile out.
    #[error("the ACME server ignores the profile {asked:?}: its order has {given}")]
    SilentProfile { asked: String, given: String },
    /// The operator's: it does not ask in the way that is configured.
    #[error("the ACME server does not offer the challenge {asked} for {name}")]
    NoChallenge { asked: &'static str, name: String },
    /// The server's: it asks for more than was ordered.
    #[error("the ACME server wants {found} authorizations for one name")]
    TooMany { found: usize },
    /// The server did not believe that the name is ours.
    #[error("the ACME server does not believe that {name} is here: {detail}")]
    Disbelieved { name: String, detail: String },
    /// The operator's: the key of the external account.
    #[error("{0} holds no key in base64url")]
    ExternalKey(String),
    /// The library or the server.
    #[error("the ACME server did not do what it was asked")]
    Protocol(#[from] instant_acme::Error),
}

impl From<AcmeError> for Error {
    fn from(error: AcmeError) -> Self {
        Self::failed("asking the ACME server")(error)
    }
}
