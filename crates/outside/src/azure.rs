//! As whom Azure Storage is asked: by the account's key (Shared Key, REST reference "Authorize
//! with Shared Key"), or with a shared access signature that somebody made with it.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{Method, Request, header::HeaderValue};
use ring::hmac;
use sealift_host::read_secret_file;
use sealift_terms::{Timestamp, limits::KEY_SERVICE_TOKEN_BYTES_MAX, percent::encode};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use zeroize::Zeroizing;

use crate::{CredentialsError, HttpError, Payload};

/// The version of the protocol that is asked in.
const VERSION: &str = "2023-11-03";
/// How HTTP writes a time (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
/// Headers that the signature has by their place, in their order; what begins with `x-ms-`
/// stands behind them by name.
const PLACED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Whose credentials are shown to Azure Storage. Files are read again for every request, and
/// have to be readable by their owner alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureFrom {
    /// A file with the account's key, in base64.
    Key(PathBuf),
    /// A file with a shared access signature: `sv=…&sig=…`.
    Sas(PathBuf),
}

impl AzureFrom {
    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Key(file) | Self::Sas(file) => file,
        }
    }
}

/// What is asked.
pub struct AzureAsk<'a> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query, not encoded.
    pub query: Vec<(&'a str, &'a str)>,
    /// Headers of the operation, names in lower case. Those that every request has are added.
    pub headers: BTreeMap<&'a str, String>,
    /// The body.
    pub body: Payload,
}

impl fmt::Debug for AzureAsk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureAsk({} {})", self.method, self.path)
    }
}

impl AzureAsk<'_> {
    /// The request, signed or with its signature in the query.
    ///
    /// # Errors
    /// [`CredentialsError`] where the file has none, or it cannot be written.
    pub fn signed(
        mut self,
        account: &str,
        from: &AzureFrom,
        now: Timestamp,
    ) -> Result<Request<Payload>, CredentialsError> {
        let shape = |what| HttpError::Shape { what };
        let secret = read_secret_file(from.file(), KEY_SERVICE_TOKEN_BYTES_MAX)?;
        let secret = str::from_utf8(&secret).unwrap_or_default().trim();
        self.headers.insert("x-ms-date", date(now));
        self.headers.insert("x-ms-version", VERSION.to_owned());
        let mut query = self.query();
        let mut request = Request::builder().method(self.method.clone());
        match from {
            AzureFrom::Key(_) => {
                let what = "the key file holds no base64";
                let key = STANDARD.decode(secret).map_err(|_| shape(what))?;
                let signature = self.signature(account, &Zeroizing::new(key));
                request =
                    request.header("authorization", format!("SharedKey {account}:{signature}"));
            }
            AzureFrom::Sas(_) => {
                let sas = secret.trim_start_matches('?');
                if !sas.contains("sig=") || sas.contains(char::is_whitespace) {
                    let what = "the file holds no shared access signature: sv=…&sig=…";
                    return Err(shape(what).into());
                }
                let between = if query.is_empty() { "" } else { "&" };
                query = format!("{query}{between}{sas}");
            }
        }
        let uri = match query.as_str() {
            "" => self.path.to_owned(),
            query => format!("{}?{query}", self.path),
        };
        request = request.uri(uri);
        for (name, value) in self.headers {
            let value = HeaderValue::try_from(value);
            let value = value.map_err(|_| shape("a header would hold what none may"))?;
            request = request.header(name, value);
        }
        let request = request.body(self.body);
        Ok(request.map_err(|_| shape("the request cannot be written"))?)
    }

    fn query(&self) -> String {
        let pairs: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        pairs.join("&")
    }

    fn signature(&self, account: &str, key: &[u8]) -> String {
        let mut text = self.method.to_string();
        for name in PLACED {
            let length = self.body.len();
            let value = match name {
                "content-length" if length > 0 => length.to_string(),
                name => self.headers.get(name).cloned().unwrap_or_default(),
            };
            // A String takes what is written to it.
            let _ = write!(text, "\n{value}");
        }
        text.push('\n');
        let own = self.headers.iter();
        for (name, value) in own.filter(|(name, _)| name.starts_with("x-ms-")) {
            let _ = writeln!(text, "{name}:{}", value.trim());
        }
        let _ = write!(text, "/{account}{}", self.path);
        let query: BTreeMap<_, _> = self.query.iter().copied().collect();
        for (name, value) in query {
            let _ = write!(text, "\n{name}:{value}");
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        STANDARD.encode(hmac::sign(&key, text.as_bytes()))
    }
}

fn date(now: Timestamp) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(now.as_secs());
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(HTTP_DATE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn ask() -> AzureAsk<'static> {
        AzureAsk {
            method: Method::GET,
            path: "/mycontainer",
            query: vec![
                ("restype", "container"),
                ("comp", "list"),
                ("prefix", "a b"),
            ],
            headers: BTreeMap::new(),
            body: Payload::default(),
        }
    }

    fn signed(secret: &str, from: fn(PathBuf) -> AzureFrom) -> Result<String, CredentialsError> {
        let dir = std::env::temp_dir().join(format!("sealift-azure-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join(format!("{:?}", std::thread::current().id()));
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let request = ask().signed("acc", &from(file), Timestamp::from_secs(1_440_938_160))?;
        let header = |name| request.headers().get(name);
        assert_eq!(
            header("x-ms-date").unwrap(),
            "Sun, 30 Aug 2015 12:36:00 GMT"
        );
        let signature = header("authorization").map(|value| value.to_str().unwrap());
        Ok(signature.map_or_else(|| request.uri().to_string(), str::to_owned))
    }

    /// What is signed, as the reference describes it, under a key of ours; that the service
    /// takes it is shown against Azurite.
    #[test]
    fn what_is_asked_is_signed_by_the_accounts_key() {
        let text = "GET\n\n\n\n\n\n\n\n\n\n\n\n\
                    x-ms-date:Sun, 30 Aug 2015 12:36:00 GMT\nx-ms-version:2023-11-03\n\
                    /acc/mycontainer\ncomp:list\nprefix:a b\nrestype:container";
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let wanted = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        let signature = signed(&STANDARD.encode(b"key"), AzureFrom::Key).unwrap();
        assert_eq!(signature, format!("SharedKey acc:{wanted}"));
        assert!(signed("no base64!", AzureFrom::Key).is_err());
    }

    #[test]
    fn a_shared_access_signature_goes_into_the_query_as_it_is() {
        let uri = signed("?sv=2023-11-03&sig=a%2Bb\n", AzureFrom::Sas).unwrap();
        let wanted =
            "/mycontainer?restype=container&comp=list&prefix=a%20b&sv=2023-11-03&sig=a%2Bb";
        assert_eq!(uri, wanted);
        for bad in ["", "sv=1", "sig=a b"] {
            assert!(signed(bad, AzureFrom::Sas).is_err(), "{bad}");
        }
    }
}
