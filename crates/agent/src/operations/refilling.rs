//! What a batch names and the journal has no row of any more: it is sent from what the source
//! still lists.

use std::sync::Arc;

use sealift_ledger::{Destination, NewChange};
use sealift_sender::{Refilling, SenderError};
use sealift_store::{Source, StoreError, is_called};
use sealift_terms::{BucketName, ChangeKind, ObjectKey};

use super::{
    PAGE_ROWS, SiteOperations,
    covering::{Covering, not_now},
};
use crate::{
    Error,
    admin::{Answer, ReplicateFilter, ReplicateObject, ReplicateResult, ReplicateRow},
};

type OfKey = ((BucketName, ObjectKey), Vec<NewChange>);

/// What is asked of sources for one command.
pub(super) struct Refills<'a> {
    pub(super) covering: Covering<'a>,
    /// The key that was asked for last: its versions come one behind the other.
    last: Option<OfKey>,
}

impl<'a> Refills<'a> {
    pub(super) fn new(site: &'a SiteOperations) -> Self {
        Self {
            covering: Covering::new(site),
            last: None,
        }
    }

    /// The source of a bucket, if it keeps versions and has no order of its own for them.
    fn source(&mut self, bucket: &BucketName) -> Result<Option<Arc<dyn Source>>, Error> {
        let source = self.covering.source(bucket)?;
        Ok(source.filter(|source| source.keeps_versions() && source.ordered().is_none()))
    }

    fn refilling<'b>(&'b self, bucket: &'b BucketName, source: &'b dyn Source) -> Refilling<'b> {
        Refilling {
            bucket,
            source,
            journal: &*self.covering.site.site.journal,
            rules: &self.covering.rules,
        }
    }

    /// What `object` names, as far as its source has it and the journal has no row of it, and
    /// the changes that queue it.
    pub(super) async fn of_object(
        &mut self,
        object: &ReplicateObject,
        result: ReplicateResult,
    ) -> Result<(Vec<ReplicateRow>, Vec<NewChange>), Error> {
        let (bucket, key) = (&object.bucket, &object.key);
        let Some(source) = self.source(bucket)? else {
            return Ok((Vec::new(), Vec::new()));
        };
        let journal = &self.covering.site.site.journal;
        let version = match &object.version {
            Some(version) => Some(version.clone()),
            None => journal.known(bucket, key).await?.map(|known| known.version),
        };
        let of_key = (bucket.clone(), key.clone());
        let last = self.last.take().filter(|(last, _)| *last == of_key);
        let changes = match last {
            Some((_, changes)) => changes,
            None => {
                let refilling = self.refilling(bucket, &*source);
                refilling.of_key(key).await.map_err(not_now)?
            }
        };
        let (mut rows, mut queue) = (Vec::new(), Vec::new());
        for new in &changes {
            let is_asked = |asked| is_called(&new.change.name.version, asked);
            if !version.as_ref().is_some_and(is_asked) {
                continue;
            }
            let mut new = new.clone();
            let is_meant =
                |to: &Destination| object.peer.as_ref().is_none_or(|peer| to.peer == *peer);
            new.destinations.retain(is_meant);
            rows.extend(told(&new, result));
            if !new.destinations.is_empty() {
                queue.push(new);
            }
        }
        self.last = Some((of_key, changes));
        Ok((rows, queue))
    }

    /// Names what a filter selects of all that the source of its bucket lists.
    pub(super) async fn find(
        &mut self,
        filter: &ReplicateFilter,
        answer: &Answer,
    ) -> Result<(), Error> {
        let Some(bucket) = filter.bucket.as_ref().filter(|_| names_all(filter)) else {
            return Ok(());
        };
        let Some(source) = self.source(bucket)? else {
            return Ok(());
        };
        let refilling = self.refilling(bucket, &*source);
        let mut scan = source.scan(&filter.prefix).await.map_err(of_source)?;
        loop {
            let page = scan.page(PAGE_ROWS).await.map_err(of_source)?;
            for listed in page.objects {
                let found = refilling.of_listed(listed).await.map_err(not_now)?;
                tell(filter, &found, answer).await?;
            }
            for removed in page.removed {
                let found = refilling.of_removed(removed).await.map_err(not_now)?;
                tell(filter, &found, answer).await?;
            }
            if page.last {
                return Ok(());
            }
        }
    }
}

/// Whether a filter asks for older versions, and for nothing that only the journal says.
fn names_all(filter: &ReplicateFilter) -> bool {
    filter.versions
        && filter.statuses.is_empty()
        && (filter.since, filter.until) == (None, None)
        && filter.tags.is_empty()
}

async fn tell(filter: &ReplicateFilter, found: &[NewChange], answer: &Answer) -> Result<(), Error> {
    for new in found {
        let modified = new.change.facts.last_modified;
        let (since, until) = (filter.modified_since, filter.modified_until);
        let is_dated = since.is_none_or(|since| modified.is_some_and(|at| at >= since))
            && until.is_none_or(|until| modified.is_some_and(|at| at < until));
        if !is_dated {
            continue;
        }
        for row in told(new, ReplicateResult::Planned) {
            let is_rule = filter.rule.is_none() || filter.rule == row.rule;
            let is_peer = filter.peer.is_none() || filter.peer == row.object.peer;
            if is_rule && is_peer {
                answer.row(&row).await?;
            }
        }
    }
    Ok(())
}

fn told(new: &NewChange, result: ReplicateResult) -> impl Iterator<Item = ReplicateRow> {
    let change = &new.change;
    new.destinations.iter().map(move |to| ReplicateRow {
        object: ReplicateObject {
            bucket: change.name.bucket.clone(),
            key: change.name.key.clone(),
            version: Some(change.name.version.clone()),
            peer: Some(to.peer.clone()),
        },
        rule: Some(to.rule.clone()),
        result,
        delete_marker: change.kind == ChangeKind::DeleteMarker,
        tags_only: false,
        size: change.facts.size,
        reason: None,
        evidence: None,
    })
}

fn of_source(error: StoreError) -> Error {
    not_now(SenderError::from(error))
}
