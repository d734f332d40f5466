//! What is heard of a relayed session, and said of its end.
//!
//! The bytes are copied whatever is heard. Only IMAP is listened to: it alone tells of a mailbox
//! that cannot be opened after a login that was good, and of a token that has run out. Must never
//! log what it hears.

use tracing::warn;

use crate::{
    advice,
    mail::{
        Protocol,
        client::notice::{Goodbye, Observer},
    },
    net::relay::End,
};

/// Listens to one relayed session.
pub(super) struct Hearing {
    observer: Option<Observer>,
    is_app_only: bool,
}

impl Hearing {
    /// `is_app_only`: whether the token of the session is an app's, and not a user's.
    pub(super) fn of(protocol: Protocol, is_app_only: bool) -> Self {
        let observer = (protocol == Protocol::Imap).then(Observer::default);
        Self { observer, is_app_only }
    }

    /// Hears what the upstream says.
    pub(super) fn hear(&mut self, octets: &[u8]) {
        if self.observer.as_mut().is_some_and(|observer| observer.hear(octets)) {
            let words = "User is authenticated but not connected";
            let advice = advice::for_login(words, self.is_app_only);
            warn!(
                event = "not_connected",
                error = words,
                cause = advice.map(|advice| advice.cause),
                remedy = advice.map(|advice| advice.remedy),
                "logged in, but the mailbox cannot be opened",
            );
        }
    }

    /// How the session ended: of a closed set, for the count of sessions, and in words for the log.
    pub(super) fn ended(&self, end: &End) -> (&'static str, String) {
        match self.observer.as_ref().and_then(Observer::goodbye) {
            Some(Goodbye::TokenExpired) => (
                "token_expired",
                "access token expired, as it does after an hour or so; the client logs in again"
                    .to_owned(),
            ),
            Some(Goodbye::Idle) => ("idle_by_server", "idle, ended by the server".to_owned()),
            Some(Goodbye::AfterError) => {
                ("error_by_server", "ended by the server after an error".to_owned())
            }
            None => (label(end), end.to_string()),
        }
    }
}

fn label(end: &End) -> &'static str {
    match end {
        End::HungUp => "hung_up",
        End::CutShort => "cut_short",
        End::Idle => "idle",
        End::Lingered => "half_closed",
        End::Shutdown => "cut_at_shutdown",
        End::Failed(_) => "broken",
    }
}
