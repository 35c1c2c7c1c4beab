//! What goes wrong at a store and on the way to it.

use std::time::Duration;

use sealift_fake_kms::Trouble;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

#[tokio::test]
async fn a_store_that_throttles_is_asked_again_and_then_put_off() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let source = stage.source(|_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    stage.server.trouble(Trouble::ThrottledFor(3));
    source
        .read_whole(&listed.key, &listed.version, 1)
        .await
        .unwrap();
    stage.server.trouble(Trouble::None);
    for trouble in [Trouble::Throttled, Trouble::Broken, Trouble::Unreachable] {
        stage.server.trouble(trouble);
        let begun = std::time::Instant::now();
        let failures = [
            source
                .read_whole(&listed.key, &listed.version, 1)
                .await
                .map(drop),
            source.open(&listed.key, &listed.version).await.map(drop),
            source.look(&listed.key).await.map(drop),
            source.scan("").await.map(drop),
        ];
        for failure in failures {
            let error = failure.unwrap_err();
            assert_eq!(
                error.reason(),
                Reason::SrcUnavailable,
                "{trouble:?}: {error}"
            );
            assert!(!error.reason().is_permanent());
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{trouble:?}");
    }
}

#[tokio::test]
async fn each_action_that_is_denied_is_named_by_the_check() {
    let stage = Stage::new(false);
    let source = stage.source(|_| {});
    let outcomes = async || {
        let probes = source.probe().await.into_iter();
        probes
            .map(|probe| (probe.action, probe.outcome.map_err(|error| error.reason())))
            .collect::<Vec<_>>()
    };
    let empty = outcomes().await;
    assert_eq!(empty.len(), 2, "{empty:?}");
    assert!(empty[1].1.as_ref().unwrap().contains("no object"));
    stage.put("a", b"x");
    let good = outcomes().await;
    assert!(good.iter().all(|(_, outcome)| outcome.is_ok()), "{good:?}");
    assert_eq!(good.len(), S3_SOURCE_ACTIONS.len());
    for (action, _) in good {
        stage.server.deny(action, true);
        for (found, outcome) in outcomes().await {
            let expected = if found == action {
                Some(Reason::SrcGetDenied)
            } else {
                None
            };
            assert_eq!(outcome.err(), expected, "{found} while {action} is denied");
        }
        stage.server.deny(action, false);
    }
    stage.server.set_versioning("Suspended");
    assert_eq!(outcomes().await[0].1, Err(Reason::SrcVersioningDisabled));
}

#[tokio::test]
async fn a_wrong_secret_is_a_denial_and_one_that_is_replaced_is_used_at_once() {
    let stage = Stage::new(false);
    let source = stage.source(|_| {});
    let file = stage.dir.path().join("credentials");
    let good = fs::read_to_string(&file).unwrap();
    secret(&file, &good.replace("secret", "other"));
    let error = source.scan("").await.map(drop).unwrap_err();
    assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
    secret(&file, &good.replace("a secret", "a wrong"));
    let error = source.scan("").await.map(drop).unwrap_err();
    assert_eq!(error.reason(), Reason::SrcGetDenied, "{error}");
    secret(&file, &good);
    source.scan("").await.unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = source.scan("").await.map(drop).unwrap_err();
    assert_eq!(error.reason(), Reason::SrcUnavailable, "others may read it");
}

/// Stands between, and cuts each connection after so many bytes of answers.
async fn cutting(server: String, bytes_max: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(server.trim_start_matches("http://"))
                .await
                .unwrap();
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
            tokio::spawn(async move {
                let (mut left, mut buffer) = (bytes_max, vec![0; 64 << 10]);
                while left > 0 {
                    let count = far_in.read(&mut buffer).await.unwrap_or(0).min(left);
                    if count == 0 || near_out.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                    left -= count;
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_where_a_connection_was_cut() {
    let stage = Stage::new(false);
    let content: Vec<u8> = (0..8_000_000_u32).map(|n| (n >> 4) as u8).collect();
    stage.put("large", &content);
    let proxy = cutting(stage.server.url(), 3 << 20).await;
    let source = stage.source(|settings| settings.endpoint = Endpoint::parse(&proxy).unwrap());
    let listed = source.look(&key("large")).await.unwrap().unwrap();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    let mut read = vec![0; content.len()];
    for (step, piece) in read.chunks_mut(256 << 10).enumerate() {
        object
            .read_exact_at(piece, (step * (256 << 10)) as u64)
            .await
            .unwrap();
    }
    assert!(read == content);
}

#[tokio::test]
async fn the_actions_that_are_asked_for_are_those_that_the_policy_allows() {
    let stage = Stage::new(false);
    stage.server.put("a", locked());
    let source = stage.source(|_| {});
    let listed = all(&source, "", 9).await.remove(0);
    source.look(&listed.key).await.unwrap();
    source.open(&listed.key, &listed.version).await.unwrap();
    source
        .read_whole(&listed.key, &listed.version, 1)
        .await
        .unwrap();
    stage.server.remove("a");
    source.removed(&listed.key).await.unwrap();
    source.probe().await;
    for action in stage.server.asked() {
        assert!(S3_SOURCE_ACTIONS.contains(&action.as_str()), "{action}");
    }
}

fn locked() -> Put {
    let headers = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2030-01-01T00:00:00Z",
        ),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    Put {
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..plain(b"x")
    }
}

/// S3 tells of an object's lock to those alone who may know it, and lets the others have the object.
#[tokio::test]
async fn what_of_a_lock_may_not_be_known_is_named_by_the_check_and_the_object_comes() {
    let stage = Stage::new(false);
    stage.server.put("a", locked());
    let source = stage.source(|_| {});
    let listed = all(&source, "", 9).await.remove(0);
    let facts = async || {
        let whole = source.read_whole(&listed.key, &listed.version, 1).await;
        let facts = whole.unwrap().facts.unwrap();
        let names = facts.system.into_keys();
        names.filter(|name| name.starts_with("object-lock")).count()
    };
    assert_eq!(facts().await, 3);
    for (action, left) in S3_LOCK_ACTIONS.into_iter().zip([1, 2]) {
        stage.server.deny(action, true);
        assert_eq!(facts().await, left, "{action}");
        let probes = source.probe().await;
        let failed = probes.iter().filter(|probe| probe.outcome.is_err());
        let failed: Vec<_> = failed.map(|probe| probe.action).collect();
        assert_eq!(failed, [action]);
        stage.server.deny(action, false);
    }
}
