//! A queue of SQS: JSON 1.0, ReceiveMessage and DeleteMessageBatch.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, http::request::Parts};
use serde_json::{Value, json};

use super::answers::encoded;
use crate::server::respond;

#[derive(Default)]
pub(super) struct Queue {
    messages: BTreeMap<u64, Message>,
    count: u64,
}

struct Message {
    body: String,
    /// Somebody has it and has not deleted it.
    is_taken: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn event(&mut self, bucket: &str, name: &str, key: &str, id: &str) {
        self.count += 1;
        let body = json!({ "Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
            "s3": { "bucket": { "name": bucket }, "object": { "key": encoded(key), "versionId": id } },
        }]});
        let message = Message {
            body: body.to_string(),
            is_taken: false,
        };
        self.messages.insert(self.count, message);
    }

    pub(super) fn answer(&mut self, parts: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let target = parts
            .headers
            .get("x-amz-target")
            .and_then(|value| value.to_str().ok());
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let answer = match target {
            Some("AmazonSQS.ReceiveMessage") => self.receive(&body),
            Some("AmazonSQS.DeleteMessageBatch") => self.delete(&body),
            _ => return refused("InvalidAction", "it is not asked for"),
        };
        respond(200, "application/x-amz-json-1.0", answer.to_string())
    }

    fn receive(&mut self, body: &Value) -> Value {
        let at_once = body["MaxNumberOfMessages"].as_u64().unwrap_or(1);
        let stays = body["VisibilityTimeout"].as_u64() == Some(0);
        let mut messages = Vec::new();
        for (id, message) in self
            .messages
            .iter_mut()
            .filter(|(_, message)| !message.is_taken)
        {
            if messages.len() as u64 >= at_once {
                break;
            }
            message.is_taken = !stays;
            messages.push(json!({
                "MessageId": id.to_string(), "ReceiptHandle": id.to_string(), "Body": message.body,
            }));
        }
        match messages.is_empty() {
            // As SQS says that there is none.
            true => json!({}),
            false => json!({ "Messages": messages }),
        }
    }

    fn delete(&mut self, body: &Value) -> Value {
        for entry in body["Entries"].as_array().into_iter().flatten() {
            let handle = entry["ReceiptHandle"].as_str().unwrap_or_default();
            if let Ok(id) = handle.parse::<u64>() {
                self.messages.remove(&id);
            }
        }
        json!({ "Successful": [], "Failed": [] })
    }
}

pub(super) fn refused(code: &str, told: &str) -> Response<Full<Bytes>> {
    let body = json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": told });
    respond(400, "application/x-amz-json-1.0", body.to_string())
}
