//! What is looked at before anything else of a request: whether it is signed, in the way
//! that is taken here, now, and as a whole. Whether the signature is good `s3s` says.
//!
//! A signature of version 4 does not have to cover every header, and its date is but
//! another header: both are held to here, with the agent's clock. What is held to has to be
//! what `s3s` looks at: a request that the two might read differently is refused.

use std::time::Duration;

use hyper::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap},
    http::request::Parts,
};
use sealift_terms::{
    AccessKeyId, Timestamp,
    limits::{ENDPOINT_CLOCK_SKEW_MAX, ENDPOINT_PRESIGNED_LIFE_MAX},
    percent,
};

use crate::errors::Refused;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MULTIPART: &[u8] = b"multipart/";
/// Headers of this sort say what is to be done, so all of them have to be signed.
const MEANT: &str = "x-amz-";
/// Those of them that may come more than once: lists and an object's own metadata.
const REPEATED: [&str; 2] = [
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
];
const METADATA: &str = "x-amz-meta-";
/// What a presigned URL has in its query.
const PRESIGNED: [&str; 6] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// What a signature says of itself. Nothing of it is proven.
struct Signed {
    credential: String,
    headers: String,
    dated: Timestamp,
    /// How long it is good for, of a presigned URL.
    life: Option<Duration>,
}

/// Refuses what is not signed as it has to be; the access key that it claims to be of.
pub(crate) fn claimed(request: &Parts, now: Timestamp) -> Result<AccessKeyId, Refused> {
    // What cannot be read would be another key to `s3s` than to whoever looks for the bucket.
    percent::decode(request.uri.path()).ok_or(Refused::Malformed("its path"))?;
    let in_query = pairs(request.uri.query().unwrap_or_default())?;
    hold_kind(request, &in_query)?;
    let of_signature = |name: &str| PRESIGNED.iter().any(|one| one.eq_ignore_ascii_case(name));
    let is_presigned = in_query.iter().any(|(name, _)| of_signature(name));
    let is_signed = request.headers.contains_key(AUTHORIZATION);
    let signed = match (is_presigned, is_signed) {
        (true, true) => return Err(Refused::Malformed("it is signed in two places")),
        (true, false) => presigned(&in_query)?,
        (false, true) => in_header(&request.headers)?,
        (false, false) => return Err(Refused::Unsigned),
    };
    hold_time(&signed, now)?;
    hold_headers(&signed.headers, &request.headers)?;
    hold_scope(&signed)
}

/// Refuses what may be in place of a signature or beside it: `s3s` would look at that first.
fn hold_kind(request: &Parts, query: &[Pair<'_>]) -> Result<(), Refused> {
    let is_old = |name: &str| matches!(name, "Signature" | "AWSAccessKeyId");
    if query.iter().any(|(name, _)| is_old(name)) {
        return Err(Refused::OtherSignature);
    }
    let mut kinds = request.headers.get_all(CONTENT_TYPE).iter();
    let is_form = kinds.any(|kind| {
        let kind = kind.as_bytes().trim_ascii_start();
        let start = kind.get(..MULTIPART.len()).unwrap_or_default();
        start.eq_ignore_ascii_case(MULTIPART)
    });
    match is_form && request.method == Method::POST {
        true => Err(Refused::Form),
        false => Ok(()),
    }
}

/// The name of a parameter, as it is written, and its value, decoded.
type Pair<'a> = (&'a str, String);

/// What a query says, as `s3s` takes it apart. Names of parameters need no escapes: one that has
/// some is another name to whoever decodes it.
fn pairs(query: &str) -> Result<Vec<Pair<'_>>, Refused> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let read = |pair| {
        let (name, value) = str::split_once(pair, '=').unwrap_or((pair, ""));
        if name.contains(['%', '+']) {
            return Err(Refused::Malformed("the name of a parameter has escapes"));
        }
        let value = percent::decode_form(value);
        let value = value.ok_or(Refused::Malformed("the value of a parameter"))?;
        Ok((name, value))
    };
    pairs.map(read).collect()
}

fn presigned(query: &[Pair<'_>]) -> Result<Signed, Refused> {
    let one = |wanted: &str| {
        let mut found = query.iter().filter(|(name, _)| *name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value.clone()),
            _ => None,
        }
    };
    let lacks = || Refused::Malformed("a parameter of its signature is missing, or there twice");
    one("X-Amz-Signature").ok_or_else(lacks)?;
    if one("X-Amz-Algorithm").ok_or_else(lacks)? != ALGORITHM {
        return Err(Refused::OtherSignature);
    }
    let life = one("X-Amz-Expires").ok_or_else(lacks)?;
    let life = life
        .parse()
        .map_err(|_| Refused::Malformed("X-Amz-Expires"))?;
    Ok(Signed {
        credential: one("X-Amz-Credential").ok_or_else(lacks)?,
        headers: one("X-Amz-SignedHeaders").ok_or_else(lacks)?,
        dated: date(&one("X-Amz-Date").ok_or_else(lacks)?)?,
        life: Some(Duration::from_secs(life)),
    })
}

fn in_header(headers: &HeaderMap) -> Result<Signed, Refused> {
    let text = only(headers, AUTHORIZATION.as_str())?;
    let fields = match text.split_once(' ') {
        Some((ALGORITHM, fields)) => fields,
        _ => return Err(Refused::OtherSignature),
    };
    let field = |wanted: &str| {
        let fields = fields
            .split(',')
            .filter_map(|field| field.trim_start().split_once('='));
        let mut found = fields.filter(|(name, _)| *name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value.to_owned()),
            _ => Err(Refused::Malformed("its Authorization header")),
        }
    };
    Ok(Signed {
        credential: field("Credential")?,
        headers: field("SignedHeaders")?,
        dated: date(only(headers, "x-amz-date")?)?,
        life: None,
    })
}

/// A header that has to be there once.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refused> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Refused::Malformed(name)),
        _ => Err(Refused::Malformed(name)),
    }
}

/// A date as signatures have it: `20261127T040000Z`.
fn date(text: &str) -> Result<Timestamp, Refused> {
    let malformed = || Refused::Malformed("x-amz-date");
    let (day, time) = text.split_once('T').ok_or_else(malformed)?;
    let time = time.strip_suffix('Z').ok_or_else(malformed)?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(day, 8) || !digits(time, 6) {
        return Err(malformed());
    }
    let (year, day) = day.split_at(4);
    let (month, day) = day.split_at(2);
    let (hour, rest) = time.split_at(2);
    let (minute, second) = rest.split_at(2);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    text.parse().map_err(|_| malformed())
}

fn hold_time(signed: &Signed, now: Timestamp) -> Result<(), Refused> {
    let (dated, here) = (signed.dated, now);
    let Some(life) = signed.life else {
        let skew = now.since(dated).max(dated.since(now));
        return match skew <= ENDPOINT_CLOCK_SKEW_MAX {
            true => Ok(()),
            false => Err(Refused::Skewed { dated, here }),
        };
    };
    if life > ENDPOINT_PRESIGNED_LIFE_MAX {
        return Err(Refused::TooLong);
    }
    if dated.since(now) > ENDPOINT_CLOCK_SKEW_MAX {
        return Err(Refused::Skewed { dated, here });
    }
    match now.since(dated) <= life {
        true => Ok(()),
        false => Err(Refused::Expired {
            ended: dated.plus(life),
            here,
        }),
    }
}

fn hold_headers(signed: &str, headers: &HeaderMap) -> Result<(), Refused> {
    let mut names: Vec<_> = signed.split(';').collect();
    let said = names.len();
    names.sort_unstable();
    names.dedup();
    if names.len() < said || said > headers.keys_len() {
        return Err(Refused::Malformed("the list of its signed headers"));
    }
    for name in &names {
        hold_header(name, headers)?;
    }
    let is_signed = |name: &str| names.binary_search(&name).is_ok();
    let meant = headers.keys().map(|name| name.as_str());
    let meant = meant.filter(|name| name.starts_with(MEANT));
    match std::iter::once("host")
        .chain(meant)
        .find(|name| !is_signed(name))
    {
        None => Ok(()),
        Some(header) => Err(Refused::NotCovered {
            header: header.to_owned(),
        }),
    }
}

/// Refuses a header that is said to be signed and is not there as it was: `s3s` leaves those that
/// it does not find, and values that are no text, out of what it holds against the signature.
fn hold_header(name: &str, headers: &HeaderMap) -> Result<(), Refused> {
    let mut values = match headers.keys().find(|known| known.as_str() == name) {
        Some(known) => headers.get_all(known).iter(),
        None => return Err(Refused::Malformed("a header that is signed is not there")),
    };
    let is_once = name == "host" || name.starts_with(MEANT);
    let is_once = is_once && !name.starts_with(METADATA) && !REPEATED.contains(&name);
    if is_once && headers.get_all(name).iter().count() > 1 {
        return Err(Refused::Malformed("a header that is signed is there twice"));
    }
    match values.all(|value| str::from_utf8(value.as_bytes()).is_ok()) {
        true => Ok(()),
        false => Err(Refused::Malformed("a header that is signed is no text")),
    }
}

/// `ID/20261127/REGION/s3/aws4_request`, of the day that it is dated.
fn hold_scope(signed: &Signed) -> Result<AccessKeyId, Refused> {
    let malformed = || Refused::Malformed("the scope of its credential");
    let mut scope = signed.credential.split('/');
    let mut next = || scope.next().ok_or_else(malformed);
    let (id, day, _region, service, end) = (next()?, next()?, next()?, next()?, next()?);
    let dated = signed.dated.to_string().replace('-', "");
    let is_good =
        dated.starts_with(day) && day.len() == 8 && (service, end) == ("s3", "aws4_request");
    if !is_good || scope.next().is_some() {
        return Err(malformed());
    }
    id.parse().map_err(|_| Refused::UnknownKey)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const NOW: &str = "2026-11-27T04:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn look(uri: &str, headers: &[(&str, &str)]) -> Result<AccessKeyId, Refused> {
        let mut request = Request::get(uri);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "h");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        claimed(&request.body(()).unwrap().into_parts().0, now())
    }

    fn authorization(credential: &str, headers: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature=00")
    }

    const GOOD: &str = "app/20261127/eu-west/s3/aws4_request";
    const DATE: (&str, &str) = ("x-amz-date", "20261127T040000Z");

    #[test]
    fn a_signed_request_claims_its_key() {
        let good = authorization(GOOD, "host;x-amz-date");
        let headers = [("host", "h"), DATE, ("authorization", &good)];
        assert_eq!(look("/photos/a", &headers).unwrap().as_str(), "app");
        // As some clients write it, without spaces.
        let tight = good.replace(", ", ",");
        assert!(look("/", &[DATE, ("authorization", &tight)]).is_ok());
    }

    #[test]
    fn what_is_not_signed_so_is_refused_with_its_cause() {
        let of = |headers: &[(&str, &str)]| look("/photos/a", headers).unwrap_err().cause();
        assert_eq!(of(&[("host", "h")]), "unsigned");
        assert_eq!(of(&[("authorization", "AWS app:00")]), "other_signature");
        assert_eq!(of(&[("authorization", "Bearer x")]), "other_signature");
        let old = look("/photos/a?AWSAccessKeyId=app&Signature=0&Expires=1", &[]);
        let old = old.unwrap_err();
        assert_eq!(old.cause(), "other_signature");
        assert!(old.to_string().contains("signature_version = s3v4"));
        let both = format!("{}&Signature=0", presigned_url("20261127T040000Z", "60"));
        assert_eq!(look(&both, &[]).unwrap_err().cause(), "other_signature");
        let hidden = both.replace("&Signature", "&%53ignature");
        assert_eq!(look(&hidden, &[]).unwrap_err().cause(), "malformed");
        let form =
            Request::post("/photos").header("content-type", "Multipart/Form-Data; boundary=x");
        let form = claimed(&form.body(()).unwrap().into_parts().0, now());
        assert_eq!(form.unwrap_err().cause(), "form");
        let good = authorization(GOOD, "host;x-amz-date");
        assert_eq!(of(&[("authorization", &good)]), "malformed", "no date");
        assert_eq!(of(&[DATE, DATE, ("authorization", &good)]), "malformed");
        assert_eq!(
            of(&[DATE, ("authorization", &good), ("authorization", &good)]),
            "malformed"
        );
        let added = ("x-amz-security-token", "somebody's");
        assert_eq!(of(&[DATE, added, ("authorization", &good)]), "not_covered");
        let hostless = authorization(GOOD, "x-amz-date");
        assert_eq!(of(&[DATE, ("authorization", &hostless)]), "not_covered");
        for bad in [
            "app/20261126/eu-west/s3/aws4_request",
            "app/2026/eu-west/s3/aws4_request",
            "app/20261127/eu-west/sts/aws4_request",
            "app/20261127/eu-west/s3/aws4_request/more",
            "app/20261127/s3/aws4_request",
            "app",
        ] {
            let bad = authorization(bad, "host;x-amz-date");
            assert_eq!(of(&[DATE, ("authorization", &bad)]), "malformed", "{bad}");
        }
        let nobody = authorization("ä/20261127/eu-west/s3/aws4_request", "host;x-amz-date");
        let nobody = look("/", &[DATE, ("authorization", &nobody)]);
        assert_eq!(nobody.unwrap_err().cause(), "malformed");
    }

    /// A second signature in the head must not be held to in place of the one that counts.
    #[test]
    fn a_presigned_url_is_not_hidden_behind_a_header() {
        let junk = authorization(GOOD, "host;x-amz-copy-source;x-amz-date");
        let copied = ("x-amz-copy-source", "/photos/secret.txt");
        let beside = [DATE, copied, ("authorization", junk.as_str())];
        let cause = |uri: &str, headers: &[(&str, &str)]| {
            look(uri, headers).map_err(|refused| refused.cause())
        };
        let good = presigned_url("20261127T040000Z", "60");
        let long = presigned_url("20261127T040000Z", "2592000");
        assert_eq!(cause(&good, &[copied]), Err("not_covered"));
        for url in [&good, &long] {
            assert_eq!(cause(url, &beside), Err("malformed"), "{url}");
            for written in [
                "X-Amz-Signatur%65",
                "%58-Amz-Signature",
                "%58%2dAmz%2DSignature",
                "X-Amz-Signature%00",
                "X-Amz-Signature+",
                "X-Amz-Signature%zz",
                "x-amz-signature",
            ] {
                let hidden = url.replace("X-Amz-Signature", written);
                assert_eq!(cause(&hidden, &beside), Err("malformed"), "{hidden}");
                assert_eq!(cause(&hidden, &[]), Err("malformed"), "{hidden}");
            }
            // Any part of a presigned URL is one, whichever is missing.
            let partial = url.replace("X-Amz-Signature", "Other");
            assert_eq!(cause(&partial, &beside), Err("malformed"), "{partial}");
        }
        let hidden = good.replace("X-Amz-Expires", "X-Amz-Expire%73");
        assert_eq!(cause(&hidden, &[]), Err("malformed"));
        let twice = format!("{good}&X-Amz-Signature=11");
        assert_eq!(cause(&twice, &[]), Err("malformed"));
        // A plus is a space to whoever reads a query.
        let plus = presigned_url("20261127T040000Z", "+60");
        assert_eq!(cause(&plus, &[]), Err("malformed"));
    }

    /// `s3s` leaves out of what is signed whatever it does not find, or cannot read.
    #[test]
    fn what_is_said_to_be_signed_is_there_once_and_can_be_read() {
        let cause = |signed: &str, headers: &[(&str, &str)]| {
            let signed = authorization(GOOD, signed);
            let mut all = vec![DATE, ("authorization", signed.as_str())];
            all.extend(headers);
            look("/photos/a", &all).map_err(|refused| refused.cause())
        };
        let copied = ("x-amz-copy-source", "/photos/a");
        let all = "host;x-amz-copy-source;x-amz-date";
        assert!(cause(all, &[copied]).is_ok());
        for signed in [
            "host;x-amz-date;x-amz-copy-source ",
            "host;x-amz-date;x-amz-copy-source\t",
            " host;x-amz-copy-source;x-amz-date",
            "host;x-amz-copy-source ;x-amz-date",
            "host;x-amz-copy-source;x-amz-date;",
            "host;x-amz-copy-source;x-amz-copy-source;x-amz-date",
            "Host;x-amz-copy-source;x-amz-date",
        ] {
            assert_eq!(cause(signed, &[copied]), Err("malformed"), "{signed:?}");
        }
        assert_eq!(cause(all, &[]), Err("malformed"), "it is not there");
        assert_eq!(cause(all, &[copied, copied]), Err("malformed"), "twice");
        let hosts = [("host", "h"), ("host", "i")];
        assert_eq!(cause("host;x-amz-date", &hosts), Err("malformed"));
        // What is a list may come one by one.
        let name = "x-amz-object-attributes";
        let of_list = [(name, "ETag"), (name, "ObjectSize")];
        assert!(cause("host;x-amz-date;x-amz-object-attributes", &of_list).is_ok());
        let of_meta = [("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")];
        assert!(cause("host;x-amz-date;x-amz-meta-a", &of_meta).is_ok());
    }

    #[test]
    fn a_signed_header_that_is_no_text_is_refused() {
        let signed = authorization(GOOD, "host;x-amz-date;x-amz-meta-a");
        let of = |value: &[u8]| {
            let request = Request::get("/photos/a")
                .header("host", "h")
                .header(DATE.0, DATE.1)
                .header("authorization", &signed)
                .header("x-amz-meta-a", value);
            claimed(&request.body(()).unwrap().into_parts().0, now())
        };
        assert!(of("ä".as_bytes()).is_ok());
        assert_eq!(of(b"a\xff").unwrap_err().cause(), "malformed");
    }

    #[test]
    fn a_path_or_a_query_that_is_read_in_two_ways_is_refused() {
        let signed = authorization(GOOD, "host;x-amz-date");
        let headers = [DATE, ("authorization", signed.as_str())];
        for good in [
            "/photos/a%20b+c?prefix=a%2Fb+c&list-type=2",
            "/photos//a%25zz",
        ] {
            assert!(look(good, &headers).is_ok(), "{good}");
        }
        for bad in [
            "/photos/%zz",
            "/photos/a%2",
            "/photos/%ff",
            "/photos?prefix=%zz",
            "/photos?prefix=%ff",
            "/photos/a?version%49d=x",
            "/photos/a?version+Id=x",
            "/photos/a?%zz",
        ] {
            assert_eq!(
                look(bad, &headers).unwrap_err().cause(),
                "malformed",
                "{bad}"
            );
        }
    }

    #[test]
    fn clocks_may_differ_by_a_quarter_of_an_hour() {
        let good = authorization(GOOD, "host;x-amz-date");
        let at = |date: &str| {
            let headers = [("x-amz-date", date), ("authorization", good.as_str())];
            look("/", &headers).map_err(|refused| refused.cause())
        };
        assert!(at("20261127T034500Z").is_ok() && at("20261127T041500Z").is_ok());
        assert_eq!(at("20261127T034459Z"), Err("skewed"));
        assert_eq!(at("20261127T041501Z"), Err("skewed"));
        for bad in [
            "",
            "2026",
            "20261127T0400Z",
            "20261327T040000Z",
            "2026112ÄT040000Z",
        ] {
            assert_eq!(at(bad), Err("malformed"), "{bad}");
        }
    }

    fn presigned_url(date: &str, expires: &str) -> String {
        format!(
            "/photos/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
             app%2F20261127%2Feu-west%2Fs3%2Faws4_request&X-Amz-Date={date}&X-Amz-Expires={expires}\
             &X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        )
    }

    #[test]
    fn a_presigned_url_is_good_for_as_long_as_it_says_and_a_week_at_most() {
        let at = |date: &str, expires: &str| {
            let outcome = look(&presigned_url(date, expires), &[("host", "h")]);
            outcome.map_err(|refused| refused.cause())
        };
        assert_eq!(at("20261127T030000Z", "3600").unwrap().as_str(), "app");
        assert_eq!(at("20261127T030000Z", "3599"), Err("expired"));
        assert_eq!(at("20261127T041501Z", "3600"), Err("skewed"));
        assert!(at("20261127T030000Z", "604800").is_ok());
        assert_eq!(at("20261127T030000Z", "604801"), Err("too_long"));
        assert_eq!(at("20261127T030000Z", "-1"), Err("malformed"));
        let twice = format!("{}&X-Amz-Expires=9", presigned_url("20261127T040000Z", "9"));
        assert_eq!(look(&twice, &[]).unwrap_err().cause(), "malformed");
        let both = [("authorization", "AWS4-HMAC-SHA256 x")];
        let both = look(&presigned_url("20261127T040000Z", "9"), &both);
        assert_eq!(both.unwrap_err().cause(), "malformed");
    }

    #[test]
    fn heads_of_any_bytes_are_refused_and_nothing_else() {
        let mut state = 7u64;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let good = authorization(GOOD, "host;x-amz-date");
        let url = presigned_url("20261127T040000Z", "60");
        for _ in 0..20_000 {
            let mut spoilt = good.clone().into_bytes();
            let mut path = url.clone().into_bytes();
            for _ in 0..=next(4) {
                let at = next(spoilt.len());
                spoilt[at] = b' ' + next(95) as u8;
                let at = 1 + next(path.len() - 1);
                path[at] = b"%/&=;azAZ09~"[next(12)];
            }
            let spoilt = String::from_utf8(spoilt).unwrap();
            let _ = look("/photos/a", &[DATE, ("authorization", &spoilt)]);
            let path = String::from_utf8(path).unwrap();
            if path.parse::<hyper::Uri>().is_ok() {
                let _ = look(&path, &[]);
            }
        }
    }
}
