//! Benchmarks by name.

use std::process::Command;

/// Runs the benchmark `what` with its own arguments.
pub(crate) fn run(what: &str, arguments: &[&str]) -> Result<(), String> {
    let target = match what {
        "end-to-end" => "end_to_end",
        "seal" => "seal",
        "tunnel" => "tunnel",
        other => {
            return Err(format!(
                "no benchmark {other:?}: end-to-end, seal or tunnel"
            ));
        }
    };
    cargo(&["build", "--release", "--locked"])?;
    cargo(
        &[
            &[
                "bench", "--locked", "-p", "sealift", "--bench", target, "--",
            ],
            arguments,
        ]
        .concat(),
    )
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("cargo")
        .args(arguments)
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} failed", arguments.join(" ")))
    }
}
