//! Plaintext that was found is sealed here, under a version id of its finder's: whoever comes
//! again with the same plaintext, after a crash say, finds that it is here.

use sealift_terms::{ChangeKind, Checksum, ObjectFacts, Receipt, VersionName};

use crate::{Archive, ObjectWriter, Result, Upload};

impl Archive {
    /// Begins to seal what `actor` found. It has no place among the changes of its key yet:
    /// [`commit_adopted`](Self::commit_adopted) gives it one.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn begin_adopted(
        &self,
        actor: &str,
        name: VersionName,
        facts: ObjectFacts,
    ) -> Result<ObjectWriter> {
        let upload = self.written(actor, name, ChangeKind::Put, facts).await?;
        Ok(ObjectWriter::new(upload))
    }

    /// Commits it as the latest change of its key, above all that is known of it here, with the
    /// time that it says it was modified at. Returns once it is durable.
    ///
    /// # Errors
    /// As [`commit_ordered`](Self::commit_ordered).
    pub async fn commit_adopted(
        &self,
        mut upload: Box<Upload>,
        checksum: Checksum,
    ) -> Result<Receipt> {
        let name = upload.name().clone();
        let latest = self.core.catalog.latest(&name.bucket, &name.key).await?;
        let known = latest.map_or(0, |row| row.order.clock);
        upload.offer.change.order = self.core.order_above(known)?;
        upload.commit(Some(checksum)).await
    }
}
