//! One proxy as it is written: `http://`, `https://` or `socks5h://`, or `none`.
//!
//! No error quotes what was written, because a URL may hold a password.

use secrecy::SecretString;

use super::{
    super::{
        Proxy, ProxyAuth, ProxyCredentials, ProxyScheme, Way,
        form::{is_host, percent_decoded, split_url},
    },
    outbound::has_control,
};

const FORM: &str = "must be \"http://HOST:PORT\", \"https://HOST:PORT\" or \"socks5h://HOST:PORT\", or \"none\" to go direct";
const PAC: &str = "is a proxy auto-configuration file (PAC), which mailwicket does not run: open it and look \
    what it returns for the mail hosts, \"PROXY HOST:PORT\" is \"http://HOST:PORT\" here, \"HTTPS\" is https://, \
    \"SOCKS5\" is socks5h://; write those in their order as an array, DIRECT as \"none\"";
const LOCAL_NAMES: &str = "says socks5://, by which names would be resolved on this machine; write socks5h://, by which \
    the proxy resolves them";

/// `SCHEME://[user:password@]host:port`, or `none`.
///
/// # Errors
/// What is wrong, to complete "outbound.proxy ...".
pub(super) fn way(url: &str) -> Result<Way, String> {
    if url == "none" {
        return Ok(Way::Direct);
    }
    if is_pac(url) {
        return Err(PAC.to_owned());
    }
    let (scheme, authority) = split_url(url).ok_or(FORM)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyScheme::Http,
        "https" => ProxyScheme::Https,
        "socks5h" => ProxyScheme::Socks5h,
        "socks5" => return Err(LOCAL_NAMES.to_owned()),
        "socks" | "socks4" | "socks4a" => {
            return Err(format!("is of a kind that mailwicket does not speak; it {FORM}"));
        }
        _ => return Err(FORM.to_owned()),
    };
    let (login, place) =
        authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
    if is_host(place) {
        let usual = match scheme {
            ProxyScheme::Http => "8080 or 3128",
            ProxyScheme::Https => "443 or 3129",
            ProxyScheme::Socks5h => "1080",
        };
        return Err(format!(
            "has no port; ask which one the proxy listens on, usual is {usual}, and write {scheme}://HOST:PORT"
        ));
    }
    let (host, port) = place.rsplit_once(':').ok_or(FORM)?;
    let port = port
        .parse()
        .ok()
        .filter(|&port| port > 0)
        .ok_or("has a port that is none; it is a number from 1 to 65535")?;
    if !is_host(host) || (host.contains(':') && !host.starts_with('[')) {
        return Err(FORM.to_owned());
    }
    let unreadable = "holds a login that cannot be read; it is USER:PASSWORD, and a character such as @ or : in \
        one of them is written %40 or %3A";
    let credentials = login.map(|login| login_of(login).ok_or(unreadable)).transpose()?;
    let auth = ProxyAuth::Auto;
    Ok(Way::Proxy(Proxy { scheme, host: host.to_owned(), port, credentials, auth }))
}

/// As desktops and browsers name them.
fn is_pac(url: &str) -> bool {
    let url = url.to_ascii_lowercase();
    let path = url.split(['?', '#']).next().unwrap_or_default();
    url.starts_with("pac+")
        || path.rsplit_once('.').is_some_and(|(_, kind)| kind == "pac")
        || path.ends_with("/wpad.dat")
        || ["wpad", "auto"].contains(&path)
}

fn login_of(login: &str) -> Option<ProxyCredentials> {
    let (username, password) = login.split_once(':')?;
    let (username, password) = (percent_decoded(username)?, percent_decoded(password)?);
    if username.contains(':') || has_control(&username) || has_control(&password) {
        return None;
    }
    Some(ProxyCredentials { username, password: SecretString::from(password) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn urls_of_each_kind_are_read_and_others_told_apart() {
        let rows = [
            ("http://proxy:8080", "http proxy 8080"),
            ("HTTPS://proxy.corp.example:8443/", "https proxy.corp.example 8443"),
            ("socks5h://[2001:db8::1]:1080", "socks5h [2001:db8::1] 1080"),
            ("none", "direct"),
            ("http://proxy", "has no port"),
            ("socks5h://u:hidden@proxy", "1080"),
            ("http://[::1]", "has no port"),
            ("http://proxy:0", "1 to 65535"),
            ("http://proxy:hidden", "1 to 65535"),
            ("http://hidden@proxy:1", "%40"),
            ("http://u:hidden%zz@proxy:1", "%40"),
            ("socks5://proxy:1080", "write socks5h://"),
            ("socks4://proxy:1080", "does not speak"),
            ("http://wpad.corp.example/wpad.dat", "(PAC)"),
            ("pac+http://corp.example/x", "(PAC)"),
            ("http://corp.example/proxy.PAC?hidden", "\"PROXY HOST:PORT\""),
            ("ftp://proxy:1", "must be"),
            ("proxy:8080", "must be"),
            ("http://a b:1", "must be"),
            ("http://proxy:1/hidden", "must be"),
            ("http://2001:db8::zz:1", "must be"),
            ("", "must be"),
        ];
        let mut ran = 0;
        for (url, expected) in rows {
            let told = match way(url) {
                Ok(Way::Direct) => "direct".to_owned(),
                Ok(Way::Proxy(Proxy { scheme, host, port, .. })) => {
                    format!("{scheme} {host} {port}")
                }
                Err(words) => words,
            };
            assert!(told.contains(expected) && !told.contains("hidden"), "{url}: {told}");
            ran += 1;
        }
        assert_eq!(ran, 22);
    }

    #[test]
    fn a_login_is_decoded() {
        let Ok(Way::Proxy(proxy)) = way("socks5h://sv%63:p%40w%3Ax@proxy:1080") else { panic!() };
        let login = proxy.credentials.unwrap();
        assert_eq!((login.username.as_str(), login.password.expose_secret()), ("svc", "p@w:x"));
    }

    proptest! {
        #[test]
        fn no_url_panics(text in any::<String>(), tail in "[a-z0-9:@%/.\\[\\]-]{0,40}") {
            let _ = way(&text);
            let _ = way(&format!("socks5h://{tail}"));
            let _ = way(&format!("http://{text}@{tail}"));
        }
    }
}
