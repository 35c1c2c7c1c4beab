//! Another root in three steps, and what is revoked: in bundles and in lists.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use sealift_host::OsRng;
use sealift_identity::{
    Acknowledgement, Authority, Credentials, Enrolments, IdentityError, Issued, LeafRequest,
    Refusal, RevocationLists, Rollover, Session, TlsContext, TlsPolicy, TrustBundle,
};
use sealift_terms::{Identity, Timestamp, limits};

use super::stage::{ALPN, DOMAIN, HeldClock, NOW, handshake, identity, region, trust};

const PASSPHRASE: &str = "correct horse";
const LIFE: Duration = Duration::from_secs(3600);

fn authority(dir: &Path) -> Authority {
    let (clock, regions) = (HeldClock::at(NOW), [region("a"), region("b")]);
    Authority::init(dir, DOMAIN, &regions, PASSPHRASE, &*clock, &OsRng).unwrap()
}

fn issue(authority: &Authority, identity: &Identity, at: Timestamp) -> Issued {
    let issuing = authority.issuing(identity.region()).unwrap();
    let request = LeafRequest::new(identity.clone());
    issuing
        .issue(&request, &*HeldClock::at(at), &OsRng)
        .unwrap()
}

fn load(issued: &Issued, roots: &TrustBundle) -> Result<Credentials, IdentityError> {
    let key = issued.private_key_pem.as_ref().unwrap();
    Credentials::from_pem(issued.chain_pem.as_bytes(), key.as_bytes(), roots, NOW)
}

/// An agent with a certificate, that trusts one peer by a bundle.
fn agent(issued: &Issued, roots: &TrustBundle, peer: &Identity) -> TlsContext {
    let own = load(issued, roots).unwrap();
    let peers = trust(&[(peer, roots)]);
    TlsContext::new(TlsPolicy::default(), own, peers, HeldClock::at(NOW)).unwrap()
}

/// What the answering side sees.
fn session_of(client: &TlsContext, server: &TlsContext) -> Result<Session, Refusal> {
    let dialled = client
        .client(&server.credentials().leaf().identity, ALPN)
        .unwrap();
    let prepared = server.server(ALPN);
    match handshake(&dialled.config, &prepared.config).server {
        Ok(connection) => Session::of(&connection, &prepared.own),
        Err(error) => Err(Refusal::of(&error)),
    }
}

fn prepare(authority: &Authority) -> bool {
    let clock = HeldClock::at(NOW);
    authority
        .prepare_rollover(PASSPHRASE, &*clock, &OsRng)
        .unwrap()
}

#[test]
fn every_step_of_a_roll_over_is_taken_once_and_the_bundle_of_each_follows_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("ca");
    let mut ca = authority(&at);
    let one = identity("a", "one");
    let first = ca.bundle().clone();
    let old = issue(&ca, &one, NOW);
    assert_eq!(ca.rollover().unwrap(), Rollover::None);
    assert!(ca.announce().is_err() && ca.issue_from_next().is_err() && ca.retire().is_err());
    let wrong = ca.prepare_rollover("battery staple", &*HeldClock::at(NOW), &OsRng);
    assert!(matches!(wrong, Err(IdentityError::Passphrase { .. })));
    assert!(prepare(&ca));
    assert!(!prepare(&ca), "it is made once");
    assert_eq!(ca.rollover().unwrap(), Rollover::Prepared);
    assert!(ca.issue_from_next().is_err() && ca.retire().is_err());

    assert_eq!(ca.announce().unwrap(), Rollover::Announced { sequence: 2 });
    assert_eq!(ca.announce().unwrap(), Rollover::Announced { sequence: 2 });
    let both = ca.bundle().clone();
    assert_eq!((both.sequence(), both.roots().len()), (2, 2));
    both.check_offered_to(&first).unwrap();
    assert!(
        load(&issue(&ca, &one, NOW), &first).is_ok(),
        "still by the old root"
    );
    assert!(ca.retire().is_err());

    assert_eq!(
        ca.issue_from_next().unwrap(),
        Rollover::Issuing { sequence: 3 }
    );
    assert_eq!(
        ca.issue_from_next().unwrap(),
        Rollover::Issuing { sequence: 3 }
    );
    assert_eq!(ca.bundle().sequence(), 3);
    let new = issue(&ca, &one, NOW);
    assert!(load(&new, &first).is_err() && load(&new, &both).is_ok());
    let chain = load(&new, &both).unwrap().chain().to_vec();
    assert_eq!(both.root_behind(&chain, NOW), ca.next_root().unwrap());

    assert_eq!(ca.retire().unwrap(), Rollover::Retired { sequence: 4 });
    assert_eq!(ca.retire().unwrap(), Rollover::Retired { sequence: 4 });
    let last = ca.bundle().clone();
    assert_eq!(last.roots().len(), 1);
    last.check_offered_to(&both).unwrap();
    // Who slept through the step before follows all the same: the old root signed it.
    last.check_offered_to(&first).unwrap();
    assert!(load(&old, &last).is_err() && load(&new, &last).is_ok());
    assert!(load(&issue(&ca, &one, NOW), &last).is_ok());
    assert!(!at.join("next").exists());

    // The next one begins where this one ended, under the same passphrase.
    assert!(prepare(&ca));
    assert_eq!(ca.announce().unwrap(), Rollover::Announced { sequence: 5 });
    ca.bundle().check_offered_to(&last).unwrap();
}

#[test]
fn a_roll_over_that_is_killed_anywhere_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("ca");
    let one = identity("a", "one");
    let mut ca = authority(&at);
    // While the new root is made.
    fs::create_dir_all(at.join("next.new/regions")).unwrap();
    fs::write(at.join("next.new/root.key"), "half").unwrap();
    assert!(prepare(&ca));
    // Between the number of the step and its bundle.
    let restore = |file: &str, text: &[u8]| fs::write(at.join(file), text).unwrap();
    let bundle = fs::read(at.join("bundle.json")).unwrap();
    ca.announce().unwrap();
    restore("bundle.json", &bundle);
    let mut ca = Authority::open(&at).unwrap();
    assert_eq!(ca.rollover().unwrap(), Rollover::Prepared);
    assert_eq!(ca.announce().unwrap(), Rollover::Announced { sequence: 2 });
    let bundle = fs::read(at.join("bundle.json")).unwrap();
    ca.issue_from_next().unwrap();
    restore("bundle.json", &bundle);
    let mut ca = Authority::open(&at).unwrap();
    assert_eq!(
        ca.issue_from_next().unwrap(),
        Rollover::Issuing { sequence: 3 }
    );
    assert_eq!(ca.bundle().sequence(), 3);
    // While the new root moves in: some files are its own already, some are not.
    let copies = dir.path().join("copies");
    copy(&at, &copies);
    ca.retire().unwrap();
    let last = fs::read(at.join("bundle.json")).unwrap();
    let state = fs::read(at.join("rollover.json")).unwrap();
    for moved in [
        &[][..],
        &["regions/a/issuing.key"],
        &["root.key", "regions/b/issuing.pem"],
    ] {
        fs::remove_dir_all(&at).unwrap();
        copy(&copies, &at);
        restore("bundle.json", &last);
        restore("rollover.json", &state);
        for file in moved {
            fs::copy(at.join("next").join(file), at.join(file)).unwrap();
        }
        let mut ca = Authority::open(&at).unwrap();
        assert!(
            load(&issue(&ca, &one, NOW), ca.bundle()).is_ok(),
            "{moved:?}"
        );
        assert_eq!(ca.retire().unwrap(), Rollover::Retired { sequence: 4 });
        assert!(
            load(&issue(&ca, &one, NOW), ca.bundle()).is_ok(),
            "{moved:?}"
        );
        assert!(ca.open_root(PASSPHRASE).is_ok() && !at.join("next").exists());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_stale_bundle_never_wins_whichever_comes_first_and_nobody_puts_in_roots_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = authority(&dir.path().join("ca"));
    let old = ca.bundle().clone();
    prepare(&ca);
    ca.announce().unwrap();
    let new = ca.bundle().clone();
    for check in [
        TrustBundle::check_successor_of,
        TrustBundle::check_offered_to,
    ] {
        assert!(check(&new, &old).is_ok());
        let stale = check(&old, &new).unwrap_err();
        let is_stale = matches!(
            stale,
            IdentityError::StaleBundle {
                current: 2,
                offered: 1
            }
        );
        assert!(is_stale, "{stale}");
        assert!(check(&new, &new).is_ok());
    }
    // An issuing agent that is taken over has no root's key: what it makes up has a good
    // number and stays out.
    let other = authority(&dir.path().join("other"));
    let forged = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        TrustBundle::parse(text.replace(from, to).as_bytes()).unwrap()
    };
    let own = forged(
        other.bundle().to_json(),
        "\"sequence\": 1",
        "\"sequence\": 9",
    );
    own.check_successor_of(&old).unwrap();
    assert!(matches!(
        own.check_offered_to(&old),
        Err(IdentityError::TrustBundle { .. })
    ));
    // Nor does it bring back roots that were retired, with their own signatures.
    ca.issue_from_next().unwrap();
    ca.retire().unwrap();
    let back = forged(new.to_json(), "\"sequence\": 2", "\"sequence\": 9");
    assert!(back.check_offered_to(ca.bundle()).is_err());
    // Two bundles with one number are never both right.
    let other = forged(
        other.bundle().to_json(),
        "\"sequence\": 1",
        "\"sequence\": 4",
    );
    assert!(other.check_successor_of(ca.bundle()).is_err());
}

#[test]
fn what_is_revoked_is_refused_its_session_ends_and_what_is_issued_later_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = {
        drop(authority(&dir.path().join("ca")));
        Enrolments::open(&dir.path().join("ca")).unwrap()
    };
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let before = all.authority().bundle().clone();
    let issued = issue(all.authority(), &one, NOW);
    all.note_issued(&issued.leaf).unwrap();
    let peer = issue(all.authority(), &two, NOW);
    let (client, server) = (agent(&issued, &before, &two), agent(&peer, &before, &one));
    let standing = session_of(&client, &server).unwrap();
    assert_eq!(standing.peer.serial, issued.leaf.serial);
    assert!(all.revoke_serial(&issued.leaf.serial, NOW).unwrap());
    assert!(
        !all.revoke_serial(&issued.leaf.serial, NOW).unwrap(),
        "again"
    );
    let bundle = all.authority().bundle().clone();
    bundle.check_offered_to(&before).unwrap();
    server.set_peers(trust(&[(&one, &bundle)]));
    let revoked = Refusal::Revoked {
        identity: one.clone(),
        serial: issued.leaf.serial.clone(),
    };
    assert_eq!(server.check_session(&standing), Err(revoked.clone()));
    assert_eq!(session_of(&client, &server), Err(revoked));
    let next = issue(all.authority(), &one, NOW);
    let client = agent(&next, &before, &two);
    assert!(
        session_of(&client, &server).is_ok(),
        "another certificate of it"
    );
    // The identity: that one too.
    assert!(all.revoke_identity(&one, NOW).unwrap());
    let bundle = all.authority().bundle().clone();
    server.set_peers(trust(&[(&one, &bundle)]));
    assert!(matches!(
        session_of(&client, &server),
        Err(Refusal::Revoked { .. })
    ));
    assert!(all.known().unwrap().is_empty(), "nothing waits for it");
    // What it is given afterwards begins later than all that is revoked.
    let request = LeafRequest {
        not_before_min: all.authority().earliest_start(&one),
        ..LeafRequest::new(one.clone())
    };
    let issuing = all.authority().issuing(one.region()).unwrap();
    let later = NOW.plus(Duration::from_secs(5));
    let anew = issuing
        .issue(&request, &*HeldClock::at(later), &OsRng)
        .unwrap();
    assert_eq!(anew.leaf.not_before, NOW.plus(Duration::from_secs(1)));
    assert!(!bundle.is_revoked(&anew.leaf));
}

#[test]
fn a_list_names_what_is_revoked_and_one_that_is_over_or_of_another_ca_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = authority(&dir.path().join("ca"));
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let bundle = ca.bundle().clone();
    let (good, bad) = (issue(&ca, &one, NOW), issue(&ca, &one, NOW));
    let peer = issue(&ca, &two, NOW);
    let server = agent(&peer, &bundle, &one);
    let mut all = Enrolments::open(&dir.path().join("ca")).unwrap();
    all.revoke_serial(&bad.leaf.serial, NOW).unwrap();
    ca = Authority::open(&dir.path().join("ca")).unwrap();
    let lists = |ca: &Authority, of: &str, at: Timestamp| {
        let made = ca
            .issue_lists(&region(of), LIFE, &*HeldClock::at(at))
            .unwrap();
        let read = RevocationLists::load(&ca.list_path(&region(of))).unwrap();
        assert_eq!(made, read);
        Arc::new(read)
    };
    let with = |lists: Arc<RevocationLists>| {
        let peers = trust(&[(&one, &bundle)]);
        server.set_peers(peers.with_lists(BTreeMap::from([(one.clone(), lists)])));
    };
    let of = |issued: &Issued| agent(issued, &bundle, &two);
    let standing = session_of(&of(&bad), &server).unwrap();
    let first = lists(&ca, "a", NOW);
    assert_eq!(first.next_update(), NOW.plus(LIFE));
    with(first.clone());
    assert!(session_of(&of(&good), &server).is_ok());
    let refused = session_of(&of(&bad), &server).unwrap_err();
    assert_eq!(refused.cause(), "revoked");
    assert_eq!(
        server.check_session(&standing).unwrap_err().cause(),
        "revoked"
    );
    // The clock does not move: the list was issued long ago.
    let second = lists(&ca, "a", NOW.minus(LIFE * 2));
    assert_eq!(second.facts()[0].number, first.facts()[0].number + 1);
    with(second);
    let refused = session_of(&of(&good), &server).unwrap_err();
    assert_eq!(refused.cause(), "stale_crl");
    assert_eq!(refused.reason(), sealift_terms::Reason::PeerIdentityRefused);
    with(lists(&ca, "b", NOW));
    assert_eq!(
        session_of(&of(&good), &server).unwrap_err().cause(),
        "no_crl"
    );
    // During a roll-over there is one of each issuing CA.
    prepare(&ca);
    ca.announce().unwrap();
    let both = lists(&ca, "a", NOW);
    assert_eq!(both.facts().len(), 2);
    with(both);
    assert!(session_of(&of(&good), &server).is_ok());
}

#[test]
fn lists_that_are_none_or_too_many_or_too_long_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca = authority(&dir.path().join("ca"));
    let clock = HeldClock::at(NOW);
    ca.issue_lists(&region("a"), LIFE, &*clock).unwrap();
    let list = fs::read_to_string(ca.list_path(&region("a"))).unwrap();
    assert!(RevocationLists::parse(list.repeat(limits::CRLS_MAX).as_bytes()).is_ok());
    let too_many = list.repeat(limits::CRLS_MAX + 1);
    let rubbish = "-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n";
    for bad in ["", "rubbish", rubbish, &too_many] {
        assert!(RevocationLists::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let long = |bytes: usize| {
        let path = dir.path().join("long");
        fs::write(&path, list.clone() + &"\n".repeat(bytes - list.len())).unwrap();
        RevocationLists::load(&path)
    };
    assert!(long(limits::CRL_BYTES_MAX).is_ok());
    assert!(long(limits::CRL_BYTES_MAX + 1).is_err());
}

#[test]
fn a_trust_bundle_is_no_longer_than_one_with_all_that_may_be_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca = authority(&dir.path().join("ca"));
    let load = |bytes: usize| {
        let (path, json) = (dir.path().join("bundle"), ca.bundle().to_json());
        fs::write(&path, json.clone() + &" ".repeat(bytes - json.len())).unwrap();
        TrustBundle::load(&path)
    };
    assert!(load(limits::TRUST_BUNDLE_BYTES_MAX).is_ok());
    assert!(load(limits::TRUST_BUNDLE_BYTES_MAX + 1).is_err());
}

#[test]
fn who_acknowledged_is_remembered_of_so_many_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    drop(authority(&dir.path().join("ca")));
    let all = Enrolments::open(&dir.path().join("ca")).unwrap();
    let row = |name: &str| Acknowledgement {
        identity: identity("a", name),
        sequence: 1,
        root: None,
        at: NOW,
        by: None,
    };
    all.acknowledge(&row("one")).unwrap();
    let rows = dir.path().join("ca/enrolment/acknowledged");
    for n in 1..limits::ACKNOWLEDGEMENTS_MAX {
        fs::write(rows.join(format!("{n}")), "").unwrap();
    }
    let full = all.acknowledge(&row("two"));
    assert!(matches!(full, Err(IdentityError::AuthorityState { .. })));
    let again = Acknowledgement {
        sequence: 2,
        ..row("one")
    };
    assert!(
        all.acknowledge(&again).unwrap(),
        "one that is known goes on"
    );
}

#[test]
fn acknowledgements_last_and_suffice_for_their_step_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(authority(&dir.path().join("ca")));
    let all = Enrolments::open(&dir.path().join("ca")).unwrap();
    let one = identity("a", "one");
    all.note_issued(&issue(all.authority(), &one, NOW).leaf)
        .unwrap();
    assert_eq!(all.known().unwrap(), BTreeMap::from([(one.clone(), None)]));
    let mut row = Acknowledgement {
        identity: one.clone(),
        sequence: 2,
        root: Some("aa".to_owned()),
        at: NOW,
        by: None,
    };
    assert!(all.acknowledge(&row).unwrap());
    assert!(!all.acknowledge(&row).unwrap());
    let all = Enrolments::open(&dir.path().join("ca")).unwrap();
    assert_eq!(
        all.known().unwrap(),
        BTreeMap::from([(one.clone(), Some(row.clone()))])
    );
    assert!(row.suffices(2, None) && !row.suffices(3, None));
    assert!(row.suffices(2, Some("aa")) && !row.suffices(2, Some("bb")));
    row.by = Some("uid:0".to_owned());
    assert!(row.suffices(2, Some("bb")), "an operator says both");
    assert!(!row.suffices(3, None));
    all.forget(&one).unwrap();
    assert!(all.known().unwrap().is_empty());
}
