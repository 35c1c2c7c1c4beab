//! What `[ca]` issues with.

use sealift_identity::{Authority, CaLife, IdentityError, Rollover};
use sealift_terms::Timestamp;

use super::chain;
use crate::{CheckLine, World, config::Ca};

pub(super) fn check(ca: &Ca, world: &World) -> CheckLine {
    let (check, now) = ("authority", world.clock.now());
    match look(ca) {
        Ok(Found {
            life: Some(life), ..
        }) if life.ends_soon(now) => CheckLine::warn(
            check,
            format!(
                "an issuing CA ends at {}: no certificate lives longer",
                life.until
            ),
            "begin a roll-over: `sealift ca rollover announce`",
        ),
        Ok(Found {
            told, lists_until, ..
        }) => match lists_until {
            // The agent issues them anew as soon as it runs.
            Some(until) if until < now => CheckLine::warn(
                check,
                format!("{told}; its revocation lists ended at {until}"),
                "start the agent: who checks them lets nobody in",
            ),
            Some(until) => {
                CheckLine::pass(check, format!("{told}; revocation lists until {until}"))
            }
            None => CheckLine::pass(check, told),
        },
        Err(error) => CheckLine::fail(
            check,
            chain(&error),
            "name the directory that `sealift ca init` made, or take it back with `sealift ca restore`",
        ),
    }
}

struct Found {
    told: String,
    lists_until: Option<Timestamp>,
    /// Of the issuing CA that ends first.
    life: Option<CaLife>,
}

fn look(ca: &Ca) -> Result<Found, IdentityError> {
    let authority = Authority::open(&ca.directory)?;
    let regions = authority.regions()?;
    let (mut lists_until, mut lives) = (None, Vec::new());
    for region in &regions {
        lives.push(authority.issuing(region)?.life());
        let until = authority.lists(region)?.map(|lists| lists.next_update());
        lists_until = lists_until.into_iter().chain(until).min();
    }
    let names: Vec<_> = regions.iter().map(ToString::to_string).collect();
    let bundle = authority.bundle().sequence();
    let told = format!("it issues for {}; trust bundle {bundle}", names.join(", "));
    let step = match authority.rollover()? {
        Rollover::Announced { .. } => "; a roll-over is announced",
        Rollover::Issuing { .. } => "; a roll-over issues from the new root",
        _ => "",
    };
    Ok(Found {
        told: told + step,
        lists_until,
        life: lives.into_iter().min_by_key(|life| life.until),
    })
}
