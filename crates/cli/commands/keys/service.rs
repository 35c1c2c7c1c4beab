//! Keys of key services as a person reads them: what their service says, and what rests
//! under them here.

use sealift_agent::{
    Error,
    admin::{ServiceKey, ServiceKeyVersion},
};
use sealift_keys::Held;

use super::show::day;
use crate::output::{self, Table, bytes, safe};

/// A row for each version that is known, the newest first; the key itself stands in its
/// first row.
pub(super) fn add(table: &mut Table, key: &ServiceKey) {
    let mut first = Some([
        key.name.clone(),
        key.id.as_ref().map_or_else(dash, ToString::to_string),
        standing(key),
    ]);
    let mut row = |version: Option<&ServiceKeyVersion>| {
        let [name, id, state] = first.take().unwrap_or_default();
        let held = version.map(|version| version.held).unwrap_or_default();
        let made = version.and_then(|version| version.created);
        table.row([
            name,
            id,
            state,
            version.map_or_else(dash, |version| version.id.clone()),
            made.map_or_else(dash, day),
            dash(),
            held.records.to_string(),
            held.objects.to_string(),
            bytes(held.bytes),
            dash(),
        ]);
    };
    if key.versions.is_empty() {
        row(None);
    }
    key.versions
        .iter()
        .rev()
        .for_each(|version| row(Some(version)));
}

/// Everything that is known of one key, a line each.
pub(super) fn one(key: &ServiceKey) -> Result<(), Error> {
    let line = |name: &str, value: String| output::print(&format!("{name:<14} {value}"));
    line("name", key.name.clone())?;
    if let Some(id) = &key.id {
        line("id", id.to_string())?;
    }
    line("provider", format!("{}, where it is changed", key.provider))?;
    if let Some(region) = &key.region {
        line("region", region.to_string())?;
    }
    line("state", standing(key))?;
    if let Some(evidence) = &key.evidence {
        line("seen", safe(evidence))?;
    }
    if let Some(created) = key.created {
        line("made", created.to_string())?;
    }
    for bucket in &key.buckets {
        line("bucket", bucket.to_string())?;
    }
    for version in key.versions.iter().rev() {
        line("version", version_line(key, version))?;
    }
    Ok(())
}

/// Its state, or why there is none to be told.
fn standing(key: &ServiceKey) -> String {
    match (key.state, key.reason) {
        (Some(state), _) => state.to_string(),
        (None, Some(reason)) => reason.to_string(),
        (None, None) => dash(),
    }
}

fn version_line(key: &ServiceKey, version: &ServiceKeyVersion) -> String {
    let made = version.created.map(|made| format!(", made {made}"));
    let wraps = match key.current.as_ref() == Some(&version.id) {
        true => ", wraps",
        false => "",
    };
    let by = match version.told {
        true => "",
        false => "; named by key records alone",
    };
    let Held {
        records,
        objects,
        bytes,
    } = version.held;
    format!(
        "{}{}{wraps}; {objects} objects, {}, {records} key records{by}",
        version.id,
        made.unwrap_or_default(),
        output::bytes(bytes),
    )
}

fn dash() -> String {
    "-".to_owned()
}
