//! What can be wrong with our own side: files, settings, certificates.

use std::{io, path::PathBuf};

use sealift_terms::{Identity, Region, Timestamp};

use crate::refusal::Refusal;

/// Why something of ours cannot be used. What a peer does wrong is a [`Refusal`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot {act} {}", path.display())]
    File {
        /// What was tried: `read` or `write`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A secret file can be read by others than its owner.
    #[error("{} can be read by others (mode {mode:03o}): allowed is 600 or 400; run `chmod 600` on it", path.display())]
    SecretExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file has not the content it should have.
    #[error("{}: {what}", path.display())]
    FileContent {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// The directory of a certificate authority has one already.
    #[error("{} holds a certificate authority already", path.display())]
    AuthorityExists {
        /// The directory.
        path: PathBuf,
    },
    /// The passphrase does not open the root key, or the file was altered.
    #[error("the passphrase does not open the root key, or {} was altered", path.display())]
    Passphrase {
        /// The sealed root key.
        path: PathBuf,
    },
    /// The passphrase does not open the backup of an authority, or the file was altered.
    #[error("the passphrase does not open the backup, or it was altered")]
    BackupNotOpened,
    /// The backup of an authority is not what it should be.
    #[error("the backup {what}")]
    Backup {
        /// What was found and what was expected.
        what: String,
    },
    /// The passphrase is too short to protect anything.
    #[error("the passphrase has {found} characters: at least {needed} are needed")]
    PassphraseTooShort {
        /// Characters found.
        found: usize,
        /// Characters needed.
        needed: usize,
    },
    /// A name given to the authority is not allowed.
    #[error("{found:?} is not a {what}: allowed is {allowed}")]
    BadName {
        /// The sort of name.
        what: &'static str,
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The authority has no issuing CA for the region.
    #[error("there is no issuing CA for region {region}")]
    UnknownRegion {
        /// The region.
        region: Region,
    },
    /// An issuing CA was asked for an identity of another region or domain.
    #[error("the issuing CA of {issuer} cannot issue for {identity}")]
    ForeignIdentity {
        /// The URI of the issuing CA.
        issuer: String,
        /// The identity that was asked for.
        identity: Identity,
    },
    /// The life that was asked for is not allowed.
    #[error("a life of {asked_secs} s is not allowed: {min_secs} s to {max_secs} s (47 days) are")]
    Lifetime {
        /// Seconds asked for.
        asked_secs: u64,
        /// The shortest.
        min_secs: u64,
        /// The longest.
        max_secs: u64,
    },
    /// The issuing CA is no longer, or not yet, valid.
    #[error(
        "the issuing CA of {issuer} is valid from {not_before} to {not_after}, it is {now} now"
    )]
    IssuerNotValid {
        /// The URI of the issuing CA.
        issuer: String,
        /// Its start.
        not_before: Timestamp,
        /// Its end.
        not_after: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The text is not an enrolment token.
    #[error("that is not an enrolment token: {0}")]
    Token(&'static str),
    /// No certificate is issued.
    #[error(transparent)]
    Enrolment(#[from] crate::enrolment::EnrolmentRefusal),
    /// A certificate is over for longer than its issuer renews it.
    #[error(
        "the certificate of {identity} ended at {not_after} and could be renewed until {until}"
    )]
    GraceOver {
        /// Who it is for.
        identity: Identity,
        /// When it ended.
        not_after: Timestamp,
        /// Until when it could be renewed.
        until: Timestamp,
    },
    /// The signing request cannot be used.
    #[error("the certificate signing request is refused: {what}")]
    SigningRequest {
        /// What is wrong with it.
        what: String,
    },
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Issuing(#[source] rcgen::Error),
    /// A key could not be sealed or opened by the cipher or the password hash.
    #[error("the key could not be sealed: {what}")]
    Sealing {
        /// Which step failed.
        what: &'static str,
    },
    /// A certificate of ours cannot be read.
    #[error("the certificate cannot be read: {what}")]
    Certificate {
        /// What is wrong with it.
        what: String,
    },
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate of {identity}")]
    KeyMismatch {
        /// The identity in the certificate.
        identity: Identity,
    },
    /// The private key is of a sort that cannot be used.
    #[error("the private key cannot be used: allowed are P-256, P-384, Ed25519 and RSA in PEM")]
    PrivateKey(#[source] Option<rustls::Error>),
    /// A peer would refuse our certificate; it is not published.
    #[error("a peer would refuse this certificate: {refusal}")]
    WouldBeRefused {
        /// What the peer's verifier says.
        #[source]
        refusal: Refusal,
    },
    /// A new certificate has another identity than the running agent.
    #[error("the new certificate is for {found}, this agent is {expected}")]
    IdentityChanged {
        /// Who the agent is.
        expected: Identity,
        /// Who the certificate is for.
        found: Identity,
    },
    /// A trust bundle is not usable.
    #[error("the trust bundle is refused: {what}")]
    TrustBundle {
        /// What is wrong with it.
        what: String,
    },
    /// Certificate revocation lists are not usable.
    #[error("the revocation lists are refused: {what}")]
    RevocationList {
        /// What is wrong with them.
        what: String,
    },
    /// The authority is not where a step would need it to be.
    #[error("the authority cannot do that: {what}")]
    AuthorityState {
        /// How it stands, and what it would need.
        what: String,
    },
    /// A trust bundle is older than the one in use.
    #[error("trust bundle number {offered} is older than number {current} in use")]
    StaleBundle {
        /// The number in use.
        current: u64,
        /// The number offered.
        offered: u64,
    },
    /// The peers cannot be configured so.
    #[error("peer {peer}: {what}")]
    Peer {
        /// The peer's name.
        peer: String,
        /// What is wrong.
        what: String,
    },
    /// No such peer is configured.
    #[error("no peer with identity {identity} is configured")]
    UnknownPeer {
        /// The identity asked for.
        identity: Identity,
    },
    /// An allow-list of suites or groups is not usable.
    #[error("{list}: found {found}, allowed is a list of one or more of {allowed}, each once")]
    AllowList {
        /// The list: `cipher suites` or `groups`.
        list: &'static str,
        /// What was found.
        found: String,
        /// The names that are known.
        allowed: String,
    },
    /// A row of grants is not usable.
    #[error("grant at line {line}: {what}")]
    Grant {
        /// Its line in the configuration.
        line: u32,
        /// What is wrong.
        what: String,
    },
    /// The TLS library does not take the settings.
    #[error("the TLS settings are not usable")]
    Tls(#[source] rustls::Error),
}
