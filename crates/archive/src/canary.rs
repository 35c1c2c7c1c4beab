//! A canary: an object that goes the whole way of an object (sealed, stored,
//! published, opened) and is removed again. No catalog ever hears of it.

use sealift_ledger::Location;
use sealift_seal::{Expected, Meta, ObjectSealer};
use sealift_store::{StoreError, StoreName};
use sealift_terms::{
    AuditKind, AuditRecord, Boxed, BucketName, ObjectFacts, ObjectKey, ObjectUid, PartSize,
    VersionId, VersionName, limits,
};

use crate::{Archive, ArchiveError, Result, archive::Core};

/// Where canaries are stored. Neither verification nor a rebuild looks there.
const CANARIES: &str = "canary/";
/// What a canary's key and version are called.
const CANARY: &str = "canary";
/// Canaries that a crash left behind and that one start removes.
const LEFT_BEHIND_MAX: usize = 1000;

impl Archive {
    /// Seals `bytes` under the key of `bucket`, stores them durably, opens what was
    /// stored, and removes it. Gives what came out. That `actor` asked for it goes
    /// on record.
    ///
    /// # Errors
    /// [`ArchiveError`] for what an object would fail with.
    pub fn try_canary<'a>(
        &'a self,
        actor: &'a str,
        bucket: &'a BucketName,
        bytes: &'a [u8],
    ) -> Boxed<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let core = &self.core;
            if bytes.len() > limits::CANARY_BYTES_MAX {
                let size = bytes.len() as u64;
                return Err(ArchiveError::TooLarge { size });
            }
            let _room = core.claim(bytes.len() as u64).await?;
            let record = AuditRecord::new(core.clock.now(), AuditKind::CanaryTried, actor);
            core.audit.record(record.with("bucket", bucket))?;
            let uid = ObjectUid::random(&*core.rng);
            let file = StoreName::new(format!("{CANARIES}{uid}")).map_err(StoreError::from)?;
            let tried = core.canary(bucket, bytes, uid, &file).await;
            let discarded = core.store.discard(&file).await;
            let removed = core.store.remove(&file).await;
            let opened = tried?;
            discarded.and(removed)?;
            Ok(opened)
        })
    }
}

impl Core {
    async fn canary(
        &self,
        bucket: &BucketName,
        bytes: &[u8],
        uid: ObjectUid,
        file: &StoreName,
    ) -> Result<Vec<u8>> {
        let open = self.current_layers(bucket).await?;
        let name = VersionName {
            bucket: bucket.clone(),
            key: ObjectKey::new(CANARY).map_err(ArchiveError::Facts)?,
            version: VersionId::new(CANARY).map_err(ArchiveError::Facts)?,
        };
        let facts = ObjectFacts {
            size: bytes.len() as u64,
            ..ObjectFacts::default()
        };
        let header = open.header(PartSize::DEFAULT, uid);
        let mut sealed = Vec::new();
        let meta = Meta::new(name.clone(), facts);
        let sealer = ObjectSealer::new(open.keys(), header)?;
        sealer.seal_whole(&meta, bytes, &*self.rng, &mut sealed)?;

        let staged = self.store.create(file).await?;
        staged.write_at(&sealed, 0).await?;
        staged.sync().await?;
        self.store.publish(std::slice::from_ref(file)).await?;

        let location = Location {
            file: file.to_string(),
            offset: 0,
            length: sealed.len() as u64,
        };
        let expected = Expected::version(uid, open.ids(), name);
        let inspected = self.inspect(&location, &expected).await?;
        let opener = self.open_layers(open.ids(), bucket).await?;
        let opened = inspected.open(opener.keys())?;
        let mut out = Vec::with_capacity(bytes.len());
        opened.read_range(0..opened.size(), |run| {
            out.extend_from_slice(run);
            Ok(())
        })?;
        Ok(out)
    }

    /// Removes what a crash left of canaries.
    pub(crate) async fn remove_canaries(&self) -> Result<()> {
        for entry in self.store.list(CANARIES, None, LEFT_BEHIND_MAX).await? {
            self.store.remove(&entry.name).await?;
        }
        Ok(())
    }
}
