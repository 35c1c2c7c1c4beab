//! What tags say of whether a rule takes a change.

use std::collections::{BTreeMap, BTreeSet};

use sealift_ledger::Skip;
use sealift_terms::{Change, ChangeKind, PeerName, Reason, RuleName};

/// What rules that ask for tags are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged<'a> {
    /// The tags of a version, as they were when it was first seen.
    With(&'a BTreeMap<String, String>),
    /// It has none of its own, as a delete marker, or is a change of them: it goes where
    /// what it comes behind goes, to these peers.
    Behind(&'a BTreeSet<PeerName>),
}

impl<'a> Tagged<'a> {
    /// Of a change: a version has its tags, all else comes behind one.
    #[must_use]
    pub fn of(change: &'a Change, behind: &'a BTreeSet<PeerName>) -> Self {
        match change.kind {
            ChangeKind::Put => Self::With(&change.facts.tags),
            ChangeKind::DeleteMarker | ChangeKind::Tags | ChangeKind::Purge => Self::Behind(behind),
        }
    }

    /// Why a rule that asks for these tags does not take it, if it does not.
    pub(crate) fn leaves_out(
        self,
        rule: &RuleName,
        asked: &BTreeMap<String, String>,
        peer: &PeerName,
    ) -> Option<Skip> {
        if asked.is_empty() {
            return None;
        }
        let told = match self {
            Self::With(tags) => {
                let has = |(tag, value): (&String, &String)| tags.get(tag) == Some(value);
                if asked.iter().all(has) {
                    return None;
                }
                match tags.is_empty() {
                    true => "it had none when it was first seen".to_owned(),
                    false => format!("it had {} when it was first seen", in_words(tags)),
                }
            }
            Self::Behind(peers) if peers.contains(peer) => return None,
            Self::Behind(_) => format!("nothing that it comes behind goes to {peer}"),
        };
        Some(Skip {
            reason: Reason::SkippedFiltered,
            evidence: format!("rule {rule} asks for the tags {}: {told}", in_words(asked)),
        })
    }
}

fn in_words(tags: &BTreeMap<String, String>) -> String {
    let tags: Vec<_> = tags
        .iter()
        .map(|(tag, value)| format!("{tag}={value}"))
        .collect();
    tags.join(", ")
}
