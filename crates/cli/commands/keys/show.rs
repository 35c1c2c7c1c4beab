//! Keys as a person reads them.

use sealift_agent::Error;
use sealift_keys::{Held, KeyLife, KeyRegions, KeyState, VersionLife};
use sealift_terms::Timestamp;

use crate::output::{self, Table, bytes};

/// A row for each version, the newest first; the key itself stands in its first row.
pub(super) fn table() -> Table {
    let head = [
        "ALIAS",
        "ID",
        "STATE",
        "VERSION",
        "MADE",
        "NEXT ROTATION",
        "RECORDS",
        "OBJECTS",
        "SIZE",
        "BACKUP",
    ];
    Table::new(&head, &[3, 6, 7, 8])
}

pub(super) fn add(table: &mut Table, key: &KeyLife) {
    for version in key.versions.iter().rev() {
        let is_current = version.id == key.current;
        let only_current = |text: String| if is_current { text } else { String::new() };
        let alias = key.alias.as_ref().map_or("-", |alias| alias.as_str());
        let held = version.held.unwrap_or_default();
        table.row([
            only_current(alias.to_owned()),
            only_current(key.id.to_string()),
            only_current(key.state.to_string()),
            version.id.clone(),
            day(version.created),
            only_current(next(key)),
            held.records.to_string(),
            held.objects.to_string(),
            bytes(held.bytes),
            backup(version).to_owned(),
        ]);
    }
}

/// Everything about one key, a line each.
pub(super) fn one(key: &KeyLife) -> Result<(), Error> {
    let line = |name: &str, value: String| output::print(&format!("{name:<14} {value}"));
    if let Some(alias) = &key.alias {
        line("alias", alias.to_string())?;
    }
    line("id", key.id.to_string())?;
    if let Some(description) = &key.description {
        line("description", description.to_string())?;
    }
    line("region", key.region.to_string())?;
    line("state", key.state.to_string())?;
    if let Some(at) = key.delete_at {
        line(
            "destroyed",
            format!("{at}, unless `sealift keys cancel-deletion` keeps it"),
        )?;
    }
    if let Some(until) = key.expires {
        line("usable until", until.to_string())?;
    }
    if let (Some(days), Some(_)) = (key.rotate_every_days, key.next_rotation) {
        line("next rotation", format!("{}, every {days} days", next(key)))?;
    }
    if let Some(regions) = &key.regions {
        regions_lines(key, regions, &line)?;
    }
    for version in key.versions.iter().rev() {
        line("version", version_line(key, version))?;
    }
    Ok(())
}

fn regions_lines(
    key: &KeyLife,
    regions: &KeyRegions,
    line: &impl Fn(&str, String) -> Result<(), Error>,
) -> Result<(), Error> {
    let here = if regions.primary == key.region {
        ", here"
    } else {
        ""
    };
    line("primary", format!("region {}{here}", regions.primary))?;
    if !regions.allowed.is_empty() {
        let allowed: Vec<_> = regions
            .allowed
            .iter()
            .map(|region| region.as_str())
            .collect();
        line("allowed in", allowed.join(", "))?;
    }
    if let Some(version) = &regions.waiting {
        let waits = "wraps once every region has it";
        line("waiting", format!("version {version} {waits}"))?;
    }
    for replica in &regions.replicas {
        let at = replica.synchronized.map_or_else(
            || "never as far as this one".to_owned(),
            |at| format!("as far as this one at {at}"),
        );
        let (region, versions, all) = (&replica.region, replica.versions, key.versions.len());
        let trouble = replica.trouble.iter().map(|trouble| format!("; {trouble}"));
        let trouble: String = trouble.collect();
        line(
            "replica",
            format!("region {region}, {versions} of {all} versions, {at}{trouble}"),
        )?;
    }
    Ok(())
}

fn version_line(key: &KeyLife, version: &VersionLife) -> String {
    let mut text = format!("{}, made {}", version.id, version.created);
    if let Some(reason) = &version.reason {
        text.push_str(&format!(" ({reason})"));
    }
    if version.id == key.current {
        text.push_str(", wraps");
    }
    let Held {
        records,
        objects,
        bytes,
    } = version.held.unwrap_or_default();
    let size = output::bytes(bytes);
    text.push_str(&format!(
        "; {objects} objects, {size}, {records} key records"
    ));
    text.push_str(match (version.destroyed, backup(version)) {
        (Some(_), _) => "; destroyed",
        (None, "yes") => "; in a backup",
        (None, _) if version.material_missing => "; its material is away",
        (None, _) => "; in no backup",
    });
    if let Some(print) = &version.fingerprint {
        text.push_str(&format!("; fingerprint {print}"));
    }
    text
}

fn backup(version: &VersionLife) -> &'static str {
    match (
        version.destroyed,
        version.material_missing,
        version.backed_up,
    ) {
        (Some(_), _, _) => "destroyed",
        (None, true, _) => "away",
        (None, false, true) => "yes",
        (None, false, false) => "missing",
    }
}

fn next(key: &KeyLife) -> String {
    match (key.next_rotation, key.state) {
        _ if key.delete_at.is_some() => key
            .delete_at
            .map_or_else(String::new, |at| format!("destroyed {}", day(at))),
        (Some(_), KeyState::Disabled) if key.overdue => "overdue, as it is disabled".to_owned(),
        (Some(at), _) if key.overdue => format!("overdue since {}", day(at)),
        (Some(at), _) => day(at),
        (None, _) => "-".to_owned(),
    }
}

/// `2026-11-27`: the rest of a moment is noise in a table.
pub(super) fn day(at: Timestamp) -> String {
    at.to_string().chars().take_while(|c| *c != 'T').collect()
}
