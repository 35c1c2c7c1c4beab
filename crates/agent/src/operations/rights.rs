//! Who may ask for what: the one place in which a request is held against the rows for
//! operators.

use sealift_identity::{OperatorAction, OperatorDecision, Subject};
use sealift_keys::KeyProvider;
use sealift_terms::{AuditKind, AuditRecord, Reason};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, BatchAct, Batches, HoldAct, Keys, Request},
};

/// Why an operator is refused.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {decision}")]
pub(crate) struct NotAllowed {
    reason: Reason,
    decision: OperatorDecision,
}

impl SiteOperations {
    /// Refuses a request that no row allows, on record. The agent's own user and the
    /// superuser have the keys anyway.
    pub(super) async fn hold_rights(&self, request: &Request, actor: &Actor) -> Result<(), Error> {
        let Some(gid) = actor.operator else {
            return Ok(());
        };
        for (action, subject) in self.demands(request).await {
            let config = self.site.current();
            let decision = config.operators.allows(actor.uid, gid, action, subject);
            if decision.is_allowed() {
                continue;
            }
            let (now, told) = (self.site.world.clock.now(), decision.to_string());
            if self.denials.lock().is_due(&told, now) {
                tracing::warn!(decision = told, command = request.word(), "access denied");
                let record = AuditRecord::new(now, AuditKind::AccessDenied, actor.to_string())
                    .with("command", request.word())
                    .with("decision", told)
                    .with("reason", Reason::PolicyDenied);
                self.site.record(record)?;
            }
            let reason = Reason::PolicyDenied;
            let what = format!("`{}`", request.word());
            return Err(Error::refused(what)(NotAllowed { reason, decision }));
        }
        Ok(())
    }

    /// Everything that a request takes.
    async fn demands(&self, request: &Request) -> Vec<(OperatorAction, Subject)> {
        use OperatorAction::{Administer, Look, Open, ReadAudit, Seal};
        let bucket = |bucket: &sealift_terms::BucketName| Subject::Bucket(Some(bucket.clone()));
        match request {
            Request::Status | Request::Certs => vec![(Look, Subject::Site)],
            Request::Ls(ls) => vec![(Look, Subject::Bucket(ls.bucket.clone()))],
            Request::Residency(of) => vec![(Look, Subject::Bucket(of.bucket.clone()))],
            // What rests sealed is shown to who may open it.
            Request::Inspect(named) if named.facts => vec![(Open, bucket(&named.bucket))],
            Request::Inspect(named) | Request::Explain(named) => {
                vec![(Look, bucket(&named.bucket))]
            }
            Request::Verify(verify) => {
                let action = if verify.deep { Open } else { Look };
                vec![(action, Subject::Bucket(verify.bucket.clone()))]
            }
            Request::Get(get) => vec![(Open, bucket(&get.bucket))],
            Request::Scrub(scrub) if !scrub.now => vec![(Look, Subject::Site)],
            Request::Deny(deny) if deny.identity.is_none() => vec![(Look, Subject::Site)],
            Request::Hold(hold) if hold.act == HoldAct::List => {
                vec![(Look, Subject::Bucket(hold.bucket.clone()))]
            }
            Request::Batches(Batches {
                act: BatchAct::List | BatchAct::Show(_) | BatchAct::Objects(_),
            }) => vec![(Look, Subject::Bucket(None))],
            Request::Promote(promote) if promote.bucket.is_none() => vec![(Look, Subject::Site)],
            Request::Retry(_)
            | Request::Reload
            | Request::Check(_)
            | Request::Plan(_)
            | Request::Replicate(_)
            | Request::Batches(_)
            | Request::Scan
            | Request::Scrub(_)
            | Request::Renew
            | Request::Deny(_)
            | Request::Promote(_)
            | Request::Hold(_)
            | Request::Token(_)
            | Request::Issue(_)
            | Request::Revoke(_)
            | Request::Rollover(_) => vec![(Administer, Subject::Site)],
            Request::Keys(keys) => self.of_keys(keys).await,
            Request::Rewrap(rewrap) => {
                let from = match &rewrap.from {
                    Some(from) => self.key(from).await,
                    None => Subject::Bucket(rewrap.bucket.clone()),
                };
                vec![(Seal, self.key(&rewrap.to).await), (Open, from)]
            }
            Request::Reseal(reseal) => {
                let mut buckets: Vec<_> = reseal.objects.iter().map(|name| &name.bucket).collect();
                buckets.sort_unstable();
                buckets.dedup();
                let both = |name| [(Open, bucket(name)), (Seal, bucket(name))];
                buckets.into_iter().flat_map(both).collect()
            }
            // It reads wherever the agent may, and takes files away.
            Request::Adopt(adopt) => vec![
                (Administer, Subject::Site),
                (Seal, bucket(&adopt.bucket)),
                (Open, bucket(&adopt.bucket)),
            ],
            Request::Audit(_) => vec![(ReadAudit, Subject::Site)],
        }
    }

    async fn of_keys(&self, keys: &Keys) -> Vec<(OperatorAction, Subject)> {
        use OperatorAction::{Administer, Backup, Create, Look, Replicate, Retire, Rotate};
        match keys {
            Keys::List => vec![(Look, Subject::Site)],
            Keys::Describe { key } | Keys::Diff { key, .. } => vec![(Look, self.key(key).await)],
            Keys::Replicate { key, .. }
            | Keys::Promote { key, .. }
            | Keys::DropReplica { key, .. } => vec![(Replicate, self.key(key).await)],
            Keys::Create { alias, .. } => vec![(Create, Subject::Key(vec![alias.to_string()]))],
            Keys::Import {
                key, new_version, ..
            } => {
                let rotates = new_version.then_some(Rotate);
                let key = self.key(key.as_str()).await;
                let actions = [Create].into_iter().chain(rotates);
                actions.map(|action| (action, key.clone())).collect()
            }
            // Grants name keys by their aliases: another one would give more than that.
            Keys::Set { change, .. } if change.alias.is_some() => {
                vec![(Administer, Subject::Site)]
            }
            Keys::Rotate { key, .. } | Keys::Set { key, .. } => {
                vec![(Rotate, self.key(key).await)]
            }
            Keys::Disable { key }
            | Keys::Enable { key }
            | Keys::ScheduleDeletion { key, .. }
            | Keys::CancelDeletion { key }
            | Keys::Retire { key, .. } => vec![(Retire, self.key(key).await)],
            Keys::Backup { .. }
            | Keys::BackedUp(_)
            | Keys::Restore { .. }
            | Keys::WrapRoot { .. }
            | Keys::RekeyRoot(_) => {
                vec![(Backup, Subject::Key(vec!["every key".to_owned()]))]
            }
        }
    }

    /// A key by all its names.
    async fn key(&self, name: &str) -> Subject {
        let mut names = vec![name.to_owned()];
        let key = super::batches::key_and_version(name).0;
        for asked in [name, key] {
            if let Ok(described) = self.site.providers.describe(asked).await {
                names.push(described.id.to_string());
                names.extend(described.alias.map(|alias| alias.to_string()));
                break;
            }
        }
        names.push(key.to_owned());
        Subject::Key(names)
    }
}
