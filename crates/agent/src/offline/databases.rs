//! The checks of catalog and journal: there where they were, and readable. Whoever
//! has them open goes on.

use sealift_ledger::{Examined, LedgerError, examine_catalog, examine_journal};

use super::chain;
use crate::{
    CheckLine, Error,
    config::Config,
    error::{JOURNAL_HINT, database_hint},
    site::{CATALOG_FILE, JOURNAL_FILE, lost},
};

pub(super) fn check(config: &Config) -> [CheckLine; 2] {
    [catalog(config), journal(config)]
}

fn catalog(config: &Config) -> CheckLine {
    let dir = &config.site.data_dir;
    if let Err(error) = lost::refuse_new_catalog(dir, None) {
        let remedy = error.hint().unwrap_or_default();
        return CheckLine::fail("catalog", chain(&error), remedy);
    }
    match examine_catalog(&dir.join(CATALOG_FILE)) {
        Ok(Examined::Nothing) => CheckLine::pass("catalog", "none yet: nothing is stored here"),
        Ok(Examined::Whole { leaves }) => {
            let found = format!("it can be read, with {leaves} audit records");
            CheckLine::pass("catalog", found)
        }
        Err(error) => unreadable("catalog", error),
    }
}

fn journal(config: &Config) -> CheckLine {
    let dir = &config.site.data_dir;
    if lost::journal(dir) {
        let found = "journal.db is lost: everything in the sources will be offered again";
        return CheckLine::warn("journal", found, JOURNAL_HINT);
    }
    match examine_journal(&dir.join(JOURNAL_FILE)) {
        Ok(Examined::Nothing) => CheckLine::pass("journal", "none yet: nothing was sent from here"),
        Ok(Examined::Whole { .. }) => CheckLine::pass("journal", "it can be read"),
        Err(error) => unreadable("journal", error),
    }
}

fn unreadable(which: &'static str, source: LedgerError) -> CheckLine {
    let remedy = database_hint(which, &source);
    CheckLine::fail(which, chain(&Error::Database { which, source }), remedy)
}
