//! What to do about errors of the parts below.

use std::{error::Error as StdError, io};

use sealift_archive::ArchiveError;
use sealift_host::SecretFileError;
use sealift_identity::{EnrolmentRefusal, IdentityError};
use sealift_keys::{KeyError, KeyName, KeyState, ProviderKind};
use sealift_ledger::LedgerError;

/// What is said of an object that is asked for where it is not archived but sent.
pub(crate) const SENT_FROM_HERE: &str = "it is sent from here";

/// What is said of a bucket that is asked for where it is a source.
pub(crate) const SOURCE_HERE: &str = "it is a source here";

/// What is left to do without the catalog: sealed objects stay what they are.
pub(super) const CATALOG_HINT: &str = "bring catalog.db back from a copy of the data directory, or move what is left of it elsewhere \
     and run `sealift verify --rebuild-catalog`, which makes it anew from store and keys (the audit \
     log begins anew)";
/// A journal can be done without: it is made again from the sources.
pub(crate) const JOURNAL_HINT: &str = "bring journal.db back from a copy of the data directory, or move it elsewhere: everything \
     in the sources is offered again then, and the receiver takes only what it has not";

/// What to do when no renewal helps any more.
pub(crate) const ENROL_AGAIN: &str = "enrol this site again: `sealift ca token` for it at the issuer, then here, with the agent stopped, \
     `sealift init --token-file FILE`";

/// What to do about something that is not there.
pub(super) fn not_found_hint(what: &str) -> &'static str {
    match what.split(' ').next() {
        Some("peer") => "see the [[peer]] sections of the configuration, or `sealift status`",
        _ if what.contains(SENT_FROM_HERE) => {
            "ask the site that receives it: `sealift get` with its configuration"
        }
        Some("rule") => "see the [[rule]] sections of the configuration, or `sealift status`",
        Some("batch") => "list them with `sealift batch list`",
        Some("legal") => "name it as it was set: `sealift hold list`",
        Some("archived") if what.contains(SOURCE_HERE) => {
            "promote it at the site that receives it; in front of a source applications write with \
             `fronted = true` in its [[source]]"
        }
        Some("policy") => {
            "see the [[source]], [store] and [[bucket]] sections of the configuration"
        }
        Some("file") => "check the path",
        Some("command") => "use the same version of sealift as the agent's",
        _ => "list what there is with `sealift ls`",
    }
}

/// What to do about a database that cannot be opened.
pub(crate) fn database_hint(which: &str, error: &LedgerError) -> &'static str {
    match (error, which) {
        (LedgerError::NewerSchema { .. }, _) => "run the newer sealift that wrote it",
        (LedgerError::Damaged { .. } | LedgerError::WrongDatabase { .. }, "journal") => {
            JOURNAL_HINT
        }
        (LedgerError::Damaged { .. } | LedgerError::WrongDatabase { .. }, _) => CATALOG_HINT,
        _ => "check the disk, and that the agent's user may write there",
    }
}

/// The same, with the key in the command that is to be run.
pub(crate) fn of_key(error: &KeyError) -> String {
    let hint = key_hint(error);
    match error {
        KeyError::NotUsable { key, .. }
        | KeyError::StateForbids { key, .. }
        | KeyError::Missing { key } => with_key(hint, key),
        _ => hint.to_owned(),
    }
}

/// A hint or remedy whose command names a key that is known. A key of a key service is
/// changed there, and by no command of ours.
pub(crate) fn with_key(hint: &str, key: &str) -> String {
    match KeyName::parse(key).provider {
        ProviderKind::Local => hint.replace(" KEY`", &format!(" {key}`")),
        provider => match hint.split_once(OWN_COMMAND) {
            Some((what, _)) => format!("{what} at its provider, {provider}"),
            None => hint.to_owned(),
        },
    }
}

/// Where a hint goes over to a command that changes the embedded keystore.
const OWN_COMMAND: &str = ": `sealift keys ";

fn key_hint(error: &KeyError) -> &'static str {
    match error {
        KeyError::KeystoreIo { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "bring it back from its backup: `sealift keys restore FILE`; a site that never had one \
             is made by `sealift init`"
        }
        KeyError::KeystoreIo { .. } => "check the disk, and that the agent's user may write there",
        KeyError::Missing { key } if KeyName::parse(key).provider != ProviderKind::Local => {
            error.reason().remedy()
        }
        KeyError::Missing { .. } => "list what there is with `sealift keys list`",
        KeyError::ForeignProvider { .. } => {
            "add its section to the configuration, as in [keys.transit]"
        }
        KeyError::WornOut { .. } => "give the key a new version: rotate it at its provider",
        KeyError::Unsuitable { .. } => {
            "name a key that wraps: see \"Key services\" in docs/operations.md"
        }
        KeyError::AliasTaken { .. } => {
            "choose another alias; `sealift keys rotate` gives the same key a new version"
        }
        KeyError::KeystoreNotAuthentic { .. } | KeyError::KeystoreFormat { .. } => {
            "give the root key or passphrase that it was made with; a keystore that is damaged is \
             moved elsewhere and comes back with `sealift keys restore`"
        }
        KeyError::BackupForeign { .. } | KeyError::BackupDiffers { .. } => {
            "move this keystore elsewhere and run `sealift keys restore` again, if the backup is the \
             one to go on with: what was sealed under the other one will not open"
        }
        KeyError::SecretFile(_) | KeyError::RootKey { .. } => {
            "give the file that was made with the keystore, readable by its owner alone (mode 600)"
        }
        KeyError::NotUsable { state, .. } | KeyError::StateForbids { state, .. }
            if *state == KeyState::PendingImport =>
        {
            "bring its material again: `sealift keys import KEY`"
        }
        KeyError::InUse { .. } => {
            "`sealift keys list` counts what rests under each version; a bucket is given another key \
             in the configuration"
        }
        KeyError::Imported { .. } => {
            "`sealift keys describe KEY` shows the fingerprints of what it had; `sealift keys import \
             --new-version` brings another version"
        }
        KeyError::KeystoreFull => "retire old versions with `sealift keys retire KEY:VERSION`",
        KeyError::KeystoreHasCopy { .. } => {
            "stop the agent and copy that file over keystore.json, then see `sealift keys list`; it \
             holds everything up to the last change that was kept"
        }
        KeyError::KeystoreExists { .. } => {
            "move the keystore that is there elsewhere if another one is to take its place"
        }
        error => regions_hint(error),
    }
}

/// The same of keys of several regions.
fn regions_hint(error: &KeyError) -> &'static str {
    match error {
        KeyError::NotShared { .. } => {
            "make another key with `sealift keys create --multi-region`, and wrap records anew \
             under it: `sealift keys rewrap --to KEY`"
        }
        KeyError::NotPrimary { .. } | KeyError::PrimaryBefore { .. } => {
            "ask there, or lead from here: `sealift keys promote KEY`"
        }
        KeyError::NoReplica { .. } => "`sealift keys replicate KEY --to REGION` makes one",
        KeyError::ReplicaBehind { .. } => {
            "wait until it is: `sealift keys describe KEY` at the primary says what keeps it"
        }
        KeyError::RegionsDiffer { .. } => {
            "compare with `sealift keys diff KEY`; nothing was replaced, and each region opens what \
             it sealed"
        }
        KeyError::Exchange { .. } => "try again; the agent's log at the other end says more",
        error => root_key_hint(error),
    }
}

/// The same of the root key.
fn root_key_hint(error: &KeyError) -> &'static str {
    match error {
        KeyError::RootKeyBefore { .. } => {
            "name the new root key in [keys]; the one before is good for nothing any more"
        }
        KeyError::RekeyUnsettled { .. } => {
            "name the new root key in [keys] and start the agent again first"
        }
        KeyError::RootKeyFile { .. } => {
            "bring the file back: it is no secret, and the keystore opens with it alone and the key \
             that wrapped it"
        }
        KeyError::RootKeyAway { .. } => {
            "nothing opens without that key: mend the way to its service, or what the service says of \
             it, and start again; with a backup of the keys and another root key in [keys], move \
             keystore.json elsewhere and run `sealift keys restore FILE`"
        }
        error => error.reason().remedy(),
    }
}

/// What to do about something that was refused.
pub(super) fn refused_hint(source: &(dyn StdError + 'static)) -> &'static str {
    if let Some(error) = source.downcast_ref::<KeyError>() {
        return key_hint(error);
    }
    if let Some(error) = source.downcast_ref::<IdentityError>() {
        return identity_hint(error);
    }
    if source.is::<crate::operations::NotAllowed>() {
        return "ask the agent's owner for an [[operator]] in its configuration";
    }
    if let Some(error) = source.downcast_ref::<ArchiveError>() {
        return error.reason().remedy();
    }
    match source.downcast_ref::<SecretFileError>() {
        Some(SecretFileError::Exposed { .. }) => "run `chmod 600` on it",
        Some(_) => "name a small file that this user can read",
        None => "see the cause",
    }
}

/// What to do when the operating system refuses something.
pub(super) fn io_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "run as the user that owns it",
        io::ErrorKind::StorageFull => "make room, then run it again",
        io::ErrorKind::NotFound => "check the path; a directory on the way may be missing",
        io::ErrorKind::AlreadyExists => {
            "it is there already and is not replaced: name another path, or move it away"
        }
        io::ErrorKind::NotADirectory => {
            "name a directory, or a path that leads through none but them"
        }
        _ => "check the path and the disk",
    }
}

/// What to do about certificates, authorities and trust bundles.
pub(super) fn identity_hint(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "check the path; `sealift ca init` makes an authority, `sealift ca issue` a certificate"
        }
        IdentityError::File { source, .. } => io_hint(source.kind()),
        IdentityError::SecretExposed { .. } => "run `chmod 600` on it",
        IdentityError::AuthorityExists { .. } => {
            "name another directory with --dir, or issue from the one that is there: `sealift ca issue`"
        }
        IdentityError::Passphrase { .. } | IdentityError::BackupNotOpened => {
            "give the passphrase that it was made with"
        }
        IdentityError::Backup { .. } => "name a file that `sealift ca backup` wrote",
        IdentityError::PassphraseTooShort { .. } => "choose a longer one",
        IdentityError::BadName { .. } => "write it as is allowed",
        IdentityError::UnknownRegion { .. } => {
            "name a region that the authority was made for, or make one for it: `sealift ca init --region`"
        }
        IdentityError::Lifetime { .. } => "ask for a life within that: --life-hours 1 to 1128",
        IdentityError::ForeignIdentity { .. } => "issue it from the CA of its own region",
        IdentityError::IssuerNotValid { .. } => "compare this machine's clock with the CA's dates",
        IdentityError::SigningRequest { .. } => "make the request anew, with a P-256 key",
        IdentityError::TrustBundle { .. } | IdentityError::StaleBundle { .. } => {
            "copy the authority's bundle.json again"
        }
        IdentityError::RevocationList { .. } => {
            "copy it from the authority anew: crl/REGION.pem in its directory"
        }
        IdentityError::AuthorityState { .. } => "see `sealift ca rollover status`",
        IdentityError::Peer { .. } | IdentityError::UnknownPeer { .. } => {
            "see the [[peer]] sections of the configuration"
        }
        IdentityError::AllowList { .. } | IdentityError::Tls(_) => {
            "see the [tls] section of the configuration"
        }
        IdentityError::Grant { .. } => "see the [[grant]] sections of the configuration",
        IdentityError::GraceOver { .. }
        | IdentityError::Enrolment(
            EnrolmentRefusal::BeyondGrace
            | EnrolmentRefusal::UnknownCertificate
            | EnrolmentRefusal::Revoked
            | EnrolmentRefusal::Locked,
        ) => ENROL_AGAIN,
        IdentityError::Enrolment(EnrolmentRefusal::UnknownToken) => {
            "make another: `sealift ca token` at the issuer"
        }
        _ => {
            "have it issued anew: `sealift ca issue` writes certificate, key and bundle; a site that \
             renews at an issuer is enrolled again with a token, `sealift init --token-file FILE`"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_is_not_there_is_listed_by_its_own_command() {
        for (what, command) in [
            ("batch 99 at this site", "`sealift batch list`"),
            ("object photos/a.jpg at this site", "`sealift ls`"),
            ("legal hold of photos/a.jpg", "`sealift hold list`"),
        ] {
            assert!(not_found_hint(what).contains(command), "{what}");
        }
    }
}
