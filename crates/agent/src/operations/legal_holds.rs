//! `hold`: versions that are not purged, whoever wants them gone.

use sealift_archive::HeldVersions;
use sealift_terms::limits::{HOLD_REASON_BYTES_MAX, OBJECT_KEY_BYTES_MAX};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, HoldAct, HoldRow, LegalHold},
};

impl SiteOperations {
    pub(super) async fn hold(
        &self,
        hold: LegalHold,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        if let Some(bucket) = &hold.bucket {
            self.hold_bucket(bucket).await?;
        }
        let archive = &self.site.archive;
        let by = actor.to_string();
        match hold.act {
            HoldAct::List => {}
            HoldAct::Set { reason } => {
                let on = checked(&hold.on, &reason)?;
                archive.set_hold(on, &reason, &by).await?;
            }
            HoldAct::Lift { of_source, reason } => {
                let on = checked(&hold.on, &reason)?;
                let what = format!("a legal hold on exactly {}", told(&on));
                if !archive.lift_hold(on, of_source, &reason, &by).await? {
                    return Err(Error::NotFound { what });
                }
            }
        }
        for hold in archive.holds(hold.bucket.as_ref()).await? {
            answer.row(&HoldRow::from(hold)).await?;
        }
        Ok(())
    }
}

/// What a hold is on, within the limits.
fn checked(on: &Option<HeldVersions>, reason: &str) -> Result<HeldVersions, Error> {
    let refuse = |what, found: String, allowed: &str| {
        Err(Error::Request {
            what,
            found,
            allowed: allowed.to_owned(),
        })
    };
    let Some(on) = on else {
        return refuse("versions of a hold", "none".to_owned(), "a key or a prefix");
    };
    if on.key.len() > OBJECT_KEY_BYTES_MAX || (on.key.is_empty() && !on.is_prefix) {
        let found = format!("{} bytes", on.key.len());
        return refuse("key of a hold", found, "1 to 1,024 bytes, or a prefix");
    }
    if on.is_prefix && on.version.is_some() {
        let found = "with a version".to_owned();
        return refuse("prefix of a hold", found, "a version belongs to one key");
    }
    if reason.trim().is_empty() || reason.len() > HOLD_REASON_BYTES_MAX {
        let found = format!("{} bytes", reason.len());
        return refuse("reason of a hold", found, "1 to 1,024 bytes");
    }
    Ok(on.clone())
}

/// The versions of a hold in words.
fn told(on: &HeldVersions) -> String {
    let HeldVersions {
        bucket,
        key,
        is_prefix,
        version,
    } = on;
    match (is_prefix, version) {
        (true, _) => format!("what begins with {bucket}/{key}"),
        (false, Some(version)) => format!("{bucket}/{key} version {version}"),
        (false, None) => format!("{bucket}/{key}, every version"),
    }
}
