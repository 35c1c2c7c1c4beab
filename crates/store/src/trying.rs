//! How often a service of buckets is asked that is in trouble, and how long is waited in between:
//! the same for S3, Azure and Google. What each has of its own is how one request is signed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Method, Response, header::CONTENT_LENGTH, http::response::Parts};
use sealift_outside::Answer;
use sealift_terms::{
    Rng, Timestamp,
    limits::{S3_RETRY_AFTER_MAX, S3_SENT_BYTES_MIN, S3_TIME_MAX, S3_TRIES_MAX},
    pause,
};

use crate::{StoreError, s3::S3Error};

/// The first wait between two tries.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// The tries of one service's requests.
pub(crate) struct Tries(Arc<dyn Rng>);

impl Tries {
    pub(crate) fn new(rng: Arc<dyn Rng>) -> Self {
        Self(rng)
    }

    /// Asks until there is something else than a passing failure, at most [`S3_TRIES_MAX`] times.
    /// What `once` takes of an answer is a part of the try: one that was lost in the middle is
    /// asked for again.
    pub(crate) async fn of<T, F>(&self, once: impl Fn() -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, S3Error>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match once().await {
                Err(error) if error.is_passing() && tries < S3_TRIES_MAX => {
                    self.pause(tries, error.retry_after()).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// As [`Self::of`], with all of the answer.
    pub(crate) async fn whole<F>(&self, once: impl Fn() -> F) -> Result<Response<Bytes>, S3Error>
    where
        F: Future<Output = Result<Answer, S3Error>>,
    {
        let whole = self.of(|| {
            let answer = once();
            async move { Ok(answer.await?.whole().await?) }
        });
        whole.await
    }

    /// All bytes of something that was listed with `size` of them, which are few: so many, and no
    /// other number.
    pub(crate) async fn small<F>(
        &self,
        key: &str,
        size: usize,
        once: impl Fn() -> F,
    ) -> Result<(Parts, Vec<u8>), StoreError>
    where
        F: Future<Output = Result<Answer, S3Error>>,
    {
        let time = S3_TIME_MAX + Duration::from_secs(size as u64 / S3_SENT_BYTES_MIN);
        let read = self.of(|| {
            let answer = once();
            // One byte more says that it is another size, and the rest is not needed.
            async move { Ok(answer.await?.first(size.saturating_add(1), time).await?) }
        });
        let (head, bytes) = read.await.map_err(|error| error.of_source(key))?;
        let than = if bytes.len() > size { "more than " } else { "" };
        match bytes.len() == size {
            true => Ok((head, bytes)),
            false => Err(StoreError::SourceChanged {
                evidence: format!(
                    "{size} bytes were listed, {than}{} came",
                    bytes.len().min(size)
                ),
            }),
        }
    }

    /// Waits before another try: twice as long after each, of which a random half is taken off,
    /// and before that as long as the service `told`, within [`S3_RETRY_AFTER_MAX`] each.
    pub(crate) async fn pause(&self, tries: u32, told: Option<Duration>) {
        tokio::time::sleep(self.time(tries, told)).await;
    }

    fn time(&self, tries: u32, told: Option<Duration>) -> Duration {
        let pauses = RETRY_AFTER_MIN..=S3_RETRY_AFTER_MAX;
        let own = pause::after(tries.saturating_sub(1), pauses, &*self.0);
        told.unwrap_or_default().min(S3_RETRY_AFTER_MAX) + own
    }
}

/// The error that an answer is which is no success. What it has to do with clocks is told from
/// what ours says `now`.
pub(crate) async fn refusal(answer: Answer, method: &Method, now: Timestamp) -> S3Error {
    let head = answer.head.clone();
    let length = head.headers.get(CONTENT_LENGTH);
    let has_body = method != Method::HEAD && length.is_none_or(|length| length != "0");
    let body = match has_body {
        true => match answer.whole().await {
            Ok(whole) => whole.into_body(),
            Err(error) => return error.into(),
        },
        false => Bytes::new(),
    };
    S3Error::of(&head, &body).with_clock(&head, now)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Fixed(u8);

    impl Rng for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn answered(status: u16, after: Option<u64>) -> S3Error {
        S3Error::Answered {
            status,
            code: String::new(),
            told: String::new(),
            after: after.map(Duration::from_secs),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_asked_for_so_often_and_what_does_not_once() {
        let tries = Tries::new(Arc::new(Fixed(0)));
        for (status, fails, wanted) in [(503, 2, 3), (503, 99, S3_TRIES_MAX), (403, 99, 1)] {
            let asked = AtomicU32::new(0);
            let outcome = tries.of(|| {
                let count = asked.fetch_add(1, Ordering::Relaxed);
                async move {
                    match count < fails {
                        true => Err(answered(status, None)),
                        false => Ok(()),
                    }
                }
            });
            assert_eq!(outcome.await.is_ok(), fails < S3_TRIES_MAX);
            assert_eq!(asked.into_inner(), wanted, "{status}");
        }
    }

    #[test]
    fn a_pause_is_as_long_as_the_service_asks_for_and_ours_behind_it() {
        let tries = Tries::new(Arc::new(Fixed(0)));
        let half = RETRY_AFTER_MIN / 2;
        let secs = Duration::from_secs;
        assert_eq!(tries.time(1, None), half);
        assert_eq!(tries.time(3, None), half * 4);
        assert_eq!(tries.time(1, Some(secs(2))), secs(2) + half);
        // No longer than ours may be: what waits holds what others wait for.
        assert_eq!(tries.time(1, Some(secs(3600))), S3_RETRY_AFTER_MAX + half);
    }
}
