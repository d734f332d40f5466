//! Which way a destination is reached: direct or through the proxy.
//!
//! Pure; no name is resolved to decide it.

use std::net::IpAddr;

use crate::config::{NoProxy, Outbound, Proxy};

/// The proxy that leads to `host:port`, or `None` to go direct. Loopback is always direct.
pub fn proxy_for<'a>(outbound: &'a Outbound, host: &str, port: u16) -> Option<&'a Proxy> {
    let proxy = outbound.proxy.as_ref()?;
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let local = address.map_or(host == "localhost", |address| address.is_loopback());
    let direct =
        local || outbound.no_proxy.iter().any(|entry| matches(entry, &host, address, port));
    (!direct).then_some(proxy)
}

fn matches(entry: &NoProxy, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    match entry {
        NoProxy::All => true,
        NoProxy::Domain { name, port: only } => {
            let below = host
                .strip_suffix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            below && only.is_none_or(|only| only == port)
        }
        NoProxy::Net(net) => address.is_some_and(|address| net.contains(&address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyAuth;

    #[test]
    fn no_proxy_goes_by_name_suffix_port_and_network() {
        let domain = |name: &str, port| NoProxy::Domain { name: name.to_owned(), port };
        let outbound = Outbound {
            proxy: Some(Proxy {
                host: "proxy".to_owned(),
                port: 8080,
                credentials: None,
                auth: ProxyAuth::Auto,
            }),
            no_proxy: vec![
                domain("corp.example", None),
                domain("half.example", Some(587)),
                NoProxy::Net("10.0.0.0/8".parse().unwrap()),
                NoProxy::Net("2001:db8::/32".parse().unwrap()),
            ],
            ca_file: None,
        };
        let rows = [
            ("smtp.office365.com", 587, true),
            ("corp.example", 587, false),
            ("Mail.CORP.example.", 443, false),
            ("notcorp.example", 443, true),
            ("half.example", 587, false),
            ("half.example", 443, true),
            ("10.1.2.3", 587, false),
            ("11.1.2.3", 587, true),
            ("[2001:db8::1]", 587, false),
            ("localhost", 587, false),
            ("127.0.0.1", 587, false),
            ("::1", 587, false),
        ];
        for (host, port, via) in rows {
            assert_eq!(proxy_for(&outbound, host, port).is_some(), via, "{host}:{port}");
        }
        let all = Outbound { no_proxy: vec![NoProxy::All], ..outbound };
        assert!(proxy_for(&all, "smtp.office365.com", 587).is_none());
        assert!(proxy_for(&Outbound::default(), "smtp.office365.com", 587).is_none());
    }
}
