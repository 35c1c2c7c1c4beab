//! What a certificate says, read once.

use std::time::Duration;

use ring::digest;
use rustls_pki_types::CertificateDer;
use sealift_terms::{Identity, Region, Timestamp, limits};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{error::IdentityError, refusal::Refusal};

/// What an agent's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who it is for.
    pub identity: Identity,
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid, that second included.
    pub not_after: Timestamp,
    /// Whether it may be used by a client.
    pub client_auth: bool,
    /// Whether it may be used by a server.
    pub server_auth: bool,
}

impl Leaf {
    /// Reads an agent's certificate. Nothing is verified.
    ///
    /// # Errors
    /// [`Refusal`] when it is no certificate, or has not exactly one URI that is an identity.
    pub fn parse(certificate: &CertificateDer<'_>) -> Result<Self, Refusal> {
        Self::parse_known(certificate, |_| None)
    }

    /// Reads an agent's certificate, where one without any URI may say a DNS name that
    /// `known` stands for an agent. Nothing is verified.
    pub(crate) fn parse_known(
        certificate: &CertificateDer<'_>,
        known: impl Fn(&str) -> Option<Identity>,
    ) -> Result<Self, Refusal> {
        let x509 = parse(certificate)?;
        let identity = identity_in(&x509, known)?;
        let usage = x509
            .extended_key_usage()
            .map_err(|_| malformed("its key usages are unreadable"))?
            .map(|usage| usage.value);
        let validity = x509.validity();
        Ok(Self {
            identity,
            serial: serial_hex(x509.raw_serial()),
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
            client_auth: usage.is_some_and(|usage| usage.client_auth),
            server_auth: usage.is_some_and(|usage| usage.server_auth),
        })
    }

    /// Until when a certificate says it is valid, whoever it is for. Nothing is verified.
    pub(crate) fn not_after_of(certificate: &CertificateDer<'_>) -> Result<Timestamp, Refusal> {
        let not_after = parse(certificate)?.validity().not_after;
        Ok(Timestamp::from_secs(not_after.timestamp()))
    }

    /// The whole validity period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// Whether it is over. The last second counts as valid (RFC 5280, 4.1.2.5).
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.as_secs() > self.not_after.as_secs()
    }

    /// Until when its issuer renews it: its end, and a grace as long as its life, a day at
    /// least. Once it is over it is good for nothing else.
    #[must_use]
    pub fn renewable_until(&self) -> Timestamp {
        let grace = self.period().max(limits::RENEWAL_GRACE_MIN);
        self.not_after.plus(grace)
    }
}

fn identity_in(
    x509: &X509Certificate<'_>,
    known: impl Fn(&str) -> Option<Identity>,
) -> Result<Identity, Refusal> {
    let uri = match only_uri(x509) {
        Ok(uri) => uri,
        Err(refusal @ Refusal::NoIdentity { .. }) if !names(x509, uri_of)?.is_empty() => {
            return Err(refusal);
        }
        Err(refusal) => {
            let names = names(x509, dns_name_of)?;
            let mut agents: Vec<_> = names.into_iter().filter_map(known).collect();
            agents.dedup();
            return match (agents.pop(), agents.pop()) {
                (Some(agent), None) => Ok(agent),
                // Several agents' names in one certificate: it is nobody's.
                _ => Err(refusal),
            };
        }
    };
    uri.parse().map_err(|_| Refusal::NoIdentity {
        what: format!(
            "its URI {:?} is not spiffe://DOMAIN/region/REGION/agent/NAME",
            cut(uri)
        ),
    })
}

/// How long before a CA ends it is told, at most: longer than any certificate lives that it
/// issued, and time for a roll-over.
const CA_END_WARNED_MAX: Duration = Duration::from_secs(90 * 86_400);

/// From when until when the certificate of a CA is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaLife {
    /// Its first moment.
    pub from: Timestamp,
    /// Its last one.
    pub until: Timestamp,
}

impl CaLife {
    /// What the certificate of a CA says.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let facts = CaFacts::parse(certificate)?;
        Ok(Self {
            from: facts.not_before,
            until: facts.not_after,
        })
    }

    /// Whether it is time to see to another one: with a tenth of its life left, and not
    /// more than 90 days.
    #[must_use]
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        let tenth = self.until.since(self.from) / 10;
        self.until.since(now) < tenth.min(CA_END_WARNED_MAX)
    }
}

/// What the certificate of a root or an issuing CA says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaFacts {
    pub(crate) is_ca: bool,
    pub(crate) self_issued: bool,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Domain and region of an issuing CA.
    pub(crate) region: Option<(String, Region)>,
}

impl CaFacts {
    pub(crate) fn parse(certificate: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let x509 = parse(certificate)?;
        let signs = x509
            .key_usage()
            .map_err(|_| malformed("its key usage is unreadable"))?
            .is_none_or(|usage| usage.value.key_cert_sign());
        Ok(Self {
            is_ca: x509.is_ca() && signs,
            self_issued: x509.issuer().as_raw() == x509.subject().as_raw(),
            not_before: Timestamp::from_secs(x509.validity().not_before.timestamp()),
            not_after: Timestamp::from_secs(x509.validity().not_after.timestamp()),
            region: only_uri(&x509).ok().and_then(parse_region_uri),
        })
    }
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo, RFC 5280, 4.1.2.7).
pub(crate) fn public_key_hash(certificate: &CertificateDer<'_>) -> Result<[u8; 32], IdentityError> {
    let x509 = parse(certificate).map_err(|error| IdentityError::Certificate {
        what: error.to_string(),
    })?;
    let hash = digest::digest(&digest::SHA256, x509.public_key().raw);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    Ok(out)
}

/// The URI of a region's issuing CA.
pub(crate) fn region_uri(domain: &str, region: &Region) -> String {
    format!("spiffe://{domain}/region/{region}")
}

fn parse_region_uri(uri: &str) -> Option<(String, Region)> {
    let (domain, region) = uri.strip_prefix("spiffe://")?.split_once("/region/")?;
    sealift_terms::identity::is_trust_domain(domain).then_some(())?;
    Some((domain.to_owned(), Region::new(region).ok()?))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refusal> {
    let (rest, x509) = X509Certificate::from_der(certificate)
        .map_err(|error| malformed(&format!("it is not X.509: {error}")))?;
    if rest.is_empty() {
        Ok(x509)
    } else {
        Err(malformed("bytes follow it"))
    }
}

/// The one URI among the subject's alternative names: a SPIFFE certificate has
/// exactly one (X509-SVID, section 2).
fn only_uri<'a>(x509: &'a X509Certificate<'_>) -> Result<&'a str, Refusal> {
    let mut uris = names(x509, uri_of)?.into_iter();
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri),
        (None, _) => Err(Refusal::NoIdentity {
            what: "it has no URI".to_owned(),
        }),
        (Some(_), Some(_)) => Err(Refusal::NoIdentity {
            what: "it has several URIs".to_owned(),
        }),
    }
}

/// The alternative names of the subject that `of` takes.
fn names<'a>(
    x509: &'a X509Certificate<'_>,
    of: fn(&GeneralName<'a>) -> Option<&'a str>,
) -> Result<Vec<&'a str>, Refusal> {
    let names = x509
        .subject_alternative_name()
        .map_err(|_| malformed("its alternative names are unreadable"))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names.filter_map(of).collect())
}

fn uri_of<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        _ => None,
    }
}

fn dns_name_of<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::DNSName(name) => Some(name),
        _ => None,
    }
}

/// A serial number as hex, without the zero byte that DER puts before a high bit.
pub(crate) fn serial_hex(raw: &[u8]) -> String {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => hex::encode(rest),
        _ => hex::encode(raw),
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::MalformedCertificate {
        what: what.to_owned(),
    }
}

/// Text of a stranger, short enough for a log line.
fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_ca_is_near_with_a_tenth_of_its_life_left_and_90_days_at_most() {
        let day = |days: i64| Timestamp::from_secs(days * 86_400);
        let life = |until| CaLife {
            from: day(0),
            until: day(until),
        };
        // A root of ten years, an issuing CA of five, one of SPIRE's of a day.
        for (lives, warned) in [(3650, 90), (1825, 90), (100, 10)] {
            let before = |days: i64| life(lives).ends_soon(day(lives - days));
            assert!(!before(warned) && before(warned - 1), "{lives}");
            assert!(life(lives).ends_soon(day(lives + 1)), "it is over");
        }
        let at = |hours: i64| life(1).ends_soon(Timestamp::from_secs(hours * 3600));
        assert!(!at(20) && at(22));
    }

    #[test]
    fn a_region_uri_is_read_back_and_an_agent_is_no_region() {
        let region = Region::new("eu-west").unwrap();
        let uri = region_uri("example.org", &region);
        assert_eq!(
            parse_region_uri(&uri),
            Some(("example.org".to_owned(), region))
        );
        for bad in [
            "spiffe://example.org/region/a/agent/b",
            "spiffe:///region/a",
            "spiffe://example.org/region/",
            "https://example.org/region/a",
            "spiffe://a/region/b/region/c",
        ] {
            assert_eq!(parse_region_uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_serial_number_loses_only_the_sign_byte() {
        assert_eq!(serial_hex(&[0, 0x80, 1]), "8001");
        assert_eq!(serial_hex(&[0x7f, 0]), "7f00");
        assert_eq!(serial_hex(&[0]), "00");
    }

    #[test]
    fn rubbish_is_no_certificate_and_does_not_panic() {
        for len in 0..64 {
            let bytes = CertificateDer::from(vec![0x30; len]);
            assert!(matches!(
                Leaf::parse(&bytes),
                Err(Refusal::MalformedCertificate { .. })
            ));
        }
    }
}
