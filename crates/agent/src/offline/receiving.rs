//! The checks of the receiving half: where peers are awaited, and what they may do.

use std::{io::ErrorKind, net::TcpListener, os::unix::net::UnixStream, path::Path};

use sealift_identity::Action;

use crate::{
    CheckLine,
    config::{Bucket, Config, Listen},
};

/// Where the kernel shows its network interfaces.
const INTERFACES: &str = "/sys/class/net";

pub(super) fn check(config: &Config) -> Vec<CheckLine> {
    let mut lines = Vec::new();
    let own = config.listen.iter().map(|at| (at, "listen", "peers"));
    let issuer = config
        .ca
        .iter()
        .map(|ca| (&ca.listen, "ca listen", "agents"));
    for (at, check, whom) in own.chain(issuer) {
        lines.push(listen(config, at, check, whom));
    }
    lines.extend(config.buckets.iter().map(|bucket| grants(config, bucket)));
    lines
}

/// Binds for a moment. The running agent of this site is in nobody's way.
fn listen(config: &Config, listen: &Listen, check: &str, whom: &str) -> CheckLine {
    let address = listen.address;
    if let Some(name) = &listen.interface
        && !Path::new(INTERFACES).join(name).exists()
    {
        return CheckLine::fail(
            check,
            format!("there is no network interface {name}"),
            "name one that `ip link` shows as interface, or bring it up first",
        );
    }
    let from = match listen.networks.are_all() {
        true => String::new(),
        false => format!(", for {whom} from {}", listen.networks),
    };
    match TcpListener::bind(address) {
        Ok(_) => CheckLine::pass(check, format!("{address} can be bound{from}")),
        Err(error)
            if error.kind() == ErrorKind::AddrInUse
                && UnixStream::connect(config.socket()).is_ok() =>
        {
            CheckLine::pass(
                check,
                format!("{address} is held by the running agent{from}"),
            )
        }
        Err(error) => CheckLine::fail(
            check,
            format!("{address}: {error}"),
            "name an address of this machine that nothing else listens on",
        ),
    }
}

/// Who may bring something into a bucket.
fn grants(config: &Config, bucket: &Bucket) -> CheckLine {
    let check = format!("grants of bucket {}", bucket.name);
    let (mut told, mut may_send) = (Vec::new(), false);
    for peer in &config.peers {
        let may = |action: &Action| {
            let decision = config.grants.allows(&peer.identity, *action, &bucket.name);
            decision.is_allowed()
        };
        let actions: Vec<_> = Action::ALL.into_iter().filter(may).collect();
        may_send |= actions.contains(&Action::Replicate);
        if !actions.is_empty() {
            let words: Vec<_> = actions.iter().map(|action| action.as_str()).collect();
            told.push(format!("{} may {}", peer.name, words.join(", ")));
        }
    }
    if !may_send {
        let remedy = format!(
            "add a [[grant]] with bucket = \"{}\" for whoever is to send to it",
            bucket.name
        );
        return CheckLine::warn(check, "no peer may bring anything in", remedy);
    }
    CheckLine::pass(check, told.join("; "))
}
