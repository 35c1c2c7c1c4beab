//! A peer that came back with an older copy of its data, and that others have brought
//! as far again since: its commit sequence tells nothing, the last version that a
//! receipt was given for does.

use std::{convert::Infallible, time::Duration};

use sealift_receiver::{Answer, Question};
use sealift_sender::PeerSender;
use sealift_terms::PeerName;
use sealift_wire::Hello;

use super::Running;
use crate::Error;

/// How long a session may take until a question can be asked in it.
const ASKED_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries.
const ASKED_AGAIN: Duration = Duration::from_millis(100);

impl Running {
    /// What is remembered of a peer before it is compared with its HELLO. Nothing
    /// of a peer that was never seen, or whose HELLO tells by itself that it is behind.
    pub(super) async fn remembered(&self, peer: &PeerName, theirs: &Hello) -> Option<Question> {
        let journal = &self.site.journal;
        let known = journal.peer(peer).await.ok()??;
        let same = (known.site, known.epoch) == (theirs.site, theirs.epoch);
        if !same || theirs.commit_sequence < known.sequence {
            return None;
        }
        Some(Question::Remembered {
            epoch: known.epoch,
            sequence: known.sequence,
            last: journal.last_received(peer).await.ok()?,
        })
    }

    /// Tells the peer, and takes up what it finds. Never ends: the session does.
    pub(super) async fn remind(
        &self,
        sender: &PeerSender,
        remembered: Option<Question>,
    ) -> Infallible {
        if let Some(question) = remembered
            && let Err(error) = compare(sender, &question).await
        {
            tracing::warn!(%error, "it cannot be told whether the peer lost something");
        }
        std::future::pending().await
    }
}

async fn compare(sender: &PeerSender, question: &Question) -> Result<(), Error> {
    let body = serde_json::to_vec(question).map_err(Error::failed("writing a question"))?;
    let asked = async {
        loop {
            // A session that has just begun has no link yet.
            match sender.ask(&body).await {
                Some(answer) => return answer,
                None => tokio::time::sleep(ASKED_AGAIN).await,
            }
        }
    };
    let Ok(answer) = tokio::time::timeout(ASKED_WITHIN, asked).await else {
        return Ok(());
    };
    // An older peer does not know the question.
    let Ok(Answer::Standing {
        epoch,
        renewed: true,
    }) = serde_json::from_slice(&answer)
    else {
        return Ok(());
    };
    sender
        .peer_renewed(epoch)
        .await
        .map_err(Error::failed("queueing again what the peer lost"))
}
