//! `hold`: versions that are not purged, whoever wants them gone.

use sealift_archive::{HeldVersions, HoldSort};
use sealift_terms::limits::{HOLD_REASON_BYTES_MAX, OBJECT_KEY_BYTES_MAX};

use super::{SiteOperations, listing::Versions};
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
        let mut new = None;
        match hold.act {
            HoldAct::List => {}
            HoldAct::Set { reason } => {
                let on = checked(&hold.on, &reason)?;
                archive.set_hold(on.clone(), &reason, &by).await?;
                new = Some((self.covered(&on).await?, on));
            }
            HoldAct::Lift { of_source, reason } => {
                let on = checked(&hold.on, &reason)?;
                let what = format!("legal hold on exactly {}", told(&on));
                if !archive.lift_hold(on, of_source, &reason, &by).await? {
                    return Err(Error::NotFound { what });
                }
            }
        }
        for hold in archive.holds(hold.bucket.as_ref()).await? {
            let is_new = new
                .as_ref()
                .filter(|(_, on)| *on == hold.on && hold.sort == HoldSort::Set);
            let covers = is_new.map(|(covers, _)| *covers);
            let row = HoldRow::from(hold);
            answer.row(&HoldRow { covers, ..row }).await?;
        }
        Ok(())
    }

    /// The versions with content and delete markers that a hold is on now.
    async fn covered(&self, on: &HeldVersions) -> Result<u64, Error> {
        let mut pages = Versions::new(on.bucket.clone(), on.key.clone(), true);
        let mut covered = 0;
        while let Some(rows) = pages.next(self).await? {
            let mut is_over = false;
            for row in rows {
                let is_key = on.is_prefix || row.name.key.as_str() == on.key;
                // The key itself comes before all that only begin with it.
                is_over |= !is_key;
                let is_version = on
                    .version
                    .as_ref()
                    .is_none_or(|one| *one == row.name.version);
                covered += u64::from(is_key && is_version);
            }
            if is_over {
                break;
            }
        }
        Ok(covered)
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
