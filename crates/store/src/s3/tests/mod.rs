//! A bucket as a source, against the store of `tests/fake-kms`.

mod answers;
mod events;
mod reading;
mod trouble;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sealift_fake_kms::{FakeS3, OWNER, Put};
use sealift_host::{OsClock, OsRng};
use sealift_identity::https_client;
use sealift_outside::{CredentialsFrom, Endpoint, Words};
use sealift_terms::{
    BucketName, Reason, Region,
    limits::{EARLIER_LISTED_MAX, S3_LISTED_AT_ONCE},
};

use super::*;
use crate::conformance;

const BUCKET: &str = "photos";

pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: FakeS3,
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Stage {
    pub(crate) fn new(is_tls: bool) -> Self {
        Self::speaking(is_tls, FakeS3::start)
    }

    pub(crate) fn google(is_tls: bool) -> Self {
        Self::speaking(is_tls, FakeS3::start_google)
    }

    fn speaking(is_tls: bool, start: fn(&str, Option<&Path>) -> FakeS3) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots.pem");
        let server = start(BUCKET, is_tls.then_some(roots.as_path()));
        let (id, secret_key) = OWNER;
        let text =
            format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret_key}\n");
        secret(&dir.path().join("credentials"), &text);
        Self { dir, server }
    }

    pub(crate) fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Endpoint::parse(&self.server.url()).unwrap(),
            region: Region::new("eu-west-1").unwrap(),
            bucket: BucketName::new(BUCKET).unwrap(),
            path_style: true,
            prefix: String::new(),
            words: Words::Aws,
            credentials: CredentialsFrom::File(self.dir.path().join("credentials")),
            kms_keys: None,
            requester_pays: false,
            requires_versioning: false,
            storage_class: None,
            webhook: None,
            queue: None,
        }
    }

    /// Whom to trust, where it is asked over TLS.
    pub(crate) fn tls(&self) -> Option<Arc<ClientConfig>> {
        let roots = self.dir.path().join("roots.pem");
        let is_tls = roots.exists();
        is_tls.then(|| https_client(&roots, Arc::new(OsClock)).unwrap())
    }

    pub(crate) fn source(&self, change: impl FnOnce(&mut S3Settings)) -> S3Source {
        let (clock, tls) = (Arc::new(OsClock), self.tls());
        let mut settings = self.settings();
        change(&mut settings);
        S3Source::new(settings, tls, clock, Arc::new(OsRng))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> String {
        self.server.put(key, plain(bytes))
    }
}

fn plain(bytes: &[u8]) -> Put {
    Put {
        bytes: bytes.to_vec().into(),
        ..Put::default()
    }
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

async fn all(source: &S3Source, prefix: &str, limit: usize) -> Vec<Listed> {
    let mut scan = source.scan(prefix).await.unwrap();
    let mut listed = Vec::new();
    loop {
        let page = scan.page(limit).await.unwrap();
        assert!(page.objects.len() <= limit);
        listed.extend(page.objects);
        if page.last {
            return listed;
        }
    }
}

#[tokio::test]
async fn passes_the_conformance_suite_over_tls_and_on_loopback() {
    for is_tls in [true, false] {
        let stage = Stage::new(is_tls);
        let source = stage.source(|_| {});
        let remove = |key: &str| drop(stage.server.remove(key));
        conformance::source(&source, |key, bytes| drop(stage.put(key, bytes)), remove).await;
        let asked = stage.server.asked();
        assert!(asked.contains(&"s3:ListBucketVersions".to_owned()));
    }
}

#[tokio::test]
async fn a_listing_has_the_latest_versions_alone_however_many_lie_below_them() {
    let stage = Stage::new(false);
    for version in 0..3 {
        for number in 0..1500 {
            stage.put(&format!("k{number:05}"), format!("{version}").as_bytes());
        }
    }
    (0..1500)
        .step_by(3)
        .for_each(|number| drop(stage.server.remove(&format!("k{number:05}"))));
    let source = stage.source(|_| {});
    stage.server.asked();
    let listed = all(&source, "", 700).await;
    assert_eq!(listed.len(), 1000);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    assert!(
        listed
            .iter()
            .all(|one| one.key.as_str()[1..].parse::<u32>().unwrap() % 3 != 0)
    );
    // 5,000 versions and markers in pages of 1,000, and whether versions are kept.
    assert_eq!(stage.server.asked().len(), 1 + 5);
    let latest = source.look(&listed[0].key).await.unwrap().unwrap();
    assert_eq!(latest.version, listed[0].version);
}

#[tokio::test]
async fn a_bucket_full_of_removed_keys_is_told_in_pages_and_its_first_object_is_found() {
    const COUNT: usize = 5000;
    let stage = Stage::new(false);
    (0..COUNT).for_each(|number| drop(stage.server.remove(&format!("k{number:05}"))));
    stage.put("last", b"x");
    let source = stage.source(|_| {});
    let mut scan = source.scan("").await.unwrap();
    let (mut removed, mut listed) = (Vec::new(), Vec::new());
    loop {
        let page = scan.page(9).await.unwrap();
        assert!(page.removed.len() <= 2 * S3_LISTED_AT_ONCE);
        removed.extend(page.removed.into_iter().map(|one| one.key));
        listed.extend(page.objects);
        if page.last {
            break;
        }
    }
    assert!(removed.len() == COUNT && removed.is_sorted());
    assert_eq!(listed[0].key.as_str(), "last");
    let probes = source.probe().await;
    let found = probes
        .iter()
        .find(|probe| probe.action == "s3:ListBucketVersions");
    let found = found.unwrap().outcome.as_ref().unwrap();
    assert!(found.contains("last"), "{found}");
}

/// On demand, as it takes a minute: `--ignored`.
#[tokio::test]
#[ignore = "lists a million keys"]
async fn a_million_keys_are_listed_a_page_at_a_time() {
    let stage = Stage::new(false);
    (0..1_000_000).for_each(|number| drop(stage.put(&format!("k{number:07}"), b"")));
    let mut scan = stage.source(|_| {}).scan("").await.unwrap();
    let (mut count, begun) = (0, std::time::Instant::now());
    loop {
        let page = scan.page(1000).await.unwrap();
        count += page.objects.len();
        if page.last {
            break;
        }
    }
    assert_eq!(count, 1_000_000);
    println!(
        "{} keys/s",
        (f64::from(1_000_000) / begun.elapsed().as_secs_f64()) as u64
    );
}

#[tokio::test]
async fn only_keys_below_the_prefix_are_of_the_source() {
    let stage = Stage::new(false);
    for key in ["a", "in/1", "in/2/x", "inn", "z"] {
        stage.put(key, b"x");
    }
    let source = stage.source(|settings| settings.prefix = "in/".to_owned());
    let keys = async |prefix: &str| -> Vec<String> {
        let listed = all(&source, prefix, 9).await;
        listed.iter().map(|one| one.key.to_string()).collect()
    };
    assert_eq!(keys("").await, ["in/1", "in/2/x"]);
    assert_eq!(keys("i").await, ["in/1", "in/2/x"]);
    assert_eq!(keys("in/2").await, ["in/2/x"]);
    assert!(keys("z").await.is_empty());
    assert_eq!(source.look(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn many_keys_are_looked_at_together_and_told_in_their_order() {
    let stage = Stage::new(false);
    let keys: Vec<_> = (0..100).map(|number| key(&format!("k{number}"))).collect();
    for (number, key) in keys.iter().enumerate().filter(|(number, _)| number % 3 > 0) {
        stage.put(key.as_str(), &vec![0; number]);
    }
    let looked = stage.source(|_| {}).look_at_all(&keys).await;
    for (number, looked) in looked.into_iter().enumerate() {
        let size = looked.unwrap().map(|listed| listed.facts.size);
        assert_eq!(size, (number % 3 > 0).then_some(number as u64));
    }
}

#[tokio::test]
async fn what_is_hinted_at_is_not_taken_from_a_bucket_whose_versioning_was_switched_off() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let source = stage.source(|_| {});
    stage.server.set_versioning("Suspended");
    let looked = source.look_at_all(&[key("a"), key("b")]).await;
    assert_eq!(looked.len(), 2);
    for refused in looked {
        let error = refused.unwrap_err();
        assert_eq!(error.reason(), Reason::SrcVersioningDisabled, "{error}");
    }
    stage.server.set_versioning("Enabled");
    let looked = source.look_at_all(&[key("a")]).await.remove(0);
    assert!(looked.unwrap().is_some());
}

#[tokio::test]
async fn a_delete_marker_has_the_id_that_the_store_gave_it() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let source = stage.source(|_| {});
    assert_eq!(source.removed(&key("a")).await.unwrap(), None);
    let id = stage.server.remove("a");
    let removed = source.removed(&key("a")).await.unwrap().unwrap();
    assert_eq!(removed.version.as_str(), id);
    assert_eq!(removed.history.earlier.len(), 1);
    assert_eq!(source.removed(&key("never")).await.unwrap(), None);
}

#[tokio::test]
async fn what_lies_below_the_latest_version_is_told_with_it_and_in_full_when_asked() {
    let stage = Stage::new(false);
    let count = EARLIER_LISTED_MAX + 4;
    let mut ids: Vec<String> = (0..count).map(|_| stage.put("a", b"content")).collect();
    ids.reverse();
    stage.put("b", b"only");
    stage.put("gone", b"one");
    let marker = stage.server.remove("gone");
    let source = stage.source(|_| {});
    let told = |history: &History| -> Vec<String> {
        let earlier = history.earlier.iter();
        earlier.map(|earlier| earlier.version.to_string()).collect()
    };
    let mut scan = source.scan("").await.unwrap();
    let page = scan.page(9).await.unwrap();
    let [a, b] = &page.objects[..] else {
        panic!("{:?}", page.objects);
    };
    assert_eq!(a.version.as_str(), ids[0]);
    assert_eq!(told(&a.history), ids[1..=EARLIER_LISTED_MAX]);
    assert!(a.history.more && b.history == History::default());
    assert_eq!(page.removed[0].version.as_str(), marker);
    assert_eq!(page.removed[0].history.earlier.len(), 1);
    let looked = source.look(&key("a")).await.unwrap().unwrap();
    assert_eq!(looked.history, a.history);
    let all = source.history(&key("a")).await.unwrap();
    assert_eq!(told(&all), ids[1..]);
    assert!(!all.more);
}

#[tokio::test]
async fn versions_that_have_no_id_are_told_apart_and_a_bucket_that_keeps_none_is_no_source() {
    let stage = Stage::new(false);
    stage.server.set_versioning("Suspended");
    stage.put("a", b"one");
    let source = stage.source(|_| {});
    let one = source.look(&key("a")).await.unwrap().unwrap();
    assert!(one.version.as_str().starts_with("null~"));
    stage.put("a", b"two");
    let two = source.look(&key("a")).await.unwrap().unwrap();
    assert_ne!(one.version, two.version);
    let gone = source
        .read_whole(&one.key, &one.version, 3)
        .await
        .unwrap_err();
    assert_eq!(gone.reason(), Reason::SrcObjectChanged);
    for state in ["Suspended", ""] {
        stage.server.set_versioning(state);
        let refused = source.scan("").await.map(drop).unwrap_err();
        assert_eq!(refused.reason(), Reason::SrcVersioningDisabled, "{refused}");
    }
    stage.server.set_versioning("Enabled");
    assert_eq!(all(&source, "", 9).await[0].version, two.version);
    assert_eq!(
        source
            .read_whole(&two.key, &two.version, 3)
            .await
            .unwrap()
            .bytes,
        b"two"
    );
}
