//! What a token lets its site do.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A half of the path of objects that a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteRole {
    /// It has sources, and sends what is in them.
    Sender,
    /// It has buckets, and archives what comes.
    Receiver,
}

impl SiteRole {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

impl fmt::Display for SiteRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SiteRole {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Sender, Self::Receiver];
        let found = all.into_iter().find(|role| role.as_str() == text);
        found.ok_or("allowed is sender or receiver")
    }
}

/// The roles that a token is for: those that it names, or each where it names none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteRoles(BTreeSet<SiteRole>);

impl SiteRoles {
    /// Whether it names none.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a site may do this.
    #[must_use]
    pub fn allow(&self, role: SiteRole) -> bool {
        self.is_any() || self.0.contains(&role)
    }
}

impl FromIterator<SiteRole> for SiteRoles {
    fn from_iter<T: IntoIterator<Item = SiteRole>>(roles: T) -> Self {
        Self(roles.into_iter().collect())
    }
}

impl fmt::Display for SiteRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [SiteRole::Sender, SiteRole::Receiver];
        let named = named.into_iter().filter(|&role| self.allow(role));
        let named: Vec<_> = named.map(SiteRole::as_str).collect();
        f.write_str(&named.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_names_no_role_is_for_each() {
        let any = SiteRoles::default();
        assert!(any.allow(SiteRole::Sender) && any.allow(SiteRole::Receiver));
        assert_eq!(any.to_string(), "sender and receiver");
        let one: SiteRoles = [SiteRole::Sender].into_iter().collect();
        assert!(one.allow(SiteRole::Sender) && !one.allow(SiteRole::Receiver));
        assert_eq!(serde_json::to_string(&one).unwrap(), "[\"sender\"]");
        assert!("sends".parse::<SiteRole>().is_err());
    }
}
