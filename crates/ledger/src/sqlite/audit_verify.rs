//! Examining the whole audit log.

use rusqlite::{Connection, Row};

use super::{
    catalog_state::read_site,
    columns::{Columns, all, int, limit},
};
use crate::{AuditVerdict, Flaw, Leaf, Result, audit::LeafBody, merkle};

/// Leaves read at once.
const PAGE: usize = 4096;
/// Flaws listed; a log with more is no better known for it.
const FLAWS_MAX: usize = 100;

pub(super) fn leaf(row: &Row<'_>) -> Result<Leaf> {
    let mut columns = Columns::new("audit", row);
    Ok(Leaf {
        index: columns.uint()?,
        json: columns.value()?,
        hash: columns.bytes()?,
    })
}

pub(super) fn leaves(db: &Connection, from: u64, rows: usize) -> Result<Vec<Leaf>> {
    let sql = "SELECT leaf, json, hash FROM audit WHERE leaf >= ?1 ORDER BY leaf LIMIT ?2";
    all(db, sql, [int("leaf", from)?, limit(rows)], leaf)
}

/// Reads in one transaction: the log and its head at one moment.
pub(super) fn verify(db: &Connection) -> Result<AuditVerdict> {
    let transaction = db
        .unchecked_transaction()
        .map_err(crate::LedgerError::at("begin to read"))?;
    let (_, stored) = read_site(&transaction)?;
    let mut examined = Examined::default();
    loop {
        let page = leaves(&transaction, examined.next, PAGE)?;
        if page.is_empty() {
            break;
        }
        page.iter().for_each(|leaf| examined.take(leaf));
    }
    let head = examined.frontier.head();
    if head != stored.head() {
        examined.found(Flaw::HeadDiffers {
            stored: stored.size(),
        });
    }
    Ok(AuditVerdict {
        head,
        flaws: examined.flaws,
    })
}

#[derive(Default)]
struct Examined {
    next: u64,
    frontier: merkle::Frontier,
    flaws: Vec<Flaw>,
}

impl Examined {
    fn take(&mut self, leaf: &Leaf) {
        if leaf.index != self.next {
            self.found(Flaw::LeafMissing { index: self.next });
        }
        self.next = leaf.index + 1;
        let index = leaf.index;
        let hash = merkle::leaf_hash(leaf.json.as_bytes());
        if hash != leaf.hash {
            self.found(Flaw::LeafAltered { index });
        } else if serde_json::from_str::<LeafBody>(&leaf.json)
            .map_or(true, |body| body.index != index)
        {
            self.found(Flaw::LeafMisplaced { index });
        }
        self.frontier.push(hash);
    }

    fn found(&mut self, flaw: Flaw) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(flaw);
        }
    }
}
