//! `[[listener]]`: where clients come in, and where their sessions go.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use ipnet::IpNet;
use toml::Spanned;

use super::{
    super::{
        Account, Grant, Listener, Pinned, Security, Upstream, file,
        form::{is_host, is_sendable, network},
    },
    Checker,
    account::closest,
    cloud::Cloud,
};
use crate::mail::Protocol;

/// What a listener is checked against.
pub(super) struct House<'a> {
    /// The clouds of the apps.
    pub(super) clouds: &'a [Cloud],
    /// The `[[account]]` tables as written.
    pub(super) written: &'a [Spanned<file::Account>],
    /// What they came to, in the same order.
    pub(super) accounts: &'a [Option<Arc<Account>>],
}

impl Checker<'_> {
    pub(super) fn listeners(
        &mut self,
        tables: &[Spanned<file::Listener>],
        house: &House<'_>,
    ) -> Vec<Arc<Listener>> {
        if tables.is_empty() {
            self.problems.general(
                "no [[listener]]; add one with protocol = \"smtp\" and bind = \"127.0.0.1:1587\"",
            );
        }
        let mut listeners: Vec<Arc<Listener>> = Vec::new();
        for table in tables {
            let Some(listener) = self.listener(table.get_ref(), house) else {
                continue;
            };
            let taken = listener.bind.port() != 0
                && listeners.iter().any(|other| other.bind == listener.bind);
            if taken {
                let words = format!(
                    "listener.bind: {} is used twice; give each listener its own port",
                    listener.bind
                );
                self.problems.at(table.get_ref().bind.span(), words);
            }
            listeners.push(Arc::new(listener));
        }
        listeners
    }

    fn listener(&mut self, table: &file::Listener, house: &House<'_>) -> Option<Listener> {
        let tls = table.tls.as_ref().map(|tls| self.local_tls(tls));
        let protocol = self.protocol(&table.protocol);
        let upstream = protocol.and_then(|protocol| self.upstream(table, protocol, house.clouds));
        let account = self.pinned(table, protocol, house);
        let bind = self.bind(&table.bind);
        let allow = match &table.allow {
            Some(entries) => self.networks("listener.allow", entries),
            None => self.loopback_only(&table.bind, bind?),
        };
        Some(Listener {
            protocol: protocol?,
            bind: bind?,
            upstream: upstream?,
            allow: allow?,
            account: account?,
            pass_tokens: table.pass_tokens.as_ref().is_some_and(|pass| *pass.get_ref()),
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
        })
    }

    fn bind(&mut self, given: &Spanned<String>) -> Option<SocketAddr> {
        let text = given.get_ref();
        let bind = text.parse().ok();
        if bind.is_none() {
            let words = format!(
                "listener.bind: \"{text}\" is no ADDRESS:PORT; write such as \"127.0.0.1:1587\" or \"[::1]:1587\""
            );
            self.problems.at(given.span(), words);
        }
        bind
    }

    /// Who may connect where the file names nobody.
    fn loopback_only(&mut self, given: &Spanned<String>, bind: SocketAddr) -> Option<Vec<IpNet>> {
        if bind.ip().to_canonical().is_loopback() {
            return Some(
                ["127.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect(),
            );
        }
        let words = format!(
            "listener.bind: {bind} can be reached from other machines, so anybody there could try passwords; add allow = [\"10.0.0.0/8\"] with the networks that may connect, or bind to 127.0.0.1"
        );
        self.problems.at(given.span(), words);
        None
    }

    /// The account of a listener that asks for no login. Whoever can connect there sends as it, so
    /// each way to come to that by oversight is closed.
    #[allow(clippy::option_option)] // outer: usable or not; inner: given or not
    fn pinned(
        &mut self,
        table: &file::Listener,
        protocol: Option<Protocol>,
        house: &House<'_>,
    ) -> Option<Option<Pinned>> {
        let Some(given) = &table.account else { return Some(None) };
        let user = given.get_ref().trim();
        let found = closest(house.written, user);
        let account = found.and_then(|index| house.accounts.get(index)?.as_ref());
        let mut words = Vec::new();
        if let Some(protocol) = protocol.filter(|&protocol| protocol != Protocol::Smtp) {
            words.push(format!(
                "only protocol = \"smtp\" can go without a login; remove account, so that {protocol} asks for one"
            ));
        }
        let open_to_all = |nets: &Spanned<Vec<Spanned<String>>>| {
            let entries = nets.get_ref().iter();
            entries.filter_map(|net| network(net.get_ref())).any(|net| net.prefix_len() == 0)
        };
        match &table.allow {
            None => words.push(format!(
                "whoever can connect sends as {user} without a login; add allow = [\"192.0.2.7\"] with the devices that may"
            )),
            Some(nets) if open_to_all(nets) => words.push(format!(
                "listener.allow names every address, so anybody could send as {user}; name the devices that may"
            )),
            Some(_) => {}
        }
        if table.pass_tokens.as_ref().is_some_and(|pass| *pass.get_ref()) {
            words
                .push("with pass_tokens clients log in, and here they do not; keep one".to_owned());
        }
        if user.contains('*') || !is_sendable(user) {
            words
                .push(format!("\"{user}\" is no user; write one, such as \"scanner@contoso.com\""));
        } else if found.is_none() {
            words.push(format!("no [[account]] covers {user}; add one"));
        }
        if account.is_some_and(|account| matches!(account.entra.grant, Grant::Password { .. })) {
            words.push(format!(
                "with grant = \"password\" each token needs the password, which nobody gives here; use another grant for {user}"
            ));
        }
        if account.is_some_and(|account| account.mailbox.smtp.is_none()) && !user.contains('@') {
            words.push(format!(
                "{user} is no address; write mailbox = \"scanner@contoso.com\" in its [[account]]"
            ));
        }
        if words.is_empty() {
            let account = Arc::clone(account?); // what is wrong with its table is told there
            return Some(Some(Pinned { user: user.to_owned(), account }));
        }
        for words in words {
            self.problems.at(given.span(), format!("listener.account: {words}"));
        }
        None
    }

    fn protocol(&mut self, given: &Spanned<String>) -> Option<Protocol> {
        let words = match given.get_ref().as_str() {
            "smtp" => return Some(Protocol::Smtp),
            "imap" => return Some(Protocol::Imap),
            "pop3" => return Some(Protocol::Pop3),
            other => format!(
                "listener.protocol: \"{other}\" is no protocol; write \"smtp\", \"imap\" or \"pop3\""
            ),
        };
        self.problems.at(given.span(), words);
        None
    }

    /// The networks of an `allow`; `None` where one of them is wrong, or there is none.
    pub(super) fn networks(
        &mut self,
        key: &str,
        entries: &Spanned<Vec<Spanned<String>>>,
    ) -> Option<Vec<IpNet>> {
        if entries.get_ref().is_empty() {
            let words =
                format!("{key} is empty, so nobody could come in; name networks, or leave it out");
            self.problems.at(entries.span(), words);
            return None;
        }
        let mut nets = Some(Vec::new());
        for entry in entries.get_ref() {
            let Some(net) = network(entry.get_ref()) else {
                let words = format!(
                    "{key}: \"{}\" is no address or network; write such as \"10.20.0.0/16\" or \"192.0.2.7\"",
                    entry.get_ref()
                );
                self.problems.at(entry.span(), words);
                nets = None;
                continue;
            };
            if let Some(nets) = &mut nets {
                nets.push(net);
            }
        }
        nets
    }

    fn upstream(
        &mut self,
        table: &file::Listener,
        protocol: Protocol,
        clouds: &[Cloud],
    ) -> Option<Upstream> {
        let given = &table.upstream;
        let (port, security) = match protocol {
            Protocol::Smtp => (587, Security::StartTls),
            Protocol::Imap => (993, Security::Tls),
            Protocol::Pop3 => (995, Security::Tls),
        };
        let host = match &given.host {
            None => self.usual_host(&table.protocol, protocol, clouds),
            Some(name) if is_host(name.get_ref()) => Some(name.get_ref().clone()),
            Some(name) => {
                let words = format!(
                    "listener.upstream.host: \"{}\" is no host name; write such as \"smtp.office365.com\"",
                    name.get_ref()
                );
                self.problems.at(name.span(), words);
                None
            }
        };
        let port = match &given.port {
            None => Some(port),
            Some(number) if *number.get_ref() > 0 => Some(*number.get_ref()),
            Some(number) => {
                self.problems.at(number.span(), "listener.upstream.port: 0 is no port; write 587");
                None
            }
        };
        let security = match given
            .security
            .as_ref()
            .map(|word| (word.get_ref().as_str(), word.span()))
        {
            None => Some(security),
            Some(("starttls", _)) if protocol == Protocol::Smtp => Some(Security::StartTls),
            Some(("starttls", span)) => {
                let words = format!(
                    "listener.upstream.security: for {protocol} there is only \"tls\", from the first byte; write security = \"tls\" and port = {port}",
                    port = if protocol == Protocol::Imap { 993 } else { 995 },
                );
                self.problems.at(span, words);
                None
            }
            Some(("tls", _)) => Some(Security::Tls),
            Some((other, span)) => {
                let words = format!(
                    "listener.upstream.security: \"{other}\" is neither \"starttls\" nor \"tls\"; there is no other: mail never leaves in clear"
                );
                self.problems.at(span, words);
                None
            }
        };
        Some(Upstream { host: host?, port: port?, security: security? })
    }
    /// The server of the one cloud that all apps are in.
    fn usual_host(
        &mut self,
        given: &Spanned<String>,
        protocol: Protocol,
        clouds: &[Cloud],
    ) -> Option<String> {
        let hosts: BTreeSet<_> = clouds.iter().map(|cloud| cloud.host(protocol)).collect();
        let mut each = hosts.iter().copied();
        match (each.next(), each.next()) {
            (None, _) => Some(Cloud::Global.host(protocol).to_owned()), // no app is usable
            (Some(host), None) => Some(host.to_owned()),
            (Some(_), Some(_)) => {
                let names: Vec<_> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
                let words = format!(
                    "listener.upstream.host is missing, and the apps are in several clouds; write upstream = {{ host = ... }} with one of {}",
                    names.join(", ")
                );
                self.problems.at(given.span(), words);
                None
            }
        }
    }
}
