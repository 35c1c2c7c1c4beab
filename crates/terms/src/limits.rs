//! Every limit that sealift holds, in one place. Each has a test where it is held.

use std::time::Duration;

/// Largest object: 5 TiB.
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// Longest object key, in bytes of UTF-8.
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;
/// User metadata of one object, names and values together.
pub const USER_METADATA_BYTES_MAX: usize = 2 * 1024;
/// System metadata of one object: with its tags, content type and entity tag.
pub const SYSTEM_METADATA_BYTES_MAX: usize = 16 * 1024;
/// Tags of one object.
pub const TAGS_MAX: usize = 10;
/// The name of a tag: S3's 128 characters.
pub const TAG_NAME_BYTES_MAX: usize = 512;
/// The value of a tag: S3's 256 characters.
pub const TAG_VALUE_BYTES_MAX: usize = 1024;
/// The JSON in a sealed object's META.
pub const META_JSON_BYTES_MAX: usize = 64 * 1024;
/// Parts of one object (2^20).
pub const PARTS_MAX: u32 = 1 << 20;
/// Objects of this size or less are entries of packs.
pub const PACKED_OBJECT_BYTES_MAX: u64 = 1 << 20;
/// A pack is closed at this length.
pub const PACK_BYTES_MAX: u64 = 64 << 20;
/// The body of one pack entry.
pub const PACK_ENTRY_BYTES_MAX: u32 = 4 << 20;
/// How often over a damaged pack's length entries may be read while looking for the
/// next whole one.
pub const PACK_SEARCH_EFFORT_MAX: u64 = 16;
/// Payload of one frame, decompressed too.
pub const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Data links of one session.
pub const CONNECTIONS_PER_PEER_MAX: usize = 8;
/// Links with one peer, whoever made them: four sessions of a control link and eight
/// data links, so that an old one that is not noticed to be dead keeps nobody out.
pub const LINKS_PER_PEER_MAX: usize = SESSIONS_PER_PEER_MAX * (1 + CONNECTIONS_PER_PEER_MAX);
/// Sessions that one peer may have begun here.
pub const SESSIONS_PER_PEER_MAX: usize = 4;
/// Links in all.
pub const CONNECTIONS_MAX: usize = 256;
/// Configured peers.
pub const PEERS_MAX: usize = 64;
/// Handshakes under way.
pub const PENDING_HANDSHAKES_MAX: usize = 128;
/// Of those, kept for addresses that are known: strangers with many addresses keep them from
/// no peer that was here.
pub const PENDING_HANDSHAKES_KEPT: usize = 32;
/// Handshakes under way from one source address.
pub const PENDING_HANDSHAKES_PER_SOURCE_MAX: usize = 16;
/// An address is known for so long after somebody showed a certificate from there: longer than
/// a connection lasts with certificates of a day.
pub const SOURCE_KNOWN_TIME: Duration = Duration::from_secs(24 * 3600);
/// Addresses that are known; the one that was used longest ago gives way.
pub const SOURCES_KNOWN_MAX: usize = 256;
/// Connections to an issuer whose other side shows no certificate, behind their handshakes.
pub const ENROLLING_MAX: usize = 32;
/// Those of one source address.
pub const ENROLLING_PER_SOURCE_MAX: usize = 4;
/// Connections to an issuer whose other side shows a certificate: nobody without one takes
/// their places.
pub const RENEWING_MAX: usize = 64;
/// Those of one identity.
pub const RENEWING_PER_IDENTITY_MAX: usize = 4;
/// Time in which the body of a request to an issuer has to come.
pub const ISSUER_BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Time of a connection to an issuer, behind its handshake.
pub const ISSUER_TIME_MAX: Duration = Duration::from_secs(30);
/// Parts in flight on one connection.
pub const PARTS_IN_FLIGHT_PER_CONNECTION: usize = 2;
/// What a part should take on its way: it is cut smaller where the line is slow, so that a
/// line that is lost, or a certificate that ends, costs no more than this.
pub const PART_TIME_WANTED: Duration = Duration::from_secs(5);
/// Parts of one object that an answer to its offer says are begun.
pub const BEGUN_PARTS_TOLD_MAX: usize = 1024;
/// How long what came of an interrupted part is kept for the rest, in memory: as long as a
/// record key.
pub const INTERRUPTED_KEPT_MAX: Duration = RECORD_KEY_CACHED_MAX;
/// Bytes of buffers that interrupted parts of one peer keep.
pub const INTERRUPTED_BYTES_PER_PEER_MAX: usize = 4 << 20;
/// The same of all peers together.
pub const INTERRUPTED_BYTES_MAX: usize = 16 << 20;
/// Offers without an answer on one connection.
pub const OFFERS_OUTSTANDING_MAX: usize = 4096;
/// Offers of one session that were asked about before their bytes were sent, and are not over.
pub const OPEN_OFFERS_PER_SESSION_MAX: usize = 1024;
/// Transfers of one key that are looked through for those of one version.
pub const TRANSFERS_OF_KEY_MAX: usize = 1000;
/// Versions whose tags are compared by one question.
pub const TAGS_ASKED_AT_ONCE_MAX: usize = 100;
/// Questions of the peer without an answer, on one connection.
pub const QUESTIONS_OUTSTANDING_MAX: usize = 64;
/// Frames that wait on one connection for a peer that does not read.
pub const LINK_QUEUE_BYTES_MAX: usize = 16 << 20;
/// Uploads begun and not finished that have a file of their own, for one peer.
pub const UNFINISHED_UPLOADS_PER_PEER_MAX: usize = 1024;
/// Body of a request to the admin endpoint.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// A keystore, or a backup of one.
pub const KEYSTORE_BYTES_MAX: usize = 4 << 20;
/// Body of a request to the admin endpoint that brings a keystore's backup.
pub const ADMIN_KEYS_BODY_BYTES_MAX: usize = KEYSTORE_BYTES_MAX + ADMIN_BODY_BYTES_MAX;
/// Files of a certificate authority's directory.
pub const AUTHORITY_FILES_MAX: usize = 1024;
/// One file of a certificate authority's directory.
pub const AUTHORITY_FILE_BYTES_MAX: usize = 1 << 20;
/// A backup of a certificate authority's directory.
pub const AUTHORITY_BACKUP_BYTES_MAX: usize = 16 << 20;
/// A handshake, from accept to the peer's HELLO.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection without a frame from the peer.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// In this time at least [`PART_PROGRESS_BYTES_MIN`] of a part that was begun have to come.
pub const PART_PROGRESS_TIME_MAX: Duration = Duration::from_secs(60);
/// See [`PART_PROGRESS_TIME_MAX`].
pub const PART_PROGRESS_BYTES_MIN: usize = 64 * 1024;
/// How long a part waits for memory before its object is refused for now.
pub const LEASE_TIME_MAX: Duration = Duration::from_secs(30);
/// A write to a peer that takes nothing.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(60);
/// The byte budget of one agent, from which every buffer is drawn.
pub const MEMORY_BUDGET_BYTES: usize = 160 << 20;
/// What one peer may take of the byte budget, and of the files that may be open: this
/// part of either.
pub const PEER_SHARES: usize = 4;
/// Files of unfinished uploads that are open at once, if the system allows as many.
pub const UPLOAD_FILES_MAX: usize = 65_536;
/// Files that are kept for everything but unfinished uploads: connections, sources,
/// databases, packs. Half of what the system allows, if that is less.
pub const FILES_KEPT_BACK: usize = 2048;
/// Kept free in the store for catalog and audit: the larger of this and one percent.
pub const STORE_RESERVE_BYTES_MIN: u64 = 1 << 30;
/// Identities on a site's deny list.
pub const DENIED_MAX: usize = 1000;
/// A file with a deny list of that length.
pub const DENY_LIST_BYTES_MAX: usize = 2 << 20;
/// Why an identity is denied, in bytes.
pub const DENY_REASON_BYTES_MAX: usize = 1024;
/// Certificates and identities that a trust bundle says are revoked.
pub const REVOKED_MAX: usize = 500;
/// A trust bundle, as its file.
pub const TRUST_BUNDLE_BYTES_MAX: usize = 512 * 1024;
/// A file of certificate revocation lists, or one of them.
pub const CRL_BYTES_MAX: usize = 1 << 20;
/// Certificate revocation lists in one file.
pub const CRLS_MAX: usize = 64;
/// How long a certificate revocation list is good for unless the configuration says otherwise.
pub const CRL_LIFE_DEFAULT: Duration = Duration::from_secs(86_400);
/// Identities of which an issuing site remembers what they acknowledged.
pub const ACKNOWLEDGEMENTS_MAX: usize = 4096;
/// Roots of an authority that were retired and are remembered, so that an old bundle with
/// one of them is known for what it is.
pub const RETIRED_ROOTS_MAX: usize = 64;
/// An enrolment token as text.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// The longest time that an enrolment token is good for: one day.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(86_400);
/// Longest life of a certificate: 47 days.
pub const CERTIFICATE_LIFE_MAX: Duration = Duration::from_secs(47 * 86_400);
/// How far a peer's clock may be ahead before its changes are held.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// A description of a key, or why it was rotated.
pub const KEY_NOTE_BYTES_MAX: usize = 256;
/// The shortest time between rotations of a key by itself, in days.
pub const KEY_ROTATION_DAYS_MIN: u16 = 90;
/// The longest time between rotations of a key by itself, in days.
pub const KEY_ROTATION_DAYS_MAX: u16 = 2560;
/// Days between rotations of a key unless something else is asked for.
pub const KEY_ROTATION_DAYS_DEFAULT: u16 = 365;
/// The shortest time that a key waits for its deletion, in days.
pub const KEY_DELETION_DAYS_MIN: u16 = 7;
/// The longest time that a key waits for its deletion, in days; what it waits for unless
/// something else is asked for.
pub const KEY_DELETION_DAYS_MAX: u16 = 30;
/// Regions that one key may be in.
pub const KEY_REGIONS_MAX: usize = 16;
/// Versions of a key that go to another region at once: they fit into a question's body.
pub const KEY_VERSIONS_PER_EXCHANGE_MAX: usize = 128;
/// Exchanges of keys that a site has begun for one peer and not ended.
pub const KEY_EXCHANGES_OPEN_MAX: usize = 16;
/// How long such an exchange is waited for.
pub const KEY_EXCHANGE_TIME_MAX: Duration = Duration::from_secs(30);
/// A root key that a key service wrapped, as a file.
pub const ROOT_KEY_FILE_BYTES_MAX: usize = 16 * 1024;
/// Copies of the keystore that are kept, one of each of the last changes.
pub const KEYSTORE_COPIES_MAX: usize = 16;
/// A version of a key is not destroyed before its successor is as old as this: what was
/// begun under it is known to the catalog by then.
pub const KEY_VERSION_SETTLES: Duration = Duration::from_secs(600);
/// A bucket's key record serves objects for this long at most.
pub const RECORD_LIFE_MAX: Duration = Duration::from_secs(3600);
/// A bucket's key record serves this many objects at most (2^20).
pub const RECORD_OBJECTS_MAX: u64 = 1 << 20;
/// A record key is kept in memory for this long at most.
pub const RECORD_KEY_CACHED_MAX: Duration = Duration::from_secs(300);
/// An unfinished upload without progress is deleted and reported after this: 7 days.
pub const STAGING_IDLE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A configuration file.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Data connections to one peer over a short line, unless the configuration says otherwise.
pub const CONNECTIONS_PER_PEER_DEFAULT: usize = 2;
/// The smallest byte budget an agent can work with.
pub const MEMORY_BUDGET_BYTES_MIN: usize = 64 << 20;
/// The largest byte budget an agent takes.
pub const MEMORY_BUDGET_BYTES_MAX: usize = 16 << 30;
/// How long a shutdown waits for what is in flight unless the configuration says otherwise.
pub const DRAIN_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// How long an agent that stops may take to close its site before it is ended by force.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(15);
/// The longest wait for what is in flight that can be configured: one hour.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(3600);
/// How often a source is scanned unless the configuration says otherwise.
pub const SCAN_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// Pending work without an acknowledgement for this long is an alarm unless the
/// configuration says otherwise: five minutes.
pub const STALLED_AFTER_DEFAULT: Duration = Duration::from_secs(300);
/// The shortest such time that can be configured.
pub const STALLED_AFTER_MIN: Duration = Duration::from_secs(2);
/// The longest such time that can be configured: one day.
pub const STALLED_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Damaged versions that one question asks for; the longest fits into a question's body.
pub const REPAIRS_PER_QUESTION_MAX: usize = 32;
/// A damaged version that did not come is asked for again after this.
pub const REPAIR_ASKED_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Sealed bytes a second that the scrub reads unless the configuration says otherwise.
pub const SCRUB_RATE_DEFAULT: u64 = 20 << 20;
/// The slowest scrub that can be configured.
pub const SCRUB_RATE_MIN: u64 = 64 << 10;
/// The fastest scrub that can be configured.
pub const SCRUB_RATE_MAX: u64 = 16 << 30;
/// The smallest bandwidth limit: every part of an object that is under way on eight
/// connections still gains [`PART_PROGRESS_BYTES_MIN`] in time.
pub const LIMIT_RATE_MIN: u64 = 64 << 10;
/// The largest bandwidth limit.
pub const LIMIT_RATE_MAX: u64 = 16 << 30;
/// Times of the week with a limit of their own, for one peer.
pub const LIMIT_TIMES_MAX: usize = 64;
/// From the beginning of one pass of the scrub to that of the next: 30 days.
pub const SCRUB_PERIOD_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
/// The longest such time that can be configured: one year.
pub const SCRUB_PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How long damaged bytes of a version that came again are kept: 30 days.
pub const QUARANTINE_KEPT_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
/// How long dead bytes stay in a pack that is less than half dead: 30 days.
pub const DEAD_KEPT_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
/// The longest either can be configured: ten years.
pub const KEPT_MAX: Duration = Duration::from_secs(3653 * 86_400);

/// Batches of replication that are remembered: of those that are over the oldest are forgotten first.
pub const BATCHES_MAX: usize = 256;

/// Names of one bucket that cannot be keys and are remembered with why.
pub const UNSUPPORTED_NAMES_MAX: usize = 10_000;

/// Audit records that wait for the log's next commit.
pub const AUDIT_QUEUE_MAX: usize = 65_536;

/// Source networks whose refusals are counted apart; the rest are counted together.
pub const REFUSAL_NETWORKS_MAX: usize = 4096;

/// Transfers that wait for longer than this raise an alarm: 24 hours.
pub const PENDING_ALARM_AFTER: Duration = Duration::from_secs(86_400);

/// Tags of a replica wait for so long for its own region to send it where they go: 7 days.
pub const TAGS_AWAIT_REPLICA_MAX: Duration = Duration::from_secs(7 * 86_400);

/// So many scans of a source in a row that did not come to their end raise an alarm.
pub const SCANS_FAILED_ALARM: u64 = 3;

/// Settled rows of the journal are folded after this: 30 days.
pub const SETTLED_KEPT_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Life of a certificate unless another is asked for: 24 hours.
pub const CERTIFICATE_LIFE_DEFAULT: Duration = Duration::from_secs(86_400);
/// A certificate that is over can be renewed for as long as it lived, and for this long at
/// least: an agent that was off, or whose issuer was, comes back by itself. One day.
pub const RENEWAL_GRACE_MIN: Duration = Duration::from_secs(86_400);
/// Shortest life of a certificate that is issued.
pub const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(10);
/// How far a certificate's start lies before its issue at most; a tenth of its life if that is less.
pub const CERTIFICATE_BACKDATE_MAX: Duration = Duration::from_secs(300);
/// Certificates that a peer may send: its own and those above it.
pub const CERTIFICATE_CHAIN_MAX: usize = 4;
/// One file of certificates, keys or signing requests.
pub const CERTIFICATE_FILE_BYTES_MAX: usize = 64 * 1024;
/// Roots in one trust bundle.
pub const TRUST_ROOTS_MAX: usize = 16;
/// Documents that a Workload API may give to one process; the one that is wanted is among them.
pub const WORKLOAD_DOCUMENTS_MAX: usize = 32;
/// Regions of one certificate authority.
pub const AUTHORITY_REGIONS_MAX: usize = 64;
/// A list of roots that vouch for servers outside, such as a system's.
pub const ROOTS_FILE_BYTES_MAX: usize = 2 << 20;
/// Roots in such a list.
pub const ROOTS_FILE_MAX: usize = 1024;
/// Bytes of a DNS name (RFC 1035, section 2.3.4, as text).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// The longest life of a certificate of a public authority, which may be let pass where
/// the configuration says so.
pub const CERTIFICATE_LIFE_PUBLIC_MAX: Duration = Duration::from_secs(200 * 86_400);
/// DNS names in one certificate.
pub const CERTIFICATE_DNS_NAMES_MAX: usize = 16;
/// Rows for operators.
pub const OPERATORS_MAX: usize = 1_000;
/// Rows of grants.
pub const GRANTS_MAX: usize = 10_000;
/// Bytes of inline objects without a receipt or refusal, on one connection.
pub const INLINE_BYTES_OUTSTANDING_MAX: u64 = 8 << 20;
/// Largest object that is sent inline, behind its offer, in one frame.
pub const INLINE_OBJECT_BYTES_MAX: u64 = 1 << 20;
/// A question or answer between two agents, outside of any transfer.
pub const CONTROL_BODY_BYTES_MAX: usize = 256 * 1024;
/// Receipts in one frame.
pub const RECEIPTS_PER_FRAME_MAX: usize = 256;
/// The plaintext of a canary.
pub const CANARY_BYTES_MAX: usize = 4096;
/// A connection that carried nothing for this long is pinged.
pub const PING_AFTER: Duration = Duration::from_secs(20);
/// Text that explains a refusal, in bytes.
pub const EVIDENCE_BYTES_MAX: usize = 1024;
/// Shortest passphrase, in characters.
pub const PASSPHRASE_CHARS_MIN: usize = 8;
/// Connections to each door of the admin endpoint that are answered at once; more wait.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// A request's head at the admin endpoint, from accept to its end.
pub const ADMIN_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// A request's body at the admin endpoint, from the end of its head to its own.
pub const ADMIN_BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// One row or piece of bytes in a running agent's answer.
pub const ADMIN_PIECE_BYTES_MAX: usize = 4 << 20;
/// Forwarded streams that are open at once, in both roles together.
pub const FORWARD_STREAMS_MAX: usize = 256;
/// Links of forwarded streams: one for each stream, one more for each that moves, and
/// those that wait for a stream.
pub const FORWARD_LINKS_MAX: usize = 320;
/// Links that wait at one peer for it to open streams on them.
pub const FORWARD_WAITING_LINKS_MAX: usize = 2;
/// Configured forwards, and as many targets.
pub const FORWARDS_MAX: usize = 64;
/// Streams of one forward or target unless the configuration says otherwise.
pub const FORWARD_STREAMS_DEFAULT: usize = 64;
/// What a direction of a stream may hold at each end, whatever others hold.
pub const FORWARD_WINDOW_BYTES_MIN: u32 = 64 << 10;
/// What a direction of a stream may hold at each end: to be sent again, or for an
/// application that does not read.
pub const FORWARD_WINDOW_BYTES_MAX: u32 = 4 << 20;
/// Bytes in one DATA frame of a stream: small enough that an answer on its way is not
/// kept behind it for long.
pub const FORWARD_FRAME_BYTES_MAX: u32 = 128 << 10;
/// An end of a stream that has said nothing for this long says how far it is.
pub const FORWARD_HEARTBEAT: Duration = Duration::from_secs(2);
/// The next bytes of a stream are waited for awake for so long, where the last ones came
/// sooner than that: some wake-ups of the system.
pub const FORWARD_AWAKE_MAX: Duration = Duration::from_micros(200);
/// A link of a stream over which nothing came for this long is lost.
pub const FORWARD_SILENT_MAX: Duration = Duration::from_secs(6);
/// A stream whose link is lost goes on over another one within this time, or not at all.
pub const FORWARD_RESUME_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the side that does not open streams keeps one whose link is lost: the
/// other may notice later.
pub const FORWARD_HELD_TIME_MAX: Duration = Duration::from_secs(20);
/// Connecting to the application behind a target.
pub const FORWARD_CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A stream that carried nothing for this long is closed unless the configuration says
/// otherwise: 12 hours.
pub const FORWARD_IDLE_DEFAULT: Duration = Duration::from_secs(12 * 3600);
/// The longest such time that can be configured: 30 days.
pub const FORWARD_IDLE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// An answer of a key service.
pub const KEY_SERVICE_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// A key service is waited for so long, from connecting to the end of its answer.
pub const KEY_SERVICE_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections to a key service that are kept for the next call.
pub const KEY_SERVICE_CONNECTIONS_IDLE_MAX: usize = 4;
/// A token for a key service, as its file.
pub const KEY_SERVICE_TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How long a call waits for its turn, or asks a throttled key service again, before its
/// object is refused for now.
pub const KEY_CALL_PATIENCE_MAX: Duration = Duration::from_secs(2);
/// A key service in trouble is left alone for this long at most, then asked again.
pub const KEY_TROUBLE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Keys whose description is remembered.
pub const KEY_DESCRIPTIONS_MAX: usize = 256;
/// How long the description of a key service's key is good for unless the configuration
/// says otherwise; a key that is disabled is used for that much longer at most.
pub const KEY_STATE_KNOWN_DEFAULT: Duration = Duration::from_secs(30);
/// The longest such time that can be configured.
pub const KEY_STATE_KNOWN_MAX: Duration = RECORD_KEY_CACHED_MAX;
/// Calls a second to a key service unless the configuration says otherwise.
pub const KEY_CALLS_PER_SEC_DEFAULT: u64 = 100;
/// The most calls a second that can be configured.
pub const KEY_CALLS_PER_SEC_MAX: u64 = 100_000;
/// What a provider makes of a record key (AWS KMS: 6,144 bytes).
pub const WRAPPED_BYTES_MAX: usize = 6_144;
/// A version of a CMK wraps this often under random 96-bit nonces (2^31).
pub const WRAPS_PER_VERSION_MAX: u64 = 1 << 31;
/// The file that counts them.
pub const WRAP_COUNTS_BYTES_MAX: usize = 1 << 20;
/// A request to an object store: from connecting to the head of the answer, and from one
/// piece of its body to the next.
pub const S3_TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes of a request's body that are sent in a second at the least; a long body has that
/// time beside the usual.
pub const S3_SENT_BYTES_MIN: u64 = 256 << 10;
/// The smallest part of a multipart upload, but for its last (S3: 5 MiB).
pub const S3_PART_BYTES_MIN: u64 = 5 << 20;
/// Parts of a multipart upload (S3: 10,000).
pub const S3_PARTS_MAX: u64 = 10_000;
/// Files up to this are put in one request.
pub const S3_PUT_BYTES_MAX: u64 = 16 << 20;
/// Parts and files that are sent to one bucket at once.
pub const S3_SENDING_MAX: usize = 8;
/// Parts of one staged file of which the sum is made as they are written and kept until they are
/// sent; any other is read for it.
pub const S3_SUMS_MAX: usize = 64;
/// Bytes at the end of a file that tell whether two of its name are the same: they hold
/// META's commitments to all that is before.
pub const S3_TAIL_BYTES: u64 = 64 << 10;
/// Bytes of a stored file that one reading asks for at first: few, or few more are wanted.
pub const S3_READ_BYTES_MIN: u64 = 64 << 10;
/// Bytes that it asks for while one reading goes on where the last one ended.
pub const S3_READ_BYTES_MAX: u64 = 2 << 20;
/// How long small objects wait for others that go into one pack, which is one request.
pub const S3_GROUP_TIME_MAX: Duration = Duration::from_millis(50);
/// How long it is believed that a bucket which has to keep versions does.
pub const S3_VERSIONING_BELIEVED: Duration = Duration::from_secs(20);
/// What small packs of a bucket are merged into: no more than one request puts.
pub const MERGED_BYTES_MAX: u64 = S3_PUT_BYTES_MAX;
/// Fewer small packs than this are left as they are.
pub const MERGED_PACKS_MIN: usize = 8;
/// Packs that are merged at once, and remembered while more are looked for.
pub const MERGED_PACKS_MAX: usize = 1000;
/// How long a lease of a bucket is good for after it was last renewed.
pub const S3_LEASE_TIME: Duration = Duration::from_secs(60);
/// How often it is renewed.
pub const S3_LEASE_RENEWED: Duration = Duration::from_secs(20);
/// A lease as it stands in its object.
pub const S3_LEASE_BYTES_MAX: u64 = 4096;
/// An answer of an object store that is no object: a page of a listing, events of a queue.
pub const S3_ANSWER_BYTES_MAX: usize = 8 << 20;
/// Nodes of the XML in one.
pub const S3_ANSWER_NODES_MAX: u32 = 100_000;
/// Connections to one bucket that are kept for the next request: as many as a sender reads small
/// objects at once, so that none of them is made anew in between.
pub const S3_CONNECTIONS_IDLE_MAX: usize = 64;
/// Tries of one request that the store throttles or fails; then its object waits.
pub const S3_TRIES_MAX: u32 = 5;
/// The longest wait between two of them.
pub const S3_RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// Versions that are listed in one request.
pub const S3_LISTED_AT_ONCE: usize = 1000;
/// Pages of a listing that may follow one another with nothing in them.
pub const LISTED_EMPTY_MAX: usize = 1000;
/// Bytes of an object that one request asks for.
pub const S3_WINDOW_BYTES: u64 = 8 << 20;
/// Answers of one bucket that are read on later, when the next bytes are wanted.
pub const S3_STREAMS_KEPT_MAX: usize = 16;
/// Runs of bytes of one object of Google whose checksums are known while it is read.
pub const GCS_RUNS_MAX: usize = 4096;
/// Keys of a key service that a source names.
pub const S3_KMS_KEYS_MAX: usize = 100;
/// How long it is believed of a folder that no word of tags means that there are none, after
/// tags could be read of it.
pub const S3_TAGS_BELIEVED: Duration = Duration::from_secs(10);
/// Folders of which that is known at once.
pub const S3_TAGS_FOLDERS_MAX: usize = 1024;
/// Objects whose keys the check of a bucket looks at, to try those that are named.
pub const S3_PROBED_OBJECTS_MAX: usize = 64;
/// How long the check of a bucket takes.
pub const S3_PROBE_TIME_MAX: Duration = Duration::from_secs(15);
/// Versions of one key below the latest that a listing of a bucket carries along; of those
/// that have more all are asked for when one of them is new.
pub const EARLIER_LISTED_MAX: usize = 16;
/// Versions of one key of a bucket that are sent; beyond, the oldest are left out and told.
pub const VERSIONS_OF_KEY_MAX: usize = 10_000;
/// How long a purge of what was deleted at a source waits unless its rule says otherwise: a day.
pub const PURGE_HOLD_DEFAULT: Duration = Duration::from_secs(86_400);
/// How long it waits at most: a year.
pub const PURGE_HOLD_MAX: Duration = Duration::from_secs(365 * 86_400);
/// A purge that was refused for good is asked for again after as much at least.
pub const PURGE_ASKED_AGAIN: Duration = Duration::from_secs(3600);
/// Legal holds of a site, and holds of sources that were lifted.
pub const HOLDS_MAX: usize = 10_000;
/// The longest reason of a legal hold, in bytes.
pub const HOLD_REASON_BYTES_MAX: usize = 1024;
/// The longest retention of a bucket: a hundred years.
pub const RETENTION_DAYS_MAX: u64 = 36_500;
/// Purges that one scan of a source records; the next one finds the others.
pub const PURGES_FOUND_MAX: usize = 2000;
/// So many versions may be gone from a source at once without anybody being asked.
pub const PURGES_UNSUSPECTED_MAX: u64 = 10;
/// More than one in so many gone at once waits for somebody to say that it is meant.
pub const PURGES_PART_UNSUSPECTED: u64 = 4;
/// How often a bucket is scanned unless the configuration says otherwise: 15 minutes.
pub const S3_SCAN_INTERVAL_DEFAULT: Duration = Duration::from_secs(900);
/// How often a bucket of the site's own archive is listed, beside what its commits say.
pub const ARCHIVE_SCAN_INTERVAL_DEFAULT: Duration = Duration::from_secs(3600);
/// The body of a webhook's request.
pub const EVENTS_BODY_BYTES_MAX: usize = 1 << 20;
/// Connections of a webhook that are answered at once; more wait.
pub const EVENTS_CONNECTIONS_MAX: usize = 16;
/// A webhook's request, from its head to the end of its body, and until its hints are taken.
pub const EVENTS_TIME_MAX: Duration = Duration::from_secs(10);
/// The bearer token of a webhook, as its file.
pub const EVENTS_TOKEN_BYTES_MAX: usize = 4096;
/// How long a queue is asked to wait for a message (SQS: 20 s at most).
pub const QUEUE_WAIT: Duration = Duration::from_secs(20);
/// Access keys of the S3 endpoint.
pub const ACCESS_KEYS_MAX: usize = 1_000;
/// The shortest secret of an access key, in bytes.
pub const ACCESS_SECRET_BYTES_MIN: usize = 16;
/// The longest secret of an access key, in bytes.
pub const ACCESS_SECRET_BYTES_MAX: usize = 128;
/// Objects that applications are writing in pieces and have not put together.
pub const ASSEMBLIES_MAX: usize = 1_000;
/// Pieces of all of them; of one object at most [`PIECE_NUMBER_MAX`].
pub const PIECES_MAX: usize = 20_000;
/// The highest number of a piece.
pub const PIECE_NUMBER_MAX: u32 = 10_000;
/// A piece, in bytes, and an object that is written at once.
pub const PIECE_BYTES_MAX: u64 = 5 << 30;
/// A piece that is not the last of its object has at least so many bytes.
pub const PIECE_BYTES_MIN: u64 = 5 << 20;
/// Buckets that may be promoted.
pub const PROMOTED_MAX: usize = 10_000;
/// How far the clock of who signs a request to the S3 endpoint may be from ours.
pub const ENDPOINT_CLOCK_SKEW_MAX: Duration = Duration::from_secs(900);
/// How long a presigned URL may be good for: 7 days.
pub const ENDPOINT_PRESIGNED_LIFE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Connections to the S3 endpoint that are answered at once; more wait.
pub const ENDPOINT_CONNECTIONS_MAX: usize = 256;
/// The head of a request to the S3 endpoint, in bytes.
pub const ENDPOINT_HEAD_BYTES_MAX: usize = 64 << 10;
/// The body of a request to the S3 endpoint, in bytes, that is neither content nor a list.
pub const ENDPOINT_BODY_BYTES_MAX: usize = 64 << 10;
/// A body that lists keys or parts, in bytes.
pub const ENDPOINT_LIST_BYTES_MAX: usize = 4 << 20;
/// A chunk of content that comes with a signature of its own, in bytes, and what may come
/// behind it before it was looked at.
pub const ENDPOINT_CHUNK_BYTES_MAX: u64 = 2 << 20;
/// The next request on a connection to the S3 endpoint, to the end of its head.
pub const ENDPOINT_HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// From a request to the S3 endpoint to the head of its answer.
pub const ENDPOINT_ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// In this time an application has to take [`ENDPOINT_PROGRESS_BYTES_MIN`] of an answer.
pub const ENDPOINT_PROGRESS_TIME_MAX: Duration = Duration::from_secs(60);
/// See [`ENDPOINT_PROGRESS_TIME_MAX`].
pub const ENDPOINT_PROGRESS_BYTES_MIN: u64 = 64 << 10;
/// Keys, versions and common prefixes in one answer of the S3 endpoint.
pub const ENDPOINT_LISTED_MAX: usize = 1_000;
/// Rows of the catalog that one listing of the S3 endpoint looks at, found or not.
pub const ENDPOINT_ROWS_SEEN_MAX: usize = 50_000;
/// How long a store in front of which the endpoint stands may take to put an object together of
/// its parts, or to remove many keys.
pub const FRONT_COMPLETED_WITHIN: Duration = Duration::from_secs(600);
/// How long the answer to a write waits for its replicas where it is to wait for them.
pub const FRONT_SYNCHRONOUS_TIME_MAX: Duration = Duration::from_secs(30);
/// Writes through the endpoint to one bucket that the journal remembers and that nothing could
/// be recorded of; what comes then is refused.
pub const FRONT_INTENTS_MAX: u64 = 1_000_000;
/// Writes through the endpoint whose keys wait to be looked at; more are found by what the
/// journal has of them.
pub const FRONT_QUEUED_MAX: usize = 10_000;
/// Keys that were looked at for writes through the endpoint while one scan is under way; those
/// of later writes wait for its end.
pub const FRONT_DURING_SCAN_MAX: usize = 100_000;
/// Different reads through the endpoint in front of sources that are counted together in a
/// minute; of more each goes on record.
pub const FRONT_READS_COUNTED_MAX: usize = 4096;
/// Intents, the oldest first, among which one of a key is looked for when somebody asks how a
/// version stands. Where there are more, none whose tags may be among them is said to be there.
pub const FRONT_INTENTS_SEEN_MAX: usize = 1000;
/// An answer of a store in which the name of its bucket is made that of ours.
pub const FRONT_RENAMED_BYTES_MAX: usize = S3_ANSWER_BYTES_MAX;
