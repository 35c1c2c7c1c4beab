//! How services outside are asked: key services, object stores, queues. Over TLS 1.3
//! under given roots, in the clear on loopback alone, bounded in time and bytes; and,
//! where it is AWS or Azure Storage that is asked, as whom and with which signature.
//!
//! ```text
//!   CredentialsFrom ─▶ Keychain ─▶ AwsCredentials ─▶ AwsAsk ─┐
//!   (a file, the machine, the container)                     ▼
//!   URL ─▶ Endpoint ─▶ HttpClient ── ask, begin ──▶ Request ══ TLS 1.3 ══▶ the service
//!                                 ◀── Response, Answer (piece by piece) ──
//! ```
//!
//! What is asked, and what an answer means, belongs to who asks: `keys` for key services,
//! `store` for buckets. Whom to trust comes from `identity`.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod aws;
mod azure;
mod endpoint;
mod https;
mod line;
mod payload;

pub use aws::{
    AwsAsk, AwsCredentials, ContainerCredentials, CredentialsError, CredentialsFrom, Keychain,
    Words,
};
pub use azure::{AzureAsk, AzureFrom};
pub use endpoint::Endpoint;
pub use https::{Answer, Bounds, HttpClient, HttpError, behind, told};
pub use payload::{Passing, Payload, Pieces, Sum};
