//! Streams between two agents of one process.

mod limits;
mod moving;
mod stage;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use stage::{Stage, name, pattern};

#[tokio::test]
async fn bytes_and_half_closes_go_through_both_ways() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    let (question, answer) = (pattern(3_000_000, 1), pattern(5_000_000, 2));
    let asked = question.clone();
    let serving = tokio::spawn(async move {
        let mut all = Vec::new();
        served.read_to_end(&mut all).await.unwrap();
        // The client has closed its direction and waits.
        served.write_all(&answer).await.unwrap();
        served.shutdown().await.unwrap();
        (all, answer)
    });
    client.write_all(&asked).await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    let (heard, answer) = serving.await.unwrap();
    assert!(heard == question && all == answer);
    drop(client);
    stage.settled().await;
    for counts in [stage.near.counts(), stage.way.far.counts()] {
        let [counts] = &counts[..] else { panic!() };
        assert_eq!((counts.name.clone(), counts.open), (name("service"), 0));
        assert_eq!((counts.opened, counts.dropped), (1, 0));
        assert_eq!(counts.ended.get("in_order"), Some(&1), "{counts:?}");
        let (a, b) = (counts.bytes_out, counts.bytes_in);
        assert_eq!((a.min(b), a.max(b)), (3_000_001, 5_000_000));
    }
    assert_eq!(stage.log.count("forward.opened", &["service"]), 2);
    let closed = ["5000000", "3000001", "in_order", "lifetime_ms"];
    assert_eq!(stage.log.count("forward.closed", &closed), 2);
    assert_eq!(stage.memory.used(), 0);
}

#[tokio::test]
async fn an_application_that_is_reset_resets_the_other() {
    let stage = Stage::new().await;
    let (client, mut served) = stage.connected().await;
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let mut byte = [0];
    let error = served.read(&mut byte).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    stage.settled().await;
    assert_eq!(stage.near.counts()[0].dropped, 0);
    assert_eq!(stage.near.counts()[0].ended.get("application"), Some(&1));
    assert_eq!(stage.way.far.counts()[0].ended.get("application"), Some(&1));
}

#[tokio::test]
async fn one_who_does_not_read_holds_up_nothing_but_what_it_does_not_read() {
    let stage = Stage::new().await;
    let (client, served) = stage.connected().await;
    let (mut from_service, mut to_service) = client.into_split();
    let (mut from_client, mut to_client) = served.into_split();
    // The service reads nothing of this until the end.
    let sent = pattern(8_000_000, 3);
    let copy = sent.clone();
    let stuffing = tokio::spawn(async move {
        to_service.write_all(&copy).await.unwrap();
        to_service
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = pattern(20_000_000, 4);
    let copy = answer.clone();
    let answering = tokio::spawn(async move {
        to_client.write_all(&copy).await.unwrap();
        to_client
    });
    let mut all = vec![0; answer.len()];
    from_service.read_exact(&mut all).await.unwrap();
    assert!(all == answer);
    assert!(stage.memory.used() <= 2 * (4 << 20) * 2);
    let mut all = vec![0; sent.len()];
    from_client.read_exact(&mut all).await.unwrap();
    assert!(all == sent);
    drop((stuffing.await.unwrap(), answering.await.unwrap()));
    stage.settled().await;
}

#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("near.sock");
    let stage = Stage::with(|forward, _| forward.listen = crate::Address::Unix(path.clone())).await;
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"over a file").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut served, _) = stage.service.accept().await.unwrap();
    let mut heard = String::new();
    served.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "over a file");
    drop((client, served));
    stage.settled().await;
    stage.near.close();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn what_blocks_the_other_threads_of_the_agent_holds_up_no_stream() {
    use std::io::{Read, Write};

    let stage = Stage::on_threads().await;
    let (client, served) = stage.connected().await;
    let blocking = |stream: tokio::net::TcpStream| {
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    };
    let (mut client, mut served) = (blocking(client), blocking(served));
    let bytes = pattern(3_000_000, 3);
    let asked = bytes.clone();
    let asking = std::thread::spawn(move || client.write_all(&asked).map(|()| client));
    // This holds the one thread of the runtime that made everything.
    let mut heard = vec![0; bytes.len()];
    served.read_exact(&mut heard).unwrap();
    assert!(heard == bytes);
    let mut client = asking.join().unwrap().unwrap();
    served.write_all(b"answer").unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    drop((client, served));
    stage.settled().await;
}
