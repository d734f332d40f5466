//! Which ways lead to a destination: direct, or through proxies in their order.
//!
//! Pure; no name is resolved to decide it.

use std::net::IpAddr;

use super::Leg;
use crate::config::{NoProxy, Outbound, Way};

static DIRECT: Way = Way::Direct;

/// The ways of this leg to `host:port`, at least one, in the order in which they are to be tried.
/// Loopback is always direct, and so is the machine's own endpoint.
pub fn ways<'a>(outbound: &'a Outbound, leg: Leg, host: &str, port: u16) -> Vec<&'a Way> {
    let ways = match leg {
        Leg::Machine => return vec![&DIRECT],
        Leg::Token => outbound.token_proxies.as_ref().unwrap_or(&outbound.proxies),
        Leg::Mail => &outbound.proxies,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let local = address.map_or(host == "localhost", |address| address.is_loopback());
    let direct =
        local || outbound.no_proxy.iter().any(|entry| matches(entry, &host, address, port));
    if direct || ways.is_empty() { vec![&DIRECT] } else { ways.iter().collect() }
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
        NoProxy::Net { net, port: only } => {
            address.is_some_and(|address| net.contains(&address))
                && only.is_none_or(|only| only == port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Proxy, ProxyAuth, ProxyScheme};

    fn proxy(host: &str) -> Way {
        let (scheme, auth) = (ProxyScheme::Http, ProxyAuth::Auto);
        Way::Proxy(Proxy { scheme, host: host.to_owned(), port: 8080, credentials: None, auth })
    }

    fn names(ways: &[&Way]) -> String {
        let name = |way: &&Way| match way {
            Way::Direct => "direct".to_owned(),
            Way::Proxy(proxy) => proxy.host.clone(),
        };
        ways.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_proxy_goes_by_name_suffix_port_and_network() {
        let domain = |name: &str, port| NoProxy::Domain { name: name.to_owned(), port };
        let net = |net: &str, port| NoProxy::Net { net: net.parse().unwrap(), port };
        let outbound = Outbound {
            proxies: vec![proxy("proxy")],
            no_proxy: vec![
                domain("corp.example", None),
                domain("half.example", Some(587)),
                net("10.0.0.0/8", None),
                net("2001:db8::/32", None),
                net("192.0.2.0/24", Some(587)),
            ],
            ..Outbound::default()
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
            ("192.0.2.7", 587, false),
            ("192.0.2.7", 443, true),
            ("localhost", 587, false),
            ("127.0.0.1", 587, false),
            ("::1", 587, false),
        ];
        let mut ran = 0;
        for (host, port, via) in rows {
            for leg in [Leg::Mail, Leg::Token] {
                let expected = if via { "proxy" } else { "direct" };
                assert_eq!(names(&ways(&outbound, leg, host, port)), expected, "{host}:{port}");
            }
            ran += 1;
        }
        assert_eq!(ran, 14);
        let all = Outbound { no_proxy: vec![NoProxy::All], ..outbound };
        assert_eq!(names(&ways(&all, Leg::Mail, "smtp.office365.com", 587)), "direct");
        let none = Outbound::default();
        assert_eq!(names(&ways(&none, Leg::Mail, "smtp.office365.com", 587)), "direct");
    }

    #[test]
    fn each_leg_has_its_ways_in_their_order() {
        let mut outbound =
            Outbound { proxies: vec![proxy("b"), proxy("a"), Way::Direct], ..Outbound::default() };
        let of = |outbound: &Outbound, leg| names(&ways(outbound, leg, "host.example", 443));
        assert_eq!(of(&outbound, Leg::Mail), "b a direct");
        assert_eq!(of(&outbound, Leg::Token), "b a direct");
        assert_eq!(of(&outbound, Leg::Machine), "direct");
        outbound.token_proxies = Some(vec![proxy("c")]);
        assert_eq!(of(&outbound, Leg::Mail), "b a direct");
        assert_eq!(of(&outbound, Leg::Token), "c");
        outbound.token_proxies = Some(vec![Way::Direct]);
        assert_eq!(of(&outbound, Leg::Token), "direct");
    }
}
