//! Log lines on standard error, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

const SILENT: &str = "s3s=off";

/// Sends the log lines of this process to standard error. A second call changes nothing.
pub fn start(log: &Log) {
    let filter = filter(&log.level);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that lines go somewhere already, as in tests.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// The lines of `level`. The library behind the S3 endpoint has none of its own whatever that
/// says: it would have an error for every key that is not there, and its lines for debugging
/// have the signatures that would have been good.
fn filter(level: &str) -> EnvFilter {
    let directives = level.split(',');
    let others: Vec<_> = directives
        .filter(|one| !one.trim().starts_with("s3s"))
        .collect();
    let filter = EnvFilter::try_new(others.join(","));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    match SILENT.parse() {
        Ok(silent) => filter.add_directive(silent),
        Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::{SILENT, filter};

    #[test]
    fn the_library_behind_the_endpoint_is_silent_whatever_is_wanted() {
        assert!(
            SILENT
                .parse::<tracing_subscriber::filter::Directive>()
                .is_ok()
        );
        for level in ["info", "trace", "warn,s3s::ops=trace", "nonsense="] {
            let filter = filter(level).to_string();
            assert!(filter.contains(SILENT), "{level}: {filter}");
            assert!(!filter.contains("s3s::ops"), "{level}: {filter}");
        }
    }
}
