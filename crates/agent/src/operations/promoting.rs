//! `endpoint promote`: which buckets applications may write to at the S3 endpoint.

use sealift_terms::BucketName;

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, Promote, PromotedRow},
    error::SOURCE_HERE,
};

impl SiteOperations {
    pub(super) async fn promote(
        &self,
        promote: Promote,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let archive = &self.site.archive;
        let promotions = match promote.bucket {
            None => archive.promotions().await?,
            Some(bucket) => {
                self.hold_bucket(&bucket).await?;
                self.hold_archived(&bucket)?;
                let word = match promote.demote {
                    true => "endpoint demote",
                    false => "endpoint promote",
                };
                // On record before it is so.
                self.record(actor, word, &[("bucket", bucket.to_string())])?;
                match promote.demote {
                    true => archive.demote(&bucket).await?,
                    false => archive.promote(&bucket, &actor.to_string()).await?,
                }
            }
        };
        if let Some(live) = &self.live {
            live.set_promoted(promotions.keys().cloned().collect());
        }
        for (bucket, promotion) in promotions {
            let row = PromotedRow {
                bucket,
                since: promotion.since,
                by: promotion.by,
            };
            answer.row(&row).await?;
        }
        Ok(())
    }

    /// Refuses a bucket that is sent from here and not archived here.
    fn hold_archived(&self, bucket: &BucketName) -> Result<(), Error> {
        let config = self.site.current();
        let is_archived = config.buckets.iter().any(|known| known.name == *bucket);
        let is_source = config.sources.iter().any(|source| source.bucket == *bucket);
        match !is_archived && is_source {
            true => Err(Error::NotFound {
                what: format!("archived bucket {bucket} at this site: {SOURCE_HERE}"),
            }),
            false => Ok(()),
        }
    }
}
