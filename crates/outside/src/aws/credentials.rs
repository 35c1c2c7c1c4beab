//! As whom AWS is asked: a file, or what AWS gives the machine or the container.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{Method, Request};
use parking_lot::Mutex;
use sealift_host::{SecretFileError, SecretStamp, read_secret_file, secret_stamp};
use sealift_terms::{Clock, Timestamp, limits::KEY_SERVICE_TOKEN_BYTES_MAX};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::signature::DayKey;
use crate::{
    Endpoint, Payload,
    https::{Bounds, HttpClient, HttpError},
};

/// The service on every EC2 machine that tells it who it is.
const INSTANCE: &str = "http://169.254.169.254";
/// Where ECS answers, and EKS for its pods.
const CONTAINER: &str = "http://169.254.170.2";
/// Credentials that end are got anew when this is left of them.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// How long a file that was looked at is not looked at again, unless what is in it is refused.
const FILE_BELIEVED: Duration = Duration::from_secs(1);
/// A role's name, as the instance tells it.
const ROLE_BYTES_MAX: usize = 128;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Their file cannot be read, or others can.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Who gives them does not, or their file has none.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Whose credentials sign what is asked of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsFrom {
    /// A file as the AWS tools keep one, looked at every second in which it is needed and read
    /// again when it changed: the section `[default]` of it. Readable by its owner alone.
    File(PathBuf),
    /// The role of the machine, from its metadata service (IMDSv2).
    Instance,
    /// The role of the container: what ECS and EKS Pod Identity say in the environment
    /// (`AWS_CONTAINER_CREDENTIALS_FULL_URI` or `…_RELATIVE_URI`, `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`).
    Container(ContainerCredentials),
}

/// Where a container gets its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerCredentials {
    endpoint: Endpoint,
    path: String,
    token_file: Option<PathBuf>,
}

impl ContainerCredentials {
    /// What the environment says.
    ///
    /// # Errors
    /// What is missing, or not allowed.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, &'static str> {
        let token_file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
        let (base, path) = match (
            variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        ) {
            (Some(full), _) => {
                let at = full.find("://").map(|at| at + 3);
                let slash = at.and_then(|at| Some(at + full.get(at..)?.find('/')?));
                let (base, path) = full.split_at(slash.unwrap_or(full.len()));
                (base.to_owned(), path.to_owned())
            }
            (None, Some(relative)) => (CONTAINER.to_owned(), relative),
            (None, None) => {
                return Err(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI in the environment",
                );
            }
        };
        let endpoint = Endpoint::of_credentials(&base)?;
        Ok(Self {
            endpoint,
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path
            },
            token_file,
        })
    }

    /// The file with a token for it, where there is one.
    #[must_use]
    pub fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }
}

/// What signs a request.
pub struct AwsCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_key: Zeroizing<String>,
    /// What was last derived of it.
    pub(super) day_key: Mutex<Option<DayKey>>,
    session_token: Option<Zeroizing<String>>,
    ends: Option<Timestamp>,
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsCredentials({}, \"...\")", self.access_key_id)
    }
}

impl AwsCredentials {
    /// Credentials that do not end.
    #[must_use]
    pub fn new(access_key_id: &str, secret_key: &str, session_token: Option<&str>) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_key: Zeroizing::new(secret_key.to_owned()),
            day_key: Mutex::default(),
            session_token: session_token.map(|token| Zeroizing::new(token.to_owned())),
            ends: None,
        }
    }

    /// What goes into `x-amz-security-token`, where they are of a session.
    #[must_use]
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_ref().map(|token| token.as_str())
    }

    /// Reads the section `[default]` of a file as the AWS tools keep one.
    fn parse(text: &str) -> Option<Self> {
        let mut is_default = true;
        let (mut id, mut secret, mut token) = (None, None, None);
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                is_default = line == "[default]";
            } else if let Some((name, value)) = line.split_once('=').filter(|_| is_default) {
                match name.trim() {
                    "aws_access_key_id" => id = Some(value.trim()),
                    "aws_secret_access_key" => secret = Some(value.trim()),
                    "aws_session_token" => token = Some(value.trim()),
                    _ => {}
                }
            }
        }
        Some(Self::new(id?, secret?, token))
    }
}

/// What ECS, EKS and the metadata service answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: Timestamp,
}

/// Gets credentials, and keeps those that end until they nearly do.
#[derive(Debug)]
pub struct Keychain {
    from: CredentialsFrom,
    clock: Arc<dyn Clock>,
    http: Option<HttpClient>,
    kept: Mutex<Option<Arc<AwsCredentials>>>,
    read: Mutex<Option<FromFile>>,
}

/// What was read of a file that looked so, and when it was looked at.
#[derive(Debug)]
struct FromFile {
    /// None where the file had changed just then: it may change once more and look the same.
    stamp: Option<SecretStamp>,
    looked_at: Duration,
    credentials: Arc<AwsCredentials>,
}

impl Keychain {
    /// A keychain that has none yet.
    #[must_use]
    pub fn new(from: CredentialsFrom, clock: Arc<dyn Clock>) -> Self {
        let endpoint = match &from {
            CredentialsFrom::File(_) => None,
            CredentialsFrom::Instance => Endpoint::of_credentials(INSTANCE).ok(),
            CredentialsFrom::Container(container) => Some(container.endpoint.clone()),
        };
        Self {
            from,
            clock,
            http: endpoint.map(|endpoint| HttpClient::new(endpoint, None, Bounds::USUAL)),
            kept: Mutex::default(),
            read: Mutex::default(),
        }
    }

    /// Those that were kept are not taken again: AWS refuses them.
    pub fn doubt(&self) {
        *self.kept.lock() = None;
        *self.read.lock() = None;
    }

    /// Those that sign the next request.
    ///
    /// # Errors
    /// [`CredentialsError`] when there are none.
    pub async fn credentials(&self) -> Result<Arc<AwsCredentials>, CredentialsError> {
        if let CredentialsFrom::File(path) = &self.from {
            return self.of_file(path);
        }
        let until = self.clock.now().plus(RENEWED_BEFORE);
        let kept = self.kept.lock().clone();
        if let Some(kept) = kept
            && kept.ends.is_none_or(|ends| ends > until)
        {
            return Ok(kept);
        }
        let given = match &self.from {
            CredentialsFrom::Container(container) => self.of_container(container).await,
            _ => self.of_instance().await,
        };
        let given = Arc::new(given?);
        *self.kept.lock() = Some(given.clone());
        Ok(given)
    }

    fn of_file(&self, path: &Path) -> Result<Arc<AwsCredentials>, CredentialsError> {
        let now = self.clock.monotonic();
        if let Some(read) = &*self.read.lock()
            && now.saturating_sub(read.looked_at) < FILE_BELIEVED
        {
            return Ok(read.credentials.clone());
        }
        // Before it is read: what is written meanwhile gives it another one.
        let stamp = secret_stamp(path);
        if let Some(read) = &mut *self.read.lock()
            && stamp.is_some()
            && stamp == read.stamp
        {
            read.looked_at = now;
            return Ok(read.credentials.clone());
        }
        let text = read_secret_file(path, KEY_SERVICE_TOKEN_BYTES_MAX)?;
        let read = str::from_utf8(&text).ok().and_then(AwsCredentials::parse);
        let what = "the credentials file has no [default] with aws_access_key_id and aws_secret_access_key";
        let credentials = Arc::new(read.ok_or(HttpError::Shape { what })?);
        *self.read.lock() = Some(FromFile {
            stamp,
            looked_at: now,
            credentials: credentials.clone(),
        });
        Ok(credentials)
    }

    async fn of_container(
        &self,
        container: &ContainerCredentials,
    ) -> Result<AwsCredentials, HttpError> {
        let token = container.token_file.as_ref().map(|file| {
            // What a projected token may be read by is the orchestrator's matter.
            let read = std::fs::read(file).map(Zeroizing::new);
            read.map_err(|source| HttpError::Connect {
                address: file.display().to_string(),
                source,
            })
        });
        let token = token.transpose()?;
        let header = token
            .as_ref()
            .map(|token| ("authorization", token.trim_ascii()));
        self.given(&container.path, header).await
    }

    /// IMDSv2: a session first, which a request that was forged elsewhere cannot begin.
    async fn of_instance(&self) -> Result<AwsCredentials, HttpError> {
        let life = ("x-aws-ec2-metadata-token-ttl-seconds", &b"60"[..]);
        let session = self
            .get(Method::PUT, "/latest/api/token", Some(life))
            .await?;
        let header = Some(("x-aws-ec2-metadata-token", &session[..]));
        let path = "/latest/meta-data/iam/security-credentials/";
        let role = self.get(Method::GET, path, header).await?;
        let what = "no name of a role: the machine has none";
        let role = str::from_utf8(&role).unwrap_or_default().trim();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.bytes().all(plain) {
            return Err(HttpError::Shape { what });
        }
        self.given(&format!("{path}{role}"), header).await
    }

    async fn given(
        &self,
        path: &str,
        header: Option<(&'static str, &[u8])>,
    ) -> Result<AwsCredentials, HttpError> {
        let answer = self.get(Method::GET, path, header).await?;
        let what = "no credentials in its JSON";
        let given: Given =
            serde_json::from_slice(&answer).map_err(|_| HttpError::Shape { what })?;
        let (id, secret) = (
            &given.access_key_id,
            Zeroizing::new(given.secret_access_key),
        );
        Ok(AwsCredentials {
            ends: Some(given.expiration),
            ..AwsCredentials::new(id, &secret, Some(&given.token))
        })
    }

    async fn get(
        &self,
        method: Method,
        path: &str,
        header: Option<(&'static str, &[u8])>,
    ) -> Result<Bytes, HttpError> {
        let what = "there is nobody to ask for credentials";
        let http = self.http.as_ref().ok_or(HttpError::Shape { what })?;
        let mut request = Request::builder().method(method).uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let what = "the request for credentials cannot be written";
        let request = request
            .body(Payload::default())
            .map_err(|_| HttpError::Shape { what })?;
        let response = http.ask(request).await?;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => Err(HttpError::answered(
                response.status().as_u16(),
                response.body(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_aws_tools_is_read_in_its_default_section() {
        let text = "[other]\naws_access_key_id = X\naws_secret_access_key = Y\n\n\
                    [default]\naws_access_key_id = AKID\naws_secret_access_key=s3cr=et\n# more\n";
        let read = AwsCredentials::parse(text).unwrap();
        assert_eq!(read.access_key_id, "AKID");
        assert_eq!(read.secret_key.as_str(), "s3cr=et");
        assert!(read.session_token.is_none());
        assert!(!format!("{read:?}").contains("s3cr"));
        for bad in [
            "",
            "[default]\naws_access_key_id = a",
            "[x]\naws_access_key_id=a\naws_secret_access_key=b",
        ] {
            assert!(AwsCredentials::parse(bad).is_none(), "{bad}");
        }
    }

    #[derive(Debug, Default)]
    struct Held(Mutex<Duration>);

    impl Clock for Held {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }
    }

    #[tokio::test]
    async fn a_file_is_looked_at_again_after_a_second_and_when_it_is_doubted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let write = |id: &str| {
            let text = format!("aws_access_key_id = {id}\naws_secret_access_key = s\n");
            std::fs::write(&path, text).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, private).unwrap();
        };
        let clock = Arc::new(Held::default());
        let keychain = Keychain::new(CredentialsFrom::File(path.clone()), clock.clone());
        let read = async || keychain.credentials().await.unwrap().access_key_id.clone();
        write("one");
        assert_eq!(read().await, "one");
        write("two");
        assert_eq!(read().await, "one");
        *clock.0.lock() += FILE_BELIEVED;
        assert_eq!(read().await, "two");
        write("three");
        keychain.doubt();
        assert_eq!(read().await, "three");
    }

    #[test]
    fn a_container_is_asked_where_its_environment_says_and_nowhere_in_the_open() {
        let of = |name: &'static str, value: &'static str| {
            ContainerCredentials::from_environment(move |asked| {
                (asked == name).then(|| value.to_owned())
            })
        };
        let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let eks = of(full, "http://169.254.170.23/v1/credentials").unwrap();
        assert_eq!(eks.path, "/v1/credentials");
        let ecs = of(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "/v2/credentials/x",
        )
        .unwrap();
        assert_eq!(ecs.endpoint.to_string(), CONTAINER);
        for open in [
            "http://example.org/",
            "http://169.254.0.1/",
            "http://10.0.0.1/x",
        ] {
            assert!(of(full, open).is_err(), "{open}");
        }
        assert!(of("HOME", "/root").is_err());
    }
}
