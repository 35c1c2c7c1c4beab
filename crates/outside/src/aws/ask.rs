//! A request to a service of AWS, and to what speaks its protocols.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{
    Method, Request, Uri,
    header::{HeaderName, HeaderValue},
};
use sealift_terms::Timestamp;

use super::{
    AwsCredentials,
    signature::{Signed, Words, date, signed},
};
use crate::{Endpoint, HttpError, Payload};

/// What is asked.
#[derive(Debug)]
pub struct AwsAsk<'a> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query: names and values percent-encoded, sorted by name, each with its `=`.
    pub query: &'a str,
    /// Headers of the operation, names in lower case. Those that every request has are added.
    pub headers: BTreeMap<&'a str, String>,
    /// The body.
    pub body: Payload,
    /// The region of the service.
    pub region: &'a str,
    /// The service, as in `kms`.
    pub service: &'a str,
    /// Whose words it is signed in.
    pub words: Words,
}

impl<'a> AwsAsk<'a> {
    /// A call of a JSON protocol: `operation` is what `x-amz-target` says.
    #[must_use]
    pub fn json(
        protocol: &str,
        operation: String,
        body: Bytes,
        region: &'a str,
        service: &'a str,
    ) -> Self {
        Self {
            method: Method::POST,
            path: "/",
            query: "",
            headers: BTreeMap::from([
                ("content-type", format!("application/x-amz-json-{protocol}")),
                ("x-amz-target", operation),
            ]),
            body: body.into(),
            region,
            service,
            words: Words::Aws,
        }
    }

    /// The request for `endpoint`, with every header signed.
    ///
    /// # Errors
    /// [`HttpError::Shape`] where it cannot be written; [`HttpError::Body`].
    pub fn signed(
        self,
        endpoint: &Endpoint,
        credentials: &AwsCredentials,
        now: Timestamp,
    ) -> Result<Request<Payload>, HttpError> {
        let hash = self
            .body
            .sha256()
            .map_err(|source| HttpError::Body { source })?;
        let mut headers = self.headers;
        // Where the protocol wants it said, it is said of what is sent.
        if let Some(told) = headers.get_mut(self.words.hash_header()) {
            told.clone_from(&hash);
        }
        headers.insert("host", endpoint.authority().to_owned());
        let date = date(now);
        headers.insert(self.words.date_header(), date.clone());
        if let Some(token) = credentials.session_token() {
            headers.insert("x-amz-security-token", token.to_owned());
        }
        let what = Signed {
            method: self.method.as_str(),
            path: self.path,
            query: self.query,
            headers: &headers,
            hash: &hash,
            region: self.region,
            service: self.service,
            words: self.words,
        };
        let authorization = signed(&what, credentials, &date);
        let uri = match self.query {
            "" => self.path.to_owned(),
            query => format!("{}?{query}", self.path),
        };
        let shape = |what| HttpError::Shape { what };
        let uri = Uri::try_from(uri).map_err(|_| shape("the request cannot be written"))?;
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        let into = request.headers_mut();
        into.reserve(headers.len() + 1);
        let told = headers.into_iter();
        for (name, value) in told.chain([("authorization", authorization)]) {
            let name = HeaderName::try_from(name).ok();
            let pair = name.zip(HeaderValue::try_from(value).ok());
            let (name, value) = pair.ok_or_else(|| shape("a header would hold what none may"))?;
            into.append(name, value);
        }
        Ok(request)
    }
}
