//! As whom AWS, and what speaks its protocols, is asked.

mod credentials;
mod signature;

pub use credentials::{
    AwsCredentials, ContainerCredentials, CredentialsError, CredentialsFrom, Keychain,
};
pub use signature::{Signed, date, signed};
