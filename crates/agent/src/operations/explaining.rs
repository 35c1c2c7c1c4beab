//! `explain`: why an object stands as it does, and what to do.

use sealift_archive::{Finding, is_written_here};
use sealift_keys::KeyError;
use sealift_ledger::{KnownKey, Transfer, VersionKind, VersionRow};
use sealift_terms::{PeerName, Reason, Receipt, SecondKey, Status};

use super::{
    Direction, PeerState, SiteOperations, Trouble, answers, failing, listing, written::Written,
};
use crate::{
    Error,
    admin::{Answer, Explanation, Named, ObjectRow},
    config::{Bucket, NamedKey},
    error::with_key,
    sources::open_source,
};

/// Transfers of the key that are looked at.
const TRANSFERS_MAX: usize = 1000;
/// A larger object is not opened to say whether it is whole.
const OPENED_BYTES_MAX: u64 = 64 << 20;
/// What is to be said of a key whose removal is held.
const REMOVAL_HELD: &str =
    "it is gone from the source with more than half of the bucket, so its removal is held";
/// What is to be said of a key that was removed while no rule was about it.
const REMOVED_UNTOLD: &str =
    "it was removed here while no rule sent that: where it was sent before it stays";
const ACCEPT_DELETES: &str =
    "if that is meant, run `sealift retry --accept-deletes`; otherwise bring the files back";

impl SiteOperations {
    pub(super) async fn explain(&self, named: &Named, answer: &Answer) -> Result<(), Error> {
        let explained = self.explain_transfers(named, answer).await?
            + self.explain_replica(named, answer).await?;
        if explained > 0 || self.explain_unknown(named, answer).await? {
            return Ok(());
        }
        Err(Error::NotFound {
            what: format!("object {}/{} at this site", named.bucket, named.key),
        })
    }

    /// The latest version to every peer, and whatever older is not done.
    async fn explain_transfers(&self, named: &Named, answer: &Answer) -> Result<usize, Error> {
        let journal = &self.site.journal;
        let known = journal.known(&named.bucket, &named.key).await?;
        let transfers = journal
            .transfers_of(&named.bucket, &named.key, TRANSFERS_MAX)
            .await?;
        let holding = self.holding(&named.bucket);
        let mut explained = 0;
        for transfer in &transfers {
            let latest = known
                .as_ref()
                .is_some_and(|known| listing::is_latest(known, transfer));
            let wanted = match &named.version {
                Some(version) => *version == transfer.change.name.version,
                None => latest || matches!(transfer.status, Status::Pending | Status::Failed),
            };
            if wanted {
                explained += 1;
                let mut explanation = self.of_transfer(transfer, latest);
                if let Some(holding) = &holding {
                    holding.tell(&mut explanation.object).await;
                }
                if explanation.object.removal_held {
                    explanation.evidence = Some(REMOVAL_HELD.to_owned());
                    explanation.remedy = Some(ACCEPT_DELETES.to_owned());
                }
                answer.row(&explanation).await?;
            }
        }
        let is_meant = |known: &KnownKey| {
            let named = named.version.as_ref();
            named.is_none_or(|version| *version == known.version)
        };
        if let Some(known) = known.filter(is_meant)
            && !transfers
                .iter()
                .any(|transfer| listing::is_latest(&known, transfer))
        {
            explained += 1;
            let row = listing::uncovered(&named.bucket, &known);
            let evidence = known.deleted.then(|| REMOVED_UNTOLD.to_owned());
            answer.row(&reasoned(row, evidence)).await?;
        }
        Ok(explained)
    }

    fn of_transfer(&self, transfer: &Transfer, latest: bool) -> Explanation {
        let row = answers::sent(transfer, latest);
        let waits = transfer.status == Status::Pending;
        // It waits for somebody, not for a time.
        let is_paused = transfer.reason == Some(Reason::BatchPaused);
        let now = self.site.world.clock.now();
        let mut explanation = Explanation {
            rule: Some(transfer.rule.clone()),
            tries: u64::from(transfer.attempts),
            next_try: Some(transfer.next_try).filter(|time| waits && !is_paused && *time > now),
            ..reasoned(row, transfer.evidence.clone())
        };
        if let Some(reason) = transfer.reason {
            explanation.remedy = Some(remedy_at(reason, &transfer.peer));
        }
        if let Some(receipt) = &transfer.receipt {
            explanation.evidence = Some(format!(
                "stored in {} under {} at {}, commit {}",
                receipt.region,
                keys_of(receipt),
                receipt.stored_at,
                receipt.sequence
            ));
        }
        let live = self.live.as_ref().filter(|_| waits);
        let stored = live.and_then(|live| live.progress(&transfer.peer, transfer.id));
        if let Some(stored) = stored {
            explanation.object.reason = None;
            explanation.next_try = None;
            explanation.remedy = None;
            explanation.evidence = Some(format!(
                "it is on its way: {stored} of {} bytes are stored at {}",
                transfer.change.facts.size, transfer.peer
            ));
        } else if waits && transfer.reason.is_none() {
            self.explain_waiting(transfer, &mut explanation);
        }
        explanation
    }

    /// Nothing is wrong with the transfer itself: then it is its turn, or the peer.
    fn explain_waiting(&self, transfer: &Transfer, explanation: &mut Explanation) {
        let Some(live) = &self.live else {
            explanation.evidence = Some("the agent is stopped".to_owned());
            explanation.remedy = Some("run `sealift up`".to_owned());
            return;
        };
        let peers = live.peers();
        let peer = peers.into_iter().find(|peer| peer.peer == transfer.peer);
        let sends = |peer: &PeerState| {
            let mut sessions = peer.sessions.iter();
            sessions.any(|session| session.direction == Direction::Send)
        };
        let Some(peer) = peer.filter(|peer| !sends(peer)) else {
            explanation.evidence = Some("it waits for its turn".to_owned());
            return;
        };
        let config = self.site.current();
        let configured = config.peers.iter().find(|one| one.name == transfer.peer);
        match (peer.trouble, configured) {
            (Some(Trouble { reason, evidence }), _) => {
                explanation.object.reason = Some(reason);
                explanation.evidence = Some(evidence);
                explanation.remedy = Some(reason.remedy().to_owned());
            }
            (None, Some(peer)) if !peer.is_dialled_to_send() => {
                explanation.evidence = Some(peer.without_session());
                explanation.remedy = Some(peer.to_be_dialled());
            }
            (None, _) => {
                let evidence = format!("there is no session with {} yet", transfer.peer);
                explanation.evidence = Some(evidence);
            }
        }
    }

    async fn explain_replica(&self, named: &Named, answer: &Answer) -> Result<usize, Error> {
        let catalog = &self.site.catalog;
        let latest = catalog.latest(&named.bucket, &named.key).await?;
        let row = match &named.version {
            None => latest.clone(),
            Some(version) => {
                let name = sealift_terms::VersionName {
                    bucket: named.bucket.clone(),
                    key: named.key.clone(),
                    version: version.clone(),
                };
                catalog.known(&name).await?
            }
        };
        let Some(row) = row else { return Ok(0) };
        let is_latest = latest.is_some_and(|latest| latest.name == row.name);
        let explanation = self.of_replica(&row, is_latest).await?;
        answer.row(&explanation).await?;
        Ok(1)
    }

    /// A replica's matters are where it came from, and whether its key still opens.
    async fn of_replica(&self, row: &VersionRow, latest: bool) -> Result<Explanation, Error> {
        let config = self.site.current();
        let is_ours = is_written_here(row, &config.site.region);
        let came = row.receipt.as_ref().map(|receipt| {
            let session = &receipt.session;
            let from = match is_ours {
                true => "written here".to_owned(),
                false => format!(
                    "from {} over {}, {}, {}",
                    session.sender, session.tls_version, session.cipher_suite, session.group
                ),
            };
            let keys = keys_of(receipt);
            format!("{from}; sealed under {keys}, commit {}", row.sequence)
        });
        let rebuilt = || "the catalog was rebuilt since it was stored".to_owned();
        let mut object = answers::replica(row, latest);
        let mut written = Written::of(&self.site, &row.name.bucket).await?;
        (object.status, object.reason) = written.standing(row).await?;
        let mut explanation = reasoned(object, None);
        explanation.evidence = Some(came.unwrap_or_else(rebuilt));
        let bucket = config.buckets.iter().find(|b| b.name == row.name.bucket);
        let keys = bucket.into_iter().flat_map(Bucket::keys);
        if let Some((key, error)) = self.unusable(keys).await {
            let reason = error.reason();
            explanation.object.reason = Some(reason);
            explanation.evidence = Some(failing::in_words(&error));
            explanation.remedy = Some(with_key(reason.remedy(), &key));
        } else if let Some(cause) = self.damage_of(row).await {
            let reason = Reason::DstObjectDamaged;
            explanation.object.reason = Some(reason);
            explanation.evidence = Some(cause);
            explanation.remedy = Some(
                "keep the store as it is; a copy of the store, or the source, has it whole"
                    .to_owned(),
            );
        }
        Ok(explanation)
    }

    /// The first key that cannot be used, and why.
    async fn unusable<'a>(
        &self,
        keys: impl Iterator<Item = (&'static str, &'a NamedKey)> + Send,
    ) -> Option<(String, KeyError)> {
        for (_, key) in keys {
            if let Err(error) = self.key_of(&key.name).await {
                return Some((key.name.clone(), error));
            }
        }
        None
    }

    /// What is wrong with the sealed bytes of a version. Those of a large one are not
    /// opened for a question: `verify --deep` takes the time.
    async fn damage_of(&self, row: &VersionRow) -> Option<String> {
        let end = row.location.offset.saturating_add(row.location.length);
        match self.stored(&row.location.file).await {
            None => return Some(format!("{} is missing", row.location.file)),
            Some(len) if len < end => {
                return Some(format!(
                    "{} ends at {len}, it should reach to {end}",
                    row.location.file
                ));
            }
            Some(_) => {}
        }
        if row.kind == VersionKind::DeleteMarker || row.facts.size > OPENED_BYTES_MAX {
            return None;
        }
        match self.site.archive.verify_version(row.clone()).await {
            Ok(Some(Finding::ObjectDamaged { file, cause, .. })) => {
                Some(format!("in {file}: {cause}"))
            }
            Ok(finding) => finding.map(|finding| finding.to_string()),
            // What keeps it from being opened is no damage.
            Err(_) => None,
        }
    }

    /// What the journal does not know may be in the source all the same.
    async fn explain_unknown(&self, named: &Named, answer: &Answer) -> Result<bool, Error> {
        let unsupported = self.site.journal.unsupported(&named.bucket).await?;
        let name = named.key.as_str();
        if let Some(found) = unsupported.iter().find(|found| found.name == name)
            && let Some(row) = listing::left_out(&named.bucket, name, found.reason)
        {
            let explanation = reasoned(row, Some(found.evidence.clone()));
            answer.row(&explanation).await?;
            return Ok(true);
        }
        let config = self.site.current();
        let source = config.sources.iter().find(|s| s.bucket == named.bucket);
        let Some(source) = source else {
            return Ok(false);
        };
        let opened = open_source(&self.site, source)?;
        let looked = opened.look(&named.key).await;
        let row = listing::left_out(&named.bucket, name, Reason::SkippedUnreadable);
        let (Some(mut row), false) = (row, named.version.is_some()) else {
            return Ok(false);
        };
        let evidence = match looked {
            Ok(None) => return Ok(false),
            Ok(Some(listed)) => {
                row.status = Status::Pending;
                row.reason = None;
                row.size = listed.facts.size;
                row.version = listed.version;
                row.last_modified = listed.facts.last_modified;
                match (listed.settled, self.live.is_some()) {
                    (false, _) => "it is still being written to",
                    (true, true) => "it is in the source; the next scan takes it up",
                    (true, false) => {
                        "it is in the source; the agent is stopped and has not seen it"
                    }
                }
                .to_owned()
            }
            Err(error) => {
                row.reason = Some(error.reason());
                row.status = error.reason().status();
                failing::in_words(&error)
            }
        };
        answer.row(&reasoned(row, Some(evidence))).await?;
        Ok(true)
    }
}

/// Under which keys a receipt says that something rests.
fn keys_of(receipt: &Receipt) -> String {
    let first = format!("{} version {}", receipt.cmk, receipt.cmk_version);
    match &receipt.second {
        None => first,
        Some(SecondKey {
            cmk, cmk_version, ..
        }) => format!("{first} and, in a second layer, {cmk} version {cmk_version}"),
    }
}

/// What to do about a reason that a peer gave: most of it is to be done there.
fn remedy_at(reason: Reason, peer: &PeerName) -> String {
    let remedy = reason.remedy();
    match reason.as_str().starts_with("Dst") {
        true => format!("at {peer}: {remedy}"),
        false => remedy.to_owned(),
    }
}

fn reasoned(object: ObjectRow, evidence: Option<String>) -> Explanation {
    let remedy = object.reason.map(|reason| reason.remedy().to_owned());
    Explanation {
        object,
        rule: None,
        evidence,
        tries: 0,
        next_try: None,
        remedy,
    }
}
