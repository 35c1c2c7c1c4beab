use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use sealift_host::OsDisk;

use super::{catalog_at, journal_at, new_site};
use crate::{
    AuditLog, Catalog, Journal, conformance,
    log::{LogCatalog, LogJournal},
};

/// A new path in a directory that lives as long as the returned guard.
fn paths() -> (tempfile::TempDir, impl Fn() -> PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let count = AtomicU32::new(0);
    let next = move || root.join(format!("{}.db", count.fetch_add(1, Ordering::Relaxed)));
    (dir, next)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_conforms() {
    let (_dir, path) = paths();
    conformance::journal(|| Arc::new(journal_at(&path())) as Arc<dyn Journal>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_conforms() {
    let (_dir, path) = paths();
    conformance::catalog(|| made(&path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_conforms() {
    let (_dir, path) = paths();
    conformance::audit(|| made(&path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_file_conforms_as_journal() {
    let (_dir, path) = paths();
    let make = || LogJournal::open(Arc::new(OsDisk), &path()).unwrap();
    conformance::journal(|| Arc::new(make()) as Arc<dyn Journal>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_file_conforms_as_catalog_and_audit_log() {
    let (_dir, path) = paths();
    conformance::catalog(|| made_in_log(&path())).await;
    conformance::audit(|| made_in_log(&path())).await;
}

fn made_in_log(path: &std::path::Path) -> (Arc<dyn Catalog>, Arc<dyn AuditLog>) {
    let catalog = LogCatalog::open(Arc::new(OsDisk), path, new_site()).unwrap();
    let log = catalog.audit();
    (Arc::new(catalog), log)
}

fn made(path: &std::path::Path) -> (Arc<dyn Catalog>, Arc<dyn AuditLog>) {
    let catalog = catalog_at(path);
    let log = catalog.audit();
    (Arc::new(catalog), log)
}
