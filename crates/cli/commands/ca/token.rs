//! `sealift ca token`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use sealift_agent::{
    Error, Exit, World,
    admin::{NewToken, Reached, Request, TokenRow},
};
use sealift_identity::{Enrolments, SiteRole};
use sealift_terms::Identity;

use super::{agent, identity, one, site};
use crate::{
    cli::Global,
    commands::block_on,
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The new agent's region
    #[arg(long)]
    region: String,
    /// The new agent's name
    #[arg(long)]
    name: String,
    /// What the new agent may do: sender or receiver; may be given twice, and is both unless
    /// it is given. `init` holds the site that it makes to that
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<SiteRole>,
    /// How long the token is good for, as in 30m or 1h: at most 24h
    #[arg(long, default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// Where the issuing agent is asked: host and port of its `ca.listen`
    #[arg(long, value_name = "HOST:PORT")]
    issuer: String,
    /// Who the issuing agent is
    #[arg(long, value_name = "IDENTITY")]
    issuer_identity: Identity,
}

fn role(text: &str) -> Result<SiteRole, String> {
    text.parse().map_err(str::to_owned)
}

fn ttl(text: &str) -> Result<Duration, String> {
    let allowed = || "allowed is a number with s, m or h, as in 30m".to_owned();
    let unit = text.chars().last().ok_or_else(allowed)?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(allowed()),
    };
    let count = text
        .strip_suffix(unit)
        .and_then(|count| count.parse::<u64>().ok());
    let total = count.and_then(|count| count.checked_mul(secs));
    total.map(Duration::from_secs).ok_or_else(allowed)
}

impl Token {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        block_on(async {
            let row = match site::issuing_site(global, &self.dir).await? {
                Some(site) => self.ask(&site).await?,
                None => self.make_here()?,
            };
            output::row(
                global.json,
                &row,
                format!(
                    "{}\n\nMakes {} ({}) of whoever uses it first, until {}: on its host\n  \
                     sealift init --token-file FILE …\n\
                     A site that is there already is enrolled again by that, without other flags.",
                    row.token, row.identity, row.roles, row.ends
                ),
            )?;
            Ok(Exit::Done)
        })
    }

    async fn ask(&self, site: &Reached) -> Result<TokenRow, Error> {
        let (region, name) = agent(&self.region, &self.name)?;
        let request = Request::Token(NewToken {
            directory: site::whole(&self.dir)?,
            region,
            name,
            roles: self.roles.iter().copied().collect(),
            ttl_secs: self.ttl.as_secs(),
            issuer: self.issuer.clone(),
            issuer_identity: self.issuer_identity.clone(),
        });
        one(site.ask(request)).await
    }

    /// Before an agent ever issued from this authority.
    fn make_here(&self) -> Result<TokenRow, Error> {
        let mut enrolments = Enrolments::open(&self.dir)?;
        let identity = identity(enrolments.authority(), &self.region, &self.name)?;
        let World { clock, rng, .. } = World::real();
        let issuer = (self.issuer.clone(), self.issuer_identity.clone());
        let whose = (identity, self.roles.iter().copied().collect());
        let token = enrolments.token(whose, issuer, self.ttl, &*clock, &*rng)?;
        Ok(TokenRow {
            identity: token.identity.clone(),
            roles: token.roles.clone(),
            token: token.to_text().to_string(),
            ends: clock.now().plus(self.ttl),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(ttl("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(ttl("2h").unwrap(), Duration::from_secs(7200));
        for bad in ["", "h", "1", "1d", "-1h", "99999999999999999999h"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
