//! `sealift init`: a site from flags, or from answers on a terminal.

use std::path::PathBuf;

use clap::Args;
use sealift_agent::{
    Error, Exit, FirstCertificate, NewSite, World,
    config::{Template, TemplateBucket, TemplateGrant, TemplatePeer},
    create_site, enrol, enrol_again, hold_roles,
};
use sealift_identity::{EnrolmentToken, SiteRole, SiteRoles};
use sealift_terms::{
    limits::{PEERS_MAX, TOKEN_BYTES_MAX},
    world::read_file,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::Global,
    commands::block_on,
    output::{self, Outcome, Table},
    prompt::{ask, ask_many},
};

/// What certificate, key and bundle are called.
const FILES: [&str; 3] = ["identity.crt", "identity.key", "bundle.json"];
/// Buckets or sources that are asked for; more are written into the file.
const ASKED_MAX: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The site's name
    #[arg(long)]
    name: Option<String>,
    /// The site's region
    #[arg(long)]
    region: Option<String>,
    /// Where it keeps its data
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The certificate, as `ca issue` wrote it
    #[arg(long, value_name = "FILE", default_value = "identity.crt")]
    certificate: String,
    /// The certificate's private key
    #[arg(long, value_name = "FILE", default_value = "identity.key")]
    private_key: String,
    /// The trust bundle of the authority that issued it
    #[arg(long, value_name = "FILE", default_value = "bundle.json")]
    trust_bundle: String,
    /// A one-time token of `ca token`: certificate, key and bundle are got with it, and
    /// the certificate is renewed by itself. A site that is there already is enrolled again
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["token_file", "name", "region"])]
    token: Option<String>,
    /// A file that holds the token, which others could see on the command line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "region"])]
    token_file: Option<PathBuf>,
    /// Where peers are awaited, as in 0.0.0.0:7443
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where health and metrics are shown, on loopback
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// A peer: NAME,IDENTITY,BUNDLE, and ,HOST:PORT where it is dialled; may be given many times
    #[arg(long = "peer", value_name = "PEER", value_parser = peer)]
    peers: Vec<TemplatePeer>,
    /// A bucket to archive here; a key is made for it, every peer may write to it
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Seal every bucket in two layers; each gets a second key for that
    #[arg(long, requires = "buckets")]
    second_key: bool,
    /// A directory to replicate: BUCKET=DIR; a rule sends it to every peer
    #[arg(long = "source", value_name = "BUCKET=DIR", value_parser = source)]
    sources: Vec<(String, String)>,
}

/// What a site does: with whom, and with which buckets.
struct Half {
    listen: Option<String>,
    peers: Vec<TemplatePeer>,
    buckets: Vec<String>,
    sources: Vec<(String, String)>,
}

impl Half {
    fn is_empty(&self) -> bool {
        self.listen.is_none()
            && self.peers.is_empty()
            && self.buckets.is_empty()
            && self.sources.is_empty()
    }
}

fn peer(text: &str) -> Result<TemplatePeer, String> {
    let fields: Vec<&str> = text.split(',').collect();
    let (name, identity, bundle, address) = match fields[..] {
        [name, identity, bundle] => (name, identity, bundle, None),
        [name, identity, bundle, address] => (name, identity, bundle, Some(address)),
        _ => return Err("allowed is NAME,IDENTITY,BUNDLE[,HOST:PORT]".to_owned()),
    };
    Ok(TemplatePeer {
        name: name.to_owned(),
        identity: identity.to_owned(),
        address: address.map(str::to_owned),
        trust_bundle: bundle.to_owned(),
    })
}

fn source(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((bucket, directory)) => Ok((bucket.to_owned(), directory.to_owned())),
        None => Err("allowed is BUCKET=DIR".to_owned()),
    }
}

impl Init {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let token = self.token()?;
        if let Some(token) = token.as_ref().filter(|_| global.config.exists()) {
            return self.enrol_again(global, token);
        }
        let new = NewSite {
            config: global.config.clone(),
            template: self.template(global, token.as_ref())?,
        };
        if let Some(token) = &token {
            let does = [
                (SiteRole::Sender, !new.template.sources.is_empty()),
                (SiteRole::Receiver, !new.template.buckets.is_empty()),
            ];
            hold_roles(token, &does)?;
            self.enrol(global, token)?;
        }
        let site = create_site(&new, &World::real())?;
        let config = &site.config;
        if global.json {
            output::row(
                true,
                &json!({"config": config.path, "data_dir": config.site.data_dir, "keys": site.keys}),
                "",
            )?;
            return Ok(Exit::Done);
        }
        output::print(&format!("configuration  {}", config.path.display()))?;
        output::print(&format!(
            "data           {}\n",
            config.site.data_dir.display()
        ))?;
        let mut keys = Table::new(&["KEY", "ALIAS", "REGION", "STATE"], &[]);
        for key in &site.keys {
            let alias = key
                .alias
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            keys.row([
                key.id.to_string(),
                alias,
                key.region.to_string(),
                format!("{:?}", key.state),
            ]);
        }
        if !keys.is_empty() {
            keys.print()?;
            output::print("")?;
        }
        output::print(&format!(
            "Keep copies of the root key and the keystore elsewhere: without them nothing archived \
             here opens.\nNext: sealift check -c {}",
            config.path.display()
        ))?;
        Ok(Exit::Done)
    }

    fn token(&self) -> Result<Option<EnrolmentToken>, Error> {
        let text = match (&self.token, &self.token_file) {
            (Some(text), _) => Zeroizing::new(text.clone()),
            (None, Some(path)) => {
                let read = read_file(&*World::real().disk, path, TOKEN_BYTES_MAX);
                let bytes = Zeroizing::new(read.map_err(Error::io("read", path))?);
                let text = std::str::from_utf8(&bytes).map_err(Error::refused("the token"))?;
                Zeroizing::new(text.to_owned())
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(text.parse().map_err(Error::Identity)?))
    }

    /// Gets a site that is there another certificate, and changes nothing else of it.
    fn enrol_again(&self, global: &Global, token: &EnrolmentToken) -> Outcome {
        if !self.names_nothing() {
            return Err(Error::Request {
                what: "site",
                found: format!(
                    "{}, which is there already, and flags of a new one",
                    global.config.display()
                ),
                allowed: "the token alone, which enrols it again, or another path behind -c"
                    .to_owned(),
            }
            .into());
        }
        let config = global.load()?;
        block_on(async {
            let credentials = enrol_again(&config, token, &World::real()).await?;
            let leaf = credentials.leaf();
            output::row(
                global.json,
                &json!({
                    "config": config.path, "identity": leaf.identity, "serial": leaf.serial,
                    "not_after": leaf.not_after,
                }),
                format!(
                    "{} has another certificate, until {}\nNext: sealift up -c {}",
                    leaf.identity,
                    leaf.not_after,
                    config.path.display()
                ),
            )?;
            Ok(Exit::Done)
        })
    }

    /// Whether nothing is said of a site to be made.
    fn names_nothing(&self) -> bool {
        let files = [&self.certificate, &self.private_key, &self.trust_bundle];
        self.data_dir.is_none()
            && self.listen.is_none()
            && self.admin.is_none()
            && self.peers.is_empty()
            && self.buckets.is_empty()
            && self.sources.is_empty()
            && files.iter().all(|file| FILES.contains(&file.as_str()))
    }

    /// Gets the first certificate.
    fn enrol(&self, global: &Global, token: &EnrolmentToken) -> Result<(), anyhow::Error> {
        let beside = beside(global);
        let (private_key, certificate, trust_bundle) = (
            beside.join(&self.private_key),
            beside.join(&self.certificate),
            beside.join(&self.trust_bundle),
        );
        let to = FirstCertificate {
            private_key: &private_key,
            certificate: &certificate,
            trust_bundle: &trust_bundle,
        };
        block_on(async {
            let credentials = enrol(token, to, &World::real()).await?;
            let leaf = credentials.leaf();
            output::note(
                global.json,
                format!("{} until {}", leaf.identity, leaf.not_after),
            );
            Ok(Exit::Done)
        })
        .map(drop)
    }

    fn template(&self, global: &Global, token: Option<&EnrolmentToken>) -> Result<Template, Error> {
        let beside = beside(global);
        let data = match beside.ends_with("etc/sealift") {
            true => "/var/lib/sealift",
            false => "data",
        };
        let (name, region) = match token {
            Some(token) => (
                token.identity.name().to_string(),
                token.identity.region().to_string(),
            ),
            None => (
                ask(self.name.as_ref(), "Name of this site", None, "--name")?,
                ask(self.region.as_ref(), "Its region", None, "--region")?,
            ),
        };
        let data_dir = ask(
            self.data_dir.as_ref(),
            "Its data directory",
            Some(data),
            "--data-dir",
        )?;
        let roles = token.map(|token| token.roles.clone()).unwrap_or_default();
        let half = self.half(&roles)?;
        let any_peer = |bucket: &String| {
            let bucket = bucket.clone();
            half.peers.iter().map(move |peer| TemplateGrant {
                identity: peer.identity.clone(),
                bucket: bucket.clone(),
            })
        };
        Ok(Template {
            name,
            region,
            data_dir,
            certificate: self.certificate.clone(),
            private_key_file: self.private_key.clone(),
            trust_bundle: self.trust_bundle.clone(),
            issuer: token.map(|token| {
                let identity = token.issuer_identity.to_string();
                (token.issuer.clone(), identity)
            }),
            root_key_file: "root.key".to_owned(),
            listen: half.listen.clone(),
            admin: self.admin.clone(),
            buckets: half
                .buckets
                .iter()
                .map(|bucket| TemplateBucket {
                    name: bucket.clone(),
                    key: format!("alias/{bucket}"),
                    second_key: self.second_key.then(|| format!("alias/{bucket}-outer")),
                })
                .collect(),
            sources: half.sources.clone(),
            grants: half.buckets.iter().flat_map(any_peer).collect(),
            peers: half.peers.clone(),
        })
    }

    /// What the site does. Whoever gives none of it by flags is asked for all of it that
    /// its token is for.
    fn half(&self, roles: &SiteRoles) -> Result<Half, Error> {
        let given = Half {
            listen: self.listen.clone(),
            peers: self.peers.clone(),
            buckets: self.buckets.clone(),
            sources: self.sources.clone(),
        };
        if !given.is_empty() {
            return Ok(given);
        }
        let plain = |text: &str| Ok(text.to_owned());
        let listen = "Address to await peers at, as in 0.0.0.0:7443";
        let peers = "A peer: NAME,IDENTITY,BUNDLE, and ,HOST:PORT where it is dialled";
        let buckets = "A bucket to archive here";
        let sources = "A directory to replicate: BUCKET=DIR";
        Ok(Half {
            listen: ask_many(listen, 1, plain)?.pop(),
            peers: ask_many(peers, PEERS_MAX, peer)?,
            buckets: match roles.allow(SiteRole::Receiver) {
                true => ask_many(buckets, ASKED_MAX, plain)?,
                false => Vec::new(),
            },
            sources: match roles.allow(SiteRole::Sender) {
                true => ask_many(sources, ASKED_MAX, source)?,
                false => Vec::new(),
            },
        })
    }
}

/// The configuration's directory.
fn beside(global: &Global) -> PathBuf {
    let parent = global.config.parent();
    parent.map_or_else(PathBuf::new, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_and_sources_are_taken_apart() {
        assert_eq!(peer("b,spiffe://x,f").unwrap().address, None);
        assert_eq!(peer("b,spiffe://x,f,h:1").unwrap().address.unwrap(), "h:1");
        assert!(peer("b,x").is_err());
        assert_eq!(
            source("b=/d=e").unwrap(),
            ("b".to_owned(), "/d=e".to_owned())
        );
        assert!(source("b").is_err());
    }
}
