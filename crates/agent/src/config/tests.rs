//! Every refusal, named by what is refused; each must tell line and remedy.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sealift_identity::Action;

use super::*;

/// A configuration that is accepted by its form.
const GOOD: &str = r#"[site]
name = "a1"
region = "eu-west"
data_dir = "data"

[identity]
certificate = "identity.crt"
private_key_file = "identity.key"
trust_bundle = "own.json"

[keys]
root_key_file = "root.key"

[listen]
address = "127.0.0.1:7443"

[[peer]]
name = "b1"
identity = "spiffe://example.org/region/eu-north/agent/b1"
trust_bundle = "b1.json"
address = "127.0.0.1:7444"

[[source]]
bucket = "photos"
directory = "photos"

[[rule]]
name = "photos"
bucket = "photos"
peers = ["b1"]

[[bucket]]
name = "mirror"
key = "alias/mirror"

[[grant]]
identity = "spiffe://example.org/region/eu-north/agent/b1"
actions = ["replicate", "delete"]
bucket = "mirror"
"#;

fn source(text: &str) -> Source {
    Source {
        path: "/etc/sealift/sealift.toml".into(),
        text: text.to_owned(),
        overrides: Vec::new(),
    }
}

/// What this configuration comes to, or why it is refused.
pub(crate) fn checked(text: &str) -> Result<Config, ConfigError> {
    Config::check(&source(text))
}

/// The same of the example's with more sections.
pub(crate) fn example_with(sections: &str) -> Result<Config, ConfigError> {
    checked(&format!("{}\n{sections}", Template::example().render()))
}

/// Replaces `from` by `to` in the good configuration and returns the only refusal.
fn refusal(from: &str, to: &str) -> Refusal {
    assert!(GOOD.contains(from), "{from}");
    let text = GOOD.replacen(from, to, 1);
    let mut error = checked(&text).unwrap_err();
    assert_eq!(error.refusals.len(), 1, "{error}");
    error.refusals.remove(0)
}

/// The line of GOOD on which `text` begins.
fn line_of(text: &str) -> Place {
    Place::Line(1 + GOOD[..GOOD.find(text).unwrap()].matches('\n').count())
}

#[test]
fn a_good_file_is_taken_with_its_defaults_and_relative_paths() {
    let config = checked(GOOD).unwrap();
    assert_eq!(config.site.data_dir, Path::new("/etc/sealift/data"));
    assert_eq!(config.limits.part_bytes.bytes(), 8 << 20);
    assert_eq!(config.limits.connections_per_peer, None);
    assert_eq!(config.sources[0].scan_interval.as_secs(), 60);
    assert!(config.peers[0].dial_for.send && !config.peers[0].dial_for.receive);
    let (peer, bucket) = (&config.peers[0].identity, &config.buckets[0].name);
    let decision = config.grants.allows(peer, Action::Replicate, bucket);
    let line = decision.line.map(|line| Place::Line(line as usize));
    assert_eq!(line, Some(line_of("[[grant]]")));
}

#[test]
fn an_unknown_field_is_refused_on_its_line() {
    let refusal = refusal("region = ", "regoin = \"x\"\nregion = ");
    assert_eq!(refusal.place, Place::Line(3));
    assert!(refusal.found.contains("regoin"), "{refusal:?}");
    assert!(!refusal.remedy.is_empty());
}

#[test]
fn a_missing_field_is_refused() {
    let refusal = refusal("region = \"eu-west\"\n", "");
    assert!(refusal.found.contains("region"), "{refusal:?}");
}

#[test]
fn a_name_of_the_wrong_form_is_refused() {
    let found = refusal("name = \"a1\"", "name = \"A 1\"");
    assert_eq!(
        (found.place, found.setting.as_str()),
        (Place::Line(2), "site.name")
    );
    assert!(found.found.contains("A 1") && found.allowed.contains("a-z"));
    let identity = "spiffe://example.org/region/eu-north/agent/b1";
    let text = GOOD.replace(identity, "spiffe://example.org/b1");
    let error = checked(&text).unwrap_err();
    let settings: Vec<_> = error.refusals.iter().map(|r| r.setting.as_str()).collect();
    assert_eq!(settings, ["peer.identity"]);
}

#[test]
fn a_name_given_twice_is_refused_where_it_stands_again() {
    let bucket = "[[bucket]]\nname = \"mirror\"\nkey = \"k\"\n\n[[bucket]]";
    let found = refusal("[[bucket]]", bucket);
    assert_eq!(found.setting, "bucket.name");
    assert!(found.found.contains("again, after line"), "{found:?}");
}

#[test]
fn two_layers_take_two_keys_and_a_name_given_twice_is_refused_at_its_line() {
    let two = GOOD.replace(
        "key = \"alias/mirror\"",
        "key = \"alias/mirror\"\nsecond_key = \"alias/outer\"",
    );
    let config = checked(&two).unwrap();
    let bucket = config.buckets.iter().find(|b| b.second_key.is_some());
    let named: Vec<_> = bucket.unwrap().keys().map(|(_, key)| &*key.name).collect();
    assert_eq!(named, ["alias/mirror", "alias/outer"]);
    let same = two.replace("alias/outer", "alias/mirror");
    let error = checked(&same).unwrap_err();
    let [found] = error.refusals.as_slice() else {
        panic!("{error}");
    };
    assert_eq!(found.setting, "bucket.second_key");
    let line = same.lines().position(|line| line.starts_with("second_key"));
    assert_eq!(found.place, Place::Line(line.unwrap() + 1));
}

#[test]
fn a_rule_to_an_unknown_peer_or_of_an_unknown_bucket_is_refused() {
    let found = refusal("peers = [\"b1\"]", "peers = [\"b2\"]");
    assert_eq!(found.place, line_of("peers = "));
    assert!(found.allowed.contains("b1"), "{found:?}");
    let found = refusal(
        "name = \"photos\"\nbucket = \"photos\"",
        "name = \"p\"\nbucket = \"p\"",
    );
    assert_eq!(found.setting, "rule.bucket");
    let found = refusal("peers = [\"b1\"]", "peers = []");
    assert!(found.found.contains("empty"), "{found:?}");
}

#[test]
fn a_grant_for_a_stranger_or_an_unknown_bucket_or_action_is_refused() {
    let found = refusal("bucket = \"mirror\"", "bucket = \"other\"");
    assert_eq!(found.setting, "grant.bucket");
    let found = refusal("\"replicate\", \"delete\"", "\"replicate\", \"own\"");
    assert_eq!(found.setting, "grant.actions");
    assert!(found.allowed.contains("delete"));
    let found = refusal(
        "identity = \"spiffe://example.org/region/eu-north/agent/b1\"\nactions",
        "identity = \"spiffe://example.org/region/eu-north/agent/b2\"\nactions",
    );
    assert_eq!(found.setting, "grant.identity");
}

#[test]
fn a_plaintext_admin_address_off_loopback_is_refused() {
    let found = refusal(
        "[listen]",
        "[admin]\naddress = \"0.0.0.0:7480\"\n\n[listen]",
    );
    assert_eq!(found.setting, "admin.address");
    assert!(found.allowed.contains("loopback"));
}

#[test]
fn an_empty_suite_list_and_an_unknown_suite_are_refused() {
    for (list, word) in [("[]", "empty"), ("[\"TLS_RSA_WITH_RC4_128_MD5\"]", "RC4")] {
        let tls = format!("[tls]\ncipher_suites = {list}\n\n[listen]");
        let found = refusal("[listen]", &tls);
        assert!(found.found.contains(word), "{found:?}");
        assert!(found.allowed.contains("TLS13_AES_256_GCM_SHA384"));
    }
    let found = refusal("[listen]", "[tls]\ngroups = []\n\n[listen]");
    assert!(found.allowed.contains("X25519MLKEM768"));
}

#[test]
fn none_or_two_sources_of_the_root_key_are_refused() {
    let found = refusal("root_key_file = \"root.key\"", "");
    assert!(found.found.starts_with('0'), "{found:?}");
    let both = "root_key_file = \"root.key\"\nroot_key_credential = \"root\"";
    let found = refusal("root_key_file = \"root.key\"", both);
    assert!(found.found.starts_with('2'), "{found:?}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (setting, value) in [
        ("part_bytes", "65537"),
        ("connections_per_peer", "9"),
        ("connections_per_peer", "0"),
        ("memory_bytes", "1024"),
        ("drain_secs", "3601"),
    ] {
        let found = refusal(
            "[listen]",
            &format!("[limits]\n{setting} = {value}\n\n[listen]"),
        );
        assert_eq!(found.setting, format!("limits.{setting}"));
        assert_eq!(found.found, value);
    }
    let found = refusal(
        "directory = \"photos\"",
        "directory = \"photos\"\nscan_interval_secs = 0",
    );
    assert_eq!(found.setting, "source.scan_interval_secs");
}

#[test]
fn times_and_rates_out_of_range_are_refused_and_a_period_of_none_is_none() {
    for (section, setting, value) in [
        ("watchdog", "stalled_after_secs", "1"),
        ("watchdog", "stalled_after_secs", "86401"),
        ("scrub", "rate_bytes_per_sec", "65535"),
        ("scrub", "period_secs", "31622401"),
        ("scrub", "budget_secs_per_hour", "0"),
        ("scrub", "budget_secs_per_hour", "3601"),
        ("scrub", "quarantine_secs", "315619201"),
        ("scrub", "dead_bytes_secs", "315619201"),
    ] {
        let found = refusal(
            "[listen]",
            &format!("[{section}]\n{setting} = {value}\n\n[listen]"),
        );
        assert_eq!(found.setting, format!("{section}.{setting}"));
        assert_eq!(found.found, value);
    }
    let text = GOOD.replacen("[listen]", "[scrub]\nperiod_secs = 0\n\n[listen]", 1);
    let config = checked(&text).unwrap();
    assert_eq!(config.scrub.period, None);
    assert_eq!(config.scrub.rate, sealift_terms::limits::SCRUB_RATE_DEFAULT);
}

#[test]
fn the_revocation_lists_of_a_peer_are_looked_for() {
    let bundle = "trust_bundle = \"b1.json\"";
    let text = GOOD.replacen(bundle, &format!("{bundle}\ncrl = \"b1.crl\""), 1);
    let config = checked(&text).unwrap();
    let crl = config.peers[0].crl.as_deref();
    assert_eq!(crl, Some(Path::new("/etc/sealift/b1.crl")));
    let missing = config.look_at(&["peer.crl"]).unwrap_err();
    assert_eq!(missing.refusals[0].setting, "peer.crl");
}

#[test]
fn who_issues_and_who_renews_is_checked() {
    let ca = "[ca]\ndirectory = \"ca\"\nlisten = \"127.0.0.1:7444\"\nlife_secs = 60\n\
        crl_life_secs = 90\ninterface = \"wg1\"\nnetworks = [\"10.9.0.0/16\"]\n\n[listen]";
    let issuer = "issuer = { address = \"h:1\", identity = \"spiffe://x.org/region/r/agent/i\" }";
    let text =
        GOOD.replacen("[listen]", ca, 1)
            .replacen("\n[keys]", &format!("{issuer}\n\n[keys]"), 1);
    let config = checked(&text).unwrap();
    let (ca_section, renewed) = (config.ca.unwrap(), config.identity.source);
    let CertificatesFrom::Issuer(renewed) = renewed else {
        panic!("{renewed:?}");
    };
    assert_eq!(ca_section.directory, Path::new("/etc/sealift/ca"));
    assert_eq!(ca_section.listen.interface.as_deref(), Some("wg1"));
    assert_eq!(ca_section.listen.networks.to_string(), "10.9.0.0/16");
    assert_eq!(ca_section.life.as_secs(), 60);
    assert_eq!(ca_section.crl_life.as_secs(), 90);
    assert_eq!(renewed.address, "h:1");
    for (from, to, setting) in [
        ("life_secs = 60", "life_secs = 1", "ca.life_secs"),
        ("life_secs = 60", "life_secs = 4060801", "ca.life_secs"),
        (
            "crl_life_secs = 90",
            "crl_life_secs = 9",
            "ca.crl_life_secs",
        ),
        ("127.0.0.1:7444", "nowhere", "ca.listen"),
        ("wg1", "a/b", "ca.interface"),
        ("10.9.0.0/16", "10.9.0.1/16", "ca.networks"),
        ("h:1", "h", "identity.issuer.address"),
        ("agent/i", "i", "identity.issuer.identity"),
    ] {
        let error = checked(&text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.refusals.len(), 1, "{error}");
        assert_eq!(error.refusals[0].setting, setting);
    }
}

#[test]
fn where_peers_come_from_is_checked() {
    let more = "interface = \"wg0\"\nnetworks = [\"10.0.0.0/8\", \"fd00::/8\"]\n";
    let address = "[listen]\naddress = \"127.0.0.1:7443\"\n";
    let text = GOOD.replacen(address, &format!("{address}{more}"), 1);
    let listen = checked(&text).unwrap().listen.unwrap();
    assert_eq!(listen.interface.as_deref(), Some("wg0"));
    assert_eq!(listen.networks.to_string(), "10.0.0.0/8, fd00::/8");
    for (from, to, setting) in [
        ("10.0.0.0/8", "10.0.0.1/8", "listen.networks"),
        ("fd00::/8", "everywhere", "listen.networks"),
        ("wg0", "", "listen.interface"),
        ("wg0", "a-name-that-is-too-long", "listen.interface"),
        ("address = \"127.0.0.1:7443\"\n", "", "listen.address"),
    ] {
        let error = checked(&text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.refusals[0].setting, setting, "{error}");
    }
}

#[test]
fn more_peers_than_the_limit_are_refused() {
    let mut text = GOOD.to_owned();
    for n in 0..sealift_terms::limits::PEERS_MAX {
        text += &format!(
            "\n[[peer]]\nname = \"x{n}\"\nidentity = \"spiffe://d/region/r/agent/x{n}\"\ntrust_bundle = \"t\"\n"
        );
    }
    let error = checked(&text).unwrap_err();
    assert_eq!(error.refusals.len(), 1, "{error}");
    assert_eq!(error.refusals[0].setting, "peer");
}

#[test]
fn an_address_without_a_port_and_a_peer_nobody_can_reach_are_refused() {
    let found = refusal("address = \"127.0.0.1:7444\"", "address = \"b1\"");
    assert_eq!(found.setting, "peer.address");
    let text = GOOD
        .replace("[listen]\naddress = \"127.0.0.1:7443\"\n", "")
        .replace("address = \"127.0.0.1:7444\"\n", "");
    let error = checked(&text).unwrap_err();
    assert!(error.to_string().contains("[listen]"), "{error}");
    let found = refusal("address = \"127.0.0.1:7444\"", "dial_for = [\"send\"]");
    assert_eq!(found.setting, "peer.dial_for");
}

#[test]
fn a_number_that_holds_for_nothing_where_it_is_left_out_has_no_default() {
    for setting in ["expire_noncurrent_days", "quota_objects"] {
        let found = refusal("[[bucket]]", &format!("[[bucket]]\n{setting} = 0"));
        assert_eq!(found.setting, format!("bucket.{setting}"));
        assert_eq!(found.remedy, "leave it out to have none");
    }
}

#[test]
fn a_source_around_the_data_directory_is_refused() {
    let found = refusal("directory = \"photos\"", "directory = \"data/store\"");
    assert_eq!(found.setting, "source.directory");
}

#[test]
fn unknown_log_settings_are_refused() {
    let found = refusal("[listen]", "[log]\nformat = \"xml\"\n\n[listen]");
    assert_eq!(found.setting, "log.format");
    let found = refusal("[listen]", "[log]\nlevel = \"loud\"\n\n[listen]");
    assert_eq!(found.setting, "log.level");
}

#[test]
fn all_refusals_are_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("key = \"alias/mirror\"", "key = \"\"")
        .replace("\"a1\"", "\"A\"");
    let error = checked(&text).unwrap_err();
    assert_eq!(error.to_string().lines().count(), error.refusals.len());
    assert!(error.refusals.len() >= 2, "{error}");
    assert!(
        error
            .to_string()
            .starts_with("/etc/sealift/sealift.toml:2: site.name"),
        "{error}"
    );
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let env = [
        ("SEALIFT_SITE_DATA_DIR".to_owned(), "/from/env".to_owned()),
        ("SEALIFT_LOG_LEVEL".to_owned(), "debug".to_owned()),
        (
            "SEALIFT_PORT_7443_TCP".to_owned(),
            "tcp://10.0.0.1".to_owned(),
        ),
    ];
    let mut source = source(GOOD);
    source.overrides = from_environment(env);
    source.overrides.push(Override {
        setting: "site.data_dir".to_owned(),
        value: "/from/flag".to_owned(),
        place: Place::Flag("--set".to_owned()),
    });
    let config = Config::check(&source).unwrap();
    assert_eq!(config.site.data_dir, Path::new("/from/flag"));
    assert_eq!(config.log.level, "debug");
}

#[test]
fn a_refused_override_names_the_variable_not_a_line() {
    let mut source = source(GOOD);
    let env = [("SEALIFT_LIMITS_DRAIN_SECS".to_owned(), "0".to_owned())];
    source.overrides = from_environment(env);
    let error = Config::check(&source).unwrap_err().to_string();
    assert!(
        error.starts_with("environment variable SEALIFT_LIMITS_DRAIN_SECS"),
        "{error}"
    );
}

/// All that a configuration names, but for sources.
const NAMED: &[&str] = &["site.", "identity.", "keys.", "peer."];

#[test]
fn what_is_missing_on_disk_or_readable_by_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealift.toml");
    fs::write(&path, GOOD).unwrap();
    // Its form is good whatever is there: a running agent can be asked.
    let config = Config::load(&path, Vec::new()).unwrap();
    let missing = config.look_at(NAMED).unwrap_err();
    let settings: Vec<_> = missing
        .refusals
        .iter()
        .map(|r| r.setting.as_str())
        .collect();
    assert_eq!(
        settings,
        [
            "site.data_dir",
            "identity.certificate",
            "identity.private_key_file",
            "identity.trust_bundle",
            "keys.root_key_file",
            "peer.trust_bundle",
        ]
    );
    assert_eq!(config.look_at(&["keys."]).unwrap_err().refusals.len(), 1);
    fs::create_dir(dir.path().join("data")).unwrap();
    for name in [
        "identity.crt",
        "identity.key",
        "root.key",
        "b1.json",
        "own.json",
    ] {
        fs::write(dir.path().join(name), "").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    config.look_at(NAMED).unwrap();

    fs::set_permissions(
        dir.path().join("root.key"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let error = config.look_at(NAMED).unwrap_err();
    assert_eq!(error.refusals.len(), 1);
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn the_socket_is_found_in_a_file_with_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealift.toml");
    let socket = Some(dir.path().join("data").join(crate::SOCKET_FILE));
    let broken = [
        GOOD.to_owned(),
        GOOD.replace("region = ", "regoin = "),
        GOOD.replace("root_key_file = \"root.key\"", "root_key_file = \"root.key"),
        GOOD.replace("[[grant]]", "[[grant]"),
    ];
    for text in broken {
        fs::write(&path, &text).unwrap();
        assert_eq!(Config::find_socket(&path, &[]), socket, "{text}");
    }
    let flag = Override {
        setting: "site.data_dir".to_owned(),
        value: "/elsewhere".to_owned(),
        place: Place::Flag("--set".to_owned()),
    };
    let found = Config::find_socket(&path, &[flag]).unwrap();
    assert_eq!(found, Path::new("/elsewhere").join(crate::SOCKET_FILE));
    fs::write(&path, "[identity]\n").unwrap();
    assert_eq!(Config::find_socket(&path, &[]), None);
}

#[test]
fn a_missing_or_huge_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealift.toml");
    assert!(Config::load(&path, Vec::new()).is_err());
    fs::write(
        &path,
        " ".repeat(sealift_terms::limits::CONFIG_BYTES_MAX + 1),
    )
    .unwrap();
    let error = Config::load(&path, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[test]
fn what_the_template_writes_is_accepted() {
    let example = Template::example().render();
    checked(&example).unwrap();
    let mut template = Template::example();
    template.listen = Some("127.0.0.1:1".to_owned());
    template.peers.push(TemplatePeer {
        name: "b1".to_owned(),
        identity: "spiffe://d/region/r/agent/b1".to_owned(),
        address: Some("[::1]:7443".to_owned()),
        trust_bundle: "with \"quotes\" and \\".to_owned(),
    });
    template
        .sources
        .push(("photos".to_owned(), "/srv/ä".to_owned()));
    template.buckets.push(TemplateBucket {
        name: "mirror".to_owned(),
        key: "alias/m".to_owned(),
        second_key: None,
    });
    template.grants.push(TemplateGrant {
        identity: "spiffe://d/region/r/agent/b1".to_owned(),
        bucket: "mirror".to_owned(),
    });
    let config = checked(&template.render()).unwrap();
    assert_eq!(config.rules.len(), 1);
    assert!(
        config.peers[0]
            .trust_bundle
            .ends_with("with \"quotes\" and \\")
    );
}

#[test]
fn every_commented_section_of_the_example_is_accepted_too() {
    let example = Template::example().render();
    let uncommented: String = example
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| is_setting(rest))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let text = uncommented.replace("eu-west/agent/a1", "eu-north/agent/b1");
    checked(&text).unwrap();
}

#[test]
fn the_other_source_of_certificates_in_the_example_is_accepted_in_place_of_files() {
    let example = Template::example().render();
    let files = ["certificate = ", "private_key_file = "];
    let lines = example
        .lines()
        .filter(|line| !files.iter().any(|file| line.starts_with(file)));
    let uncommented: String = lines
        .map(|line| line.strip_prefix("#   ").unwrap_or(line))
        .map(|line| {
            line.strip_prefix("# agent")
                .map_or(line.to_owned(), |rest| format!("agent{rest}"))
        })
        .map(|line| {
            line.strip_prefix("# dns_name")
                .map_or(line.clone(), |rest| format!("dns_name{rest}"))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    // The first is this site's, the second a peer's, which is not there.
    let (own, rest) = uncommented.split_once("# [[peer]]").unwrap();
    let text = format!("{own}{}", rest.replace("\ndns_name", "\n# dns_name"));
    let config = checked(&text).unwrap();
    assert_eq!(config.identity.source.as_str(), "acme");
}

fn is_setting(line: &str) -> bool {
    line.starts_with('[')
        || line
            .split_once(" = ")
            .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

/// A good configuration with this behind its peer.
fn limited(limit: &str) -> String {
    GOOD.replacen("[[source]]", &format!("{limit}\n[[source]]"), 1)
}

#[test]
fn a_limit_has_a_rate_for_all_times_and_others_for_times_of_the_week() {
    let text = limited(
        "[peer.limit]\nrate_bytes_per_sec = 1000000\n[[peer.limit.times]]\nfrom_utc = \"22:00\"\n\
         to_utc = \"06:00\"\n[[peer.limit.times]]\ndays = [\"sat\", \"sun\"]\nfrom_utc = \"06:00\"\n\
         to_utc = \"22:00\"\nrate_bytes_per_sec = 5000000",
    );
    let config = checked(&text).unwrap();
    // 2026-11-26 is a Thursday, 28 a Saturday.
    for (time, rate) in [
        ("2026-11-26T21:59:59Z", Some(1_000_000)),
        ("2026-11-26T22:00:00Z", None),
        ("2026-11-28T05:00:00Z", None),
        ("2026-11-28T06:00:00Z", Some(5_000_000)),
    ] {
        let at = config.peers[0].limit.at(time.parse().unwrap());
        assert_eq!(at.rate, rate, "{time}");
    }
    let none = checked(GOOD).unwrap();
    assert!(none.peers[0].limit.is_unlimited());
}

#[test]
fn a_limit_that_means_nothing_is_refused_with_what_to_do() {
    let times = |rest: &str| format!("[peer.limit]\n[[peer.limit.times]]\n{rest}");
    let hours = |from: &str, to: &str| {
        format!("from_utc = {from:?}\nto_utc = {to:?}\nrate_bytes_per_sec = 100000\n")
    };
    let twice = times(&format!(
        "{}[[peer.limit.times]]\n{}",
        hours("08:00", "12:00"),
        hours("11:00", "13:00")
    ));
    let many = format!("[[peer.limit.times]]\n{}", hours("08:00", "09:00"));
    let many = format!("[peer.limit]\n{}", many.repeat(limits::LIMIT_TIMES_MAX + 1));
    for (limit, setting, allowed) in [
        (
            "[peer.limit]".to_owned(),
            "peer.limit",
            "rate_bytes_per_sec",
        ),
        (
            "[peer.limit]\nrate_bytes_per_sec = 0".to_owned(),
            "peer.limit.rate_bytes_per_sec",
            "65536 to",
        ),
        (
            times(&format!("days = [\"monday\"]\n{}", hours("08:00", "09:00"))),
            "peer.limit.times.days",
            "mon, tue",
        ),
        (
            times(&format!("days = []\n{}", hours("08:00", "09:00"))),
            "peer.limit.times.days",
            "mon, tue",
        ),
        (
            times(&hours("8:00", "09:00")),
            "peer.limit.times.from_utc",
            "HH:MM",
        ),
        (
            times(&hours("08:00", "24:01")),
            "peer.limit.times.to_utc",
            "HH:MM",
        ),
        (
            times(&hours("08:00", "08:00")),
            "peer.limit.times.to_utc",
            "another time",
        ),
        (twice, "peer.limit.times", "one rate at every moment"),
        (many, "peer.limit.times", "64"),
    ] {
        let text = limited(&limit);
        let mut error = checked(&text).unwrap_err();
        assert_eq!(error.refusals.len(), 1, "{limit}: {error}");
        let refusal = error.refusals.remove(0);
        assert_eq!(refusal.setting, setting, "{limit}");
        assert!(refusal.allowed.contains(allowed), "{refusal:?}");
        assert!(!refusal.remedy.is_empty());
    }
}

#[test]
fn compression_is_automatic_or_off() {
    let with = |value: &str| {
        let text = GOOD.replacen(
            "[listen]",
            &format!("[limits]\ncompression = {value:?}\n\n[listen]"),
            1,
        );
        checked(&text)
    };
    assert!(checked(GOOD).unwrap().limits.compression.is_on());
    assert!(with("auto").unwrap().limits.compression.is_on());
    assert!(!with("off").unwrap().limits.compression.is_on());
    let refused = with("on").unwrap_err().refusals.remove(0);
    assert_eq!(refused.setting, "limits.compression");
    assert!(refused.allowed.contains("auto"), "{refused:?}");
}

#[test]
fn what_is_sent_and_what_is_received_share_the_byte_budget() {
    let config = |text: &str| checked(text).unwrap();
    let both = config(GOOD);
    let all = both.limits.memory_bytes;
    let memory = both.memory();
    assert_eq!(memory.receiving + memory.sending, all);
    assert!(memory.sending >= all / 3 && memory.receiving >= all / 2);
    let (head, tail) = GOOD.split_once("[[source]]").unwrap();
    let (rules, buckets) = tail.split_once("[[bucket]]").unwrap();
    let receives = config(&format!("{head}[[bucket]]{buckets}")).memory();
    assert_eq!((receives.receiving, receives.sending), (all, 0));
    let sends = config(&format!("{head}[[source]]{rules}")).memory();
    assert_eq!(sends.receiving + sends.sending, all);
    assert!(sends.sending > all / 2 && sends.receiving > 0);
}

#[test]
fn a_file_is_the_same_whatever_it_is_called() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let file = dir.path().join("sealift.toml");
    fs::write(&file, GOOD).unwrap();
    let called = Path::new(".").join(dir.path().file_name().unwrap());
    let relative = Config::load(&called.join("sealift.toml"), Vec::new()).unwrap();
    let absolute = Config::load(&file.canonicalize().unwrap(), Vec::new()).unwrap();
    assert_eq!(relative.path, absolute.path);
    assert_eq!(relative.site.data_dir, absolute.site.data_dir);
}

/// The good configuration with a forward and a target.
const FORWARDING: &str = r#"
[[forward]]
name = "postgres"
listen = "127.0.0.1:15432"
peer = "b1"

[[forward_target]]
name = "redis"
address = "unix:/run/redis.sock"
allow = ["spiffe://example.org/region/eu-north/agent/b1"]
"#;

/// Replaces `from` by `to` in that and returns the only refusal.
fn forwarding_refusal(from: &str, to: &str) -> Refusal {
    assert!(FORWARDING.contains(from), "{from}");
    let text = format!("{GOOD}{}", FORWARDING.replacen(from, to, 1));
    let mut error = checked(&text).unwrap_err();
    assert_eq!(error.refusals.len(), 1, "{error}");
    error.refusals.remove(0)
}

#[test]
fn forwards_and_targets_are_taken_with_their_defaults_and_a_share_of_memory() {
    let config = checked(&format!("{GOOD}{FORWARDING}")).unwrap();
    let (forward, target) = (&config.forwards[0], &config.forward_targets[0]);
    assert_eq!(forward.target.as_str(), "postgres");
    assert_eq!(forward.identity, config.peers[0].identity);
    assert_eq!((forward.mode, forward.streams_max), (0o600, 64));
    assert!(target.allow.contains(&config.peers[0].identity));
    assert_eq!(target.idle, limits::FORWARD_IDLE_DEFAULT);
    let (with, without) = (config.memory(), checked(GOOD).unwrap().memory());
    assert_eq!((with.forwarding, without.forwarding), (32 << 20, 0));
    let all = with.receiving + with.sending + with.forwarding;
    assert!(all <= 160 << 20 && all > 159 << 20, "{all}");
}

#[test]
fn a_forward_that_others_could_reach_is_refused_unless_that_is_meant() {
    let local = "listen = \"127.0.0.1:15432\"";
    for listen in ["0.0.0.0:15432", "10.0.0.1:15432", "localhost:15432"] {
        let found = forwarding_refusal(local, &format!("listen = \"{listen}\""));
        assert_eq!(found.setting, "forward.listen");
        assert!(found.remedy.contains("unsafe_listen"), "{found:?}");
        let meant = format!("listen = \"{listen}\"\nunsafe_listen = true");
        let text = format!("{GOOD}{}", FORWARDING.replacen(local, &meant, 1));
        assert!(checked(&text).is_ok(), "{listen}");
    }
    for bad in ["15432", "unix:relative", "127.0.0.1:0"] {
        let found = forwarding_refusal(local, &format!("listen = \"{bad}\""));
        assert_eq!(found.setting, "forward.listen");
    }
}

#[test]
fn forwards_and_targets_of_strangers_or_without_bounds_are_refused() {
    let found = forwarding_refusal("peer = \"b1\"", "peer = \"b2\"");
    assert_eq!(found.setting, "forward.peer");
    let found = forwarding_refusal("agent/b1", "agent/b2");
    assert_eq!(found.setting, "forward_target.allow");
    let identity = "allow = [\"spiffe://example.org/region/eu-north/agent/b1\"]";
    let found = forwarding_refusal(identity, "allow = []");
    assert!(found.found.contains("empty"), "{found:?}");
    let peer = "peer = \"b1\"";
    for (more, setting) in [
        ("streams_max = 257", "forward.streams_max"),
        ("streams_max = 0", "forward.streams_max"),
        ("idle_secs = 0", "forward.idle_secs"),
        ("socket_mode = \"rw\"", "forward.socket_mode"),
    ] {
        let found = forwarding_refusal(peer, &format!("{peer}\n{more}"));
        assert_eq!(found.setting, setting);
    }
    let again =
        format!("{peer}\n\n[[forward]]\nname = \"other\"\nlisten = \"127.0.0.1:15432\"\n{peer}");
    assert_eq!(forwarding_refusal(peer, &again).setting, "forward.listen");
}

#[test]
fn more_forwards_than_there_may_be_are_refused() {
    let one = |i: usize| {
        format!(
            "[[forward]]\nname = \"f{i}\"\nlisten = \"127.0.0.1:{}\"\npeer = \"b1\"\n",
            20_000 + i
        )
    };
    let of = |count: usize| format!("{GOOD}{}", (0..count).map(one).collect::<String>());
    assert!(checked(&of(limits::FORWARDS_MAX)).is_ok());
    let error = checked(&of(limits::FORWARDS_MAX + 1)).unwrap_err();
    assert_eq!(error.refusals[0].setting, "forward");
}

const ENDPOINT: &str = r#"
[endpoint]
listen = "127.0.0.1:9000"
[[endpoint.key]]
id = "photos-app"
secret_file = "app.secret"
buckets = ["mirror"]
rights = ["get"]
"#;

#[test]
fn an_endpoint_is_taken_with_its_keys_and_the_line_of_each() {
    let text = format!("{GOOD}{ENDPOINT}");
    let config = checked(&text).unwrap();
    let endpoint = config.endpoint.unwrap();
    let mirror = "mirror".parse().unwrap();
    let decision = endpoint.rows.allows(
        &endpoint.keys[0].id,
        sealift_identity::AccessRight::Get,
        Some(&mirror),
    );
    let line = text.lines().position(|line| line == "[[endpoint.key]]");
    assert_eq!(decision.line, line.map(|line| line as u32 + 1));
    assert!(
        config
            .named
            .iter()
            .any(|named| named.path.ends_with("app.secret"))
    );
    assert!(checked(GOOD).unwrap().endpoint.is_none());
    for (from, to, setting) in [
        ("127.0.0.1:9000", "0.0.0.0:9000", "endpoint.listen"),
        ("127.0.0.1:9000", "localhost:9000", "endpoint.listen"),
        ("\"photos-app\"", "\"a/b\"", "endpoint.key.id"),
        ("[\"mirror\"]\nrights", "[]\nrights", "endpoint.key.buckets"),
        (
            "[\"mirror\"]\nrights",
            "[\"nobodys\"]\nrights",
            "endpoint.key.buckets",
        ),
        ("[\"get\"]", "[]", "endpoint.key.rights"),
        ("[\"get\"]", "[\"own\"]", "endpoint.key.rights"),
    ] {
        let spoilt = text.replace(from, to);
        assert_ne!(spoilt, text, "{from}");
        let refused = checked(&spoilt).unwrap_err();
        assert_eq!(refused.refusals[0].setting, setting, "{from} {to}");
    }
    let meant = text.replace(
        "listen = \"127.0.0.1:9000\"",
        "listen = \"0.0.0.0:9000\"\nunsafe_listen = true",
    );
    assert!(checked(&meant).is_ok());
    let again = ENDPOINT.split_once("[[endpoint.key]]").unwrap().1;
    let twice = checked(&format!("{text}[[endpoint.key]]{again}"));
    assert_eq!(twice.unwrap_err().refusals[0].setting, "endpoint.key.id");
    let keyless = text.split_once("[[endpoint.key]]").unwrap().0;
    let keyless = checked(keyless).unwrap_err();
    assert_eq!(keyless.refusals[0].setting, "endpoint");
}
