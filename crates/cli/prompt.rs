//! What is asked on a terminal when a flag did not say it.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use sealift_agent::Error;
use zeroize::Zeroizing;

/// The answer of the flag, or of the person at the terminal, or the default.
pub(crate) fn ask(
    given: Option<&String>,
    question: &str,
    default: Option<&str>,
    flag: &'static str,
) -> Result<String, Error> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return default.map(str::to_owned).ok_or_else(|| missing(flag));
    }
    let shown = default.map(|d| format!(" [{d}]")).unwrap_or_default();
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{question}{shown}: ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    asked.map_err(Error::io("read", "standard input"))?;
    match (answer.trim(), default) {
        ("", Some(default)) => Ok(default.to_owned()),
        ("", None) => Err(missing(flag)),
        (answer, _) => Ok(answer.to_owned()),
    }
}

/// Answers of a person at the terminal to a question that may have none or many, each
/// taken apart by `parse`: an empty line ends it. Nothing without a terminal.
pub(crate) fn ask_many<T>(
    question: &str,
    count_max: usize,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Error> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Vec::new());
    }
    let (mut input, mut output) = (io::stdin().lock(), io::stderr());
    let asked = many(&mut input, &mut output, question, count_max, parse);
    asked.map_err(Error::io("read", "standard input"))
}

fn many<T>(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &str,
    count_max: usize,
    parse: impl Fn(&str) -> Result<T, String>,
) -> io::Result<Vec<T>> {
    let mut answers = Vec::new();
    while answers.len() < count_max {
        let more = match answers.is_empty() {
            true => "none",
            false => "no more",
        };
        write!(output, "{question} [{more}]: ")?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        match parse(line.trim()) {
            Ok(answer) => answers.push(answer),
            Err(why) => writeln!(output, "  {why}")?,
        }
    }
    Ok(answers)
}

/// A passphrase from its file, or twice from the terminal.
pub(crate) fn passphrase(
    file: Option<&Path>,
    question: &str,
    twice: bool,
) -> Result<Zeroizing<String>, Error> {
    const FILE_BYTES_MAX: usize = 1024;
    if let Some(path) = file {
        let bytes = sealift_host::read_secret_file(path, FILE_BYTES_MAX)
            .map_err(Error::refused("the passphrase file"))?;
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(Error::failed("reading the passphrase"))?;
        return Ok(Zeroizing::new(line.trim_end_matches('\r').to_owned()));
    }
    if !io::stdin().is_terminal() {
        return Err(missing("--passphrase-file"));
    }
    let first = hidden(question)?;
    if twice && *hidden("the same again")? != *first {
        return Err(Error::Request {
            what: "passphrase",
            found: "two different ones".to_owned(),
            allowed: "the same twice".to_owned(),
        });
    }
    Ok(first)
}

/// Reads a line that the terminal does not show.
fn hidden(question: &str) -> Result<Zeroizing<String>, Error> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let failed = || Error::io("read", "standard input");
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)
        .map_err(io::Error::from)
        .map_err(failed())?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let mut line = Zeroizing::new(String::new());
    write!(io::stderr(), "{question}: ").map_err(failed())?;
    tcsetattr(&stdin, OptionalActions::Flush, &silent)
        .map_err(io::Error::from)
        .map_err(failed())?;
    let read = stdin.lock().read_line(&mut line);
    // The terminal shows again what is typed, whatever became of the reading.
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &shown);
    read.map_err(failed())?;
    restored.map_err(io::Error::from).map_err(failed())?;
    let _ = writeln!(io::stderr());
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn missing(flag: &'static str) -> Error {
    Error::Request {
        what: flag,
        found: "nothing, and no terminal to ask on".to_owned(),
        allowed: "the flag, or a terminal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_with_many_answers_ends_with_an_empty_line_and_repeats_what_is_refused() {
        let parse = |text: &str| text.parse::<u16>().map_err(|_| "a number".to_owned());
        let mut told = Vec::new();
        let answered = |input: &str, told: &mut Vec<u8>, max| {
            many(&mut input.as_bytes(), told, "Which", max, parse).unwrap()
        };
        assert_eq!(answered("1\nx\n2\n\n3\n", &mut told, 9), [1, 2]);
        let told_text = String::from_utf8(told.clone()).unwrap();
        assert!(told_text.contains("a number") && told_text.contains("[no more]"));
        assert_eq!(answered("7\n8\n", &mut told, 1), [7]);
        assert_eq!(answered("", &mut told, 9), [0_u16; 0]);
    }

    #[test]
    fn a_flag_wins_and_without_a_terminal_the_default_or_nothing() {
        let given = "x".to_owned();
        assert_eq!(ask(Some(&given), "q", Some("d"), "--f").unwrap(), "x");
        if !io::stdin().is_terminal() {
            assert_eq!(ask(None, "q", Some("d"), "--f").unwrap(), "d");
            assert!(ask(None, "q", None, "--f").is_err());
        }
    }
}
