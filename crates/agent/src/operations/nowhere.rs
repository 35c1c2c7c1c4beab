//! What is asked for by name and goes nowhere: which part of its name is not known, or what no
//! rule sends.

use sealift_ledger::KnownKey;
use sealift_store::is_called;
use sealift_terms::{Reason, RuleName};

use super::{SiteOperations, replicating::failed};
use crate::{
    Error,
    admin::{ReplicateObject, ReplicateRow},
};

impl SiteOperations {
    /// Refuses a rule that is not in the configuration, and that nothing was ever sent by.
    pub(super) async fn hold_rule(&self, rule: &RuleName) -> Result<(), Error> {
        let config = self.site.current();
        if config.rules.iter().any(|known| known.name == *rule) {
            return Ok(());
        }
        let counts = self.site.journal.counts().await?;
        match counts.iter().any(|count| count.rule == *rule) {
            true => Ok(()),
            false => Err(Error::NotFound {
                what: format!("rule {rule} at this site"),
            }),
        }
    }

    /// Why an object that a manifest names is sent to nobody.
    pub(super) async fn nowhere(&self, object: &ReplicateObject) -> Result<ReplicateRow, Error> {
        let (bucket, key) = (&object.bucket, &object.key);
        let config = self.site.current();
        if !config.sources.iter().any(|source| source.bucket == *bucket) {
            let evidence = format!("no [[source]] of this site is bucket {bucket}");
            return Ok(failed(object, None, evidence));
        }
        let known = self.site.journal.known(bucket, key).await?;
        let (reason, evidence) = why(object, known.as_ref());
        Ok(failed(object, Some(reason), evidence))
    }
}

fn why(object: &ReplicateObject, known: Option<&KnownKey>) -> (Reason, String) {
    let Some(known) = known else {
        let evidence = "its source has no such key, as far as it was looked through";
        return (Reason::SrcObjectGone, evidence.to_owned());
    };
    let is_latest = object.version.as_ref();
    let is_latest = is_latest.is_none_or(|asked| is_called(&known.version, asked));
    match (is_latest, &object.peer) {
        (false, _) => {
            let evidence = format!(
                "the latest version of the key is {}; of this one the journal has no transfer, and no \
                 source that keeps versions has it for a rule to send",
                known.version
            );
            (Reason::SrcObjectGone, evidence)
        }
        (true, Some(peer)) => {
            let evidence = format!("no [[rule]] sends it to {peer}");
            (Reason::SkippedFiltered, evidence)
        }
        (true, None) => {
            let evidence = "no [[rule]] sends it anywhere".to_owned();
            (Reason::SkippedFiltered, evidence)
        }
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::{BucketName, ObjectKey, Order, PeerName, Region, VersionId};

    use super::*;

    #[test]
    fn it_is_said_which_part_of_a_name_is_not_known() {
        let version = |id: &str| VersionId::new(id).unwrap();
        let known = KnownKey {
            key: ObjectKey::new("k").unwrap(),
            version: version("v2"),
            order: Order {
                clock: 1,
                region: Region::new("a").unwrap(),
                change: 1,
            },
            deleted: false,
            size: 1,
        };
        let object = |id: Option<&str>, peer: Option<&str>| ReplicateObject {
            bucket: BucketName::new("photos").unwrap(),
            key: known.key.clone(),
            version: id.map(version),
            peer: peer.map(|peer| PeerName::new(peer).unwrap()),
        };
        for (object, is_known, told) in [
            (object(None, None), false, "no such key"),
            (
                object(Some("v1"), None),
                true,
                "latest version of the key is v2",
            ),
            (
                object(Some("v2"), Some("b")),
                true,
                "no [[rule]] sends it to b",
            ),
            (object(None, None), true, "no [[rule]] sends it anywhere"),
        ] {
            let (_, evidence) = why(&object, is_known.then_some(&known));
            assert!(evidence.contains(told), "{evidence}");
        }
    }
}
