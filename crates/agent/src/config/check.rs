//! Raw structure → checked structure: the sections that stand once.

use std::{net::SocketAddr, ops::Range, time::Duration};

use sealift_identity::TlsPolicy;
use sealift_terms::{Network, Networks, PartSize, limits};
use toml::Spanned;

use super::{
    checked::{Ca, Compression, Limits, Listen, Log, LogFormat, RootKeySource, Scrub, Site},
    checker::Checker,
    named::Wanted,
    raw::{self, Number, Text},
};

/// The kernel's IFNAMSIZ, without the byte that ends a name.
const INTERFACE_BYTES_MAX: usize = 15;

pub(super) fn site(c: &mut Checker<'_>, raw: &raw::Site) -> Option<Site> {
    let name = c.name("site.name", &raw.name);
    let region = c.name("site.region", &raw.region);
    let remedy = "run `sealift init`, which makes it";
    let data_dir = c.named("site.data_dir", &raw.data_dir, Wanted::Directory, remedy);
    Some(Site {
        name: name?,
        region: region?,
        data_dir,
    })
}

pub(super) fn ca(c: &mut Checker<'_>, raw: &raw::Ca) -> Option<Ca> {
    let remedy = "run `sealift ca init`, which makes it";
    let directory = c.named("ca.directory", &raw.directory, Wanted::Directory, remedy);
    let settings = ["ca.listen", "ca.interface", "ca.networks"];
    let listen = narrowed(c, settings, &raw.listen, (&raw.interface, &raw.networks));
    let life = c.number(
        "ca.life_secs",
        raw.life_secs.as_ref(),
        limits::CERTIFICATE_LIFE_MIN.as_secs()..=limits::CERTIFICATE_LIFE_MAX.as_secs(),
        limits::CERTIFICATE_LIFE_DEFAULT.as_secs(),
    );
    let crl_life = c.number(
        "ca.crl_life_secs",
        raw.crl_life_secs.as_ref(),
        limits::CERTIFICATE_LIFE_MIN.as_secs()..=limits::CERTIFICATE_LIFE_MAX.as_secs(),
        limits::CRL_LIFE_DEFAULT.as_secs(),
    );
    Some(Ca {
        directory,
        listen: listen?,
        life: Duration::from_secs(life),
        crl_life: Duration::from_secs(crl_life),
    })
}

pub(super) fn root_key(
    c: &mut Checker<'_>,
    raw: &raw::Keys,
    section: &Range<usize>,
) -> Option<RootKeySource> {
    let given = [
        raw.root_key_file.as_ref(),
        raw.root_key_credential.as_ref(),
        raw.root_key_passphrase_file.as_ref(),
        raw.root_key_wrapped_file.as_ref(),
    ];
    let count = given.iter().flatten().count();
    if count != 1 {
        let span = given.iter().flatten().last().map(|text| text.span());
        return c.refuse(
            "keys",
            &span.unwrap_or_else(|| section.clone()),
            format!("{count} sources of the root key"),
            "exactly one of root_key_file, root_key_credential, root_key_passphrase_file, \
             root_key_wrapped_file",
            "keep one of them",
        );
    }
    let remedy = "run `sealift init`, or restore it from its backup";
    match raw {
        raw::Keys {
            root_key_file: Some(text),
            ..
        } => Some(RootKeySource::File(c.named(
            "keys.root_key_file",
            text,
            Wanted::Secret,
            remedy,
        ))),
        raw::Keys {
            root_key_passphrase_file: Some(text),
            ..
        } => Some(RootKeySource::PassphraseFile(c.named(
            "keys.root_key_passphrase_file",
            text,
            Wanted::Secret,
            remedy,
        ))),
        raw::Keys {
            root_key_wrapped_file: Some(text),
            ..
        } => Some(RootKeySource::WrappedFile(c.named(
            "keys.root_key_wrapped_file",
            text,
            Wanted::File,
            remedy,
        ))),
        raw::Keys {
            root_key_credential: Some(text),
            ..
        } => credential(c, text),
        _ => None,
    }
}

fn credential(c: &mut Checker<'_>, text: &Text) -> Option<RootKeySource> {
    let name = text.get_ref();
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return c.refuse(
            "keys.root_key_credential",
            &text.span(),
            format!("{name:?}"),
            "the name of a systemd credential, without '/'",
            "write the name given to LoadCredentialEncrypted=",
        );
    }
    Some(RootKeySource::Credential(name.clone()))
}

/// An address whose traffic is encrypted: any will do.
pub(super) fn listen(c: &mut Checker<'_>, raw: &raw::Listen) -> Option<Listen> {
    let Some(text) = &raw.address else {
        let more = raw.interface.iter().chain(&raw.networks).next()?;
        return c.refuse(
            "listen.address",
            &more.span(),
            "no address",
            "an address, where there is more in [listen]",
            "add address = \"0.0.0.0:7443\", or remove the section: this agent only dials then",
        );
    };
    let settings = ["listen.address", "listen.interface", "listen.networks"];
    narrowed(c, settings, text, (&raw.interface, &raw.networks))
}

/// An address, by which interface and from which networks others come to it; and the
/// settings that say so.
fn narrowed(
    c: &mut Checker<'_>,
    [of_address, of_interface, of_networks]: [&str; 3],
    text: &Text,
    (by, from): (&Option<Text>, &[Text]),
) -> Option<Listen> {
    let network = |text: &Text| c.name::<Network>(of_networks, text);
    let networks = from.iter().filter_map(network).collect();
    let name = by.as_ref();
    Some(Listen {
        interface: name.and_then(|name| interface(c, of_interface, name)),
        networks: Networks::only(networks),
        address: address(c, of_address, text)?,
    })
}

/// The name of a network interface, as the kernel takes it.
fn interface(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<String> {
    let name = text.get_ref();
    let is_one = (1..=INTERFACE_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/');
    match is_one {
        true => Some(name.clone()),
        false => c.refuse(
            setting,
            &text.span(),
            format!("{name:?}"),
            "the name of a network interface: 1 to 15 characters",
            "write one that `ip link` shows",
        ),
    }
}

/// An address whose traffic is in the clear: loopback or nothing.
pub(super) fn admin(c: &mut Checker<'_>, raw: &raw::Admin) -> Option<SocketAddr> {
    let text = raw.address.as_ref()?;
    let address = address(c, "admin.address", text)?;
    if address.ip().is_loopback() {
        return Some(address);
    }
    c.refuse(
        "admin.address",
        &text.span(),
        format!("{address}, where anyone could read along"),
        "an address of the loopback interface, such as 127.0.0.1:7480",
        "use loopback; commands go through the socket in the data directory",
    )
}

pub(super) fn address(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<SocketAddr> {
    match text.get_ref().parse() {
        Ok(address) => Some(address),
        Err(_) => c.refuse(
            setting,
            &text.span(),
            format!("{:?}", text.get_ref()),
            "an IP address and a port, as in 0.0.0.0:7443 or [::]:7443",
            "write address and port; a host name will not do here",
        ),
    }
}

pub(super) fn host_and_port(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<String> {
    let well_formed = text.get_ref().rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if well_formed {
        return Some(text.get_ref().clone());
    }
    c.refuse(
        setting,
        &text.span(),
        format!("{:?}", text.get_ref()),
        "HOST:PORT, as in receiver.example.org:7443",
        "write host and port",
    )
}

pub(super) fn limits(c: &mut Checker<'_>, raw: &raw::Limits) -> Limits {
    let given = raw.connections_per_peer.as_ref();
    let connections = c.number(
        "limits.connections_per_peer",
        given,
        1..=limits::CONNECTIONS_PER_PEER_MAX as u64,
        limits::CONNECTIONS_PER_PEER_DEFAULT as u64,
    );
    let memory = c.number(
        "limits.memory_bytes",
        raw.memory_bytes.as_ref(),
        limits::MEMORY_BUDGET_BYTES_MIN as u64..=limits::MEMORY_BUDGET_BYTES_MAX as u64,
        limits::MEMORY_BUDGET_BYTES as u64,
    );
    let drain = c.number(
        "limits.drain_secs",
        raw.drain_secs.as_ref(),
        1..=limits::DRAIN_TIME_MAX.as_secs(),
        limits::DRAIN_TIME_DEFAULT.as_secs(),
    );
    Limits {
        part_bytes: part_size(c, raw.part_bytes.as_ref()),
        connections_per_peer: given.map(|_| usize::try_from(connections).unwrap_or(1)),
        memory_bytes: usize::try_from(memory).unwrap_or(limits::MEMORY_BUDGET_BYTES),
        drain: Duration::from_secs(drain),
        compression: compression(c, raw.compression.as_ref()),
    }
}

fn compression(c: &mut Checker<'_>, text: Option<&Text>) -> Compression {
    let Some(text) = text else {
        return Compression::default();
    };
    match text.get_ref().as_str() {
        "auto" => Compression::Auto,
        "off" => Compression::Off,
        other => {
            let (found, allowed) = (format!("{other:?}"), "\"auto\" or \"off\"");
            let remedy = "write one of them";
            c.refuse("limits.compression", &text.span(), found, allowed, remedy)
                .unwrap_or_default()
        }
    }
}

fn part_size(c: &mut Checker<'_>, number: Option<&Number>) -> PartSize {
    let Some(number) = number else {
        return PartSize::DEFAULT;
    };
    let bytes = u32::try_from(*number.get_ref()).unwrap_or(u32::MAX);
    match PartSize::new(bytes) {
        Ok(size) => size,
        Err(error) => {
            let remedy = "leave it out for the default, 8388608";
            let found = number.get_ref().to_string();
            let setting = "limits.part_bytes";
            c.refuse::<()>(setting, &number.span(), found, error.allowed, remedy);
            PartSize::DEFAULT
        }
    }
}

pub(super) fn log(c: &mut Checker<'_>, raw: &raw::Log) -> Log {
    let mut log = Log::default();
    match raw
        .format
        .as_ref()
        .map(|text| (text, text.get_ref().as_str()))
    {
        None | Some((_, "text")) => {}
        Some((_, "json")) => log.format = LogFormat::Json,
        Some((text, other)) => {
            let (found, allowed) = (format!("{other:?}"), "\"text\" or \"json\"");
            c.refuse::<()>(
                "log.format",
                &text.span(),
                found,
                allowed,
                "write one of them",
            );
        }
    }
    if let Some(text) = &raw.level {
        match is_level(text.get_ref()) {
            true => log.level.clone_from(text.get_ref()),
            false => c.refuse("log.level", &text.span(), format!("{:?}", text.get_ref()),
                "error, warn, info, debug, trace, or per module as in info,sealift_tunnel=debug",
                "write one of them").unwrap_or_default(),
        }
    }
    log
}

/// Whether `level` can be a `log.level`.
fn is_level(level: &str) -> bool {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let known = |word: &str| LEVELS.contains(&word.trim().to_ascii_lowercase().as_str());
    !level.is_empty()
        && level
            .split(',')
            .all(|directive| match directive.split_once('=') {
                Some((module, level)) => !module.trim().is_empty() && known(level),
                None => known(directive),
            })
}

pub(super) fn scrub(c: &mut Checker<'_>, raw: &raw::Scrub) -> Scrub {
    let period = c.number(
        "scrub.period_secs",
        raw.period_secs.as_ref(),
        0..=limits::SCRUB_PERIOD_MAX.as_secs(),
        limits::SCRUB_PERIOD_DEFAULT.as_secs(),
    );
    let rate = c.number(
        "scrub.rate_bytes_per_sec",
        raw.rate_bytes_per_sec.as_ref(),
        limits::SCRUB_RATE_MIN..=limits::SCRUB_RATE_MAX,
        limits::SCRUB_RATE_DEFAULT,
    );
    let budget = raw.budget_secs_per_hour.as_ref();
    let budget = c.number("scrub.budget_secs_per_hour", budget, 1..=3600, 3600);
    let kept = 0..=limits::KEPT_MAX.as_secs();
    let quarantine = c.number(
        "scrub.quarantine_secs",
        raw.quarantine_secs.as_ref(),
        kept.clone(),
        limits::QUARANTINE_KEPT_DEFAULT.as_secs(),
    );
    let dead = c.number(
        "scrub.dead_bytes_secs",
        raw.dead_bytes_secs.as_ref(),
        kept,
        limits::DEAD_KEPT_DEFAULT.as_secs(),
    );
    Scrub {
        period: (period > 0).then(|| Duration::from_secs(period)),
        rate,
        budget: Duration::from_secs(budget),
        quarantine_kept: Duration::from_secs(quarantine),
        dead_kept: Duration::from_secs(dead),
    }
}

pub(super) fn stalled_after(c: &mut Checker<'_>, raw: &raw::Watchdog) -> Duration {
    let secs = c.number(
        "watchdog.stalled_after_secs",
        raw.stalled_after_secs.as_ref(),
        limits::STALLED_AFTER_MIN.as_secs()..=limits::STALLED_AFTER_MAX.as_secs(),
        limits::STALLED_AFTER_DEFAULT.as_secs(),
    );
    Duration::from_secs(secs)
}

/// The allow-lists: never empty, every name known.
pub(super) fn tls(c: &mut Checker<'_>, raw: &raw::Tls) -> TlsPolicy {
    let policy = TlsPolicy::default();
    let (suites, groups) = (policy.suites(), policy.groups());
    let suites = list(
        c,
        "tls.cipher_suites",
        raw.cipher_suites.as_ref(),
        suites,
        |names| TlsPolicy::from_names(names, &policy.groups()).is_ok(),
    );
    let groups = list(c, "tls.groups", raw.groups.as_ref(), groups, |names| {
        TlsPolicy::from_names(&policy.suites(), names).is_ok()
    });
    TlsPolicy::from_names(&suites, &groups).unwrap_or(policy)
}

fn list<'r>(
    c: &mut Checker<'_>,
    setting: &str,
    given: Option<&'r Spanned<Vec<String>>>,
    default: Vec<&'r str>,
    is_allowed: impl Fn(&[&str]) -> bool,
) -> Vec<&'r str> {
    let Some(given) = given else {
        return default;
    };
    let names: Vec<&str> = given.get_ref().iter().map(String::as_str).collect();
    if is_allowed(&names) {
        return names;
    }
    let found = match names.is_empty() {
        true => "an empty list".to_owned(),
        false => names.join(", "),
    };
    let known = match setting {
        "tls.groups" => TlsPolicy::known_groups(),
        _ => TlsPolicy::known_suites(),
    };
    let allowed = format!("at least one of {}, each once", known.join(", "));
    let remedy = "name what you allow, or leave it out for the default";
    c.refuse::<()>(setting, &given.span(), found, allowed, remedy);
    default
}

#[cfg(test)]
mod tests {
    use super::is_level;

    #[test]
    fn levels_are_words_or_words_by_module() {
        for good in ["info", "WARN", "info,sealift_tunnel=debug", "off"] {
            assert!(is_level(good), "{good}");
        }
        for bad in ["", "loud", "sealift=loud", "=debug", "info,"] {
            assert!(!is_level(bad), "{bad}");
        }
    }
}
