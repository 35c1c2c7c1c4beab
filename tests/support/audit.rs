//! Reading a site's audit log as it rests.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// A record of the audit log.
#[derive(Debug, Clone)]
pub(crate) struct AuditLeaf(Value);

impl AuditLeaf {
    /// Every record so far, oldest first.
    pub(crate) fn all(data: &Path) -> Vec<Self> {
        let path = data.join("catalog.db");
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        let mut rows = db.prepare("SELECT json FROM audit ORDER BY leaf").unwrap();
        let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|json| Self(serde_json::from_str(&json.unwrap()).unwrap()))
            .collect()
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.0["kind"] == kind
    }

    /// Whether the record holds all of these, wherever.
    pub(crate) fn tells(&self, words: &[&str]) -> bool {
        let text = self.0.to_string();
        words.iter().all(|word| text.contains(word))
    }
}
