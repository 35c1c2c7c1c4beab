//! Where what `ca token` and `ca issue` do goes on record: at the site whose agent issues
//! from the authority, running or not.

use std::{fs, path::Path};

use sealift_agent::{
    Error, Offline,
    admin::{Client, Reached},
    config::Config,
};
use sealift_identity::IssuingSite;

use crate::{cli::Global, output};

/// The site that issues from the authority in a directory: the one that is named by its
/// configuration, or the one whose agent noted itself there. None before there is one.
pub(super) async fn issuing_site(
    global: &Global,
    directory: &Path,
) -> Result<Option<Reached>, Error> {
    // A directory that is not there is told by whoever opens it.
    let Ok(here) = fs::canonicalize(directory) else {
        return Ok(None);
    };
    let named = Config::find_authority(&global.config, &global.set);
    if named.and_then(|named| fs::canonicalize(named).ok()) == Some(here) {
        return global.reach(&Offline).await.map(Some);
    }
    let Some(site) = IssuingSite::of(directory)? else {
        output::note(
            global.json,
            "no agent issues from this authority yet: this goes on no audit log",
        );
        return Ok(None);
    };
    if let Some(client) = Client::connect(&site.socket).await {
        return Ok(Some(Reached::Running(client)));
    }
    let reached = Reached::by_file(&site.configuration, &[], &Offline).await;
    if reached.is_err() {
        let configuration = site.configuration.display();
        output::note(
            global.json,
            format!("what this authority gives goes on record at the site of {configuration}"),
        );
    }
    reached.map(Some)
}

/// A path that the agent finds from wherever it runs.
pub(super) fn whole(directory: &Path) -> Result<std::path::PathBuf, Error> {
    fs::canonicalize(directory).map_err(Error::io("read", directory))
}
