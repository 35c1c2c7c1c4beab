//! What vouches for an agent, and what is asked of its certificates: alike for this site
//! and for its peers.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use sealift_identity::{Demands, DnsAgent, Issuers, is_dns_name};
use sealift_terms::{Identity, limits};

use super::{
    checker::Checker,
    named::Wanted,
    raw::{Number, Text},
};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// What the Workload API gave last, in a data directory: a file for each trust domain.
const WORKLOAD_DIR: &str = "workload";

/// The file that has the Workload API's bundle for agents of the domain of `of`.
pub(crate) fn workload_bundle(data_dir: &Path, of: &Identity) -> PathBuf {
    data_dir
        .join(WORKLOAD_DIR)
        .join(format!("{}.json", of.domain()))
}

/// Whether it is the Workload API that gives what is in this file.
pub(crate) fn is_workload_bundle(data_dir: &Path, path: &Path) -> bool {
    path.parent() == Some(&*data_dir.join(WORKLOAD_DIR))
}

/// The file of a trust bundle: the one that is given, or the one that the Workload API's
/// is kept in.
pub(super) fn bundle(
    c: &mut Checker<'_>,
    setting: &'static str,
    given: Option<&Text>,
    awaited: Option<PathBuf>,
    section: &Range<usize>,
    remedy: &'static str,
) -> Option<PathBuf> {
    match (given, awaited) {
        (Some(text), _) => Some(c.named(setting, text, Wanted::File, remedy)),
        (None, Some(path)) => Some(path),
        (None, None) => c.refuse(
            setting,
            section,
            "no trust_bundle",
            "the roots of its certificates; only [identity.spiffe] gives them by itself",
            remedy,
        ),
    }
}

pub(super) fn dns_agent(
    c: &mut Checker<'_>,
    setting: &str,
    text: &Text,
    agent: &Identity,
) -> Option<DnsAgent> {
    let name = text.get_ref();
    if is_dns_name(name)
        && let Ok(known) = DnsAgent::new(name, agent.clone())
    {
        return Some(known);
    }
    c.refuse(
        setting,
        &text.span(),
        format!("{name:?}"),
        "a host name in lower case, without wildcard",
        "write the one name that the certificate says",
    )
}

/// `foreign`: an authority that cannot know of regions, whatever is said of it.
pub(super) fn demands(
    c: &mut Checker<'_>,
    section: &str,
    foreign: bool,
    issuers: &Option<Text>,
    days: &Option<Number>,
) -> Demands {
    let usual = limits::CERTIFICATE_LIFE_MAX.as_secs() / DAY;
    let most = limits::CERTIFICATE_LIFE_PUBLIC_MAX.as_secs() / DAY;
    let setting = format!("{section}.life_days_max");
    let days = c.number(&setting, days.as_ref(), usual..=most, usual);
    let issuers = match issuers.as_ref().map(|text| (text, text.get_ref().as_str())) {
        None if foreign => Issuers::Any,
        None | Some((_, "region")) => Issuers::Region,
        Some((_, "any")) => Issuers::Any,
        Some((text, other)) => {
            let setting = format!("{section}.issuers");
            let (found, allowed) = (format!("{other:?}"), "\"region\" or \"any\"");
            c.refuse(&setting, &text.span(), found, allowed, "write one of them")
                .unwrap_or_default()
        }
    };
    Demands {
        life_max: Duration::from_secs(days * DAY),
        issuers,
    }
}
