//! Signature Version 4, checked: computed anew from the request, by the headers that it
//! says are signed.

use std::collections::BTreeMap;

use hyper::http::request::Parts;
use ring::{digest, hmac};

/// An exception, and what it says.
pub(crate) type Exception = (&'static str, String);

/// Who asks, and where.
pub(crate) struct Caller {
    pub(crate) region: String,
    pub(crate) access_key_id: String,
}

/// A service, and the headers that have to be signed for it.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) service: &'static str,
    pub(crate) needed: [&'static str; 3],
    /// In the words of Google, and not in those of AWS.
    pub(crate) is_google: bool,
}

/// Services with a JSON protocol.
pub(crate) const JSON: [&str; 3] = ["host", "x-amz-date", "x-amz-target"];

fn refused(told: &str) -> Exception {
    ("InvalidSignatureException", told.to_owned())
}

/// Who signed a request, and for which region.
pub(crate) fn caller(
    scope_wanted: Scope,
    parts: &Parts,
    body: &[u8],
    principals: &BTreeMap<String, String>,
) -> Result<Caller, Exception> {
    signer(scope_wanted, parts, || sha256(body), principals)
}

/// As [`caller`], of a body that has this hash.
pub(crate) fn signer(
    scope_wanted: Scope,
    parts: &Parts,
    hash: impl Fn() -> String,
    principals: &BTreeMap<String, String>,
) -> Result<Caller, Exception> {
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let missing = || {
        (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token".to_owned(),
        )
    };
    let (algorithm, first, end, dated) = match scope_wanted.is_google {
        true => ("GOOG4-HMAC-SHA256", "GOOG4", "goog4_request", "x-goog-date"),
        false => ("AWS4-HMAC-SHA256", "AWS4", "aws4_request", "x-amz-date"),
    };
    let authorization = header("authorization").ok_or_else(missing)?;
    let fields = authorization.strip_prefix(algorithm).ok_or_else(missing)?;
    let field = |name: &str| {
        let mut fields = fields.split(',').map(str::trim);
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let (credential, names, signature) = match (
        field("Credential"),
        field("SignedHeaders"),
        field("Signature"),
    ) {
        (Some(credential), Some(names), Some(signature)) => (credential, names, signature),
        _ => {
            return Err((
                "IncompleteSignatureException",
                "a field is missing".to_owned(),
            ));
        }
    };
    let (id, scope) = credential.split_once('/').ok_or_else(missing)?;
    let service = scope_wanted.service;
    let (day, region) = match scope.split('/').collect::<Vec<_>>()[..] {
        [day, region, found, last] if found == service && last == end => (day, region),
        _ => return Err(refused("Credential should be scoped to correct service.")),
    };
    let unknown = || {
        let told = "The security token included in the request is invalid.";
        ("UnrecognizedClientException", told.to_owned())
    };
    let secret = principals.get(id).ok_or_else(unknown)?;
    if !scope_wanted
        .needed
        .iter()
        .all(|needed| names.split(';').any(|name| name == *needed))
    {
        return Err(refused("a header has to be signed"));
    }
    let mut headers = String::new();
    for name in names.split(';') {
        let value = header(name).ok_or_else(|| refused("a signed header is missing"))?;
        headers += &format!("{name}:{}\n", value.trim());
    }
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        parts.method,
        parts.uri.path(),
        canonical_query(parts.uri.query().unwrap_or_default()),
        match header("x-amz-content-sha256") {
            // What is sent so is not part of the signature.
            Some(unsigned) if unsigned.contains("UNSIGNED-PAYLOAD") => unsigned.to_owned(),
            _ => hash(),
        }
    );
    let date = header(dated).unwrap_or_default();
    let to_sign = format!(
        "{algorithm}\n{date}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = format!("{first}{secret}").into_bytes();
    for part in [day, region, service, end, &to_sign] {
        let signing = hmac::Key::new(hmac::HMAC_SHA256, &key);
        key = hmac::sign(&signing, part.as_bytes()).as_ref().to_vec();
    }
    match hex(&key) == signature && date.starts_with(day) {
        true => Ok(Caller {
            region: region.to_owned(),
            access_key_id: id.to_owned(),
        }),
        false => Err(refused(
            "The request signature we calculated does not match the signature you provided.",
        )),
    }
}

/// The query as it is signed: by name, each with a value.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|pair| match pair.contains('=') {
        true => (*pair).to_owned(),
        false => format!("{pair}="),
    });
    pairs.collect::<Vec<_>>().join("&")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let pairs = bytes
        .iter()
        .map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    pairs.flatten().collect()
}
