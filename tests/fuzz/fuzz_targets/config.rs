//! Configurations, by their form: whatever is refused names lines of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_agent::config::{Config, Place, Source};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let source = Source {
        path: "/etc/sealift/sealift.toml".into(),
        text: text.to_owned(),
        overrides: Vec::new(),
    };
    if let Err(error) = Config::check(&source, false) {
        assert!(!error.to_string().is_empty());
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        for refusal in error.refusals() {
            assert!(!matches!(refusal.place, Place::Line(line) if line > lines));
        }
    }
});
