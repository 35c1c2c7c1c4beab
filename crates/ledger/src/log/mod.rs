//! Journal, catalog and audit log in log files, for simulations.
//!
//! ```text
//!  request ─▶ checked ─▶ record: length ‖ hash ‖ JSON ─▶ appended, synced ─▶ applied in memory
//!  opening ─▶ every whole record applied again; what is torn behind them is cut off
//! ```
//!
//! All that is kept is in memory as well, and nothing in the file is sealed: SQLite
//! is what sites use. Its C code goes around [`Disk`](sealift_terms::Disk), so that
//! no simulation could tear what it writes; this goes through it.

mod audit;
mod batches;
mod catalog;
mod catalog_apply;
mod catalog_care;
mod catalog_state;
mod file;
mod journal;
mod journal_state;
mod keeper;

pub use audit::LogAudit;
pub use catalog::LogCatalog;
pub use journal::LogJournal;
