//! `residency`: which bytes rest in which region, and which keys open them, as far as the catalog
//! and the receipts in the journal say.

use std::collections::{BTreeMap, HashMap};

use sealift_ledger::{ListTransfers, ListVersions, RecordRow, VersionRow};
use sealift_terms::{BucketName, ChangeKind, KeyId, PeerName, RecordId, Region, Status, Timestamp};

use super::{PAGE_ROWS, SiteOperations};
use crate::{
    Error,
    admin::{Answer, Residency, ResidencyRow},
};

/// Key records that are remembered; of more the oldest are asked for again.
const RECORDS_HELD_MAX: usize = 10_000;

/// What rests together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    bucket: BucketName,
    region: Region,
    peer: Option<PeerName>,
    source_region: Option<Region>,
    key: (KeyId, String),
    second: Option<(KeyId, String)>,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    versions: u64,
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
}

type Sums = BTreeMap<Place, Sum>;

impl SiteOperations {
    pub(super) async fn residency(
        &self,
        residency: &Residency,
        answer: &Answer,
    ) -> Result<(), Error> {
        if let Some(bucket) = &residency.bucket {
            self.hold_bucket(bucket).await?;
        }
        let mut sums = Sums::new();
        let held = self.site.archive.counts().await?.into_iter();
        for bucket in held.map(|count| count.bucket) {
            if residency.bucket.as_ref().is_none_or(|only| *only == bucket) {
                self.rest_here(bucket, &mut sums).await?;
            }
        }
        self.rest_elsewhere(residency, &mut sums).await?;
        for (place, sum) in sums {
            answer.row(&row(place, sum)).await?;
        }
        Ok(())
    }

    async fn rest_here(&self, bucket: BucketName, sums: &mut Sums) -> Result<(), Error> {
        let mut records: HashMap<RecordId, (KeyId, String)> = HashMap::new();
        let mut list = ListVersions {
            bucket,
            prefix: String::new(),
            all: true,
            after: None,
            limit: PAGE_ROWS,
        };
        loop {
            let page = self.site.archive.list(&list).await?;
            for version in page.rows {
                let key = self.wrapping(version.record, &mut records).await?;
                let second = match version.second_record {
                    Some(record) => self.wrapping(record, &mut records).await?,
                    None => None,
                };
                // A version without its record is damage, which `verify` tells.
                if let Some(key) = key {
                    add(sums, self.place_of(&version, key, second), &version);
                }
            }
            let Some(next) = page.next else {
                return Ok(());
            };
            list.after = Some(next);
        }
    }

    fn place_of(
        &self,
        version: &VersionRow,
        key: (KeyId, String),
        second: Option<(KeyId, String)>,
    ) -> Place {
        let receipt = version.receipt.as_ref();
        let sender = receipt.map(|receipt| receipt.session.sender.region().clone());
        Place {
            bucket: version.name.bucket.clone(),
            region: self.site.config.site.region.clone(),
            peer: None,
            source_region: version.facts.source_region.clone().or(sender),
            key,
            second,
        }
    }

    /// The key that wraps a record now.
    async fn wrapping(
        &self,
        record: RecordId,
        known: &mut HashMap<RecordId, (KeyId, String)>,
    ) -> Result<Option<(KeyId, String)>, Error> {
        if let Some(key) = known.get(&record) {
            return Ok(Some(key.clone()));
        }
        let row: Option<RecordRow> = self.site.catalog.record(record).await?;
        let key = row.map(|row| (row.cmk, row.cmk_version));
        if let Some(key) = &key {
            if known.len() >= RECORDS_HELD_MAX {
                known.clear();
            }
            known.insert(record, key.clone());
        }
        Ok(key)
    }

    /// What peers have said that they stored.
    async fn rest_elsewhere(&self, residency: &Residency, sums: &mut Sums) -> Result<(), Error> {
        let mut list = ListTransfers {
            status: Some(Status::Completed),
            bucket: residency.bucket.clone(),
            limit: PAGE_ROWS,
            ..ListTransfers::default()
        };
        loop {
            let page = self.site.journal.transfers(&list).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            list.after = Some(last.id);
            for transfer in page {
                let Some(receipt) = transfer.receipt else {
                    continue;
                };
                if transfer.change.kind == ChangeKind::Tags {
                    continue;
                }
                let second = receipt.second.map(|key| (key.cmk, key.cmk_version));
                let place = Place {
                    bucket: receipt.name.bucket,
                    region: receipt.region,
                    peer: Some(transfer.peer),
                    source_region: Some(transfer.change.order.region),
                    key: (receipt.cmk, receipt.cmk_version),
                    second,
                };
                note(sums, place, receipt.size, receipt.stored_at);
            }
        }
    }
}

fn add(sums: &mut Sums, place: Place, version: &VersionRow) {
    note(sums, place, version.facts.size, version.stored_at);
}

fn note(sums: &mut Sums, place: Place, bytes: u64, at: Timestamp) {
    let sum = sums.entry(place).or_insert(Sum {
        versions: 0,
        bytes: 0,
        first: at,
        last: at,
    });
    sum.versions += 1;
    sum.bytes = sum.bytes.saturating_add(bytes);
    sum.first = sum.first.min(at);
    sum.last = sum.last.max(at);
}

fn row(place: Place, sum: Sum) -> ResidencyRow {
    let (cmk, cmk_version) = place.key;
    let (second_cmk, second_cmk_version) = place.second.unzip();
    ResidencyRow {
        bucket: place.bucket,
        region: place.region,
        peer: place.peer,
        source_region: place.source_region,
        cmk,
        cmk_version,
        second_cmk,
        second_cmk_version,
        versions: sum.versions,
        bytes: sum.bytes,
        first_stored: sum.first,
        last_stored: sum.last,
    }
}
