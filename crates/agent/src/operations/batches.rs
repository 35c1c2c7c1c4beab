//! `keys rewrap` and `batch reseal`: many records or versions, each on record.

use sealift_archive as archive;
use sealift_keys::{KeyError, KeyName, KeyProvider};
use sealift_terms::{BucketName, KeyId, VersionName};

use super::SiteOperations;
use crate::{
    Error,
    admin::{
        Actor, Answer, Reseal, ResealResult, ResealRow, Rewrap, RewrapFailed, RewrapRow,
        RewrapSummary,
    },
};

/// Records that did not open, of which each is told; of more only the number.
const FAILED_TOLD_MAX: usize = 10_000;

impl SiteOperations {
    pub(super) async fn rewrap(
        &self,
        rewrap: Rewrap,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let (to, version) = key_and_version(&rewrap.to);
        let target = self.site.archive.rewrap_target(to).await?;
        if let Some(version) = version
            && version != target.current
        {
            return Err(Error::Request {
                what: "key version",
                found: format!("{to}:{version}"),
                allowed: format!(
                    "{to} or {to}:{}: older versions open and do not seal",
                    target.current
                ),
            });
        }
        let from = match &rewrap.from {
            None => None,
            Some(from) => Some(self.wrapped_by(from).await?),
        };
        if !rewrap.dry_run {
            self.audit_durable().await?;
            let mut details = vec![("to", format!("{}:{}", target.id, target.current))];
            details.extend(rewrap.from.iter().map(|from| ("from", from.clone())));
            let bucket = rewrap.bucket.iter();
            details.extend(bucket.map(|bucket| ("bucket", bucket.to_string())));
            self.record(actor, "keys rewrap", &details)?;
        }
        let wanted = archive::Rewrap {
            bucket: rewrap.bucket,
            from,
            to: to.to_owned(),
            dry_run: rewrap.dry_run,
        };
        let mut failed = Vec::new();
        let mut sink = |finding| {
            if failed.len() < FAILED_TOLD_MAX {
                failed.push(finding);
            }
        };
        let done = self.site.archive.rewrap(&wanted, &mut sink).await;
        for archive::RewrapFinding {
            record,
            bucket,
            cause: evidence,
        } in failed
        {
            let row = RewrapFailed {
                record,
                bucket,
                evidence,
            };
            answer.row(&RewrapRow::Failed(row)).await?;
        }
        let done = done?;
        let summary = RewrapSummary {
            cmk: done.key.id,
            cmk_version: done.key.current,
            records: done.records,
            current: done.current,
            failed: done.failed,
            calls: done.records * archive::CALLS_OF_A_REWRAP,
            dry_run: wanted.dry_run,
        };
        answer.row(&RewrapRow::Summary(summary)).await
    }

    /// The key that records are under: one that is there no more is named by its id.
    async fn wrapped_by(&self, text: &str) -> Result<archive::WrappedBy, Error> {
        let (key, version) = key_and_version(text);
        let version = version.map(str::to_owned);
        let (provider, cmk) = match self.site.providers.describe(key).await {
            Ok(described) => (described.provider, described.id),
            Err(missing @ KeyError::Missing { .. }) => {
                let name = KeyName::parse(key);
                let id = KeyId::new(name.key).map_err(|_| Error::Keys(missing))?;
                (name.provider, id)
            }
            Err(error) => return Err(Error::Keys(error)),
        };
        Ok(archive::WrappedBy {
            provider,
            cmk,
            version,
        })
    }

    pub(super) async fn reseal(
        &self,
        reseal: Reseal,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        if !reseal.dry_run {
            self.audit_durable().await?;
            let objects = reseal.objects.len().to_string();
            self.record(actor, "batch reseal", &[("objects", objects)])?;
        }
        for name in reseal.objects {
            let row = match reseal.dry_run {
                true => self.look_at(name).await,
                false => self.reseal_one(name, actor).await,
            };
            answer.row(&row).await?;
        }
        Ok(())
    }

    async fn reseal_one(&self, name: VersionName, actor: &Actor) -> ResealRow {
        match self.site.archive.reseal(&actor.to_string(), &name).await {
            Ok(resealed) => ResealRow {
                object: name,
                result: ResealResult::Resealed,
                size: resealed.size,
                object_uid: Some(resealed.object_uid),
                record: Some(resealed.record),
                second_record: resealed.second_record,
                layers: 1 + u64::from(resealed.second_record.is_some()),
                own_record: false,
                reason: None,
                evidence: None,
            },
            Err(error) => failed(name, &error),
        }
    }

    /// What a dry run says: the version is here and not damaged, its key and that of its
    /// bucket can be used.
    async fn look_at(&self, name: VersionName) -> ResealRow {
        let (layers, own_record) = self.sealed_in(&name.bucket);
        match self.site.archive.could_reseal(&name).await {
            Ok(row) => ResealRow {
                object: name,
                result: ResealResult::Planned,
                size: row.facts.size,
                object_uid: Some(row.object_uid),
                record: Some(row.record),
                second_record: row.second_record,
                layers,
                own_record,
                reason: None,
                evidence: None,
            },
            Err(error) => failed(name, &error),
        }
    }
}

impl SiteOperations {
    /// In how many layers a bucket is sealed, and whether each object has its own records.
    fn sealed_in(&self, bucket: &BucketName) -> (u64, bool) {
        let config = self.site.current();
        let mut buckets = config.buckets.iter();
        buckets
            .find(|known| known.name == *bucket)
            .map_or((1, false), |known| {
                (known.keys().count() as u64, !known.bucket_keys)
            })
    }
}

fn failed(object: VersionName, error: &archive::ArchiveError) -> ResealRow {
    ResealRow {
        object,
        result: ResealResult::Failed,
        size: 0,
        object_uid: None,
        record: None,
        second_record: None,
        layers: 1,
        own_record: false,
        reason: Some(error.reason()),
        evidence: Some(archive::in_words(error)),
    }
}

/// `KEY` or `KEY:VERSION`. An ARN has colons, too, and a slash behind the last.
pub(super) fn key_and_version(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((key, version)) if !key.is_empty() && !version.contains('/') => (key, Some(version)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_behind_the_last_colon_and_an_arn_is_a_key() {
        assert_eq!(key_and_version("alias/a"), ("alias/a", None));
        assert_eq!(key_and_version("alias/a:3"), ("alias/a", Some("3")));
        assert_eq!(key_and_version("key-01:12"), ("key-01", Some("12")));
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
        assert_eq!(key_and_version(arn), (arn, None));
        let versioned = format!("{arn}:2");
        assert_eq!(key_and_version(&versioned), (arn, Some("2")));
    }
}
