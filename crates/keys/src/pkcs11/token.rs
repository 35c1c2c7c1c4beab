//! One token: its module, its sessions, and what its errors mean.

use std::fmt;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Module},
    error::{Error, RvError},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use sealift_host::{SecretFileError, read_secret_file};

use super::{CALLS_AT_ONCE_MAX, Pkcs11Settings};
use crate::{KeyError, KeyState};

/// A PIN as its file.
const PIN_BYTES_MAX: usize = 256;

/// Why a token did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Pkcs11Error {
    #[error("the token has no such key")]
    NoKey,
    #[error("the key has no version {0}")]
    NoVersion(String),
    #[error("{0}")]
    Unsuitable(&'static str),
    #[error("the key may not be used")]
    NotPermitted,
    #[error("it does not open")]
    NotAuthentic,
    #[error(
        "the PIN is refused; it is not tried again until its file changes, as a token locks itself"
    )]
    PinRefused,
    #[error("there is no token with this label")]
    NoToken,
    #[error("it did not answer in time")]
    Late,
    #[error("its answer has another shape: {0}")]
    Shape(&'static str),
    #[error("the token failed")]
    Failed(#[from] Error),
    #[error(transparent)]
    Pin(#[from] SecretFileError),
    #[error(transparent)]
    Counted(#[from] KeyError),
}

impl Pkcs11Error {
    /// An error in the middle of opening. Modules differ in how they say that a tag is wrong:
    /// what may be that and may be anything is left as it is.
    pub(super) fn opening(error: Error) -> Self {
        match error {
            Error::Pkcs11(
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::SignatureInvalid,
                _,
            ) => Self::NotAuthentic,
            error => Self::Failed(error),
        }
    }

    /// Whether it may be a wrong tag, or anything: SoftHSM says no more.
    pub(super) fn is_general(&self) -> bool {
        let Self::Failed(Error::Pkcs11(error, _)) = self else {
            return false;
        };
        matches!(error, RvError::GeneralError | RvError::FunctionFailed)
    }

    /// Whether the session it came from, and all others, are as good as before.
    fn spares_sessions(&self) -> bool {
        !matches!(
            self,
            Self::Failed(_) | Self::PinRefused | Self::NoToken | Self::Late
        )
    }

    pub(super) fn of_key(self, key: &str) -> KeyError {
        let key = key.to_owned();
        match self {
            Self::NoKey => KeyError::Missing { key },
            Self::NoVersion(version) => KeyError::VersionMissing { key, version },
            Self::Unsuitable(what) => KeyError::Unsuitable {
                key,
                what: what.to_owned(),
            },
            Self::NotPermitted
            | Self::Failed(Error::Pkcs11(RvError::KeyFunctionNotPermitted, _)) => {
                KeyError::NotUsable {
                    key,
                    state: KeyState::Disabled,
                }
            }
            // The caller knows the context.
            Self::NotAuthentic => KeyError::ContextMismatch {
                expected: String::new(),
            },
            Self::PinRefused => KeyError::AccessDenied {
                key,
                told: self.to_string(),
            },
            Self::Counted(error) => error,
            Self::Pin(error) => KeyError::SecretFile(error),
            error => KeyError::Unavailable {
                key,
                source: error.into(),
            },
        }
    }
}

/// What is open of a token.
#[derive(Default)]
struct Opened {
    slot: Option<(Module, Slot)>,
    idle: Vec<Session>,
    /// The digest of a PIN that was refused.
    refused: Option<[u8; 32]>,
}

/// A token by its label.
pub(super) struct Token {
    settings: Pkcs11Settings,
    opened: Mutex<Opened>,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "token {} of {}",
            self.settings.token,
            self.settings.module.display()
        )
    }
}

impl Token {
    pub(super) fn new(settings: Pkcs11Settings) -> Self {
        Self {
            settings,
            opened: Mutex::default(),
        }
    }

    /// Works with a session that is logged in. One that failed is not used again, nor are
    /// the others: a token that was taken out has forgotten them all.
    pub(super) fn with_session<T>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Pkcs11Error> {
        let session = self.session()?;
        let worked = work(&session);
        let mut opened = self.opened.lock();
        match worked
            .as_ref()
            .err()
            .is_none_or(Pkcs11Error::spares_sessions)
        {
            true if opened.idle.len() < CALLS_AT_ONCE_MAX => opened.idle.push(session),
            true => {}
            false => {
                opened.idle.clear();
                opened.slot = None;
            }
        }
        worked
    }

    fn session(&self) -> Result<Session, Pkcs11Error> {
        let mut opened = self.opened.lock();
        if let Some(session) = opened.idle.pop() {
            return Ok(session);
        }
        let (module, slot) = match &opened.slot {
            Some(found) => found.clone(),
            None => {
                let found = self.find()?;
                opened.slot = Some(found.clone());
                found
            }
        };
        let session = module.open_ro_session(slot)?;
        self.log_in(&session, &mut opened)?;
        Ok(session)
    }

    fn find(&self) -> Result<(Module, Slot), Pkcs11Error> {
        let module = Module::new(&self.settings.module)?;
        let threads = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match module.initialize(threads) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        for slot in module.get_slots_with_initialized_token()? {
            if module.get_token_info(slot)?.label().trim_end() == self.settings.token {
                return Ok((module, slot));
            }
        }
        Err(Pkcs11Error::NoToken)
    }

    /// All sessions of a process are logged in together. A PIN that was refused is not
    /// tried again: tokens count.
    fn log_in(&self, session: &Session, opened: &mut Opened) -> Result<(), Pkcs11Error> {
        let pin = read_secret_file(&self.settings.pin_file, PIN_BYTES_MAX)?;
        let pin = pin.trim_ascii();
        let mut known = [0; 32];
        known.copy_from_slice(digest(&SHA256, pin).as_ref());
        if opened.refused == Some(known) {
            return Err(Pkcs11Error::PinRefused);
        }
        let text = str::from_utf8(pin).map_err(|_| Pkcs11Error::PinRefused)?;
        let pin = AuthPin::new(text.to_owned().into());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked
                | RvError::UserPinNotInitialized,
                _,
            )) => {
                opened.refused = Some(known);
                Err(Pkcs11Error::PinRefused)
            }
            Err(error) => Err(error.into()),
        }
    }
}
