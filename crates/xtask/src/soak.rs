//! The soak, built and run for as long as asked for.

use std::process::Command;

use crate::suite::SOAK;

/// What an argument sets in the environment of the test.
const SETTINGS: &[(&str, &str)] = &[
    ("--minutes", "SEALIFT_SOAK_MINUTES"),
    ("--cert-life-secs", "SEALIFT_SOAK_CERT_LIFE_SECS"),
];

/// Runs the soak: `--minutes N`, `--cert-life-secs N`.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("sh");
    command.args(["-c", SOAK]);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            return Err(format!("{} wants a number", pair.concat()));
        };
        let known = SETTINGS.iter().find(|(known, _)| known == name);
        let (_, variable) = known.ok_or(format!(
            "soak knows --minutes and --cert-life-secs, not {name}"
        ))?;
        let number: u32 = value
            .parse()
            .map_err(|_| format!("{name} wants a number, not {value}"))?;
        command.env(variable, number.to_string());
    }
    let status = command
        .status()
        .map_err(|error| format!("no shell: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the soak failed".to_owned()),
    }
}
