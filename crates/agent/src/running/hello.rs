//! What this site says of itself at the beginning of every link.

use sealift_terms::SessionId;
use sealift_wire::{Hello, Limits, PROTOCOL_MAX, PROTOCOL_MIN, Role};

use crate::site::Site;

/// What is sent in a HELLO's `software`.
const SOFTWARE: &str = concat!("sealift/", env!("CARGO_PKG_VERSION"));

/// The HELLO of link `link` of `session`, in which this site does what `role` says.
pub(super) fn hello(site: &Site, session: SessionId, link: u32, role: Role) -> Hello {
    let here = site.archive.site();
    Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        session,
        link,
        role,
        site: here.site,
        site_name: site.config.site.name.clone(),
        region: site.config.site.region.clone(),
        epoch: here.epoch,
        commit_sequence: here.sequence,
        clock: site.world.clock.now(),
        software: SOFTWARE.to_owned(),
        limits: Limits::default(),
    }
}
