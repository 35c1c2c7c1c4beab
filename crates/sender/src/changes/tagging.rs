//! Where changes go whose rules ask for tags: a listing tells of none, so each version is
//! asked about once, when it is first seen.

use std::collections::{BTreeMap, BTreeSet};

use sealift_ledger::{Journal, NewChange};
use sealift_store::{Source, StoreError};
use sealift_terms::{
    Change, ChangeKind, ObjectKey, PeerName, VersionId, limits::TRANSFERS_OF_KEY_MAX,
};

use super::{recorder::Recorder, version};
use crate::{Rules, SenderError, Tagged, rules::Kind};

/// A change of a batch of which it is not said yet where it goes.
#[derive(Debug)]
pub(super) struct Untold {
    /// Its place in the batch.
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// The peer that it is for, if for one alone.
    pub(super) only: Option<PeerName>,
}

/// What a source answers of a version's tags.
enum Answer {
    Tags(BTreeMap<String, String>),
    /// There is no such version any more.
    Gone,
    Denied(StoreError),
}

impl Recorder {
    /// Says of the batch where that goes which depends on tags. What is gone is left out, as
    /// it is no change any more; what may not be looked at is named, and seen again by the
    /// next scan.
    pub(super) async fn tell_tags(&mut self) -> Result<(), SenderError> {
        if self.untold.is_empty() {
            return Ok(());
        }
        let rules = self.rules.borrow().clone();
        let not_to_be_sent = self.ask_of_batch().await?;
        for Untold { at, kind, only } in std::mem::take(&mut self.untold) {
            let Some((before, [new, ..])) = self.batch.split_at_mut_checked(at) else {
                continue;
            };
            let behind = match new.change.kind {
                ChangeKind::Put => BTreeSet::new(),
                _ => goes_to(&*self.journal, &new.change, before).await?,
            };
            let tagged = Tagged::of(&new.change, &behind);
            let name = &new.change.name;
            let mut to = rules.destinations(&name.bucket, &name.key, kind, tagged);
            to.retain(|to| only.as_ref().is_none_or(|only| to.peer == *only));
            new.destinations = to;
        }
        let mut at = 0;
        self.batch.retain(|_| {
            at += 1;
            !not_to_be_sent.contains(&(at - 1))
        });
        Ok(())
    }

    /// Asks for the tags of what the batch brings; the places of what cannot be told.
    async fn ask_of_batch(&mut self) -> Result<BTreeSet<usize>, SenderError> {
        let asked = self.untold.iter().filter_map(|untold| {
            let change = &self.batch.get(untold.at)?.change;
            let name = (&change.name.key, &change.name.version);
            (change.kind == ChangeKind::Put).then_some((untold.at, name))
        });
        let (places, names): (Vec<_>, Vec<_>) = asked.unzip();
        let answers = ask(&*self.source, &names).await?;
        let mut left = BTreeSet::new();
        for (at, answer) in places.into_iter().zip(answers) {
            let Some(new) = self.batch.get_mut(at) else {
                continue;
            };
            match answer {
                Answer::Tags(tags) => new.change.facts.tags = tags,
                Answer::Gone => drop(left.insert(at)),
                Answer::Denied(error) => {
                    left.insert(at);
                    let key = new.change.name.key.clone();
                    self.rule_asks_in_vain(&key, &error);
                    if let Some(denied) = &mut self.denied {
                        denied.insert(key);
                    }
                }
            }
        }
        Ok(left)
    }

    /// Says of a key that its tags may not be looked at: nobody knows where it goes.
    pub(super) fn rule_asks_in_vain(&mut self, key: &ObjectKey, error: &StoreError) {
        self.name_unreadable(key, format!("a rule asks for its tags: {error}"));
        self.misses = true;
    }
}

/// Versions with the tags that they have now, where these rules ask for any; without what is
/// gone, or may not be looked at.
pub(super) async fn with_tags(
    source: &dyn Source,
    rules: &Rules,
    changes: Vec<Change>,
) -> Result<Vec<Change>, SenderError> {
    with_tags_or_denied(source, rules, changes, &mut Vec::new()).await
}

/// As [`with_tags`]; what may not be looked at goes to `denied`.
pub(super) async fn with_tags_or_denied(
    source: &dyn Source,
    rules: &Rules,
    changes: Vec<Change>,
    denied: &mut Vec<(ObjectKey, StoreError)>,
) -> Result<Vec<Change>, SenderError> {
    let asks = |change: &Change| rules.ask_tags_of(&change.name.bucket, &change.name.key);
    let (asked, mut all): (Vec<_>, Vec<_>) = changes.into_iter().partition(asks);
    let names = asked
        .iter()
        .map(|change| (&change.name.key, &change.name.version));
    let told = ask(source, &names.collect::<Vec<_>>()).await?;
    for (mut change, told) in asked.into_iter().zip(told) {
        match told {
            Answer::Tags(tags) => {
                change.facts.tags = tags;
                all.push(change);
            }
            Answer::Gone => {}
            Answer::Denied(error) => denied.push((change.name.key, error)),
        }
    }
    Ok(all)
}

/// The tags that versions have now, each in its place; nothing of what is gone, or may not be
/// looked at. The versions are known by the journal's names.
///
/// # Errors
/// [`SenderError::Source`] when the source does not answer.
pub async fn tags_now(
    source: &dyn Source,
    versions: &[(&ObjectKey, &VersionId)],
) -> Result<Vec<Option<BTreeMap<String, String>>>, SenderError> {
    let answers = ask(source, versions).await?.into_iter();
    let told = answers.map(|answer| match answer {
        Answer::Tags(tags) => Some(tags),
        Answer::Gone | Answer::Denied(_) => None,
    });
    Ok(told.collect())
}

async fn ask(
    source: &dyn Source,
    versions: &[(&ObjectKey, &VersionId)],
) -> Result<Vec<Answer>, SenderError> {
    let is_ordered = source.ordered().is_some();
    let own = |(key, version): &(&ObjectKey, &VersionId)| {
        let version = match is_ordered {
            true => (*version).clone(),
            false => version::of_source(version)?,
        };
        Ok::<_, StoreError>(((*key).clone(), version))
    };
    let names: Vec<_> = versions.iter().map(own).collect::<Result<_, _>>()?;
    let mut answers = Vec::with_capacity(names.len());
    for told in source.tags_of_all(&names).await {
        answers.push(match told {
            Ok(tags) => Answer::Tags(tags),
            Err(StoreError::SourceGone | StoreError::SourceChanged { .. }) => Answer::Gone,
            Err(error @ StoreError::SourceDenied { .. }) => Answer::Denied(error),
            Err(error) => return Err(error.into()),
        });
    }
    Ok(answers)
}

/// The peers to which goes what a change comes behind: any version of the key of a delete
/// marker, the version itself of a change of its tags. Those in `before` are not recorded yet.
pub(crate) async fn goes_to(
    journal: &dyn Journal,
    change: &Change,
    before: &[NewChange],
) -> Result<BTreeSet<PeerName>, SenderError> {
    let name = &change.name;
    let is_one = |of: &Change| {
        let is_it = of.name.bucket == name.bucket && of.name.key == name.key;
        let is_version = change.kind == ChangeKind::DeleteMarker || of.name == *name;
        is_it && is_version && of.kind == ChangeKind::Put
    };
    let transfers = journal.transfers_of(&name.bucket, &name.key, TRANSFERS_OF_KEY_MAX);
    let recorded = transfers.await?.into_iter();
    let recorded = recorded
        .filter(|transfer| transfer.goes() && is_one(&transfer.change))
        .map(|transfer| transfer.peer);
    let waiting = before.iter().filter(|new| is_one(&new.change));
    let waiting = waiting.flat_map(|new| &new.destinations);
    let waiting = waiting.filter(|to| to.skip.is_none());
    Ok(recorded.chain(waiting.map(|to| to.peer.clone())).collect())
}
