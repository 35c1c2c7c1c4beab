//! Forwards between two agents, whoever dials and whoever is allowed.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Pair, Site, free_address, parrot, wait_until};

const TIME_MAX: Duration = Duration::from_secs(30);

/// A service that answers with what it heard, once it heard all of it.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut heard = Vec::new();
                let _ = stream.read_to_end(&mut heard);
                let _ = stream.write_all(&heard);
            });
        }
    });
    address
}

fn forward(listen: &str, peer: &str) -> String {
    format!("[[forward]]\nname = \"echo\"\nlisten = \"{listen}\"\npeer = \"{peer}\"\n")
}

fn target(address: &str, allow: &Site) -> String {
    let identity = &allow.identity;
    format!(
        "[[forward_target]]\nname = \"echo\"\naddress = \"{address}\"\nallow = [\"{identity}\"]\n"
    )
}

/// What comes back for `said`; none when the connection is closed or reset.
fn echoed(mut stream: impl Read + Write, said: &[u8], done: impl FnOnce()) -> Option<Vec<u8>> {
    stream.write_all(said).ok()?;
    done();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).ok()?;
    (!heard.is_empty()).then_some(heard)
}

fn over_tcp(address: &str, said: &[u8]) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(TIME_MAX)).unwrap();
    echoed(&stream, said, || stream.shutdown(Shutdown::Write).unwrap())
}

#[test]
fn a_service_is_reached_by_those_it_allows_and_a_reload_changes_who_that_is() {
    let (pair, listen) = (Pair::new(), free_address());
    pair.a.configure(&forward(&listen, "b"));
    let service = echo();
    pair.b.configure(&target(&service, &pair.a));
    pair.start();
    let said = vec![7; 3 << 20];
    assert_eq!(over_tcp(&listen, &said), Some(said.clone()));
    for site in [&pair.a, &pair.b] {
        site.audits("forward.closed", &["echo", "3145728", "in_order"]);
        let lines = site.run(&["check"]).exits(0);
        lines.tells(&["forward"]);
    }
    let report = &pair.b.status()["forwards"][0];
    assert_eq!(
        (&report["side"], &report["opened"]),
        (&"target".into(), &1.into())
    );
    pair.a
        .run(&["status"])
        .exits(0)
        .tells(&["FORWARD", "echo", "3.0 MiB"]);
    assert_eq!(
        pair.a.metric("sealift_forward_bytes_total"),
        Some(2 * (3 << 20))
    );

    // Another name is refused as one that is not allowed.
    pair.b.edit("name = \"echo\"", "name = \"other\"");
    pair.b.run(&["reload"]).exits(0);
    assert_eq!(over_tcp(&listen, b"?"), None);
    pair.b
        .audits("access.denied", &["PolicyDenied", "echo", &pair.a.identity]);
    pair.b.edit("name = \"other\"", "name = \"echo\"");
    pair.b.run(&["reload"]).exits(0);
    assert_eq!(over_tcp(&listen, b"!"), Some(b"!".to_vec()));

    // A reload moves the forward to another address, and closes the old one.
    let moved = free_address();
    pair.a.edit(&listen, &moved);
    pair.a.run(&["reload"]).exits(0);
    assert_eq!(over_tcp(&moved, b"!"), Some(b"!".to_vec()));
    assert!(TcpStream::connect(&listen).is_err());
    // The last one does not go without a restart.
    pair.a.edit(&forward(&moved, "b"), "");
    pair.a
        .run(&["reload"])
        .exits(78)
        .tells(&["restart needed", "forward"]);
    pair.stop();
}

#[test]
fn a_peer_that_nobody_can_dial_keeps_connections_waiting_and_unix_sockets_do() {
    let pair = Pair::new();
    // `b` only listens, and what it wants to reach is behind `a`.
    let socket = pair.dir().join("sockets");
    std::fs::create_dir(&socket).unwrap();
    let socket = socket.join("echo.sock");
    pair.b
        .configure(&forward(&format!("unix:{}", socket.display()), "a"));
    pair.a.configure(&target(&echo(), &pair.b));
    pair.a.edit(
        "# dial_for = [\"send\"]",
        "dial_for = [\"send\", \"forward_target\"]",
    );
    pair.start();
    let once = || {
        let stream = UnixStream::connect(&socket).ok()?;
        stream.set_read_timeout(Some(TIME_MAX)).unwrap();
        echoed(&stream, b"through", || {
            stream.shutdown(Shutdown::Write).unwrap()
        })
    };
    wait_until("the first goes through", TIME_MAX, || once().is_some());
    for _ in 0..10 {
        assert_eq!(once(), Some(b"through".to_vec()));
    }
    pair.a.stop();
    assert_eq!(once(), None);
    pair.b.stop();
    assert!(!socket.exists());
}

#[test]
fn an_agent_that_stops_lets_streams_end_and_closes_what_is_left_with_notice() {
    let (pair, listen) = (Pair::new(), free_address());
    pair.a.configure(&forward(&listen, "b"));
    pair.b.configure(&target(&echo(), &pair.a));
    pair.a.edit("# [limits]", "[limits]");
    pair.a.edit("# drain_secs = 30", "drain_secs = 4");
    pair.start();
    let connect = || {
        let mut stream = TcpStream::connect(&listen).unwrap();
        stream.set_read_timeout(Some(TIME_MAX)).unwrap();
        stream.write_all(b"begun").unwrap();
        stream
    };
    let (mut ending, mut staying) = (connect(), connect());
    wait_until("both are open", TIME_MAX, || {
        pair.b.status()["forwards"][0]["streams"] == 2
    });
    pair.a.signal(rustix::process::Signal::TERM);
    wait_until("no more are taken", TIME_MAX, || {
        TcpStream::connect(&listen).is_err()
    });
    ending.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    ending.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "begun");
    assert!(staying.read(&mut [0]).is_err(), "it is not told");
    assert_eq!(pair.a.ends(TIME_MAX), 0);
    pair.a.audits("forward.closed", &["stopping"]);
    pair.b
        .audits("forward.closed", &["by_peer", "the agent stops"]);
    pair.b.stop();
}

#[test]
fn a_stream_outlives_the_certificates_of_every_link_it_had() {
    const LIFE: Duration = Duration::from_secs(12);
    let (pair, listen) = (Pair::new(), free_address());
    pair.a.configure(&forward(&listen, "b"));
    pair.b.configure(&target(&parrot(), &pair.a));
    let renew = |reload: bool| {
        for site in [&pair.a, &pair.b] {
            pair.certify(site, LIFE);
            if reload {
                site.run(&["reload"]).exits(0);
            }
        }
    };
    renew(false);
    pair.start();
    let mut stream = TcpStream::connect(&listen).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TIME_MAX)).unwrap();
    let (begun, mut renewed) = (Instant::now(), Instant::now());
    let mut byte = [0u8];
    while begun.elapsed() < 3 * LIFE {
        byte[0] = byte[0].wrapping_add(1);
        let said = byte[0];
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], said);
        if renewed.elapsed() > LIFE / 4 {
            renew(true);
            renewed = Instant::now();
        }
        thread::sleep(Duration::from_millis(20));
    }
    let report = &pair.a.status()["forwards"][0];
    println!("{report}");
    assert!(report["moves"].as_u64().unwrap() >= 3, "{report}");
    assert_eq!(
        (&report["opened"], &report["dropped"]),
        (&1.into(), &0.into())
    );
    // A peer that is denied loses its streams at once, and the applications are told.
    let identity = pair.a.identity.clone();
    pair.b.run(&["ca", "deny", &identity]).exits(0);
    assert!(matches!(stream.read(&mut byte), Err(_) | Ok(0)));
    pair.b.audits("forward.closed", &["not_allowed", &identity]);
    pair.stop();
}
