//! Two hosts of their own: network namespaces with a cable between them, and one more
//! to this process.

use super::{pair::Pair, program::run_program};

/// Where `b` awaits its peers.
const LISTEN_PORT: u16 = 7443;
/// Addresses of the strangers' cable: to the n-th address of `b` from the n-th here.
const STRANGERS: u8 = 10;

/// The two namespaces; gone when dropped.
pub(crate) struct Network {
    a: String,
    b: String,
    /// This process's end of the strangers' cable.
    outside: String,
}

impl Network {
    /// Puts the agents of a pair, which do not run yet, on two hosts.
    pub(crate) fn between(pair: &mut Pair) -> Self {
        let tag = std::process::id();
        let network = Self {
            a: format!("sealift-a-{tag}"),
            b: format!("sealift-b-{tag}"),
            outside: format!("slx{tag}"),
        };
        let Self { a, b, outside } = &network;
        ip(&["netns", "add", a]);
        ip(&["netns", "add", b]);
        ip(&[
            "link", "add", "eth0", "netns", a, "type", "veth", "peer", "name", "eth0", "netns", b,
        ]);
        ip(&[
            "link", "add", outside, "type", "veth", "peer", "name", "eth1", "netns", b,
        ]);
        for (name, address) in [(a, "10.199.1.1/24"), (b, "10.199.1.2/24")] {
            ip(&["-n", name, "addr", "add", address, "dev", "eth0"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        ip(&["-n", b, "link", "set", "eth1", "up"]);
        ip(&["link", "set", outside, "up"]);
        for n in 0..STRANGERS {
            let (there, here) = (stranger_at(n), format!("10.199.2.{}", 101 + n));
            let (wide, narrow) = (format!("{there}/24"), format!("{here}/24"));
            ip(&["-n", b, "addr", "add", &wide, "dev", "eth1"]);
            ip(&["addr", "add", &narrow, "dev", outside]);
            let to = format!("{there}/32");
            ip(&["route", "add", &to, "dev", outside, "src", &here]);
        }
        let dialled = format!("10.199.1.2:{LISTEN_PORT}");
        pair.a.edit(&pair.listen, &dialled);
        pair.b.edit(&pair.listen, &format!("0.0.0.0:{LISTEN_PORT}"));
        pair.a.within = Some(a.clone());
        pair.b.within = Some(b.clone());
        network
    }

    /// Where the n-th stranger reaches `b`, from an address of its own.
    pub(crate) fn stranger(n: u8) -> String {
        format!("{}:{LISTEN_PORT}", stranger_at(n))
    }

    /// Pulls the cable out, or puts it back.
    pub(crate) fn connected(&self, is_connected: bool) {
        let state = if is_connected { "up" } else { "down" };
        ip(&["-n", &self.b, "link", "set", "eth0", state]);
    }

    /// Loses packets in both directions: so many of a hundred.
    pub(crate) fn loses(&self, of_a_hundred: u8) {
        for name in [&self.a, &self.b] {
            self.rule(
                name,
                &format!("numgen random mod 100 < {of_a_hundred} drop"),
            );
        }
    }

    /// Lets no connection be made to `b`; those that it makes stand.
    pub(crate) fn admits_nothing_to_b(&self) {
        self.rule(&self.b, "tcp flags & (syn|ack) == syn drop");
    }

    /// Loses every packet of the connections that stand, without a word to either end.
    pub(crate) fn cuts_what_stands(&self) -> usize {
        let listing = ip(&["netns", "exec", &self.a, "cat", "/proc/net/tcp"]);
        let port = |line: &str| {
            let mut columns = line.split_whitespace().skip(1);
            let (local, _remote) = (columns.next()?, columns.next()?);
            let is_established = columns.next()? == "01";
            let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
            is_established.then_some(port)
        };
        let ports: Vec<u16> = listing.lines().skip(1).filter_map(port).collect();
        for port in &ports {
            self.rule(&self.a, &format!("tcp dport {port} drop"));
            self.rule(&self.b, &format!("tcp sport {port} drop"));
        }
        ports.len()
    }

    fn rule(&self, name: &str, rule: &str) {
        let nft = |what: &str| ip(&["netns", "exec", name, "nft", what]);
        nft("add table ip sealift");
        nft("add chain ip sealift in { type filter hook input priority 0; }");
        nft(&format!("add rule ip sealift in {rule}"));
    }
}

fn stranger_at(n: u8) -> String {
    format!("10.199.2.{}", 2 + n)
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _ = std::process::Command::new("ip")
                .args(["netns", "del", name])
                .status();
        }
        let _ = std::process::Command::new("ip")
            .args(["link", "del", &self.outside])
            .status();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) -> String {
    run_program("ip", arguments, &[0]).text()
}
