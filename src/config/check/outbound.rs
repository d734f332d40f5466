//! `[outbound]`, or the environment in its place: `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
//!
//! The environment counts only where the file has no `[outbound]` at all: whoever writes one has
//! said all there is to say, and `proxy` left out of it means direct.

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::{
    super::{
        NoProxy, Outbound, Proxy, ProxyAuth, ProxyCredentials, file,
        form::{is_host, network, percent_decoded, split_url},
    },
    Checker,
};

impl Checker<'_> {
    /// The way out.
    pub(super) fn outbound(&mut self, table: Option<&Spanned<file::Outbound>>) -> Option<Outbound> {
        match table {
            Some(table) => self.written(table.get_ref()),
            None => self.inherited(),
        }
    }

    fn written(&mut self, table: &file::Outbound) -> Option<Outbound> {
        let credentials = self.credentials(table);
        let proxy = match &table.proxy {
            None => Ok(None),
            Some(url) => proxy(url.get_ref()).map_err(|words| {
                self.problems.at(url.span(), format!("outbound.proxy {words}"));
            }),
        };
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
        let auth = self.proxy_auth(table, credentials.as_ref());
        let mut proxy = proxy.ok()?;
        match (&mut proxy, auth) {
            (Some(proxy), Some(auth)) => proxy.auth = auth,
            (None, Some(_)) => {
                self.problems
                    .general("outbound.proxy_auth without a proxy; add proxy or remove it");
            }
            (_, None) => {}
        }
        if let Some(credentials) = credentials? {
            match &mut proxy {
                Some(Proxy { credentials: slot @ None, .. }) => *slot = Some(credentials),
                Some(_) => self.problems.general(
                    "outbound: a login in the proxy's URL and username beside it; keep one",
                ),
                None => self
                    .problems
                    .general("outbound.username without a proxy; add proxy or remove the login"),
            }
        }
        Some(Outbound { proxy, no_proxy, ca_file })
    }

    /// The scheme that is asked for. All but Negotiate and the choice of the best need a user.
    fn proxy_auth(
        &mut self,
        table: &file::Outbound,
        credentials: Option<&Option<ProxyCredentials>>,
    ) -> Option<ProxyAuth> {
        let word = table.proxy_auth.as_ref()?;
        let auth = match word.get_ref().as_str() {
            "auto" => ProxyAuth::Auto,
            "basic" => ProxyAuth::Basic,
            "digest" => ProxyAuth::Digest,
            "ntlm" => ProxyAuth::Ntlm,
            "negotiate" => ProxyAuth::Negotiate,
            _ => {
                self.problems.at(word.span(), "outbound.proxy_auth must be \"auto\", \"basic\", \"digest\", \"ntlm\" or \"negotiate\"");
                return None;
            }
        };
        let in_url = table.proxy.as_ref().is_some_and(|url| url.get_ref().contains('@'));
        if !matches!(auth, ProxyAuth::Auto | ProxyAuth::Negotiate)
            && matches!(credentials, Some(None))
            && !in_url
        {
            let words = format!(
                "outbound.proxy_auth = \"{}\" needs outbound.username and outbound.password; add them",
                word.get_ref()
            );
            self.problems.at(word.span(), words);
        }
        Some(auth)
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
        let proxy = match proxy(&url) {
            Ok(proxy) => proxy,
            Err(words) => {
                self.problems
                    .general(format!("the environment's {name} {words}; or write [outbound]"));
                return None;
            }
        };
        let (_, list) = exceptions.unwrap_or_default();
        // An exception that cannot be read matches nothing, as in curl.
        let no_proxy = list.split([',', ' ']).filter_map(|entry| exception(entry.trim())).collect();
        Some(Outbound { proxy, no_proxy, ca_file: None })
    }
}

/// `http://[user:password@]host:port`, or `none`. The error completes "outbound.proxy ...", and
/// quotes nothing, because a URL may hold a password.
fn proxy(url: &str) -> Result<Option<Proxy>, String> {
    if url == "none" {
        return Ok(None);
    }
    let form = "must be \"http://HOST:PORT\", or \"none\" to go direct";
    let (scheme, authority) = split_url(url).ok_or(form)?;
    match scheme {
        "http" => {}
        "https" | "socks5" | "socks5h" => {
            return Err(format!(
                "is of a kind that is not available in this version ({scheme}); it {form}"
            ));
        }
        _ => return Err(form.to_owned()),
    }
    let (login, place) =
        authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
    let (host, port) = place.rsplit_once(':').ok_or(form)?;
    let port = port.parse().ok().filter(|&port| port > 0).ok_or(form)?;
    if !is_host(host) {
        return Err(form.to_owned());
    }
    let credentials = login
        .map(|login| login_of(login).ok_or("holds a login that cannot be read"))
        .transpose()?;
    Ok(Some(Proxy { host: host.to_owned(), port, credentials, auth: ProxyAuth::Auto }))
}

fn login_of(login: &str) -> Option<ProxyCredentials> {
    let (username, password) = login.split_once(':')?;
    let (username, password) = (percent_decoded(username)?, percent_decoded(password)?);
    if username.contains(':') || has_control(&username) || has_control(&password) {
        return None;
    }
    Some(ProxyCredentials { username, password: SecretString::from(password) })
}

/// `*`, a network, `host`, `.domain`, `*.domain`, each name with a port if need be.
fn exception(entry: &str) -> Option<NoProxy> {
    if entry == "*" {
        return Some(NoProxy::All);
    }
    if let Some(net) = network(entry) {
        return Some(NoProxy::Net(net));
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let name = name.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
    is_host(name).then(|| NoProxy::Domain { name: name.to_ascii_lowercase(), port })
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
