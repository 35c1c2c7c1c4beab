//! Networks that break, lose and are crowded.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{Content, Network, Pair, roomy_dir, wait_until};

const TIME_MAX: Duration = Duration::from_secs(120);

/// Two hosts, with some objects on their way.
fn two_hosts() -> (Pair, Network) {
    let mut pair = Pair::alone_in(&roomy_dir(2 << 30));
    let network = Network::between(&mut pair);
    pair.a.configure("[watchdog]\nstalled_after_secs = 4");
    write(&pair, "before", 20);
    pair.start();
    pair.wait_completed(21, TIME_MAX);
    (pair, network)
}

fn write(pair: &Pair, folder: &str, small: u64) {
    for n in 0..small {
        Content::new(n, 3000 + n).write(&pair.source.join(format!("{folder}/{n}")));
    }
    Content::new(98, 40_000_000).write(&pair.source.join(format!("{folder}/large")));
}

#[test]
#[ignore = "needs namespaces: run by cargo xtask test"]
fn a_partition_that_heals_is_made_up_for_soon() {
    let (pair, network) = two_hosts();
    // First: what is written before is there sooner than anybody could cut.
    network.connected(false);
    write(&pair, "after", 20);
    wait_until("it has begun", TIME_MAX, || {
        pair.a.transfers("PENDING").0 > 0
    });
    thread::sleep(Duration::from_secs(12));
    assert!(pair.a.transfers("PENDING").0 > 0);
    let report = pair.a.status();
    assert_eq!(report["alarms"][0]["alarm"], "stalled", "{report}");
    network.connected(true);
    // Well before the kernel would have tried the old connections again.
    let taken = pair.wait_completed(42, Duration::from_secs(45));
    println!("all is there {taken:.1?} after it healed");
    pair.verify_both(TIME_MAX);
    pair.stop();
}

#[test]
#[ignore = "needs namespaces and nft: run by cargo xtask test"]
fn connections_that_are_half_open_are_replaced() {
    let (pair, network) = two_hosts();
    assert!(network.cuts_what_stands() > 0);
    write(&pair, "after", 20);
    let taken = pair.wait_completed(42, Duration::from_secs(45));
    println!("all is there {taken:.1?} after the connections were cut");
    pair.verify_both(TIME_MAX);
    pair.stop();
}

#[test]
#[ignore = "needs namespaces and nft: run by cargo xtask test"]
fn a_receiver_that_nobody_can_dial_dials_the_sender() {
    let mut pair = Pair::alone_in(&roomy_dir(2 << 30));
    let network = Network::between(&mut pair);
    network.admits_nothing_to_b();
    pair.a.edit("address = \"10.199.1.2:7443\"", "");
    let listen = "[listen]\naddress = \"10.199.1.1:7443\"\ninterface = \"eth0\"\n\
                  networks = [\"10.199.1.2/32\"]\n";
    pair.a
        .edit("# [listen]\n# address = \"0.0.0.0:7443\"", listen);
    pair.b.edit("[listen]\naddress = \"0.0.0.0:7443\"", "");
    let dialled = format!(
        "identity = \"{}\"\naddress = \"10.199.1.1:7443\"\ndial_for = [\"receive\"]",
        pair.a.identity
    );
    let identity = format!("identity = \"{}\"", pair.a.identity);
    pair.b.edit(&identity, &dialled);
    write(&pair, "before", 20);
    pair.start();
    pair.wait_completed(21, TIME_MAX);
    // After a break it dials again.
    network.connected(false);
    thread::sleep(Duration::from_secs(1));
    network.connected(true);
    write(&pair, "after", 20);
    pair.wait_completed(42, TIME_MAX);
    pair.verify_both(TIME_MAX);
    pair.stop();
}

#[test]
#[ignore = "needs namespaces and nft: run by cargo xtask test"]
fn five_of_a_hundred_packets_may_be_lost() {
    let (pair, network) = two_hosts();
    network.loses(5);
    write(&pair, "after", 200);
    let taken = pair.wait_completed(222, TIME_MAX);
    println!("200 small objects and 40 MB arrived in {taken:.1?}");
    pair.verify_both(TIME_MAX);
    pair.stop();
}

/// Strangers that open connections as fast as they can, or hold them open byte by byte.
struct Crowd {
    over: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// The beginning of a TLS record with a handshake of 512 bytes in it.
const HELLO_HEAD: [u8; 5] = [0x16, 0x03, 0x01, 0x02, 0x00];

impl Crowd {
    fn of(addresses: u8, each: usize, slow: bool) -> Self {
        let (over, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut threads = Vec::new();
        for n in 0..addresses {
            for _ in 0..each {
                let (over, opened) = (over.clone(), opened.clone());
                threads.push(thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        if let Ok(stream) = TcpStream::connect(Network::stranger(n)) {
                            opened.fetch_add(1, Ordering::Relaxed);
                            hold(stream, slow, &over);
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                }));
            }
        }
        Self {
            over,
            opened,
            threads,
        }
    }

    fn goes(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.opened.load(Ordering::Relaxed)
    }
}

/// Until the other end has had enough: a byte a second, or none at all.
fn hold(mut stream: TcpStream, slow: bool, over: &AtomicBool) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let mut next = HELLO_HEAD.iter().copied().chain(std::iter::repeat(1));
    while !over.load(Ordering::Relaxed) {
        let byte = next.next().unwrap_or(0);
        if slow && stream.write_all(&[byte]).is_err() {
            return;
        }
        match stream.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                return;
            }
            _ => {}
        }
        if !slow {
            return;
        }
        thread::sleep(Duration::from_millis(800));
    }
}

/// A sender that starts while the crowd is there gets in and is served.
fn is_served_beside(crowd: Crowd, pair: &Pair) {
    thread::sleep(Duration::from_secs(2));
    pair.a.stop();
    write(pair, "after", 20);
    pair.a.start();
    let taken = pair.wait_completed(42, Duration::from_secs(60));
    let opened = crowd.goes();
    println!("served in {taken:.1?} beside {opened} strange connections");
    assert!(opened > 20, "{opened}");
    assert!(pair.b.runs());
    let memory = pair.b.memory_peak();
    assert!(memory < 256 << 20, "{memory} bytes of memory");
    pair.stop();
}

#[test]
#[ignore = "needs namespaces: run by cargo xtask test"]
fn slow_strangers_from_one_address_keep_nobody_out() {
    let (pair, _network) = two_hosts();
    is_served_beside(Crowd::of(1, 100, true), &pair);
}

#[test]
#[ignore = "needs namespaces: run by cargo xtask test"]
fn a_flood_of_handshakes_from_one_address_keeps_nobody_out() {
    let (pair, _network) = two_hosts();
    is_served_beside(Crowd::of(1, 60, false), &pair);
}

#[test]
#[ignore = "needs namespaces: run by cargo xtask test"]
fn after_a_crowd_from_many_addresses_everybody_is_served_again() {
    let (pair, _network) = two_hosts();
    let crowd = Crowd::of(10, 16, true);
    thread::sleep(Duration::from_secs(3));
    // Who has a session keeps it whatever stands before the door.
    write(&pair, "after", 20);
    pair.wait_completed(42, Duration::from_secs(60));
    let opened = crowd.goes();
    println!("{opened} strange connections");
    pair.a.stop();
    write(&pair, "later", 20);
    pair.a.start();
    pair.wait_completed(63, Duration::from_secs(60));
    assert!(pair.b.memory_peak() < 256 << 20);
    pair.stop();
}
