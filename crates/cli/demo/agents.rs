//! The two agents of the demonstration: processes of their own, as in earnest.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use sealift_agent::{
    Error,
    admin::{Client, Request, StatusReport},
    config::Config,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// From its start until an agent answers.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// From the signal until an agent has ended.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// A running agent; ended when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    client: Client,
}

impl Agent {
    /// Starts an agent and waits until it answers.
    pub(crate) async fn start(config: &Config) -> Result<Self, Error> {
        let log = config.path.with_file_name("agent.log");
        let file = File::create(&log).map_err(Error::io("write", &log))?;
        let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SEALIFT_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["up", "-c"])
            .arg(&config.path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("start", &program))?;
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(client) = Client::connect(&config.socket()).await {
                return Ok(Self { child, log, client });
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(ended(&log, &status.to_string()));
            }
            if Instant::now() > deadline {
                return Err(ended(&log, "it does not answer"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The way to ask it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// How it stands; an error when it is gone.
    pub(crate) async fn status(&mut self) -> Result<StatusReport, Error> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(ended(&self.log, &status.to_string()));
        }
        let mut answers = self.client.ask(Request::Status);
        let report = answers.next_row().await?;
        answers.finish().await?;
        report.ok_or_else(|| Error::Answer("status without a row".to_owned()))
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Leaves it running behind the demonstration.
    pub(crate) fn keep(self) {
        std::mem::forget(self.child);
    }

    /// Lets it finish what is in flight and end.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // An agent that ended by itself shows in its status below.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(STOP_TIME_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(ended(&self.log, &status.to_string())),
            Ok(Err(error)) => Err(Error::io("wait for", "the agent")(error)),
            Err(_) => Err(ended(&self.log, "it did not stop in time and was killed")),
        }
    }
}

/// What an agent that failed said last.
fn ended(log: &std::path::Path, how: &str) -> Error {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    let last: Vec<_> = lines.into_iter().rev().collect();
    Error::TryAgain {
        what: format!(
            "an agent failed: {how}\n{}\n(all of it: {})",
            last.join("\n"),
            log.display()
        ),
        reason: None,
    }
}
