//! `[status]`: where operators look.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use toml::Spanned;

use super::{
    super::{Listener, Status, file},
    Checker,
};

/// Where it listens if the file does not say.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1580);

impl Checker<'_> {
    pub(in super::super) fn status(
        &mut self,
        table: &Spanned<file::Status>,
        listeners: &[Arc<Listener>],
    ) -> Option<Status> {
        let file::Status { bind: given, allow } = table.get_ref();
        let span = given.as_ref().map_or(table.span(), Spanned::span);
        let bind = match given.as_ref().map(|given| (given.get_ref(), given.get_ref().parse())) {
            None => USUAL,
            Some((_, Ok(bind))) => bind,
            Some((text, Err(_))) => {
                let words = format!(
                    "status.bind: \"{text}\" is no ADDRESS:PORT; write such as \"{USUAL}\" or \"[::1]:1580\""
                );
                self.problems.at(span, words);
                return None;
            }
        };
        if bind.port() != 0 && listeners.iter().any(|listener| listener.bind == bind) {
            let words =
                format!("status.bind: {bind} is a listener's already; give it its own port");
            self.problems.at(span, words);
            return None;
        }
        let allow = match allow {
            Some(entries) => self.networks("status.allow", entries)?,
            None if bind.ip().to_canonical().is_loopback() => {
                ["127.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect()
            }
            None => {
                let words = format!(
                    "status.bind: {bind} can be reached from other machines, and what it shows (who logs in, from where) is not for everybody; add allow = [\"10.0.0.0/8\"] with the networks that may look, or bind to 127.0.0.1"
                );
                self.problems.at(span, words);
                return None;
            }
        };
        Some(Status { bind, allow })
    }
}
