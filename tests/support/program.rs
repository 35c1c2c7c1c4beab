//! Running the program to its end.

use std::{
    fmt,
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// A command that answers later than this has failed: most take a part of a second, and what
/// other programs do with a bucket takes a minute where the machine is busy.
const TIME_MAX: Duration = Duration::from_secs(300);

/// How a command ended.
pub(crate) struct Ran {
    line: String,
    /// The exit code; -1 for a signal.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs the program with these arguments.
pub(crate) fn run<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    run_in_time(TIME_MAX, arguments)
}

/// Runs the program, for so long at most.
pub(crate) fn run_in_time<S: AsRef<str>>(
    time_max: Duration,
    arguments: impl IntoIterator<Item = S>,
) -> Ran {
    let mut command = program();
    command.args(arguments.into_iter().map(|a| a.as_ref().to_owned()));
    to_its_end(command, time_max)
}

/// Runs the program with a standard output that nobody reads any more.
pub(crate) fn run_into_closed_pipe<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    let mut command = program();
    command.args(arguments.into_iter().map(|a| a.as_ref().to_owned()));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let line = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(writer);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    Ran {
        line,
        code: output.status.code().unwrap_or(-1),
        stdout: Vec::new(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a copy of the program as another user.
pub(crate) fn run_as(uid: u32, gid: u32, program: &Path, arguments: &[&str]) -> Ran {
    let mut command = alone(Command::new(program));
    command.args(arguments).uid(uid).gid(gid).current_dir("/");
    to_its_end(command, TIME_MAX)
}

/// Runs another program, which must end with one of these codes.
#[track_caller]
pub(crate) fn run_program(program: &str, arguments: &[&str], codes: &[i32]) -> Ran {
    run_program_in_time(TIME_MAX, program, arguments, codes)
}

/// Runs another program, for so long at most.
#[track_caller]
pub(crate) fn run_program_in_time(
    time_max: Duration,
    program: &str,
    arguments: &[&str],
    codes: &[i32],
) -> Ran {
    let mut command = Command::new(program);
    command.args(arguments);
    let ran = to_its_end(command, time_max);
    assert!(codes.contains(&ran.code), "{ran}");
    ran
}

/// The program, with nothing of this process's settings.
pub(crate) fn program() -> Command {
    alone(Command::new(env!("CARGO_BIN_EXE_sealift")))
}

/// The program on a host of its own: within a network namespace.
pub(crate) fn program_within(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_sealift")]);
    alone(command)
}

fn alone(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEALIFT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; one that takes too long is killed and fails the test.
pub(crate) fn to_its_end(mut command: Command, time_max: Duration) -> Ran {
    let line = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if command.get_args().next().is_some() {
        command.stdin(Stdio::null());
    }
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
    let stdout = gather(child.stdout.take());
    let stderr = gather(child.stderr.take());
    let deadline = Instant::now() + time_max;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let ran = Ran {
        code: status.and_then(|status| status.code()).unwrap_or(-1),
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
        line,
    };
    assert!(status.is_some(), "not done after {time_max:?}: {ran}");
    ran
}

fn gather(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

impl Ran {
    /// Fails the test unless the command ended so.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Everything it said.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.text(), self.stderr)
    }

    /// Standard output as rows of JSON.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Value> {
        let text = self.text();
        let row = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}: {self}"))
        };
        text.lines().map(row).collect()
    }

    /// Fails the test unless it said all of these.
    #[track_caller]
    pub(crate) fn tells(self, words: &[&str]) -> Self {
        let said = self.said();
        for word in words {
            assert!(said.contains(word), "does not tell {word:?}: {self}");
        }
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(4000).collect();
        write!(
            f,
            "{}\nexit code {}\n{shown}\n{}",
            self.line, self.code, self.stderr
        )
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
