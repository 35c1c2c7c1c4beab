//! `ca deny`: who is let in no more, whatever certificate they show.

use sealift_terms::limits::DENY_REASON_BYTES_MAX;

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, DeniedRow, Deny},
};

impl SiteOperations {
    pub(super) async fn deny(
        &self,
        deny: Deny,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        if let Some(identity) = deny.identity {
            self.change_denied(identity, deny.lift, deny.reason, actor)?;
        }
        for row in self.site.denied.rows() {
            answer.row(&row).await?;
        }
        Ok(())
    }

    fn change_denied(
        &self,
        identity: sealift_terms::Identity,
        lift: bool,
        reason: Option<String>,
        actor: &Actor,
    ) -> Result<(), Error> {
        let len = reason.as_ref().map_or(0, String::len);
        if len > DENY_REASON_BYTES_MAX {
            return Err(Error::Request {
                what: "reason",
                found: format!("{len} bytes"),
                allowed: format!("{DENY_REASON_BYTES_MAX} bytes"),
            });
        }
        let own = self
            .live
            .as_ref()
            .is_some_and(|live| live.leaves().own.identity == identity);
        if own && !lift {
            return Err(Error::Request {
                what: "identity",
                found: "this agent's own".to_owned(),
                allowed: "another's: deny it at its peers".to_owned(),
            });
        }
        let mut details = vec![
            ("identity", identity.to_string()),
            ("lift", lift.to_string()),
        ];
        details.extend(reason.clone().map(|reason| ("reason", reason)));
        self.record(actor, "deny", &details)?;
        let denied = &self.site.denied;
        match lift {
            true if !denied.lift(&identity)? => {
                return Err(Error::Request {
                    what: "identity",
                    found: format!("{identity}, which is not on the deny list"),
                    allowed: "those that `sealift ca deny` shows".to_owned(),
                });
            }
            true => {}
            false => {
                let row = DeniedRow {
                    identity,
                    since: self.site.world.clock.now(),
                    by: actor.to_string(),
                    reason,
                };
                denied.deny(row)?;
            }
        }
        if let Some(live) = &self.live {
            live.deny(&denied.identities());
        }
        Ok(())
    }
}
