//! Authorities that end soon: no certificate lives longer than what issues it.

use sealift_identity::{CaLife, Peers, TrustBundle};
use sealift_terms::Timestamp;

use crate::{CheckLine, World, config::Config, load_credentials};

/// What the CA above this site's certificate, and the roots that vouch for it and for its
/// peers, have left.
pub(super) fn check(
    config: &Config,
    peers: &Peers,
    own: &TrustBundle,
    world: &World,
) -> Vec<CheckLine> {
    let now = world.clock.now();
    let mut lines = Vec::new();
    let mut look = |what: String, life: Option<CaLife>| {
        lines.extend(life.and_then(|life| line(what, life, now)));
    };
    // What is wrong with the certificate itself is told beside it.
    let issuer = load_credentials(config, world).ok();
    let issuer = issuer.and_then(|credentials| credentials.issuer_life());
    look("issuing CA of the certificate".to_owned(), issuer);
    look("roots of this site".to_owned(), own.life());
    for peer in peers.iter() {
        look(format!("roots of {}", peer.name), peer.roots.life());
    }
    lines
}

/// A warning of what ends soon.
fn line(what: String, life: CaLife, now: Timestamp) -> Option<CheckLine> {
    let until = life.until;
    life.ends_soon(now).then(|| {
        CheckLine::warn(
            what,
            match until < now {
                true => format!("over since {until}"),
                false => format!("ends at {until}: no certificate lives longer"),
            },
            "replace the root at the issuing site, with `sealift ca rollover announce`; of \
             another authority bring the new bundle",
        )
    })
}
