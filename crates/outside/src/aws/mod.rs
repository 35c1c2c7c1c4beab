//! As whom AWS, and what speaks its protocols, is asked.

mod ask;
mod credentials;
mod signature;

pub use ask::AwsAsk;
pub use credentials::{
    AwsCredentials, ContainerCredentials, CredentialsError, CredentialsFrom, Keychain,
};
pub use signature::Words;
