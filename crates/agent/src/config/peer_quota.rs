//! `[peer.quota]`: how much a peer may bring here, and how fast.

use sealift_terms::{
    PeerQuota, Quota,
    limits::{LIMIT_RATE_MAX, LIMIT_RATE_MIN},
};
use toml::Spanned;

use super::{checker::Checker, raw};

/// What one peer may have here, and how fast that is taken; no limit without the section.
pub(super) fn quota(c: &mut Checker<'_>, raw: Option<&Spanned<raw::PeerQuota>>) -> PeerQuota {
    let Some(section) = raw else {
        return PeerQuota::default();
    };
    let raw = section.get_ref();
    let most = i64::MAX.unsigned_abs();
    let mut of = |setting, number: Option<&raw::Number>| c.bound(setting, number, 1..=most);
    let held = Quota {
        bytes: of("peer.quota.bytes", raw.bytes.as_ref()),
        objects: of("peer.quota.objects", raw.objects.as_ref()),
    };
    let unfinished = raw.unfinished_bytes.as_ref();
    let unfinished_bytes = of("peer.quota.unfinished_bytes", unfinished);
    let rate = c.bound(
        "peer.quota.rate_bytes_per_sec",
        raw.rate_bytes_per_sec.as_ref(),
        LIMIT_RATE_MIN..=LIMIT_RATE_MAX,
    );
    let quota = PeerQuota {
        held,
        unfinished_bytes,
        rate,
    };
    if quota == PeerQuota::default() {
        c.refuse::<()>(
            "peer.quota",
            &section.span(),
            "a quota of nothing",
            "bytes, objects, unfinished_bytes, rate_bytes_per_sec, or some of them",
            "give one, or remove the section: then there is no limit",
        );
    }
    quota
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, tests::checked};

    fn check(section: &str) -> Result<Config, ConfigError> {
        checked(&format!(
            "[site]\nname = \"a1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
                 [keys]\nroot_key_file = \"root.key\"\n[listen]\naddress = \"127.0.0.1:1\"\n\
                 [identity]\ntrust_bundle = \"r\"\ncertificate = \"c\"\nprivate_key_file = \"k\"\n\
                 [[peer]]\nname = \"b\"\nidentity = \"spiffe://example.org/region/r/agent/b\"\n\
                 trust_bundle = \"b\"\n{section}"
        ))
    }

    #[test]
    fn each_limit_is_one_of_its_own_and_none_is_none() {
        let peer = check("").unwrap().peers.remove(0);
        assert_eq!(peer.quota, Default::default());
        let text = "[peer.quota]\nbytes = 10\nobjects = 2\nunfinished_bytes = 5\n\
                    rate_bytes_per_sec = 65536\n";
        let peer = check(text).unwrap().peers.remove(0);
        let held = peer.quota.held;
        assert_eq!((held.bytes, held.objects), (Some(10), Some(2)));
        assert_eq!(peer.quota.unfinished_bytes, Some(5));
        assert_eq!(peer.quota.rate, Some(65_536));
        let peer = check("[peer.quota]\nobjects = 1\n")
            .unwrap()
            .peers
            .remove(0);
        assert_eq!(peer.quota.held.objects, Some(1));
        assert!(peer.quota.held.bytes.is_none() && peer.quota.rate.is_none());
    }

    #[test]
    fn a_quota_of_nothing_and_numbers_out_of_range_are_refused() {
        for (text, told) in [
            ("", "a quota of nothing"),
            ("bytes = 0", "peer.quota.bytes"),
            ("objects = 0", "peer.quota.objects"),
            ("unfinished_bytes = 0", "peer.quota.unfinished_bytes"),
            (
                "rate_bytes_per_sec = 65535",
                "peer.quota.rate_bytes_per_sec",
            ),
        ] {
            let error = check(&format!("[peer.quota]\n{text}\n")).unwrap_err();
            assert!(error.to_string().contains(told), "{text}: {error}");
        }
    }
}
