//! What the kernel knows of a TCP connection, which congestion control it has, and how much
//! of what it cannot send yet the kernel takes.
//!
//! Neither std nor rustix reads `TCP_INFO` or sets `TCP_NOTSENT_LOWAT`. The calls are made by
//! nix's macros, so that there is no unsafe code of ours.

use std::{io, os::fd::AsFd, sync::OnceLock, time::Duration};

use nix::{
    getsockopt_impl, setsockopt_impl,
    sys::socket::{
        GetSockOpt, SetSockOpt,
        sockopt::{GetStruct, SetStruct},
    },
};

/// Fills links of high bandwidth and delay, and does not take loss for congestion.
const BBR: &str = "bbr";
/// For a way so short that there is nothing for BBR to find out: its pacing costs timers,
/// a quarter of a forwarded stream's processor time on loopback. The second is allowed to
/// every process.
const PLAIN: [&str; 2] = ["cubic", "reno"];
/// A way is short up to this round-trip time.
const SHORT_RTT: Duration = Duration::from_millis(1);
/// Over a longer one the kernel takes no more than this of what it cannot send yet. Several
/// connections share the work as each of them can carry it, then: otherwise the first would
/// take 4 MiB into its buffer at once, and the others nothing.
const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// The beginning of `struct tcp_info` (`linux/tcp.h`), up to and with what is read here.
/// The kernel only ever appends to it.
const TCP_INFO_BYTES: usize = 168;
/// Where in it: microseconds, segments, bytes a second.
const RTT_AT: usize = 68;
const TOTAL_RETRANS_AT: usize = 100;
const DELIVERY_RATE_AT: usize = 160;
/// The first kernel that has all of it.
const KERNEL_MIN: (u32, u32) = (4, 9);

#[derive(Debug, Clone, Copy)]
struct TcpInfo;

getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; TCP_INFO_BYTES],
    GetStruct<[u8; TCP_INFO_BYTES]>
);

#[derive(Debug, Clone, Copy)]
struct NotSentLowAt;

setsockopt_impl!(
    NotSentLowAt,
    libc::IPPROTO_TCP,
    libc::TCP_NOTSENT_LOWAT,
    u32,
    SetStruct<u32>
);
/// What the kernel knows of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpFacts {
    /// Round-trip time, smoothed.
    pub rtt: Duration,
    /// Segments sent again since it was made.
    pub retransmits: u64,
    /// Bytes a second that arrived lately: of what was given to it, if that was less than
    /// could.
    pub delivery_rate: u64,
    /// Its congestion control.
    pub congestion: String,
}

/// Asks the kernel about a connection.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::Unsupported`] before Linux 4.9.
pub fn tcp_facts(socket: impl AsFd) -> io::Result<TcpFacts> {
    if !knows_delivery_rates() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let info = TcpInfo.get(&socket)?;
    let number = |at: usize| info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let number = |at: usize| number(at).map_or(0, u32::from_ne_bytes);
    let rate = info
        .get(DELIVERY_RATE_AT..)
        .and_then(|bytes| bytes.try_into().ok());
    Ok(TcpFacts {
        rtt: Duration::from_micros(number(RTT_AT).into()),
        retransmits: number(TOTAL_RETRANS_AT).into(),
        delivery_rate: rate.map_or(0, u64::from_ne_bytes),
        congestion: rustix::net::sockopt::tcp_congestion(socket)?,
    })
}

/// Gives a socket BBR, where this kernel has it and lets this process choose it. It keeps
/// what it had otherwise; [`tcp_facts`] says which.
fn prefer_bbr(socket: impl AsFd) {
    // Nothing depends on it but speed.
    let _ = rustix::net::sockopt::set_tcp_congestion(socket, BBR);
}

/// Gives a socket that is not connected yet, or listens, a congestion control that does
/// not pace. A connection that has begun with one that does is paced for ever, whatever
/// takes its place.
pub fn begin_plain(socket: impl AsFd) {
    let set = |name: &&str| rustix::net::sockopt::set_tcp_congestion(&socket, name).is_ok();
    // Nothing depends on it but speed.
    let _ = PLAIN.iter().any(set);
}

/// Gives a connection that [began plain](begin_plain) BBR and little that waits in it, unless
/// the round-trip time of its handshake says that both ends are in one machine or room.
pub fn suit_way(connection: impl AsFd) {
    let is_short = |facts: TcpFacts| facts.rtt < SHORT_RTT;
    if !tcp_facts(&connection).is_ok_and(is_short) {
        prefer_bbr(&connection);
        keep_little_unsent(connection);
    }
}

fn keep_little_unsent(connection: impl AsFd) {
    // Nothing depends on it but speed.
    let _ = NotSentLowAt.set(&connection, &UNSENT_BYTES_MAX);
}

fn knows_delivery_rates() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        let system = rustix::system::uname();
        release(&system.release().to_string_lossy()).is_some_and(|found| found >= KERNEL_MIN)
    })
}

/// The first two numbers of a kernel's release.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    getsockopt_impl!(
        NotSentLowAt,
        libc::IPPROTO_TCP,
        libc::TCP_NOTSENT_LOWAT,
        u32,
        GetStruct<u32>
    );

    /// The two ends of a connection on loopback, over which something went.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        for _ in 0..20 {
            near.write_all(&[7; 100_000]).unwrap();
            far.read_exact(&mut [0; 100_000]).unwrap();
            far.write_all(&[7]).unwrap();
            near.read_exact(&mut [0]).unwrap();
        }
        (near, far)
    }

    #[test]
    fn the_kernel_tells_of_a_connection_what_can_be_true_of_loopback() {
        let (near, _far) = connection();
        let facts = tcp_facts(&near).unwrap();
        assert!(facts.rtt > Duration::ZERO, "{facts:?}");
        assert!(facts.rtt < Duration::from_secs(1), "{facts:?}");
        // 100,000 bytes a round trip of less than a second.
        assert!(facts.delivery_rate > 100_000, "{facts:?}");
        assert!(facts.delivery_rate < 1 << 50, "{facts:?}");
        assert!(facts.retransmits < 1000, "{facts:?}");
        assert!(!facts.congestion.is_empty(), "{facts:?}");
    }

    #[test]
    fn a_socket_that_is_no_tcp_has_no_facts() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(tcp_facts(&socket).is_err());
        prefer_bbr(&socket);
    }

    #[test]
    fn a_socket_has_bbr_where_the_kernel_has_it() {
        let available = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let available = std::fs::read_to_string(available).unwrap();
        let (near, _far) = connection();
        rustix::net::sockopt::set_tcp_congestion(&near, "reno").unwrap();
        prefer_bbr(&near);
        let expected = match available.split_whitespace().any(|name| name == BBR) {
            true => BBR,
            false => "reno",
        };
        assert_eq!(tcp_facts(&near).unwrap().congestion, expected);
    }

    #[test]
    fn the_kernel_takes_little_that_it_cannot_send_yet() {
        let (near, _far) = connection();
        keep_little_unsent(&near);
        assert_eq!(NotSentLowAt.get(&near).unwrap(), UNSENT_BYTES_MAX);
    }

    #[test]
    fn a_short_way_stays_plain() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        begin_plain(&listener);
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        suit_way(&far);
        let facts = tcp_facts(&far).unwrap();
        let is_plain = PLAIN.contains(&&*facts.congestion);
        assert!(is_plain || facts.rtt >= SHORT_RTT, "{facts:?}");
        drop(near);
        suit_way(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    }

    #[test]
    fn releases_are_read_by_their_first_two_numbers() {
        for (text, numbers) in [
            ("6.12.8-amd64", Some((6, 12))),
            ("4.9.0", Some((4, 9))),
            ("3.10.0-1160.el7", Some((3, 10))),
            ("linux", None),
            ("6", None),
        ] {
            assert_eq!(release(text), numbers, "{text}");
        }
        assert!(release("3.19.8") < Some(KERNEL_MIN) && release("4.10.1") > Some(KERNEL_MIN));
    }
}
