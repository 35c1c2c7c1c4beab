//! What stands in each sort of certificate that the authority makes.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use sealift_terms::{Identity, Region, Rng, Timestamp, limits};
use time::OffsetDateTime;

use crate::{certificate::region_uri, error::IdentityError};

/// Life of a root: ten years.
pub(super) const ROOT_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// Life of an issuing CA: five years.
pub(super) const ISSUING_LIFE: Duration = Duration::from_secs(1825 * 86_400);

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Validity {
    /// A life of `life` from `now`, begun a little earlier for clocks that are behind.
    pub(super) fn of_life(now: Timestamp, life: Duration) -> Self {
        let backdate = (life / 10).min(limits::CERTIFICATE_BACKDATE_MAX);
        // Certificates count whole seconds.
        Self {
            not_before: Timestamp::from_secs(now.minus(backdate).as_secs()),
            not_after: Timestamp::from_secs(now.plus(life).as_secs()),
        }
    }

    /// Not later than `end`.
    pub(super) fn ending_by(self, end: Timestamp) -> Self {
        Self {
            not_after: self.not_after.min(end),
            ..self
        }
    }

    /// Not longer than the longest life, the part before the issue included: what a
    /// verifier sees is the whole period.
    pub(super) fn within_life_max(self) -> Self {
        self.ending_by(self.not_before.plus(limits::CERTIFICATE_LIFE_MAX))
    }
}

/// A new P-256 key pair, drawn from the system's generator.
pub(crate) fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Issuing)
}

pub(super) fn root(
    domain: &str,
    validity: Validity,
    rng: &dyn Rng,
) -> Result<CertificateParams, IdentityError> {
    let name = format!("{domain} root {}", short_random(rng));
    let mut params = base(&name, validity, rng)?;
    // Below the root come issuing CAs, below them agents, and nothing else.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

pub(super) fn issuing(
    domain: &str,
    region: &Region,
    validity: Validity,
    rng: &dyn Rng,
) -> Result<CertificateParams, IdentityError> {
    let name = format!("{domain} {region} issuing {}", short_random(rng));
    let mut params = base(&name, validity, rng)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = both_usages();
    params.subject_alt_names = vec![uri(&region_uri(domain, region))?];
    Ok(params)
}

pub(super) fn leaf(
    identity: &Identity,
    dns_names: &[String],
    validity: Validity,
    rng: &dyn Rng,
) -> Result<CertificateParams, IdentityError> {
    let mut params = base(identity.name().as_str(), validity, rng)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = both_usages();
    params.subject_alt_names.push(uri(identity.as_str())?);
    for name in dns_names {
        let ascii = name.as_str().try_into().map_err(IdentityError::Issuing)?;
        params.subject_alt_names.push(SanType::DnsName(ascii));
    }
    Ok(params)
}

fn base(
    common_name: &str,
    validity: Validity,
    rng: &dyn Rng,
) -> Result<CertificateParams, IdentityError> {
    let mut distinguished_name = DistinguishedName::new();
    // The longest common name that X.509 allows (RFC 5280, appendix A).
    let name: String = common_name.chars().take(64).collect();
    distinguished_name.push(DnType::CommonName, name);
    let mut serial = [0; 16];
    rng.fill(&mut serial);
    let mut params = CertificateParams::default();
    params.not_before = moment(validity.not_before)?;
    params.not_after = moment(validity.not_after)?;
    params.distinguished_name = distinguished_name;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

fn both_usages() -> Vec<ExtendedKeyUsagePurpose> {
    vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ]
}

fn uri(uri: &str) -> Result<SanType, IdentityError> {
    Ok(SanType::URI(
        uri.try_into().map_err(IdentityError::Issuing)?,
    ))
}

/// Tells two authorities of one name apart, also for programs that look only at names.
fn short_random(rng: &dyn Rng) -> String {
    let mut bytes = [0; 4];
    rng.fill(&mut bytes);
    hex::encode(bytes)
}

pub(super) fn moment(at: Timestamp) -> Result<OffsetDateTime, IdentityError> {
    OffsetDateTime::from_unix_timestamp(at.as_secs())
        .map_err(|_| IdentityError::Issuing(rcgen::Error::Time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begins_five_minutes_early_or_a_tenth() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (life, backdate) in [(86_400, 300), (3_000, 300), (2_999, 299), (20, 2)] {
            let validity = Validity::of_life(now, Duration::from_secs(life));
            let early = now.since(validity.not_before).as_secs();
            assert!(
                early == backdate || early == backdate + 1,
                "{life}: {early}"
            );
            assert_eq!(validity.not_after.since(now).as_secs(), life);
        }
    }

    #[test]
    fn the_whole_period_is_never_longer_than_47_days() {
        let now = Timestamp::from_millis(1_800_000_000_999);
        let validity = Validity::of_life(now, limits::CERTIFICATE_LIFE_MAX).within_life_max();
        assert_eq!(
            validity.not_after.since(validity.not_before),
            limits::CERTIFICATE_LIFE_MAX
        );
    }
}
