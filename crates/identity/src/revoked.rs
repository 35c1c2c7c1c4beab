//! What a trust bundle says is revoked: single certificates, and all that an identity
//! was given until a moment.

use sealift_terms::{Identity, Timestamp, limits};
use serde::{Deserialize, Serialize};

use crate::{certificate::Leaf, error::IdentityError};

/// One revocation. It stands in the bundle for as long as what it is about could live, and
/// be renewed after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whose certificates are revoked: those that began until [`at`](Self::at). A
    /// certificate that it is given afterwards counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Serial numbers of revoked certificates, lower-case hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<String>,
    /// When it was revoked.
    pub at: Timestamp,
}

impl Revocation {
    /// Whether a certificate is among what is revoked.
    #[must_use]
    pub fn covers(&self, leaf: &Leaf) -> bool {
        let is_of = |identity: &Identity| *identity == leaf.identity && leaf.not_before <= self.at;
        self.serials.contains(&leaf.serial) || self.identity.as_ref().is_some_and(is_of)
    }

    /// Whether nothing that it is about can be valid, or renewed, any more.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        // What was issued a moment before may have begun, and ends, a little later.
        let longest = limits::CERTIFICATE_LIFE_MAX + limits::CERTIFICATE_BACKDATE_MAX;
        let grace = limits::CERTIFICATE_LIFE_MAX.max(limits::RENEWAL_GRACE_MIN);
        self.at.plus(longest).plus(grace) < now
    }
}

/// Holds the revocations of a bundle to what one may have.
pub(crate) fn check(revoked: &[Revocation]) -> Result<(), IdentityError> {
    let refused = |what: String| IdentityError::TrustBundle { what };
    let found = revoked.len();
    if found > limits::REVOKED_MAX {
        let most = limits::REVOKED_MAX;
        return Err(refused(format!("{found} revocations, allowed are {most}")));
    }
    for one in revoked {
        let names_none = one.identity.is_none() && one.serials.is_empty();
        if names_none
            || one.serials.len() > SERIALS_MAX
            || !one.serials.iter().all(|s| is_serial(s))
        {
            return Err(refused("a revocation that cannot be read".to_owned()));
        }
    }
    Ok(())
}

/// Serials in one revocation: of an identity's last certificate and the one before.
const SERIALS_MAX: usize = 4;
/// The longest serial number, in hex digits (RFC 5280, 4.1.2.2: 20 bytes).
const SERIAL_DIGITS_MAX: usize = 40;

/// Whether this is a serial number as certificates are known by: lower-case hex.
pub(crate) fn is_serial(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    !text.is_empty()
        && text.len() <= SERIAL_DIGITS_MAX
        && text.len().is_multiple_of(2)
        && digits(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(serial: &str, not_before: i64) -> Leaf {
        Leaf {
            identity: "spiffe://example.org/region/r/agent/a".parse().unwrap(),
            serial: serial.to_owned(),
            not_before: Timestamp::from_secs(not_before),
            not_after: Timestamp::from_secs(not_before + 100),
            client_auth: true,
            server_auth: true,
        }
    }

    #[test]
    fn an_identity_is_revoked_with_what_it_had_and_not_with_what_it_gets_later() {
        let revoked = Revocation {
            identity: Some(leaf("01", 0).identity),
            serials: vec!["aa".to_owned()],
            at: Timestamp::from_secs(50),
        };
        assert!(revoked.covers(&leaf("01", 50)));
        assert!(!revoked.covers(&leaf("01", 51)));
        assert!(revoked.covers(&leaf("aa", 51)), "by its serial");
        let other = Leaf {
            identity: "spiffe://example.org/region/r/agent/b".parse().unwrap(),
            ..leaf("01", 0)
        };
        assert!(!revoked.covers(&other));
    }

    #[test]
    fn revocations_that_name_nothing_or_are_too_many_are_refused() {
        let one = |serials: &[&str]| Revocation {
            identity: None,
            serials: serials.iter().map(|s| (*s).to_owned()).collect(),
            at: Timestamp::from_secs(0),
        };
        assert!(check(&vec![one(&["0a"]); limits::REVOKED_MAX]).is_ok());
        assert!(check(&vec![one(&["0a"]); limits::REVOKED_MAX + 1]).is_err());
        for bad in [&[][..], &["0A"], &["a"], &[""], &["00"; SERIALS_MAX + 1]] {
            assert!(check(&[one(bad)]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_revocation_stays_until_nothing_it_is_about_can_be_renewed() {
        let at = Timestamp::from_secs(1000);
        let one = Revocation {
            identity: None,
            serials: vec!["0a".to_owned()],
            at,
        };
        let longest = Leaf {
            not_after: at.plus(limits::CERTIFICATE_LIFE_MAX),
            ..leaf("0a", 1000)
        };
        assert!(!one.is_over(longest.not_after));
        assert!(!one.is_over(longest.renewable_until()));
        assert!(one.is_over(at.plus(limits::CERTIFICATE_LIFE_MAX * 3)));
    }
}
