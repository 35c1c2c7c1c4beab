//! A place of our own: mount, process and network namespaces that vanish with the run.
//!
//! tmpfs, FUSE mounts, listening ports and every process that is started below are
//! inside; whatever ends the run, kill -9 included, the kernel clears all of it away.

use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

const INSIDE: &str = "SEALIFT_COMPARE_INSIDE";
/// The first process of a process namespace takes only signals it has a handler for.
const FIRST: &str = r#"trap "exit 130" INT TERM HUP; "$0" "$@" & wait $!"#;

/// Runs this program again, inside, unless it is there already. Needs root.
///
/// # Errors
/// The namespaces cannot be made.
pub fn enter() -> io::Result<()> {
    if env::var_os(INSIDE).is_some() {
        return prepare();
    }
    let error = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--fork", "--kill-child=KILL"])
        .args(["--mount-proc", "sh", "-c", FIRST])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error)
}

fn prepare() -> io::Result<()> {
    succeed(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let mounted = ["-t", "tmpfs", "-o", "size=80%", "tmpfs"];
    succeed(Command::new("mount").args(mounted).arg(memory()))
}

/// tmpfs of our own.
pub fn memory() -> PathBuf {
    PathBuf::from("/dev/shm")
}

/// The disk that holds the build.
pub fn disk() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("compare-{}", std::process::id()))
}

/// Runs a command that must succeed.
///
/// # Errors
/// It did not.
pub fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{command:?}: {}: {}",
        output.status,
        said.trim()
    )))
}
