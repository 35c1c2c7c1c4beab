//! How a version stands on its way, for the application that asks for it.

use sealift_ledger::{Intent, Touched, TransferStanding};
use sealift_terms::{
    ChangeKind, ObjectKey, Status, VersionId,
    limits::{FRONT_INTENTS_SEEN_MAX, TRANSFERS_OF_KEY_MAX},
};

use super::FrontHandle;
use crate::{Kind, SenderError, changes::version};

impl FrontHandle {
    /// How a version of a key stands, all destinations taken together: `FAILED` if one is,
    /// then `PENDING` if one is, `COMPLETED` if all are, tags that were written last too. None
    /// where no rule takes it, and of an older version that the journal has nothing of. Without
    /// one it is the latest version.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn standing(
        &self,
        key: &ObjectKey,
        told: Option<&VersionId>,
        is_latest: bool,
    ) -> Result<Option<Status>, SenderError> {
        let (journal, bucket) = (&self.0.journal, &self.0.bucket);
        if let Some(told) = told {
            let begins = told.as_str();
            let found = journal.standings(bucket, key, begins, TRANSFERS_OF_KEY_MAX);
            let found = found.await?;
            match together(&found, told) {
                Some(Some(Status::Completed)) if self.waits_for_tags(key, told).await? => {
                    return Ok(Some(Status::Pending));
                }
                Some(status) => return Ok(status),
                None => {}
            }
        }
        // The journal has no transfer of it: it is one to be, or there is none.
        let comes = is_latest || self.is_known(key, told).await? || self.is_unsettled(key).await?;
        Ok(match comes && self.is_taken(key).await? {
            true => Some(Status::Pending),
            false => None,
        })
    }

    async fn is_known(
        &self,
        key: &ObjectKey,
        told: Option<&VersionId>,
    ) -> Result<bool, SenderError> {
        let known = self.0.journal.known(&self.0.bucket, key).await?;
        let known = known.zip(told);
        Ok(known.is_some_and(|(known, told)| version::is_version_of(&known.version, told)))
    }

    /// Whether tags of a version may have changed of which nothing is recorded yet. Where more
    /// writes than are looked at are so, one of them may be of its tags.
    async fn waits_for_tags(&self, key: &ObjectKey, told: &VersionId) -> Result<bool, SenderError> {
        let oldest = self.oldest_intents().await?;
        let is_of_it = |intent: &Intent| intent.key == *key && may_tag(&intent.touched, told);
        Ok(oldest.len() >= FRONT_INTENTS_SEEN_MAX || oldest.iter().any(is_of_it))
    }

    /// Whether a write of it is not recorded yet, among the oldest of those.
    async fn is_unsettled(&self, key: &ObjectKey) -> Result<bool, SenderError> {
        let oldest = self.oldest_intents().await?;
        Ok(oldest.iter().any(|intent| intent.key == *key))
    }

    async fn oldest_intents(&self) -> Result<Vec<Intent>, SenderError> {
        let (journal, bucket) = (&self.0.journal, &self.0.bucket);
        let oldest = journal.intents(bucket, 0, FRONT_INTENTS_SEEN_MAX);
        Ok(oldest.await?)
    }

    /// Whether a rule may send a version of it. What its tags are is not known here.
    async fn is_taken(&self, key: &ObjectKey) -> Result<bool, SenderError> {
        let (journal, bucket) = (&self.0.journal, &self.0.bucket);
        let kind = match journal.is_scanned(bucket).await? {
            true => Kind::new(ChangeKind::Put),
            false => Kind::existing(),
        };
        Ok(self.0.rules.borrow().may_send(bucket, key, kind))
    }
}

/// Whether a write may have changed the tags of the version that the source calls so.
fn may_tag(touched: &Touched, own: &VersionId) -> bool {
    match touched {
        Touched::Versions => false,
        Touched::Tags(None) => true,
        Touched::Tags(Some(told)) => version::is_called(own, told),
    }
}

/// What transfers, newest first, come to for the version that the source calls so; none where
/// there is none of it. What a rule leaves out does not count.
#[must_use]
pub fn together(found: &[TransferStanding], own: &VersionId) -> Option<Option<Status>> {
    decisive(found, own).map(|one| one.map(|one| one.status))
}

/// The transfer by which a version stands as [`together`] says.
#[must_use]
pub fn decisive<'a>(
    found: &'a [TransferStanding],
    own: &VersionId,
) -> Option<Option<&'a TransferStanding>> {
    let is_own = |one: &&TransferStanding| {
        one.kind != ChangeKind::Purge && version::is_version_of(&one.version, own)
    };
    // One that came back is sent anew, and counts by itself.
    let newest = &found.iter().find(is_own)?.version;
    let mut last: Vec<&TransferStanding> = Vec::new();
    for one in found.iter().filter(is_own) {
        let is_older =
            |other: &&TransferStanding| (&other.peer, other.kind) == (&one.peer, one.kind);
        // Of tags that were changed again the last are what is to be there.
        if one.version == *newest && !last.iter().any(is_older) {
            last.push(one);
        }
    }
    let counts = [Status::Failed, Status::Pending, Status::Completed];
    let of_status = |status| last.iter().find(|one| one.status == status).copied();
    Some(counts.into_iter().find_map(of_status))
}

#[cfg(test)]
mod tests {
    use sealift_terms::{PeerName, Reason};

    use super::*;

    fn one(peer: &str, version: &str, kind: ChangeKind, status: Status) -> TransferStanding {
        TransferStanding {
            peer: PeerName::new(peer).unwrap(),
            version: VersionId::new(version).unwrap(),
            kind,
            status,
            reason: None,
        }
    }

    #[test]
    fn a_version_is_completed_when_it_is_everywhere_and_failed_when_it_is_once() {
        let own = VersionId::new("v").unwrap();
        let put = |peer, status| one(peer, "v", ChangeKind::Put, status);
        let of = |found: &[TransferStanding]| together(found, &own);
        let (done, waits, failed, left) = (
            Status::Completed,
            Status::Pending,
            Status::Failed,
            Status::Skipped,
        );
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[one("b", "v1", ChangeKind::Put, done)]), None);
        assert_eq!(of(&[put("b", done)]), Some(Some(done)));
        assert_eq!(of(&[put("b", done), put("c", waits)]), Some(Some(waits)));
        let all = [put("b", done), put("c", waits), put("d", failed)];
        assert_eq!(of(&all), Some(Some(failed)));
        assert_eq!(of(&[put("b", left)]), Some(None));
        assert_eq!(of(&[put("b", left), put("c", done)]), Some(Some(done)));
        // The newest first: tags that were given up, and changed again.
        let tags = |status| one("b", "v", ChangeKind::Tags, status);
        let again = [tags(done), tags(failed), put("b", done)];
        assert_eq!(of(&again), Some(Some(done)));
        assert_eq!(of(&[tags(waits), put("b", done)]), Some(Some(waits)));
        // By which it stands so is told as well.
        let refused = TransferStanding {
            reason: Some(Reason::PolicyDenied),
            ..put("c", failed)
        };
        let told = [again[0].clone(), again[1].clone(), refused.clone()];
        assert_eq!(decisive(&told, &own), Some(Some(&refused)));
        // It was gone, and is there again.
        let back = one("b", "v~returned-1", ChangeKind::Put, waits);
        let gone = one("b", "v", ChangeKind::Purge, failed);
        assert_eq!(of(&[back, gone, put("b", done)]), Some(Some(waits)));
    }
}
