//! `audit`: the leaves of the log, and whether it is whole.

use super::{PAGE_ROWS, SiteOperations};
use crate::{
    Error,
    admin::{Answer, AuditReport, ReadAudit},
};

impl SiteOperations {
    pub(super) async fn read_audit(&self, read: ReadAudit, answer: &Answer) -> Result<(), Error> {
        // What was recorded before this command is in its answer.
        self.audit_durable().await?;
        let head = self.site.audit.head().await?;
        match read {
            ReadAudit::Tail { leaves } => {
                let first = head.size.saturating_sub(leaves);
                self.leaves(first, head.size, answer).await
            }
            ReadAudit::From { index } => self.leaves(index, head.size, answer).await,
            ReadAudit::Verify => self.verify_audit(answer).await,
        }
    }

    /// Waits until all that was put on record is durable.
    pub(super) async fn audit_durable(&self) -> Result<(), Error> {
        self.site.audit_durable().await
    }

    async fn leaves(&self, mut next: u64, end: u64, answer: &Answer) -> Result<(), Error> {
        while next < end {
            let page = self.site.audit.leaves(next, PAGE_ROWS).await?;
            let Some(last) = page.last() else { break };
            next = last.index + 1;
            for leaf in page {
                answer.json(leaf.json).await?;
            }
        }
        Ok(())
    }

    async fn verify_audit(&self, answer: &Answer) -> Result<(), Error> {
        let verdict = self.site.audit.verify().await?;
        let root = verdict.head.root.iter();
        let report = AuditReport {
            leaves: verdict.head.size,
            root: root.map(|byte| format!("{byte:02x}")).collect(),
            flaws: verdict.flaws.iter().map(ToString::to_string).collect(),
        };
        answer.row(&report).await?;
        match verdict.flaws.into_iter().next() {
            None => Ok(()),
            Some(flaw) => Err(Error::AuditLog(flaw)),
        }
    }
}
