//! `batch replicate --tags-only`: tags that are others at a destination than at the source are
//! sent again, without any bytes.
//!
//! ```text
//!  versions ─▶ an order ─▶ source: tags now ─▶ peer: same? ─┬─ other ───▶ a change of tags
//!              (first)     a request each      100 at once  ├─ lacking ─▶ the version, whole
//!                                                           └─ same, purged
//! ```
//!
//! The order is given before the tags are read: a change that the source makes meanwhile is
//! told of with a later one.

use std::{collections::BTreeMap, time::Duration};

use sealift_ledger::{Enlist, NewChange, Transfer};
use sealift_receiver::{Answer as PeerAnswer, Question, TagsOf, TagsStand};
use sealift_sender::{Kind, Tagged};
use sealift_terms::{
    BatchId, BucketName, Change, ChangeKind, ObjectFacts, Order, PeerName, Reason, Status,
    limits::{TAGS_ASKED_AT_ONCE_MAX, TRANSFERS_OF_KEY_MAX},
};

use super::{
    SiteOperations,
    replicating::{batched_row, failed, row},
    tags::tags_of,
};
use crate::{
    Error,
    admin::{Actor, Answer, ReplicateObject, ReplicateResult, ReplicateRow},
    running::rules_of,
};

/// How long a peer may take to compare.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of one question: a frame has room for more.
const QUESTION_BYTES_MAX: usize = 128 * 1024;

type Tags = BTreeMap<String, String>;

/// A version that is at a destination, and the tags that it should have there.
struct Compared {
    object: ReplicateObject,
    transfer: Transfer,
    order: Order,
    tags: Tags,
}

/// What comes of objects: a row for each version and destination, and what is queued.
#[derive(Default)]
pub(super) struct Retagged {
    pub(super) rows: Vec<ReplicateRow>,
    pub(super) enlist: Enlist,
}

impl SiteOperations {
    /// Says what differs, or queues it for a batch.
    pub(super) async fn retag(
        &self,
        objects: &[ReplicateObject],
        batch: Option<BatchId>,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let result = match batch {
            Some(_) => ReplicateResult::Queued,
            None => ReplicateResult::Planned,
        };
        let mut found = Retagged::default();
        let compared = self.to_compare(objects, &mut found).await?;
        let mut by_peer: BTreeMap<(PeerName, BucketName), Vec<Compared>> = BTreeMap::new();
        for one in compared {
            let place = (one.transfer.peer.clone(), one.object.bucket.clone());
            by_peer.entry(place).or_default().push(one);
        }
        for ((peer, bucket), versions) in by_peer {
            let stand = self.stand_at(&peer, &bucket, &versions).await;
            self.judge(versions, stand, result, &mut found);
        }
        let Retagged { rows, enlist } = found;
        match batch {
            Some(batch) => self.enlist(batch, (rows, enlist), actor, answer).await,
            None => {
                for row in rows {
                    answer.row(&row).await?;
                }
                Ok(())
            }
        }
    }

    /// The versions of these objects that are at destinations, with the tags that they have
    /// at the source now; of others it is said why not.
    async fn to_compare(
        &self,
        objects: &[ReplicateObject],
        found: &mut Retagged,
    ) -> Result<Vec<Compared>, Error> {
        let live = self.live("what it sent is compared with its peers while it runs")?;
        let mut there = Vec::new();
        for object in objects {
            let before = (there.len(), found.rows.len());
            for transfer in self.transfers_of_object(object).await? {
                match (transfer.status, transfer.change.kind) {
                    (Status::Completed, ChangeKind::Put) => {
                        there.push((object.clone(), transfer, live.order()));
                    }
                    (Status::Completed, _) => {
                        found.rows.push(row(transfer, ReplicateResult::Same));
                    }
                    (status, _) => {
                        let evidence =
                            format!("its version is {status}, and brings its tags along");
                        let meant = of_transfer(object, &transfer);
                        found.rows.push(failed(&meant, transfer.reason, evidence));
                    }
                }
            }
            if before == (there.len(), found.rows.len()) {
                found.rows.push(self.nowhere(object).await?);
            }
        }
        let mut by_bucket: BTreeMap<BucketName, Vec<_>> = BTreeMap::new();
        for one in there {
            by_bucket.entry(one.0.bucket.clone()).or_default().push(one);
        }
        let mut compared = Vec::new();
        for (bucket, versions) in by_bucket {
            self.with_tags_now(&bucket, versions, &mut compared, found)
                .await?;
        }
        Ok(compared)
    }

    async fn with_tags_now(
        &self,
        bucket: &BucketName,
        versions: Vec<(ReplicateObject, Transfer, Order)>,
        compared: &mut Vec<Compared>,
        found: &mut Retagged,
    ) -> Result<(), Error> {
        self.hold_own_tags(bucket)?;
        let Some(source) = self.source_of(bucket, &[&self.site.current()])? else {
            return Ok(());
        };
        let names = versions.iter().map(|(_, transfer, _)| {
            let name = &transfer.change.name;
            (&name.key, &name.version)
        });
        let tags = tags_of(&*source, names.collect()).await?;
        let tags: Vec<_> = versions
            .iter()
            .map(|(_, transfer, _)| {
                let name = &transfer.change.name;
                tags.get(&(&name.key, &name.version)).cloned()
            })
            .collect();
        for ((object, transfer, order), tags) in versions.into_iter().zip(tags) {
            match tags {
                Some(tags) => compared.push(Compared {
                    object,
                    transfer,
                    order,
                    tags,
                }),
                None => {
                    let evidence = "the source has it no more, or does not tell its tags";
                    let reason = Some(Reason::SrcObjectGone);
                    let of_peer = of_transfer(&object, &transfer);
                    found
                        .rows
                        .push(failed(&of_peer, reason, evidence.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// How a peer says that the tags of versions stand, in their order, or why it does not.
    async fn stand_at(
        &self,
        peer: &PeerName,
        bucket: &BucketName,
        versions: &[Compared],
    ) -> Result<Vec<TagsStand>, (Reason, String)> {
        let mut stand = Vec::with_capacity(versions.len());
        let mut asked: Vec<TagsOf> = Vec::new();
        let mut bytes = 0;
        for one in versions {
            let of = TagsOf {
                key: one.transfer.change.name.key.clone(),
                version: one.transfer.change.name.version.clone(),
                tags: one.tags.clone(),
            };
            let own = serde_json::to_vec(&of).map_or(0, |json| json.len());
            if asked.len() >= TAGS_ASKED_AT_ONCE_MAX || bytes + own > QUESTION_BYTES_MAX {
                stand.extend(
                    self.ask_tags(peer, bucket, std::mem::take(&mut asked))
                        .await?,
                );
                bytes = 0;
            }
            bytes += own;
            asked.push(of);
        }
        if !asked.is_empty() {
            stand.extend(self.ask_tags(peer, bucket, asked).await?);
        }
        Ok(stand)
    }

    async fn ask_tags(
        &self,
        peer: &PeerName,
        bucket: &BucketName,
        versions: Vec<TagsOf>,
    ) -> Result<Vec<TagsStand>, (Reason, String)> {
        let unreachable = || {
            let evidence = format!("{peer} cannot be asked: there is no session with it");
            (Reason::PeerUnreachable, evidence)
        };
        let count = versions.len();
        let question = Question::Tags {
            bucket: bucket.clone(),
            versions,
        };
        let question = serde_json::to_vec(&question).unwrap_or_default();
        let live = self.live.as_deref().ok_or_else(unreachable)?;
        let asked = tokio::time::timeout(ANSWER_TIME_MAX, live.ask(peer, &question)).await;
        let answer = asked.ok().flatten().ok_or_else(unreachable)?;
        match serde_json::from_slice(&answer) {
            Ok(PeerAnswer::Tags { stand }) if stand.len() == count => Ok(stand),
            Ok(PeerAnswer::Tags { .. }) => {
                let evidence = format!("{peer} lets nothing be replicated into {bucket}");
                Err((Reason::DstTagsDenied, evidence))
            }
            _ => {
                let evidence = format!("{peer} runs a sealift that compares no tags");
                Err((Reason::PeerProtocolMismatch, evidence))
            }
        }
    }

    fn judge(
        &self,
        versions: Vec<Compared>,
        stand: Result<Vec<TagsStand>, (Reason, String)>,
        result: ReplicateResult,
        found: &mut Retagged,
    ) {
        let stand = match stand {
            Ok(stand) => stand,
            Err((reason, evidence)) => {
                let refused = versions.iter().map(|one| {
                    let object = of_transfer(&one.object, &one.transfer);
                    failed(&object, Some(reason), evidence.clone())
                });
                return found.rows.extend(refused);
            }
        };
        for (one, stand) in versions.into_iter().zip(stand) {
            let object = of_transfer(&one.object, &one.transfer);
            let told = match stand {
                TagsStand::Same => row(one.transfer, ReplicateResult::Same),
                TagsStand::Other => self.change_of(one, result, &mut found.enlist),
                TagsStand::Lacking => {
                    let name = one.transfer.change.name.clone();
                    found
                        .enlist
                        .versions
                        .push((one.transfer.peer.clone(), name));
                    row(one.transfer, result)
                }
                _ => {
                    let evidence = "it was purged there".to_owned();
                    failed(&object, Some(Reason::PolicyDenied), evidence)
                }
            };
            found.rows.push(told);
        }
    }

    /// Queues the tags of a version for its destination, if its rule still sends them.
    fn change_of(
        &self,
        one: Compared,
        result: ReplicateResult,
        enlist: &mut Enlist,
    ) -> ReplicateRow {
        let (peer, name) = (&one.transfer.peer, &one.transfer.change.name);
        let behind = [peer.clone()].into();
        let rules = rules_of(&self.site.current());
        let (kind, tagged) = (Kind::new(ChangeKind::Tags), Tagged::Behind(&behind));
        let wanted = rules.destinations(&name.bucket, &name.key, kind, tagged);
        let to = wanted.into_iter().find(|to| to.peer == *peer);
        let object = of_transfer(&one.object, &one.transfer);
        let to = match to {
            Some(to) if to.skip.is_none() => to,
            Some(to) => {
                let skip = to.skip.map(|skip| (skip.reason, skip.evidence));
                let (reason, evidence) = skip.unwrap_or((Reason::SkippedFiltered, String::new()));
                return failed(&object, Some(reason), evidence);
            }
            None => {
                let evidence = format!("no [[rule]] sends it to {peer}");
                return failed(&object, Some(Reason::SkippedFiltered), evidence);
            }
        };
        let change = Change {
            name: name.clone(),
            order: one.order,
            kind: ChangeKind::Tags,
            facts: ObjectFacts {
                tags: one.tags,
                ..ObjectFacts::default()
            },
        };
        enlist.new.push(NewChange {
            change,
            destinations: vec![to],
            held_until: None,
            ahead: false,
        });
        ReplicateRow {
            tags_only: true,
            size: 0,
            ..row(one.transfer, result)
        }
    }

    /// How what a batch queued of these stands: tags, or versions that were lacking.
    pub(super) async fn look_at_tags(
        &self,
        batch: BatchId,
        objects: &[ReplicateObject],
        answer: &Answer,
    ) -> Result<(), Error> {
        let journal = &self.site.journal;
        for object in objects {
            let transfers = journal.transfers_of(&object.bucket, &object.key, TRANSFERS_OF_KEY_MAX);
            let mut told = None;
            for transfer in transfers.await? {
                let name = &transfer.change.name;
                let is_meant = object.version.as_ref() == Some(&name.version)
                    && object.peer.as_ref() == Some(&transfer.peer);
                if is_meant && let Some(batched) = journal.batched_one(batch, transfer.id).await? {
                    told = Some(batched_row(batched));
                    break;
                }
            }
            let row = match told {
                Some(row) => row,
                None => self.nowhere(object).await?,
            };
            answer.row(&row).await?;
        }
        Ok(())
    }
}

fn of_transfer(object: &ReplicateObject, transfer: &Transfer) -> ReplicateObject {
    ReplicateObject {
        version: Some(transfer.change.name.version.clone()),
        peer: Some(transfer.peer.clone()),
        ..object.clone()
    }
}
