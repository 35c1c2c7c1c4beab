//! What AWS KMS answers, and what its exceptions mean.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::Response;
use sealift_outside::{HttpError, told};
use serde_json::Value;

use crate::{EncryptionContext, KeyError, KeyState};

/// The answer as JSON, or the error that its exception is.
pub(super) fn of(
    key: &str,
    context: Option<&EncryptionContext>,
    response: &Response<Bytes>,
) -> Result<Value, KeyError> {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    if status == 200 {
        return Ok(body);
    }
    let exception = text(&body, "__type").unwrap_or_default();
    // With a namespace in front: com.amazonaws.kms#DisabledException.
    let exception = exception.rsplit('#').next().unwrap_or_default();
    let message = text(&body, "message").or_else(|| text(&body, "Message"));
    let message = told(message.unwrap_or_default().as_bytes());
    let key = key.to_owned();
    Err(match exception {
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "OptInRequired"
        | "NotAuthorized"
        | "InvalidGrantTokenException" => KeyError::AccessDenied { key, told: message },
        "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "LimitExceededException" => KeyError::Throttled { key },
        "NotFoundException" | "InvalidArnException" => KeyError::Missing { key },
        "DisabledException" => KeyError::NotUsable {
            key,
            state: KeyState::Disabled,
        },
        "KMSInvalidStateException" => KeyError::NotUsable {
            key,
            state: state_in(&message),
        },
        "InvalidCiphertextException" | "IncorrectKeyException" => KeyError::ContextMismatch {
            expected: context.map(ToString::to_string).unwrap_or_default(),
        },
        "InvalidKeyUsageException" => KeyError::Unsuitable { key, what: message },
        _ if status == 429 => KeyError::Throttled { key },
        _ => KeyError::Unavailable {
            key,
            source: HttpError::answered(status, response.body()).into(),
        },
    })
}

/// The state that AWS tells in words: `… is pending deletion.`
fn state_in(message: &str) -> KeyState {
    let message = message.to_ascii_lowercase();
    let told = |words: &str| message.contains(words);
    if told("pending replica deletion") {
        KeyState::PendingReplicaDeletion
    } else if told("pending deletion") {
        KeyState::PendingDeletion
    } else if told("pending import") {
        KeyState::PendingImport
    } else if told("disabled") {
        KeyState::Disabled
    } else {
        KeyState::Unavailable
    }
}

pub(super) fn text<'a>(answer: &'a Value, member: &str) -> Option<&'a str> {
    answer.get(member)?.as_str()
}

pub(super) fn bytes(answer: &Value, member: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text(answer, member)?).ok()
}
