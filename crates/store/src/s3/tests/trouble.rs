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
    // Of what is not denied the file is looked at once a second.
    let refused = async {
        loop {
            if let Err(error) = source.scan("").await.map(drop) {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), refused).await;
    let error = error.unwrap();
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

/// Without a check: what is asked for is what is allowed, and all of that is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn the_actions_that_are_asked_for_are_those_that_the_policy_allows() {
    let stage = Stage::new(false);
    let under_a_key = Put {
        kms_key: Some("arn:ours".to_owned()),
        ..locked()
    };
    stage.server.put("a", under_a_key);
    let queue = EventQueue {
        url: stage.server.queue_url(),
        endpoint: Endpoint::parse(&stage.server.url()).unwrap(),
        region: Region::new("eu-west-1").unwrap(),
    };
    let source = stage.source(|settings| settings.queue = Some(queue));
    let listed = all(&source, "", 9).await.remove(0);
    source.look(&listed.key).await.unwrap();
    source.open(&listed.key, &listed.version).await.unwrap();
    source
        .read_whole(&listed.key, &listed.version, 1)
        .await
        .unwrap();
    let mut watch = source.watch().unwrap();
    // A message is deleted once what it told of is recorded.
    tokio::spawn(async move {
        while let Some(hint) = watch.hints.recv().await {
            if let Hint::Recorded(recorded) = hint {
                recorded.tell();
            }
        }
    });
    stage.server.remove("a");
    source.removed(&listed.key).await.unwrap();
    let emptied = async {
        while stage.server.events() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), emptied)
        .await
        .unwrap();
    let asked: BTreeSet<String> = stage.server.asked().into_iter().collect();
    let allowed = S3_SOURCE_ACTIONS.into_iter().chain(SQS_ACTIONS);
    let allowed = allowed.chain(["kms:Decrypt"]).map(str::to_owned);
    assert_eq!(asked, allowed.collect());
}

/// Each key that is named is tried on an object that is under it.
#[tokio::test]
async fn each_named_key_that_may_not_be_used_is_told_by_the_check() {
    let stage = Stage::new(false);
    let under = |key: &str| Put {
        kms_key: Some(key.to_owned()),
        ..plain(b"x")
    };
    stage.put("0", b"under none");
    stage.server.put("1", under("arn:one"));
    stage.server.put("2", under("arn:two"));
    let named = ["arn:one", "arn:two", "arn:unused"].map(str::to_owned);
    let source = stage.source(|settings| settings.kms_keys = Some(named.into()));
    let outcomes = async || -> Vec<Result<String, Reason>> {
        let probes = source.probe().await.into_iter();
        let of_keys = probes.filter(|probe| probe.action == "kms:Decrypt");
        of_keys
            .map(|probe| probe.outcome.map_err(|error| error.reason()))
            .collect()
    };
    let good = outcomes().await;
    assert_eq!(good.len(), 3);
    let told = |outcome: &Result<String, Reason>| outcome.clone().unwrap();
    assert!(told(&good[0]).contains("under arn:one"), "{good:?}");
    assert!(told(&good[1]).contains("under arn:two"), "{good:?}");
    assert!(
        told(&good[2]).contains("not tried under arn:unused"),
        "{good:?}"
    );
    stage.server.deny_key("arn:two", true);
    let denied = outcomes().await;
    assert!(denied[0].is_ok() && denied[2].is_ok(), "{denied:?}");
    assert_eq!(denied[1], Err(Reason::SrcKmsDecryptDenied));
    // And nothing else is said to be missing: the object's head can be read.
    let probes = source.probe().await;
    let failed = probes.iter().filter(|probe| probe.outcome.is_err());
    assert_eq!(failed.count(), 1);
}

#[tokio::test]
async fn each_action_of_applications_is_tried_and_changes_nothing() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let front = stage.source(|_| {}).front();
    let failed = async || {
        let probes = front.probe().await;
        let tried: BTreeSet<_> = probes.iter().map(|probe| probe.action).collect();
        let failed = probes.iter().filter(|probe| probe.outcome.is_err());
        let failed: Vec<_> = failed.map(|probe| probe.action).collect();
        (tried, failed)
    };
    let (tried, none) = failed().await;
    assert_eq!(tried, S3_FRONT_ACTIONS.into_iter().collect());
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(stage.server.keys(), ["a"]);
    for action in S3_FRONT_ACTIONS {
        stage.server.deny(action, true);
        assert_eq!(failed().await.1, [action]);
        stage.server.deny(action, false);
    }
    assert!(
        stage
            .source(|_| {})
            .look(&key(".sealift-check"))
            .await
            .unwrap()
            .is_none()
    );
    let removed = stage.source(|_| {}).removed(&key(".sealift-check")).await;
    assert!(removed.unwrap().is_none(), "no delete marker is left");
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
