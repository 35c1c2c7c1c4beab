//! What `check` learns of canaries: here, and through a session at a peer.

use std::time::Instant;

use sealift_archive::{Archive, in_words};
use sealift_receiver::Answer;
use sealift_terms::{BucketName, Rng};

use crate::CheckLine;

/// Bytes of a canary.
const CANARY_BYTES: usize = 1024;

/// A canary on its way: what went in must come out.
pub(super) struct Canary {
    bytes: Vec<u8>,
    sent: Instant,
}

impl Canary {
    pub(super) fn new(rng: &dyn Rng) -> Self {
        let mut bytes = vec![0; CANARY_BYTES];
        rng.fill(&mut bytes);
        Self {
            bytes,
            sent: Instant::now(),
        }
    }

    pub(super) fn hex(&self) -> String {
        hex::encode(&self.bytes)
    }

    /// Of a bucket of this site, as the agent itself.
    pub(super) async fn here(self, archive: &Archive, bucket: &BucketName) -> CheckLine {
        let check = format!("canary of bucket {bucket}");
        match archive.try_canary("agent", bucket, &self.bytes).await {
            Ok(opened) => self.opened(check, &opened),
            Err(error) => {
                let found = format!("{}: {}", error.reason(), in_words(&error));
                CheckLine::fail(check, found, error.reason().remedy())
            }
        }
    }

    /// What a peer answered.
    pub(super) fn answered(self, check: String, answer: Answer) -> CheckLine {
        match answer {
            Answer::Canary {
                opened: Some(opened),
                ..
            } => match hex::decode(opened) {
                Ok(opened) => self.opened(check, &opened),
                Err(error) => CheckLine::fail(check, error.to_string(), "look into the peer's log"),
            },
            Answer::Canary { obstacle, .. } => CheckLine::fail(
                check,
                obstacle.unwrap_or_else(|| "it was not opened".to_owned()),
                "run `sealift check` at the peer",
            ),
            _ => CheckLine::skip(check, "the peer does not know the question: it is older"),
        }
    }

    fn opened(self, check: String, opened: &[u8]) -> CheckLine {
        if opened != self.bytes {
            let found = "ChecksumMismatch: other bytes came back than went in";
            let remedy = "check memory and disk there, and `sealift verify --deep`";
            return CheckLine::fail(check, found, remedy);
        }
        let taken = self.sent.elapsed().as_millis();
        let found = format!(
            "{CANARY_BYTES} bytes sealed, stored, opened the same and removed, in {taken} ms"
        );
        CheckLine::pass(check, found)
    }
}
