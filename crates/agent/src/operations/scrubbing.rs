//! `scrub`: how what rests here is looked after, and what is in quarantine.

use sealift_ledger::{ListQuarantined, Quarantined};
use sealift_terms::Reason;

use super::{PAGE_ROWS, SiteOperations};
use crate::{
    Error,
    admin::{Actor, Answer, QuarantinedRow, Scrub},
};

impl SiteOperations {
    pub(super) async fn scrub(
        &self,
        scrub: Scrub,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        if scrub.now {
            let live = self.live("the scrub is a running agent's")?;
            self.record(actor, "scrub", &[])?;
            live.scrub_now();
        }
        answer.row(&self.scrub_report().await?).await?;
        let mut list = ListQuarantined {
            limit: PAGE_ROWS,
            ..ListQuarantined::default()
        };
        loop {
            let page = self.site.catalog.quarantined(&list).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            list.after = last.id;
            for row in page {
                answer.row(&in_words(row)).await?;
            }
        }
    }
}

fn in_words(row: Quarantined) -> QuarantinedRow {
    let is_damaged = row.repaired_at.is_none();
    QuarantinedRow {
        object: row.name,
        reason: is_damaged.then_some(Reason::DstObjectDamaged),
        evidence: row.cause,
        object_uid: row.object_uid,
        file: row.location.file,
        offset: row.location.offset,
        length: row.location.length,
        found_at: row.found_at,
        repaired_at: row.repaired_at,
    }
}
