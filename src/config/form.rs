//! The forms of single values: host names, networks, GUIDs, URLs. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// `8-4-4-4-12` hexadecimal digits.
pub(super) fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|octet| octet.is_ascii_hexdigit()))
}

/// A DNS name, or an address, an IPv6 one also in brackets.
pub(super) fn is_host(text: &str) -> bool {
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    let legal = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(legal)
        && !text.starts_with('.')
        && !text.contains("..")
}

/// Whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// What may stand in XOAUTH2 and in a log line: printable, without blanks.
pub(super) fn is_sendable(user: &str) -> bool {
    !user.is_empty()
        && user.len() <= 320
        && !user.chars().any(|letter| letter.is_control() || letter.is_whitespace())
}

/// A network in CIDR form, or one address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Scheme and authority of a URL whose path is empty.
pub(super) fn split_url(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let plain = !authority.is_empty()
        && !authority.contains(['/', '?', '#', '\\'])
        && !authority.contains(char::is_whitespace);
    plain.then_some((scheme, authority))
}

/// The host of an authority `host[:port]`; `None` with a user in it or a port that is none.
pub(super) fn host_of(authority: &str) -> Option<&str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            port.parse::<u16>().ok()?;
            host
        }
        _ => authority,
    };
    is_host(host).then_some(host)
}

/// Whether a browser may be sent back to this URL: this machine, in a form that Entra registers
/// (Microsoft: "Redirect URI restrictions and limitations"). The error completes `redirect_uri: `.
pub(super) fn loopback_redirect(uri: &str) -> Result<(), &'static str> {
    let Some(rest) = uri.strip_prefix("http://") else {
        return Err("the browser comes back to this machine, where nothing answers but http");
    };
    if rest.contains(['?', '#']) || !rest.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err("it may hold no query, no fragment and no blank");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.starts_with('[') {
        return Err("Entra takes no IPv6 address here");
    }
    let (host, port) =
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    if host != "localhost" && host != "127.0.0.1" {
        return Err("it leads to another machine than this");
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err("its port is none"),
    }
}

/// Percent-decoding (RFC 3986 section 2.1).
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        if octet == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            octets.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            octets.push(octet);
            rest = after;
        }
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_comes_back_to_this_machine_only() {
        let rows = [
            ("http://localhost", ""),
            ("http://localhost/", ""),
            ("http://localhost:8400/signed-in", ""),
            ("http://127.0.0.1:8400", ""),
            ("https://localhost", "http"),
            ("localhost", "http"),
            ("http://[::1]:8400", "IPv6"),
            ("http://localhost.example", "another machine"),
            ("http://u@localhost", "another machine"),
            ("http://", "another machine"),
            ("http://localhost:0", "port"),
            ("http://localhost:", "port"),
            ("http://localhost:99999", "port"),
            ("http://localhost/?a=b", "query"),
            ("http://localhost/a b", "blank"),
        ];
        let mut ran = 0;
        for (uri, word) in rows {
            match loopback_redirect(uri) {
                Ok(()) => assert_eq!(word, "", "{uri}"),
                Err(why) => assert!(!word.is_empty() && why.contains(word), "{uri}: {why}"),
            }
            ran += 1;
        }
        assert_eq!(ran, 15);
    }

    #[test]
    fn forms_are_told_apart() {
        assert!(is_guid("01234567-89ab-CDEF-0123-456789abcdef"));
        assert!(!is_guid("01234567-89ab-cdef-0123-456789abcde") && !is_guid("Q~8abc"));
        assert!(
            is_host("smtp.office365.com")
                && is_host("10.0.0.1")
                && is_host("[::1]")
                && is_host("::1")
        );
        assert!(
            !is_host("")
                && !is_host("a b")
                && !is_host(".a")
                && !is_host("a..b")
                && !is_host("a/b")
        );
        assert!(
            is_loopback("127.3.2.1")
                && is_loopback("[::1]")
                && is_loopback("localhost")
                && !is_loopback("10.0.0.1")
        );
        assert_eq!(network("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert!(network("10.0.0.0/33").is_none());
        assert_eq!(split_url("http://a:1/"), Some(("http", "a:1")));
        assert!(split_url("http://a/b").is_none() && split_url("a:1").is_none());
        assert_eq!(host_of("[::1]:8443"), Some("[::1]"));
        assert_eq!(host_of("login.example"), Some("login.example"));
        assert!(host_of("u@login.example").is_none() && host_of("a:port").is_none());
        assert_eq!(percent_decoded("p%40s%25s").as_deref(), Some("p@s%s"));
        assert!(percent_decoded("%4").is_none() && percent_decoded("%zz").is_none());
    }
}
