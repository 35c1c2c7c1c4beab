//! Makes the development PKI: one authority, two regions, an agent in each.
//!
//! ```text
//! cargo run -p sealift-identity --example development_pki -- certs/generated
//! ```
//!
//! Everything in it is thrown away at will: the passphrase stands below.

use std::{error::Error, fs, path::PathBuf};

use sealift_host::{OsClock, OsRng};
use sealift_identity::{Authority, LeafRequest};
use sealift_terms::{Identity, Region, SiteName, limits};

const DOMAIN: &str = "development.invalid";
const PASSPHRASE: &str = "for development only";
/// Region and agent.
const AGENTS: [(&str, &str); 2] = [("eu-west", "sender"), ("eu-central", "receiver")];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("usage: development_pki DIR")?,
    );
    let ca = dir.join("ca");
    let regions: Vec<Region> = AGENTS
        .iter()
        .map(|(region, _)| Region::new(region))
        .collect::<Result<_, _>>()?;
    let authority = match Authority::open(&ca) {
        Ok(authority) => authority,
        Err(_) => Authority::init(&ca, DOMAIN, &regions, PASSPHRASE, &OsClock, &OsRng)?,
    };
    fs::copy(authority.bundle_path(), dir.join("bundle.json"))?;
    for (region, name) in AGENTS {
        let region = Region::new(region)?;
        let identity = Identity::new(DOMAIN, &region, &SiteName::new(name)?)?;
        // A developer does not want to renew every day.
        let request = LeafRequest {
            life: limits::CERTIFICATE_LIFE_MAX,
            ..LeafRequest::new(identity)
        };
        let issued = authority
            .issuing(&region)?
            .issue(&request, &OsClock, &OsRng)?;
        issued.save(
            &dir.join(format!("{name}.pem")),
            &dir.join(format!("{name}.key")),
        )?;
        println!("{} until {}", issued.leaf.identity, issued.leaf.not_after);
    }
    Ok(())
}
