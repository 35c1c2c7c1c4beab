//! Debian's pebble, an ACME server for tests, and the name server it asks.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{pair::free_address, program::to_its_end, wait::wait_until};

const TIME_MAX: Duration = Duration::from_secs(120);

/// Both processes, ended when dropped.
pub(crate) struct Pebble {
    /// Where its directory is.
    pub(crate) directory: String,
    /// The roots that vouch for its own certificate.
    pub(crate) roots: PathBuf,
    /// Where it looks for the answers to challenges, whatever the name.
    pub(crate) answers: String,
    management: String,
    processes: Vec<Child>,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

impl Pebble {
    /// One that issues for an hour.
    pub(crate) fn start(dir: &Path) -> Self {
        fs::create_dir(dir).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let roots = dir.join("https.pem");
        fs::write(&roots, certificate.pem()).unwrap();
        fs::write(dir.join("https.key"), key.serialize_pem()).unwrap();
        let (listen, management, answers) = (free_address(), free_address(), free_address());
        let names = free_address();
        let config = serde_json::json!({"pebble": {
            "listenAddress": listen,
            "managementListenAddress": management,
            "certificate": roots,
            "privateKey": dir.join("https.key"),
            "httpPort": port(&answers),
            "tlsPort": port(&answers),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": 3600,
        }});
        fs::write(dir.join("pebble.json"), config.to_string()).unwrap();
        let log = || {
            Stdio::from(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(dir.join("log"))
                    .unwrap(),
            )
        };
        let resolver = Command::new("pebble-challtestsrv")
            .args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-dns01",
                &names,
            ])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &free_address()])
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let server = Command::new("pebble")
            .arg("-config")
            .arg(dir.join("pebble.json"))
            .args(["-dnsserver", &names])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let pebble = Self {
            directory: format!("https://{listen}/dir"),
            roots,
            answers,
            management,
            processes: vec![resolver, server],
        };
        wait_until("pebble answers", TIME_MAX, || {
            TcpStream::connect(&listen).is_ok() && TcpStream::connect(&pebble.management).is_ok()
        });
        pebble
    }

    /// The root of what it issues, PEM.
    pub(crate) fn root(&self) -> String {
        let mut ask = Command::new("curl");
        ask.args(["-sS", "--cacert"]).arg(&self.roots);
        ask.arg(format!("https://{}/roots/0", self.management));
        let ran = to_its_end(ask, TIME_MAX).exits(0);
        String::from_utf8(ran.stdout).unwrap()
    }
}
