//! Both doors of a running agent, and the way in when it is stopped.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use sealift_host::DataDirLock;
use sealift_terms::{BucketName, ObjectKey, limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::*;
use crate::{
    Error, Exit, Lifecycle, LifecycleHandle,
    config::{Config, Source},
};

/// Answers every command with one row and its actor, `get` with bytes, `retry` with an error.
struct Stub;

#[async_trait]
impl Operations for Stub {
    fn readiness(&self) -> Readiness {
        Readiness {
            degraded: Vec::new(),
            ready: false,
            problems: vec!["certificate expired".to_owned()],
        }
    }

    async fn metrics(&self) -> String {
        crate::Metrics::default().render()
    }

    async fn status(&self) -> Result<StatusReport, Error> {
        Err(Error::NotFound {
            what: "status".to_owned(),
        })
    }

    async fn carry_out(
        &self,
        request: Request,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        answer.row(&actor.to_string()).await?;
        match request {
            Request::Get(_) => {
                for _ in 0..40 {
                    answer.bytes(Bytes::from(vec![b'\n'; 100_000])).await?;
                }
                Err(Error::Verification {
                    what: "chunk 3".to_owned(),
                })
            }
            Request::Retry(_) => Err(Error::NotFound {
                what: "object b/k".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    server: AdminServer,
    _handle: LifecycleHandle,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (handle, lifecycle) = Lifecycle::by_hand();
        let socket = dir.path().join("agent.sock");
        let server = AdminServer::open(&socket, None, Some(any), Arc::new(Stub), &lifecycle)
            .await
            .unwrap();
        Self {
            dir,
            server,
            _handle: handle,
        }
    }

    async fn client(&self) -> Client {
        let socket = self.dir.path().join("agent.sock");
        Client::connect(&socket).await.unwrap()
    }

    async fn over_loopback(&self, request: &str) -> String {
        let stream = TcpStream::connect(self.server.loopback().unwrap())
            .await
            .unwrap();
        exchange(stream, request).await
    }

    async fn over_socket(&self, request: &str) -> String {
        let stream = UnixStream::connect(self.dir.path().join("agent.sock"))
            .await
            .unwrap();
        exchange(stream, request).await
    }
}

async fn exchange<S>(mut stream: S, request: &str) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn named() -> (BucketName, ObjectKey) {
    (BucketName::new("b").unwrap(), ObjectKey::new("k").unwrap())
}

#[tokio::test]
async fn health_and_metrics_are_shown_at_both_doors() {
    let agent = Fixture::new().await;
    for door in ["loopback", "socket"] {
        let ask = async |path| {
            let request = get(path, "localhost");
            match door {
                "loopback" => agent.over_loopback(&request).await,
                _ => agent.over_socket(&request).await,
            }
        };
        assert!(ask("/live").await.starts_with("HTTP/1.1 200"));
        let ready = ask("/ready").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("certificate expired"));
        assert!(ask("/metrics").await.contains("# TYPE sealift_ready gauge"));
        assert!(ask("/status").await.starts_with("HTTP/1.1 500"));
        assert!(ask("/").await.starts_with("HTTP/1.1 404"));
    }
}

#[tokio::test]
async fn commands_are_refused_on_loopback() {
    let agent = Fixture::new().await;
    let answer = agent.over_loopback(&post("/v1/reload", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = agent.over_socket(&post("/v1/reload", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_page_with_a_strange_host_name_is_refused_on_loopback() {
    let agent = Fixture::new().await;
    let answer = agent.over_loopback(&get("/metrics", "evil.example")).await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let agent = Fixture::new().await;
    let long = "x".repeat(limits::ADMIN_BODY_BYTES_MAX + 1);
    let answer = agent.over_socket(&post("/v1/ls", &long)).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("65536 bytes") && answer.contains("\"exit\":2"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_unknown_command_is_refused() {
    let agent = Fixture::new().await;
    let answer = agent.over_socket(&post("/v1/format", "{}")).await;
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("\"exit\":10"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_client_gets_rows_bytes_and_the_typed_end() {
    let agent = Fixture::new().await;
    let (bucket, key) = named();
    let mut answers = agent.client().await.ask(Request::Get(Get {
        bucket,
        key,
        version: None,
        range: None,
    }));
    let uid = rustix::process::getuid().as_raw();
    let row = answers.next().await;
    assert_eq!(row, Some(Piece::Row(format!("\"uid:{uid}\""))));
    let mut length = 0;
    while let Some(piece) = answers.next().await {
        let Piece::Bytes(bytes) = piece else {
            panic!("{piece:?}")
        };
        length += bytes.len();
    }
    assert_eq!(length, 4_000_000);
    let error = answers.finish().await.unwrap_err();
    assert_eq!(error.exit(), Exit::VerificationFailed);

    let mut answers = agent.client().await.ask(Request::Retry(Retry::default()));
    while answers.next().await.is_some() {}
    let error = answers.finish().await.unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound);
    assert!(error.failure().what.contains("b/k"));
}

#[tokio::test]
async fn the_socket_is_the_owners_alone_and_goes_with_the_agent() {
    let agent = Fixture::new().await;
    let socket = agent.dir.path().join("agent.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    drop(agent.server);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_dead_agents_socket_is_replaced_and_another_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let (_handle, lifecycle) = Lifecycle::by_hand();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let opened = AdminServer::open(&socket, None, None, Arc::new(Stub), &lifecycle).await;
    drop(opened.unwrap());
    std::fs::write(&socket, "precious").unwrap();
    let refused = AdminServer::open(&socket, None, None, Arc::new(Stub), &lifecycle).await;
    assert!(refused.is_err());
    assert!(socket.exists());
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_for_their_turn() {
    let agent = Fixture::new().await;
    let address = agent.server.loopback().unwrap();
    let mut idle = Vec::new();
    for _ in 0..limits::ADMIN_CONNECTIONS_MAX {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let request = get("/live", "localhost");
    let waiting = agent.over_loopback(&request);
    let soon = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(soon, waiting).await.is_err());
    // What any user does at the loopback address is in no way of the owner's commands.
    let over_socket = agent.over_socket(&request).await;
    assert!(over_socket.starts_with("HTTP/1.1 200"), "{over_socket}");
    idle.clear();
    assert!(
        agent
            .over_loopback(&request)
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_to_its_end_is_cut_off() {
    let agent = Fixture::new().await;
    let began = tokio::time::Instant::now();
    let answer = agent.over_loopback("GET /live HTTP/1.1\r\nho").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(began.elapsed() >= limits::ADMIN_HEAD_TIME_MAX);
    let began = tokio::time::Instant::now();
    let announced = post("/v1/ls", "{}").replace("content-length: 2", "content-length: 20");
    let answer = agent.over_socket(&announced).await;
    assert!(!answer.contains("uid:"), "it was carried out: {answer}");
    let taken = began.elapsed();
    assert!(taken >= limits::ADMIN_BODY_TIME_MAX && taken < 2 * limits::ADMIN_BODY_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_to_its_end_is_cut_off() {
    let agent = Fixture::new().await;
    let began = tokio::time::Instant::now();
    let whole = post("/v1/ls", "{\"bucket\":\"photos\"}");
    let half = &whole[..whole.len() - 5];
    let answer = agent.over_socket(half).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(began.elapsed() >= limits::ADMIN_BODY_TIME_MAX);
}

#[tokio::test]
async fn whoever_fills_the_loopback_door_does_not_keep_the_owner_waiting() {
    let agent = Fixture::new().await;
    let address = agent.server.loopback().unwrap();
    let mut idle = Vec::new();
    for _ in 0..=limits::ADMIN_CONNECTIONS_MAX {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    // Until all of them have been let in.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let request = get("/live", "localhost");
    let answered = agent.over_socket(&request);
    let answered = tokio::time::timeout(std::time::Duration::from_secs(60), answered).await;
    assert!(answered.unwrap().starts_with("HTTP/1.1 200"));
}

struct OpenStub;

#[async_trait]
impl OpenSite for OpenStub {
    async fn open(&self, _: &Config, _: DataDirLock) -> Result<Arc<dyn Operations>, Error> {
        Ok(Arc::new(Stub))
    }
}

fn config(dir: &std::path::Path) -> Config {
    let text = crate::config::Template {
        data_dir: dir.display().to_string(),
        ..crate::config::Template::example()
    };
    let source = Source {
        path: dir.join("sealift.toml"),
        text: text.render(),
        overrides: Vec::new(),
    };
    Config::check(&source).unwrap()
}

#[tokio::test]
async fn a_command_finds_the_agent_or_works_on_the_directory_or_says_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());

    let reached = Reached::find(&config, &OpenStub).await.unwrap();
    assert!(!reached.is_running());
    let mut answers = reached.ask(Request::Reload);
    let row: String = answers.next_row().await.unwrap().unwrap();
    assert!(row.ends_with("offline"), "{row}");

    let _lock = DataDirLock::acquire(dir.path()).unwrap();
    let error = Reached::find(&config, &OpenStub).await.unwrap_err();
    assert_eq!(error.exit(), Exit::TryAgain);

    let (_handle, lifecycle) = Lifecycle::by_hand();
    let _server = AdminServer::open(&config.socket(), None, None, Arc::new(Stub), &lifecycle)
        .await
        .unwrap();
    assert!(
        Reached::find(&config, &OpenStub)
            .await
            .unwrap()
            .is_running()
    );
}
