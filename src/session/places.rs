//! The places that sessions hold: so many for each account, and, with SMTP, for each mailbox.
//!
//! Exchange takes three submissions of a mailbox at a time and refuses the fourth only at the end
//! of its message (`432 4.3.2`), when some clients give up: so here the fourth waits before it is
//! opened, in order, and is told to come back where that takes too long. Places are taken once
//! there is a token, so that nobody holds one for a login that Entra refuses. Must never know how
//! a session is opened.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::{
    progress::Progress,
    turnstile::{Place, Turnstile},
};
use crate::{config::Limits, mail::Protocol, stats::Stats};

const QUEUE_CAUSE: &str = "limits.smtp_sessions_per_mailbox sessions of this mailbox are open \
    already; Exchange Online takes three at a time and refuses the next one's message";
const QUEUE_REMEDY: &str = "have the program keep fewer connections open or close idle ones (see \
    its connection pool), lower limits.smtp_idle_timeout, or give it more mailboxes to send from; \
    limits.queue_timeout is how long the next session waits";
const ACCOUNT_REMEDY: &str = "raise limits.max_sessions_per_account, or find the client that \
    keeps so many connections open";

/// Gives sessions their places.
pub(super) struct Places {
    mailboxes: Arc<Turnstile>,
    accounts: Arc<Turnstile>,
    patience: Duration,
    stats: Arc<Stats>,
}

/// A session's places; given back on drop.
pub(super) struct Held {
    _account: Place,
    _mailbox: Option<Place>,
}

/// There was no place for the session.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoPlace {
    /// The account has all the sessions that it may have.
    Account {
        /// How many that is.
        limit: usize,
    },
    /// The mailbox has, and none of them ended in time.
    Mailbox {
        /// How many that is.
        limit: usize,
        /// How long was waited.
        waited: Duration,
    },
}

impl Places {
    /// Waiting is counted in `stats`.
    pub(super) fn new(limits: &Limits, stats: Arc<Stats>) -> Self {
        Self {
            mailboxes: Turnstile::new(limits.smtp_sessions_per_mailbox),
            accounts: Turnstile::new(limits.max_sessions_per_account.unwrap_or(usize::MAX)),
            patience: limits.queue_timeout,
            stats,
        }
    }

    /// The same places under other limits. Sessions that have theirs keep them.
    pub(super) fn renewed(&self, limits: &Limits) -> Self {
        self.mailboxes.resize(limits.smtp_sessions_per_mailbox);
        self.accounts.resize(limits.max_sessions_per_account.unwrap_or(usize::MAX));
        Self {
            mailboxes: Arc::clone(&self.mailboxes),
            accounts: Arc::clone(&self.accounts),
            patience: limits.queue_timeout,
            stats: Arc::clone(&self.stats),
        }
    }

    /// Places for one more session of this user, in this mailbox. Waits where the mailbox's are
    /// taken, and says so.
    pub(super) async fn enter(
        &self,
        protocol: Protocol,
        user: &str,
        mailbox: &str,
        progress: &Progress,
    ) -> Result<Held, NoPlace> {
        let account = self.accounts.try_enter(&user.to_ascii_lowercase());
        let account = account.ok_or_else(|| NoPlace::Account { limit: self.accounts.limit() })?;
        if protocol != Protocol::Smtp {
            return Ok(Held { _account: account, _mailbox: None });
        }
        let mailbox = mailbox.to_ascii_lowercase();
        let place = match self.mailboxes.try_enter(&mailbox) {
            Some(place) => place,
            None => self.queue(&mailbox, progress).await?,
        };
        Ok(Held { _account: account, _mailbox: Some(place) })
    }

    /// The same, where that takes no waiting.
    pub(super) fn try_enter(&self, protocol: Protocol, user: &str, mailbox: &str) -> Option<Held> {
        let account = self.accounts.try_enter(&user.to_ascii_lowercase())?;
        let place = match protocol {
            Protocol::Smtp => Some(self.mailboxes.try_enter(&mailbox.to_ascii_lowercase())?),
            Protocol::Imap | Protocol::Pop3 => None,
        };
        Some(Held { _account: account, _mailbox: place })
    }

    async fn queue(&self, mailbox: &str, progress: &Progress) -> Result<Place, NoPlace> {
        progress.enter("queue");
        debug!(mailbox, limit = self.mailboxes.limit(), "waiting for a session to end");
        let started = Instant::now();
        let place = timeout(self.patience, self.mailboxes.enter(mailbox)).await;
        let waited = started.elapsed();
        let (limit, seconds) = (self.mailboxes.limit(), rounded(waited));
        let (cause, remedy) = (QUEUE_CAUSE, QUEUE_REMEDY);
        self.stats.queued(waited, matches!(place, Ok(Some(_))));
        if let Ok(Some(place)) = place {
            info!(event = "mailbox_queue", mailbox, limit, seconds, cause, remedy, "had to wait");
            return Ok(place);
        }
        warn!(
            event = "mailbox_queue",
            mailbox, limit, seconds, cause, remedy, "waited too long, told to come back later"
        );
        Err(NoPlace::Mailbox { limit, waited })
    }
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl NoPlace {
    /// What it means, for the log.
    pub(super) fn cause(self) -> &'static str {
        match self {
            Self::Account { .. } => "limits.max_sessions_per_account is reached",
            Self::Mailbox { .. } => QUEUE_CAUSE,
        }
    }

    /// What to do about it, for the log.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Account { .. } => ACCOUNT_REMEDY,
            Self::Mailbox { .. } => QUEUE_REMEDY,
        }
    }

    /// What the client is told.
    pub(super) fn client_text(self) -> String {
        match self {
            Self::Account { limit } => {
                format!("This account has {limit} sessions open, which is all it may have")
            }
            Self::Mailbox { limit, waited } => format!(
                "This mailbox has {limit} sessions open, as many as it may, and none ended within {} seconds; try again later",
                waited.as_secs()
            ),
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { limit } => write!(f, "the account has {limit} sessions open"),
            Self::Mailbox { limit, waited } => write!(
                f,
                "the mailbox has {limit} sessions open, and none ended within {} s",
                waited.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(mailbox: usize, account: Option<usize>) -> Limits {
        Limits {
            smtp_sessions_per_mailbox: mailbox,
            max_sessions_per_account: account,
            ..Limits::default()
        }
    }

    async fn enter(
        places: &Places,
        protocol: Protocol,
        user: &str,
        mailbox: &str,
    ) -> Result<Held, NoPlace> {
        places.enter(protocol, user, mailbox, &Progress::new()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_mailbox_is_one_however_it_is_written_and_whoever_uses_it() {
        let places = Places::new(&limits(2, None), Arc::default());
        let _first = enter(&places, Protocol::Smtp, "ann", "Shared@contoso.com").await.unwrap();
        let _second = enter(&places, Protocol::Smtp, "bob", "shared@contoso.com").await.unwrap();
        let _other = enter(&places, Protocol::Smtp, "ann", "ann@contoso.com").await.unwrap();
        for protocol in [Protocol::Imap, Protocol::Pop3] {
            assert!(enter(&places, protocol, "ann", "shared@contoso.com").await.is_ok());
        }
        let started = Instant::now();
        let refused = enter(&places, Protocol::Smtp, "eve", "SHARED@contoso.com").await.err();
        assert!(matches!(refused, Some(NoPlace::Mailbox { limit: 2, .. })), "{refused:?}");
        assert_eq!(started.elapsed(), Limits::default().queue_timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_ends_when_a_session_does_or_a_reload_makes_room() {
        let places = Places::new(&limits(1, None), Arc::default());
        let first = enter(&places, Protocol::Smtp, "ann", "a@b").await.unwrap();
        let progress = Progress::new();
        let waits = places.enter(Protocol::Smtp, "ann", "a@b", &progress);
        let ends = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            assert_eq!(progress.noted().phase, "queue");
            drop(first);
        };
        let started = Instant::now();
        let (second, ()) = tokio::join!(waits, ends);
        assert_eq!(started.elapsed(), Duration::from_secs(7));
        let _second = second.unwrap();
        let waits = places.enter(Protocol::Smtp, "ann", "a@b", &progress);
        let reload = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            places.renewed(&limits(2, None))
        };
        let (third, renewed) = tokio::join!(waits, reload);
        assert_eq!(started.elapsed(), Duration::from_secs(10));
        assert!(enter(&renewed, Protocol::Smtp, "ann", "a@b").await.is_err(), "all are counted");
        drop(third);
        assert!(enter(&renewed, Protocol::Smtp, "ann", "a@b").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_has_so_many_over_all_protocols_and_does_not_wait() {
        let places = Places::new(&limits(3, Some(2)), Arc::default());
        let first = enter(&places, Protocol::Smtp, "Ann", "a@b").await.unwrap();
        let _second = enter(&places, Protocol::Imap, "ann", "a@b").await.unwrap();
        let started = Instant::now();
        let refused = enter(&places, Protocol::Pop3, "ann", "a@b").await.err();
        assert!(matches!(refused, Some(NoPlace::Account { limit: 2 })), "{refused:?}");
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert!(enter(&places, Protocol::Imap, "bob", "a@b").await.is_ok());
        drop(first);
        assert!(enter(&places, Protocol::Pop3, "ann", "a@b").await.is_ok());
    }
}
