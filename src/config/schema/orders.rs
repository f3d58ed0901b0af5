//! `[orders]`: the order cache, and the commerce system that it sends its orders to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;

/// `[orders]`: taking orders while the show runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// `enabled`
    pub enabled: bool,
    /// `rate_per_address`: new orders a second from one address; 0: no bound.
    pub rate_per_address: u32,
    /// `queue`: intents that may wait for the disk at once; one more is refused with 503.
    pub queue: u32,
    /// `hold`: how long a reservation holds its units.
    pub hold: Duration,
    /// `buyer_limit`: units of one SKU for one buyer, unless the product says otherwise; 0: no bound.
    pub buyer_limit: u32,
    /// `low_stock`: at this many available units, or fewer, a product counts as low; 0: never.
    pub low_stock: u32,
    /// `cloud`: where orders are sent; none: they stay on the box.
    pub cloud: Option<ShopCloud>,
    /// `batch`: orders in one request to the cloud.
    pub batch: u32,
}

impl Default for Orders {
    fn default() -> Orders {
        Orders {
            enabled: true,
            rate_per_address: 20,
            queue: 16_384,
            hold: Duration::from_secs(120),
            buyer_limit: 0,
            low_stock: 5,
            cloud: None,
            batch: 100,
        }
    }
}

/// The commerce system that orders are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShopCloud {
    /// Where batches of orders are posted to.
    pub url: HttpsUrl,
    /// `token`: sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// `secret`: signs each request by HMAC-SHA-256.
    pub secret: Option<Secret>,
    /// `ca_file`: PEM with a CA or the server's own certificate, which then stands for the system's roots.
    pub ca_file: Option<PathBuf>,
}

impl ShopCloud {
    /// A cloud of which only the URL is given.
    pub fn new(url: HttpsUrl) -> ShopCloud {
        ShopCloud { url, token: None, secret: None, ca_file: None }
    }
}

/// `https://host[:port][/path][?query]`; `http://` alike, but only to an address that never leaves the site
/// ([`HttpsUrl::may_be_plain`]). Prints its scheme, host and port only: keys stand in the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    /// `https`; false: `http`, in the clear.
    pub tls: bool,
    /// Host name or address, as written (an IPv6 address without its brackets).
    pub host: String,
    /// TCP port: 443 unless written, 80 in the clear.
    pub port: u16,
    /// What the request line asks for: the path, which begins with `/`, and the query.
    pub target: Secret,
}

impl HttpsUrl {
    /// The host, if it is an address and no name.
    pub fn host_address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What the `Host` header carries: the host, an IPv6 address in brackets, and an unusual port.
    pub fn authority(&self) -> String {
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{}]", self.host),
            Err(_) => self.host.clone(),
        };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether orders may go to `address` in the clear: it is this machine, or one of the studio's own network
    /// (RFC 1918, RFC 3927, RFC 4193), so nobody outside reads along.
    pub fn may_be_plain(address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        }
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
