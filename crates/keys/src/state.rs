//! In which state a CMK is, and what it may then do.

use std::fmt;

use sealift_terms::Reason;
use serde::{Deserialize, Serialize};

/// The state of a CMK, with the meaning AWS KMS gives these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyState {
    /// Wraps and unwraps.
    Enabled,
    /// Does neither until enabled again.
    Disabled,
    /// Will be destroyed; cancelling leaves it disabled.
    PendingDeletion,
    /// Will be destroyed once its last replica is gone.
    PendingReplicaDeletion,
    /// Has no material yet.
    PendingImport,
    /// Its provider cannot reach it.
    Unavailable,
    /// Its provider is changing it.
    Updating,
}

impl KeyState {
    /// Whether it wraps and unwraps.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Enabled)
    }

    /// Why it cannot be used, `None` when it can.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Enabled => None,
            Self::Disabled => Some(Reason::DstKmsKeyDisabled),
            Self::PendingDeletion | Self::PendingReplicaDeletion => {
                Some(Reason::DstKmsKeyPendingDeletion)
            }
            Self::PendingImport | Self::Unavailable | Self::Updating => {
                Some(Reason::DstKmsUnavailable)
            }
        }
    }

    /// Whether an operator may enable it as it is.
    #[must_use]
    pub const fn can_be_enabled(self) -> bool {
        matches!(self, Self::Enabled | Self::Disabled)
    }

    /// Whether its deletion may be scheduled as it is.
    #[must_use]
    pub const fn can_be_deleted(self) -> bool {
        matches!(
            self,
            Self::Enabled | Self::Disabled | Self::PendingImport | Self::Unavailable
        )
    }

    /// Whether an operator may disable it as it is.
    #[must_use]
    pub const fn can_be_disabled(self) -> bool {
        matches!(self, Self::Enabled | Self::Disabled)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::PendingImport => "PendingImport",
            Self::Unavailable => "Unavailable",
            Self::Updating => "Updating",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enabled_key_is_usable_and_every_other_state_has_a_reason() {
        let states = [
            KeyState::Enabled,
            KeyState::Disabled,
            KeyState::PendingDeletion,
            KeyState::PendingReplicaDeletion,
            KeyState::PendingImport,
            KeyState::Unavailable,
            KeyState::Updating,
        ];
        for state in states {
            assert_eq!(state.is_usable(), state.reason().is_none(), "{state}");
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
        }
        assert!(!KeyState::PendingDeletion.can_be_enabled());
        assert!(!KeyState::PendingDeletion.can_be_deleted());
    }
}
