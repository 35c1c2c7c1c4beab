//! How it is told what became of a commit: to one who waits for it, or to one who asked
//! for many and is told of a group at once.

use sealift_terms::Receipt;
use tokio::sync::{mpsc, oneshot};

use crate::{ArchiveError, Result};

/// What became of commits, each under the number it was asked for by.
pub type Outcomes = Vec<(u64, Result<Receipt>)>;

/// Where outcomes go. Not bounded itself: each upload has one outcome, and uploads are.
pub type OutcomesTo = mpsc::UnboundedSender<Outcomes>;

/// Who is told. One that is dropped untold says that the archive has ended.
#[derive(Debug)]
pub(crate) struct Answer(Option<Whom>);

#[derive(Debug)]
enum Whom {
    Waits(oneshot::Sender<Result<Receipt>>),
    Numbered(u64, OutcomesTo),
}

impl Answer {
    /// To one who waits.
    pub(crate) fn waiting() -> (Self, oneshot::Receiver<Result<Receipt>>) {
        let (to, from) = oneshot::channel();
        (Self(Some(Whom::Waits(to))), from)
    }

    /// To one who asked for many.
    pub(crate) fn numbered(number: u64, to: OutcomesTo) -> Self {
        Self(Some(Whom::Numbered(number, to)))
    }

    pub(crate) fn send(self, outcome: Result<Receipt>) {
        let mut answers = Answers::default();
        answers.add(self, outcome);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(Whom::Numbered(number, to)) = self.0.take() {
            let _gone = to.send(vec![(number, Err(ArchiveError::Closed))]);
        }
    }
}

/// The answers of one group: those to one asker go as one. Sent when dropped.
#[derive(Debug, Default)]
pub(crate) struct Answers(Option<(OutcomesTo, Outcomes)>);

impl Answers {
    /// Adds an answer. Who asked may be gone by now.
    pub(crate) fn add(&mut self, mut answer: Answer, outcome: Result<Receipt>) {
        match answer.0.take() {
            Some(Whom::Waits(to)) => drop(to.send(outcome)),
            Some(Whom::Numbered(number, to)) => match &mut self.0 {
                Some((same, outcomes)) if same.same_channel(&to) => {
                    outcomes.push((number, outcome));
                }
                _ => {
                    self.flush();
                    self.0 = Some((to, vec![(number, outcome)]));
                }
            },
            None => {}
        }
    }

    fn flush(&mut self) {
        if let Some((to, outcomes)) = self.0.take() {
            let _gone = to.send(outcomes);
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_group_is_one_message_to_each_and_nobody_is_left_without() {
        let (first, mut from_first) = mpsc::unbounded_channel();
        let (second, mut from_second) = mpsc::unbounded_channel();
        let mut answers = Answers::default();
        for number in [1, 2, 3] {
            let closed = Err(ArchiveError::Abandoned);
            answers.add(Answer::numbered(number, first.clone()), closed);
        }
        assert!(
            from_first.try_recv().is_err(),
            "not before the group is over"
        );
        answers.add(
            Answer::numbered(4, second.clone()),
            Err(ArchiveError::Abandoned),
        );
        let numbers = |outcomes: Outcomes| outcomes.iter().map(|(n, _)| *n).collect::<Vec<_>>();
        assert_eq!(numbers(from_first.recv().await.unwrap()), [1, 2, 3]);
        drop(answers);
        assert_eq!(numbers(from_second.recv().await.unwrap()), [4]);
        drop(Answer::numbered(5, second));
        let untold = from_second.recv().await.unwrap();
        assert!(matches!(untold[..], [(5, Err(ArchiveError::Closed))]));
    }
}
