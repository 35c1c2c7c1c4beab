//! `verify` on the sending side: the source as it is now against what the receipts
//! say is stored.

use std::collections::VecDeque;

use sealift_ledger::{KnownKey, Transfer};
use sealift_store::{Listed, Scan, Source, StoreError};
use sealift_terms::{
    BucketName, ChangeKind, Checksum, ChecksumAlgorithm, ObjectKey, Receipt, Status, VersionId,
    VersionName,
};
use sealift_wire::checksum::Crc64;

use super::{
    PAGE_ROWS, SiteOperations, failing,
    listing::{Known, is_latest},
    verifying::Verification,
};
use crate::{
    Error,
    admin::{Finding, Verify},
    config::BucketSource,
    sources::open_source,
};

/// Bytes read of a source at once.
const READ_BYTES: usize = 1 << 20;
/// Transfers of one key that are looked at: one for each peer and a few versions.
const TRANSFERS_MAX: usize = 1000;

impl SiteOperations {
    /// Every source that the request covers.
    pub(super) async fn compare(
        &self,
        verify: &Verify,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        let config = self.site.current();
        let covered = |source: &&BucketSource| {
            let bucket = verify.bucket.as_ref();
            bucket.is_none_or(|bucket| *bucket == source.bucket)
        };
        for source in config.sources.iter().filter(covered) {
            self.compare_source(source, verify, work).await?;
        }
        Ok(())
    }

    /// Walks the listing of the source and what is known of it side by side.
    async fn compare_source(
        &self,
        source: &BucketSource,
        verify: &Verify,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        let opened = open_source(&self.site, source)?;
        let mut there = Listing {
            scan: opened.scan(&verify.prefix).await.map_err(unreadable)?,
            page: VecDeque::new(),
            hidden: Vec::new(),
            last: false,
        };
        let mut known = KnownKeys {
            pages: Known::new(source.bucket.clone(), &verify.prefix),
            page: VecDeque::new(),
        };
        let comparison = Comparison {
            operations: self,
            bucket: &source.bucket,
            source: &*opened,
            deep: verify.deep,
        };
        loop {
            there.fill().await?;
            known.fill(self).await?;
            match (there.page.front(), known.page.front()) {
                (None, None) => return Ok(()),
                (Some(here), Some(remembered)) if here.key == remembered.key => {
                    let pair = (there.page.pop_front(), known.page.pop_front());
                    if let (Some(here), Some(remembered)) = pair {
                        comparison.both(here, remembered, work).await?;
                    }
                }
                (Some(here), remembered) if remembered.is_none_or(|k| here.key < k.key) => {
                    if let Some(here) = there.page.pop_front() {
                        comparison.only_there(here, work).await?;
                    }
                }
                _ => {
                    if let Some(remembered) = known.page.pop_front()
                        && !there.hides(&remembered.key)
                    {
                        comparison.only_known(remembered, work).await?;
                    }
                }
            }
        }
    }
}

fn unreadable(error: StoreError) -> Error {
    Error::TryAgain {
        what: failing::in_words(&error),
        reason: Some(error.reason()),
    }
}

/// The source's side.
struct Listing {
    scan: Box<dyn Scan>,
    page: VecDeque<Listed>,
    /// Beginnings of keys that could not be listed: nothing is known of them.
    hidden: Vec<String>,
    last: bool,
}

impl Listing {
    async fn fill(&mut self) -> Result<(), Error> {
        while self.page.is_empty() && !self.last {
            let page = self.scan.page(PAGE_ROWS).await.map_err(unreadable)?;
            self.last = page.last;
            self.page.extend(page.objects);
            let hidden = page.skipped.into_iter().filter_map(|skipped| skipped.hides);
            self.hidden.extend(hidden);
        }
        Ok(())
    }

    fn hides(&self, key: &ObjectKey) -> bool {
        let mut hidden = self.hidden.iter();
        hidden.any(|prefix| key.as_str().starts_with(prefix))
    }
}

/// The journal's side: keys that are not removed.
struct KnownKeys {
    pages: Known,
    page: VecDeque<KnownKey>,
}

impl KnownKeys {
    async fn fill(&mut self, operations: &SiteOperations) -> Result<(), Error> {
        while self.page.is_empty() {
            let Some(keys) = self.pages.next(operations).await? else {
                break;
            };
            self.page
                .extend(keys.into_iter().filter(|key| !key.deleted));
        }
        Ok(())
    }
}

struct Comparison<'a> {
    operations: &'a SiteOperations,
    bucket: &'a BucketName,
    source: &'a dyn Source,
    deep: bool,
}

impl Comparison<'_> {
    async fn both(
        &self,
        here: Listed,
        known: KnownKey,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        if here.version != known.version {
            let evidence = "the source holds another version than was last sent";
            return self.unsent(here.key, here.version, evidence, work).await;
        }
        let journal = &self.operations.site.journal;
        let transfers = journal
            .transfers_of(self.bucket, &known.key, TRANSFERS_MAX)
            .await?;
        let latest = transfers
            .iter()
            .filter(|transfer| is_latest(&known, transfer));
        let latest: Vec<&Transfer> = latest.collect();
        let waits =
            |transfer: &&Transfer| matches!(transfer.status, Status::Pending | Status::Failed);
        if latest.iter().any(waits) {
            work.summary.pending += 1;
        }
        let receipts: Vec<_> = latest
            .iter()
            // A receipt for tags says nothing of the bytes.
            .filter(|transfer| transfer.change.kind != ChangeKind::Tags)
            .filter(|transfer| transfer.status == Status::Completed)
            // A receipt for tags is of no bytes.
            .filter(|transfer| transfer.change.kind != ChangeKind::Tags)
            .filter_map(|transfer| transfer.receipt.as_ref().map(|receipt| (transfer, receipt)))
            .collect();
        if receipts.is_empty() {
            return Ok(());
        }
        let read = match self.read(&here).await {
            Ok(read) => read,
            Err(error) => return self.unread(here, error, work).await,
        };
        for (transfer, receipt) in &receipts {
            if let Some(evidence) = differs(&here, read.as_ref(), receipt) {
                let evidence = format!("at {}: {evidence}", transfer.peer);
                work.found(self.finding(&here.key, &here.version, "different", evidence))
                    .await?;
                return Ok(());
            }
        }
        work.summary.compared += 1;
        if self.deep {
            work.summary.verified.objects += 1;
            work.summary.verified.bytes += here.facts.size;
        }
        Ok(())
    }

    async fn only_there(&self, here: Listed, work: &mut Verification<'_>) -> Result<(), Error> {
        let evidence = "it is in the source and was never sent";
        self.unsent(here.key, here.version, evidence, work).await
    }

    async fn only_known(&self, known: KnownKey, work: &mut Verification<'_>) -> Result<(), Error> {
        let evidence = "it is gone from the source and its removal was never sent";
        self.unsent(known.key, known.version, evidence, work).await
    }

    /// A running agent takes it up by itself; without one it is a difference.
    async fn unsent(
        &self,
        key: ObjectKey,
        version: VersionId,
        evidence: &str,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        if self.operations.live.is_some() {
            work.summary.pending += 1;
            return Ok(());
        }
        let finding = self.finding(&key, &version, "different", evidence.to_owned());
        work.found(finding).await
    }

    async fn unread(
        &self,
        here: Listed,
        error: StoreError,
        work: &mut Verification<'_>,
    ) -> Result<(), Error> {
        match error {
            StoreError::SourceChanged { .. } | StoreError::SourceGone => {
                let evidence = "it changed while it was compared";
                self.unsent(here.key, here.version, evidence, work).await
            }
            error => {
                let evidence = failing::in_words(&error);
                let finding = self.finding(&here.key, &here.version, "unreadable", evidence);
                work.found(finding).await
            }
        }
    }

    /// The checksum of all its bytes; without `deep` none is read.
    async fn read(&self, here: &Listed) -> Result<Option<Checksum>, StoreError> {
        if !self.deep {
            return Ok(None);
        }
        let object = self.source.open(&here.key, &here.version).await?;
        let size = object.facts().size;
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(size).unwrap_or(READ_BYTES))];
        let (mut crc, mut at) = (Crc64::new(), 0);
        while at < size {
            let wanted = usize::try_from(size - at).unwrap_or(READ_BYTES);
            let cut = wanted.min(buffer.len());
            let Some(piece) = buffer.get_mut(..cut) else {
                break;
            };
            object.read_exact_at(piece, at).await?;
            crc.update(piece);
            at += cut as u64;
        }
        object.finish().await?;
        Ok(Some(Checksum::crc64nvme(crc.value())))
    }

    fn finding(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        finding: &str,
        evidence: String,
    ) -> Finding {
        Finding {
            object: Some(VersionName {
                bucket: self.bucket.clone(),
                key: key.clone(),
                version: version.clone(),
            }),
            finding: finding.to_owned(),
            evidence,
        }
    }
}

/// How a receipt is not of what the source holds.
fn differs(here: &Listed, read: Option<&Checksum>, receipt: &Receipt) -> Option<String> {
    if receipt.size != here.facts.size {
        let (stored, size) = (receipt.size, here.facts.size);
        return Some(format!("{stored} bytes are stored, the source has {size}"));
    }
    let (Some(stored), Some(read)) = (&receipt.checksum, read) else {
        return None;
    };
    let comparable = stored.algorithm() == ChecksumAlgorithm::Crc64Nvme;
    (comparable && stored != read).then(|| format!("{stored} is stored, the source gives {read}"))
}
