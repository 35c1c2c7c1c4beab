//! A peer that may come in, and then sends rubbish, too much or too slowly, is cut off:
//! with a line in the log and an audit record, and without harm to any other.

use std::{fs, thread, time::Duration};

use sealift_terms::{PartIndex, limits};
use sealift_wire::{FrameType, Header, OfferId};

use crate::support::{BUCKET, Pair, Rogue, RogueLink, bare, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// Both agents run, and `b` knows one more peer, which may replicate, too.
struct Three {
    pair: Pair,
    rogue: Rogue,
    objects: u64,
}

impl Three {
    fn new() -> Self {
        let pair = Pair::new();
        let site = pair.stranger("c", &pair.authority());
        let mut config = fs::read_to_string(pair.b.config()).unwrap();
        let known = format!(
            "\n[[peer]]\nname = \"c\"\nidentity = \"{0}\"\ntrust_bundle = \"bundle.json\"\n\
             \n[[grant]]\nidentity = \"{0}\"\nactions = [\"replicate\"]\nbucket = \"{BUCKET}\"\n",
            site.identity
        );
        config.push_str(&known);
        fs::write(pair.b.config(), config).unwrap();
        let rogue = Rogue::with_identity_of(&site);
        pair.start();
        let mut three = Self {
            pair,
            rogue,
            objects: 0,
        };
        three.others_are_not_disturbed();
        three
    }

    /// What `a` has arrives at `b`, small and large.
    fn others_are_not_disturbed(&mut self) {
        for size in [10, 3 << 20] {
            let name = format!("object-{}", self.objects);
            write_file(&self.pair.source.join(name), vec![b'x'; size]);
            self.objects += 1;
        }
        self.pair.wait_completed(self.objects, TIME_MAX);
    }

    fn is_on_record(&self, kind: &str, words: &[&str]) {
        let identity = self.rogue.identity().to_string();
        self.pair.b.audits(kind, &[words, &[&identity]].concat());
    }
}

#[test]
fn rubbish_from_a_peer_ends_its_session_and_is_on_record() {
    let mut three = Three::new();
    let rogue = &three.rogue;
    // A frame that there is not, one of the other role, one for an offer never made.
    let mut unknown = Header::data(OfferId(77), PartIndex(0), 0, 1)
        .encode()
        .to_vec();
    unknown.push(b'x');
    for rubbish in [vec![0xff; 100], bare(FrameType::Receipts), unknown] {
        let mut control = rogue.begins().unwrap();
        rogue.says(&mut control, &rubbish);
        // It is thrown out: this comes to an end.
        rogue.waits(async { while let Ok(Some(_)) = control.reader.next().await {} });
    }
    three.is_on_record("session.closed", &["PeerProtocolMismatch", "type 255"]);
    three.is_on_record("session.closed", &["PeerProtocolMismatch", "other role"]);
    three.is_on_record("session.closed", &["PeerProtocolMismatch", "offer 77"]);
    // On a data link it is the session's fault all the same.
    let control = rogue.begins().unwrap();
    let mut data = rogue.adds(&control, 5).unwrap();
    rogue.says(&mut data, &[0xff; 100]);
    three.is_on_record("session.closed", &["PeerProtocolMismatch", "link 5"]);
    three
        .pair
        .b
        .logs(&["session ended", "PeerProtocolMismatch"]);
    three.others_are_not_disturbed();
}

#[test]
fn a_peer_with_too_many_sessions_and_links_is_refused_and_others_are_not() {
    let mut three = Three::new();
    let rogue = &three.rogue;
    let sessions: Vec<RogueLink> = (0..limits::SESSIONS_PER_PEER_MAX)
        .map(|_| rogue.begins().unwrap())
        .collect();
    assert!(rogue.begins().is_none());
    three.is_on_record("session.refused", &["not_admitted", "too many sessions"]);
    let mut links = Vec::new();
    for control in &sessions {
        for number in 1..=limits::CONNECTIONS_PER_PEER_MAX {
            links.push(rogue.adds(control, number as u32).unwrap());
        }
    }
    assert_eq!(sessions.len() + links.len(), limits::LINKS_PER_PEER_MAX);
    assert!(rogue.begins().is_none());
    assert!(rogue.adds(&sessions[0], 99).is_none());
    three.is_on_record("session.refused", &["too_many_links_of_peer"]);
    three.pair.b.logs(&["refused", "too_many_links_of_peer"]);
    let refused = three.pair.b.metric("sealift_connections_refused_total");
    assert!(refused >= Some(2), "{refused:?}");
    three.others_are_not_disturbed();
    // What it gives back it may have again.
    drop(links.pop());
    wait_until("there is room again", TIME_MAX, || {
        three.rogue.adds(&sessions[3], 100).is_some()
    });
}

#[test]
fn a_peer_that_leaves_too_many_offers_open_is_refused_more() {
    let mut three = Three::new();
    let rogue = &three.rogue;
    let mut control = rogue.begins().unwrap();
    let most = limits::OPEN_OFFERS_PER_SESSION_MAX as u64;
    let offers = rogue.offers(most + 1, 200_000);
    rogue.says(&mut control, &offers);
    let why = rogue.hears(&mut control, FrameType::Refuse);
    let why = String::from_utf8_lossy(&why);
    assert!(why.contains("DstQuotaExceeded"), "{why}");
    three.others_are_not_disturbed();
}

#[test]
fn a_peer_that_is_too_slow_is_given_up_after_a_minute_and_others_do_not_wait_for_it() {
    let mut three = Three::new();
    let rogue = &three.rogue;
    // One session falls silent.
    let _silent = rogue.begins().unwrap();
    // One sends and does not read.
    let mut deaf = rogue.begins().unwrap();
    let pings = bare(FrameType::Ping).repeat(10_000);
    let flooded = rogue.waits(async {
        loop {
            deaf.writer.queue(&pings);
            let written = deaf.writer.flush();
            match tokio::time::timeout(Duration::from_secs(3), written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                // Nobody reads any more: the other end waits for us to read.
                Err(_) => return Ok(()),
            }
        }
    });
    flooded.expect("it was thrown out at once");
    // One begins parts, and then only shows that it lives.
    let mut control = rogue.begins().unwrap();
    let mut data = rogue.adds(&control, 1).unwrap();
    let offer = rogue.offers(1, 200_000);
    rogue.says(&mut control, &offer);
    rogue.hears(&mut control, FrameType::Accept);
    let mut begun = Header::data(OfferId(1), PartIndex(0), 0, 1)
        .encode()
        .to_vec();
    begun.push(b'x');
    rogue.says(&mut data, &begun);
    three.others_are_not_disturbed();
    let rogue = &three.rogue;
    for _ in 0..10 {
        thread::sleep(Duration::from_secs(6));
        for link in [&mut control, &mut data] {
            rogue.says(link, &bare(FrameType::Ping));
        }
    }
    let why = rogue.hears(&mut control, FrameType::Refuse);
    let why = String::from_utf8_lossy(&why);
    assert!(
        why.contains("PeerUnreachable") && why.contains("60 s"),
        "{why}"
    );
    three
        .pair
        .b
        .logs(&["too slow", &rogue.identity().to_string()]);
    three.is_on_record("session.closed", &["nothing was heard", "60 s"]);
    three.is_on_record("session.closed", &["took nothing", "60 s"]);
    three.others_are_not_disturbed();
}

#[test]
fn a_peer_that_never_says_hello_holds_up_neither_check_nor_the_agent() {
    let pair = Pair::new();
    write_file(&pair.source.join("object"), "for b");
    // Someone with b's own certificate, where b should be.
    let mute = Rogue::with_identity_of(&pair.b);
    let listening = mute.listens_without_a_word(&pair.listen);
    pair.a
        .run(&["check"])
        .exits(78)
        .tells(&["peer b", "no handshake within 10 s"]);
    pair.a.start();
    wait_until("the sender says why", TIME_MAX, || {
        pair.a.status()["peers"][0]["reason"] == "PeerUnreachable"
    });
    listening.abort();
    drop(mute);
    pair.b.start();
    pair.wait_completed(1, TIME_MAX);
}
