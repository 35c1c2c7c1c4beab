//! AWS KMS, as far as sealift and those who set it up ask it: JSON 1.1 over POST, signed
//! requests, keys of any region (the one in the signature's scope).

mod keys;
mod life;
mod using;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, http::request::Parts};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    Asked, Trouble,
    server::{Server, Service, respond},
    signature::{self, Caller, Exception, Scope},
};
use keys::Key;

/// Whose keys these are.
const ACCOUNT: &str = "111122223333";
const SCOPE: Scope = Scope {
    is_google: false,
    service: "kms",
    needed: signature::JSON,
};
/// What signs for the account's owner.
pub const OWNER: (&str, &str) = ("AKIDOWNER", "a secret of a test");

#[derive(Debug)]
struct State {
    /// By region and id.
    keys: BTreeMap<(String, String), Key>,
    /// By region and alias, the id.
    aliases: BTreeMap<(String, String), String>,
    /// Secrets by access key id; all but the owner's need grants.
    principals: BTreeMap<String, String>,
    /// Operations that nobody may do.
    denied: BTreeSet<String>,
    asked: Vec<Asked>,
    /// How far the test has moved the clock.
    ahead: Duration,
}

struct Kms(Mutex<State>);

/// A service with the keys of one account.
pub struct FakeKms {
    server: Server,
    kms: Arc<Kms>,
    is_tls: bool,
}

impl FakeKms {
    /// Starts one; over TLS when there is a file to write its root to.
    #[must_use]
    pub fn start(roots: Option<&Path>) -> Self {
        let owner = (OWNER.0.to_owned(), OWNER.1.to_owned());
        let kms = Arc::new(Kms(Mutex::new(State {
            keys: BTreeMap::new(),
            aliases: BTreeMap::new(),
            principals: BTreeMap::from([owner]),
            denied: BTreeSet::new(),
            asked: Vec::new(),
            ahead: Duration::ZERO,
        })));
        Self {
            server: Server::start(kms.clone(), roots),
            kms,
            is_tls: roots.is_some(),
        }
    }

    /// Its address, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// What is wrong with it from now on.
    pub fn trouble(&self, trouble: Trouble) {
        *self.server.trouble.lock() = trouble;
    }

    /// Lets nobody do an operation, such as `Decrypt`, or lets everyone do it again.
    pub fn deny(&self, operation: &str, is_denied: bool) {
        let mut state = self.kms.0.lock();
        match is_denied {
            true => state.denied.insert(operation.to_owned()),
            false => state.denied.remove(operation),
        };
    }

    /// One more who may ask, and who may do what grants allow.
    pub fn add_principal(&self, access_key_id: &str, secret: &str) {
        let mut state = self.kms.0.lock();
        state
            .principals
            .insert(access_key_id.to_owned(), secret.to_owned());
    }

    /// Moves its clock.
    pub fn pass(&self, time: Duration) {
        self.kms.0.lock().ahead += time;
    }

    /// Every call with a good signature so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.kms.0.lock().asked.clone()
    }

    /// Does as the owner of the account what an operation does; its answer.
    ///
    /// # Panics
    /// When the answer is an exception.
    pub fn operate(&self, region: &str, operation: &str, body: &Value) -> Value {
        let caller = Caller {
            region: region.to_owned(),
            access_key_id: OWNER.0.to_owned(),
        };
        let mut state = self.kms.0.lock();
        state
            .do_it(&caller, operation, body)
            .expect("the test asks for what can be done")
    }

    /// Makes a key; its ARN.
    pub fn create(&self, region: &str) -> String {
        let answer = self.operate(region, "CreateKey", &json!({}));
        let arn = answer.pointer("/KeyMetadata/Arn").and_then(Value::as_str);
        arn.unwrap_or_default().to_owned()
    }
}

type Answer = Response<Full<Bytes>>;

fn exception(status: u16, (name, message): Exception) -> Answer {
    let body = json!({"__type": name, "message": message});
    respond(status, "application/x-amz-json-1.1", body.to_string())
}

impl Service for Kms {
    fn answer(&self, parts: &Parts, body: &[u8]) -> Answer {
        let mut state = self.0.lock();
        let caller = match signature::caller(SCOPE, parts, body, &state.principals) {
            Ok(caller) => caller,
            Err(refused) => return exception(400, refused),
        };
        let target = parts
            .headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.strip_prefix("TrentService."));
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let operation = operation.unwrap_or_default();
        state.asked.push(Asked {
            call: operation.to_owned(),
            key: body
                .get("KeyId")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        });
        match state.do_it(&caller, operation, &body) {
            Ok(answer) => respond(200, "application/x-amz-json-1.1", answer.to_string()),
            Err(failed) => exception(400, failed),
        }
    }

    fn throttled(&self) -> Answer {
        let told = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
        exception(400, ("ThrottlingException", told.to_owned()))
    }

    fn denied(&self) -> Answer {
        exception(400, not_authorized("it"))
    }

    fn broken(&self) -> Answer {
        let told = "The request failed due to an internal error.";
        exception(500, ("KMSInternalException", told.to_owned()))
    }
}

fn not_authorized(operation: &str) -> Exception {
    let told = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/sealift is not authorized to perform: kms:{operation} on this \
         resource because no identity-based policy allows the kms:{operation} action"
    );
    ("AccessDeniedException", told)
}

impl State {
    fn do_it(
        &mut self,
        caller: &Caller,
        operation: &str,
        body: &Value,
    ) -> Result<Value, Exception> {
        self.delete_what_is_due();
        if self.denied.contains(operation) {
            return Err(not_authorized(operation));
        }
        if operation != "CreateKey" && caller.access_key_id != OWNER.0 {
            let id = self.id_of(caller, body)?;
            let key = self.keys.get(&(caller.region.clone(), id));
            let granted = key.is_some_and(|key| key.grants_to(&caller.access_key_id, operation));
            if !granted {
                return Err(not_authorized(operation));
            }
        }
        let is_dry = body.get("DryRun").and_then(Value::as_bool) == Some(true);
        let done = match operation {
            "CreateKey" => self.create(caller, body),
            "DescribeKey" => self.describe(caller, body),
            "CreateAlias" => self.alias(caller, body),
            "UpdateAlias" => self.point_alias(caller, body),
            "EnableKey" => self.enable(caller, body),
            "DisableKey" => self.disable(caller, body),
            "ScheduleKeyDeletion" => self.schedule_deletion(caller, body),
            "CancelKeyDeletion" => self.cancel_deletion(caller, body),
            "RotateKeyOnDemand" => self.rotate(caller, body),
            "ListKeyRotations" => self.rotations(caller, body),
            "ReplicateKey" => self.replicate(caller, body),
            "CreateGrant" => self.grant(caller, body),
            "ListGrants" => self.grants(caller, body),
            "Encrypt" => self.encrypt(caller, body),
            "Decrypt" => self.decrypt(caller, body),
            "ReEncrypt" => self.re_encrypt(caller, body),
            "GenerateDataKey" => self.generate(caller, body),
            other => Err(("UnknownOperationException", other.to_owned())),
        }?;
        let told = "The request would have succeeded, but the DryRun option is set.";
        match is_dry {
            true => Err(("DryRunOperationException", told.to_owned())),
            false => Ok(done),
        }
    }

    /// Seconds since 1970, as the test has it.
    fn now(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (now + self.ahead).as_secs()
    }
}
