//! The control link over which one peer is asked about keys: of a session in which we send, of
//! one in which we receive, or one that was dialled for that alone.

use std::{sync::Arc, time::Duration};

use sealift_receiver::Session;
use sealift_sender::ControlLink;
use sealift_terms::Region;
use sealift_tunnel::Binding;
use tokio::{sync::oneshot, time::timeout};

use super::{Answer, Question, Trouble};
use crate::running::Asking;

/// How long an answer may take: the other side writes its keystore.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A way to ask one peer about keys.
pub(crate) enum Channel {
    /// We send to it.
    Sending(ControlLink),
    /// It sends to us.
    Receiving(Arc<Session>, Binding),
    /// Neither: it was dialled to be asked.
    Dialled(Box<tokio::sync::Mutex<Asking>>, Binding),
}

impl Channel {
    /// What goes over it is bound to.
    pub(crate) fn binding(&self) -> &Binding {
        match self {
            Self::Sending(link) => link.binding(),
            Self::Receiving(_, binding) | Self::Dialled(_, binding) => binding,
        }
    }

    /// The region at its other end.
    pub(crate) fn region(&self) -> &Region {
        self.binding().peer.region()
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Answer, Trouble> {
        let no_answer = || Trouble::NoAnswer(self.region().clone());
        let body = serde_json::to_vec(question).unwrap_or_default();
        let answer = match self {
            Self::Sending(link) => answered(link.ask(&body)).await,
            Self::Receiving(session, _) => answered(session.ask_on_control(&body)).await,
            Self::Dialled(asking, _) => {
                let mut asking = asking.lock().await;
                let asked = timeout(ANSWER_TIME_MAX, asking.ask_raw(&body)).await;
                asked.ok().and_then(Result::ok)
            }
        };
        let answer = answer.ok_or_else(no_answer)?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::KeyRefused { reason, told }) => Err(Trouble::Refused {
                region: self.region().clone(),
                told: format!("{reason}: {told}"),
            }),
            Ok(Answer::Unknown) | Err(_) => Err(Trouble::Misplaced(self.region().clone())),
            Ok(answer) => Ok(answer),
        }
    }

    /// Ends what was dialled for this alone.
    pub(crate) async fn close(self) {
        if let Self::Dialled(asking, _) = self {
            asking.into_inner().close().await;
        }
    }
}

async fn answered(asked: Option<oneshot::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    timeout(ANSWER_TIME_MAX, asked?).await.ok()?.ok()
}
