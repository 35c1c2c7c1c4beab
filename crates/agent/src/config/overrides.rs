//! What flags and the environment may give: every single setting of the
//! sections that stand once in the file.

use toml::Spanned;

use super::{
    error::{Place, Refusal},
    raw::{Number, Raw, Text},
    source::{Override, Source},
};

/// The settings that can be given outside the file.
pub const SETTINGS: &[&str] = &[
    "site.data_dir",
    "identity.certificate",
    "identity.private_key_file",
    "identity.trust_bundle",
    "keys.root_key_file",
    "keys.root_key_credential",
    "keys.root_key_passphrase_file",
    "keys.root_key_wrapped_file",
    "listen.address",
    "admin.address",
    "limits.part_bytes",
    "limits.connections_per_peer",
    "limits.memory_bytes",
    "limits.drain_secs",
    "limits.compression",
    "log.format",
    "log.level",
    "watchdog.stalled_after_secs",
    "scrub.period_secs",
    "scrub.rate_bytes_per_sec",
    "scrub.budget_secs_per_hour",
    "scrub.quarantine_secs",
    "scrub.dead_bytes_secs",
];

/// The settings that variables of the environment can give: `SEALIFT_` and the
/// setting's name in capitals, as in `SEALIFT_SITE_DATA_DIR`.
///
/// Other variables with that beginning are left alone: an orchestrator sets
/// some of its own for a service of this name.
pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let setting = SETTINGS.iter().find(|setting| name == variable(setting))?;
            Some(Override {
                setting: (*setting).to_owned(),
                value,
                place: Place::Environment(name),
            })
        })
        .collect();
    found.sort_by(|a, b| a.setting.cmp(&b.setting));
    found
}

/// The variable of the environment that gives a setting.
#[must_use]
pub fn variable(setting: &str) -> String {
    format!("SEALIFT_{}", setting.replace('.', "_").to_uppercase())
}

enum Slot<'a> {
    Text(&'a mut Text),
    MaybeText(&'a mut Option<Text>),
    MaybeNumber(&'a mut Option<Number>),
}

fn slot<'a>(raw: &'a mut Raw, setting: &str) -> Option<Slot<'a>> {
    Some(match setting {
        "site.data_dir" => Slot::Text(&mut raw.site.data_dir),
        "identity.certificate" => Slot::MaybeText(&mut raw.identity.get_mut().certificate),
        "identity.private_key_file" => {
            Slot::MaybeText(&mut raw.identity.get_mut().private_key_file)
        }
        "identity.trust_bundle" => Slot::MaybeText(&mut raw.identity.get_mut().trust_bundle),
        "keys.root_key_file" => Slot::MaybeText(&mut raw.keys.get_mut().root_key_file),
        "keys.root_key_credential" => Slot::MaybeText(&mut raw.keys.get_mut().root_key_credential),
        "keys.root_key_passphrase_file" => {
            Slot::MaybeText(&mut raw.keys.get_mut().root_key_passphrase_file)
        }
        "keys.root_key_wrapped_file" => {
            Slot::MaybeText(&mut raw.keys.get_mut().root_key_wrapped_file)
        }
        "listen.address" => Slot::MaybeText(&mut raw.listen.address),
        "admin.address" => Slot::MaybeText(&mut raw.admin.address),
        "limits.part_bytes" => Slot::MaybeNumber(&mut raw.limits.part_bytes),
        "limits.connections_per_peer" => Slot::MaybeNumber(&mut raw.limits.connections_per_peer),
        "limits.memory_bytes" => Slot::MaybeNumber(&mut raw.limits.memory_bytes),
        "limits.drain_secs" => Slot::MaybeNumber(&mut raw.limits.drain_secs),
        "limits.compression" => Slot::MaybeText(&mut raw.limits.compression),
        "log.format" => Slot::MaybeText(&mut raw.log.format),
        "log.level" => Slot::MaybeText(&mut raw.log.level),
        "watchdog.stalled_after_secs" => Slot::MaybeNumber(&mut raw.watchdog.stalled_after_secs),
        "scrub.period_secs" => Slot::MaybeNumber(&mut raw.scrub.period_secs),
        "scrub.rate_bytes_per_sec" => Slot::MaybeNumber(&mut raw.scrub.rate_bytes_per_sec),
        "scrub.budget_secs_per_hour" => Slot::MaybeNumber(&mut raw.scrub.budget_secs_per_hour),
        "scrub.quarantine_secs" => Slot::MaybeNumber(&mut raw.scrub.quarantine_secs),
        "scrub.dead_bytes_secs" => Slot::MaybeNumber(&mut raw.scrub.dead_bytes_secs),
        _ => return None,
    })
}

/// Puts every override over the value of the file.
pub(crate) fn apply(raw: &mut Raw, source: &Source, refusals: &mut Vec<Refusal>) {
    for (index, given) in source.overrides.iter().enumerate() {
        let span = source.override_span(index);
        let value = given.value.clone();
        let Some(slot) = slot(raw, &given.setting) else {
            refusals.push(unknown(&given.setting, &given.place));
            continue;
        };
        match slot {
            Slot::Text(text) => *text = Spanned::new(span, value),
            Slot::MaybeText(text) => *text = Some(Spanned::new(span, value)),
            Slot::MaybeNumber(number) => match value.parse() {
                Ok(parsed) => *number = Some(Spanned::new(span, parsed)),
                Err(_) => refusals.push(no_number(&given.setting, &value, &given.place)),
            },
        }
    }
}

fn unknown(setting: &str, place: &Place) -> Refusal {
    Refusal {
        place: place.clone(),
        setting: setting.to_owned(),
        found: "a setting that cannot be given here".to_owned(),
        allowed: SETTINGS.join(", "),
        remedy: "write it into the file instead".to_owned(),
    }
}

fn no_number(setting: &str, value: &str, place: &Place) -> Refusal {
    Refusal {
        place: place.clone(),
        setting: setting.to_owned(),
        found: format!("{value:?}"),
        allowed: "a whole number".to_owned(),
        remedy: "give a number without units".to_owned(),
    }
}
