//! Certificates, trust bundles, revocation lists, signing requests and identities,
//! before anything is verified.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use sealift_fuzz::{
    fixed::{CountingRng, StoppedClock},
    script::Script,
};
use sealift_identity::{
    IssuingAuthority, Leaf, LeafRequest, RevocationLists, RootAuthority, TrustBundle,
};
use sealift_terms::{Identity, Region};

static ISSUING: LazyLock<IssuingAuthority> = LazyLock::new(|| {
    let (clock, rng) = (StoppedClock, CountingRng::default());
    let region = Region::new("a").unwrap();
    let root = RootAuthority::generate("example.org", &clock, &rng).unwrap();
    root.issuing(&region, &clock, &rng).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    match script.byte() {
        Some(0) => {
            let _ = Leaf::parse(&CertificateDer::from(script.0));
        }
        Some(1) => {
            if let Ok(bundle) = TrustBundle::parse(script.0) {
                let again = TrustBundle::parse(bundle.to_json().as_bytes());
                assert!(again.is_ok_and(|again| again == bundle));
                let _ = bundle.check_offered_to(&bundle);
            }
        }
        Some(2) => {
            let identity = "spiffe://example.org/region/a/agent/a1".parse().unwrap();
            let request = LeafRequest {
                life: Duration::from_secs(3600),
                ..LeafRequest::new(identity)
            };
            let (clock, rng) = (StoppedClock, CountingRng::default());
            let _ = ISSUING.issue_for_csr(script.0, &request, &clock, &rng);
        }
        Some(3) => {
            let _ = RevocationLists::parse(script.0);
        }
        _ => {
            let text = String::from_utf8_lossy(script.0);
            if let Ok(identity) = text.parse::<Identity>() {
                assert_eq!(identity.to_string().parse().ok(), Some(identity));
            }
        }
    }
});
