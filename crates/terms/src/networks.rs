//! The networks that connections may come from.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

use crate::NameError;

/// One network in CIDR notation (RFC 4632, RFC 4291 section 2.3): `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed =
            "CIDR notation without bits behind the prefix, such as 10.0.0.0/8 or fd00::/8";
        let not_one = || NameError::new("network", text, allowed);
        let network: IpNet = text.parse().map_err(|_| not_one())?;
        match network.trunc() == network {
            true => Ok(Self(network)),
            // More or less than this may be meant.
            false => Err(not_one()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Those that connections may come from; none: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// These and no others; without any, all.
    #[must_use]
    pub fn only(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Whether all may come.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `source` is in one of them. An IPv4 address that is written as an IPv6 one is
    /// the IPv4 address.
    #[must_use]
    pub fn allow(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.are_all() || self.0.iter().any(|network| network.0.contains(&source))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_all() {
            return f.write_str("anywhere");
        }
        for (n, network) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::only(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn addresses_within_are_allowed_and_no_others() {
        let some = networks(&["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
        for inside in ["10.255.0.1", "192.0.2.7", "fd12::1", "::ffff:10.1.2.3"] {
            assert!(some.allow(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe80::1", "::ffff:11.0.0.1", "::1"] {
            assert!(!some.allow(outside.parse().unwrap()), "{outside}");
        }
        assert!(Networks::default().allow("203.0.113.9".parse().unwrap()));
        assert_eq!(some.to_string(), "10.0.0.0/8, 192.0.2.7/32, fd00::/8");
        assert_eq!(Networks::default().to_string(), "anywhere");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "fd00::1/8",
            "10/8",
            "host/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
