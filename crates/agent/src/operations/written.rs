//! How a version stands that rests here: as a copy that came, or, where applications wrote it
//! at this site, as the journal says of its way to other regions.

use sealift_archive::is_written_here;
use sealift_ledger::{Transfer, TransferStanding, VersionKind, VersionRow};
use sealift_sender::{Kind, Rules, Tagged, decisive, together};
use sealift_terms::{
    BucketName, ChangeKind, ObjectKey, Reason, Region, Status, limits::TRANSFERS_OF_KEY_MAX,
};

use super::{answers, listing::LISTED_OF_KEY_MAX};
use crate::{
    Error,
    admin::ObjectRow,
    config::{Config, SourceFrom},
    running::rules_of,
    site::Site,
};

/// How an object stands that rests here, by one look at the transfers of its version; none
/// where it has no destination.
pub(crate) async fn status_of(site: &Site, row: &VersionRow) -> Result<Option<Status>, Error> {
    let (config, name) = (site.current(), &row.name);
    if !is_written_here(row, &config.site.region) {
        return Ok(Some(Status::Replica));
    }
    if !Written::is_source(&config, &name.bucket) {
        return Ok(None);
    }
    let (journal, version) = (&site.journal, name.version.as_str());
    let found = journal.standings(&name.bucket, &name.key, version, TRANSFERS_OF_KEY_MAX);
    if let Some(status) = together(&found.await?, &name.version) {
        return Ok(status);
    }
    let mut written = Written::of(site, &name.bucket).await?;
    let (status, _) = written.standing(row).await?;
    Ok(Some(status).filter(|status| *status != Status::Skipped))
}

/// What is asked of the versions of a bucket, key by key.
pub(super) struct Written<'a> {
    site: &'a Site,
    here: Region,
    /// Where the bucket is a source: its rules, and up to which commit the journal has it.
    sent: Option<(Rules, u64)>,
    /// Of the key that was asked about last.
    of_key: Option<(ObjectKey, Vec<Transfer>)>,
}

impl<'a> Written<'a> {
    pub(super) async fn of(site: &'a Site, bucket: &BucketName) -> Result<Self, Error> {
        let config = site.current();
        let sent = match Self::is_source(&config, bucket) {
            false => None,
            true => {
                let followed = site.journal.followed(bucket).await?;
                let to = followed.map_or(0, |followed| followed.sequence);
                Some((rules_of(&config), to))
            }
        };
        Ok(Self {
            site,
            here: config.site.region.clone(),
            sent,
            of_key: None,
        })
    }

    /// Whether what rests here of a bucket is a source.
    pub(super) fn is_source(config: &Config, bucket: &BucketName) -> bool {
        let mut sources = config.sources.iter();
        sources.any(|source| source.bucket == *bucket && source.from == SourceFrom::Archive)
    }

    /// A version, unless the journal has transfers of it, which tell more.
    pub(super) async fn beside_transfers(
        &mut self,
        row: &VersionRow,
        latest: bool,
    ) -> Result<Option<ObjectRow>, Error> {
        if is_written_here(row, &self.here) && !self.transfers_of(row).await?.is_empty() {
            return Ok(None);
        }
        let (status, reason) = self.standing(row).await?;
        Ok(Some(ObjectRow {
            status,
            reason,
            ..answers::replica(row, latest)
        }))
    }

    /// How a version stands, everywhere taken together.
    pub(super) async fn standing(
        &mut self,
        row: &VersionRow,
    ) -> Result<(Status, Option<Reason>), Error> {
        let damaged = row.quarantined.then_some(Reason::DstObjectDamaged);
        if !is_written_here(row, &self.here) {
            return Ok((Status::Replica, damaged));
        }
        let transfers = self.transfers_of(row).await?.into_iter();
        let transfers: Vec<_> = transfers.map(standing_of).collect();
        if let Some(Some(found)) = decisive(&transfers, &row.name.version) {
            return Ok((found.status, damaged.or(found.reason)));
        }
        let nowhere = (Status::Skipped, damaged.or(Some(Reason::SkippedFiltered)));
        let Some((rules, recorded)) = &self.sent else {
            return Ok(nowhere);
        };
        let kind = Kind::new(match row.kind {
            VersionKind::Object => ChangeKind::Put,
            VersionKind::DeleteMarker => ChangeKind::DeleteMarker,
        });
        let of_key = self.of_key.iter().flat_map(|(_, all)| all);
        let behind = of_key
            .filter(|transfer| transfer.goes())
            .map(|transfer| transfer.peer.clone())
            .collect();
        let tagged = match row.kind {
            VersionKind::Object => Tagged::With(&row.facts.tags),
            VersionKind::DeleteMarker => Tagged::Behind(&behind),
        };
        let to = rules.destinations(&row.name.bucket, &row.name.key, kind, tagged);
        Ok(match to.iter().any(|to| to.skip.is_none()) {
            false => nowhere,
            // What is done for long has no rows of its own any more.
            true if row.sequence <= *recorded => (Status::Completed, damaged),
            true => (Status::Pending, damaged),
        })
    }

    async fn transfers_of(&mut self, row: &VersionRow) -> Result<Vec<&Transfer>, Error> {
        let name = &row.name;
        if self.sent.is_none() {
            return Ok(Vec::new());
        }
        if self.of_key.as_ref().is_none_or(|(key, _)| *key != name.key) {
            let journal = &self.site.journal;
            let found = journal.transfers_of(&name.bucket, &name.key, LISTED_OF_KEY_MAX);
            self.of_key = Some((name.key.clone(), found.await?));
        }
        let all = self.of_key.iter().flat_map(|(_, all)| all);
        let of_version = all.filter(|transfer| transfer.change.name.version == name.version);
        Ok(of_version.collect())
    }
}

fn standing_of(transfer: &Transfer) -> TransferStanding {
    TransferStanding {
        peer: transfer.peer.clone(),
        version: transfer.change.name.version.clone(),
        kind: transfer.change.kind,
        status: transfer.status,
        reason: transfer.reason,
    }
}
