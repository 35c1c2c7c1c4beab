//! Configurations, by their form: whatever is refused names lines of the file.
#![no_main]

/// The agent's own, taken out of it: the agent with all that it uses takes longer
/// to build than the targets are allowed to run.
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../../../crates/agent/src/config/mod.rs"]
mod config;

use config::{Config, Place, Source};
use libfuzzer_sys::fuzz_target;

const SOCKET_FILE: &str = "agent.sock";
const RENEWED_FILE: &str = "identity.pem";

/// What the configuration asks of the agent's logging.
mod logging {
    pub(crate) fn is_level(level: &str) -> bool {
        level == "info"
    }
}

/// Where the configuration says that a bundle is.
mod bundles {
    use std::path::{Path, PathBuf};

    use sealift_terms::Identity;

    pub(crate) fn workload_bundle(data_dir: &Path, of: &Identity) -> PathBuf {
        data_dir.join(format!("{}.json", of.domain()))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let source = Source {
        path: "/etc/sealift/sealift.toml".into(),
        text: text.to_owned(),
        overrides: Vec::new(),
    };
    if let Err(error) = Config::check(&source) {
        assert!(!error.to_string().is_empty());
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        for refusal in error.refusals {
            assert!(!matches!(refusal.place, Place::Line(line) if line > lines));
        }
    }
});
