//! Benchmarks by name.

use crate::{command, install};

/// Runs the benchmark `what` with its own arguments.
pub(crate) fn run(what: &str, arguments: &[&str]) -> Result<(), String> {
    let (package, target) = match what {
        "end-to-end" => ("sealift", "end_to_end"),
        "seal" => ("sealift-seal", "seal"),
        "keys" => ("sealift-archive", "keys"),
        "tunnel" => ("sealift-tunnel", "tunnel"),
        "front" => ("sealift", "front"),
        other => {
            return Err(format!(
                "no benchmark {other:?}: end-to-end, front, keys, seal or tunnel"
            ));
        }
    };
    let mut variables = Vec::new();
    if what == "front" {
        let (variable, folder) = install::moto()?;
        variables.push((variable, folder.display().to_string()));
    }
    run_with(package, target, arguments, &variables)
}

/// Builds what is measured and runs the benchmark `target` of `package`, with `variables` set.
pub(crate) fn run_with(
    package: &str,
    target: &str,
    arguments: &[&str],
    variables: &[(&str, String)],
) -> Result<(), String> {
    cargo(&["build", "--release", "--locked"], variables)?;
    let bench = ["bench", "--locked", "-p", package, "--bench", target];
    cargo(&[&bench[..], &["--"], arguments].concat(), variables)
}

fn cargo(arguments: &[&str], variables: &[(&str, String)]) -> Result<(), String> {
    let status = command("cargo")
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} failed", arguments.join(" ")))
    }
}
