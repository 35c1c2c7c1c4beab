//! What a rule of S3 may hold. What is otherwise in one is named: nothing of a rule is passed
//! over silently, as it could be what keeps something from being sent.

use super::tree::Tree;

/// What a field holds.
enum Holds {
    Text,
    /// `Enabled` or `Disabled`.
    Switch,
    Fields(&'static [(&'static str, Holds)]),
}

use Holds::{Fields, Switch, Text};

/// Those that may be there several times, whether in a list or beside each other.
const REPEATED: [&str; 2] = ["Tag", "Tags"];

const STATUS: Holds = Fields(&[("Status", Switch)]);
const TAG: Holds = Fields(&[("Key", Text), ("Value", Text)]);
const FILTER: Holds = Fields(&[
    ("Prefix", Text),
    ("Tag", TAG),
    (
        "And",
        Fields(&[("Prefix", Text), ("Tag", TAG), ("Tags", TAG)]),
    ),
]);
const MINUTES: Holds = Fields(&[("Minutes", Text)]);
const DESTINATION: Holds = Fields(&[
    ("Bucket", Text),
    ("Account", Text),
    ("StorageClass", Text),
    ("AccessControlTranslation", Fields(&[("Owner", Text)])),
    (
        "EncryptionConfiguration",
        Fields(&[("ReplicaKmsKeyID", Text)]),
    ),
    (
        "ReplicationTime",
        Fields(&[("Status", Switch), ("Time", MINUTES)]),
    ),
    (
        "Metrics",
        Fields(&[("Status", Switch), ("EventThreshold", MINUTES)]),
    ),
]);
const RULE: Holds = Fields(&[
    ("ID", Text),
    ("Priority", Text),
    ("Prefix", Text),
    ("Filter", FILTER),
    ("Status", Switch),
    (
        "SourceSelectionCriteria",
        Fields(&[
            ("SseKmsEncryptedObjects", STATUS),
            ("ReplicaModifications", STATUS),
        ]),
    ),
    ("ExistingObjectReplication", STATUS),
    ("Destination", DESTINATION),
    ("DeleteMarkerReplication", STATUS),
]);

/// What a rule holds that is not known here, each by its path.
pub(super) fn unknown(rule: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    look(rule, &RULE, "", &mut found);
    found
}

fn look(tree: &Tree, holds: &Holds, path: &str, found: &mut Vec<String>) {
    match (holds, tree) {
        (Text, Tree::Text(_)) => {}
        (Switch, Tree::Text(text)) if matches!(text.as_str(), "Enabled" | "Disabled") => {}
        (Switch | Fields(_), Tree::Text(text)) if !text.trim().is_empty() => {
            found.push(format!("{path} {text:?}"));
        }
        (Fields(_), Tree::Text(_)) => {}
        (Switch, _) => found.push(format!("{path} without Enabled or Disabled")),
        (Text, Tree::Fields(fields)) => {
            let names = fields.iter().map(|(name, _)| below(path, name));
            found.extend(names);
        }
        (Fields(known), Tree::Fields(fields)) => look_at_fields(fields, known, path, found),
    }
}

fn look_at_fields(
    fields: &[(String, Tree)],
    known: &[(&str, Holds)],
    path: &str,
    found: &mut Vec<String>,
) {
    for (n, (name, field)) in fields.iter().enumerate() {
        let path = below(path, name);
        let before = fields.iter().take(n);
        let mut known = known.iter();
        match known.find(|(known, _)| known == name) {
            None => found.push(path),
            Some(_)
                if !REPEATED.contains(&name.as_str())
                    && before.clone().any(|(earlier, _)| earlier == name) =>
            {
                found.push(format!("a second {path}"));
            }
            Some((_, holds)) => look(field, holds, &path, found),
        }
    }
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}/{name}"),
    }
}
