//! What only a running agent knows, and what only it can do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use sealift_archive::ScrubState;
use sealift_endpoint::EndpointCounts;
use sealift_forward::StreamCounts;
use sealift_keys::KeySeen;
use sealift_receiver::Usage;
use sealift_sender::{SenderStatus, SourceStatus};
use sealift_terms::{
    BucketName, Identity, KeyId, KeyNote, Order, PeerName, Reason, Region, SessionFacts, Timestamp,
    TransferId, limits::CLOCK_SKEW_MAX,
};
use sealift_tunnel::TcpFacts;

use super::certificates::Leaves;
use crate::{
    CheckLine, Error,
    admin::{Actor, Alarm, Check, Readiness},
    config::Config,
};

/// Sections that differ, and whether only a new start takes them up.
pub(crate) type Sections = Vec<(&'static str, bool)>;

/// A running agent, as the operations of its site see it.
#[async_trait]
pub(crate) trait Live: Send + Sync {
    /// Since when it runs.
    fn started(&self) -> Timestamp;

    /// Whether it can do its work: listening, certificate valid, keys usable,
    /// journal and catalog writable.
    fn readiness(&self) -> Readiness;

    /// The configured peers.
    fn peers(&self) -> Vec<PeerState>;

    /// How the sources stand.
    fn sources(&self) -> Vec<SourceStatus>;

    /// How the sending to each peer stands.
    fn senders(&self) -> Vec<SenderStatus>;

    /// An order above all that were given here before.
    fn order(&self) -> Order;

    /// Asks a peer that things are sent to; none without a session, or when that ends.
    async fn ask(&self, peer: &PeerName, question: &[u8]) -> Option<Vec<u8>>;

    /// Bytes that a peer has of a transfer, if that is on its way now.
    fn progress(&self, peer: &PeerName, transfer: TransferId) -> Option<u64>;

    /// What was counted of each forward and each target.
    fn forwards(&self) -> Vec<StreamCounts>;

    /// What was counted at the S3 endpoint, where there is one.
    fn endpoint(&self) -> Option<EndpointCounts>;

    /// Has the S3 endpoint, where there is one, take writes to these buckets alone.
    fn set_promoted(&self, promoted: BTreeSet<BucketName>);

    /// What came in since the start.
    fn usage(&self) -> Usage;

    /// What somebody has to look at.
    fn alarms(&self) -> Vec<Alarm>;

    /// How the scrub stands, once it ran since the start.
    fn scrub_state(&self) -> Option<ScrubState>;

    /// Asks for a pass of the scrub.
    fn scrub_now(&self);

    /// The certificates in force, and those that peers show.
    fn leaves(&self) -> Leaves;

    /// Asks for another certificate now.
    ///
    /// # Errors
    /// When there is none, or somebody else renews it.
    async fn renew(&self) -> Result<(), Error>;

    /// Lets these identities in no more, and ends their connections.
    fn deny(&self, denied: &BTreeSet<Identity>);

    /// Gives a key to another region, and waits until it is there.
    ///
    /// # Errors
    /// When it is not allowed, here or there, or the other region cannot be asked: nothing
    /// is changed then.
    async fn replicate_key(&self, key: &str, to: &Region, actor: &Actor) -> Result<(), Error>;

    /// Makes this region the primary of a key; without asking the one that is, where
    /// `without` says why.
    ///
    /// # Errors
    /// When the primary refuses or cannot be asked.
    async fn promote_key(
        &self,
        key: &str,
        without: Option<&KeyNote>,
        actor: &Actor,
    ) -> Result<(), Error>;

    /// How a key stands in other regions, or in one of them; an error in words of each that
    /// cannot be asked.
    ///
    /// # Errors
    /// When it is a key of one region.
    async fn seen_elsewhere(
        &self,
        key: &str,
        region: Option<&Region>,
    ) -> Result<Vec<(Region, Result<KeySeen, String>)>, Error>;

    /// Forgets a replica that will not come back.
    ///
    /// # Errors
    /// When there is none, or another region leads the key.
    async fn drop_replica(
        &self,
        key: &str,
        of: &Region,
        reason: &KeyNote,
        actor: &Actor,
    ) -> Result<(), Error>;

    /// Why a replica is not kept up to date at present.
    fn replica_trouble(&self, key: &KeyId, region: &Region) -> Option<String>;

    /// Says that what the regions of a key share was changed.
    fn keys_changed(&self);

    /// Says that transfers are due now.
    fn wake(&self);

    /// Scans the source of `bucket`, or all of them; says how many.
    fn scan(&self, bucket: Option<&BucketName>) -> u64;

    /// Lets the held removals of `bucket`, or of all sources, pass; says how many
    /// those are in each source that held some.
    fn accept_deletes(&self, bucket: Option<&BucketName>) -> Vec<u64>;

    /// Reads the configuration again and takes it up.
    ///
    /// # Errors
    /// When it cannot work. The one in force stays.
    async fn reload(&self, actor: &Actor) -> Result<Vec<CheckLine>, Error>;

    /// What `check` looks at, with the peers.
    ///
    /// # Errors
    /// [`Error::Config`] when the form of the configuration is refused.
    async fn check(&self, check: &Check) -> Result<Vec<CheckLine>, Error>;

    /// A configuration, and which sections of it differ from what runs: whether only a new
    /// start takes them up.
    ///
    /// # Errors
    /// [`Error::Config`] when the form of the configuration is refused.
    fn changed(&self, of: &Check) -> Result<(Config, Sections), Error>;
}

/// How things stand with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerState {
    /// Its name here.
    pub(crate) peer: PeerName,
    /// Sessions that are open.
    pub(crate) sessions: Vec<SessionState>,
    /// Its links, of all sessions, and how they do.
    pub(crate) path: Path,
    /// What was negotiated for the last one, open or not.
    pub(crate) negotiated: Option<SessionFacts>,
    /// What went wrong last, unless a session was opened since.
    pub(crate) trouble: Option<Trouble>,
    /// Its clock and this one, as far as it was heard.
    pub(crate) clock: Option<Apart>,
}

impl PeerState {
    /// Of one that nobody has spoken with.
    pub(crate) fn unseen(peer: &PeerName) -> Self {
        Self {
            peer: peer.clone(),
            sessions: Vec::new(),
            path: Path::default(),
            negotiated: None,
            trouble: None,
            clock: None,
        }
    }
}

/// Two clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Apart {
    pub(crate) here: Timestamp,
    pub(crate) there: Timestamp,
}

impl Apart {
    /// Between them, whichever is ahead.
    pub(crate) fn by(self) -> Duration {
        self.here.since(self.there).max(self.there.since(self.here))
    }

    /// Whether somebody has to look at it.
    pub(crate) fn is_too_far(self) -> bool {
        self.by() > CLOCK_SKEW_MAX
    }
}

/// The connections with one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// How many stand, by congestion control; by "" where that is not known.
    pub(crate) links: BTreeMap<String, u64>,
    /// Round-trip time: the mean.
    pub(crate) rtt: Option<Duration>,
    /// Segments sent again since the agent started.
    pub(crate) retransmits: u64,
    /// Bytes a second that arrived lately: the sum.
    pub(crate) delivery_rate: Option<u64>,
}

impl Path {
    /// Of links that stand, each with what is known of it, and of the segments sent again
    /// on those that do not stand any more.
    pub(crate) fn of<'a>(
        links: impl Iterator<Item = Option<&'a TcpFacts>>,
        retransmits: u64,
    ) -> Self {
        let mut path = Self {
            retransmits,
            ..Self::default()
        };
        let (mut rtts, mut known) = (Duration::ZERO, 0);
        for facts in links {
            let congestion = facts.map(|facts| facts.congestion.clone());
            *path
                .links
                .entry(congestion.unwrap_or_default())
                .or_default() += 1;
            let Some(facts) = facts else { continue };
            rtts += facts.rtt;
            known += 1;
            path.retransmits += facts.retransmits;
            *path.delivery_rate.get_or_insert(0) += facts.delivery_rate;
        }
        path.rtt = rtts.checked_div(known);
        path
    }
}

/// One open session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionState {
    /// Which way its data goes, from here.
    pub(crate) direction: Direction,
}

/// Which way the data of a session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the peer.
    Send,
    /// From the peer.
    Receive,
}

impl Direction {
    /// The word for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
        }
    }
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The code.
    pub(crate) reason: Reason,
    /// What was seen.
    pub(crate) evidence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_of_a_peer_are_told_together() {
        let facts = |rtt: u64, retransmits: u64, congestion: &str| TcpFacts {
            rtt: Duration::from_micros(rtt),
            retransmits,
            delivery_rate: 1000,
            congestion: congestion.to_owned(),
        };
        let (one, other) = (facts(100, 3, "bbr"), facts(300, 4, "bbr"));
        let path = Path::of([Some(&one), None, Some(&other)].into_iter(), 5);
        let links = BTreeMap::from([(String::new(), 1), ("bbr".to_owned(), 2)]);
        assert_eq!(path.links, links);
        assert_eq!(path.rtt, Some(Duration::from_micros(200)));
        assert_eq!((path.retransmits, path.delivery_rate), (12, Some(2000)));
        let none = Path::of(std::iter::empty(), 5);
        assert_eq!(
            (none.rtt, none.delivery_rate, none.retransmits),
            (None, None, 5)
        );
    }
}
