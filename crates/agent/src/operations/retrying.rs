//! `retry`: what was put off or given up is due now.

use std::collections::BTreeSet;

use sealift_ledger::{ListTransfers, Requeue};
use sealift_terms::{BucketName, ObjectKey, Status};

use super::{PAGE_ROWS, SiteOperations};
use crate::{
    Error,
    admin::{Actor, Answer, Retried, Retry},
};

impl SiteOperations {
    pub(super) async fn retry(
        &self,
        retry: &Retry,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        if let Some(bucket) = &retry.bucket {
            self.hold_bucket(bucket).await?;
        }
        if let Some(peer) = &retry.peer
            && self.site.current().peer(peer).is_none()
        {
            return Err(Error::NotFound {
                what: format!("peer {peer} at this site"),
            });
        }
        let held = "only a running agent knows which deletes it holds";
        let live = match retry.accept_deletes {
            true => Some(self.live(held)?),
            false => self.live.as_deref(),
        };
        self.record(actor, "retry", &details(retry))?;
        let transfers = self.requeue(retry).await?;
        let mut accepted = Vec::new();
        if let Some(live) = live {
            if retry.accept_deletes {
                accepted = live.accept_deletes(retry.bucket.as_ref());
            }
            live.wake();
        }
        answer
            .row(&Retried {
                transfers,
                accepted: accepted.len() as u64,
                removals: accepted.iter().sum(),
            })
            .await
    }

    async fn requeue(&self, retry: &Retry) -> Result<u64, Error> {
        let now = self.site.world.clock.now();
        let whole = match (&retry.bucket, &retry.peer, &retry.reason) {
            (None, None, None) if retry.prefix.is_empty() => Some(Requeue::All),
            (None, Some(peer), None) if retry.prefix.is_empty() => {
                Some(Requeue::Peer(peer.clone()))
            }
            (Some(bucket), None, None) => Some(Requeue::Keys {
                bucket: bucket.clone(),
                prefix: retry.prefix.clone(),
                exact: false,
            }),
            _ => None,
        };
        if let Some(whole) = whole {
            return Ok(self.site.journal.requeue(whole, now).await?);
        }
        let mut count = 0;
        for (bucket, key) in self.chosen(retry).await? {
            let one = Requeue::Keys {
                bucket,
                prefix: key.as_str().to_owned(),
                exact: true,
            };
            count += self.site.journal.requeue(one, now).await?;
        }
        Ok(count)
    }

    /// The keys with a transfer that fits: the journal queues whole keys.
    async fn chosen(&self, retry: &Retry) -> Result<BTreeSet<(BucketName, ObjectKey)>, Error> {
        let mut chosen = BTreeSet::new();
        for status in [Status::Failed, Status::Pending] {
            let mut list = ListTransfers {
                status: Some(status),
                peer: retry.peer.clone(),
                bucket: retry.bucket.clone(),
                limit: PAGE_ROWS,
                ..ListTransfers::default()
            };
            loop {
                let page = self.site.journal.transfers(&list).await?;
                let Some(last) = page.last() else { break };
                list.after = Some(last.id);
                for transfer in page {
                    let name = transfer.change.name;
                    let fits = name.key.as_str().starts_with(&retry.prefix)
                        && (retry.reason.is_none() || retry.reason == transfer.reason);
                    if fits {
                        chosen.insert((name.bucket, name.key));
                    }
                }
            }
        }
        Ok(chosen)
    }
}

fn details(retry: &Retry) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    let mut add = |name, value: Option<String>| {
        details.extend(value.map(|value| (name, value)));
    };
    add("bucket", retry.bucket.as_ref().map(ToString::to_string));
    add(
        "prefix",
        Some(retry.prefix.clone()).filter(|p| !p.is_empty()),
    );
    add("peer", retry.peer.as_ref().map(ToString::to_string));
    add("reason", retry.reason.map(|reason| reason.to_string()));
    let accepted = retry.accept_deletes.then(|| "true".to_owned());
    add("accept_deletes", accepted);
    details
}
