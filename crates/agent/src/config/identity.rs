//! `[identity]`: who this agent is, where its certificates come from, and what is asked
//! of them and of those of peers.

use std::{ops::Range, path::Path};

use sealift_identity::{DnsAgent, OwnDemands};
use sealift_terms::Identity;
use toml::Spanned;

use super::{
    check::{address, host_and_port},
    checked::{Acme, CertificatesFrom, Challenge, ExternalAccount, IdentityFiles, Issuer, Spiffe},
    checker::Checker,
    named::Wanted,
    raw::{self, Text},
    trust::{bundle, demands, dns_agent, workload_bundle},
};
use crate::RENEWED_FILE;

pub(super) fn identity(
    c: &mut Checker<'_>,
    raw: &raw::Raw,
    data_dir: &Path,
) -> Option<IdentityFiles> {
    let (section, span) = (raw.identity.get_ref(), raw.identity.span());
    let agent: Option<Identity> = match &section.agent {
        Some(text) => Some(c.name("identity.agent", text)?),
        None => None,
    };
    let files = files(c, section, &span, data_dir);
    let awaited = section.spiffe.as_ref().and(agent.as_ref());
    let trust_bundle = bundle(
        c,
        "identity.trust_bundle",
        section.trust_bundle.as_ref(),
        awaited.map(|agent| workload_bundle(data_dir, agent)),
        &span,
        "copy it from the authority: `sealift ca init` writes bundle.json",
    );
    let dns = own_dns(c, section, agent.as_ref());
    let source = source(c, section, agent.as_ref());
    refuse_a_public_one_that_dials(c, raw);
    let foreign = section.acme.is_some() || section.spiffe.is_some() || dns.is_some();
    let demands = demands(
        c,
        "identity",
        foreign,
        &section.issuers,
        &section.life_days_max,
    );
    refuse_longer_lives_of_the_embedded(c, section);
    let (certificate, private_key_file) = files?;
    let place = section.certificate.as_ref().map_or(span, Spanned::span);
    Some(IdentityFiles {
        certificate,
        certificate_place: c.place(&place),
        private_key_file,
        trust_bundle: trust_bundle?,
        agent,
        own: OwnDemands {
            demands,
            dns,
            answers_only: raw
                .peers
                .iter()
                .all(|peer| peer.get_ref().address.is_none()),
        },
        source: source?,
    })
}

/// Both files, or none of them where the agent gets its first certificate itself.
fn files(
    c: &mut Checker<'_>,
    raw: &raw::Identity,
    section: &Range<usize>,
    data_dir: &Path,
) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let gets = raw.acme.is_some() || raw.spiffe.is_some();
    let remedy = "run `sealift ca issue`, which writes both files";
    match (&raw.certificate, &raw.private_key_file) {
        (Some(certificate), Some(key)) if !gets => Some((
            c.named("identity.certificate", certificate, Wanted::File, remedy),
            c.named("identity.private_key_file", key, Wanted::Secret, remedy),
        )),
        (None, None) if gets => {
            let renewed = data_dir.join(RENEWED_FILE);
            Some((renewed.clone(), renewed))
        }
        (given, other) => {
            let text = given.as_ref().or(other.as_ref());
            c.refuse(
                "identity.certificate",
                &text.map_or(section.clone(), Spanned::span),
                "not what belongs together",
                "certificate and private_key_file, or one of [identity.acme] and [identity.spiffe]",
                "name both files, or none where the agent gets its certificates itself",
            )
        }
    }
}

fn source(
    c: &mut Checker<'_>,
    raw: &raw::Identity,
    agent: Option<&Identity>,
) -> Option<CertificatesFrom> {
    match (&raw.issuer, &raw.acme, &raw.spiffe) {
        (None, None, None) => Some(CertificatesFrom::Files),
        (Some(one), None, None) => issuer(c, one).map(CertificatesFrom::Issuer),
        (None, Some(one), None) => {
            let acme = acme(c, one, raw.dns_name.as_ref(), agent)?;
            Some(CertificatesFrom::Acme(Box::new(acme)))
        }
        (None, None, Some(one)) => {
            spiffe(c, one, raw.dns_name.as_ref(), agent).map(CertificatesFrom::Spiffe)
        }
        (_, acme, spiffe) => {
            let acme = acme.as_ref().map(Spanned::span);
            let span = acme.or(spiffe.as_ref().map(Spanned::span));
            c.refuse(
                "identity",
                &span.unwrap_or_default(),
                "several sources of certificates",
                "one of issuer, [identity.acme] and [identity.spiffe]",
                "keep one of them",
            )
        }
    }
}

fn issuer(c: &mut Checker<'_>, raw: &raw::Issuer) -> Option<Issuer> {
    let address = host_and_port(c, "identity.issuer.address", &raw.address);
    let identity = c.name("identity.issuer.identity", &raw.identity);
    Some(Issuer {
        address: address?,
        identity: identity?,
    })
}

fn acme(
    c: &mut Checker<'_>,
    section: &Spanned<raw::Acme>,
    dns_name: Option<&Text>,
    agent: Option<&Identity>,
) -> Option<Acme> {
    let (raw, span) = (section.get_ref(), section.span());
    let directory = https(c, &raw.directory);
    let remedy = "copy the roots of the ACME server's own certificate";
    let roots_file = raw.roots_file.as_ref();
    let roots_file =
        roots_file.map(|text| c.named("identity.acme.roots_file", text, Wanted::File, remedy));
    let challenge = challenge(c, raw.challenge.as_ref());
    let listen = match &raw.listen {
        Some(text) => address(c, "identity.acme.listen", text),
        None => challenge.map(Challenge::usual_address),
    };
    let external = external(c, raw, &span);
    if dns_name.is_none() || agent.is_none() {
        return c.refuse(
            "identity.acme",
            &span,
            "no dns_name or no agent in [identity]",
            "the name that is proven, and the identity that it stands for",
            "give both: dns_name = \"b1.example.org\", agent = \"spiffe://…\"",
        );
    }
    Some(Acme {
        directory: directory?,
        roots_file,
        challenge: challenge?,
        listen: listen?,
        profile: raw.profile.as_ref().map(|text| text.get_ref().clone()),
        dns_name: dns_name?.get_ref().clone(),
        agent: agent?.clone(),
        uri_in_request: raw.uri_in_request.unwrap_or_default(),
        terms_agreed: raw.terms_agreed.unwrap_or_default(),
        contact: raw.contact.as_ref().map(|text| text.get_ref().clone()),
        external: external?,
    })
}

impl Challenge {
    /// Where ACME servers ask, on every address of this machine.
    fn usual_address(self) -> std::net::SocketAddr {
        let port = match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
        };
        (std::net::Ipv6Addr::UNSPECIFIED, port).into()
    }
}

fn https(c: &mut Checker<'_>, text: &Text) -> Option<String> {
    let url = text.get_ref();
    let host = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split('/').next());
    match host.is_some_and(|host| !host.is_empty() && !host.contains('@')) {
        true => Some(url.clone()),
        false => c.refuse(
            "identity.acme.directory",
            &text.span(),
            format!("{url:?}"),
            "the https URL of an ACME directory",
            "ask the authority for it",
        ),
    }
}

fn challenge(c: &mut Checker<'_>, text: Option<&Text>) -> Option<Challenge> {
    match text.map(|text| (text, text.get_ref().as_str())) {
        None | Some((_, "http-01")) => Some(Challenge::Http01),
        Some((_, "tls-alpn-01")) => Some(Challenge::TlsAlpn01),
        Some((text, other)) => c.refuse(
            "identity.acme.challenge",
            &text.span(),
            format!("{other:?}"),
            "\"http-01\" or \"tls-alpn-01\"",
            "write one of them",
        ),
    }
}

fn external(
    c: &mut Checker<'_>,
    raw: &raw::Acme,
    span: &Range<usize>,
) -> Option<Option<ExternalAccount>> {
    match (&raw.eab_key_id, &raw.eab_key_file) {
        (None, None) => Some(None),
        (Some(id), Some(file)) => {
            let remedy = "write the key that the authority gave for the account, mode 600";
            Some(Some(ExternalAccount {
                key_id: id.get_ref().clone(),
                key_file: c.named("identity.acme.eab_key_file", file, Wanted::Secret, remedy),
            }))
        }
        _ => c.refuse(
            "identity.acme.eab_key_id",
            span,
            "one of eab_key_id and eab_key_file",
            "both or none",
            "give the other one",
        ),
    }
}

/// The Workload API says who is who by SPIFFE ids alone.
fn spiffe(
    c: &mut Checker<'_>,
    section: &Spanned<raw::Spiffe>,
    dns_name: Option<&Text>,
    agent: Option<&Identity>,
) -> Option<Spiffe> {
    let setting = "identity.spiffe";
    if let Some(name) = dns_name {
        let (found, allowed) = ("a dns_name beside it", "agent alone: it gives SPIFFE ids");
        return c.refuse(setting, &name.span(), found, allowed, "remove dns_name");
    }
    let Some(agent) = agent else {
        return c.refuse(
            setting,
            &section.span(),
            "no agent in [identity]",
            "the SPIFFE id that this process gets: of several documents that one is taken",
            "add agent = \"spiffe://DOMAIN/region/REGION/agent/NAME\"",
        );
    };
    Some(Spiffe {
        socket: c.source.resolve(section.get_ref().socket.get_ref()),
        agent: agent.clone(),
    })
}

/// Public authorities issue nothing that a client may show: such a site can only answer.
fn refuse_a_public_one_that_dials(c: &mut Checker<'_>, raw: &raw::Raw) {
    let acme = raw.identity.get_ref().acme.as_ref();
    let Some(acme) = acme.filter(|acme| acme.get_ref().roots_file.is_none()) else {
        return;
    };
    let dials = raw
        .peers
        .iter()
        .any(|peer| peer.get_ref().address.is_some());
    let does = match (dials, raw.sources.is_empty()) {
        (true, _) => "dials a peer",
        (false, false) => "sends a source",
        (false, true) => return,
    };
    c.refuse::<()>(
        "identity.acme",
        &acme.get_ref().directory.span(),
        format!("a public authority at a site that {does}"),
        "a public authority where a site only listens and receives: none of them issues certificates \
         with clientAuth since 2026",
        "use the embedded authority here, or name the roots_file of a private ACME server",
    );
}

/// Longer lives are for authorities that do not issue shorter ones; ours does.
fn refuse_longer_lives_of_the_embedded(c: &mut Checker<'_>, raw: &raw::Identity) {
    let Some(days) = &raw.life_days_max else {
        return;
    };
    if raw.issuer.is_none() && raw.spiffe.is_none() {
        return;
    }
    c.refuse::<()>(
        "identity.life_days_max",
        &days.span(),
        "beside an issuer or the Workload API",
        "47 days at most for the embedded authority and SPIFFE",
        "remove it: ca.life_secs says how long certificates of the embedded authority live",
    );
}

fn own_dns(c: &mut Checker<'_>, raw: &raw::Identity, agent: Option<&Identity>) -> Option<DnsAgent> {
    let text = raw.dns_name.as_ref()?;
    let Some(agent) = agent else {
        return c.refuse(
            "identity.dns_name",
            &text.span(),
            "a DNS name without the identity that it stands for",
            "agent = \"spiffe://DOMAIN/region/REGION/agent/NAME\" beside it",
            "add it",
        );
    };
    dns_agent(c, "identity.dns_name", text, agent)
}

#[cfg(test)]
mod tests {
    use sealift_identity::Issuers;

    use super::*;
    use crate::config::{Config, ConfigError, tests::checked};

    const AGENT: &str = "spiffe://example.org/region/eu-west/agent/a1";
    const ACME: &str =
        "dns_name = \"a1.example.org\"\n[identity.acme]\ndirectory = \"https://ca/dir\"\n";
    const PEER: &str = "[[peer]]\nname = \"b\"\nidentity = \"spiffe://example.org/region/r/agent/b\"\n\
                        trust_bundle = \"b.pem\"\n";

    fn check(identity: &str, more: &str) -> Result<Config, ConfigError> {
        check_all(&format!("trust_bundle = \"roots.pem\"\n{identity}"), more)
    }

    fn check_all(identity: &str, more: &str) -> Result<Config, ConfigError> {
        checked(&format!(
            "[site]\nname = \"a1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
                 [keys]\nroot_key_file = \"root.key\"\n[listen]\naddress = \"127.0.0.1:1\"\n{more}\n\
                 [identity]\nagent = \"{AGENT}\"\n{identity}"
        ))
    }

    #[track_caller]
    fn refused(identity: &str, more: &str) -> String {
        let error = check(identity, more).unwrap_err();
        assert_eq!(error.refusals.len(), 1, "{error}");
        error.to_string()
    }

    #[test]
    fn a_public_authority_does_for_a_site_that_only_listens_and_receives() {
        let config = check(ACME, PEER).unwrap();
        assert!(config.identity.own.answers_only);
        assert_eq!(config.identity.own.demands.issuers, Issuers::Any);
        let dials = format!("{PEER}address = \"b:1\"\n");
        assert!(refused(ACME, &dials).contains("a site that dials a peer"));
        let sends = format!("{PEER}[[source]]\nbucket = \"photos\"\ndirectory = \"/srv\"\n");
        assert!(refused(ACME, &sends).contains("a site that sends a source"));
        // A private one does for both.
        let private = format!("{ACME}roots_file = \"acme.pem\"\n");
        for more in [dials, sends] {
            assert!(check(&private, &more).is_ok());
        }
    }

    #[test]
    fn what_belongs_together_comes_together() {
        for (identity, told) in [
            ("", "identity.certificate"),
            ("certificate = \"a\"\n", "identity.certificate"),
            (
                &format!("certificate = \"a\"\nprivate_key_file = \"b\"\n{ACME}"),
                "identity.certificate",
            ),
            (&ACME.replace("dns_name", "# "), "identity.acme"),
            (&ACME.replace("https:", "http:"), "identity.acme.directory"),
            (&ACME.replace("a1.", "*."), "identity.dns_name"),
            (
                &format!("{ACME}challenge = \"dns-01\"\n"),
                "identity.acme.challenge",
            ),
            (
                &format!("{ACME}eab_key_id = \"k\"\n"),
                "identity.acme.eab_key_id",
            ),
            (&format!("issuers = \"some\"\n{ACME}"), "identity.issuers"),
            (
                &format!("life_days_max = 46\n{ACME}"),
                "identity.life_days_max",
            ),
            (
                &format!("life_days_max = 201\n{ACME}"),
                "identity.life_days_max",
            ),
        ] {
            assert!(refused(identity, "").contains(told), "{identity}");
        }
        let days = check(&format!("life_days_max = 200\n{ACME}"), "").unwrap();
        assert_eq!(days.identity.own.demands.life_max.as_secs(), 200 * 86_400);
    }

    #[test]
    fn the_embedded_authority_issues_for_47_days_at_most() {
        let issuer = format!(
            "certificate = \"a\"\nprivate_key_file = \"b\"\nlife_days_max = 90\n\
             issuer = {{ address = \"h:1\", identity = \"{AGENT}\" }}\n"
        );
        assert!(refused(&issuer, "").contains("identity.life_days_max"));
        let files = "certificate = \"a\"\nprivate_key_file = \"b\"\nlife_days_max = 90\n";
        let config = check(files, "").unwrap();
        assert_eq!(config.identity.own.demands.issuers, Issuers::Region);
    }

    #[test]
    fn the_workload_api_gives_certificates_and_the_bundles_that_no_file_is_named_for() {
        const SPIFFE: &str = "[identity.spiffe]\nsocket = \"/run/agent.sock\"\n";
        let (own, peer) = (
            "trust_bundle = \"roots.pem\"\n",
            "trust_bundle = \"b.pem\"\n",
        );
        let dials = format!("{PEER}address = \"b:1\"\n");
        let config = check_all(SPIFFE, &dials.replace(peer, "")).unwrap();
        let data = config.site.data_dir.clone();
        let bundle = data.join("workload/example.org.json");
        assert_eq!(config.identity.trust_bundle, bundle);
        assert_eq!(config.peers[0].trust_bundle, bundle);
        assert_eq!(config.peers[0].demands.issuers, Issuers::Any);
        assert_eq!(config.identity.certificate, data.join(RENEWED_FILE));
        assert_eq!(config.identity.own.demands.issuers, Issuers::Any);
        // Files that are named count.
        let named = check_all(&format!("{own}{SPIFFE}"), &dials).unwrap();
        assert!(named.identity.trust_bundle.ends_with("roots.pem"));
        assert_eq!(named.peers[0].demands.issuers, Issuers::Region);
        // Nobody else gives bundles.
        let files = "certificate = \"a\"\nprivate_key_file = \"b\"\n";
        let error = check_all(files, &dials.replace(peer, "")).unwrap_err();
        let settings: Vec<_> = error.refusals.iter().map(|one| &*one.setting).collect();
        assert_eq!(settings, ["peer.trust_bundle", "identity.trust_bundle"]);
        for (identity, told) in [
            (format!("{files}{SPIFFE}"), "identity.certificate"),
            (
                format!("dns_name = \"a.example.org\"\n{SPIFFE}"),
                "identity.spiffe",
            ),
            (
                format!("life_days_max = 90\n{SPIFFE}"),
                "identity.life_days_max",
            ),
            (format!("{ACME}{SPIFFE}"), "several sources"),
        ] {
            let error = check_all(&format!("{own}{identity}"), "").unwrap_err();
            assert!(error.to_string().contains(told), "{identity}: {error}");
        }
    }
}
