//! The implementations in SQLite.
//!
//! One writer thread per database: it takes all requests that wait, runs them in
//! one transaction, and answers each after the commit. Readers have connections of
//! their own and never wait for the writer (write-ahead log).

mod audit;
mod audit_verify;
mod batches;
mod catalog;
mod catalog_commit;
mod catalog_list;
mod catalog_rows;
mod catalog_state;
mod columns;
mod database;
mod examine;
mod intents;
mod journal;
mod journal_align;
mod journal_rows;
mod journal_state;
mod journal_write;
mod key_use;
mod notes;
mod quarantine;
mod readers;
mod relocation;
mod requeue;
mod sealing;
mod tally;
mod terms;
mod uploads;
mod writer;

pub use audit::SqliteAudit;
pub use catalog::{NewSite, SqliteCatalog};
pub use examine::{Examined, examine_catalog, examine_journal};
pub use journal::SqliteJournal;
pub use key_use::key_use_in;
