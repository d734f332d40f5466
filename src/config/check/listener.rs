//! `[[listener]]`: where clients come in, and where their sessions go.

use std::{net::SocketAddr, sync::Arc};

use ipnet::IpNet;
use toml::Spanned;

use super::{
    super::{
        Listener, Security, Upstream, file,
        form::{is_host, network},
    },
    Checker,
};
use crate::mail::Protocol;

impl Checker<'_> {
    pub(super) fn listeners(&mut self, tables: &[Spanned<file::Listener>]) -> Vec<Arc<Listener>> {
        if tables.is_empty() {
            self.problems.general(
                "no [[listener]]; add one with protocol = \"smtp\" and bind = \"127.0.0.1:1587\"",
            );
        }
        let mut listeners: Vec<Arc<Listener>> = Vec::new();
        for table in tables {
            let Some(listener) = self.listener(table.get_ref()) else {
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

    fn listener(&mut self, table: &file::Listener) -> Option<Listener> {
        self.not_yet(table.tls.as_ref(), "listener.tls");
        self.not_yet(table.account.as_ref(), "listener.account");
        let protocol = self.protocol(&table.protocol);
        let upstream = self.upstream(&table.upstream, protocol?);
        let allow = table.allow.as_deref().map(|entries| self.allow(entries));
        let text = table.bind.get_ref();
        let Ok(bind) = text.parse::<SocketAddr>() else {
            let words = format!(
                "listener.bind: \"{text}\" is no ADDRESS:PORT; write such as \"127.0.0.1:1587\" or \"[::1]:1587\""
            );
            self.problems.at(table.bind.span(), words);
            return None;
        };
        let loopback: Vec<IpNet> =
            ["127.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect();
        let allow = match allow {
            None if bind.ip().to_canonical().is_loopback() => loopback,
            None => {
                let words = format!(
                    "listener.bind: {bind} can be reached from other machines, so anybody there could try passwords; add allow = [\"10.0.0.0/8\"] with the networks that may connect, or bind to 127.0.0.1"
                );
                self.problems.at(table.bind.span(), words);
                return None;
            }
            Some(allow) => allow?,
        };
        Some(Listener {
            protocol: protocol?,
            bind,
            upstream: upstream?,
            allow,
            account: None,
            pass_tokens: false,
        })
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

    /// The networks of `allow`; `None` where one of them is wrong.
    fn allow(&mut self, entries: &[Spanned<String>]) -> Option<Vec<IpNet>> {
        let mut nets = Some(Vec::new());
        for entry in entries {
            let Some(net) = network(entry.get_ref()) else {
                let words = format!(
                    "listener.allow: \"{}\" is no address or network; write such as \"10.20.0.0/16\" or \"192.0.2.7\"",
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

    fn upstream(&mut self, given: &file::Upstream, protocol: Protocol) -> Option<Upstream> {
        let (host, port, security) = match protocol {
            Protocol::Smtp => ("smtp.office365.com", 587, Security::StartTls),
            Protocol::Imap => ("outlook.office365.com", 993, Security::Tls),
            Protocol::Pop3 => ("outlook.office365.com", 995, Security::Tls),
        };
        let host = match &given.host {
            None => Some(host.to_owned()),
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
}
