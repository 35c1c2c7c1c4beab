//! An S3 replication configuration: what its rules say, in the forms of both versions.

use std::collections::BTreeMap;

use super::{shape, tree::Tree};

/// S3 takes this many.
const RULES_MAX: usize = 1000;
/// A replication configuration.
#[derive(Debug)]
pub(super) struct Replication {
    /// What is to be said of all of it.
    pub(super) notes: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) id: Option<String>,
    pub(super) prefix: String,
    pub(super) priority: Option<u64>,
    pub(super) delete_markers: bool,
    pub(super) existing_objects: bool,
    /// The bucket that it replicates to, without its ARN.
    pub(super) destination: String,
    pub(super) time_minutes: Option<u64>,
    enabled: bool,
    first_version: bool,
    pub(super) tags: BTreeMap<String, String>,
    account: Option<String>,
    translates_owner: bool,
    storage_class: Option<String>,
    kms_key: Option<String>,
    /// Whether objects under keys of KMS are sent. S3 leaves them out unless it is told to.
    pub(super) selects_kms: bool,
    sends_replica_changes: bool,
    unknown: Vec<String>,
}

impl Replication {
    pub(super) fn of(tree: &Tree) -> Result<Self, String> {
        // The command line prints it within an object.
        let tree = tree.get("ReplicationConfiguration").unwrap_or(tree);
        let mut names = tree.fields().iter().map(|(name, _)| name.as_str());
        if let Some(name) = names.find(|name| !["Role", "Rule", "Rules"].contains(name)) {
            return Err(format!("{name:?} is not known here"));
        }
        let mut rules = Vec::new();
        for rule in tree.all(&["Rule", "Rules"]) {
            if rules.len() == RULES_MAX {
                return Err(format!("more than {RULES_MAX} rules"));
            }
            rules.push(Rule::of(rule, rules.len() + 1)?);
        }
        if rules.is_empty() {
            return Err("no rules".to_owned());
        }
        let role = tree.text(&["Role"]);
        let role = role.map(|role| {
            format!("Role {role} is not needed: agents are known by their own identities.")
        });
        let replicas = "What another replication put into the bucket S3 leaves out: replicas = false does that for an \
                        archive as the source; of a bucket everything is sent.";
        Ok(Self {
            notes: role.into_iter().chain([replicas.to_owned()]).collect(),
            rules,
        })
    }
}

impl Rule {
    fn of(tree: &Tree, number: usize) -> Result<Self, String> {
        let refused = |what: &str| format!("rule {number} {what}");
        let destination = tree
            .get("Destination")
            .ok_or_else(|| refused("has no Destination"))?;
        let bucket = destination
            .text(&["Bucket"])
            .filter(|bucket| !bucket.is_empty())
            .ok_or_else(|| refused("has no Bucket in its Destination"))?;
        let filter = tree.get("Filter");
        let both = filter.and_then(|filter| filter.get("And"));
        let prefixes = [Some(tree), filter, both].into_iter().flatten();
        let prefixes: Vec<_> = prefixes.filter_map(|it| it.text(&["Prefix"])).collect();
        let tags: Vec<_> = [filter, both]
            .into_iter()
            .flatten()
            .flat_map(tags)
            .collect();
        let first_version = filter.is_none();
        let switched = |path: &[&str]| tree.text(path).map(|word| word == "Enabled");
        let within = |path: &[&str]| destination.text(path);
        Ok(Self {
            id: tree.text(&["ID"]).map(str::to_owned),
            prefix: prefixes.first().copied().unwrap_or_default().to_owned(),
            priority: number_of(
                tree.text(&["Priority"]),
                &refused("has a Priority that is none"),
            )?,
            // The first version always sends them, the second when it is told to.
            delete_markers: switched(&["DeleteMarkerReplication", "Status"])
                .unwrap_or(first_version),
            existing_objects: switched(&["ExistingObjectReplication", "Status"]).unwrap_or(false),
            destination: bucket.rsplit(':').next().unwrap_or(bucket).to_owned(),
            time_minutes: time_minutes(destination, &refused("has Minutes that are none"))?,
            enabled: switched(&["Status"]).ok_or_else(|| refused("has no Status"))?,
            first_version,
            unknown: [shape::unknown(tree), told_twice(&prefixes, &tags)].concat(),
            tags: tags.into_iter().collect(),
            account: within(&["Account"]).map(str::to_owned),
            translates_owner: destination.get("AccessControlTranslation").is_some(),
            storage_class: within(&["StorageClass"]).map(str::to_owned),
            kms_key: within(&["EncryptionConfiguration", "ReplicaKmsKeyID"]).map(str::to_owned),
            selects_kms: switched(&[
                "SourceSelectionCriteria",
                "SseKmsEncryptedObjects",
                "Status",
            ])
            .unwrap_or(false),
            sends_replica_changes: switched(&[
                "SourceSelectionCriteria",
                "ReplicaModifications",
                "Status",
            ])
            .unwrap_or(false),
        })
    }

    /// Why it cannot be used as it is: what is left out would send more than it says, or
    /// something else.
    pub(super) fn obstacles(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.enabled {
            found.push("it is Disabled".to_owned());
        }
        found.extend(
            self.unknown
                .iter()
                .map(|name| format!("{name} is not known here")),
        );
        found
    }

    /// What is otherwise here, or needs nothing.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |wanted: bool, text: String| {
            if wanted {
                notes.push(text);
            }
        };
        note(
            self.first_version,
            "the first version of the form (Prefix beside Filter): delete markers are sent"
                .to_owned(),
        );
        note(
            !self.tags.is_empty(),
            "tags count when a version is first seen; the source has to be a bucket or an archive"
                .to_owned(),
        );
        let class = self.storage_class.as_deref().unwrap_or_default();
        note(
            !class.is_empty(),
            format!(
                "StorageClass {class} is the receiver's to say: there, storage_class of its store (access_tier of Azure's), for all that rests in it"
            ),
        );
        let key = self.kms_key.as_deref().unwrap_or_default();
        note(
            !key.is_empty(),
            format!(
                "the replicas' key belongs to the receiver: there, [[bucket]] key = \"aws-kms/{key}\""
            ),
        );
        note(
            self.selects_kms,
            "SseKmsEncryptedObjects needs nothing: what is read is sealed under the receiver's key"
                .to_owned(),
        );
        note(
            self.sends_replica_changes,
            "ReplicaModifications does not map to this rule: what changes at the destination comes back by a rule there"
                .to_owned(),
        );
        let account = self.account.as_deref().unwrap_or_default();
        note(
            !account.is_empty() || self.translates_owner,
            format!(
                "Account {account} and AccessControlTranslation need nothing: the receiver owns what it archives"
            ),
        );
        notes
    }
}

fn number_of(text: Option<&str>, refused: &str) -> Result<Option<u64>, String> {
    text.map(|text| text.trim().parse().map_err(|_| refused.to_owned()))
        .transpose()
}

/// The time within which S3 replicates, where it says one.
fn time_minutes(destination: &Tree, refused: &str) -> Result<Option<u64>, String> {
    if destination.text(&["ReplicationTime", "Status"]) != Some("Enabled") {
        return Ok(None);
    }
    let minutes = destination.text(&["ReplicationTime", "Time", "Minutes"]);
    Ok(Some(number_of(minutes, refused)?.unwrap_or(15)))
}

fn tags(within: &Tree) -> Vec<(String, String)> {
    let of = |tag: &Tree| {
        let of = |name| tag.text(&[name]).unwrap_or_default().to_owned();
        (of("Key"), of("Value"))
    };
    within.all(&["Tag", "Tags"]).map(of).collect()
}

/// What of a filter would be passed over: a second prefix, and a second value of a tag.
fn told_twice(prefixes: &[&str], tags: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    if prefixes
        .iter()
        .any(|prefix| Some(prefix) != prefixes.first())
    {
        found.push("a second Prefix".to_owned());
    }
    for (n, (tag, value)) in tags.iter().enumerate() {
        if tags.iter().take(n).any(|(earlier, _)| earlier == tag) {
            found.push(format!("a second Tag {tag:?} ({value:?})"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One rule in both forms, with everything in it.
    const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ReplicationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Role>arn:aws:iam::1:role/r</Role>
  <Rule>
    <ID>Tax Documents</ID><Priority>3</Priority><Status>Enabled</Status>
    <Filter><And><Prefix>tax/</Prefix><Tag><Key>a</Key><Value>1</Value></Tag></And></Filter>
    <DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>
    <ExistingObjectReplication><Status>Enabled</Status></ExistingObjectReplication>
    <SourceSelectionCriteria>
      <SseKmsEncryptedObjects><Status>Enabled</Status></SseKmsEncryptedObjects>
    </SourceSelectionCriteria>
    <Destination>
      <Bucket>arn:aws:s3:::backup</Bucket><Account>2</Account><StorageClass>GLACIER</StorageClass>
      <AccessControlTranslation><Owner>Destination</Owner></AccessControlTranslation>
      <EncryptionConfiguration><ReplicaKmsKeyID>arn:aws:kms:k</ReplicaKmsKeyID></EncryptionConfiguration>
      <ReplicationTime><Status>Enabled</Status><Time><Minutes>15</Minutes></Time></ReplicationTime>
      <Metrics><Status>Enabled</Status></Metrics>
    </Destination>
  </Rule>
</ReplicationConfiguration>"#;

    const JSON: &str = r#"{"ReplicationConfiguration": {"Role": "arn:aws:iam::1:role/r", "Rules": [{
        "ID": "Tax Documents", "Priority": 3, "Status": "Enabled",
        "Filter": {"And": {"Prefix": "tax/", "Tags": [{"Key": "a", "Value": "1"}]}},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "ExistingObjectReplication": {"Status": "Enabled"},
        "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}},
        "Destination": {"Bucket": "arn:aws:s3:::backup", "Account": "2", "StorageClass": "GLACIER",
            "AccessControlTranslation": {"Owner": "Destination"},
            "EncryptionConfiguration": {"ReplicaKmsKeyID": "arn:aws:kms:k"},
            "ReplicationTime": {"Status": "Enabled", "Time": {"Minutes": 15}},
            "Metrics": {"Status": "Enabled"}}}]}}"#;

    fn of(text: &str) -> Result<Replication, String> {
        Replication::of(&Tree::parse(text)?)
    }

    #[test]
    fn both_forms_say_the_same() {
        let [xml, json] = [XML, JSON].map(|text| of(text).unwrap());
        assert_eq!(format!("{xml:?}"), format!("{json:?}"));
        let rule = &xml.rules[0];
        assert_eq!(
            (
                &*rule.prefix,
                rule.priority,
                &*rule.destination,
                rule.time_minutes
            ),
            ("tax/", Some(3), "backup", Some(15))
        );
        assert!(!rule.delete_markers && rule.existing_objects);
        assert!(rule.obstacles().is_empty(), "{:?}", rule.obstacles());
        assert_eq!(rule.tags, [("a".to_owned(), "1".to_owned())].into());
        let notes = rule.notes().join("\n");
        for told in [
            "tags count when",
            "GLACIER",
            "aws-kms/arn:aws:kms:k",
            "Account 2",
            "SseKms",
        ] {
            assert!(notes.contains(told), "{told}: {notes}");
        }
        assert!(xml.notes[0].contains("role/r"));
        assert!(xml.notes[1].contains("replicas = false"));
    }

    #[test]
    fn the_first_version_sends_delete_markers_and_no_existing_objects() {
        let text = r#"{"Rules": [{"Prefix": "logs/", "Status": "Enabled",
            "Destination": {"Bucket": "arn:aws:s3:::b"}}, {"Filter": {"Prefix": ""},
            "Status": "Disabled", "Destination": {"Bucket": "b", "Wonder": "new"}}]}"#;
        let rules = of(text).unwrap().rules;
        assert_eq!((&*rules[0].prefix, rules[0].priority), ("logs/", None));
        assert!(rules[0].delete_markers && !rules[0].existing_objects);
        assert!(!rules[0].selects_kms, "S3 leaves objects under KMS out");
        assert!(rules[0].obstacles().is_empty() && rules[0].notes().len() == 1);
        // The second one does not, and what nobody here knows is an obstacle.
        assert!(!rules[1].delete_markers);
        assert_eq!(rules[1].obstacles().len(), 2);
    }

    /// What is not known of a rule with these fields beside those that each has.
    fn unknown(more: &str) -> String {
        let rest = r#""Status": "Enabled", "Destination": {"Bucket": "b"}"#;
        let json = of(&format!(r#"{{"Rules": [{{{rest}, {more}}}]}}"#)).unwrap();
        json.rules[0].obstacles().join("; ")
    }

    #[test]
    fn nothing_of_a_rule_that_is_not_known_is_passed_over() {
        for (more, told) in [
            (
                r#""Filter": {"ObjectSizeGreaterThan": 9}"#,
                "Filter/ObjectSizeGreaterThan",
            ),
            (
                r#""Filter": {"And": {"Prefix": "a", "Size": {"a": 1}}}"#,
                "Filter/And/Size",
            ),
            (
                r#""Filter": {"And": {"Tags": [{"Key": "a", "Value": "1", "Not": true}]}}"#,
                "Filter/And/Tags/Not",
            ),
            (
                r#""Filter": {"Prefix": "a", "And": {"Prefix": "b"}}"#,
                "a second Prefix",
            ),
            (
                r#""Filter": {"And": {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}}"#,
                "a second Tag \"a\"",
            ),
            (r#""Filter": "all""#, "Filter \"all\""),
            (r#""Filter": {"Prefix": {"Not": "a"}}"#, "Filter/Prefix/Not"),
            (
                r#""SourceSelectionCriteria": {"Region": {"Status": "Enabled"}}"#,
                "SourceSelectionCriteria/Region",
            ),
            (
                r#""SourceSelectionCriteria": {"ReplicaModifications": {"Status": "Partly"}}"#,
                "SourceSelectionCriteria/ReplicaModifications/Status \"Partly\"",
            ),
            (
                r#""DeleteMarkerReplication": {"Status": "Enabled", "After": "1"}"#,
                "DeleteMarkerReplication/After",
            ),
            (r#""Priority": [1, 2]"#, "a second Priority"),
            (
                r#""Filter": {"Prefix": "", "Tag": {"Key": "a", "Value": "1"}}"#,
                "",
            ),
        ] {
            let found = unknown(more);
            assert!(found.starts_with(told), "{more}: {found}");
            assert_eq!(found.is_empty(), told.is_empty(), "{more}: {found}");
        }
        let xml = of("<ReplicationConfiguration><Rule><Status>Enabled</Status>\
             <Filter><And><Prefix>a<!-- or -->b</Prefix><Younger>3</Younger></And></Filter>\
             <Destination><Bucket>b</Bucket></Destination></Rule></ReplicationConfiguration>")
        .unwrap();
        assert_eq!(
            xml.rules[0].obstacles(),
            ["Filter/And/Younger is not known here"]
        );
        assert_eq!(xml.rules[0].prefix, "ab");
    }

    #[test]
    fn what_is_no_replication_configuration_is_refused() {
        let deep = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
        let doctype = "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
        let many = format!(
            r#"{{"Rules": [{}]}}"#,
            vec![r#"{"Status": "Enabled", "Destination": {"Bucket": "b"}}"#; RULES_MAX + 1]
                .join(",")
        );
        for text in [
            "",
            "<a",
            "[1]",
            "{}",
            r#"{"Rules": [{}]}"#,
            r#"{"Rules": [{"Destination": {"Bucket": "b"}}]}"#,
            r#"{"Except": "a", "Rules": [{"Status": "Enabled", "Destination": {"Bucket": "b"}}]}"#,
            r#"{"Rules": [{"Status": "Enabled", "Priority": "high", "Destination": {"Bucket": "b"}}]}"#,
            &deep,
            doctype,
            &many,
        ] {
            assert!(of(text).is_err(), "{text:.80}");
        }
    }
}
