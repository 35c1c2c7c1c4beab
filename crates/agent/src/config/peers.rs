//! `[[peer]]`: the other agents, where they are and what vouches for them.

use std::{ops::Range, path::Path};

use sealift_identity::{Demands, DnsAgent};
use sealift_terms::{Identity, limits};
use toml::Spanned;

use super::{
    check::host_and_port,
    checked::{DialFor, Peer},
    checker::Checker,
    declared::Seen,
    limit::limit,
    named::Wanted,
    peer_quota, raw,
    trust::{bundle, demands, dns_agent, workload_bundle},
};

pub(super) fn peers(c: &mut Checker<'_>, raw: &raw::Raw, data_dir: &Path) -> Vec<Peer> {
    let around = Around {
        listens: raw.listen.address.is_some(),
        workload: raw.identity.get_ref().spiffe.is_some().then_some(data_dir),
    };
    let raw = &raw.peers;
    let mut names = Seen::new("peer.name");
    let mut identities = Seen::new("peer.identity");
    if let Some(first_over) = raw.get(limits::PEERS_MAX) {
        let (found, allowed) = (raw.len().to_string(), format!("{}", limits::PEERS_MAX));
        c.refuse::<()>("peer", &first_over.span(), found, allowed, "remove peers");
    }
    let mut peers = Vec::new();
    for entry in raw {
        let span = entry.span();
        let Some(peer) = peer(c, entry.get_ref(), &span, around) else {
            continue;
        };
        names.once(c, &peer.name, entry.get_ref().name.span());
        identities.once(c, &peer.identity, entry.get_ref().identity.span());
        peers.push(peer);
    }
    peers
}

/// What peers are checked beside.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// Whether this site can be dialled.
    listens: bool,
    /// Where bundles of the Workload API are kept, if there is one.
    workload: Option<&'a Path>,
}

fn peer(
    c: &mut Checker<'_>,
    raw: &raw::Peer,
    span: &Range<usize>,
    around: Around<'_>,
) -> Option<Peer> {
    let name = c.name("peer.name", &raw.name);
    let identity = c.name("peer.identity", &raw.identity);
    let remedy = "copy it from the other side: `sealift ca init` writes one for each authority";
    let given = raw.trust_bundle.as_ref();
    let awaited = around
        .workload
        .zip(identity.as_ref())
        .filter(|_| given.is_none());
    let awaited = awaited.map(|(data_dir, identity)| workload_bundle(data_dir, identity));
    let from_workload = awaited.is_some();
    let trust_bundle = match identity.is_none() && around.workload.is_some() {
        // What is refused already says where its bundle would be.
        true => None,
        false => bundle(c, "peer.trust_bundle", given, awaited, span, remedy),
    };
    let remedy = "copy it from the authority, and keep it fresh: crl/REGION.pem in its directory";
    let crl = raw.crl.as_ref();
    let crl = crl.map(|crl| c.named("peer.crl", crl, Wanted::File, remedy));
    let address = match &raw.address {
        Some(text) => Some(host_and_port(c, "peer.address", text)?),
        None if around.listens => None,
        None => c.refuse(
            "peer.address",
            span,
            "no address, and no [listen] either",
            "an address to dial, or a [listen] section to be dialled at",
            "add one of the two",
        )?,
    };
    let limit = limit(c, raw.limit.as_ref());
    let quota = peer_quota::quota(c, raw.quota.as_ref());
    let (demands, dns) = peer_demands(c, raw, identity.as_ref(), from_workload);
    let dial_for = dial_for(c, raw.dial_for.as_ref(), address.is_some())?;
    Some(Peer {
        name: name?,
        identity: identity?,
        address,
        trust_bundle: trust_bundle?,
        crl,
        demands,
        dns,
        dial_for,
        limit: limit?,
        quota,
    })
}

impl Peer {
    /// Whether this site dials it for sessions to send on. Otherwise it has to dial for them.
    #[must_use]
    pub fn is_dialled_to_send(&self) -> bool {
        self.address.is_some() && self.dial_for.send
    }

    /// What it has to do before anything is sent to it, where it is not dialled for that.
    pub(crate) fn has_to_dial(&self) -> String {
        format!(
            "nothing here dials {0} to send: {0} has to dial here with \"receive\" in its dial_for",
            self.name
        )
    }

    /// That nothing can be sent to it now, where it is not dialled for that.
    pub(crate) fn without_session(&self) -> String {
        format!(
            "there is no session with {0} to send on, and nothing here dials {0} for one",
            self.name
        )
    }

    /// What to do then.
    pub(crate) fn to_be_dialled(&self) -> String {
        let here = match self.address {
            None => "an address in its [[peer]]",
            Some(_) => "\"send\" in its dial_for",
        };
        format!(
            "at {}: dial_for = [\"send\", \"receive\"] beside the address of this site; or here: {here}",
            self.name
        )
    }
}

fn dial_for(
    c: &mut Checker<'_>,
    raw: Option<&Spanned<Vec<raw::Text>>>,
    can_dial: bool,
) -> Option<DialFor> {
    let mut dial = DialFor {
        send: false,
        receive: false,
        forward_target: false,
    };
    let Some(raw) = raw else {
        dial.send = can_dial;
        return Some(dial);
    };
    if !can_dial && !raw.get_ref().is_empty() {
        let (found, allowed) = ("dial_for without an address", "an address beside it");
        return c.refuse(
            "peer.dial_for",
            &raw.span(),
            found,
            allowed,
            "add the address",
        );
    }
    for word in raw.get_ref() {
        match word.get_ref().as_str() {
            "send" => dial.send = true,
            "receive" => dial.receive = true,
            "forward_target" => dial.forward_target = true,
            other => {
                let (found, allowed) = (
                    format!("{other:?}"),
                    "\"send\", \"receive\" and \"forward_target\"",
                );
                let remedy = "write what this agent does on connections it makes";
                return c.refuse("peer.dial_for", &word.span(), found, allowed, remedy);
            }
        }
    }
    Some(dial)
}

/// What is asked of a peer's certificates. `from_workload`: the Workload API vouches for them.
fn peer_demands(
    c: &mut Checker<'_>,
    raw: &raw::Peer,
    identity: Option<&Identity>,
    from_workload: bool,
) -> (Demands, Option<DnsAgent>) {
    let dns = match (&raw.dns_name, identity) {
        (Some(text), Some(identity)) => dns_agent(c, "peer.dns_name", text, identity),
        _ => None,
    };
    let foreign = dns.is_some() || from_workload;
    let demands = demands(c, "peer", foreign, &raw.issuers, &raw.life_days_max);
    (demands, dns)
}
