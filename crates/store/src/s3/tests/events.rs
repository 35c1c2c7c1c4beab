//! Hints by a webhook and by a queue.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::*;

const TIME_MAX: Duration = Duration::from_secs(20);
const TOKEN: &str = "a long random text";

/// An address that nobody else is given as long as the socket is held.
fn held() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn next(watch: &mut Watch) -> Hint {
    timeout(TIME_MAX, watch.hints.recv())
        .await
        .unwrap()
        .unwrap()
}

/// Posts to a webhook; the status of the answer.
async fn post(to: SocketAddr, how: &str, authorization: &str, body: &str) -> u16 {
    let shown = format!("authorization: {authorization}\r\n");
    post_to(to, (how, "any"), &shown, body).await
}

/// As [`post`], to a path and with these headers.
async fn post_to(to: SocketAddr, (how, path): (&str, &str), shown: &str, body: &str) -> u16 {
    let mut stream = loop {
        match TcpStream::connect(to).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let request = format!(
        "{how} /{path} HTTP/1.1\r\nhost: here\r\n{shown}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // One that is refused for its length may be cut off.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = String::new();
    timeout(TIME_MAX, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer[9..12].parse().unwrap()
}

fn event(key: &str) -> String {
    format!(
        "{{\"Records\":[{{\"s3\":{{\"bucket\":{{\"name\":\"{BUCKET}\"}},\"object\":{{\"key\":\"{key}\"}}}}}}]}}"
    )
}

/// Nothing has to stand before the first scan, and nothing asks for another one.
#[tokio::test]
async fn a_bucket_without_events_is_scanned_at_once() {
    let stage = Stage::new(false);
    let mut watch = stage.source(|_| {}).watch().unwrap();
    assert_eq!(next(&mut watch).await, Hint::Rescan);
    assert!(watch.hints.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_takes_events_from_who_shows_the_token_and_from_nobody_else() {
    let stage = Stage::new(false);
    let (_held, listen) = held();
    let token_file = stage.dir.path().join("token");
    secret(&token_file, &format!("{TOKEN}\n"));
    let webhook = Webhook {
        listen,
        token_file: token_file.clone(),
    };
    let source = stage.source(|settings| settings.webhook = Some(webhook));
    let mut watch = source.watch().unwrap();
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(post(listen, "POST", &bearer, &event("a+b")).await, 204);
    assert_eq!(
        next(&mut watch).await,
        Hint::Rescan,
        "what came before it listened"
    );
    assert_eq!(next(&mut watch).await, Hint::Changed(key("a b")));
    for (how, shown, body, status) in [
        ("POST", "Bearer another", event("x"), 401),
        ("POST", "Bearer ", event("x"), 401),
        ("POST", TOKEN, event("x"), 401),
        ("GET", &bearer, event("x"), 405),
        ("POST", &bearer, "no event".to_owned(), 400),
        (
            "POST",
            &bearer,
            " ".repeat(sealift_terms::limits::EVENTS_BODY_BYTES_MAX + 1),
            413,
        ),
    ] {
        assert_eq!(
            post(listen, how, shown, &body).await,
            status,
            "{how} {shown}"
        );
    }
    // A token that others can read, or that is empty, lets nobody in.
    secret(&token_file, "\n");
    assert_eq!(post(listen, "POST", "Bearer ", &event("x")).await, 401);
    secret(&token_file, TOKEN);
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(post(listen, "POST", &bearer, &event("x")).await, 401);
    secret(&token_file, "another");
    assert_eq!(
        post(listen, "POST", "Bearer another", &event("c")).await,
        204
    );
    assert_eq!(next(&mut watch).await, Hint::Changed(key("c")));
    drop(watch);
    let closed = async {
        while TcpStream::connect(listen).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIME_MAX, closed).await.unwrap();
}

/// A source whose store posts its events there.
fn posted_to(stage: &Stage, listen: SocketAddr) -> S3Source {
    let token_file = stage.dir.path().join("token");
    secret(&token_file, TOKEN);
    let webhook = Webhook { listen, token_file };
    stage.source(|settings| settings.webhook = Some(webhook))
}

/// Ceph posts with no header that says who it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_shows_no_bearer_shows_the_token_as_its_path() {
    let stage = Stage::new(false);
    let (_held, listen) = held();
    let mut watch = posted_to(&stage, listen).watch().unwrap();
    let encoded = TOKEN.replace(' ', "%20");
    for (path, status) in [
        ("", 401),
        ("another", 401),
        ("a%20long%20random", 401),
        ("a%2", 401),
        (&*format!("{encoded}/x"), 401),
        (&*encoded, 204),
    ] {
        let posted = post_to(listen, ("POST", path), "", &event("c")).await;
        assert_eq!(posted, status, "{path}");
    }
    assert_eq!(next(&mut watch).await, Hint::Rescan);
    assert_eq!(next(&mut watch).await, Hint::Changed(key("c")));
}

/// No scan finds them: who posted them keeps them until they are recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_answers_for_changed_tags_once_they_are_recorded() {
    let stage = Stage::new(false);
    let (_held, listen) = held();
    let mut watch = posted_to(&stage, listen).watch().unwrap();
    let body = event("k").replace("{\"s3\"", "{\"eventName\":\"ObjectTagging:Put\",\"s3\"");
    for (is_recorded, status) in [(true, 204), (false, 503)] {
        let body = body.clone();
        let posted =
            tokio::spawn(
                async move { post(listen, "POST", &format!("Bearer {TOKEN}"), &body).await },
            );
        let mut is_tagged = false;
        loop {
            match next(&mut watch).await {
                Hint::Tagged(..) => is_tagged = true,
                Hint::Recorded(recorded) => {
                    assert!(is_tagged && !posted.is_finished());
                    if is_recorded {
                        recorded.tell();
                    }
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(timeout(TIME_MAX, posted).await.unwrap().unwrap(), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queues_messages_become_hints_and_are_deleted_when_those_are_recorded() {
    let stage = Stage::new(true);
    let queue = EventQueue {
        url: stage.server.queue_url(),
        endpoint: Endpoint::parse(&stage.server.url()).unwrap(),
        region: Region::new("eu-west-1").unwrap(),
    };
    for number in 0..25 {
        stage.put(&format!("k {number:02}"), b"x");
    }
    stage.server.remove("k 03");
    let source = stage.source(|settings| settings.queue = Some(queue));
    let probes = source.probe().await;
    let queue = probes
        .iter()
        .find(|probe| probe.action == "sqs:ReceiveMessage")
        .unwrap();
    queue.outcome.as_ref().unwrap();
    assert_eq!(stage.server.events(), 26, "a check takes no message");
    for action in SQS_ACTIONS {
        stage.server.deny(action, true);
        let probes = source.probe().await;
        let failed = probes.iter().filter(|probe| probe.outcome.is_err());
        let failed: Vec<_> = failed.map(|probe| (probe.action, &probe.outcome)).collect();
        let [(found, Err(error))] = failed[..] else {
            panic!("{action}: {failed:?}");
        };
        assert_eq!((found, error.reason()), (action, Reason::SrcGetDenied));
        stage.server.deny(action, false);
    }
    let mut watch = source.watch().unwrap();
    let mut hints = std::collections::BTreeSet::new();
    let (mut told, mut batches) = (0, 0);
    while told < 26 {
        match next(&mut watch).await {
            Hint::Changed(key) => {
                hints.insert(key.to_string());
                told += 1;
            }
            Hint::Recorded(recorded) => {
                let left = stage.server.events();
                assert!(
                    left + told > 26,
                    "what is not recorded is in the queue: {left}"
                );
                recorded.tell();
                batches += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((hints.len(), batches), (25, 2));
    assert!(hints.contains("k 03"));
    assert_eq!(stage.server.events(), 6);
    let Hint::Recorded(recorded) = next(&mut watch).await else {
        panic!("another hint");
    };
    recorded.tell();
    let emptied = async {
        while stage.server.events() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIME_MAX, emptied).await.unwrap();
    stage.put("later", b"x");
    assert_eq!(next(&mut watch).await, Hint::Changed(key("later")));
    // Dropped, as by a task that could not record it: it stays.
    assert!(matches!(next(&mut watch).await, Hint::Recorded(_)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stage.server.events(), 1);
}
