//! The command line: global flags and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sealift_agent::{
    admin::{OpenSite, Reached},
    config::{Config, Override, Place},
};

use crate::commands;

/// Replicates objects between regions, encrypted on the way and at rest.
#[derive(Debug, Parser)]
#[command(name = "sealift", version, about, max_term_width = 100)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 usage, 3 partly done, 4 verification \
failed, 5 try again later, 10 not found, 12 identity or key refused, 78 bad configuration, \
130 cancelled.";

/// Flags of every command, apart from those of its own.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The configuration of the site
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "SEALIFT_CONFIG",
        default_value = "/etc/sealift/sealift.toml",
        hide_env = true
    )]
    pub(crate) config: PathBuf,
    /// Results as JSON lines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Give a setting here instead of in the file, as in `log.level=debug`
    #[arg(long, global = true, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<Override>,
}

fn setting(text: &str) -> Result<Override, String> {
    let (setting, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not SETTING=VALUE"))?;
    Ok(Override {
        setting: setting.trim().to_owned(),
        value: value.trim().to_owned(),
        place: Place::Flag("--set".to_owned()),
    })
}

impl Global {
    /// The running agent, or this process on the site itself.
    pub(crate) async fn reach(&self, site: &dyn OpenSite) -> Result<Reached, sealift_agent::Error> {
        Reached::by_file(&self.config, &self.set, site).await
    }

    /// Reads and checks the configuration.
    pub(crate) fn load(&self) -> Result<Config, sealift_agent::Error> {
        Ok(Config::load(&self.config, self.set.clone())?)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Two regions on this machine: replicate a directory, verify every replica
    Demo(commands::demo::Demo),
    /// Make a site: data directory, keys, configuration
    Init(commands::init::Init),
    /// Run the agent
    Up(commands::up::Up),
    /// Say whether everything can work, and what to do where it cannot
    Check(commands::check::Check),
    /// Say how everything stands
    Status(commands::status::Status),
    /// Say what a change of the configuration would do, and change nothing
    Plan(commands::plan::Plan),
    /// Take up a change of the configuration, all of it or nothing
    Apply(commands::apply::Apply),
    /// Read the configuration again
    Reload(commands::reload::Reload),
    /// List objects
    Ls(commands::ls::Ls),
    /// Write the plaintext of an object to standard output or a file
    Get(commands::get::Get),
    /// Write the latest versions of a bucket as files into a directory
    Restore(commands::restore::Restore),
    /// Open what is archived, compare with the source
    Verify(commands::verify::Verify),
    /// Show what sealed files, or the sealed versions of an object, hold
    Inspect(commands::inspect::Inspect),
    /// Say why an object stands as it does, and what to do
    Explain(commands::explain::Explain),
    /// Try again now what was put off or given up
    Retry(commands::retry::Retry),
    /// Say how the scrub of what is archived here stands, and what is in quarantine
    Scrub(commands::scrub::Scrub),
    /// Say in which regions what is replicated rests, and which keys open it
    Residency(commands::residency::Residency),
    /// The keys that everything here is sealed under
    #[command(subcommand)]
    Keys(commands::keys::Keys),
    /// The same for many objects or key records
    #[command(subcommand)]
    Batch(commands::batch::Batch),
    /// The tamper-evident log of what happened here
    #[command(subcommand)]
    Audit(commands::audit::Audit),
    /// The certificate authority
    #[command(subcommand)]
    Ca(commands::ca::Ca),
    /// The certificates of this site and of its peers
    #[command(subcommand)]
    Certs(commands::certs::Certs),
    /// The S3 endpoint of applications that read and write here: access keys, and buckets that take writes
    #[command(subcommand)]
    Endpoint(commands::endpoint::Endpoint),
    /// Legal holds: versions that are not purged, whoever wants them gone
    #[command(subcommand)]
    Hold(commands::hold::Hold),
    /// Print the least that AWS, Azure and Google have to allow for the keys, buckets, containers and
    /// queues of this configuration
    Policy(commands::policy::Policy),
    /// Print a configuration, the manual, or completions for a shell
    #[command(subcommand)]
    Generate(commands::generate::Generate),
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        let cli = Cli::parse_from([
            "sealift",
            "status",
            "-c",
            "/x.toml",
            "--json",
            "--set",
            "log.level=debug",
        ]);
        assert_eq!(cli.global.config, PathBuf::from("/x.toml"));
        assert!(cli.global.json);
        assert_eq!(cli.global.set[0].setting, "log.level");
        assert!(Cli::try_parse_from(["sealift", "status", "--set", "x"]).is_err());
    }
}
