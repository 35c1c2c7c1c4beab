//! What others keep in the catalog beside its rows: bytes of their own under a name.

use serde::{Deserialize, Serialize};

/// What notes begin with that a rebuild keeps: it puts beside them what marks in the store say.
pub const NOTES_KEPT: &str = "hold\u{1}";

/// Bytes under a name. The name is in the clear, the bytes rest sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its name.
    pub name: String,
    /// What is kept; of a change, none forgets it.
    pub bytes: Option<Vec<u8>>,
}

impl Note {
    /// That these bytes are kept.
    #[must_use]
    pub fn kept(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            bytes: Some(bytes),
        }
    }

    /// That nothing is kept any more.
    #[must_use]
    pub fn forgotten(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bytes: None,
        }
    }
}
