//! `sealift`: parse, run, exit code.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod cli;
mod commands;
mod demo;
mod output;
mod prompt;

use std::process::ExitCode;

use clap::Parser;

/// Of a small object's time a tenth went into the system's allocator, which locks, trims
/// and grows its arenas for every group of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = commands::run(&cli);
    ExitCode::from(output::end(&outcome, cli.global.json).code())
}
