//! One site: its configuration, its agent when it runs, and what it answers.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;

use super::{
    agent::Agent,
    audit::AuditLeaf,
    program::{Ran, run, run_in_time, run_into_closed_pipe, text},
    wait::{wait_for, wait_until},
};

/// From its start until an agent answers.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// A line of the log, a record of the audit log or a number may come a little later.
const LOG_TIME_MAX: Duration = Duration::from_secs(60);
/// What is shown of a log when a test failed.
const LOG_LINES_SHOWN: usize = 80;

pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) identity: String,
    /// Where health and metrics are shown.
    pub(crate) admin: String,
    /// The network namespace in which its agent runs, if not in this one.
    pub(crate) within: Option<String>,
    agent: Mutex<Option<Agent>>,
}

impl Site {
    /// A site in `dir`, made already.
    pub(crate) fn new(name: &str, dir: &Path, identity: String, admin: String) -> Self {
        Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            identity,
            admin,
            within: None,
            agent: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("sealift.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn agent(&self) -> MutexGuard<'_, Option<Agent>> {
        self.agent.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// Starts its agent and waits until it answers.
    pub(crate) fn start(&self) {
        let before = self.log().len();
        self.start_without_waiting();
        wait_until("the agent is ready", START_TIME_MAX, || {
            if let Some(code) = self.agent().as_mut().and_then(Agent::ended) {
                panic!("the agent of {} ended with {code}", self.name);
            }
            self.log()[before..].contains(" ready ")
        });
    }

    pub(crate) fn start_without_waiting(&self) {
        let mut agent = self.agent();
        assert!(agent.is_none(), "{} runs already", self.name);
        *agent = Some(Agent::start(
            self.within.as_deref(),
            &self.config(),
            &self.log_path(),
        ));
    }

    /// Stops its agent in order.
    #[track_caller]
    pub(crate) fn stop(&self) {
        let agent = self.agent().take().unwrap();
        assert_eq!(
            agent.stop(),
            0,
            "the agent of {} fails at its end",
            self.name
        );
    }

    /// Sends its agent a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.agent().as_ref().unwrap().signal(signal);
    }

    /// Waits until its agent has ended by itself; its exit code.
    #[track_caller]
    pub(crate) fn ends(&self, time_max: Duration) -> i32 {
        let what = format!("the agent of {} ends", self.name);
        let (code, _) = wait_for(&what, time_max, || self.agent().as_mut()?.ended());
        self.agent().take();
        code
    }

    /// Stops its agent's process in its tracks, or lets it go on.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.agent().as_ref().unwrap().freeze(is_frozen);
    }

    /// Kills its agent; whether there was one.
    pub(crate) fn kill(&self) -> bool {
        let agent = self.agent().take();
        agent.map(Agent::kill).is_some()
    }

    /// Its agent's process.
    pub(crate) fn pid(&self) -> i32 {
        self.agent().as_ref().unwrap().pid().as_raw_nonzero().get()
    }

    /// The most memory its agent ever had, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.agent().as_ref().unwrap().memory_peak()
    }

    /// Runs a command on this site.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.with_config(arguments))
    }

    /// Runs a command whose output nobody reads any more.
    pub(crate) fn run_into_closed_pipe(&self, arguments: &[&str]) -> Ran {
        run_into_closed_pipe(self.with_config(arguments))
    }

    /// Runs a command that may take so long.
    pub(crate) fn run_in_time(&self, time_max: Duration, arguments: &[&str]) -> Ran {
        run_in_time(time_max, self.with_config(arguments))
    }

    fn with_config(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        arguments
            .chain(["-c".to_owned(), text(&self.config())])
            .collect()
    }

    /// Runs a command that must succeed, and reads its rows.
    #[track_caller]
    pub(crate) fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [arguments, &["--json"]].concat();
        self.run(&arguments).exits(0).rows()
    }

    /// How it stands.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.rows(&["status"]).remove(0)
    }

    /// Transfers with this status, by its own count: objects and bytes.
    #[track_caller]
    pub(crate) fn transfers(&self, status: &str) -> (u64, u64) {
        let report = self.status();
        let rules = report["rules"].as_array().unwrap();
        let counts = rules
            .iter()
            .flat_map(|rule| rule["counts"].as_array().unwrap());
        let counts = counts.filter(|count| count["status"] == status);
        counts.fold((0, 0), |(objects, bytes), count| {
            let of = |field: &str| count[field].as_u64().unwrap();
            (objects + of("objects"), bytes + of("bytes"))
        })
    }

    /// The value of a metric, all its series together; 0 when it is not there yet.
    /// None when the agent does not answer.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let text = self.metrics()?;
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        Some(series.map(value).sum::<f64>() as u64)
    }

    /// Waits until a metric has this value: what happens is counted behind it.
    #[track_caller]
    pub(crate) fn shows(&self, metric: &str, value: u64) {
        let what = format!("{} shows {metric} {value}", self.name);
        wait_until(&what, LOG_TIME_MAX, || self.metric(metric) == Some(value));
    }

    fn metrics(&self) -> Option<String> {
        let (code, text) = self.get("/metrics")?;
        assert_eq!(code, 200, "{text}");
        Some(text)
    }

    /// What its loopback address answers: a code and a body. None when it does not.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.admin).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let code = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((code, text))
    }

    /// Adds to its configuration.
    pub(crate) fn configure(&self, more: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), format!("{text}\n{more}\n")).unwrap();
    }

    /// Replaces text in its configuration, which must be there.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "no {from:?} in\n{text}");
        fs::write(self.config(), text.replacen(from, to, 1)).unwrap();
    }

    /// The line of its configuration on which `text` begins.
    #[track_caller]
    pub(crate) fn line_of(&self, text: &str) -> usize {
        let config = fs::read_to_string(self.config()).unwrap();
        let at = config
            .find(text)
            .unwrap_or_else(|| panic!("no {text:?} in\n{config}"));
        1 + config[..at].matches('\n').count()
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Whether its agent still runs.
    pub(crate) fn runs(&self) -> bool {
        self.agent()
            .as_mut()
            .is_some_and(|agent| agent.ended().is_none())
    }

    /// Waits for a line of its log that holds all of these.
    #[track_caller]
    pub(crate) fn logs(&self, words: &[&str]) {
        wait_until(
            &format!("a line of {}'s log has {words:?}", self.name),
            LOG_TIME_MAX,
            || {
                let log = self.log();
                log.lines()
                    .any(|line| words.iter().all(|word| line.contains(word)))
            },
        );
    }

    /// Waits for a record of its audit log of this kind that holds all of these.
    #[track_caller]
    pub(crate) fn audits(&self, kind: &str, words: &[&str]) {
        wait_until(
            &format!("{}'s audit log has {kind} {words:?}", self.name),
            LOG_TIME_MAX,
            || {
                let leaves = AuditLeaf::all(&self.data());
                leaves.iter().any(|leaf| leaf.is(kind) && leaf.tells(words))
            },
        );
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.agent().take();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("---- log of {}:\n{}", self.name, last.join("\n"));
        }
    }
}
