//! The checks that need the peers: a real handshake with each that can be dialled,
//! its clock, and whether it would take what the rules send.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sealift_identity::{Direction, TlsContext};
use sealift_receiver::{Answer, Question};
use sealift_terms::{
    Boxed, BucketName, Epoch, PeerName, Reason, SessionId, SiteId, limits::CLOCK_SKEW_MAX,
};
use sealift_tunnel::{Dialer, Incoming, Link, LinkKind, TcpTransport, TunnelError};
use sealift_wire::{
    Carries, Close, Hello, LinkEvent, LinkId, PROTOCOL_MAX, PROTOCOL_MIN, Role, SendEvent,
    SendSession,
};

use super::canary::Canary;
use crate::{
    CheckLine, Outcome, World,
    config::{Config, Peer, Rule},
    load_credentials, load_peers,
};

/// How long a peer may take to answer a question.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The checks that need the peers, from the files that a configuration names.
pub fn check_peers<'a>(config: &'a Config, world: &'a World) -> Boxed<'a, Vec<CheckLine>> {
    Box::pin(async move {
        let tls = || -> Result<TlsContext, sealift_identity::IdentityError> {
            let credentials = load_credentials(config, world)?;
            let peers = load_peers(config, world)?;
            TlsContext::new(config.tls.clone(), credentials, peers, world.clock.clone())
        };
        match tls() {
            Ok(tls) => ask_peers(config, world, &Arc::new(tls), &|_, _| {}).await,
            // The checks that need no peer say what is wrong with the files.
            Err(error) => {
                let skipped = |peer: &Peer| CheckLine::skip(name_of(peer), error.to_string());
                config.peers.iter().map(skipped).collect()
            }
        }
    })
}

/// Asks every peer that can be dialled. `heard` is told what each says of itself.
pub(super) async fn ask_peers(
    config: &Config,
    world: &World,
    tls: &Arc<TlsContext>,
    heard: &(dyn Fn(&PeerName, &Hello) + Sync),
) -> Vec<CheckLine> {
    let dialer = Dialer::new(Arc::new(TcpTransport), tls.clone());
    let mut lines = Vec::new();
    for peer in &config.peers {
        match &peer.address {
            None => lines.push(CheckLine::skip(
                name_of(peer),
                match config.sends_to(&peer.name) && !peer.is_dialled_to_send() {
                    true => format!("has no address: it dials us; {}", peer.has_to_dial()),
                    false => "has no address: it dials us".to_owned(),
                },
            )),
            Some(address) => {
                let visit = Visit {
                    config,
                    world,
                    peer,
                    heard,
                };
                match visit.dial(&dialer, address, &mut lines).await {
                    Ok(link) => visit.ask(link, &mut lines).await,
                    Err(error) => lines.push(CheckLine::fail(
                        name_of(peer),
                        format!("{address}: {}: {error}", error.reason()),
                        error.reason().remedy(),
                    )),
                }
            }
        }
    }
    lines
}

/// Whether there is a session to send on with each peer that has to dial for it. `sends` says
/// whether a peer has one now.
pub(super) fn sessions_awaited(
    config: &Config,
    sends: &dyn Fn(&PeerName) -> bool,
) -> Vec<CheckLine> {
    let awaited = config.peers.iter();
    let awaited = awaited.filter(|peer| config.sends_to(&peer.name) && !peer.is_dialled_to_send());
    let line = |peer: &Peer| {
        let check = format!("sending to peer {}", peer.name);
        match sends(&peer.name) {
            true => CheckLine::pass(check, "there is a session to send on, which it dialled"),
            false => CheckLine::warn(check, peer.without_session(), peer.to_be_dialled()),
        }
    };
    awaited.map(line).collect()
}

fn name_of(peer: &Peer) -> String {
    format!("peer {}", peer.name)
}

/// One look at one peer.
struct Visit<'a> {
    config: &'a Config,
    world: &'a World,
    peer: &'a Peer,
    heard: &'a (dyn Fn(&PeerName, &Hello) + Sync),
}

impl Visit<'_> {
    async fn dial(
        &self,
        dialer: &Dialer,
        address: &str,
        lines: &mut Vec<CheckLine>,
    ) -> Result<Link, TunnelError> {
        let mut link = dialer
            .dial(address, &self.peer.identity, LinkKind::Control)
            .await?;
        let (theirs, _) = link.greet(&self.hello()).await?;
        let facts = link.session().facts(Direction::Sending);
        let until = link.session().peer.not_after;
        let found = format!(
            "{address}: {} {} {}, {} (serial {}) until {until}, {}",
            facts.tls_version,
            facts.cipher_suite,
            facts.group,
            facts.receiver,
            facts.receiver_serial,
            theirs.software,
        );
        lines.push(CheckLine::pass(name_of(self.peer), found));
        lines.push(self.clock(&theirs));
        (self.heard)(&self.peer.name, &theirs);
        Ok(link)
    }

    /// A stranger's question needs no site of its own: nothing is sent over it.
    fn hello(&self) -> Hello {
        let rng = &*self.world.rng;
        Hello {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            session: SessionId::random(rng),
            link: 0,
            role: Role::Send,
            site: SiteId::random(rng),
            site_name: self.config.site.name.clone(),
            region: self.config.site.region.clone(),
            epoch: Epoch::random(rng),
            commit_sequence: 0,
            clock: self.world.clock.now(),
            software: concat!("sealift-check/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Default::default(),
            policy: None,
            remembered: None,
            decompresses: None,
            cuts: None,
            key_exchange: None,
            takes: None,
        }
    }

    fn clock(&self, theirs: &Hello) -> CheckLine {
        let check = format!("clock of {}", self.peer.name);
        let here = self.world.clock.now();
        let apart = here.since(theirs.clock).max(theirs.clock.since(here));
        let found = format!("{:.1} s apart", apart.as_secs_f64());
        match apart > CLOCK_SKEW_MAX {
            true => CheckLine::fail(
                check,
                format!("{found}: here {here}, there {}", theirs.clock),
                "set both clocks; run a time service",
            ),
            false => CheckLine::pass(check, found),
        }
    }

    async fn ask(&self, link: Link, lines: &mut Vec<CheckLine>) {
        let rules = self
            .config
            .rules
            .iter()
            .filter(|rule| rule.peers.contains(&self.peer.name));
        let buckets: BTreeSet<&BucketName> = rules.map(|rule| &rule.bucket).collect();
        let mut asking = Asking::new(link);
        for bucket in buckets {
            let check = format!("bucket {bucket} at {}", self.peer.name);
            let question = Question::Bucket {
                bucket: bucket.clone(),
            };
            let answered = tokio::time::timeout(ANSWER_TIME_MAX, asking.ask(&question)).await;
            let mut purges = None;
            let line = match answered {
                Ok(Ok(answer)) => {
                    purges = self.purges(bucket, &answer);
                    self.bucket(check, bucket, answer)
                }
                Ok(Err(error)) => unanswered(check, error.to_string()),
                Err(_) => unanswered(check, "no answer".to_owned()),
            };
            let could_take_it = matches!(line.outcome, Outcome::Pass | Outcome::Warn);
            lines.push(line);
            lines.extend(purges);
            if could_take_it {
                lines.push(self.canary(bucket, &mut asking).await);
            }
        }
        asking.close().await;
    }

    /// An object's whole way, through this session and back.
    async fn canary(&self, bucket: &BucketName, asking: &mut Asking) -> CheckLine {
        let check = format!("canary of bucket {bucket} at {}", self.peer.name);
        let canary = Canary::new(&*self.world.rng);
        let question = Question::Canary {
            bucket: bucket.clone(),
            bytes: canary.hex(),
        };
        match tokio::time::timeout(ANSWER_TIME_MAX, asking.ask(&question)).await {
            Ok(Ok(answer)) => canary.answered(check, answer),
            Ok(Err(error)) => unanswered(check, error.to_string()),
            Err(_) => unanswered(check, "no answer".to_owned()),
        }
    }

    fn own_identity(&self) -> String {
        load_credentials(self.config, self.world)
            .map(|credentials| credentials.leaf().identity.to_string())
            .unwrap_or_else(|_| "this agent's identity".to_owned())
    }

    /// Whether version deletes are let in there, where a rule sends them: both sides have to
    /// say so, and the rule is half of it.
    fn purges(&self, bucket: &BucketName, answer: &Answer) -> Option<CheckLine> {
        let Answer::Bucket {
            may_replicate: true,
            may_purge,
            ..
        } = answer
        else {
            return None;
        };
        let mut rules = self.config.rules.iter();
        let rule = rules.find(|rule| {
            let is_of = rule.bucket == *bucket && rule.peers.contains(&self.peer.name);
            is_of && rule.version_deletes.is_some()
        })?;
        let check = format!("version deletes of bucket {bucket} at {}", self.peer.name);
        let us = self.own_identity();
        Some(told_of_purges(check, rule, &us, *may_purge))
    }

    fn bucket(&self, check: String, bucket: &BucketName, answer: Answer) -> CheckLine {
        let Answer::Bucket {
            exists,
            may_replicate,
            may_delete,
            obstacle,
            region,
            ..
        } = answer
        else {
            return CheckLine::skip(check, "the peer does not know the question: it is older");
        };
        let us = self.own_identity();
        if !may_replicate {
            let remedy =
                format!("at the peer: [[grant]] identity = \"{us}\", bucket = \"{bucket}\"");
            return CheckLine::fail(check, "PolicyDenied: no grant to replicate", remedy);
        }
        if !exists {
            let remedy = format!("at the peer: [[bucket]] name = \"{bucket}\"");
            return CheckLine::fail(check, "DstBucketMissing: there is no such bucket", remedy);
        }
        if let Some(obstacle) = obstacle {
            return CheckLine::fail(check, obstacle, "run `sealift check` at the peer");
        }
        if !may_delete {
            return CheckLine::warn(
                check,
                format!("ready in {region}; delete markers are not granted"),
                "add \"delete\" to the actions of the grant at the peer if they are to be sent",
            );
        }
        CheckLine::pass(check, format!("granted, sealable, in {region}"))
    }
}

/// How a rule's version deletes stand at a peer that takes what the rule sends.
fn told_of_purges(check: String, rule: &Rule, us: &str, may_purge: Option<bool>) -> CheckLine {
    let (name, bucket) = (&rule.name, &rule.bucket);
    match may_purge {
        Some(true) => CheckLine::pass(
            check,
            format!("rule {name} sends them, and a grant lets them in"),
        ),
        Some(false) => CheckLine::fail(
            check,
            format!(
                "{}: rule {name} has version_deletes = true, and no grant there lets {us} purge: \
                 nothing is purged without both",
                Reason::DstPurgeDenied
            ),
            format!(
                "at the peer: add \"purge\" to the actions of the [[grant]] with identity = \"{us}\" and \
                 bucket = \"{bucket}\"; or here: take version_deletes out of rule {name}"
            ),
        ),
        None => CheckLine::skip(
            check,
            "the peer does not say whether it lets them in: it is older",
        ),
    }
}

fn unanswered(check: String, found: String) -> CheckLine {
    CheckLine::fail(check, found, "look into the peer's log")
}

/// A link on which only questions are asked.
pub(crate) struct Asking {
    reader: sealift_tunnel::LinkReader,
    writer: sealift_tunnel::LinkWriter,
    machine: SendSession,
}

const CONTROL: LinkId = LinkId(0);

impl Asking {
    pub(super) fn new(link: Link) -> Self {
        let mut machine = SendSession::new(Default::default());
        machine.linked(CONTROL, Carries::Control);
        let (reader, writer) = link.split();
        Self {
            reader,
            writer,
            machine,
        }
    }

    async fn ask(&mut self, question: &Question) -> Result<Answer, TunnelError> {
        let body = serde_json::to_vec(question).unwrap_or_default();
        let answer = self.ask_raw(&body).await?;
        Ok(serde_json::from_slice(&answer).unwrap_or(Answer::Unknown))
    }

    /// A question and its answer as they are.
    pub(crate) async fn ask_raw(&mut self, body: &[u8]) -> Result<Vec<u8>, TunnelError> {
        let asked = self.machine.question(CONTROL, body);
        self.write().await?;
        loop {
            let Some(Incoming::Frame { header, payload }) = self.reader.next().await? else {
                return Err(TunnelError::CutOff);
            };
            self.machine.frame(CONTROL, &header, payload)?;
            while let Some(event) = self.machine.next_event() {
                if let SendEvent::Link(LinkEvent::Answered { number, body }) = event
                    && number == asked
                {
                    return Ok(body);
                }
            }
            self.write().await?;
        }
    }

    async fn write(&mut self) -> Result<(), TunnelError> {
        let mut out = Vec::new();
        self.machine.next(CONTROL, &mut out);
        self.writer.queue(&out);
        self.writer.flush().await
    }

    /// Ends in order. Whether the peer hears it does not matter any more.
    pub(crate) async fn close(mut self) {
        self.machine.close(
            CONTROL,
            &Close {
                reason: None,
                evidence: Default::default(),
            },
        );
        if self.write().await.is_ok() {
            let _ = self.writer.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::checked;

    /// What is told of a site that sends to `b`, whose section says this.
    fn told(peer: &str, has_session: bool) -> Vec<CheckLine> {
        let text = format!(
            "[site]\nname = \"a1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
             [keys]\nroot_key_file = \"root.key\"\n[listen]\naddress = \"127.0.0.1:1\"\n\
             [identity]\ntrust_bundle = \"r\"\ncertificate = \"c\"\nprivate_key_file = \"k\"\n\
             [[peer]]\nname = \"b\"\ntrust_bundle = \"b\"\n{peer}\n\
             identity = \"spiffe://example.org/region/us-east/agent/b\"\n\
             [[source]]\nbucket = \"photos\"\ndirectory = \"/srv/photos\"\n\
             [[rule]]\nname = \"all\"\nbucket = \"photos\"\npeers = [\"b\"]\n"
        );
        sessions_awaited(&checked(&text).unwrap(), &|_| has_session)
    }

    #[test]
    fn a_peer_that_nothing_here_dials_to_send_has_to_have_a_session() {
        let address = "address = \"127.0.0.1:2\"";
        assert!(told(address, false).is_empty());
        let only_received = format!("{address}\ndial_for = [\"receive\"]");
        for (peer, here) in [("", "an address"), (&*only_received, "\"send\" in")] {
            assert_eq!(told(peer, true)[0].outcome, Outcome::Pass);
            let line = &told(peer, false)[0];
            assert_eq!(line.outcome, Outcome::Warn, "{line:?}");
            let remedy = line.remedy.as_deref().unwrap_or_default();
            for part in ["dial_for = [\"send\", \"receive\"]", here] {
                assert!(remedy.contains(part), "{remedy}");
            }
        }
    }
}
