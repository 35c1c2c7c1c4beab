//! The simulation, built and run.

use crate::command;

/// Runs `tests/simulate` with its own arguments.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let status = command("cargo")
        .args(["run", "--quiet", "--release", "--locked"])
        .args(["-p", "sealift-simulate", "--"])
        .args(arguments)
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the simulation failed".to_owned()),
    }
}
