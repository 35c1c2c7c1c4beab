//! `endpoint promote`: which buckets applications may write to at the S3 endpoint.

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, Promote, PromotedRow},
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
}
