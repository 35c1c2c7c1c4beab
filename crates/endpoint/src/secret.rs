//! The secrets of access keys.

use std::{fmt, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sealift_host::{SecretFileError, read_secret_file};
use sealift_terms::{
    Rng,
    limits::{ACCESS_SECRET_BYTES_MAX, ACCESS_SECRET_BYTES_MIN},
};
use zeroize::Zeroizing;

/// Random bytes of a secret that is made here: 40 characters, as those of AWS.
const RANDOM_BYTES: usize = 30;

/// The secret of an access key. Never printed; wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessSecret(Zeroizing<String>);

/// Why a file holds no secret of an access key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// What is in it cannot be a secret.
    #[error(
        "what is in it is no secret: allowed is one line of {ACCESS_SECRET_BYTES_MIN} to \
         {ACCESS_SECRET_BYTES_MAX} printable ASCII characters without spaces"
    )]
    Text,
}

impl AccessSecret {
    /// Draws a new one.
    #[must_use]
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
        rng.fill(&mut *bytes);
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
    }

    /// Reads one from a file that nobody but its owner may read.
    ///
    /// # Errors
    /// [`SecretError`] says what is wrong with the file, and nothing of what is in it.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        // A line may end, in as many ways as there are.
        let bytes = read_secret_file(path, ACCESS_SECRET_BYTES_MAX + 2)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::Text)?;
        Self::parse(text.trim_end())
    }

    fn parse(text: &str) -> Result<Self, SecretError> {
        let allowed = ACCESS_SECRET_BYTES_MIN..=ACCESS_SECRET_BYTES_MAX;
        let is_one =
            allowed.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        match is_one {
            true => Ok(Self(Zeroizing::new(text.to_owned()))),
            false => Err(SecretError::Text),
        }
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"...\"")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use sealift_host::OsRng;

    use super::*;

    #[test]
    fn a_secret_that_is_made_is_long_enough_and_prints_as_nothing() {
        let made = AccessSecret::generate(&OsRng);
        assert_eq!(made.expose().len(), 40);
        assert_eq!(AccessSecret::parse(made.expose()).unwrap(), made);
        assert_ne!(AccessSecret::generate(&OsRng), made);
        assert_eq!(format!("{made:?}"), "\"...\"");
    }

    #[test]
    fn a_file_with_a_secret_is_one_line_that_nobody_else_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let load = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            AccessSecret::load(&path)
        };
        let longest = "s".repeat(ACCESS_SECRET_BYTES_MAX);
        assert_eq!(
            load("0123456789abcdef\n", 0o600).unwrap().expose().len(),
            16
        );
        assert!(load(&format!("{longest}\r\n"), 0o400).is_ok());
        for bad in [
            "0123456789abcde",
            "",
            "0123456789 abcdef",
            &format!("{longest}s"),
        ] {
            let error = load(bad, 0o600).unwrap_err();
            assert!(matches!(error, SecretError::Text), "{bad:?}: {error}");
        }
        let exposed = load("0123456789abcdef", 0o640).unwrap_err();
        assert!(matches!(exposed, SecretError::File(_)), "{exposed}");
        assert!(!exposed.to_string().contains("0123"));
    }
}
