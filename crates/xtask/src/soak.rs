//! The soak, built and run for as long as asked for. Its counts are the last line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, ExitCode, Stdio},
};

use crate::suite::SOAK;

/// What an argument sets in the environment of the test.
const SETTINGS: &[(&str, &str)] = &[
    ("--minutes", "SEALIFT_SOAK_MINUTES"),
    ("--cert-life-secs", "SEALIFT_SOAK_CERT_LIFE_SECS"),
];
/// What stands in the line of counts, and in no other.
const COUNTS: &str = "\"rotations\":";

/// Runs the soak: `--minutes N`, `--cert-life-secs N`.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    let (outcome, counts) = match command(arguments) {
        Ok(command) => counts_of(command, &mut std::io::stdout()),
        Err(why) => (Err(why), None),
    };
    if let Err(why) = &outcome {
        eprintln!("xtask: {why}");
    }
    if let Some(counts) = counts {
        println!("{counts}");
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_told) => ExitCode::FAILURE,
    }
}

fn command(arguments: &[&str]) -> Result<Command, String> {
    let mut command = crate::command("sh");
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
    Ok(command)
}

/// Runs it, and writes what it says to `out`; how it ended, and the line of counts, which is
/// kept back.
fn counts_of(mut command: Command, out: &mut impl Write) -> (Result<(), String>, Option<String>) {
    let failed = |error| (Err(format!("the soak cannot be run: {error}")), None);
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return failed(error),
    };
    let said = child.stdout.take();
    let counts = said.and_then(|said| pass_on(said, out));
    let status = match child.wait() {
        Ok(status) => status,
        Err(error) => return failed(error),
    };
    let outcome = match (status.success(), &counts) {
        (true, Some(_)) => Ok(()),
        (true, None) => Err("the soak came to no counts".to_owned()),
        (false, _) => Err(format!("the soak failed: {status}")),
    };
    (outcome, counts)
}

/// Writes everything through as it comes but the line of counts.
fn pass_on(said: impl Read, out: &mut impl Write) -> Option<String> {
    let mut counts = None;
    for line in BufReader::new(said).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        let counted = line.contains(COUNTS).then(|| line.find('{')).flatten();
        match counted {
            // The test's name may stand before it, on the same line.
            Some(at) => {
                let (before, found) = line.split_at(at);
                if !before.is_empty() {
                    let _ = writeln!(out, "{before}");
                }
                counts = Some(found.to_owned());
            }
            None => {
                let _ = writeln!(out, "{line}");
            }
        }
        let _ = out.flush();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_kept_back_and_all_else_is_written_through() {
        let said = "running 1 test\ntest soak ... {\"failed_parts\":0,\"rotations\":3}\nok\n\ntest result: ok\n";
        let mut out = Vec::new();
        let counts = pass_on(said.as_bytes(), &mut out);
        assert_eq!(counts.unwrap(), "{\"failed_parts\":0,\"rotations\":3}");
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            "running 1 test\ntest soak ... \nok\n\ntest result: ok\n"
        );
    }

    #[test]
    fn what_fails_before_there_are_counts_fails_and_what_ends_well_without_them_does_too() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            counts_of(command, &mut Vec::new())
        };
        let (outcome, counts) = shell("echo 'error: could not compile'; exit 101");
        assert!(outcome.is_err() && counts.is_none());
        let one = "echo '{\"rotations\":1,\"failed_parts\":1}'";
        let (outcome, counts) = shell(&format!("{one}; exit 101"));
        assert!(outcome.is_err() && counts.is_some());
        assert!(shell("echo 'test result: ok. 0 passed'").0.is_err());
        let (outcome, counts) = shell(&format!("{one}; echo 'test result: ok'"));
        assert!(outcome.is_ok() && counts.is_some());
    }
}
