//! `sealift ca`: the certificate authority in a directory.

mod backup;
mod deny;
mod revoke;
mod rollover;
mod site;
mod token;

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use sealift_agent::{
    Error, Exit, World,
    admin::{Answers, NewCertificate, NewCertificateRow, Reached, Request},
};
use sealift_identity::{
    Authority, Enrolments, Issued, LeafRequest, TrustBundle, new_private_key, signing_request,
};
use sealift_terms::{
    Identity, Region, SiteName,
    limits::{CERTIFICATE_FILE_BYTES_MAX, CERTIFICATE_LIFE_MAX},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::Global,
    commands::block_on,
    output::{self, Outcome},
    prompt,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make an authority: a root under a passphrase, an issuing CA for each region
    Init(Init),
    /// Issue a certificate for an agent
    Issue(Issue),
    /// Make a one-time token, with which a new agent gets its first certificate
    Token(token::Token),
    /// Let an identity in no more, here and at once: no authority is needed
    Deny(deny::Deny),
    /// Revoke a certificate, or all that an identity was given, at every site of the authority
    Revoke(revoke::Revoke),
    /// Let another root take the place of this one, a step at a time
    #[command(subcommand)]
    Rollover(rollover::Rollover),
    /// Write the whole authority to a file under a passphrase
    Backup(backup::Backup),
    /// Make the authority's directory from a backup
    Restore(backup::Restore),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The trust domain, for example example.org
    #[arg(long)]
    domain: Option<String>,
    /// A region to issue for; may be given many times
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// A file whose first line is the root's passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The agent's region
    #[arg(long)]
    region: String,
    /// The agent's name
    #[arg(long)]
    name: String,
    /// Hours the certificate lives: at most 1128, which is 47 days
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = life_hours)]
    life_hours: u64,
    /// A DNS name to put in besides; may be given many times
    #[arg(long = "dns", value_name = "NAME")]
    dns_names: Vec<String>,
    /// A certificate signing request: the private key stays where it is
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Where identity.crt, identity.key and bundle.json are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Hours, as they are asked for; the authority counts in seconds.
fn life_hours(text: &str) -> Result<u64, String> {
    const HOURS_MAX: u64 = CERTIFICATE_LIFE_MAX.as_secs() / 3600;
    match text.parse() {
        Ok(hours) if (1..=HOURS_MAX).contains(&hours) => Ok(hours),
        _ => Err(format!(
            "allowed are 1 to {HOURS_MAX} hours, which is 47 days"
        )),
    }
}

impl Ca {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Init(init) => init.run(global),
            Self::Issue(issue) => issue.run(global),
            Self::Token(token) => token.run(global),
            Self::Deny(deny) => deny.run(global),
            Self::Revoke(revoke) => revoke.run(global),
            Self::Rollover(rollover) => rollover.run(global),
            Self::Backup(backup) => backup.run(global),
            Self::Restore(restore) => restore.run(global),
        }
    }
}

impl Init {
    fn run(&self, global: &Global) -> Outcome {
        let domain = prompt::ask(self.domain.as_ref(), "Trust domain", None, "--domain")?;
        let given = (!self.regions.is_empty()).then(|| self.regions.join(" "));
        let question = "Regions, separated by spaces";
        let regions = prompt::ask(given.as_ref(), question, None, "--region")?;
        let regions = regions
            .split_whitespace()
            .map(|region| Region::new(region).map_err(|error| usage("region", &error)))
            .collect::<Result<Vec<_>, _>>()?;
        let question = "Passphrase of the root";
        let passphrase = prompt::passphrase(self.passphrase_file.as_deref(), question, true)?;
        let World { clock, rng, .. } = World::real();
        let made = Authority::init(&self.dir, &domain, &regions, &passphrase, &*clock, &*rng);
        let authority = made.map_err(Error::from)?;
        let names: Vec<_> = regions.iter().map(Region::as_str).collect();
        output::row(
            global.json,
            &json!({"domain": domain, "regions": names, "bundle": authority.bundle_path()}),
            format!(
                "authority   {}\ndomain      {domain}\nregions     {}\nbundle      {}\n\n\
                 Give the bundle to every peer. `sealift ca backup` makes a copy to keep elsewhere.",
                self.dir.display(),
                names.join(", "),
                authority.bundle_path().display()
            ),
        )?;
        Ok(Exit::Done)
    }
}

impl Issue {
    fn run(&self, global: &Global) -> Outcome {
        block_on(async {
            // The private key stays here, whoever issues.
            let (key, csr) = self.request()?;
            let row = match site::issuing_site(global, &self.dir).await? {
                Some(site) => self.ask(&site, csr).await?,
                None => self.issue_here(&csr)?,
            };
            std::fs::create_dir_all(&self.out).map_err(Error::io("make", &self.out))?;
            let paths = ["identity.crt", "identity.key", "bundle.json"];
            let [certificate, private_key, bundle] = paths.map(|name| self.out.join(name));
            let issued = Issued::new(row.chain.clone(), key).map_err(Error::from)?;
            issued
                .save(&certificate, &private_key)
                .map_err(Error::from)?;
            let given = TrustBundle::parse(row.bundle.as_bytes()).map_err(Error::from)?;
            given.save(&bundle).map_err(Error::from)?;
            self.show(global, &row, [&certificate, &private_key, &bundle])
        })
    }

    /// A signing request, and the private key if that is not the requester's.
    fn request(&self) -> Result<(Option<Zeroizing<String>>, String), Error> {
        if let Some(path) = &self.csr {
            let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
            let mut pem = String::new();
            let read = file
                .take(CERTIFICATE_FILE_BYTES_MAX as u64)
                .read_to_string(&mut pem);
            read.map_err(Error::io("read", path))?;
            return Ok((None, pem));
        }
        let key = new_private_key()?;
        let csr = signing_request(&key)?;
        Ok((Some(key), csr))
    }

    async fn ask(&self, site: &Reached, csr: String) -> Result<NewCertificateRow, Error> {
        let (region, name) = agent(&self.region, &self.name)?;
        let request = Request::Issue(NewCertificate {
            directory: site::whole(&self.dir)?,
            region,
            name,
            life_secs: self.life().as_secs(),
            dns_names: self.dns_names.clone(),
            csr,
        });
        one(site.ask(request)).await
    }

    /// Before an agent ever issued from this authority.
    fn issue_here(&self, csr: &str) -> Result<NewCertificateRow, Error> {
        let mut enrolments = Enrolments::open(&self.dir)?;
        let identity = identity(enrolments.authority(), &self.region, &self.name)?;
        let request = LeafRequest {
            dns_names: self.dns_names.clone(),
            life: self.life(),
            ..LeafRequest::new(identity)
        };
        let World { clock, rng, .. } = World::real();
        let asked = (csr.as_bytes(), request);
        let nothing_else = |_: &Enrolments| Ok::<_, Error>(());
        let issued = enrolments.issue_by_command(asked, &*clock, &*rng, nothing_else)?;
        // So that it can be renewed from here on.
        enrolments.note_issued(&issued.leaf)?;
        Ok(NewCertificateRow {
            identity: issued.leaf.identity.clone(),
            serial: issued.leaf.serial.clone(),
            not_after: issued.leaf.not_after,
            chain: issued.chain_pem.clone(),
            bundle: enrolments.authority().bundle().to_json(),
        })
    }

    fn life(&self) -> Duration {
        Duration::from_secs(self.life_hours.saturating_mul(3600))
    }

    fn show(
        &self,
        global: &Global,
        row: &NewCertificateRow,
        [certificate, key, bundle]: [&Path; 3],
    ) -> Outcome {
        output::row(
            global.json,
            &json!({
                "identity": row.identity, "serial": row.serial, "not_after": row.not_after,
                "certificate": certificate, "bundle": bundle,
            }),
            format!(
                "identity     {}\nserial       {}\nvalid until  {}\ncertificate  {}\nprivate key  {}\nbundle       {}",
                row.identity,
                row.serial,
                row.not_after,
                certificate.display(),
                match self.csr {
                    Some(_) => "stays with the requester".to_owned(),
                    None => key.display().to_string(),
                },
                bundle.display(),
            ),
        )?;
        Ok(Exit::Done)
    }
}

/// The only row of an answer.
async fn one<T: DeserializeOwned>(mut answers: Answers) -> Result<T, Error> {
    let row = answers.next_row().await?;
    answers.finish().await?;
    row.ok_or_else(|| Error::Answer("it has no row".to_owned()))
}

/// An agent's region and name, by the words of the command line.
fn agent(region: &str, name: &str) -> Result<(Region, SiteName), Error> {
    let region = Region::new(region).map_err(|error| usage("region", &error))?;
    let name = SiteName::new(name).map_err(|error| usage("name", &error))?;
    Ok((region, name))
}

/// An agent of an authority, by the words of the command line.
fn identity(authority: &Authority, region: &str, name: &str) -> Result<Identity, Error> {
    let (region, name) = agent(region, name)?;
    Identity::new(authority.domain(), &region, &name).map_err(|error| usage("identity", &error))
}

fn usage(what: &'static str, error: &sealift_terms::NameError) -> Error {
    Error::Request {
        what,
        found: format!("{:?}", error.found),
        allowed: error.allowed.to_owned(),
    }
}
