//! Legal holds as marks: sealed in packs beside the data, so that the store alone says them.
//!
//! ```text
//!  set, lifted ─▶ HoldSaid ─▶ Upload (a mark) ─▶ pack synced ─▶ one transaction: mark, notes, leaf
//!  rebuild ─▶ of the marks on the same versions the newest ─▶ notes
//! ```
//!
//! The catalog's notes are what a purge is held against. A mark has all that is said of the same
//! versions, so that the newest alone counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sealift_ledger::{MarkKind, MarkRow, Note};
use sealift_seal::{HoldMark, HoldWord, Meta};
use sealift_terms::{
    AuditKind, AuditRecord, BucketName, ChangeKind, Identity, ObjectFacts, ObjectKey, VersionId,
    VersionName,
};
use tokio::task::JoinSet;

use crate::{
    ArchiveError, Hold, HoldSort, Result, Upload, archive::Core, limits::HOLDS_MARKED_AT_ONCE,
    retention::HeldVersions,
};

/// What a mark is named by that is on no single version.
const OF_KEY: &str = "~key";
const OF_PREFIX: &str = "~prefix";
const OF_ALL: &str = "~all";
/// The key of a mark on every key of a bucket.
const ANY_KEY: &str = "/";
/// Before a version id that begins with it itself.
const ESCAPE: char = '~';

/// All that is said of the same versions; nothing once a hold was lifted.
#[derive(Debug, Clone)]
pub(crate) struct HoldSaid {
    pub(crate) on: HeldVersions,
    pub(crate) set: Option<Hold>,
    pub(crate) source_lifted: Option<Hold>,
}

/// A hold on its way into a pack, with what goes on record.
#[derive(Debug, Clone)]
pub(crate) struct SayHold {
    pub(crate) said: HoldSaid,
    pub(crate) record: AuditRecord,
}

impl HoldSaid {
    fn nothing(on: HeldVersions) -> Self {
        Self {
            on,
            set: None,
            source_lifted: None,
        }
    }

    fn add(&mut self, hold: Hold) {
        match hold.sort {
            HoldSort::Set => self.set = Some(hold),
            HoldSort::SourceLifted => self.source_lifted = Some(hold),
        }
    }

    /// What its mark is named by: the same for what is on the same versions.
    fn name(&self) -> Result<VersionName> {
        let on = &self.on;
        let (key, version) = match (&on.version, on.is_prefix, on.key.as_str()) {
            (Some(version), _, key) if version.as_str().starts_with(ESCAPE) => {
                (key, format!("{ESCAPE}{version}"))
            }
            (Some(version), _, key) => (key, version.to_string()),
            (None, true, "") => (ANY_KEY, OF_ALL.to_owned()),
            (None, true, key) => (key, OF_PREFIX.to_owned()),
            (None, false, key) => (key, OF_KEY.to_owned()),
        };
        Ok(VersionName {
            bucket: on.bucket.clone(),
            key: ObjectKey::new(key).map_err(ArchiveError::Facts)?,
            version: VersionId::new(version).map_err(ArchiveError::Facts)?,
        })
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        let note = |sort, hold: &Option<Hold>| {
            let name = self.on.note(sort);
            match hold {
                Some(hold) => Note::kept(name, serde_json::to_vec(hold).unwrap_or_default()),
                None => Note::forgotten(name),
            }
        };
        vec![
            note(HoldSort::Set, &self.set),
            note(HoldSort::SourceLifted, &self.source_lifted),
        ]
    }

    pub(crate) fn to_mark(&self) -> HoldMark {
        let word = |hold: &Hold| HoldWord {
            by: hold.by.clone(),
            reason: hold.reason.clone(),
            since: hold.since,
        };
        HoldMark {
            key: self.on.key.clone(),
            prefix: self.on.is_prefix,
            set: self.set.as_ref().map(word),
            source_lifted: self.source_lifted.as_ref().map(word),
            version: self.on.version.clone(),
        }
    }

    /// What a mark found in the store says.
    pub(crate) fn of_mark(meta: &Meta) -> Result<Self> {
        let misuse = ArchiveError::Misuse("a hold that does not say on what");
        let mark = meta.hold.as_ref().ok_or(misuse)?;
        let on = HeldVersions {
            bucket: meta.bucket.clone(),
            key: mark.key.clone(),
            is_prefix: mark.prefix,
            version: mark.version.clone(),
        };
        let hold = |sort, word: &HoldWord| Hold {
            on: on.clone(),
            sort,
            reason: word.reason.clone(),
            since: word.since,
            by: word.by.clone(),
        };
        let set = mark.set.as_ref().map(|word| hold(HoldSort::Set, word));
        let lifted = mark.source_lifted.as_ref();
        let source_lifted = lifted.map(|word| hold(HoldSort::SourceLifted, word));
        Ok(Self {
            on,
            set,
            source_lifted,
        })
    }
}

/// What a mark of this name is on.
fn held_by(name: &VersionName) -> HeldVersions {
    let version = name.version.as_str();
    let own = version.strip_prefix(ESCAPE);
    let is_all = version == OF_ALL;
    let is_of_version = !is_all && version != OF_PREFIX && version != OF_KEY;
    let named = own.filter(|own| own.starts_with(ESCAPE)).unwrap_or(version);
    HeldVersions {
        bucket: name.bucket.clone(),
        key: match is_all {
            true => String::new(),
            false => name.key.to_string(),
        },
        is_prefix: is_all || version == OF_PREFIX,
        version: is_of_version.then(|| VersionId::new(named).ok()).flatten(),
    }
}

impl Core {
    /// Makes it durable, in the store and in the catalog, that this is said of these versions,
    /// and nothing else.
    pub(crate) async fn say_hold(
        self: &Arc<Self>,
        said: HoldSaid,
        record: AuditRecord,
    ) -> Result<()> {
        let name = said.name()?;
        let marks = self.catalog.marks_of(&name).await?;
        let known = marks.iter().filter(|mark| is_hold(mark));
        let known = known.map(|mark| mark.order.clock).max().unwrap_or(0);
        let origin = Identity::applications_of(&self.region);
        let (kind, facts) = (ChangeKind::Tags, ObjectFacts::default());
        let mut offer = self.offer_of(&record.actor, name, kind, facts, origin);
        offer.change.order = self.order_above(known)?;
        if let Some(written) = &mut offer.written {
            written.hold = Some(Box::new(SayHold { said, record }));
        }
        let upload = Upload::begin(self.clone(), offer).await?;
        upload.commit(None).await?;
        Ok(())
    }

    /// Writes the marks that holds lack: they were set by a sealift that wrote none, or the
    /// marks were lost. Those of a bucket that nothing can be sealed in now wait for the next
    /// start; the catalog has them.
    pub(crate) async fn mark_holds(self: &Arc<Self>) -> Result<()> {
        let mut all: BTreeMap<HeldVersions, HoldSaid> = BTreeMap::new();
        for hold in self.holds(None).await? {
            let on = hold.on.clone();
            let said = all
                .entry(on)
                .or_insert_with_key(|on| HoldSaid::nothing(on.clone()));
            said.add(hold);
        }
        let mut unmarked = Vec::new();
        for said in all.into_values() {
            let marks = self.catalog.marks_of(&said.name()?).await?;
            if !marks.iter().any(is_hold) {
                unmarked.push(said);
            }
        }
        let mut failed: BTreeSet<BucketName> = BTreeSet::new();
        for some in unmarked.chunks(HOLDS_MARKED_AT_ONCE) {
            let mut marking = JoinSet::new();
            for said in some.iter().filter(|said| !failed.contains(&said.on.bucket)) {
                let (core, said) = (self.clone(), said.clone());
                let record = self.hold_record(AuditKind::HoldSet, &said.on, "agent");
                let record = record.with("reason", "written beside the data, as it was set before");
                marking.spawn(async move {
                    let bucket = said.on.bucket.clone();
                    (bucket, core.say_hold(said, record).await)
                });
            }
            while let Some(Ok((bucket, marked))) = marking.join_next().await {
                if let Err(error) = marked {
                    tracing::warn!(%bucket, %error, "its legal holds rest in the catalog alone");
                    failed.insert(bucket);
                }
            }
        }
        Ok(())
    }

    /// A damaged mark, sealed anew from what the catalog has.
    pub(crate) async fn mark_hold_again(self: &Arc<Self>, mark: &MarkRow) -> Result<()> {
        let _alone = self.holding.lock().await;
        let mut said = HoldSaid::nothing(held_by(&mark.name));
        for hold in self.holds(Some(&mark.name.bucket)).await? {
            if hold.on == said.on {
                said.add(hold);
            }
        }
        let record = self.hold_record(AuditKind::HoldSet, &said.on, "agent");
        let record = record.with("reason", "its mark was damaged and is sealed anew");
        self.say_hold(said, record).await
    }

    pub(crate) fn hold_record(&self, kind: AuditKind, on: &HeldVersions, by: &str) -> AuditRecord {
        let record = AuditRecord::new(self.clock.now(), kind, by)
            .with("bucket", &on.bucket)
            .with(if on.is_prefix { "prefix" } else { "key" }, &on.key);
        match &on.version {
            Some(version) => record.with("version", version),
            None => record,
        }
    }
}

fn is_hold(mark: &MarkRow) -> bool {
    matches!(mark.kind, MarkKind::Hold(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_named_by_what_it_is_on_and_by_nothing_else() {
        let version = |text: &str| VersionId::new(text).unwrap();
        let on = |key: &str, is_prefix, of: Option<&str>| HeldVersions {
            bucket: BucketName::new("photos").unwrap(),
            key: key.to_owned(),
            is_prefix,
            version: of.map(version),
        };
        let all = [
            on("k", false, None),
            on("k", true, None),
            on("", true, None),
            on("/", true, None),
            on("/", false, None),
            on("k", false, Some("v1")),
            on("k", false, Some("~key")),
            on("k", false, Some("~~key")),
            on("/", false, Some("~all")),
        ];
        let mut names = BTreeSet::new();
        for on in all {
            let name = HoldSaid::nothing(on.clone()).name().unwrap();
            assert_eq!(held_by(&name), on);
            assert!(names.insert(name));
        }
    }
}
