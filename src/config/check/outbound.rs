//! `[outbound]`, or the environment in its place: `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
//!
//! The environment counts only where the file has no `[outbound]` at all: whoever writes one has
//! said all there is to say, and `proxy` left out of it means direct.

use secrecy::ExposeSecret;
use toml::Spanned;

use super::{
    super::{
        NoProxy, Outbound, ProxyAuth, ProxyCredentials, ProxyScheme, Way, file,
        form::{is_host, network},
    },
    Checker, proxy_url,
};

/// The longest user name and password of a SOCKS proxy, in octets (RFC 1929 section 2).
const SOCKS_LOGIN: usize = 255;

impl Checker<'_> {
    /// The ways out.
    pub(super) fn outbound(&mut self, table: Option<&Spanned<file::Outbound>>) -> Option<Outbound> {
        match table {
            Some(table) => self.written(table.get_ref()),
            None => self.inherited(),
        }
    }

    fn written(&mut self, table: &file::Outbound) -> Option<Outbound> {
        let credentials = self.credentials(table);
        let proxies = table.proxy.as_ref().map(|given| self.ways("outbound.proxy", given));
        let token_proxies =
            table.token_proxy.as_ref().map(|given| self.ways("outbound.token_proxy", given));
        let mut no_proxy = Vec::new();
        for entry in &table.no_proxy {
            if let Some(exception) = exception(entry.get_ref()) {
                no_proxy.push(exception);
            } else {
                let words = format!(
                    "outbound.no_proxy: \"{}\" is no host, .domain, network or *",
                    entry.get_ref()
                );
                self.problems.at(entry.span(), words);
            }
        }
        let ca_file = table.ca_file.as_ref().map(|path| self.folder.join(path.get_ref()));
        if let (Some(path), Some(given)) = (&ca_file, &table.ca_file)
            && let Err(error) = std::fs::File::open(path)
        {
            let words =
                format!("outbound.ca_file: cannot read {}: {error}; mend the path", path.display());
            self.problems.at(given.span(), words);
        }
        let proxies = proxies.map_or(Some(Vec::new()), |usable| usable)?;
        let token_proxies = token_proxies.map_or(Some(None), |usable| usable.map(Some))?;
        let mut outbound = Outbound { proxies, token_proxies, no_proxy, ca_file };
        let in_clear = match credentials? {
            Some(credentials) => self.give(&credentials, &mut outbound),
            None => false,
        };
        self.proxy_auth(table, in_clear, &mut outbound);
        self.fit_for_socks(&outbound);
        Some(outbound)
    }

    /// The proxies of one key, in order; `None` where one of them is wrong.
    fn ways(&mut self, key: &str, given: &Spanned<file::Proxies>) -> Option<Vec<Way>> {
        let urls = given.get_ref().urls();
        let ways: Vec<_> = urls.iter().map(|url| proxy_url::way(url)).collect();
        let mut wrong: Vec<_> = ways.iter().filter_map(|way| way.as_ref().err().cloned()).collect();
        if urls.is_empty() {
            wrong.push("is an empty array; write \"none\" to go direct".to_owned());
        }
        let direct = ways.iter().position(|way| matches!(way, Ok(Way::Direct)));
        if direct.is_some_and(|at| at + 1 < ways.len()) {
            wrong.push(
                "has \"none\" before a proxy, which is then never tried; it may only be the last"
                    .to_owned(),
            );
        }
        wrong.dedup();
        let is_usable = wrong.is_empty();
        for words in wrong {
            self.problems.at(given.span(), format!("{key} {words}"));
        }
        if is_usable { ways.into_iter().collect::<Result<_, _>>().ok() } else { None }
    }

    /// The login of the table is for every proxy that has none in its URL. Whether one of them is a
    /// SOCKS proxy, to which it goes in clear.
    fn give(&mut self, credentials: &ProxyCredentials, outbound: &mut Outbound) -> bool {
        let ways = outbound.proxies.iter_mut().chain(outbound.token_proxies.iter_mut().flatten());
        let (mut proxies, mut given, mut in_clear) = (0, 0, false);
        for way in ways {
            let Way::Proxy(proxy) = way else { continue };
            proxies += 1;
            if proxy.credentials.is_none() {
                proxy.credentials = Some(credentials.clone());
                given += 1;
                in_clear |= proxy.scheme == ProxyScheme::Socks5h;
            }
        }
        if proxies == 0 {
            self.problems
                .general("outbound.username without a proxy; add proxy or remove the login");
        } else if given == 0 {
            self.problems
                .general("outbound: a login in the proxy's URL and username beside it; keep one");
        }
        in_clear
    }

    fn fit_for_socks(&mut self, outbound: &Outbound) {
        let fits = |text: &str| (1..=SOCKS_LOGIN).contains(&text.len());
        let ways = outbound.proxies.iter().chain(outbound.token_proxies.iter().flatten());
        let too_long = ways
            .filter_map(|way| match way {
                Way::Proxy(proxy) if proxy.scheme == ProxyScheme::Socks5h => {
                    proxy.credentials.as_ref()
                }
                _ => None,
            })
            .any(|login| !fits(&login.username) || !fits(login.password.expose_secret()));
        if too_long {
            self.problems.general(format!(
                "outbound: user and password for a socks5h proxy must have 1 to {SOCKS_LOGIN} octets each (RFC 1929)"
            ));
        }
    }

    /// The scheme that is asked for. All but Negotiate and the choice of the best need a user. `in_clear`:
    /// whether the table's password goes to a SOCKS proxy, which is not what these words mean.
    fn proxy_auth(&mut self, table: &file::Outbound, in_clear: bool, outbound: &mut Outbound) {
        let Some(word) = &table.proxy_auth else { return };
        let auth = match word.get_ref().as_str() {
            "auto" => ProxyAuth::Auto,
            "basic" => ProxyAuth::Basic,
            "digest" => ProxyAuth::Digest,
            "ntlm" => ProxyAuth::Ntlm,
            "negotiate" => ProxyAuth::Negotiate,
            _ => {
                self.problems.at(word.span(), "outbound.proxy_auth must be \"auto\", \"basic\", \"digest\", \"ntlm\" or \"negotiate\"");
                return;
            }
        };
        let ways = outbound.proxies.iter_mut().chain(outbound.token_proxies.iter_mut().flatten());
        let (mut asked, mut anonymous) = (false, false);
        for way in ways {
            let Way::Proxy(proxy) = way else { continue };
            if proxy.scheme != ProxyScheme::Socks5h {
                asked = true;
                anonymous |= proxy.credentials.is_none();
                proxy.auth = auth;
            }
        }
        let never_in_clear =
            matches!(auth, ProxyAuth::Digest | ProxyAuth::Ntlm | ProxyAuth::Negotiate);
        if asked && in_clear && never_in_clear {
            let words = format!(
                "outbound.proxy_auth = \"{}\" is for HTTP proxies, and a socks5h proxy would get outbound.password in \
                 clear (RFC 1929); write a login of its own in that proxy's URL, or remove the proxy or proxy_auth",
                word.get_ref()
            );
            self.problems.at(word.span(), words);
        }
        if !asked {
            let words = "outbound.proxy_auth without an HTTP proxy; add proxy or remove it";
            self.problems.at(word.span(), words);
        } else if anonymous && !matches!(auth, ProxyAuth::Auto | ProxyAuth::Negotiate) {
            let words = format!(
                "outbound.proxy_auth = \"{}\" needs outbound.username and outbound.password; add them",
                word.get_ref()
            );
            self.problems.at(word.span(), words);
        }
    }

    /// `Some(None)` where there are none, `None` where they are wrong.
    #[allow(clippy::option_option)] // outer: usable or not; inner: given or not
    fn credentials(&mut self, table: &file::Outbound) -> Option<Option<ProxyCredentials>> {
        match (&table.username, &table.password) {
            (None, None) => Some(None),
            (Some(username), Some(password)) => {
                let password = self.secret("outbound.password", password)?;
                let name = username.get_ref();
                if name.is_empty()
                    || name.contains(':')
                    || has_control(name)
                    || has_control(password.expose_secret())
                {
                    self.problems.at(username.span(), "outbound.username must hold no colon, and neither it nor the password a control character (RFC 7617)");
                    return None;
                }
                Some(Some(ProxyCredentials { username: name.clone(), password }))
            }
            (Some(username), None) => {
                self.problems.at(username.span(), "outbound.username without outbound.password; add it, such as { env = \"PROXY_PASSWORD\" }");
                None
            }
            (None, Some(password)) => {
                self.problems
                    .at(password.span(), "outbound.password without outbound.username; add it");
                None
            }
        }
    }

    /// As curl reads them: lower case first, a bare `host:port` is `http://`.
    fn inherited(&mut self) -> Option<Outbound> {
        let set = |name: &&str| {
            let value = (self.environment)(name)?;
            (!value.trim().is_empty()).then(|| ((*name).to_owned(), value.trim().to_owned()))
        };
        let found = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].iter().find_map(set);
        let exceptions = ["no_proxy", "NO_PROXY"].iter().find_map(set);
        let Some((name, url)) = found else {
            return Some(Outbound::default());
        };
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        let way = match proxy_url::way(&url) {
            Ok(way) => way,
            Err(words) => {
                self.problems
                    .general(format!("the environment's {name} {words}; or write [outbound]"));
                return None;
            }
        };
        let (_, list) = exceptions.unwrap_or_default();
        // An exception that cannot be read matches nothing, as in curl.
        let no_proxy = list.split([',', ' ']).filter_map(|entry| exception(entry.trim())).collect();
        let outbound = Outbound { proxies: vec![way], no_proxy, ..Outbound::default() };
        self.fit_for_socks(&outbound);
        Some(outbound)
    }
}

/// `*`, a network, `host`, `.domain`, `*.domain`, each but the first with a port if need be.
fn exception(entry: &str) -> Option<NoProxy> {
    if entry == "*" {
        return Some(NoProxy::All);
    }
    // An IPv6 address without brackets is one to its last colon.
    if let Some(net) = net(entry) {
        return Some(NoProxy::Net { net, port: None });
    }
    let (place, port) = match entry.rsplit_once(':') {
        Some((place, port)) => (place, Some(port.parse().ok().filter(|&port: &u16| port > 0)?)),
        None => (entry, None),
    };
    if let Some(net) = net(place) {
        return Some(NoProxy::Net { net, port });
    }
    let name = place.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
    (is_host(name) && !name.contains(['[', ':']))
        .then(|| NoProxy::Domain { name: name.to_ascii_lowercase(), port })
}

/// A network, an IPv6 one also in brackets, with its length in or behind them.
fn net(text: &str) -> Option<ipnet::IpNet> {
    let Some(inner) = text.strip_prefix('[') else { return network(text) };
    let (address, rest) = inner.split_once(']')?;
    let v6 = network(&format!("{address}{rest}"))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(v6)
}

pub(super) fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exceptions_of_every_form_are_read() {
        let domain = |name: &str, port| Some(NoProxy::Domain { name: name.to_owned(), port });
        let net = |net: &str, port| Some(NoProxy::Net { net: net.parse().unwrap(), port });
        let rows = [
            ("*", Some(NoProxy::All)),
            ("Corp.example.", domain("corp.example", None)),
            (".corp.example", domain("corp.example", None)),
            ("*.corp.example:587", domain("corp.example", Some(587))),
            ("10.0.0.0/8", net("10.0.0.0/8", None)),
            ("10.0.0.0/8:587", net("10.0.0.0/8", Some(587))),
            ("10.1.2.3", net("10.1.2.3/32", None)),
            ("10.1.2.3:25", net("10.1.2.3/32", Some(25))),
            ("2001:db8::1", net("2001:db8::1/128", None)),
            ("2001:db8::/32", net("2001:db8::/32", None)),
            ("[2001:db8::1]", net("2001:db8::1/128", None)),
            ("[2001:db8::1]:443", net("2001:db8::1/128", Some(443))),
            ("[2001:db8::/32]:443", net("2001:db8::/32", Some(443))),
            ("[2001:db8::]/32", net("2001:db8::/32", None)),
            ("[corp.example]", None),
            ("[::1", None),
            ("host:0", None),
            ("host:99999", None),
            ("host:port", None),
            ("a b", None),
            ("", None),
        ];
        let mut ran = 0;
        for (text, expected) in rows {
            assert_eq!(exception(text), expected, "{text}");
            ran += 1;
        }
        assert_eq!(ran, 21);
    }

    proptest! {
        #[test]
        fn no_exception_panics(text in "[\\[\\]a-z0-9.:/*% é-]{0,20}") {
            let _ = exception(&text);
        }
    }
}
