//! `sealift`: parse, run, exit code.

mod cli;
mod commands;
mod demo;
mod output;
mod prompt;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = commands::run(&cli);
    ExitCode::from(output::end(&outcome, cli.global.json).code())
}
