//! A configuration as a person would write it: every section explained, what is
//! not wanted commented out.

use std::fmt::Write;

/// What to write into a configuration.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// `site.name`.
    pub name: String,
    /// `site.region`.
    pub region: String,
    /// `site.data_dir`.
    pub data_dir: String,
    /// `identity.certificate`.
    pub certificate: String,
    /// `identity.private_key_file`.
    pub private_key_file: String,
    /// `identity.trust_bundle`.
    pub trust_bundle: String,
    /// `identity.issuer`: its address and its identity.
    pub issuer: Option<(String, String)>,
    /// `keys.root_key_file`.
    pub root_key_file: String,
    /// `listen.address`.
    pub listen: Option<String>,
    /// `admin.address`.
    pub admin: Option<String>,
    /// `[[peer]]`.
    pub peers: Vec<TemplatePeer>,
    /// `[[bucket]]`.
    pub buckets: Vec<TemplateBucket>,
    /// `[[source]]`: bucket and directory; each gets a rule to every peer.
    pub sources: Vec<(String, String)>,
    /// `[[grant]]`.
    pub grants: Vec<TemplateGrant>,
}

/// A `[[peer]]` to write.
#[derive(Debug, Clone, Default)]
pub struct TemplatePeer {
    /// `peer.name`.
    pub name: String,
    /// `peer.identity`.
    pub identity: String,
    /// `peer.address`.
    pub address: Option<String>,
    /// `peer.trust_bundle`.
    pub trust_bundle: String,
}

/// A `[[bucket]]` to write.
#[derive(Debug, Clone, Default)]
pub struct TemplateBucket {
    /// `bucket.name`.
    pub name: String,
    /// `bucket.key`.
    pub key: String,
    /// `bucket.second_key`: sealed in two layers.
    pub second_key: Option<String>,
}

/// A `[[grant]]` to write: everything a sender needs, on one bucket.
#[derive(Debug, Clone, Default)]
pub struct TemplateGrant {
    /// `grant.identity`.
    pub identity: String,
    /// `grant.bucket`.
    pub bucket: String,
}

impl Template {
    /// An example with every section, for `sealift generate config`.
    #[must_use]
    pub fn example() -> Self {
        Self {
            name: "a1".to_owned(),
            region: "eu-west".to_owned(),
            data_dir: "/var/lib/sealift".to_owned(),
            certificate: "identity.crt".to_owned(),
            private_key_file: "identity.key".to_owned(),
            trust_bundle: "bundle.json".to_owned(),
            root_key_file: "root.key".to_owned(),
            ..Self::default()
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        [
            self.head(),
            self.endpoints(),
            self.peers(),
            self.sending(),
            self.receiving(),
            ENDPOINT.to_owned(),
            FORWARDING.to_owned(),
            TAIL.to_owned(),
        ]
        .join("\n")
        .replace("\n\n\n", "\n\n")
    }

    fn head(&self) -> String {
        format!(
            "# sealift: the configuration of one site. Relative paths start at this file's directory.\n\
             # `sealift check -c THIS` says whether it can work; `sealift reload` takes up changes.\n\
             \n\
             [site]\n\
             name = {}\n\
             region = {}\n\
             # Databases, keys, unfinished objects and the archive; readable by its owner alone.\n\
             data_dir = {}\n\
             \n\
             # Who this agent is. `sealift ca issue` writes both files.\n\
             [identity]\n\
             certificate = {}\n\
             private_key_file = {}\n\
             # The roots this certificate comes from.\n\
             trust_bundle = {}\n\
             # Who renews it by itself: an agent with a [ca] section.\n\
             {}\n\
             {FOREIGN}\
             \n\
             # What opens the keystore. Keep a copy elsewhere: without it nothing archived here opens.\n\
             # Instead: root_key_credential = \"NAME\" (systemd), root_key_passphrase_file = \"FILE\"; or the\n\
             # root_key_wrapped_file of `sealift keys rekey-root`, under a key of a key service.\n\
             [keys]\n\
             root_key_file = {}\n\
             {KEY_SERVICES}",
            quote(&self.name),
            quote(&self.region),
            quote(&self.data_dir),
            quote(&self.certificate),
            quote(&self.private_key_file),
            quote(&self.trust_bundle),
            self.issuer(),
            quote(&self.root_key_file),
        )
    }

    fn issuer(&self) -> String {
        let line = |address: &str, identity: &str| {
            let (address, identity) = (quote(address), quote(identity));
            format!("issuer = {{ address = {address}, identity = {identity} }}")
        };
        match &self.issuer {
            Some((address, identity)) => line(address, identity),
            None => {
                let example = "spiffe://example.org/region/eu-west/agent/issuer";
                format!("# {}", line("issuer.example.org:7444", example))
            }
        }
    }

    fn endpoints(&self) -> String {
        let mut text = "# Where peers are awaited: TLS 1.3, known identities only. Without it this agent only dials.\n"
            .to_owned();
        section(
            &mut text,
            "[listen]",
            &[("address", self.listen.as_deref(), "0.0.0.0:7443")],
        );
        text.push_str(
            "# Only by this interface, and only from these networks; others are refused unheard.\n\
             # interface = \"wg0\"\n# networks = [\"10.0.0.0/8\", \"fd00::/8\"]\n",
        );
        text.push_str(
            "\n# Health and metrics in the clear, on loopback only. Commands use the socket in data_dir.\n",
        );
        section(
            &mut text,
            "[admin]",
            &[
                ("address", self.admin.as_deref(), "127.0.0.1:7480"),
                ("socket", None, "/run/sealift/operators.sock"),
            ],
        );
        text
    }

    fn peers(&self) -> String {
        let mut text = "# The agents this one speaks with. Each is known by its identity and by its own roots.\n\
             # Without an address it is awaited; dial_for says what is done on connections made from here.\n"
            .to_owned();
        for peer in &self.peers {
            let address = peer.address.as_deref();
            let _ = writeln!(text, "[[peer]]");
            line(&mut text, "", "name", &peer.name);
            line(&mut text, "", "identity", &peer.identity);
            line(&mut text, "", "trust_bundle", &peer.trust_bundle);
            line(
                &mut text,
                if address.is_some() { "" } else { "# " },
                "address",
                address.unwrap_or("b1.example.org:7443"),
            );
            text.push_str("# dial_for = [\"send\"]\n");
            text.push_str(LIMIT_HEADING);
            text.push_str(EXAMPLE_LIMIT);
            text.push_str(EXAMPLE_PEER_QUOTA);
        }
        if self.peers.is_empty() {
            text.push_str(EXAMPLE_PEER);
            text.push_str(EXAMPLE_LIMIT);
            text.push_str(EXAMPLE_PEER_QUOTA);
        }
        text
    }

    fn sending(&self) -> String {
        let mut text =
            "# What is replicated from here: a directory, a bucket of an S3 store or of Google, or a container of Azure is the source of one bucket.\n".to_owned();
        let peers: Vec<_> = self.peers.iter().map(|peer| quote(&peer.name)).collect();
        for (bucket, directory) in &self.sources {
            let _ = writeln!(text, "[[source]]");
            line(&mut text, "", "bucket", bucket);
            line(&mut text, "", "directory", directory);
            text.push_str("# scan_interval_secs = 60\n\n");
            let _ = writeln!(text, "[[rule]]");
            line(&mut text, "", "name", bucket);
            line(&mut text, "", "bucket", bucket);
            line(&mut text, "# ", "prefix", "only/below/");
            let _ = writeln!(text, "peers = [{}]\n", peers.join(", "));
        }
        if self.sources.is_empty() {
            text.push_str(EXAMPLE_SENDING);
        }
        text.push_str(EXAMPLE_S3);
        text
    }

    fn receiving(&self) -> String {
        let mut text = EXAMPLE_STORE.to_owned();
        text.push_str(
            "# What is archived here: each bucket is sealed under a key of this site's region.\n",
        );
        for bucket in &self.buckets {
            let _ = writeln!(text, "[[bucket]]");
            line(&mut text, "", "name", &bucket.name);
            line(&mut text, "", "key", &bucket.key);
            if let Some(second) = &bucket.second_key {
                line(&mut text, "", "second_key", second);
            }
            text.push('\n');
        }
        if self.buckets.is_empty() {
            text.push_str(EXAMPLE_BUCKET);
        }
        text.push_str("# Who may do what here. Nothing is allowed that no line allows.\n");
        for grant in &self.grants {
            let _ = writeln!(text, "[[grant]]");
            line(&mut text, "", "identity", &grant.identity);
            text.push_str("actions = [\"replicate\", \"delete\"]\n");
            line(&mut text, "", "bucket", &grant.bucket);
            text.push('\n');
        }
        if self.grants.is_empty() {
            text.push_str(EXAMPLE_GRANT);
        }
        text.push_str(EXAMPLE_OPERATOR);
        text
    }
}

/// A section with its settings, commented out when the first is not given.
fn section(text: &mut String, header: &str, settings: &[(&str, Option<&str>, &str)]) {
    let given = settings.iter().any(|(_, value, _)| value.is_some());
    let _ = writeln!(text, "{}{header}", if given { "" } else { "# " });
    for (name, value, example) in settings {
        line(
            text,
            if value.is_some() { "" } else { "# " },
            name,
            value.unwrap_or(example),
        );
    }
}

fn line(text: &mut String, comment: &str, name: &str, value: &str) {
    let _ = writeln!(text, "{comment}{name} = {}", quote(value));
}

/// A TOML basic string.
fn quote(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

const FOREIGN: &str = r#"# Certificates of another authority: agent says who this is, dns_name what its certificate says in
# place of that; issuers = "any" lets CAs without a region pass (as it is with acme, spiffe, dns_name).
# agent = "spiffe://example.org/region/eu-west/agent/a1"
# dns_name = "a1.example.org"
# issuers = "any"
# From an ACME server, in place of certificate, private_key_file and issuer. Without roots_file it is a
# public one, whose certificates do for a site that only listens and receives. Challenges are answered
# at `listen` while there is one: port 80 for http-01, 443 for tls-alpn-01. life_days_max (47, at most
# 200) stands in [identity]; more than 47 days are warned of.
#   life_days_max = 47
#   [identity.acme]
#   directory = "https://acme.example.org/directory"
#   roots_file = "acme-roots.pem"
#   challenge = "http-01"
#   listen = "0.0.0.0:80"
#   profile = "shortlived"
#   contact = "mailto:ops@example.org"
#   terms_agreed = true
#   uri_in_request = false
#   eab_key_id = "kid"
#   eab_key_file = "eab.key"
# Or from the SPIFFE Workload API, with agent beside it: [identity.spiffe] socket = "/run/spire/agent.sock".
# It gives the trust bundles too, those of peers as well: leave trust_bundle out, here and for each peer.
"#;

const EXAMPLE_PEER: &str = r#"# [[peer]]
# name = "b1"
# identity = "spiffe://example.org/region/eu-north/agent/b1"
# trust_bundle = "b1.bundle.json"
# crl = "b1.crl.pem"
# address = "b1.example.org:7443"
# dns_name = "b1.example.org"
# issuers = "any"
# life_days_max = 47
# dial_for = ["send"]
"#;

const LIMIT_HEADING: &str = "# What may leave for it, over all connections together, and what else at times of the week (in UTC).\n";

const EXAMPLE_LIMIT: &str = r#"# [peer.limit]
# rate_bytes_per_sec = 12500000
# [[peer.limit.times]]
# days = ["mon", "tue", "wed", "thu", "fri"]
# from_utc = "08:00"
# to_utc = "18:00"
# rate_bytes_per_sec = 1250000

"#;

const EXAMPLE_PEER_QUOTA: &str = r#"# What it may bring here, in all buckets together, and how fast that is taken.
# [peer.quota]
# bytes = 1099511627776
# objects = 10000000
# unfinished_bytes = 107374182400            # of objects that it began and did not end
# rate_bytes_per_sec = 12500000

"#;

const EXAMPLE_SENDING: &str = r#"# [[source]]
# bucket = "photos"
# directory = "/srv/photos"
# scan_interval_secs = 60

# [[rule]]
# name = "photos"
# bucket = "photos"
# prefix = ""
# Only versions that have all of these when they are first seen, not of a directory: tags = { class = "hot" }
# peers = ["b1"]
# Of rules that name the same peer the one with the higher priority counts, then the first.
# priority = 0
# delete_markers = true
# Whether a version that was permanently deleted in the bucket is purged there, too, and how long
# it has to be gone before; the grant there needs the action "purge". Of [source.s3], or an archive.
# version_deletes = false
# purge_hold_secs = 86400
# Whether what is there before the rule is sent, too; what is not is SKIPPED.
# existing_objects = true
# Whether replicas go back to the region that they come from: one that lost what it had, and begins empty.
# to_origin = false
# Whether replicas go on at all, to other regions than that: not where each region sends what is written there to all others.
# replicas = true
# An alarm when a change waits for longer.
# rpo_secs = 900

"#;

const EXAMPLE_STORE: &str = r#"# A bucket of an S3 store in which sealed objects rest, in place of store/ in the data directory. Objects
# on their way in are in staging/ there until the bucket has taken them. One agent writes below a prefix.
# [store.s3]
# region = "eu-west-1"
# bucket = "sealed-of-eu-west"
# prefix = "site-b/"                         # with a / at its end
# endpoint = "https://s3.eu-west-1.amazonaws.com"  # http:// on loopback alone
# path_style = false                         # the bucket in the host (AWS), or in the path (the rest)
# credentials_file = "aws-credentials"       # or credentials_from = "instance" or "container"
# roots_file = "s3-roots.pem"                # those of the system without it
# storage_class = "STANDARD_IA"              # of objects and packs; the bucket's usual one without it
# require_versioning = false                 # true: nothing new is taken in while the bucket keeps no versions
# A container of Azure Blob Storage in its place: a section [store.azure] with account, container, prefix,
# endpoint, roots_file, key_file (the account's key) or sas_file (a shared access signature), and access_tier
# ("Cool"). Or a bucket of Google Cloud Storage: [store.gcs] with bucket, prefix, endpoint, roots_file,
# credentials_file (an HMAC key), and storage_class ("NEARLINE").

"#;

const EXAMPLE_S3: &str = r#"# What is archived here can be sent on, and is sealed anew in the next region: archive = true in place of a
# directory, under the name of its [[bucket]].

# A bucket that keeps versions, of AWS or of what speaks its protocol. Changes are found by scans, and at
# once where the store tells of them: by a queue of SQS, or by posting to a webhook.
# [[source]]
# bucket = "documents"
# scan_interval_secs = 900
# fronted = true             # applications write to it through [endpoint], and are known of at once
# synchronous = true         # … and are answered when every destination has given its receipt
# synchronous_secs = 30
# [source.s3]
# region = "eu-west-1"
# endpoint = "https://s3.eu-west-1.amazonaws.com"  # http:// on loopback alone
# bucket = "documents-of-eu-west"            # its name there; without it the source's
# prefix = "in/"                             # only keys that begin so; it stays part of them
# path_style = false                         # the bucket in the host (AWS), or in the path (the rest)
# credentials_file = "aws-credentials"       # or credentials_from = "instance" or "container"
# roots_file = "s3-roots.pem"                # those of the system without it
# kms_keys = ["arn:aws:kms:eu-west-1:111122223333:key/4b1f"]  # objects under other keys are SKIPPED; any without it
# requester_pays = false                     # true: each request says that whoever asks pays for it
# webhook_listen = "127.0.0.1:7480"
# webhook_token_file = "webhook-token"       # the token that the store shows: as a bearer, or as the path of the URL
# queue_url = "https://sqs.eu-west-1.amazonaws.com/111122223333/documents"

# A container of Azure Blob Storage. Changes are found by scans.
# [[source]]
# bucket = "papers"
# scan_interval_secs = 900
# [source.azure]
# account = "paperswe"
# container = "papers"
# prefix = "in/"                             # only blobs that begin so; it stays part of their keys
# endpoint = "https://paperswe.blob.core.windows.net"  # http:// on loopback alone
# sas_file = "azure-sas"                     # a shared access signature; or key_file, the account's key
# roots_file = "azure-roots.pem"             # those of the system without it
# versions = true                            # whether the account keeps versions

# A bucket of Google Cloud Storage that keeps versions. Changes are found by scans.
# [[source]]
# bucket = "scans"
# scan_interval_secs = 900
# [source.gcs]
# bucket = "scans-of-europe-west1"           # its name there; without it the source's
# prefix = "in/"                             # only objects that begin so; it stays part of their keys
# endpoint = "https://storage.googleapis.com"  # http:// on loopback alone
# credentials_file = "gcs-hmac"              # an HMAC key of a service account, as the AWS tools keep one
# roots_file = "gcs-roots.pem"               # those of the system without it
# kms_keys = ["projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"]  # objects under other keys are SKIPPED; any without it

"#;

const KEY_SERVICES: &str = r#"# Key services beside the keystore: a bucket's key is one of theirs with their word in front, as in
# transit/KEY or aws-kms/alias/KEY.
# [keys.transit]                             # Vault or OpenBao
# address = "https://vault.example.org:8200" # http:// on loopback alone
# mount = "transit"
# namespace = "team"
# token_file = "vault-token"                 # read for every call, renewed by itself
# roots_file = "vault-roots.pem"             # those of the system without it
# calls_per_sec = 100
# state_known_secs = 30                      # a key that is disabled is used for that much longer at most
# [keys.aws_kms]
# region = "eu-west-1"                       # AWS's name of this site's region
# endpoint = "https://kms.eu-west-1.amazonaws.com"
# credentials_file = "aws-credentials"       # or credentials_from = "instance" or "container"
# calls_per_sec = 100
# [keys.pkcs11]                              # a hardware module, or SoftHSM
# module = "/usr/lib/softhsm/libsofthsm2.so"
# token = "sealift"                          # its label; keys are known by theirs, versions by their ids
# pin_file = "hsm-pin"
# directories = ["/var/lib/softhsm/tokens"]  # what the module reads and writes
"#;

const EXAMPLE_BUCKET: &str = r#"# [[bucket]]
# name = "photos"
# key = "alias/photos"
# bucket_keys = true
# allowed_regions = ["eu-west"]
# Sealed in two layers, each under a key of its own:
# second_key = "alias/photos-outer"
# What it may hold, all versions together; without them there is no limit.
# quota_bytes = 1000000000000
# quota_objects = 10000000
# No version is purged before it was here for so long, whoever asks; and versions that are not
# the latest are, once another one was above them for so long. Without them, never and never.
# min_retention_days = 90
# expire_noncurrent_days = 365

"#;

const EXAMPLE_GRANT: &str = r#"# [[grant]]
# identity = "spiffe://example.org/region/eu-west/agent/a1"
# To purge versions for good takes the action "purge".
# actions = ["replicate", "delete"]
# bucket = "photos"

"#;

const EXAMPLE_OPERATOR: &str = r#"# What users of this machine may do besides the agent's own, who may do everything. They come by
# `socket` in [admin]. Actions: look, open, seal, create, rotate, retire, replicate, backup,
# read-audit, administer.
# [[operator]]
# group = "1000"     # a number, or a name of /etc/group; or user = "…"
# actions = ["look", "read-audit"]
# keys = ["alias/photos"]
# buckets = ["*"]

"#;

const ENDPOINT: &str = r#"# What is archived here, for applications that speak S3: to be read. On loopback; any other address
# needs unsafe_listen = true. `sealift endpoint key` makes access keys. Rights: get, list,
# and where an operator promoted the bucket put, delete, and purge, which removes versions.
# [endpoint]
# listen = "127.0.0.1:9000"
# [[endpoint.key]]
# id = "photos-app"
# secret_file = "photos-app.secret"
# buckets = ["photos"]
# rights = ["get", "list"]

"#;

const FORWARDING: &str = r#"# Any TCP protocol through the same connections: what connects at `listen` reaches the target
# of that name at the peer. Loopback or unix:PATH; anything else needs unsafe_listen = true.
# [[forward]]
# name = "postgres"
# listen = "127.0.0.1:15432"
# peer = "b1"
# target = "postgres"
# socket_mode = "0600"
# streams_max = 64
# idle_secs = 43200

# What peers may reach through here, and which of them. A [[peer]] with dial_for = ["forward_target"]
# keeps connections waiting there, for one that cannot dial us.
# [[forward_target]]
# name = "postgres"
# address = "127.0.0.1:5432"
# allow = ["spiffe://example.org/region/eu-west/agent/a1"]
# streams_max = 64
# idle_secs = 43200

"#;

const TAIL: &str = r#"# Allow-lists in order of preference. TLS 1.3 only; an empty list is refused.
# [tls]
# cipher_suites = ["TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"]
# groups = ["X25519MLKEM768", "X25519"]

# compression: "auto" where a line is slower than compressing and it pays, or "off" in both directions.
# Without connections_per_peer a peer has 2 connections for data, and up to 8 over a long line.
# part_bytes is the largest part; where a line moves less in five seconds, parts are smaller.
# [limits]
# part_bytes = 8388608
# connections_per_peer = 2
# memory_bytes = 167772160
# drain_secs = 30
# compression = "auto"

# [log]
# format = "text"
# level = "info"

# Pending work and no acknowledgement for this long is an alarm, and the peer is dialled anew.
# [watchdog]
# stalled_after_secs = 300

# Every sealed byte is opened again, a pass in each period (0: only when asked for). What is damaged is
# put into quarantine and comes again from its source; its bytes are kept for quarantine_secs after that.
# [scrub]
# period_secs = 2592000
# rate_bytes_per_sec = 20971520
# budget_secs_per_hour = 3600
# quarantine_secs = 2592000
# dead_bytes_secs = 2592000

# This agent issues certificates: against tokens of `sealift ca token`, and renewals.
# [ca]
# directory = "ca"
# listen = "0.0.0.0:7444"
# Only by this interface, and only from these networks, as in [listen].
# interface = "wg0"
# networks = ["10.0.0.0/8", "fd00::/8"]
# life_secs = 86400
# crl_life_secs = 86400

# Single settings can be given outside this file, and win over it: in the environment
# as SEALIFT_ and the name in capitals, as in SEALIFT_LOG_LEVEL=debug, and on the
# command line, as in --set log.level=debug. SEALIFT_CONFIG names the file itself.
"#;
