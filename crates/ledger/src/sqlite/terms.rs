//! What receipts say beyond their versions. It is the same for all of a session
//! and a key version, and so is stored once.

use std::sync::Arc;

use rusqlite::Connection;
use sealift_terms::{Epoch, KeyId, Receipt, Region, SecondKey, SessionFacts, SiteId};
use serde::{Deserialize, Serialize};

use super::columns::{Columns, change, first};
use crate::{LedgerError, ReceiptTerms, Result, SiteRow};

/// The terms of a receipt, with the site that gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredTerms {
    pub(super) cmk: KeyId,
    pub(super) cmk_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second: Option<SecondKey>,
    pub(super) region: Region,
    pub(super) site: SiteId,
    pub(super) epoch: Epoch,
    pub(super) session: Arc<SessionFacts>,
}

impl StoredTerms {
    pub(super) fn new(terms: &ReceiptTerms, site: SiteRow) -> Self {
        Self {
            cmk: terms.cmk.clone(),
            cmk_version: terms.cmk_version.clone(),
            second: terms.second.clone(),
            region: terms.region.clone(),
            site: site.site,
            epoch: site.epoch,
            session: terms.session.clone(),
        }
    }

    pub(super) fn of(receipt: &Receipt) -> Self {
        Self {
            cmk: receipt.cmk.clone(),
            cmk_version: receipt.cmk_version.clone(),
            second: receipt.second.clone(),
            region: receipt.region.clone(),
            site: receipt.site,
            epoch: receipt.epoch,
            session: receipt.session.clone(),
        }
    }

    /// Whether a receipt is on these terms.
    fn cover(&self, receipt: &Receipt) -> bool {
        self.session == receipt.session
            && self.cmk == receipt.cmk
            && self.cmk_version == receipt.cmk_version
            && self.second == receipt.second
            && (&self.region, self.site, self.epoch)
                == (&receipt.region, receipt.site, receipt.epoch)
    }

    pub(super) fn split(self) -> (ReceiptTerms, SiteRow) {
        let site = SiteRow {
            site: self.site,
            epoch: self.epoch,
            sequence: 0,
        };
        let terms = ReceiptTerms {
            cmk: self.cmk,
            cmk_version: self.cmk_version,
            second: self.second,
            region: self.region,
            session: self.session,
        };
        (terms, site)
    }

    pub(super) fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(bad)
    }

    /// The number of these terms; writes them when they are new.
    pub(super) fn number(&self, db: &Connection) -> Result<i64> {
        let json = serde_json::to_string(self).map_err(bad)?;
        let sql = "INSERT INTO terms (json) VALUES (?1) ON CONFLICT DO NOTHING";
        change(db, sql, [&json])?;
        let id = first(db, "SELECT id FROM terms WHERE json = ?1", [&json], |row| {
            Columns::new("terms", row).value()
        })?;
        id.ok_or_else(|| bad("a row is there and cannot be found"))
    }
}

fn bad(finding: impl ToString) -> LedgerError {
    LedgerError::BadRow {
        table: "terms",
        finding: finding.to_string(),
    }
}

/// The terms last used in a request: mostly those of its next receipt, too.
#[derive(Debug, Default)]
pub(super) struct LastTerms(Option<(StoredTerms, i64)>);

impl LastTerms {
    /// The number of a receipt's terms.
    pub(super) fn number(&mut self, db: &Connection, receipt: &Receipt) -> Result<i64> {
        match &self.0 {
            Some((last, id)) if last.cover(receipt) => Ok(*id),
            _ => {
                let terms = StoredTerms::of(receipt);
                let id = terms.number(db)?;
                self.0 = Some((terms, id));
                Ok(id)
            }
        }
    }
}
