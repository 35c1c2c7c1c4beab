//! An authority and two sites, as a person would make them by hand.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sealift_agent::{
    Error, NewSite, World,
    config::{Config, Template, TemplateBucket, TemplateGrant, TemplatePeer},
    create_site,
};
use sealift_identity::{Authority, LeafRequest};
use sealift_terms::{Identity, Region, SiteName};

const DOMAIN: &str = "demo.sealift";
/// The bucket of the demonstration.
pub(crate) const BUCKET: &str = "demo";

/// Both sites: `a` sends, `b` archives.
#[derive(Debug)]
pub(crate) struct Regions {
    pub(crate) a: Config,
    pub(crate) b: Config,
}

impl Regions {
    /// Refuses a directory that a demonstration was run in, before anything large
    /// is made there.
    pub(crate) fn refuse_used(workdir: &Path) -> Result<(), Error> {
        for name in ["ca-passphrase", "ca", "a", "b"] {
            let path = workdir.join(name);
            if path.exists() {
                let exists = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already");
                return Err(Error::io("make", path)(exists));
            }
        }
        Ok(())
    }

    /// Makes everything below `workdir`.
    pub(crate) fn create(workdir: &Path, source: &Path) -> Result<Self, Error> {
        let world = World::real();
        let authority = authority(workdir, &world)?;
        let a = identity(&authority, workdir, "a", "region-a", &world)?;
        let b = identity(&authority, workdir, "b", "region-b", &world)?;
        let address = free_address()?;
        let peer = |name: &str, identity: &Identity, address: Option<&String>| TemplatePeer {
            name: name.to_owned(),
            identity: identity.to_string(),
            address: address.cloned(),
            trust_bundle: "bundle.json".to_owned(),
        };
        let mut sending = template("a", &a);
        sending.peers = vec![peer("b", &b, Some(&address))];
        sending.sources = vec![(BUCKET.to_owned(), utf8(source)?)];
        let mut archiving = template("b", &b);
        archiving.listen = Some(address.clone());
        archiving.peers = vec![peer("a", &a, None)];
        archiving.buckets = vec![TemplateBucket {
            name: BUCKET.to_owned(),
            key: "alias/demo".to_owned(),
            second_key: None,
        }];
        archiving.grants = vec![TemplateGrant {
            identity: a.to_string(),
            bucket: BUCKET.to_owned(),
        }];
        Ok(Self {
            a: site(workdir, sending, &world)?,
            b: site(workdir, archiving, &world)?,
        })
    }
}

fn template(name: &str, identity: &Identity) -> Template {
    Template {
        name: name.to_owned(),
        region: identity.region().to_string(),
        data_dir: "data".to_owned(),
        ..Template::example()
    }
}

fn site(workdir: &Path, template: Template, world: &World) -> Result<Config, Error> {
    let config = workdir.join(&template.name).join("sealift.toml");
    Ok(create_site(&NewSite { config, template }, world)?.config)
}

fn authority(workdir: &Path, world: &World) -> Result<Authority, Error> {
    let regions = ["region-a", "region-b"].map(Region::new);
    let regions: Vec<_> = regions.into_iter().flatten().collect();
    let mut random = [0; 16];
    world.rng.fill(&mut random);
    let passphrase: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = workdir.join("ca-passphrase");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{passphrase}"))
        .map_err(Error::io("write", &path))?;
    let dir = workdir.join("ca");
    let (clock, rng) = (&*world.clock, &*world.rng);
    Ok(Authority::init(
        &dir,
        DOMAIN,
        &regions,
        &passphrase,
        clock,
        rng,
    )?)
}

fn identity(
    authority: &Authority,
    workdir: &Path,
    name: &str,
    region: &str,
    world: &World,
) -> Result<Identity, Error> {
    let refused = |error| Error::failed("naming an identity")(error);
    let region = Region::new(region).map_err(refused)?;
    let name = SiteName::new(name).map_err(refused)?;
    let identity = Identity::new(DOMAIN, &region, &name).map_err(refused)?;
    let dir = workdir.join(name.as_str());
    fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
    let request = LeafRequest::new(identity.clone());
    let issuing = authority.issuing(&region)?;
    let issued = issuing.issue(&request, &*world.clock, &*world.rng)?;
    issued.save(&dir.join("identity.crt"), &dir.join("identity.key"))?;
    authority.bundle().save(&dir.join("bundle.json"))?;
    Ok(identity)
}

/// A loopback address that nobody listens on now.
fn free_address() -> Result<String, Error> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = bound.map_err(Error::io("listen on", "127.0.0.1"))?;
    Ok(address.to_string())
}

fn utf8(path: &Path) -> Result<String, Error> {
    let absolute = fs::canonicalize(path).map_err(Error::io("find", path))?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Request {
        what: "directory",
        found: path.display().to_string(),
        allowed: "a name in UTF-8".to_owned(),
    })
}

/// A new directory that only this user can enter.
pub(crate) fn new_workdir(given: Option<&Path>) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::temp_dir().join(format!("sealift-demo-{}", std::process::id())),
    };
    let made = fs::DirBuilder::new()
        .recursive(given.is_some())
        .mode(0o700)
        .create(&path);
    made.map_err(Error::io("make", &path))?;
    fs::canonicalize(&path).map_err(Error::io("find", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_configurations_are_ordinary_ones_that_pass_their_checks() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        let workdir = new_workdir(Some(&dir.path().join("work"))).unwrap();
        let regions = Regions::create(&workdir, &source).unwrap();
        for config in [&regions.a, &regions.b] {
            let loaded = Config::load(&config.path, Vec::new()).unwrap();
            let lines = sealift_agent::check_offline(&loaded, &World::real()).await;
            let failed: Vec<_> = lines
                .iter()
                .filter(|line| line.outcome == sealift_agent::Outcome::Fail)
                .collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
    }
}
