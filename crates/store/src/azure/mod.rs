//! A container of Azure Blob Storage, as a source and as a store.

mod client;
mod facts;
mod probe;
mod scan;
mod settings;
mod source;
mod storing;
mod xml;

pub use probe::AZURE_SOURCE_ACTIONS;
pub use settings::AzureSettings;
pub use source::AzureSource;
pub use storing::AZURE_STORE_ACTIONS;
pub(crate) use storing::{AZURE_CALLS, AzurePlace};

#[cfg(test)]
mod tests;
