//! Commands on a site, in process and through its socket.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_archive::{Begin, Offer};
use sealift_host::DataDirLock;
use sealift_identity::{GrantRow, Grants};
use sealift_ledger::{Destination, NewChange, Settlement, TransferOutcome};
use sealift_receiver::{Answer, Door, Question, TagsOf, TagsStand};
use sealift_store::{DirectorySource, Source as _};
use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, Epoch, Identity, ObjectFacts, ObjectKey, Order,
    PartSize, PeerName, Reason, Receipt, Region, RuleName, SessionFacts, Status, TransferId,
    VersionId, VersionName, limits::TAGS_ASKED_AT_ONCE_MAX,
};
use sealift_wire::checksum::crc64;
use serde::de::DeserializeOwned;

use super::SiteOperations;
use crate::{
    Error, Exit, Lifecycle, LifecycleHandle, NewSite, World,
    admin::{
        AdminServer, Client, Explanation, Get, Ls, Named, ObjectRow, OpenSite, Operations, Piece,
        Reached, Request, Retried, Retry, StatusReport, Verify, VerifyRow,
    },
    config::{Config, Source, Template, TemplateBucket, TemplatePeer},
    create_site,
    site::Site,
};

mod keys;

/// A site that archives the bucket `photos` and sends the bucket `docs`.
struct Stage {
    dir: tempfile::TempDir,
    config: Config,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("docs")).unwrap();
        let new = NewSite {
            config: dir.path().join("sealift.toml"),
            template: Template {
                data_dir: "data".to_owned(),
                buckets: vec![TemplateBucket {
                    name: "photos".to_owned(),
                    key: "alias/photos".to_owned(),
                    second_key: None,
                }],
                sources: vec![("docs".to_owned(), "docs".to_owned())],
                peers: vec![TemplatePeer {
                    name: "b".to_owned(),
                    identity: "spiffe://example.org/region/us-east/agent/b".to_owned(),
                    address: Some("127.0.0.1:7443".to_owned()),
                    trust_bundle: "peer.json".to_owned(),
                }],
                ..Template::example()
            },
        };
        let config = create_site(&new, &World::real()).unwrap().config;
        Self { dir, config }
    }

    async fn open(&self) -> Arc<Site> {
        let lock = DataDirLock::acquire(&self.config.site.data_dir).unwrap();
        Site::open(self.config.clone(), World::real(), lock)
            .await
            .unwrap()
    }

    fn write(&self, key: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join("docs").join(key), bytes).unwrap();
    }

    /// Flips one bit in the middle of the only file in a folder of the store.
    fn flip(&self, folder: &str) {
        let path = files(&self.config.site.data_dir.join("store").join(folder)).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn name(bucket: &str, key: &str, version: &str) -> VersionName {
    VersionName {
        bucket: BucketName::new(bucket).unwrap(),
        key: ObjectKey::new(key).unwrap(),
        version: VersionId::new(version).unwrap(),
    }
}

fn session() -> SessionFacts {
    let identity = |name: &str| format!("spiffe://t/region/r/agent/{name}").parse().unwrap();
    SessionFacts {
        tls_version: "TLSv1.3".into(),
        cipher_suite: "TLS13_AES_256_GCM_SHA384".into(),
        group: "X25519MLKEM768".into(),
        sender: identity("a"),
        sender_serial: "01".into(),
        receiver: identity("b"),
        receiver_serial: "02".into(),
    }
}

fn change(name: VersionName, number: u64, kind: ChangeKind, size: usize) -> Change {
    Change {
        name,
        order: Order {
            clock: number << 16,
            region: Region::new("us-east").unwrap(),
            change: number,
        },
        kind,
        facts: ObjectFacts {
            size: size as u64,
            system: BTreeMap::from([("posix-mode".to_owned(), "0640".to_owned())]),
            ..ObjectFacts::default()
        },
    }
}

/// Stores one version, or a delete marker when there is nothing to store.
async fn put(site: &Site, key: &str, number: u64, plain: Option<&[u8]>) -> Receipt {
    let kind = plain.map_or(ChangeKind::DeleteMarker, |_| ChangeKind::Put);
    let bytes = plain.unwrap_or_default();
    let name = name("photos", key, &format!("v{number}"));
    let offer = Offer {
        change: change(name, number, kind, bytes.len()),
        part_size: PartSize::MIN,
        checksum: None,
        session: session().into(),
        origin: session().sender,
        any_cut: false,
        data_follows: false,
        reseals: None,
        written: None,
    };
    let Begin::Upload(upload) = site.archive.begin(offer).await.unwrap() else {
        panic!("known already");
    };
    for index in upload.missing() {
        let size = upload.part_size().bytes() as usize;
        let from = index.0 as usize * size;
        let part = &bytes[from..bytes.len().min(from + size)];
        let mut writer = upload.part(index, part.len() as u32).await.unwrap();
        writer.write(part).await.unwrap();
        writer.finish(crc64(part)).await.unwrap();
    }
    let checksum = plain.map(|bytes| Checksum::crc64nvme(crc64(bytes)));
    site.archive.commit(upload, checksum).await.unwrap()
}

/// Records a file of the source as a transfer to the peer `b`.
async fn known(site: &Site, stage: &Stage, key: &str, number: u64) -> (TransferId, Change) {
    let source = stage.dir.path().join("docs");
    let source = DirectorySource::new(source, site.world.clock.clone()).unwrap();
    let object = ObjectKey::new(key).unwrap();
    let listed = source.look(&object).await.unwrap().unwrap();
    let name = name("docs", key, listed.version.as_str());
    let change = change(name, number, ChangeKind::Put, listed.facts.size as usize);
    let new = NewChange {
        change: change.clone(),
        destinations: vec![Destination {
            rule: RuleName::new("docs").unwrap(),
            peer: PeerName::new("b").unwrap(),
            skip: None,
        }],
        held_until: None,
        ahead: false,
    };
    let now = site.world.clock.now();
    let ids = site.journal.record(vec![new], now).await.unwrap();
    (ids[0], change)
}

/// The same, with a receipt over `plain`.
async fn sent(site: &Site, stage: &Stage, key: &str, number: u64, plain: &[u8]) {
    let (id, change) = known(site, stage, key, number).await;
    let receipt = Receipt {
        name: change.name,
        size: plain.len() as u64,
        checksum: Some(Checksum::crc64nvme(crc64(plain))),
        ..put(site, &format!("for {key} {number}"), 1, Some(b"x")).await
    };
    let settlement = Settlement {
        id,
        at: site.world.clock.now(),
        outcome: TransferOutcome::Completed(Box::new(receipt)),
    };
    site.journal.settle(vec![settlement]).await.unwrap();
}

/// Asks the way a command does.
struct Asked(Reached);

impl Asked {
    fn stopped(site: &Arc<Site>) -> Self {
        let operations = SiteOperations::stopped(Arc::clone(site));
        Self(Reached::Stopped(Arc::new(operations)))
    }

    async fn rows<T: DeserializeOwned>(&self, request: Request) -> (Vec<T>, Result<(), Error>) {
        let mut answers = self.0.ask(request);
        let mut rows = Vec::new();
        while let Some(row) = answers.next_row().await.unwrap() {
            rows.push(row);
        }
        (rows, answers.finish().await)
    }

    async fn ls(&self, ls: Ls) -> Vec<String> {
        let (rows, end) = self.rows::<ObjectRow>(Request::Ls(ls)).await;
        end.unwrap();
        let line = |row: ObjectRow| {
            let latest = if row.latest { "" } else { " older" };
            format!("{}/{} {}{latest}", row.bucket, row.key, row.status)
        };
        rows.into_iter().map(line).collect()
    }

    async fn get(
        &self,
        key: &str,
        version: Option<&str>,
        range: Option<(u64, Option<u64>)>,
    ) -> (Vec<u8>, Result<(), Error>) {
        let VersionName { bucket, key, .. } = name("photos", key, "v");
        let version = version.map(|version| VersionId::new(version).unwrap());
        let mut answers = self.0.ask(Request::Get(Get {
            bucket,
            key,
            version,
            range,
        }));
        let mut bytes = Vec::new();
        while let Some(piece) = answers.next().await {
            if let Piece::Bytes(piece) = piece {
                bytes.extend_from_slice(&piece);
            }
        }
        (bytes, answers.finish().await)
    }

    /// The findings in words, and what was compared and pending.
    async fn verify(&self, verify: Verify) -> (Vec<String>, crate::admin::VerifySummary) {
        let (rows, end) = self.rows::<VerifyRow>(Request::Verify(verify)).await;
        end.unwrap();
        let mut findings = Vec::new();
        let mut last = None;
        for row in rows {
            match row {
                VerifyRow::Finding(finding) => {
                    let key = finding.object.map(|name| name.key.to_string());
                    findings.push(format!("{} {}", finding.finding, key.unwrap_or_default()));
                }
                VerifyRow::Summary(summary) => last = Some(summary),
                VerifyRow::Progress(_) | VerifyRow::Rebuilt(_) => {}
            }
        }
        (findings, last.unwrap())
    }
}

fn deep() -> Verify {
    Verify {
        deep: true,
        ..Verify::default()
    }
}

fn photos(prefix: &str, versions: bool) -> Ls {
    Ls {
        bucket: Some(BucketName::new("photos").unwrap()),
        prefix: prefix.to_owned(),
        versions,
        ..Ls::default()
    }
}

fn docs(status: Option<Status>) -> Ls {
    Ls {
        bucket: Some(BucketName::new("docs").unwrap()),
        status,
        ..Ls::default()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_view_leaves_out_what_was_removed_and_all_versions_show_it() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "a", 1, Some(b"one")).await;
    put(&site, "a", 2, Some(b"two")).await;
    put(&site, "b/x", 3, Some(b"three")).await;
    put(&site, "b/x", 4, None).await;
    put(&site, "c", 5, Some(b"five")).await;
    let asked = Asked::stopped(&site);
    assert_eq!(
        asked.ls(photos("", false)).await,
        ["photos/a REPLICA", "photos/c REPLICA"]
    );
    assert_eq!(
        asked.ls(photos("", true)).await,
        [
            "photos/a REPLICA",
            "photos/a REPLICA older",
            "photos/b/x REPLICA",
            "photos/b/x REPLICA older",
            "photos/c REPLICA",
        ]
    );
    assert!(asked.ls(photos("b/", false)).await.is_empty());
    assert_eq!(asked.ls(photos("b/", true)).await.len(), 2);
    let other = Ls {
        bucket: Some(BucketName::new("other").unwrap()),
        ..Ls::default()
    };
    let (rows, end) = asked.rows::<ObjectRow>(Request::Ls(other)).await;
    assert!(rows.is_empty());
    assert_eq!(end.unwrap_err().exit(), Exit::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_gives_versions_and_ranges_in_process_and_through_the_socket() {
    let stage = Stage::new();
    let site = stage.open().await;
    let large = pattern(700_001);
    put(&site, "k", 1, Some(b"first")).await;
    put(&site, "k", 2, Some(&large)).await;
    put(&site, "gone", 3, Some(b"x")).await;
    put(&site, "gone", 4, None).await;
    put(&site, "empty", 5, Some(b"")).await;
    let stopped = Asked::stopped(&site);
    let (server, _handle) = serve(&stage, &site).await;
    let client = Client::connect(&stage.config.socket()).await.unwrap();
    for asked in [stopped, Asked(Reached::Running(client))] {
        let (bytes, end) = asked.get("k", None, None).await;
        end.unwrap();
        assert!(bytes == large);
        let (bytes, end) = asked.get("k", Some("v1"), None).await;
        end.unwrap();
        assert_eq!(bytes, b"first");
        let (bytes, end) = asked.get("k", None, Some((69_999, Some(140_000)))).await;
        end.unwrap();
        assert!(bytes == large[69_999..=140_000]);
        let (bytes, end) = asked.get("empty", None, None).await;
        end.unwrap();
        assert!(bytes.is_empty());
        for (key, version, range, exit) in [
            ("gone", None, None, Exit::NotFound),
            ("never", None, None, Exit::NotFound),
            ("k", Some("v9"), None, Exit::NotFound),
            ("k", None, Some((700_001, None)), Exit::Usage),
        ] {
            let (bytes, end) = asked.get(key, version, range).await;
            assert!(bytes.is_empty());
            assert_eq!(end.unwrap_err().exit(), exit, "{key}");
        }
    }
    drop(server);
    let head = site.audit.head().await.unwrap();
    let leaves = site.audit.leaves(0, head.size as usize).await.unwrap();
    let opened = leaves
        .iter()
        .filter(|leaf| leaf.json.contains("object.opened"));
    assert!(opened.count() >= 8);
    let offline = leaves.iter().any(|leaf| leaf.json.contains(" offline"));
    assert!(offline, "commands on a stopped site say so");
}

async fn serve(stage: &Stage, site: &Arc<Site>) -> (AdminServer, LifecycleHandle) {
    let (handle, lifecycle) = Lifecycle::by_hand();
    let operations = Arc::new(SiteOperations::stopped(Arc::clone(site)));
    let server =
        AdminServer::open(&stage.config.socket(), None, None, operations, &lifecycle).await;
    (server.unwrap(), handle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_never_served_and_deep_verification_names_it() {
    for (folder, key, size) in [("packs", "small", 3000), ("objects", "large", 2_000_000)] {
        let stage = Stage::new();
        let site = stage.open().await;
        let plain = pattern(size);
        put(&site, key, 1, Some(&plain)).await;
        let asked = Asked::stopped(&site);
        let (findings, summary) = asked.verify(deep()).await;
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(summary.verified.bytes, size as u64);
        stage.flip(folder);
        let (bytes, end) = asked.get(key, None, None).await;
        assert_eq!(end.unwrap_err().exit(), Exit::VerificationFailed);
        assert!(bytes.len() < size && plain.starts_with(&bytes));
        let damaged = format!("damaged {key}");
        let (findings, summary) = asked.verify(deep()).await;
        assert!(findings.contains(&damaged), "{findings:?}");
        assert_eq!(summary.findings, findings.len() as u64);
        assert_eq!(summary.verified, crate::admin::Count::default());
        let some = Verify {
            bucket: Some(BucketName::new("photos").unwrap()),
            ..deep()
        };
        assert_eq!(asked.verify(some).await.0, [damaged]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_files_are_findings_and_files_never_acknowledged_are_not() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "large", 1, Some(&pattern(2_000_000))).await;
    let asked = Asked::stopped(&site);
    let object = files(&stage.config.site.data_dir.join("store/objects")).remove(0);
    let moved = object.with_file_name("00000000000000000000000000000000.slf");
    fs::rename(&object, &moved).unwrap();
    let (mut findings, summary) = asked.verify(Verify::default()).await;
    findings.sort();
    assert_eq!(
        findings,
        ["damaged large", "missing ", "orphan "],
        "the object is named, too"
    );
    assert_eq!((summary.findings, summary.orphans), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_shows_where_and_under_which_key_versions_rest() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "k", 1, Some(b"one")).await;
    put(&site, "k", 2, Some(b"two")).await;
    put(&site, "k2", 3, Some(b"other")).await;
    let asked = Asked::stopped(&site);
    let named = |key: &str| {
        let VersionName { bucket, key, .. } = name("photos", key, "v");
        let version = None;
        Request::Inspect(Named {
            bucket,
            key,
            version,
            facts: false,
        })
    };
    let (rows, end) = asked.rows::<ObjectRow>(named("k")).await;
    end.unwrap();
    assert_eq!(rows.len(), 2);
    let sealing = rows[0].sealing.as_ref().unwrap();
    assert!(rows[0].latest && sealing.file.starts_with("packs/"));
    assert_eq!(sealing.cmk, site.keystore.list()[0].id);
    let (_, end) = asked.rows::<ObjectRow>(named("never")).await;
    assert_eq!(end.unwrap_err().exit(), Exit::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sending_side_is_compared_with_its_receipts_and_differences_are_named() {
    let stage = Stage::new();
    let site = stage.open().await;
    for key in ["same", "rotten", "changed", "removed", "waiting"] {
        stage.write(key, b"what was sent");
    }
    sent(&site, &stage, "same", 1, b"what was sent").await;
    // As if the disk had changed a bit since, behind the file system's back.
    sent(&site, &stage, "rotten", 2, b"what was senT").await;
    sent(&site, &stage, "changed", 3, b"what was sent").await;
    sent(&site, &stage, "removed", 4, b"what was sent").await;
    known(&site, &stage, "waiting", 5).await;
    stage.write("changed", b"later");
    fs::remove_file(stage.dir.path().join("docs/removed")).unwrap();
    stage.write("new", b"never seen");
    let asked = Asked::stopped(&site);
    let (findings, summary) = asked.verify(deep()).await;
    assert_eq!(
        findings,
        [
            "different changed",
            "different new",
            "different removed",
            "different rotten"
        ]
    );
    assert_eq!((summary.compared, summary.pending), (1, 1));
    let (findings, _) = asked.verify(Verify::default()).await;
    assert!(!findings.contains(&"different rotten".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sending_side_lists_and_explains_every_status() {
    let stage = Stage::new();
    let site = stage.open().await;
    for key in ["done", "failed", "waiting", "unseen"] {
        stage.write(key, b"text");
    }
    sent(&site, &stage, "done", 1, b"text").await;
    known(&site, &stage, "waiting", 3).await;
    let (id, _) = known(&site, &stage, "failed", 2).await;
    let settlement = Settlement {
        id,
        at: site.world.clock.now(),
        outcome: TransferOutcome::Failed {
            reason: Reason::PolicyDenied,
            evidence: "no grant".to_owned(),
        },
    };
    site.journal.settle(vec![settlement]).await.unwrap();
    let asked = Asked::stopped(&site);
    assert_eq!(
        asked.ls(docs(None)).await,
        [
            "docs/done COMPLETED",
            "docs/failed FAILED",
            "docs/waiting PENDING"
        ]
    );
    assert_eq!(
        asked.ls(docs(Some(Status::Failed))).await,
        ["docs/failed FAILED"]
    );
    for (key, status, remedy) in [
        ("done", Status::Completed, None),
        (
            "failed",
            Status::Failed,
            Some(Reason::PolicyDenied.remedy()),
        ),
        ("waiting", Status::Pending, Some("run `sealift up`")),
        ("unseen", Status::Pending, None),
    ] {
        let VersionName { bucket, key, .. } = name("docs", key, "v");
        let version = None;
        let request = Request::Explain(Named {
            bucket,
            key,
            version,
            facts: false,
        });
        let (rows, end) = asked.rows::<Explanation>(request).await;
        end.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].object.status, status);
        assert_eq!(rows[0].remedy.as_deref(), remedy);
        assert!(rows[0].evidence.is_some());
    }
    retried(&asked, Some(Reason::DstStoreFull), 0).await;
    retried(&asked, Some(Reason::PolicyDenied), 1).await;
    assert!(asked.ls(docs(Some(Status::Failed))).await.is_empty());
    retried(&asked, None, 2).await;
}

async fn retried(asked: &Asked, reason: Option<Reason>, transfers: u64) {
    let retry = Request::Retry(Retry {
        reason,
        ..Retry::default()
    });
    let (rows, end) = asked.rows::<Retried>(retry).await;
    end.unwrap();
    assert_eq!(rows[0].transfers, transfers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_running_agent_says_so_and_can_be_tried_later() {
    let stage = Stage::new();
    let site = stage.open().await;
    let asked = Asked::stopped(&site);
    let accept = Request::Retry(Retry {
        accept_deletes: true,
        ..Retry::default()
    });
    for request in [Request::Scan, Request::Reload, accept] {
        let (_, end) = asked.rows::<serde_json::Value>(request).await;
        assert_eq!(end.unwrap_err().exit(), Exit::TryAgain);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_count_what_databases_hold() {
    let stage = Stage::new();
    let site = stage.open().await;
    stage.write("d", b"text");
    known(&site, &stage, "d", 1).await;
    put(&site, "k", 1, Some(b"12345")).await;
    put(&site, "k", 2, None).await;
    let asked = Asked::stopped(&site);
    assert_eq!(asked.ls(photos("", true)).await.len(), 2);
    let (rows, end) = asked.rows::<StatusReport>(Request::Status).await;
    end.unwrap();
    let report = &rows[0];
    assert!(!report.running && !report.readiness.ready);
    assert_eq!(report.sequence, 2);
    let bucket = &report.buckets[0];
    assert_eq!(
        (bucket.versions, bucket.delete_markers, bucket.bytes),
        (2, 1, 5)
    );
    assert_eq!(bucket.cmk.as_ref(), Some(&site.keystore.list()[0].id));
    assert_eq!(report.sources[0].objects, 1);
    let rule = &report.rules[0];
    assert!(rule.oldest_pending_secs.is_some());
    assert_eq!(rule.counts[0].count.bytes, 4);
    let text = SiteOperations::stopped(site.clone()).metrics().await;
    for line in [
        "sealift_ready 0",
        "sealift_archive_versions{bucket=\"photos\"} 2",
        "sealift_archive_bytes{bucket=\"photos\"} 5",
        "sealift_transfers{rule=\"docs\",peer=\"b\",status=\"PENDING\"} 1",
        "sealift_admin_requests_total{command=\"ls\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_site_is_opened_under_its_lock_and_closed_again() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "k", 1, Some(b"kept")).await;
    site.close().await;
    drop(site);
    let reached = Reached::find(&stage.config, &crate::Offline).await.unwrap();
    assert!(!reached.is_running());
    let asked = Asked(reached);
    let (bytes, end) = asked.get("k", None, None).await;
    end.unwrap();
    assert_eq!(bytes, b"kept");
    let second = Reached::find(&stage.config, &crate::Offline).await;
    assert_eq!(second.unwrap_err().exit(), Exit::TryAgain);
    drop(asked);
    Reached::find(&stage.config, &crate::Offline).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_seal_keeps_an_agent_from_starting_but_not_a_look() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "k", 1, Some(b"kept")).await;
    site.keystore.disable("alias/photos").unwrap();
    site.close().await;
    drop(site);
    let lock = DataDirLock::acquire(&stage.config.site.data_dir).unwrap();
    let refused = Site::open(stage.config.clone(), World::real(), lock).await;
    let error = refused.unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.failure().causes[0].contains("Disabled"), "{error:?}");
    let lock = DataDirLock::acquire(&stage.config.site.data_dir).unwrap();
    let operations = crate::Offline.open(&stage.config, lock).await.unwrap();
    let report = operations.status().await.unwrap();
    assert_eq!(report.buckets[0].reason, Some(Reason::DstKmsKeyDisabled));
    let asked = Asked(Reached::Stopped(operations));
    assert_eq!(asked.ls(photos("", false)).await.len(), 1);
    let (bytes, end) = asked.get("k", None, None).await;
    assert!(bytes.is_empty());
    assert_eq!(end.unwrap_err().exit(), Exit::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_region_or_none_is_no_key_of_a_bucket() {
    let stage = Stage::new();
    let site = stage.open().await;
    let far = Region::new("ap-south").unwrap();
    let alias = "alias/far".parse().unwrap();
    site.keystore.create_key(Some(alias), far).unwrap();
    for (key, code) in [("alias/far", "ap-south"), ("alias/none", "no key")] {
        let text = fs::read_to_string(&stage.config.path).unwrap();
        let source = Source {
            path: stage.config.path.clone(),
            text: text.replace("alias/photos", key),
            overrides: Vec::new(),
        };
        let config = Config::check(&source).unwrap();
        let error = crate::site::keys_usable(&config, &*site.keystore).await;
        let error = error.unwrap_err();
        assert_eq!(error.exit(), Exit::Refused);
        assert!(error.failure().causes[0].contains(code), "{error:?}");
    }
}

/// The configuration of the stage with a second key for its bucket.
fn with_second_key(stage: &Stage, second: &str) -> Config {
    let text = fs::read_to_string(&stage.config.path).unwrap();
    let key = "key = \"alias/photos\"";
    assert!(text.contains(key), "{text}");
    let both = format!("{key}\nsecond_key = \"{second}\"");
    let source = Source {
        path: stage.config.path.clone(),
        text: text.replace(key, &both),
        overrides: Vec::new(),
    };
    Config::check(&source).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_key_is_asked_like_the_first_and_two_names_of_one_key_are_refused() {
    let stage = Stage::new();
    let site = stage.open().await;
    let region = stage.config.site.region.clone();
    let far = Region::new("ap-south").unwrap();
    for (alias, region) in [("alias/outer", region), ("alias/far", far)] {
        let alias = alias.parse().unwrap();
        site.keystore.create_key(Some(alias), region).unwrap();
    }
    let usable = async |second: &str| {
        let config = with_second_key(&stage, second);
        crate::site::keys_usable(&config, &*site.keystore).await
    };
    usable("alias/outer").await.unwrap();
    for (second, cause) in [("alias/far", "ap-south"), ("alias/none", "no key")] {
        let error = usable(second).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Refused);
        let failure = error.failure();
        assert!(failure.what.contains("second key"), "{failure:?}");
        assert!(failure.causes[0].contains(cause), "{failure:?}");
    }
    // The first key by its id: the configuration alone cannot see that it is the same.
    let first = site.keystore.list();
    let first = first.iter().find(|key| {
        let alias = key.alias.as_ref();
        alias.is_some_and(|alias| alias.as_str() == "alias/photos")
    });
    let mut same = with_second_key(&stage, "alias/outer");
    let id = first.unwrap().id.to_string();
    for bucket in &mut same.buckets {
        bucket.second_key.as_mut().unwrap().name.clone_from(&id);
    }
    let error = crate::site::keys_usable(&same, &*site.keystore).await;
    let failure = error.unwrap_err().failure();
    assert!(
        failure.what.contains("sealift.toml:") && failure.causes[0].contains(&id),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_in_two_layers_is_shown_with_both_keys() {
    let mut stage = Stage::new();
    let site = stage.open().await;
    let region = stage.config.site.region.clone();
    let alias = "alias/outer".parse().unwrap();
    let outer = site.keystore.create_key(Some(alias), region).unwrap().id;
    site.close().await;
    drop(site);
    stage.config = with_second_key(&stage, "alias/outer");
    let site = stage.open().await;
    put(&site, "k", 1, Some(b"kept")).await;
    let asked = Asked::stopped(&site);
    let VersionName { bucket, key, .. } = name("photos", "k", "v");
    let version = None;
    let named = Named {
        bucket,
        key,
        version,
        facts: false,
    };
    let (rows, _) = asked
        .rows::<ObjectRow>(Request::Inspect(named.clone()))
        .await;
    let sealing = rows[0].sealing.as_ref().unwrap();
    let second = sealing.second.as_ref().unwrap();
    assert_eq!((&second.cmk, second.cmk_version.as_str()), (&outer, "1"));
    assert_ne!(sealing.cmk, second.cmk);
    let explain = Request::Explain(named);
    let (told, _) = asked.rows::<Explanation>(explain.clone()).await;
    let evidence = told[0].evidence.as_ref().unwrap();
    assert!(
        evidence.contains(&format!("in a second layer, {outer} version 1")),
        "{evidence}"
    );
    let report = SiteOperations::stopped(site.clone())
        .status()
        .await
        .unwrap();
    assert_eq!(report.buckets[0].second_cmk.as_ref(), Some(&outer));
    site.keystore.disable("alias/outer").unwrap();
    let (told, _) = asked.rows::<Explanation>(explain).await;
    assert_eq!(told[0].object.reason, Some(Reason::DstKmsKeyDisabled));
    let remedy = told[0].remedy.as_ref().unwrap();
    assert!(
        remedy.contains("sealift keys enable alias/outer"),
        "{remedy}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_bring_tags_is_told_whether_they_are_here_and_others_are_told_nothing() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "k", 1, Some(b"kept")).await;
    let peer: Identity = "spiffe://example.org/region/us-east/agent/b"
        .parse()
        .unwrap();
    let ask = async |bucket: &str, count: usize| {
        let grant = GrantRow {
            line: 1,
            identity: peer.to_string(),
            actions: vec!["replicate".to_owned()],
            buckets: vec![bucket.to_owned()],
            keys: Vec::new(),
        };
        let grants = Grants::new(&[grant]).unwrap();
        let (archive, audit) = (site.archive.clone(), site.audit.clone());
        let door = Door::new(archive, grants.into(), audit, site.world.clock.clone());
        let of = |key: &str, tags: &[(&str, &str)]| TagsOf {
            key: ObjectKey::new(key).unwrap(),
            version: VersionId::new("v1").unwrap(),
            tags: tags
                .iter()
                .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let asked = [of("k", &[]), of("k", &[("a", "b")]), of("none", &[])];
        let question = Question::Tags {
            bucket: BucketName::new("photos").unwrap(),
            versions: asked.into_iter().cycle().take(count).collect(),
        };
        let body = serde_json::to_vec(&question).unwrap();
        serde_json::from_slice(&door.answer(&peer, None, &body).await).unwrap()
    };
    let stand = vec![TagsStand::Same, TagsStand::Other, TagsStand::Lacking];
    assert_eq!(ask("photos", 3).await, Answer::Tags { stand });
    let stand = Vec::new();
    assert_eq!(ask("other", 3).await, Answer::Tags { stand });
    let Answer::Tags { stand } = ask("photos", TAGS_ASKED_AT_ONCE_MAX).await else {
        panic!("as many as may be asked about at once");
    };
    assert_eq!(stand.len(), TAGS_ASKED_AT_ONCE_MAX);
    assert_eq!(
        ask("photos", TAGS_ASKED_AT_ONCE_MAX + 1).await,
        Answer::Unknown
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_told_of_more_than_it_has_begins_a_new_epoch_and_puts_it_on_record() {
    let stage = Stage::new();
    let site = stage.open().await;
    put(&site, "k", 1, Some(b"kept")).await;
    let peer: Identity = "spiffe://example.org/region/us-east/agent/b"
        .parse()
        .unwrap();
    let grant = |bucket: &str| GrantRow {
        line: 1,
        identity: peer.to_string(),
        actions: vec!["replicate".to_owned()],
        buckets: vec![bucket.to_owned()],
        keys: Vec::new(),
    };
    let door = |bucket: &str| {
        let grants = Grants::new(&[grant(bucket)]).unwrap();
        let (archive, audit) = (site.archive.clone(), site.audit.clone());
        Door::new(archive, grants.into(), audit, site.world.clock.clone())
    };
    let first = site.row();
    let ask = async |door: &Door, epoch: Epoch, sequence: u64, last: Option<&str>| {
        let question = Question::Remembered {
            epoch,
            sequence,
            last: last.map(|key| name("photos", key, "v1")),
        };
        let body = serde_json::to_vec(&question).unwrap();
        let answer = door.answer(&peer, None, &body).await;
        match serde_json::from_slice(&answer).unwrap() {
            Answer::Standing { epoch, renewed } => (epoch, renewed),
            other => panic!("{other:?}"),
        }
    };
    let photos = door("photos");
    let here = first.sequence;
    // What is remembered is here, is of another epoch, or comes from a stranger.
    assert_eq!(
        ask(&photos, first.epoch, here, Some("k")).await,
        (first.epoch, false)
    );
    assert_eq!(
        ask(&photos, Epoch([7; 16]), 99, None).await,
        (first.epoch, false)
    );
    assert_eq!(
        ask(&door("other"), first.epoch, 99, None).await,
        (first.epoch, false)
    );
    // A version that a receipt was given for is not here, although the sequence is.
    let (second, renewed) = ask(&photos, first.epoch, here, Some("lost")).await;
    assert!(renewed && second != first.epoch);
    assert_eq!(site.row().epoch, second);
    // No peer's word begins one epoch after the other.
    assert_eq!(ask(&photos, second, 99, None).await, (second, false));
    let (third, renewed) = ask(&door("photos"), second, 99, None).await;
    assert!(
        renewed && third != second,
        "a sequence that is behind tells it, too"
    );
    site.audit.flush().await.unwrap();
    let leaves = site.audit.leaves(0, 100).await.unwrap();
    let rolled_back = leaves
        .iter()
        .filter(|leaf| leaf.json.contains("replica.rolled_back"));
    assert_eq!(rolled_back.count(), 2);
}
