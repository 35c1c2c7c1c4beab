//! Two ends after a real handshake, and what a peer that has the keys may do with them.

use std::sync::Arc;

use rustls::{client::UnbufferedClientConnection, server::UnbufferedServerConnection};
use sealift_host::{OsClock, OsRng};
use sealift_identity::{
    ALPN_DATA, Credentials, LeafRequest, PeerTrust, Peers, RootAuthority, TlsContext, TlsPolicy,
};
use sealift_terms::{Clock, Identity, PeerName};

use super::*;
use crate::records::{Core, Opened, Records};

fn context(root: &RootAuthority, own: &str, peer: &str, policy: TlsPolicy) -> TlsContext {
    let identity = |name: &str| -> Identity {
        format!("spiffe://example.org/region/{name}/agent/{name}1")
            .parse()
            .unwrap()
    };
    let (own, peer) = (identity(own), identity(peer));
    let bundle = root.bundle(1).unwrap();
    let issuing = root.issuing(own.region(), &OsClock, &OsRng).unwrap();
    let issued = issuing
        .issue(&LeafRequest::new(own), &OsClock, &OsRng)
        .unwrap();
    let key = issued.private_key_pem.as_ref().unwrap().as_bytes();
    let chain = issued.chain_pem.as_bytes();
    let credentials = Credentials::from_pem(chain, key, &bundle, OsClock.now()).unwrap();
    let trust = PeerTrust {
        name: PeerName::new(peer.name().as_str()).unwrap(),
        identity: peer,
        roots: bundle,
        demands: Default::default(),
        dns: None,
    };
    let peers = Peers::new([trust], []).unwrap();
    TlsContext::new(policy, credentials, peers, Arc::new(OsClock)).unwrap()
}

/// The two ends of a data link after their handshake.
fn linked(policy: impl Fn() -> TlsPolicy) -> (Layer, Layer) {
    let root = RootAuthority::generate("example.org", &OsClock, &OsRng).unwrap();
    let (a, b) = (
        context(&root, "a", "b", policy()),
        context(&root, "b", "a", policy()),
    );
    let dialled = "spiffe://example.org/region/b/agent/b1".parse().unwrap();
    let client = a.client(&dialled, &[ALPN_DATA]).unwrap().config;
    let client = UnbufferedClientConnection::new(client, TlsContext::server_name()).unwrap();
    let server = UnbufferedServerConnection::new(b.server(&[ALPN_DATA]).config).unwrap();
    let mut near = (
        Core::new(Records::Client(Box::new(client))),
        Opened::default(),
    );
    let mut far = (
        Core::new(Records::Server(Box::new(server))),
        Opened::default(),
    );
    loop {
        let done = [&mut near, &mut far].map(|(core, opened)| core.shake(opened).unwrap());
        for (from, to) in [(&mut near.0, &mut far.1), (&mut far.0, &mut near.1)] {
            to.came(from.out.filled());
            from.out.consume(usize::MAX);
        }
        if done == [true, true] {
            break;
        }
    }
    let layer = |(core, opened): (Core, Opened)| match core.over().unwrap().records {
        Records::Data(layer) if opened.is_empty() => *layer,
        _ => panic!("no record layer, or bytes before any were sent"),
    };
    (layer(near), layer(far))
}

fn ends() -> (Layer, Layer) {
    linked(TlsPolicy::default)
}

fn bytes_of(out: &mut Outgoing) -> Vec<u8> {
    let mut all = Vec::new();
    while !out.is_empty() {
        let before = all.len();
        let (slices, count) = out.front();
        slices[..count]
            .iter()
            .for_each(|slice| all.extend_from_slice(slice));
        out.consume(all.len() - before);
    }
    all
}

fn sealed(layer: &mut Layer, bytes: &[u8]) -> Vec<u8> {
    let mut out = Outgoing::default();
    layer.seal(&[bytes], &mut out).unwrap();
    bytes_of(&mut out)
}

fn record(layer: &mut Layer, typ: ContentType, payload: &[u8]) -> Vec<u8> {
    let mut out = Outgoing::default();
    let payload = OutboundChunks::Single(payload);
    layer.record(typ, payload, &mut out).unwrap();
    bytes_of(&mut out)
}

/// Opens everything; the application data in it.
fn opened(layer: &mut Layer, mut raw: &mut [u8]) -> Result<Vec<u8>, TlsError> {
    let mut all = Vec::new();
    while let Some((used, came)) = layer.open(raw)? {
        if let Came::Data(plain) = came {
            all.extend_from_slice(&raw[plain]);
        }
        raw = &mut raw[used..];
    }
    assert!(raw.is_empty(), "a record is not whole");
    Ok(all)
}

#[test]
fn records_are_full_and_their_content_is_copied_in_short_pieces() {
    let content: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    let (one, other) = content.split_at(12_345);
    let (other, last) = other.split_at(70_000);
    let parts = [one, &[], other, last];
    let (mut rest, mut all) = (Rest(&parts, 0), Vec::new());
    loop {
        let mut pieces = [&[][..]; PIECES_MAX];
        let count = rest.next_record(&mut pieces);
        let short = 1..=COPIED_BYTES;
        assert!(pieces[..count].iter().all(|it| short.contains(&it.len())));
        let record = pieces[..count].concat();
        assert_eq!(record.len(), RECORD_BYTES.min(content.len() - all.len()));
        all.extend(record);
        if count == 0 {
            break;
        }
    }
    assert!(all == content);
    let (mut near, mut far) = ends();
    let mut out = Outgoing::default();
    near.seal(&parts, &mut out).unwrap();
    let mut raw = bytes_of(&mut out);
    assert!(opened(&mut far, &mut raw).unwrap() == content);
}

#[test]
fn what_one_end_seals_the_other_opens_with_each_suite() {
    for suite in TlsPolicy::known_suites() {
        let policy = || {
            let groups = TlsPolicy::default().groups();
            TlsPolicy::from_names(&[suite], &groups).unwrap()
        };
        let (mut near, mut far) = linked(policy);
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
        for _ in ["one way", "and back"] {
            for length in [1, 16_383, 16_384, 16_385, 100_000] {
                let mut raw = sealed(&mut near, &bytes[..length]);
                let records = length.div_ceil(RECORD_BYTES);
                assert_eq!(raw.len(), length + records * 22, "{suite}");
                assert_eq!(opened(&mut far, &mut raw).unwrap(), bytes[..length]);
            }
            std::mem::swap(&mut near, &mut far);
        }
    }
}

#[test]
fn parts_share_records() {
    let (mut near, mut far) = ends();
    let mut out = Outgoing::default();
    let long = vec![3; RECORD_BYTES];
    near.seal(&[b"head", &[], &long], &mut out).unwrap();
    let mut raw = bytes_of(&mut out);
    let (used, first) = far.open(&mut raw).unwrap().unwrap();
    assert_eq!(first, Came::Data(5..5 + RECORD_BYTES));
    assert!(raw[5..].starts_with(b"head\x03"));
    assert_eq!(opened(&mut far, &mut raw[used..]).unwrap(), [3; 4]);
}

#[test]
fn a_record_that_is_not_whole_is_waited_for() {
    let (mut near, mut far) = ends();
    let mut raw = sealed(&mut near, b"bytes");
    for length in 0..raw.len() {
        assert!(far.open(&mut raw.clone()[..length]).unwrap().is_none());
    }
    assert_eq!(opened(&mut far, &mut raw).unwrap(), b"bytes");
}

#[test]
fn keys_are_renewed_before_they_have_sealed_too_much() {
    let (mut near, mut far) = ends();
    assert_eq!(near.records_max, 1 << 24);
    near.records_max = 3;
    let mut numbers = Vec::new();
    for step in 0..10u8 {
        let mut raw = sealed(&mut near, &[step]);
        numbers.push(near.seals.next);
        assert_eq!(opened(&mut far, &mut raw).unwrap(), [step]);
        assert_eq!(far.opens.next, near.seals.next);
    }
    // The fourth under a key is the one that says so.
    assert_eq!(numbers, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1].map(|n: u64| n));
}

#[test]
fn whoever_is_asked_to_renew_keys_does_it_before_anything_else_and_once() {
    let (mut near, mut far) = ends();
    sealed(&mut far, b"lost");
    for _ in 0..2 {
        let mut asks = record(&mut near, ContentType::Handshake, &KEY_UPDATE_REQUESTED);
        near.seals = sealing(near.suite, near.keys.next_to_seal().unwrap(), 0).unwrap();
        assert_eq!(opened(&mut far, &mut asks).unwrap(), b"");
    }
    assert!(far.owes_update);
    near.opens.next = 1;
    let mut raw = sealed(&mut far, b"under new keys");
    assert!(!far.owes_update && far.seals.next == 1);
    assert_eq!(opened(&mut near, &mut raw).unwrap(), b"under new keys");
    assert!(!near.owes_update);
    let mut raw = sealed(&mut near, b"so is this");
    assert_eq!(opened(&mut far, &mut raw).unwrap(), b"so is this");
}

#[test]
fn what_was_changed_left_out_moved_or_sent_again_is_refused() {
    let refused = |change: &dyn Fn(&mut Vec<u8>, Vec<u8>)| {
        let (mut near, mut far) = ends();
        let mut raw = sealed(&mut near, b"first");
        let second = sealed(&mut near, b"other");
        change(&mut raw, second);
        opened(&mut far, &mut raw).unwrap_err()
    };
    let length = b"first".len() + 22;
    for at in 5..length {
        let error = refused(&|raw, _| raw[at] ^= 1);
        assert_eq!(error, TlsError::DecryptError, "byte {at}");
    }
    let error = refused(&|raw, second| *raw = second);
    assert_eq!(error, TlsError::DecryptError);
    let error = refused(&|raw, second| {
        let first = std::mem::replace(raw, second);
        raw.extend(first);
    });
    assert_eq!(error, TlsError::DecryptError);
    let error = refused(&|raw, _| raw.extend(raw.clone()));
    assert_eq!(error, TlsError::DecryptError);
    // Cut short behind its header, which says so.
    let error = refused(&|raw, _| {
        raw.truncate(15);
        raw[4] = 10;
    });
    assert_eq!(error, TlsError::DecryptError);
}

#[test]
fn what_is_no_record_of_ours_is_refused_before_it_is_waited_for() {
    for (header, error) in [
        ([23, 3, 3, 0x41, 1], TlsError::PeerSentOversizedRecord),
        ([23, 3, 3, 0xff, 0xff], TlsError::PeerSentOversizedRecord),
        ([21, 3, 3, 0, 2], InvalidMessage::InvalidContentType.into()),
        ([22, 3, 3, 0, 5], InvalidMessage::InvalidContentType.into()),
        ([20, 3, 3, 0, 1], InvalidMessage::InvalidContentType.into()),
        (*b"GET /", InvalidMessage::InvalidContentType.into()),
    ] {
        let (_near, mut far) = ends();
        assert_eq!(far.open(&mut header.clone()).unwrap_err(), error);
    }
    let (_near, mut far) = ends();
    assert!(far.open(&mut [23, 3, 3, 0x41, 0]).unwrap().is_none());
}

#[test]
fn messages_that_have_no_place_after_the_handshake_are_refused() {
    let refused = |typ: ContentType, payloads: &[&[u8]]| {
        let (mut near, mut far) = ends();
        let records = payloads.iter().flat_map(|it| record(&mut near, typ, it));
        opened(&mut far, &mut records.collect::<Vec<_>>()).unwrap_err()
    };
    let invalid: TlsError = InvalidMessage::InvalidKeyUpdate.into();
    // A ticket; a request for a certificate; an update and something behind it; one that
    // is neither asked for nor not.
    for message in [
        &[4u8, 0, 0, 1, 0][..],
        &[13, 0, 0, 0],
        &[24, 0, 0, 1, 0, 24],
        &[24, 0, 0, 1, 2],
        &[24, 0, 0, 2, 0, 0],
    ] {
        assert_eq!(refused(ContentType::Handshake, &[message]), invalid);
    }
    let empty: TlsError = InvalidMessage::InvalidEmptyPayload.into();
    assert_eq!(refused(ContentType::Handshake, &[&[]]), empty);
    let kind: TlsError = InvalidMessage::InvalidContentType.into();
    let switch: TlsError = PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into();
    assert_eq!(refused(ContentType::ChangeCipherSpec, &[&[1]]), switch);
    assert_eq!(refused(ContentType::Heartbeat, &[&[1]]), kind);
    let alert = TlsError::AlertReceived(AlertDescription::CertificateExpired);
    assert_eq!(refused(ContentType::Alert, &[&[2, 45]]), alert);
    let cut: TlsError = InvalidMessage::MissingData("AlertMessagePayload").into();
    assert_eq!(refused(ContentType::Alert, &[&[2]]), cut);
}

#[test]
fn a_message_may_come_in_pieces_and_nothing_between_them() {
    let (mut near, mut far) = ends();
    let mut raw = record(&mut near, ContentType::Handshake, &KEY_UPDATE[..2]);
    raw.extend(record(&mut near, ContentType::Handshake, &KEY_UPDATE[2..]));
    near.seals = sealing(near.suite, near.keys.next_to_seal().unwrap(), 0).unwrap();
    raw.extend(sealed(&mut near, b"under new keys"));
    assert_eq!(opened(&mut far, &mut raw).unwrap(), b"under new keys");

    let mut raw = record(&mut near, ContentType::Handshake, &KEY_UPDATE[..2]);
    raw.extend(sealed(&mut near, b"between"));
    let error = opened(&mut far, &mut raw).unwrap_err();
    let between = PeerMisbehaved::MessageInterleavedWithHandshakeMessage;
    assert_eq!(error, between.into());
}

#[test]
fn a_peer_that_only_renews_keys_is_given_up() {
    let (mut near, mut far) = ends();
    let mut renewed = |bytes: &[u8]| {
        let mut out = Outgoing::default();
        near.renew(&mut out).unwrap();
        near.seal(&[bytes], &mut out).unwrap();
        opened(&mut far, &mut bytes_of(&mut out))
    };
    for _ in 0..100 {
        renewed(b"with bytes between").unwrap();
    }
    for _ in 0..KEY_UPDATES_MAX {
        renewed(b"").unwrap();
    }
    let error = renewed(b"").unwrap_err();
    assert_eq!(error, PeerMisbehaved::TooManyKeyUpdateRequests.into());
}

#[test]
fn an_end_is_told_from_a_cut() {
    let (mut near, mut far) = ends();
    let mut out = Outgoing::default();
    near.close(&mut out).unwrap();
    let mut raw = bytes_of(&mut out);
    assert!(matches!(far.open(&mut raw), Ok(Some((24, Came::Closed)))));
}
