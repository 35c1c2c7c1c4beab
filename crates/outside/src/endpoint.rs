//! Where a service is: over TLS, or in the clear on loopback alone.

use std::fmt;

/// Where a service is, as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) is_tls: bool,
    /// As in a URL: brackets around an IPv6 address.
    host: String,
    pub(crate) port: u16,
    authority: String,
    pub(crate) is_link_local: bool,
}

impl Endpoint {
    /// Reads `https://HOST[:PORT]`, or `http://` with a loopback host.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const ALLOWED: &str = "https://HOST or https://HOST:PORT without a path; http:// only with a \
                               loopback address";
        let uri: hyper::Uri = url.trim_end_matches('/').parse().map_err(|_| ALLOWED)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ALLOWED),
        };
        let authority = uri.authority().ok_or(ALLOWED)?;
        let host = authority.host().to_owned();
        let bare = bare(&host);
        let is_loopback = bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let has_path = uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/");
        if host.is_empty() || has_path || authority.as_str().contains('@') {
            return Err(ALLOWED);
        }
        if !is_tls && !is_loopback {
            return Err(ALLOWED);
        }
        Ok(Self {
            is_tls,
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_string(),
            host,
            is_link_local: false,
        })
    }

    /// The same service by a name below its own: a bucket that has its own host.
    ///
    /// # Errors
    /// What is allowed.
    pub fn below(&self, label: &str) -> Result<Self, &'static str> {
        const ALLOWED: &str = "a service that is known by a DNS name";
        let is_address =
            self.host.starts_with('[') || self.host.parse::<std::net::Ipv4Addr>().is_ok();
        let of = |text: &str| format!("{label}.{text}");
        match is_address {
            true => Err(ALLOWED),
            false => Ok(Self {
                host: of(&self.host),
                authority: of(&self.authority),
                ..self.clone()
            }),
        }
    }

    /// Where AWS tells a machine or a container who it is: in the clear, on addresses that
    /// the machine's own hypervisor or host answers and no network carries.
    pub(crate) fn of_credentials(url: &str) -> Result<Self, &'static str> {
        const LOCAL: [&str; 3] = ["169.254.169.254", "169.254.170.2", "169.254.170.23"];
        let host = url.strip_prefix("http://").unwrap_or_default();
        match LOCAL.contains(&host) {
            true => Ok(Self {
                is_tls: false,
                host: host.to_owned(),
                port: 80,
                authority: host.to_owned(),
                is_link_local: true,
            }),
            false => Self::parse(url),
        }
    }

    /// Host and port as in its URL.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host, without brackets.
    pub(crate) fn host(&self) -> &str {
        bare(&self.host)
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
