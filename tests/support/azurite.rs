//! Azure Blob Storage, as Microsoft emulates it.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    pair::free_address,
    program::{Ran, run_program},
    wait::wait_until,
};

const TIME_MAX: Duration = Duration::from_secs(120);
/// The one account that it has, and its key (its documentation, "Default storage account").
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Azurite, driven by the client that Microsoft makes for Python.
pub(crate) struct Azurite {
    process: Child,
    pub(crate) url: String,
    container: String,
}

impl Azurite {
    /// Starts it, with one container.
    pub(crate) fn start(dir: &Path, container: &str) -> Self {
        let address = free_address();
        let (host, port) = address.split_once(':').unwrap();
        let log = fs::File::create(dir.join("azurite.log")).unwrap();
        let folder = std::env::var("SEALIFT_AZURITE").unwrap();
        let script = Path::new(&folder).join("node_modules/azurite/dist/src/blob/main.js");
        let process = Command::new("node")
            .arg(script)
            .args(["--blobHost", host, "--blobPort", port, "--silent"])
            .args(["--inMemoryPersistence", "--disableTelemetry"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        wait_until("Azurite answers", TIME_MAX, || {
            TcpStream::connect(&address).is_ok()
        });
        let azurite = Self {
            process,
            url: format!("http://{address}"),
            container: container.to_owned(),
        };
        azurite.client("make");
        azurite
    }

    /// What the container's own client does to it, and says of it.
    pub(crate) fn client(&self, what: &str) -> Ran {
        let python = format!("PYTHONPATH={}", std::env::var("SEALIFT_AZURE").unwrap());
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/azure_container.py"
        );
        let container = &self.container;
        let arguments = [
            &python, "python3", script, &self.url, ACCOUNT, KEY, container, what,
        ];
        run_program("env", &arguments, &[0])
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
