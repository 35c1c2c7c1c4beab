//! A bucket of Google Cloud Storage as a source, by its XML API.
//!
//! ```text
//!   scan ─▶ ?versioning, ?versions   that generations are kept; what is there, and what lies below it
//!   look ─▶ ?versions of one         one name
//!   read ─▶ GET ?generation          a small object in one request,
//!           GET ?generation, Range   a large one in windows of 8 MiB that parts go on in
//! ```
//!
//! A generation is a version: its number stands for bytes that do not change, and while the
//! bucket keeps generations one that was overwritten can still be read. There are no delete
//! markers: a name that was deleted has generations and no live one, and the last of them
//! says since when. There are no tags either.

mod checking;
mod client;
mod facts;
mod probe;
mod source;
mod xml;

pub use probe::GCS_SOURCE_ACTIONS;
pub use source::GcsSource;

#[cfg(test)]
mod tests;
