//! A queue of SQS that a bucket's events go to: asked by its JSON protocol, waiting for
//! messages, which are deleted when what they told of is recorded.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use sealift_outside::{AwsAsk, Bounds, HttpClient, Keychain};
use sealift_terms::{
    Clock, Rng,
    limits::{QUEUE_WAIT, S3_ANSWER_BYTES_MAX, S3_TIME_MAX},
    pause,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use tokio_rustls::rustls::ClientConfig;

use super::Wanted;
use crate::{
    Hint, Recorded, StoreError,
    s3::{
        error::S3Error,
        settings::{EventQueue, S3Settings},
    },
};

/// The actions that a queue is asked for: what a policy has to allow. Deleting many takes the right
/// to delete one.
pub const SQS_ACTIONS: [&str; 2] = ["sqs:ReceiveMessage", "sqs:DeleteMessage"];
const SERVICE: &str = "sqs";
/// The handle of no message.
const NO_MESSAGE: &str = "sealift-check";
/// Messages taken at once, which is as many as the service gives.
const MESSAGES_MAX: usize = 10;
/// An empty queue is asked again no sooner than this.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A queue in trouble is asked again after this, and after twice as long each time.
const TROUBLE_PAUSES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// One queue.
#[derive(Debug)]
pub(in crate::s3) struct Queue {
    settings: EventQueue,
    http: HttpClient,
    keychain: Keychain,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Received {
    messages: Vec<Message>,
}

/// With a namespace before it: `com.amazonaws.sqs#AccessDeniedException`.
fn exception(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let name = body.get("__type")?.as_str()?;
    Some(name.rsplit('#').next().unwrap_or(name).to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    receipt_handle: String,
    body: String,
}

impl Queue {
    pub(in crate::s3) fn new(
        queue: &EventQueue,
        bucket: &S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let bounds = Bounds {
            time: QUEUE_WAIT + S3_TIME_MAX,
            answer_bytes: S3_ANSWER_BYTES_MAX,
            idle: 1,
        };
        Self {
            settings: queue.clone(),
            http: HttpClient::new(queue.endpoint.clone(), tls, bounds),
            keychain: Keychain::new(bucket.credentials.clone(), clock.clone()),
            clock: clock.clone(),
        }
    }

    /// Takes messages until nobody takes the hints any more.
    pub(in crate::s3) async fn take(
        self,
        wanted: Wanted,
        rng: Arc<dyn Rng>,
        hints: mpsc::Sender<Hint>,
    ) {
        let gone = hints.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = self.take_all(&wanted, &*rng, &hints) => {}
        }
    }

    async fn take_all(&self, wanted: &Wanted, rng: &dyn Rng, hints: &mpsc::Sender<Hint>) {
        let mut troubles = 0_u32;
        loop {
            match self.take_some(wanted, hints).await {
                Ok(()) => {
                    if std::mem::take(&mut troubles) > 0 {
                        tracing::info!(queue = %self.settings.url, "events come again");
                    }
                }
                Err(error) => {
                    if troubles == 0 {
                        let error = error.of_source(&self.settings.url);
                        tracing::warn!(queue = %self.settings.url, %error, "no events come: scans alone find changes");
                    }
                    tokio::time::sleep(pause::after(troubles, TROUBLE_PAUSES, rng)).await;
                    troubles = troubles.saturating_add(1);
                }
            }
        }
    }

    async fn take_some(&self, wanted: &Wanted, hints: &mpsc::Sender<Hint>) -> Result<(), S3Error> {
        let begun = Instant::now();
        let messages = self.receive(QUEUE_WAIT.as_secs(), None).await?;
        if messages.is_empty() {
            // One that does not wait for messages is not asked without a pause.
            tokio::time::sleep_until(begun + ASKED_AGAIN_AFTER).await;
            return Ok(());
        }
        for message in &messages {
            match wanted.hints(message.body.as_bytes()) {
                Some(found) => {
                    for hint in found {
                        // Closed: then this is dropped as well, and the message comes again.
                        let _closed = hints.send(hint).await;
                    }
                }
                None => {
                    tracing::warn!(queue = %self.settings.url, "a message is no event of a bucket")
                }
            }
        }
        let (recorded, told) = Recorded::new();
        let _closed = hints.send(Hint::Recorded(recorded)).await;
        if !told.is_told().await {
            // The service gives them again when nobody deletes them.
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
            return Ok(());
        }
        self.delete(&messages).await
    }

    async fn receive(
        &self,
        wait_secs: u64,
        hidden_secs: Option<u64>,
    ) -> Result<Vec<Message>, S3Error> {
        let mut body = json!({
            "QueueUrl": self.settings.url,
            "MaxNumberOfMessages": MESSAGES_MAX,
            "WaitTimeSeconds": wait_secs,
        });
        if let (Some(secs), Some(body)) = (hidden_secs, body.as_object_mut()) {
            body.insert("VisibilityTimeout".to_owned(), secs.into());
        }
        let answer = self.call("ReceiveMessage", &body).await?;
        let received: Result<Received, _> = serde_json::from_slice(&answer);
        let what = "no messages of a queue";
        Ok(received.map_err(|_| S3Error::Shape { what })?.messages)
    }

    async fn delete(&self, messages: &[Message]) -> Result<(), S3Error> {
        let handles = messages.iter().map(|message| &*message.receipt_handle);
        self.delete_by(handles).await
    }

    async fn delete_by(&self, handles: impl Iterator<Item = &str>) -> Result<(), S3Error> {
        let entries: Vec<_> = handles
            .enumerate()
            .map(|(id, handle)| json!({ "Id": id.to_string(), "ReceiptHandle": handle }))
            .collect();
        let body = json!({ "QueueUrl": self.settings.url, "Entries": entries });
        // One that is not deleted comes again, and is one more look at its key.
        self.call("DeleteMessageBatch", &body).await.map(drop)
    }

    /// Whether messages may be taken: one that is seen here stays where it is.
    pub(in crate::s3) async fn probe(&self) -> Result<String, StoreError> {
        let seen = self.receive(0, Some(0)).await;
        seen.map_err(|error| error.of_source(&self.settings.url))?;
        Ok(format!("{} may be read", self.settings.url))
    }

    /// Whether messages may be deleted: tried with one that there is not.
    pub(in crate::s3) async fn probe_deletion(&self) -> Result<String, StoreError> {
        match self.delete_by([NO_MESSAGE].into_iter()).await {
            Err(S3Error::Answered { told, .. }) if told.contains("ReceiptHandle") => {}
            outcome => outcome.map_err(|error| error.of_source(&self.settings.url))?,
        }
        Ok(format!("messages of {} may be deleted", self.settings.url))
    }

    async fn call(&self, action: &str, body: &Value) -> Result<Bytes, S3Error> {
        let credentials = self.keychain.credentials().await?;
        let body = Bytes::from(body.to_string());
        let target = format!("AmazonSQS.{action}");
        let ask = AwsAsk::json("1.0", target, body, self.settings.region.as_str(), SERVICE);
        let request = ask.signed(self.http.endpoint(), &credentials, self.clock.now())?;
        let (head, body) = self.http.ask(request).await?.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        if head.status.is_client_error() {
            // Among other things they may be over.
            self.keychain.doubt();
        }
        Err(S3Error::of(&head, &body).with_code(exception(&body).as_deref()))
    }
}
