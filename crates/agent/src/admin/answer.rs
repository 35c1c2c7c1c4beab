//! An answer on its way: rows and bytes, then how it ended. The same whether the
//! work is done in this process or in the running agent.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::Error;

/// Pieces on their way before the one who answers waits.
const PIECES_QUEUED_MAX: usize = 16;

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One row, as JSON without a line break.
    Row(String),
    /// Bytes of an object.
    Bytes(Bytes),
}

/// Where an operation puts its answer.
#[derive(Debug, Clone)]
pub struct Answer(mpsc::Sender<Piece>);

impl Answer {
    /// Sends a row.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when whoever asked is gone.
    pub async fn row(&self, row: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_string(row).map_err(Error::failed("writing a row"))?;
        self.json(json).await
    }

    /// Sends a row that is JSON already, without a line break.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when whoever asked is gone.
    pub async fn json(&self, json: String) -> Result<(), Error> {
        self.send(Piece::Row(json)).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when whoever asked is gone.
    pub async fn bytes(&self, bytes: Bytes) -> Result<(), Error> {
        self.send(Piece::Bytes(bytes)).await
    }

    /// Whether whoever asked is gone: long work looks now and then.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until whoever asked is gone.
    pub async fn cancelled(&self) {
        self.0.closed().await;
    }

    pub(super) async fn send(&self, piece: Piece) -> Result<(), Error> {
        self.0.send(piece).await.map_err(|_| Error::Cancelled)
    }
}

/// An answer as it arrives.
#[derive(Debug)]
pub struct Answers {
    pieces: mpsc::Receiver<Piece>,
    work: JoinHandle<Result<(), Error>>,
}

impl Answers {
    /// Starts `work`, which puts its answer into what it is given.
    pub(super) fn start<F>(work: impl FnOnce(Answer) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(PIECES_QUEUED_MAX);
        let work = tokio::spawn(work(Answer(sender)));
        Self { pieces, work }
    }

    /// The next piece; none at the end, and then [`Answers::finish`] says how it ended.
    pub async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// The next row, as what it is; bytes before it are passed over.
    ///
    /// # Errors
    /// [`Error::Answer`] when the row is something else.
    pub async fn next_row<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        while let Some(piece) = self.next().await {
            if let Piece::Row(json) = piece {
                let row = serde_json::from_str(&json);
                return row
                    .map(Some)
                    .map_err(|error| Error::Answer(error.to_string()));
            }
        }
        Ok(None)
    }

    /// How it ended. Pieces not yet taken are dropped.
    ///
    /// # Errors
    /// What the operation failed with.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.pieces.close();
        match (&mut self.work).await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(Error::failed("answering")(stopped)),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.work.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_and_bytes_come_in_order_and_then_the_end() {
        let mut answers = Answers::start(|answer| async move {
            answer.row(&1).await?;
            answer.bytes(Bytes::from_static(b"xy")).await?;
            answer.row(&2).await?;
            Err(Error::NotFound {
                what: "end".to_owned(),
            })
        });
        assert_eq!(answers.next().await, Some(Piece::Row("1".to_owned())));
        assert_eq!(answers.next_row::<u8>().await.unwrap(), Some(2));
        assert_eq!(answers.next().await, None);
        assert!(matches!(
            answers.finish().await,
            Err(Error::NotFound { .. })
        ));
    }

    #[tokio::test]
    async fn whoever_answers_learns_that_nobody_listens() {
        let answers = Answers::start(|answer| async move {
            loop {
                answer.row(&()).await?;
            }
        });
        assert!(matches!(answers.finish().await, Err(Error::Cancelled)));
    }
}
