//! What the receiving side asks the sending side for: versions that were found damaged
//! and are to come again. JSON in the bodies of ASK and ANSWER frames.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_ledger::{Journal, Requeue};
use sealift_sender::WorkSignal;
use sealift_terms::{
    Audit, AuditKind, AuditRecord, Clock, PeerName, Status, VersionName,
    limits::{REPAIR_ASKED_AGAIN_AFTER, REPAIRS_PER_QUESTION_MAX},
};
use sealift_tunnel::{Binding, Questions};
use serde::{Deserialize, Serialize};

use super::Running;
use crate::regions::KeyDesk;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Transfers of one key that are looked through for one that is on its way already.
const TRANSFERS_MAX: usize = 100;

/// A question of the receiving side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
enum Question {
    /// These versions are damaged here: send them again.
    Repair { versions: Vec<VersionName> },
}

/// The answer of the sending side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
enum Answer {
    /// How many come again, and which will not.
    Repair {
        queued: u64,
        unknown: Vec<VersionName>,
    },
    /// The question was not understood.
    Unknown,
}

/// Answers one peer in the place of the journal.
pub(super) struct Answers {
    pub(super) peer: PeerName,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) audit: Arc<dyn Audit>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) work: WorkSignal,
    /// Answers what is about keys.
    pub(super) keys: Arc<KeyDesk>,
}

#[async_trait]
impl Questions for Answers {
    async fn answer(&self, question: &[u8], binding: Option<&Binding>) -> Vec<u8> {
        let answer = match serde_json::from_slice(question) {
            Ok(Question::Repair { versions }) if versions.len() <= REPAIRS_PER_QUESTION_MAX => {
                self.repair(versions).await
            }
            Ok(Question::Repair { .. }) => Answer::Unknown,
            Err(_) => return self.keys.answer(question, binding).await,
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}

impl Answers {
    async fn repair(&self, versions: Vec<VersionName>) -> Answer {
        let (mut queued, mut unknown) = (0, Vec::new());
        for name in versions {
            match self.send_again(&name).await {
                Ok(true) => queued += 1,
                Ok(false) => unknown.push(name),
                Err(error) => {
                    tracing::error!(version = %name, error, "a damaged replica cannot be sent again now");
                    unknown.push(name);
                }
            }
        }
        self.work.wake();
        Answer::Repair { queued, unknown }
    }

    /// Whether the version comes, again or for the first time.
    async fn send_again(&self, name: &VersionName) -> Result<bool, String> {
        let now = self.clock.now();
        let which = Requeue::Damaged {
            peer: self.peer.clone(),
            name: name.clone(),
        };
        let queued = self.journal.requeue(which, now).await;
        if queued.map_err(|error| error.to_string())? == 0 {
            return self.is_on_its_way(name).await;
        }
        tracing::warn!(peer = %self.peer, version = %name, "the peer has found its copy damaged: it is sent again");
        let record = AuditRecord::new(now, AuditKind::ReplicaDamaged, "agent")
            .with("peer", &self.peer)
            .with("bucket", &name.bucket)
            .with("key", &name.key)
            .with("version", &name.version);
        self.audit
            .record(record)
            .map_err(|error| error.to_string())?;
        Ok(true)
    }

    async fn is_on_its_way(&self, name: &VersionName) -> Result<bool, String> {
        let transfers = self
            .journal
            .transfers_of(&name.bucket, &name.key, TRANSFERS_MAX)
            .await
            .map_err(|error| error.to_string())?;
        Ok(transfers.iter().any(|transfer| {
            transfer.peer == self.peer
                && transfer.change.name == *name
                && transfer.status == Status::Pending
        }))
    }
}

/// When each damaged version was last asked for.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashMap<u64, Duration>>);

impl Running {
    /// Asks those who may bring it for what is damaged here and was not asked for lately.
    pub(super) async fn ask_for_repairs(&self) {
        let now = self.site.world.clock.monotonic();
        let mut after = 0;
        self.asked
            .0
            .lock()
            .retain(|_, at| now.saturating_sub(*at) < REPAIR_ASKED_AGAIN_AFTER);
        loop {
            let page = self
                .site
                .archive
                .damaged(after, REPAIRS_PER_QUESTION_MAX)
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let error = crate::Error::from(error).in_one_line();
                    return tracing::error!(error, "the quarantine cannot be read");
                }
            };
            let Some(last) = page.last() else { return };
            after = last.id;
            let due: Vec<_> = {
                let asked = self.asked.0.lock();
                let page = page.into_iter();
                page.filter(|row| !asked.contains_key(&row.id)).collect()
            };
            let mut any_asked = false;
            for session in self.door.sessions() {
                let versions = due.iter().map(|row| row.name.clone());
                let versions = versions.filter(|name| session.may_bring(&name.bucket));
                let question = Question::Repair {
                    versions: versions.collect(),
                };
                any_asked |= ask(&session, &question).await;
            }
            if any_asked {
                let mut asked = self.asked.0.lock();
                asked.extend(due.iter().map(|row| (row.id, now)));
            }
        }
    }
}

/// Whether it was answered.
async fn ask(session: &sealift_receiver::Session, question: &Question) -> bool {
    let Question::Repair { versions } = question;
    if versions.is_empty() {
        return false;
    }
    let body = serde_json::to_vec(question).unwrap_or_default();
    let peer = &session.peer().identity;
    let Some(answer) = session.ask(&body) else {
        return false;
    };
    let Ok(Ok(body)) = tokio::time::timeout(ANSWER_TIME_MAX, answer).await else {
        return false;
    };
    match serde_json::from_slice(&body) {
        Ok(Answer::Repair { queued, unknown }) => {
            tracing::info!(%peer, queued, unknown = unknown.len(), "damaged versions were asked for");
            for name in unknown.iter().filter(|name| versions.contains(name)) {
                tracing::error!(%peer, version = %name, "a damaged version will not come again: its source does not have it");
            }
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::limits::CONTROL_BODY_BYTES_MAX;

    use super::*;

    #[test]
    fn the_longest_question_fits_into_its_frame() {
        let name = VersionName {
            bucket: "b".repeat(63).parse().unwrap(),
            // Every byte takes six in JSON.
            key: sealift_terms::ObjectKey::new("\u{1}".repeat(1024)).unwrap(),
            version: "v".repeat(1024).parse().unwrap(),
        };
        let question = Question::Repair {
            versions: vec![name; REPAIRS_PER_QUESTION_MAX],
        };
        let body = serde_json::to_vec(&question).unwrap();
        assert!(body.len() <= CONTROL_BODY_BYTES_MAX, "{}", body.len());
    }

    #[test]
    fn questions_and_answers_read_as_documented() {
        let question: Question = serde_json::from_str(
            r#"{"ask":"repair","versions":[{"bucket":"photos","key":"a","version":"v1"}]}"#,
        )
        .unwrap();
        let Question::Repair { versions } = &question;
        assert_eq!(versions[0].key.as_str(), "a");
        let answer = Answer::Repair {
            queued: 1,
            unknown: Vec::new(),
        };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"answer":"repair","queued":1,"unknown":[]}"#);
    }
}
