//! Making the catalog of a stopped site anew.

use sealift_archive::{Finding as Found, rebuild};
use sealift_host::{DataDirLock, LockError};
use sealift_ledger::AuditLog;

use super::open::{IfLost, open_files, ready};
use crate::{
    Error, World,
    admin::{Actor, Finding, Rebuilt},
    config::Config,
    operations::in_words,
};

/// Makes the catalog anew from what is in the store, with the keys that the
/// configuration names; what cannot be taken over goes to `sink`.
///
/// # Errors
/// [`Error::TryAgain`] while an agent or another command has the data directory;
/// otherwise what cannot be opened or read. The catalog is refused by everything else
/// until a rebuild was finished.
pub async fn rebuild_catalog(
    config: &Config,
    mut sink: impl FnMut(Finding) + Send,
) -> Result<Rebuilt, Error> {
    config.look_at(&["site.", "keys."])?;
    let lock = DataDirLock::acquire(&config.site.data_dir).map_err(|error| match error {
        LockError::Held { .. } => Error::TryAgain {
            what: "an agent or another command works there: stop it first, the catalog is made \
                   anew while nothing else uses it"
                .to_owned(),
            reason: None,
        },
        error => Error::Locked(error),
    })?;
    let world = World::real();
    let (config, opened) = open_files(config.clone(), &world, IfLost::Rebuild).await?;
    let actor = Actor::offline().to_string();
    let ready = ready(&config, &world, opened, &actor);
    let mut take = |found: Found| sink(in_words(found));
    let report = rebuild(ready.parts.clone(), &actor, &mut take).await;
    let report = report.map_err(Error::failed("making the catalog anew"))?;
    let flushed = ready.audit.flush().await;
    flushed.map_err(Error::failed("writing the audit log"))?;
    // Everything is closed before the next one may come.
    drop(ready);
    drop(lock);
    Ok(Rebuilt {
        versions: report.versions,
        marks: report.marks,
        records: report.records,
        findings: report.findings,
    })
}
