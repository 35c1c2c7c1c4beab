//! The house rules that a machine can hold: floors, sizes, words.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, MetadataCommand};
use sealift_terms::{Reason, Status};

/// From the bottom up. A crate uses crates of lower floors only.
const FLOORS: [&[&str]; 8] = [
    &["sealift-terms", "sealift-fake-kms", "sealift-fake-workload"],
    &["sealift-seal", "sealift-identity", "sealift-host"],
    &["sealift-outside"],
    &[
        "sealift-wire",
        "sealift-store",
        "sealift-ledger",
        "sealift-keys",
    ],
    &["sealift-archive", "sealift-tunnel"],
    &[
        "sealift-sender",
        "sealift-receiver",
        "sealift-forward",
        "sealift-endpoint",
    ],
    &["sealift-agent", "sealift-simulate"],
    &["sealift"],
];

/// Crates that do no I/O: what they may not name.
const PURE: [&str; 3] = ["terms", "seal", "wire"];
const IMPURE: [&str; 7] = [
    "std::fs",
    "std::net",
    "SystemTime::now",
    "Instant::now",
    "SystemRandom",
    "tokio::",
    "std::env",
];

/// Crates that run in the simulation, whole.
const SIMULATED: [&str; 5] = ["archive", "receiver", "sender", "tunnel", "wire"];

const FILE_LINES_MAX: usize = 600;
/// What fits on a screen.
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn a_crate_uses_lower_floors_only() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let floor_of: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, crates)| crates.iter().map(move |name| (*name, floor)))
        .collect();
    for package in metadata
        .packages
        .iter()
        .filter(|package| *package.name != "xtask")
    {
        let name = package.name.as_str();
        let floor = floor_of
            .get(name)
            .unwrap_or_else(|| panic!("{name} stands on no floor"));
        for dependency in &package.dependencies {
            let normal = dependency.kind == DependencyKind::Normal;
            if let Some(below) = floor_of.get(dependency.name.as_str()).filter(|_| normal) {
                assert!(
                    below < floor,
                    "{name} uses {}, which is not below it",
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn pure_crates_do_no_io_read_no_clock_and_draw_no_randomness() {
    for name in PURE {
        for file in rust_files(&root().join("crates").join(name).join("src")) {
            let text = code_of(&file);
            for word in IMPURE {
                assert!(!text.contains(word), "{} names {word}", file.display());
            }
        }
    }
}

/// The simulation runs these on one thread: what blocks goes through `store::blocking`,
/// which knows that.
#[test]
fn what_is_simulated_starts_no_threads() {
    for name in SIMULATED {
        for file in rust_files(&root().join("crates").join(name).join("src")) {
            if file.components().any(|part| part.as_os_str() == "tests") {
                continue; // Tests of the real thing may.
            }
            let text = code_of(&file);
            for word in ["spawn_blocking", "std::thread", "Instant::now()"] {
                let is_tokios = word == "Instant::now()" && !text.contains("std::time::Instant");
                let is_named = text.contains(word) && !is_tokios;
                assert!(!is_named, "{} names {word}", file.display());
            }
        }
    }
}

#[test]
fn every_library_opens_with_what_it_is() {
    for file in rust_files(&root().join("crates")) {
        if file.file_name().is_some_and(|name| name == "lib.rs") {
            let text = fs::read_to_string(&file).unwrap();
            let opening = text
                .lines()
                .take_while(|line| line.starts_with("//!"))
                .count();
            assert!(
                opening >= 8,
                "{} opens with {opening} lines of documentation",
                file.display()
            );
            assert!(
                text.contains("```text"),
                "{} has no picture",
                file.display()
            );
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for file in rust_files(&root().join("crates"))
        .into_iter()
        .filter(|file| !is_of_tests(file))
    {
        let lines = code_of(&file).lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{} has {lines} lines before its tests",
            file.display()
        );
    }
}

#[test]
fn no_function_is_longer_than_a_screen() {
    for file in rust_files(&root().join("crates"))
        .into_iter()
        .filter(|file| !is_of_tests(file))
    {
        let text = code_of(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.split(['(', '<']).next().unwrap_or_default();
            if !words.split_whitespace().any(|word| word == "fn") || line.trim().starts_with("//") {
                continue;
            }
            // rustfmt closes a function where it began; one without a body ends at once.
            let end = lines.iter().skip(at).position(|line| {
                let own = line.len() - line.trim_start().len() == indent;
                own && (line.trim() == "}" || line.ends_with(';') || line.ends_with("{}"))
            });
            let length = end.map_or(0, |end| end + 1);
            assert!(
                length <= FUNCTION_LINES_MAX,
                "{}:{}: {} lines",
                file.display(),
                at + 1,
                length
            );
        }
    }
}

#[test]
fn every_library_holds_the_lint_against_indexing() {
    for file in rust_files(&root().join("crates")) {
        let name = file.file_name().unwrap_or_default();
        if name == "lib.rs" {
            let text = fs::read_to_string(&file).unwrap();
            let lint = "#![cfg_attr(not(test), warn(clippy::indexing_slicing))]";
            assert!(text.contains(lint), "{}", file.display());
        }
    }
}

#[test]
fn every_reason_code_is_documented_with_its_status() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let from = text.find("## Reason codes").unwrap();
    let section = &text[from..];
    let section = &section[..section[3..].find("\n## ").unwrap()];
    for reason in Reason::ALL {
        let heading = match reason.status() {
            Status::Failed => "*Given up*",
            Status::Pending => "*Waiting*",
            Status::Skipped => "*Left out*",
            status => panic!("{reason} is {status}"),
        };
        let mut paragraphs = section.split("\n\n");
        let of_status = paragraphs.find(|one| one.trim_start().starts_with(heading));
        let code = format!("`{reason}`");
        assert!(of_status.unwrap().contains(&code), "{code} is {heading}");
        // Said once: another place would say something else some day.
        assert_eq!(section.matches(&code).count(), 1, "{code}");
    }
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["unimpl", "emented!"].concat(),
    ];
    for folder in ["crates", "tests", "benches"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            for word in &words {
                assert!(
                    !text.contains(word.as_str()),
                    "{} says {word}",
                    file.display()
                );
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn is_of_tests(file: &Path) -> bool {
    file.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// The text of a file up to its tests.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Every Rust file below `folder`, build output aside.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
