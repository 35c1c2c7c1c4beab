//! Raw structure → checked structure: forwards and their targets.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use sealift_forward::{Address, Forward, Target};
use sealift_terms::{ForwardName, Identity, PeerName, limits};
use toml::Spanned;

use super::{
    checked::Peer,
    checker::Checker,
    declared::{Declared, Seen, used},
    raw::{self, Number, Text},
};

/// The permissions of a forward's Unix socket, unless the configuration says otherwise.
const SOCKET_MODE_DEFAULT: u32 = 0o600;

pub(super) fn forwards(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::Forward>],
    declared: &Declared,
    peers: &[Peer],
) -> Vec<Forward> {
    let mut names = Seen::new("forward.name");
    let mut listens = Seen::new("forward.listen");
    bounded(
        c,
        "forward",
        raw.len(),
        raw.get(limits::FORWARDS_MAX).map(Spanned::span),
    );
    let mut forwards = Vec::new();
    for entry in raw.iter().map(Spanned::get_ref) {
        let Some(forward) = forward(c, entry, declared, peers) else {
            continue;
        };
        names.once(c, &forward.name, entry.name.span());
        listens.once(c, &forward.listen, entry.listen.span());
        forwards.push(forward);
    }
    forwards
}

fn forward(
    c: &mut Checker<'_>,
    raw: &raw::Forward,
    declared: &Declared,
    peers: &[Peer],
) -> Option<Forward> {
    let name: Option<ForwardName> = c.name("forward.name", &raw.name);
    let target = match &raw.target {
        Some(target) => c.name("forward.target", target),
        None => name.clone(),
    };
    let listen = address(c, "forward.listen", &raw.listen).and_then(|address| {
        let unsafe_listen = raw.unsafe_listen.unwrap_or_default();
        held_to_this_machine(c, address, &raw.listen, unsafe_listen)
    });
    let peer: Option<PeerName> = used(c, "forward.peer", &raw.peer, &declared.peers, "[[peer]]");
    let mode = mode(c, raw.socket_mode.as_ref());
    let streams_max = streams_max(c, "forward.streams_max", raw.streams_max.as_ref());
    let idle = idle(c, "forward.idle_secs", raw.idle_secs.as_ref());
    let peer = peer?;
    // One that was refused where it is declared is not refused again here.
    let identity = peers
        .iter()
        .find(|known| known.name == peer)?
        .identity
        .clone();
    Some(Forward {
        name: name?,
        target: target?,
        listen: listen?,
        mode: mode?,
        peer,
        identity,
        streams_max,
        idle,
    })
}

/// What is forwarded is in the clear up to here: it must not come over a network.
fn held_to_this_machine(
    c: &mut Checker<'_>,
    address: Address,
    text: &Text,
    unsafe_listen: bool,
) -> Option<Address> {
    if address.is_local() || unsafe_listen {
        return Some(address);
    }
    c.refuse(
        "forward.listen",
        &text.span(),
        format!("{address}, where others could read along and use the peer's service"),
        "an address of the loopback interface, such as 127.0.0.1:15432, or unix:PATH",
        "use one of those; if the network before it is protected, add unsafe_listen = true",
    )
}

pub(super) fn targets(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::ForwardTarget>],
    declared: &Declared,
) -> Vec<Target> {
    let mut seen = Seen::new("forward_target.name");
    let first_over = raw.get(limits::FORWARDS_MAX).map(Spanned::span);
    bounded(c, "forward_target", raw.len(), first_over);
    let mut targets = Vec::new();
    for entry in raw.iter().map(Spanned::get_ref) {
        let name: Option<ForwardName> = c.name("forward_target.name", &entry.name);
        let address = address(c, "forward_target.address", &entry.address);
        let allow = allowed(c, &entry.allow, declared);
        let max = entry.streams_max.as_ref();
        let streams_max = streams_max(c, "forward_target.streams_max", max);
        let idle = idle(c, "forward_target.idle_secs", entry.idle_secs.as_ref());
        let (Some(name), Some(address)) = (name, address) else {
            continue;
        };
        seen.once(c, &name, entry.name.span());
        targets.push(Target {
            name,
            address,
            allow,
            streams_max,
            idle,
        });
    }
    targets
}

fn allowed(
    c: &mut Checker<'_>,
    raw: &Spanned<Vec<Text>>,
    declared: &Declared,
) -> BTreeSet<Identity> {
    if raw.get_ref().is_empty() {
        let (found, allowed) = ("an empty list", "at least one peer's identity");
        let remedy = "name who may use it, or remove it";
        c.refuse::<()>("forward_target.allow", &raw.span(), found, allowed, remedy);
    }
    let known = &declared.identities;
    let one = |text: &Text| used(c, "forward_target.allow", text, known, "[[peer]]");
    raw.get_ref().iter().filter_map(one).collect()
}

fn address(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<Address> {
    match text.get_ref().parse() {
        Ok(address) => Some(address),
        Err(_) => c.refuse(
            setting,
            &text.span(),
            format!("{:?}", text.get_ref()),
            "HOST:PORT, or unix:PATH with an absolute path of at most 107 bytes",
            "write one of the two",
        ),
    }
}

fn mode(c: &mut Checker<'_>, text: Option<&Text>) -> Option<u32> {
    let Some(text) = text else {
        return Some(SOCKET_MODE_DEFAULT);
    };
    let mode = u32::from_str_radix(text.get_ref(), 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777 && text.get_ref().len() == 4);
    mode.or_else(|| {
        c.refuse(
            "forward.socket_mode",
            &text.span(),
            format!("{:?}", text.get_ref()),
            "permissions in octal, as in \"0660\"",
            "leave it out for the default, \"0600\"",
        )
    })
}

fn streams_max(c: &mut Checker<'_>, setting: &str, number: Option<&Number>) -> usize {
    let allowed = 1..=limits::FORWARD_STREAMS_MAX as u64;
    let default = limits::FORWARD_STREAMS_DEFAULT as u64;
    let number = c.number(setting, number, allowed, default);
    usize::try_from(number).unwrap_or(limits::FORWARD_STREAMS_DEFAULT)
}

fn idle(c: &mut Checker<'_>, setting: &str, number: Option<&Number>) -> Duration {
    let allowed = 1..=limits::FORWARD_IDLE_MAX.as_secs();
    let default = limits::FORWARD_IDLE_DEFAULT.as_secs();
    Duration::from_secs(c.number(setting, number, allowed, default))
}

fn bounded(c: &mut Checker<'_>, setting: &str, found: usize, first_over: Option<Range<usize>>) {
    if let Some(span) = first_over {
        let allowed = limits::FORWARDS_MAX.to_string();
        c.refuse::<()>(setting, &span, found.to_string(), allowed, "remove some");
    }
}
