//! What the tests and the comparison need besides Rust.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Programs, each with the Debian package that has it.
type Programs = &'static [(&'static str, &'static str)];

/// What the tests start.
pub(crate) const TESTED: Programs = &[
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("prlimit", "util-linux"),
    ("pg_createcluster", "postgresql"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("rclone", "rclone"),
    ("restic", "restic"),
    ("s3cmd", "s3cmd"),
    ("pip3", "python3-pip"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("testssl", "testssl.sh"),
    ("pebble", "pebble"),
    ("softhsm2-util", "softhsm2"),
    ("pkcs11-tool", "opensc"),
];

/// What the comparison starts.
pub(crate) const COMPARED: Programs = &[
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("fusermount", "fuse"),
    ("gocryptfs", "gocryptfs"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx"),
    ("ping", "iputils-ping"),
    ("pip3", "python3-pip"),
    ("rclone", "rclone"),
    ("restic", "restic"),
    ("rsync", "rsync"),
    ("stunnel", "stunnel4"),
];

/// Installs the packages of programs that are missing.
pub(crate) fn debian_packages(programs: Programs) -> Result<(), String> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    apt_get(&["update", "-q"])?;
    apt_get(
        &[
            &["install", "-q", "-y", "--no-install-recommends"],
            missing.as_slice(),
        ]
        .concat(),
    )
}

/// Python packages that the tests use, each with the variable that says where it lies: a
/// scanner, the client of AWS that the fake key service is held to, its command line, a store
/// that is not ours, and the client of Azure.
const PYTHON: [(&str, &str, &str); 5] = [
    ("SEALIFT_SSLYZE", "sslyze", "sslyze==6.3.1"),
    ("SEALIFT_BOTO3", "boto3", "boto3==1.44.8"),
    ("SEALIFT_AWSCLI", "awscli", "awscli==1.46.3"),
    MOTO,
    ("SEALIFT_AZURE", "azure", "azure-storage-blob==12.31.1"),
];

const MOTO: (&str, &str, &str) = ("SEALIFT_MOTO", "moto", "moto[s3,sqs,server]==5.2.5");

/// Where what is not of Debian is installed.
fn tools() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

/// Microsoft's emulator of Azure Storage.
const AZURITE: &str = "azurite@3.35.0";

/// Installs moto alone; the variable that says where it lies.
pub(crate) fn moto() -> Result<(&'static str, PathBuf), String> {
    let (variable, name, package) = MOTO;
    let folder = tools().join(name);
    match python_package(package, &folder) {
        true => Ok((variable, folder)),
        false => Err(format!("{package} cannot be installed")),
    }
}

/// Installs Azurite; the variable that says where it lies.
pub(crate) fn azurite() -> Result<(&'static str, PathBuf), String> {
    let folder = tools().join("azurite");
    let done = folder.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|version| version == AZURITE) {
        return Ok(("SEALIFT_AZURITE", folder));
    }
    println!("installing {AZURITE}");
    let status = Command::new("npm")
        // What it would run at installation is for its stores on disk, which are not used.
        .args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ])
        .arg("--prefix")
        .args([folder.as_os_str(), AZURITE.as_ref()])
        .status();
    match status {
        Ok(status) if status.success() && std::fs::write(done, AZURITE).is_ok() => {
            Ok(("SEALIFT_AZURITE", folder))
        }
        _ => Err(format!("{AZURITE} cannot be installed")),
    }
}

/// Installs the Python packages; variables that say where they lie.
pub(crate) fn python_packages() -> Result<Vec<(&'static str, PathBuf)>, String> {
    let tools = tools();
    PYTHON
        .into_iter()
        .map(|(variable, name, package)| {
            let folder = tools.join(name);
            match python_package(package, &folder) {
                true => Ok((variable, folder)),
                false => Err(format!("{package} cannot be installed")),
            }
        })
        .collect()
}

/// Installs a Python package, and what it needs, below `folder`; says whether it is there.
pub(crate) fn python_package(package: &str, folder: &Path) -> bool {
    let done = folder.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|version| version == package) {
        return true;
    }
    println!("installing {package}");
    let status = Command::new("pip3")
        .args(["install", "-q", "--upgrade", "--root-user-action=ignore"])
        .arg("--target")
        .args([folder.as_os_str(), package.as_ref()])
        .status();
    status.is_ok_and(|status| status.success()) && std::fs::write(done, package).is_ok()
}

/// What builds and lists the fuzz targets.
const CARGO_FUZZ: [&str; 5] = ["install", "cargo-fuzz", "--version", "0.13.2", "--locked"];

/// Installs cargo's fuzzing command, if there is none.
pub(crate) fn cargo_fuzz() -> Result<(), String> {
    let cargo = |arguments: &[&str]| Command::new("cargo").args(arguments).status();
    if cargo(&["fuzz", "--version"]).is_ok_and(|status| status.success()) {
        return Ok(());
    }
    match cargo(&CARGO_FUZZ) {
        Ok(status) if status.success() => Ok(()),
        _ => Err("cargo-fuzz cannot be installed".to_owned()),
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .map_err(|error| format!("apt-get did not start: {error}; install by hand"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("apt-get {} failed", arguments.join(" ")))
    }
}
