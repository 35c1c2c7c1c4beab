//! Backups of the keystore: given out, remembered, taken back.

use bytes::Bytes;
use sealift_keys::{LocalKeystore, StretchedPassphrase};
use sealift_terms::AuditKind;

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, KeyVersions, KeysRestored},
};

/// Bytes of a backup that are sent at once.
const PIECE_BYTES: usize = 1 << 20;

impl SiteOperations {
    pub(super) async fn back_up(
        &self,
        passphrase: StretchedPassphrase,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let act = move |keystore: &LocalKeystore| keystore.backup(&passphrase.to_secret());
        let backup = self.site.change_keys(
            AuditKind::KeyBackup,
            actor.to_string(),
            act,
            |record, backup| {
                record
                    .with("act", "made")
                    .with("versions", backup.versions.len())
            },
        );
        let backup = backup.await?;
        let versions = backup.versions;
        answer.row(&KeyVersions { versions }).await?;
        let mut bytes = Bytes::from(backup.bytes);
        while !bytes.is_empty() {
            let piece = bytes.split_to(PIECE_BYTES.min(bytes.len()));
            answer.bytes(piece).await?;
        }
        Ok(())
    }

    pub(super) async fn backed_up(
        &self,
        held: KeyVersions,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let act = move |keystore: &LocalKeystore| {
            keystore.mark_backed_up(&held.versions)?;
            Ok(held)
        };
        let held = self.site.change_keys(
            AuditKind::KeyBackup,
            actor.to_string(),
            act,
            |record, held| {
                record
                    .with("act", "verified")
                    .with("versions", held.versions.len())
            },
        );
        answer.row(&held.await?).await
    }

    pub(super) async fn take_back(
        &self,
        passphrase: StretchedPassphrase,
        backup: String,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let act = move |keystore: &LocalKeystore| {
            let restored = keystore.take_back(backup.as_bytes(), &passphrase.to_secret())?;
            Ok(KeysRestored {
                versions: restored.versions.len(),
                keys_added: restored.keys_added,
                versions_added: restored.versions_added,
                left_out: restored.left_out,
            })
        };
        let restored = self.site.change_keys(
            AuditKind::KeyBackup,
            actor.to_string(),
            act,
            |record, restored| {
                let record = record.with("act", "restored");
                let record = record.with("versions", restored.versions);
                let record = record.with("keys_added", restored.keys_added);
                record.with("versions_added", restored.versions_added)
            },
        );
        answer.row(&restored.await?).await
    }
}
