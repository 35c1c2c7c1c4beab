//! `sealift generate`.

mod rules;

use std::io::{self, Write};

use clap::{Command, CommandFactory, Subcommand};
use clap_complete::Shell;
use sealift_agent::{
    Error, Exit,
    config::{SETTINGS, Template, variable},
};

use crate::{
    cli::{Cli, EXIT_CODES, Global},
    output::{self, Outcome},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// A configuration with every setting explained
    Config,
    /// The manual page, in roff
    Man,
    /// Completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Rules from the replication configuration of an S3 bucket
    Rules(rules::Rules),
}

impl Generate {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let mut text = Vec::new();
        match self {
            Self::Config => text.extend(Template::example().render().bytes()),
            Self::Man => manual(&mut text).map_err(Error::failed("writing the manual"))?,
            Self::Completions { shell } => {
                clap_complete::generate(*shell, &mut Cli::command(), "sealift", &mut text);
            }
            Self::Rules(rules) => return rules.run(global),
        }
        let written = io::stdout().write_all(&text);
        written.map_err(output::unwritten)?;
        Ok(Exit::Done)
    }
}

/// One page: the command, then each of its commands and theirs.
fn manual(out: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    page.render_subcommands_section(out)?;
    chapters(&command, "", out)?;
    section(out, "EXIT STATUS", EXIT_CODES)?;
    section(out, "ENVIRONMENT", &environment())?;
    page.render_version_section(out)
}

/// The settings that can be given outside the file, in words.
fn environment() -> String {
    let names: Vec<_> = SETTINGS.iter().map(|setting| variable(setting)).collect();
    format!(
        "SEALIFT_CONFIG names the configuration, as -c does. These win over the setting of the \
         file that they are named after, and --set wins over them: {}.",
        names.join(", ")
    )
}

fn section(out: &mut Vec<u8>, title: &str, text: &str) -> io::Result<()> {
    // A hyphen is a hyphen, and no line begins with a dot.
    writeln!(out, ".SH \"{title}\"\n{}", text.replace('-', "\\-"))
}

fn chapters(command: &Command, above: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let subs = command.get_subcommands();
    for sub in subs.filter(|sub| sub.get_name() != "help") {
        let name = format!("{above}{}", sub.get_name().to_uppercase());
        let page = clap_mangen::Man::new(sub.clone());
        writeln!(out, ".SH \"{name}\"")?;
        page.render_synopsis_section(out)?;
        page.render_description_section(out)?;
        page.render_options_section(out)?;
        chapters(sub, &format!("{name} "), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_tells_of_every_command() {
        let mut text = Vec::new();
        manual(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for section in ["EXIT STATUS", "ENVIRONMENT"] {
            assert!(text.contains(&format!(".SH \"{section}\"")), "{section}");
        }
        assert!(!text.contains("EXTRA"), "{text}");
        assert!(text.contains("SEALIFT_SITE_DATA_DIR") && text.contains("SEALIFT_CONFIG"));
        for sub in Cli::command().get_subcommands() {
            let name = sub.get_name().to_uppercase();
            assert!(text.contains(&name), "{name}");
            for below in sub.get_subcommands() {
                let name = format!("\"{name} {}\"", below.get_name().to_uppercase());
                assert!(text.contains(&name), "{name}");
            }
        }
    }
}
