//! Keys that seem to have vanished, looked at again before anything is deleted: several side
//! by side, as each look at a service far away takes its round trips.

use std::{io, sync::Arc};

use sealift_ledger::KnownKey;
use sealift_store::{Listed, Removed, Source, StoreError};
use sealift_terms::ObjectKey;
use tokio::task::JoinSet;

use super::recorder::Recorder;
use crate::SenderError;

/// Keys looked at side by side.
pub(super) const LOOKED_AT_ONCE: usize = 16;

/// A key that is not in the source any more.
pub(super) struct Gone {
    pub(super) known: KnownKey,
    /// The source's own delete marker of it.
    pub(super) own: Option<Removed>,
}

impl Recorder {
    /// How many of these keys, known as live, really are gone.
    pub(super) async fn count_gone(&self, keys: &[ObjectKey]) -> Result<u64, SenderError> {
        let mut count = 0;
        for keys in keys.chunks(LOOKED_AT_ONCE) {
            let live = self.live(keys).await?;
            let looked = self.side_by_side(live, |source, known| async move {
                look(&*source, &known.key).await
            });
            count += looked.await?.iter().filter(|found| found.is_none()).count() as u64;
        }
        Ok(count)
    }

    /// Those of at most [`LOOKED_AT_ONCE`] keys, known as live, that really are gone: a scan is
    /// not one moment.
    pub(super) async fn gone(&self, keys: &[ObjectKey]) -> Result<Vec<Gone>, SenderError> {
        self.gone_of(self.live(keys).await?).await
    }

    /// As [`gone`](Self::gone), whatever is known of them.
    pub(super) async fn gone_of(&self, known: Vec<KnownKey>) -> Result<Vec<Gone>, SenderError> {
        let gone = self.side_by_side(known, |source, known| async move {
            Ok(match look(&*source, &known.key).await? {
                None => Some(Gone {
                    own: source.removed(&known.key).await?,
                    known,
                }),
                Some(_) => None,
            })
        });
        Ok(gone.await?.into_iter().flatten().collect())
    }

    async fn live(&self, keys: &[ObjectKey]) -> Result<Vec<KnownKey>, SenderError> {
        let mut live = Vec::with_capacity(keys.len());
        for key in keys {
            let known = self.journal.known(&self.bucket, key).await?;
            live.extend(known.filter(|known| !known.deleted));
        }
        Ok(live)
    }

    /// Asks the source of each of these keys, of all at the same time; in their order.
    async fn side_by_side<T, F>(
        &self,
        keys: Vec<KnownKey>,
        ask: impl Fn(Arc<dyn Source>, KnownKey) -> F,
    ) -> Result<Vec<T>, SenderError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (place, key) in keys.into_iter().enumerate() {
            let answer = ask(self.source.clone(), key);
            asked.spawn(async move { (place, answer.await) });
        }
        let mut answers = Vec::with_capacity(asked.len());
        while let Some(done) = asked.join_next().await {
            let (place, answer) = done.map_err(|error| StoreError::SourceUnavailable {
                path: self.bucket.to_string(),
                source: io::Error::other(error),
            })?;
            answers.push((place, answer?));
        }
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

/// Looks at one key; what is no object counts as not there.
pub(super) async fn look(
    source: &dyn Source,
    key: &ObjectKey,
) -> Result<Option<Listed>, StoreError> {
    match source.look(key).await {
        Err(StoreError::SourceUnsupported { .. }) => Ok(None),
        looked => looked,
    }
}
