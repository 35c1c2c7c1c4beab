//! The authority as a directory of files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sealift_host::OsRng;
use sealift_identity::{Authority, Credentials, IdentityError, LeafRequest, TrustBundle};

use crate::stage::{Ca, DOMAIN, HeldClock, NOW, identity, region};

const PASS: &str = "correct horse battery";

fn init(dir: &Path) -> Authority {
    let regions = [region("a"), region("b")];
    Authority::init(dir, DOMAIN, &regions, PASS, &*HeldClock::at(NOW), &OsRng).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_is_made_opened_and_issues() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    init(&ca);
    let authority = Authority::open(&ca).unwrap();
    assert_eq!(authority.domain(), DOMAIN);
    assert_eq!(authority.regions().unwrap(), [region("a"), region("b")]);
    assert_eq!(authority.bundle().sequence(), 1);
    let issuing = authority.issuing(&region("a")).unwrap();
    let request = LeafRequest::new(identity("a", "one"));
    let issued = issuing
        .issue(&request, &*HeldClock::at(NOW), &OsRng)
        .unwrap();
    let (cert, key) = (dir.path().join("one.pem"), dir.path().join("one.key"));
    issued.save(&cert, &key).unwrap();
    assert_eq!((mode(&cert), mode(&key)), (0o644, 0o600));
    let bundle = TrustBundle::load(&authority.bundle_path()).unwrap();
    let loaded = Credentials::load(&cert, &key, &bundle, NOW).unwrap();
    assert_eq!(**loaded.leaf(), issued.leaf);
}

#[test]
fn private_keys_are_for_the_owner_alone_and_the_root_key_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    for name in ["root.key", "regions/a/issuing.key", "regions/b/issuing.key"] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&dir.path().join("regions/a")), 0o700);
    let root_key = fs::read_to_string(dir.path().join("root.key")).unwrap();
    assert!(root_key.contains("argon2id") && !root_key.contains("PRIVATE KEY"));
    let exposed = dir.path().join("regions/a/issuing.key");
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o640)).unwrap();
    let opened = Authority::open(dir.path()).unwrap().issuing(&region("a"));
    assert!(
        matches!(
            opened,
            Err(IdentityError::SecretExposed { mode: 0o640, .. })
        ),
        "{opened:?}"
    );
}

#[test]
fn only_the_passphrase_adds_a_region() {
    let dir = tempfile::tempdir().unwrap();
    let authority = init(dir.path());
    let clock = HeldClock::at(NOW);
    let wrong = authority.add_region(&region("c"), "another passphrase", &*clock, &OsRng);
    assert!(
        matches!(wrong, Err(IdentityError::Passphrase { .. })),
        "{wrong:?}"
    );
    let missing = authority.issuing(&region("c"));
    assert!(
        matches!(missing, Err(IdentityError::UnknownRegion { .. })),
        "{missing:?}"
    );
    authority
        .add_region(&region("c"), PASS, &*clock, &OsRng)
        .unwrap();
    assert_eq!(
        authority.issuing(&region("c")).unwrap().region(),
        &region("c")
    );
}

#[test]
fn a_second_authority_does_not_overwrite_the_first() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let before = fs::read(dir.path().join("root.key")).unwrap();
    let clock = HeldClock::at(NOW);
    let again = Authority::init(dir.path(), DOMAIN, &[region("a")], PASS, &*clock, &OsRng);
    assert!(
        matches!(again, Err(IdentityError::AuthorityExists { .. })),
        "{again:?}"
    );
    assert_eq!(fs::read(dir.path().join("root.key")).unwrap(), before);
    let nowhere = dir.path().join("new");
    for (regions, passphrase) in [(vec![], PASS), (vec![region("a")], "short")] {
        let made = Authority::init(&nowhere, DOMAIN, &regions, passphrase, &*clock, &OsRng);
        assert!(made.is_err() && !nowhere.exists());
    }
}

#[test]
fn files_of_two_regions_that_were_exchanged_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let authority = init(dir.path());
    let (a, b) = (dir.path().join("regions/a"), dir.path().join("regions/b"));
    fs::copy(b.join("issuing.key"), a.join("issuing.key")).unwrap();
    assert!(
        authority.issuing(&region("a")).is_err(),
        "the key is not the certificate's"
    );
    fs::copy(b.join("issuing.pem"), a.join("issuing.pem")).unwrap();
    assert!(
        authority.issuing(&region("a")).is_err(),
        "the CA is not the region's"
    );
    assert!(authority.issuing(&region("b")).is_ok());
}

#[test]
fn a_stale_bundle_never_replaces_a_newer_one() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (one, two) = (ca.root.bundle(1).unwrap(), ca.root.bundle(2).unwrap());
    assert!(two.check_successor_of(&one).is_ok());
    assert!(one.check_successor_of(&one).is_ok());
    let stale = one.check_successor_of(&two).unwrap_err();
    assert!(
        matches!(
            stale,
            IdentityError::StaleBundle {
                current: 2,
                offered: 1
            }
        ),
        "{stale}"
    );
    let twin = other.root.bundle(2).unwrap();
    assert!(
        twin.check_successor_of(&two).is_err(),
        "two bundles with one number"
    );
    let pem = TrustBundle::parse(ca.root.certificate_pem().as_bytes()).unwrap();
    assert_eq!(
        (pem.sequence(), pem.domain(), pem.roots()),
        (0, None, one.roots())
    );
    assert!(one.check_successor_of(&pem).is_ok());
    assert!(pem.check_successor_of(&one).is_err());
}

#[test]
fn a_bundle_holds_roots_and_nothing_else() {
    let ca = Ca::new();
    let bundle = ca.root.bundle(3).unwrap();
    assert_eq!(
        TrustBundle::parse(bundle.to_json().as_bytes()).unwrap(),
        bundle
    );
    let issued = ca.issue(&identity("a", "one"));
    assert!(
        TrustBundle::parse(issued.chain_pem.as_bytes()).is_err(),
        "no root in it"
    );
    let twice = ca.root.certificate_pem().repeat(2);
    assert!(TrustBundle::parse(twice.as_bytes()).is_err());
    let many: String = (0..17).map(|_| Ca::new().root.certificate_pem()).collect();
    assert!(TrustBundle::parse(many.as_bytes()).is_err(), "17 roots");
    for bad in [
        "",
        "{}",
        "{\"sequence\":1,\"roots\":[]}",
        "{\"sequence\":1,\"roots\":[],\"x\":1}",
    ] {
        assert!(TrustBundle::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}
