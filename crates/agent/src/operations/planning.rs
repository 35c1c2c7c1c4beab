//! `plan`: what a change of the configuration would do, without doing any of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealift_ledger::{Destination, KnownKey};
use sealift_sender::{Kind, Rules, Tagged};
use sealift_store::Source;
use sealift_terms::{
    BucketName, ChangeKind, ObjectKey, PeerName, RuleName, Status, limits::TRANSFERS_OF_KEY_MAX,
};

use super::{PAGE_ROWS, SiteOperations, tags::tags_of};
use crate::{
    Error,
    admin::{
        Answer, Plan, PlanChange, PlanObject, PlanRow, PlanRule, PlanSection, PlanSummary, PlanWay,
    },
    config::{Config, Rule},
    running::rules_of,
};

/// What would become of objects, in numbers: how many and how many bytes.
type Tally = BTreeMap<(PlanChange, RuleName, PeerName), (u64, u64)>;

impl SiteOperations {
    pub(super) async fn plan(&self, plan: &Plan, answer: &Answer) -> Result<(), Error> {
        let live = self.live("it takes up its whole configuration when it starts")?;
        let before = self.site.current();
        let (after, sections) = live.changed(&plan.of)?;
        for (section, needs_restart) in &sections {
            let section = (*section).to_owned();
            let needs_restart = *needs_restart;
            let row = PlanSection {
                section,
                needs_restart,
            };
            answer.row(&PlanRow::Section(row)).await?;
        }
        for row in rules_that_differ(&before, &after) {
            answer.row(&PlanRow::Rule(row)).await?;
        }
        let rules = (rules_of(&before), rules_of(&after));
        let mut tally = Tally::new();
        if rules.0 != rules.1 {
            let named = before.rules.iter().chain(&after.rules);
            let buckets: BTreeSet<&BucketName> = named.map(|rule| &rule.bucket).collect();
            for bucket in buckets {
                let told = plan.objects.then_some(answer);
                let source = self.source_of(bucket, &[&after, &before])?;
                let rules = (&rules.0, &rules.1, source);
                self.plan_bucket(bucket, &rules, told, &mut tally).await?;
            }
        }
        for ((change, rule, peer), (objects, bytes)) in tally {
            let row = PlanWay {
                rule,
                peer,
                change,
                objects,
                bytes,
            };
            answer.row(&PlanRow::Way(row)).await?;
        }
        let summary = PlanSummary {
            differs: !sections.is_empty(),
            needs_restart: sections.iter().any(|(_, needs_restart)| *needs_restart),
            running_file: std::path::absolute(&before.path).unwrap_or(before.path.clone()),
        };
        answer.row(&PlanRow::Summary(summary)).await
    }

    async fn plan_bucket(
        &self,
        bucket: &BucketName,
        (before, after, source): &(&Rules, &Rules, Option<Arc<dyn Source>>),
        told: Option<&Answer>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let mut behind: Option<ObjectKey> = None;
        loop {
            let journal = &self.site.journal;
            let page = journal
                .known_page(bucket, behind.as_ref(), PAGE_ROWS)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            behind = Some(last.key.clone());
            for known in page.iter().filter(|known| known.deleted) {
                let removed = self.removed(bucket, known, (before, after)).await?;
                self.tell(bucket, known, removed, told, tally).await?;
            }
            let live: Vec<_> = page.iter().filter(|known| !known.deleted).collect();
            let asks = |known: &&KnownKey| {
                let mut rules = [before, after].into_iter();
                rules.any(|rules| rules.ask_tags_of(bucket, &known.key))
            };
            let tags = match source {
                Some(source) => {
                    let asked = live.iter().copied().filter(asks);
                    let names = asked.map(|known| (&known.key, &known.version));
                    tags_of(&**source, names.collect()).await?
                }
                None => BTreeMap::new(),
            };
            let none = BTreeMap::new();
            for known in live {
                let origin = &known.order.region;
                let its = tags.get(&(&known.key, &known.version));
                let tagged = Tagged::With(its.unwrap_or(&none));
                let of = |rules: &Rules, kind| {
                    rules.from_origin(bucket, &known.key, kind, tagged, origin)
                };
                let there = Kind::existing();
                let new = Kind::new(ChangeKind::Put);
                let later = (of(before, new), of(after, new));
                let later = (&later.0[..], &later.1[..]);
                let mut found = Vec::new();
                for (change, to) in changes(&of(before, there), of(after, there), later) {
                    if change != PlanChange::Sent || !self.is_sent(bucket, known, &to.peer).await? {
                        found.push((change, to));
                    }
                }
                self.tell(bucket, known, found, told, tally).await?;
            }
        }
    }

    /// Counts what would become of a key, and names it if that is asked for.
    async fn tell(
        &self,
        bucket: &BucketName,
        known: &KnownKey,
        found: Vec<(PlanChange, Destination)>,
        told: Option<&Answer>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        for (change, to) in found {
            let place = (change, to.rule.clone(), to.peer.clone());
            let (objects, bytes) = tally.entry(place).or_default();
            *objects += 1;
            *bytes += known.size;
            if let Some(answer) = told {
                let row = object(bucket, known, to, change);
                answer.row(&PlanRow::Object(row)).await?;
            }
        }
        Ok(())
    }

    /// Where a key that was removed here lives, and would be removed after all.
    async fn removed(
        &self,
        bucket: &BucketName,
        known: &KnownKey,
        (before, after): (&Rules, &Rules),
    ) -> Result<Vec<(PlanChange, Destination)>, Error> {
        let (of, origin) = ((bucket, &known.key), &known.order.region);
        let mut removed = Vec::new();
        for peer in after.peers_of(bucket) {
            let Some(rule) = after.remove(of, &peer, origin) else {
                continue;
            };
            let is_new = before.remove(of, &peer, origin).is_none();
            if is_new && self.lives_at(bucket, &known.key, &peer).await? {
                let skip = None;
                removed.push((PlanChange::Removed, Destination { rule, peer, skip }));
            }
        }
        Ok(removed)
    }

    /// Whether the last version of a key that goes to a peer has content.
    async fn lives_at(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        peer: &PeerName,
    ) -> Result<bool, Error> {
        let journal = &self.site.journal;
        let transfers = journal.transfers_of(bucket, key, TRANSFERS_OF_KEY_MAX);
        let transfers = transfers.await?.into_iter();
        let goes = transfers.filter(|transfer| {
            let is_version = transfer.change.kind.is_version();
            transfer.peer == *peer && is_version && transfer.goes()
        });
        let last = goes.max_by(|a, b| a.change.order.cmp(&b.change.order));
        Ok(last.is_some_and(|last| last.change.kind == ChangeKind::Put))
    }

    /// Whether the latest version is on its way to a peer, or there.
    async fn is_sent(
        &self,
        bucket: &BucketName,
        known: &KnownKey,
        peer: &PeerName,
    ) -> Result<bool, Error> {
        let journal = &self.site.journal;
        let transfers = journal.transfers_of(bucket, &known.key, TRANSFERS_OF_KEY_MAX);
        Ok(transfers.await?.iter().any(|transfer| {
            transfer.peer == *peer
                && transfer.change.name.version == known.version
                && transfer.status != Status::Skipped
        }))
    }
}

fn object(
    bucket: &BucketName,
    known: &KnownKey,
    to: Destination,
    change: PlanChange,
) -> PlanObject {
    PlanObject {
        bucket: bucket.clone(),
        key: known.key.clone(),
        version: known.version.clone(),
        size: known.size,
        rule: to.rule,
        peer: to.peer,
        change,
    }
}

/// Where an object would go and did not, and the other way round. `later` is where what
/// comes of it later went, and would go: what goes nowhere then does not by what it is, as a
/// replica or for its tags, and not as it was there before.
fn changes(
    before: &[Destination],
    after: Vec<Destination>,
    later: (&[Destination], &[Destination]),
) -> Vec<(PlanChange, Destination)> {
    let goes = |later: &[Destination], peer: &PeerName| {
        let mut skipped = later.iter().filter(|later| later.skip.is_some());
        !skipped.any(|later| later.peer == *peer)
    };
    let mut found = Vec::new();
    for old in before {
        let is_over = !after.iter().any(|new| new.peer == old.peer);
        if is_over && goes(later.0, &old.peer) {
            found.push((PlanChange::Ended, old.clone()));
        }
    }
    for new in after {
        let old = before.iter().find(|old| old.peer == new.peer);
        let (went, goes) = (goes(later.0, &new.peer), goes(later.1, &new.peer));
        let change = match (old, &new.skip) {
            (Some(old), None) if old.skip.is_some() => PlanChange::Sent,
            (Some(old), Some(_)) if !goes && went => {
                found.push((PlanChange::Ended, old.clone()));
                continue;
            }
            (_, Some(_)) if !goes => continue,
            (Some(old), _) if old.rule != new.rule => PlanChange::Moved,
            (Some(_), _) => continue,
            (None, None) => PlanChange::Sent,
            (None, Some(_)) => PlanChange::LeftOut,
        };
        found.push((change, new));
    }
    found
}

fn rules_that_differ(before: &Config, after: &Config) -> Vec<PlanRule> {
    let row = |rule: &Rule, differs: Vec<String>| PlanRule {
        rule: rule.name.clone(),
        differs,
    };
    let mut rows = Vec::new();
    for old in &before.rules {
        if !after.rules.iter().any(|new| new.name == old.name) {
            rows.push(row(old, vec!["removed".to_owned()]));
        }
    }
    for new in &after.rules {
        let differs = match before.rules.iter().find(|old| old.name == new.name) {
            None => vec!["added".to_owned()],
            Some(old) => settings_that_differ(old, new),
        };
        if !differs.is_empty() {
            rows.push(row(new, differs));
        }
    }
    rows
}

fn settings_that_differ(old: &Rule, new: &Rule) -> Vec<String> {
    let peers = |rule: &Rule| {
        let names: Vec<_> = rule.peers.iter().map(PeerName::to_string).collect();
        names.join(", ")
    };
    let tags = |rule: &Rule| {
        let tags = rule.tags.iter();
        let tags: Vec<_> = tags.map(|(tag, value)| format!("{tag}={value}")).collect();
        match tags.is_empty() {
            true => "none".to_owned(),
            false => tags.join(", "),
        }
    };
    let secs = |rule: &Rule| {
        rule.rpo
            .map_or("none".to_owned(), |rpo| rpo.as_secs().to_string())
    };
    let purges = |rule: &Rule| match rule.version_deletes {
        Some(hold) => format!("true after {} s", hold.as_secs()),
        None => "false".to_owned(),
    };
    let both = |of: &dyn Fn(&Rule) -> String| (of(old), of(new));
    let settings = [
        ("bucket", both(&|rule| rule.bucket.to_string())),
        ("prefix", both(&|rule| format!("{:?}", rule.prefix))),
        ("tags", both(&tags)),
        ("peers", both(&peers)),
        ("priority", both(&|rule| rule.priority.to_string())),
        (
            "delete_markers",
            both(&|rule| rule.delete_markers.to_string()),
        ),
        ("version_deletes", both(&purges)),
        (
            "existing_objects",
            both(&|rule| rule.existing_objects.to_string()),
        ),
        ("to_origin", both(&|rule| rule.to_origin.to_string())),
        ("replicas", both(&|rule| rule.replicas.to_string())),
        ("rpo_secs", both(&secs)),
    ];
    let differing = settings.into_iter().filter(|(_, (old, new))| old != new);
    differing
        .map(|(setting, (old, new))| format!("{setting}: {old} → {new}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use sealift_ledger::Skip;
    use sealift_terms::Reason;

    use super::*;

    fn to(text: &str) -> Destination {
        let mut words = text.split(' ');
        let (rule, peer) = words.next().unwrap().split_once(':').unwrap();
        Destination {
            rule: RuleName::new(rule).unwrap(),
            peer: PeerName::new(peer).unwrap(),
            skip: words.next().map(|_| Skip {
                reason: Reason::SkippedFiltered,
                evidence: String::new(),
            }),
        }
    }

    #[test]
    fn what_is_new_left_out_moved_and_over_is_told_apart() {
        let cases: [(&[&str], &[&str], &[&str]); 8] = [
            (&["a:x"], &["a:x"], &[]),
            (&[], &["a:x"], &["sent a:x"]),
            (&[], &["a:x skipped"], &["left-out a:x"]),
            (&["a:x skipped"], &["a:x"], &["sent a:x"]),
            (&["a:x"], &["a:x skipped"], &[]),
            (&["a:x"], &["b:x", "b:y"], &["moved b:x", "sent b:y"]),
            (&["a:x", "a:y"], &["a:y"], &["ended a:x"]),
            (&["a:x"], &["b:y"], &["ended a:x", "sent b:y"]),
        ];
        for (before, after, expected) in cases {
            let all = |texts: &[&str]| texts.iter().map(|text| to(text)).collect::<Vec<_>>();
            let found: Vec<_> = changes(&all(before), all(after), (&[], &[]))
                .iter()
                .map(|(change, to)| format!("{} {}:{}", change.as_str(), to.rule, to.peer))
                .collect();
            assert_eq!(found, expected, "{before:?} → {after:?}");
        }
        // What comes later is left out as well, as its tags are not those that are asked for.
        let left_out = [to("a:x skipped")];
        let found = changes(&[to("a:x")], left_out.to_vec(), (&[], &left_out));
        let [(PlanChange::Ended, ended)] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(ended.skip.is_none(), "{ended:?}");
        // What never went, and would not, is none that was there before and none that ends.
        let never = (&left_out[..], &left_out[..]);
        assert!(changes(&[], left_out.to_vec(), never).is_empty());
        assert!(changes(&left_out, Vec::new(), never).is_empty());
        assert!(changes(&left_out, vec![to("b:x skipped")], never).is_empty());
    }
}
