//! `verify`: what is archived opens, and what was sent is what the source holds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sealift_archive::{Depth, Finding as Found, VerifySummary as Examined};
use sealift_ledger::VersionRow;
use sealift_store::StoreName;
use sealift_terms::{AuditKind, AuditRecord};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
};

use super::{PAGE_ROWS, SiteOperations, listing::Versions};
use crate::{
    Error,
    admin::{Actor, Answer, Count, Finding, Verify, VerifyRow, VerifySummary},
};

/// After this long an object that was being stored when the examination ended is
/// in the catalog.
const COMMIT_AWAITED: Duration = Duration::from_secs(1);

/// Findings between who examines and who tells of them.
const FINDINGS_QUEUED_MAX: usize = 1000;
/// Files about which more is to be found out: so many at once.
const DOUBTFUL_HELD_MAX: usize = 10_000;
/// Until there is room in the queue of findings.
const QUEUE_AWAITED: Duration = Duration::from_millis(1);

/// Files that an examination found doubtful, until more is known of them.
#[derive(Debug, Default)]
struct Doubtful {
    /// Without a row in the catalog.
    orphans: BTreeSet<String>,
    /// Missing or too short.
    broken: BTreeSet<String>,
    /// How many were broken until now.
    broken_files: u64,
}

impl Doubtful {
    fn held(&self) -> usize {
        self.orphans.len() + self.broken.len()
    }
}

/// A verification under way: rows out, sums kept.
pub(super) struct Verification<'a> {
    pub(super) answer: &'a Answer,
    pub(super) summary: VerifySummary,
}

impl Verification<'_> {
    pub(super) async fn found(&mut self, finding: Finding) -> Result<(), Error> {
        match finding.finding.as_str() {
            "orphan" => self.summary.orphans += 1,
            _ => self.summary.findings += 1,
        }
        self.answer.row(&VerifyRow::Finding(finding)).await
    }

    pub(super) async fn progress(&self) -> Result<(), Error> {
        let progress = VerifyRow::Progress(self.summary.verified);
        self.answer.row(&progress).await
    }
}

impl SiteOperations {
    pub(super) async fn verify(
        &self,
        verify: &Verify,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        if verify.deep {
            // It opens objects, whoever sees of it no more than whether they open.
            let bucket = verify.bucket.as_ref().map(ToString::to_string);
            let bucket = bucket.unwrap_or_else(|| "*".to_owned());
            let details = [
                ("deep", "true".to_owned()),
                ("bucket", bucket),
                ("prefix", verify.prefix.clone()),
            ];
            self.record(actor, "verify", &details)?;
        }
        let mut work = Verification {
            answer,
            summary: VerifySummary::default(),
        };
        match &verify.bucket {
            None if verify.prefix.is_empty() => self.verify_archive(verify.deep, &mut work).await?,
            _ => self.verify_some(verify, &mut work).await?,
        }
        self.compare(verify, &mut work).await?;
        answer.row(&VerifyRow::Summary(work.summary)).await
    }

    /// Catalog against store, key records, and with `deep` every sealed byte.
    async fn verify_archive(&self, deep: bool, work: &mut Verification<'_>) -> Result<(), Error> {
        let depth = match deep {
            true => Depth::Deep,
            false => Depth::Shallow,
        };
        let (sender, mut found) = mpsc::channel(FINDINGS_QUEUED_MAX);
        let (mut doubtful, mut damaged) = (Doubtful::default(), Count::default());
        let examination = self.examination(depth, sender, work.answer.clone());
        while let Some(finding) = found.recv().await {
            match finding {
                Found::Orphan { file, .. } => drop(doubtful.orphans.insert(file)),
                finding => {
                    if let Found::FileMissing { file, .. } | Found::FileShort { file, .. } =
                        &finding
                        && doubtful.broken.insert(file.clone())
                    {
                        doubtful.broken_files += 1;
                    }
                    let size = self.size_of(&finding).await?;
                    damaged.objects += u64::from(size.is_some());
                    damaged.bytes += size.unwrap_or(0);
                    self.damage(finding, work).await?;
                }
            }
            if doubtful.held() >= DOUBTFUL_HELD_MAX {
                self.look_into(&mut doubtful, deep, work).await?;
            }
        }
        let examined = examination.await.map_err(Error::failed("examining"))??;
        self.look_into(&mut doubtful, deep, work).await?;
        if !deep {
            work.summary.files += examined.files.saturating_sub(doubtful.broken_files);
        }
        // Those that did not open were examined, too, and are not verified.
        work.summary.verified.objects += examined.versions.saturating_sub(damaged.objects);
        work.summary.verified.bytes += examined.bytes.saturating_sub(damaged.bytes);
        Ok(())
    }

    /// Says of the files that were found doubtful what is to be said.
    async fn look_into(
        &self,
        doubtful: &mut Doubtful,
        deep: bool,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        let broken = std::mem::take(&mut doubtful.broken);
        if !deep && !broken.is_empty() {
            self.objects_in(&broken, work).await?;
        }
        self.orphans(std::mem::take(&mut doubtful.orphans), work)
            .await
    }

    /// Names the objects that files which are missing or short do not hold whole.
    /// When every sealed byte is opened they are found without it.
    async fn objects_in(
        &self,
        files: &BTreeSet<String>,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        for bucket in self.buckets(None).await? {
            let mut pages = Versions::new(bucket, String::new(), true);
            while let Some(rows) = pages.next(self).await? {
                let there = |row: &VersionRow| files.contains(&row.location.file);
                for row in rows.into_iter().filter(there) {
                    self.verify_version(row, false, work).await?;
                }
            }
        }
        Ok(())
    }

    /// Bytes of a version that was found damaged.
    async fn size_of(&self, found: &Found) -> Result<Option<u64>, Error> {
        let Found::ObjectDamaged { name, .. } = found else {
            return Ok(None);
        };
        let row = self.site.catalog.known(name).await?;
        Ok(row.map(|row| row.facts.size))
    }

    /// Examines on a thread of its own, as long as someone listens.
    fn examination(
        &self,
        depth: Depth,
        findings: mpsc::Sender<Found>,
        answer: Answer,
    ) -> JoinHandle<Result<Examined, Error>> {
        let (archive, runtime) = (Arc::clone(&self.site.archive), Handle::current());
        tokio::task::spawn_blocking(move || {
            let mut sink = move |finding| queue(&findings, finding);
            runtime.block_on(async {
                tokio::select! {
                    examined = archive.verify(depth, &mut sink) => Ok(examined?),
                    () = answer.cancelled() => Err(Error::Cancelled),
                }
            })
        })
    }

    /// What a running agent stored since the listing began is no damage.
    async fn damage(&self, found: Found, work: &mut Verification<'_>) -> Result<(), Error> {
        let missed = match &found {
            Found::FileMissing { file, .. } => self.stored(file).await.is_some(),
            Found::FileShort { file, expected, .. } => {
                self.stored(file).await.is_some_and(|len| len >= *expected)
            }
            _ => false,
        };
        if missed {
            return Ok(());
        }
        let now = self.site.world.clock.now();
        let record = AuditRecord::new(now, AuditKind::ObjectDamaged, "agent");
        self.site.record(record.with("finding", &found))?;
        work.found(in_words(found)).await
    }

    pub(super) async fn stored(&self, file: &str) -> Option<u64> {
        let name = StoreName::new(file).ok()?;
        self.site.store.open(&name).await.ok()?.len().ok()
    }

    /// Files without a row, but for those whose commit came meanwhile.
    async fn orphans(
        &self,
        mut orphans: BTreeSet<String>,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        if !orphans.is_empty() && self.live.is_some() {
            tokio::time::sleep(COMMIT_AWAITED).await;
            let mut after: Option<String> = None;
            while after.as_ref() < orphans.last() {
                let page = self.site.catalog.files(after.as_deref(), PAGE_ROWS).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.file.clone());
                for row in &page {
                    orphans.remove(&row.file);
                }
            }
        }
        let sequence = self.site.row().sequence;
        for file in orphans {
            work.found(Finding {
                object: None,
                finding: "orphan".to_owned(),
                evidence: not_in_catalog(&file, sequence),
            })
            .await?;
        }
        Ok(())
    }

    /// The versions of one bucket or prefix.
    async fn verify_some(&self, verify: &Verify, work: &mut Verification<'_>) -> Result<(), Error> {
        for bucket in self.buckets(verify.bucket.as_ref()).await? {
            let mut pages = Versions::new(bucket, verify.prefix.clone(), true);
            while let Some(rows) = pages.next(self).await? {
                for row in rows {
                    self.verify_version(row, verify.deep, work).await?;
                }
                work.progress().await?;
            }
        }
        Ok(())
    }

    async fn verify_version(
        &self,
        row: VersionRow,
        deep: bool,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        let verified = Count {
            objects: 1,
            bytes: row.facts.size,
        };
        let found = match deep {
            true => self.site.archive.verify_version(row).await?,
            false => {
                let end = row.location.offset.saturating_add(row.location.length);
                match self.stored(&row.location.file).await {
                    Some(len) if len >= end => None,
                    found => Some(Found::ObjectDamaged {
                        name: row.name,
                        cause: match found {
                            Some(len) => format!("it ends at {end}, the file at {len}"),
                            None => "its file is missing".to_owned(),
                        },
                        file: row.location.file,
                    }),
                }
            }
        };
        match found {
            Some(found) => self.damage(found, work).await,
            None => {
                match deep {
                    true => {
                        work.summary.verified.objects += verified.objects;
                        work.summary.verified.bytes += verified.bytes;
                    }
                    // Without its bytes being opened, only its place was looked at.
                    false => work.summary.files += 1,
                }
                Ok(())
            }
        }
    }
}

/// A finding in the words of the answer.
pub(crate) fn in_words(found: Found) -> Finding {
    let told = found.to_string();
    let (object, word, evidence) = match found {
        Found::FileMissing { .. } => (None, "missing", told),
        Found::ObjectDamaged { name, file, cause } => {
            (Some(name), "damaged", format!("in {file}: {cause}"))
        }
        Found::RecordDiffers { .. } => (None, "different", told),
        _ => (None, "damaged", told),
    };
    Finding {
        object,
        finding: word.to_owned(),
        evidence,
    }
}

/// Hands a finding over, from the thread that examines: it waits while there are too
/// many. Nobody takes it once nobody listens, and the end is near then.
fn queue(findings: &mpsc::Sender<Found>, mut finding: Found) {
    while let Err(TrySendError::Full(back)) = findings.try_send(finding) {
        finding = back;
        std::thread::sleep(QUEUE_AWAITED);
    }
}

/// What is to be said of a file that the catalog does not name, at the last commit `sequence`.
/// Nothing here knows whether it ever did.
fn not_in_catalog(file: &str, sequence: u64) -> String {
    let why = match sequence {
        0 => "which is new: it may be of an earlier one",
        _ => {
            "as it was never acknowledged, or the catalog was rebuilt without it, or its version \
             came once more after damage"
        }
    };
    format!("{file} is not in the catalog, {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_have_been_acknowledged_is_not_said_to_have_never_been() {
        let told = not_in_catalog("f", 7);
        for cause in ["never acknowledged", "was rebuilt", "after damage"] {
            assert!(told.contains(cause), "{told}");
        }
        assert!(not_in_catalog("f", 0).contains("new"));
    }
}
