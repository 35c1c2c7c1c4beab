//! How the demonstration ended, for people and for programs.

use std::path::PathBuf;

use sealift_agent::{Exit, admin::Count};
use serde::Serialize;

use crate::output::bytes;

/// The last line of `demo --json`; its fields are surface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Objects of the source.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Acknowledged as durable.
    pub(crate) completed: u64,
    /// Given up.
    pub(crate) failed: u64,
    /// Not sent, with a reason.
    pub(crate) skipped: u64,
    /// Opened again and found to be their source, byte by byte.
    pub(crate) verified: u64,
    /// From the first agent's start to the last receipt.
    pub(crate) seconds: f64,
    /// What was negotiated.
    pub(crate) tls: Tls,
    /// What they are sealed under.
    pub(crate) key: Key,
    /// Where everything is.
    pub(crate) workdir: PathBuf,
    /// What is not as it should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tls {
    pub(crate) version: String,
    pub(crate) suite: String,
    pub(crate) group: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) version: String,
}

impl Summary {
    /// Done only if everything arrived, and is what was sent.
    pub(crate) fn exit(&self) -> Exit {
        let all = self.completed + self.skipped == self.objects && self.failed == 0;
        let opened = self.verified == self.completed && self.findings.is_empty();
        let encrypted = self.tls.version == "TLSv1.3" || self.objects == 0;
        match all && encrypted {
            _ if !opened => Exit::VerificationFailed,
            true => Exit::Done,
            false => Exit::Partly,
        }
    }

    /// For people.
    pub(crate) fn lines(&self, keep: bool, compared: Count) -> Vec<String> {
        let rate = self.bytes as f64 / self.seconds.max(0.001);
        let mut lines = vec![
            String::new(),
            format!("objects    {:>8}   {}", self.objects, bytes(self.bytes)),
            format!("COMPLETED  {:>8}", self.completed),
            format!("FAILED     {:>8}", self.failed),
        ];
        if self.skipped > 0 {
            lines.push(format!("SKIPPED    {:>8}", self.skipped));
        }
        lines.extend([
            format!(
                "verified   {:>8}   {} opened again and compared with the source",
                self.verified,
                bytes(compared.bytes)
            ),
            format!(
                "time       {:>8.1} s {}/s",
                self.seconds,
                bytes(rate as u64)
            ),
            format!(
                "tls        {}, {}, {}",
                self.tls.version, self.tls.suite, self.tls.group
            ),
            format!("key        {}, version {}", self.key.id, self.key.version),
        ]);
        lines.extend(
            self.findings
                .iter()
                .map(|finding| format!("! {}", crate::output::safe(finding))),
        );
        lines.push(String::new());
        lines.extend(self.next(keep));
        lines
    }

    fn next(&self, keep: bool) -> [String; 3] {
        let state = if keep { "still run" } else { "are stopped" };
        let workdir = self.workdir.display();
        [
            format!("The agents {state}. Every command works on what they left:"),
            format!("  sealift status -c {workdir}/a/sealift.toml"),
            format!("  sealift ls -c {workdir}/b/sealift.toml"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            objects: 3,
            bytes: 10,
            completed: 2,
            failed: 0,
            skipped: 1,
            verified: 2,
            seconds: 1.0,
            tls: Tls {
                version: "TLSv1.3".to_owned(),
                suite: "TLS13_AES_256_GCM_SHA384".to_owned(),
                group: "X25519MLKEM768".to_owned(),
            },
            key: Key::default(),
            workdir: "/w".into(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn done_is_said_only_if_all_of_it_held() {
        assert_eq!(summary().exit(), Exit::Done);
        let failed = Summary {
            failed: 1,
            skipped: 0,
            ..summary()
        };
        assert_eq!(failed.exit(), Exit::Partly);
        let unopened = Summary {
            verified: 1,
            ..summary()
        };
        assert_eq!(unopened.exit(), Exit::VerificationFailed);
        let different = Summary {
            findings: vec!["x".to_owned()],
            ..summary()
        };
        assert_eq!(different.exit(), Exit::VerificationFailed);
        let clear = Summary {
            tls: Tls::default(),
            ..summary()
        };
        assert_eq!(clear.exit(), Exit::Partly);
    }

    #[test]
    fn the_line_for_programs_has_the_documented_fields_first() {
        let line = serde_json::to_string(&summary()).unwrap();
        let fields = [
            "objects",
            "bytes",
            "completed",
            "failed",
            "verified",
            "seconds",
            "tls",
            "workdir",
        ];
        let at: Vec<_> = fields
            .map(|field| line.find(&format!("\"{field}\":")).unwrap())
            .into();
        assert!(at.is_sorted(), "{line}");
        assert!(
            line.contains("\"tls\":{\"version\":\"TLSv1.3\",\"suite\":"),
            "{line}"
        );
    }
}
