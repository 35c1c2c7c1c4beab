//! `sealift generate rules`: rules from an S3 replication configuration, as its XML or as the
//! JSON of the AWS command line, with what of it maps and what does not.

mod replication;
mod shape;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use sealift_agent::{Error, Exit};
use sealift_terms::{BucketName, PeerName, RuleName};
use serde::Serialize;

use crate::{
    cli::Global,
    output::{self, Outcome},
};
use replication::{Replication, Rule};
use tree::Tree;

/// AWS takes 2 MB.
const FILE_BYTES_MAX: u64 = 2 << 20;

#[derive(Debug, Args)]
pub(crate) struct Rules {
    /// The replication configuration of an S3 bucket, XML or JSON; - is standard input
    #[arg(long, value_name = "FILE")]
    from_s3: PathBuf,
    /// The bucket that the rules are for
    #[arg(long)]
    bucket: BucketName,
    /// Which peer archives what goes to a bucket there, as in `backup-bucket=b1`; may be
    /// given again
    #[arg(long = "peer", value_name = "BUCKET=PEER", value_parser = destination)]
    peers: Vec<(String, PeerName)>,
    /// What becomes of objects under keys of KMS that a rule of S3 leaves out
    #[arg(long, value_name = "WHAT", value_enum)]
    kms_objects: Option<KmsObjects>,
}

/// What becomes of objects under keys of KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KmsObjects {
    /// They are sent as well
    Send,
    /// The source leaves them out: kms_keys = []
    LeaveOut,
}

fn destination(text: &str) -> Result<(String, PeerName), String> {
    let (bucket, peer) = text
        .rsplit_once('=')
        .ok_or_else(|| format!("{text:?} is not BUCKET=PEER"))?;
    let peer = peer
        .parse::<PeerName>()
        .map_err(|error| error.to_string())?;
    Ok((bucket.to_owned(), peer))
}

/// What became of one rule.
#[derive(Debug, Serialize)]
struct Imported {
    /// Its name here.
    rule: String,
    /// Whether it is one that can be used: otherwise it is there as a comment.
    maps: bool,
    /// What it is here, as it stands in the configuration.
    toml: String,
    /// What is otherwise here, or needs nothing.
    notes: Vec<String>,
    /// Why it cannot be used.
    obstacles: Vec<String>,
}

impl Rules {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let text = read(&self.from_s3)?;
        let tree = Tree::parse(&text).map_err(|why| self.refused(why))?;
        let given = Replication::of(&tree).map_err(|why| self.refused(why))?;
        let peers = self.peers_of(&given, global.json)?;
        let imported = self.imported(&given, &peers);
        let left = imported.iter().filter(|rule| !rule.maps).count();
        if global.json {
            for rule in &imported {
                output::row(true, rule, "")?;
            }
        } else {
            output::print(self.page(&given, &imported).trim_end())?;
        }
        Ok(match left {
            0 => Exit::Done,
            _ => Exit::Partly,
        })
    }

    fn refused(&self, found: String) -> Error {
        Error::Request {
            what: "--from-s3",
            found: format!("{}: {found}", self.from_s3.display()),
            allowed: "what `aws s3api get-bucket-replication` prints, or the XML that S3 takes"
                .to_owned(),
        }
    }

    /// Who archives what goes where; tells of who is named for nothing.
    fn peers_of(
        &self,
        given: &Replication,
        is_json: bool,
    ) -> Result<BTreeMap<&str, &PeerName>, Error> {
        let mut peers = BTreeMap::new();
        for (bucket, peer) in &self.peers {
            let earlier = peers.insert(bucket.as_str(), peer);
            if let Some(earlier) = earlier.filter(|earlier| *earlier != peer) {
                return Err(Error::Request {
                    what: "--peer",
                    found: format!("{bucket}={earlier} and {bucket}={peer}"),
                    allowed: "one peer for each bucket there".to_owned(),
                });
            }
            if !given.rules.iter().any(|rule| rule.destination == *bucket) {
                let told =
                    format!("no rule replicates to {bucket}: --peer {bucket}={peer} says nothing");
                output::note(is_json, output::safe(&told));
            }
        }
        Ok(peers)
    }

    fn imported(&self, given: &Replication, peers: &BTreeMap<&str, &PeerName>) -> Vec<Imported> {
        let mut names = BTreeSet::new();
        let rules = given.rules.iter().enumerate();
        rules
            .map(|(n, rule)| {
                let name = name(rule.id.as_deref(), n + 1, &mut names);
                let mut imported = self.import(rule, name, peers);
                self.settle_kms(given, rule, &mut imported);
                imported.maps = imported.obstacles.is_empty();
                imported
            })
            .collect()
    }

    /// S3 leaves objects under keys of KMS out of a rule that does not select them. Here that is
    /// the source's to say, for all of its rules.
    fn settle_kms(&self, given: &Replication, rule: &Rule, imported: &mut Imported) {
        if rule.selects_kms {
            return;
        }
        let others_select = given.rules.iter().any(|other| other.selects_kms);
        match self.kms_objects {
            Some(KmsObjects::Send) => imported.notes.push(
                "objects under keys of KMS are sent, too, which S3 leaves out of this rule"
                    .to_owned(),
            ),
            Some(KmsObjects::LeaveOut) if others_select => imported.obstacles.push(
                "S3 leaves objects under keys of KMS out of it and not out of another rule, and kms_keys is of the \
                 whole source: send them by both, --kms-objects send, or make sources of prefixes"
                    .to_owned(),
            ),
            Some(KmsObjects::LeaveOut) => imported.notes.push(
                "objects under keys of KMS are left out where the source says kms_keys = []".to_owned(),
            ),
            None => imported.obstacles.push(
                "S3 leaves objects under keys of KMS out of it (SseKmsEncryptedObjects is not Enabled): say what \
                 becomes of them, --kms-objects leave-out or send"
                    .to_owned(),
            ),
        }
    }

    fn import(&self, rule: &Rule, name: String, peers: &BTreeMap<&str, &PeerName>) -> Imported {
        let (mut notes, mut obstacles) = (rule.notes(), rule.obstacles());
        let peer = match peers.get(rule.destination.as_str()) {
            Some(peer) => peer.to_string(),
            None => {
                obstacles.push(format!(
                    "who archives what goes to {}: name the peer, --peer {}=PEER",
                    rule.destination, rule.destination
                ));
                "PEER".to_owned()
            }
        };
        let mut lines = vec![
            "[[rule]]".to_owned(),
            format!("name = {name:?}"),
            format!("bucket = \"{}\"", self.bucket),
        ];
        if !rule.prefix.is_empty() {
            lines.push(format!("prefix = {}", quoted(&rule.prefix)));
        }
        if !rule.tags.is_empty() {
            let tags = rule.tags.iter();
            let tags = tags.map(|(tag, value)| format!("{} = {}", quoted(tag), quoted(value)));
            let tags: Vec<_> = tags.collect();
            lines.push(format!("tags = {{ {} }}", tags.join(", ")));
        }
        lines.push(format!("peers = [{peer:?}]"));
        if let Some(priority) = rule.priority.filter(|priority| *priority > 0) {
            lines.push(format!("priority = {priority}"));
        }
        lines.push(format!("delete_markers = {}", rule.delete_markers));
        lines.push(format!("existing_objects = {}", rule.existing_objects));
        lines.push("replicas = false".to_owned());
        if let Some(minutes) = rule.time_minutes {
            lines.push(format!("rpo_secs = {}", minutes.saturating_mul(60)));
            notes.push(
                "ReplicationTime is the RPO: an alarm when it is missed, no promise".to_owned(),
            );
        }
        Imported {
            rule: name,
            maps: obstacles.is_empty(),
            toml: lines.join("\n"),
            notes,
            obstacles,
        }
    }

    fn page(&self, given: &Replication, imported: &[Imported]) -> String {
        let mut page = format!(
            "# Rules of bucket {} from an S3 replication configuration. What stands behind # is why\n\
             # something is otherwise here; a rule behind # cannot be used as it is.\n",
            self.bucket
        );
        for note in &given.notes {
            page.push_str(&format!("# {}\n", output::safe(note)));
        }
        for rule in imported {
            page.push('\n');
            for note in rule
                .obstacles
                .iter()
                .map(|it| format!("cannot be used: {it}"))
            {
                page.push_str(&format!("# {}\n", output::safe(&note)));
            }
            for note in &rule.notes {
                page.push_str(&format!("# {}\n", output::safe(note)));
            }
            for line in rule.toml.lines() {
                page.push_str(if rule.maps { "" } else { "# " });
                page.push_str(line);
                page.push('\n');
            }
        }
        page
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let reading = Error::failed("reading the replication configuration");
    let input: Result<Box<dyn Read>, _> = match path == Path::new("-") {
        true => Ok(Box::new(std::io::stdin())),
        false => File::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    let mut text = String::new();
    let read = input.and_then(|input| input.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(reading)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Request {
            what: "--from-s3",
            found: "more".to_owned(),
            allowed: format!("{FILE_BYTES_MAX} bytes"),
        });
    }
    Ok(text)
}

/// A name as rules have them, and no other rule has.
fn name(id: Option<&str>, number: usize, taken: &mut BTreeSet<String>) -> String {
    let of_id = id.map(|id| {
        let lower = id.to_ascii_lowercase();
        let allowed = |c: char| match c {
            'a'..='z' | '0'..='9' | '-' => c,
            _ => '-',
        };
        let name: String = lower.chars().map(allowed).collect();
        name.trim_matches('-').to_owned()
    });
    let of_id = of_id.filter(|name| name.parse::<RuleName>().is_ok());
    let numbered = (number..).map(|number| format!("rule-{number}"));
    let mut names = of_id.into_iter().chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_have_one_name() {
        let mut taken = BTreeSet::new();
        let ids = [Some("rule-2"), None, Some("Logs"), Some("logs"), None];
        let names = ids.iter().zip(1..).map(|(id, n)| name(*id, n, &mut taken));
        let names: Vec<_> = names.collect();
        assert_eq!(names, ["rule-2", "rule-3", "logs", "rule-4", "rule-5"]);
    }
}
