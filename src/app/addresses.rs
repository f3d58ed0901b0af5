//! Which addresses a person can open.

use std::net::{IpAddr, SocketAddr};

/// The hosts under which a server that listens on `listen` is reached, the machine itself first.
///
/// A wildcard address stands for every interface that is up; link-local IPv6 is left out, since a browser cannot
/// open it without a zone.
pub(super) fn hosts(listen: SocketAddr) -> Vec<String> {
    if !listen.ip().is_unspecified() {
        return vec![authority(listen.ip(), listen.port())];
    }
    let mut hosts = vec![format!("localhost:{}", listen.port())];
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    for address in interfaces.filter_map(|interface| interface.address) {
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) if listen.is_ipv6() => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        let zoned = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !ip.is_loopback() && !zoned {
            hosts.push(authority(ip, listen.port()));
        }
    }
    hosts
}

fn authority(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_address_is_told_as_it_is_and_a_wildcard_starts_with_localhost() {
        let fixed: SocketAddr = "192.0.2.7:8080".parse().unwrap();
        assert_eq!(hosts(fixed), ["192.0.2.7:8080"]);
        let v6: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(hosts(v6), ["[2001:db8::1]:80"]);
        let any: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(hosts(any)[0], "localhost:8080");
    }
}
