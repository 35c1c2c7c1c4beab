//! Tags that changed behind a version: they follow without its bytes.

use std::collections::BTreeMap;

use sealift_ledger::{Destination, NewChange};
use sealift_terms::{
    Change, ChangeKind, ObjectFacts, ObjectKey, Status, VersionId, VersionName,
    limits::TRANSFERS_OF_KEY_MAX,
};

use super::{recorder::Recorder, version};
use crate::{SenderError, rules::Kind};

impl Recorder {
    /// Takes the tags that a version has now, for those to whom it was or will be sent. One
    /// that goes nowhere yet brings its tags along when it does.
    pub(super) async fn tagged(
        &mut self,
        key: &ObjectKey,
        named: Option<VersionId>,
    ) -> Result<(), SenderError> {
        let known = self.journal.known(&self.bucket, key).await?;
        let latest = known.and_then(|known| version::of_source(&known.version).ok());
        let Some(own) = named.or(latest) else {
            return Ok(());
        };
        let sent = self
            .journal
            .transfers_of(&self.bucket, key, TRANSFERS_OF_KEY_MAX)
            .await?;
        let rules = self.rules.borrow().clone();
        let wanted = rules.destinations(&self.bucket, key, Kind::new(ChangeKind::Tags));
        // A version that came again was sent under more than one id.
        let mut to: BTreeMap<VersionId, Vec<Destination>> = BTreeMap::new();
        for transfer in &sent {
            let name = &transfer.change.name;
            let is_it = transfer.change.kind == ChangeKind::Put
                && transfer.status != Status::Skipped
                && version::is_version_of(&name.version, &own);
            let destination = wanted.iter().find(|to| to.peer == transfer.peer);
            if let (true, Some(destination)) = (is_it, destination) {
                let of_version = to.entry(name.version.clone()).or_default();
                of_version.push(destination.clone());
            }
        }
        if to.is_empty() {
            return Ok(());
        }
        let Some(tags) = self.source.tags_of(key, &own).await? else {
            return Ok(());
        };
        for (version, destinations) in to {
            let change = Change {
                name: VersionName {
                    bucket: self.bucket.clone(),
                    key: key.clone(),
                    version,
                },
                order: self.orders.next(),
                kind: ChangeKind::Tags,
                facts: ObjectFacts {
                    tags: tags.clone(),
                    ..ObjectFacts::default()
                },
            };
            self.add(NewChange {
                change,
                destinations,
                held_until: None,
            })
            .await?;
        }
        Ok(())
    }
}
