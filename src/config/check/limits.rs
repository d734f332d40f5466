//! `[limits]`: how much of everything.

use std::time::Duration;

use toml::Spanned;

use super::{
    super::{Limits, file},
    Checker,
};

impl Checker<'_> {
    pub(super) fn limits(&mut self, given: &file::Limits) -> Limits {
        let usual = Limits::default();
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let login_timeout = self.duration(
            given.login_timeout.as_ref(),
            "limits.login_timeout",
            usual.login_timeout,
            second..=day,
        );
        Limits {
            max_sessions: self.count(
                given.max_sessions.as_ref(),
                "limits.max_sessions",
                usual.max_sessions,
            ),
            max_sessions_per_address: self.count(
                given.max_sessions_per_address.as_ref(),
                "limits.max_sessions_per_address",
                usual.max_sessions_per_address,
            ),
            max_sessions_per_account: given.max_sessions_per_account.as_ref().map(|given| {
                self.count(Some(given), "limits.max_sessions_per_account", usize::MAX)
            }),
            smtp_sessions_per_mailbox: self.per_mailbox(given.smtp_sessions_per_mailbox.as_ref()),
            queue_timeout: self.queue(given.queue_timeout.as_ref(), login_timeout),
            login_timeout,
            smtp_idle_timeout: self.duration(
                given.smtp_idle_timeout.as_ref(),
                "limits.smtp_idle_timeout",
                usual.smtp_idle_timeout,
                second..=day,
            ),
            imap_idle_timeout: self.imap_idle(given.imap_idle_timeout.as_ref()),
            pop3_idle_timeout: self.duration(
                given.pop3_idle_timeout.as_ref(),
                "limits.pop3_idle_timeout",
                usual.pop3_idle_timeout,
                second..=day,
            ),
            lockout_after: u32::try_from(self.count(
                given.lockout_after.as_ref(),
                "limits.lockout_after",
                usual.lockout_after as usize,
            ))
            .unwrap_or(usual.lockout_after),
            lockout_time: self.duration(
                given.lockout_time.as_ref(),
                "limits.lockout_time",
                usual.lockout_time,
                second..=day,
            ),
            shutdown_grace: self.duration(
                given.shutdown_grace.as_ref(),
                "limits.shutdown_grace",
                usual.shutdown_grace,
                Duration::ZERO..=day,
            ),
        }
    }

    fn per_mailbox(&mut self, given: Option<&Spanned<usize>>) -> usize {
        let (key, usual) =
            ("limits.smtp_sessions_per_mailbox", Limits::default().smtp_sessions_per_mailbox);
        let count = self.count(given, key, usual);
        if let Some(given) = given.filter(|_| count > usual) {
            let words = format!(
                "{key}: Exchange Online takes {usual} sessions of a mailbox at a time and refuses the messages of any more (432 4.3.2); write {usual}"
            );
            self.problems.warn(given.span(), &words);
        }
        count
    }

    /// Waiting counts under the login deadline, so it must end before that does.
    fn queue(&mut self, given: Option<&Spanned<String>>, login_timeout: Duration) -> Duration {
        let key = "limits.queue_timeout";
        let usual = Limits::default().queue_timeout.min(login_timeout / 2);
        let day = Duration::from_secs(86_400);
        let queue = self.duration(given, key, usual, Duration::ZERO..=day);
        match given {
            Some(given) if queue >= login_timeout => {
                let words = format!(
                    "{key} must be shorter than login_timeout ({}), which waiting counts under; write \"{}\"",
                    humantime::format_duration(login_timeout),
                    humantime::format_duration(usual),
                );
                self.problems.at(given.span(), words);
                usual
            }
            _ => queue,
        }
    }

    fn imap_idle(&mut self, given: Option<&Spanned<String>>) -> Duration {
        let key = "limits.imap_idle_timeout";
        let usual = Limits::default().imap_idle_timeout;
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let idle = self.duration(given, key, usual, second..=day);
        if let Some(given) = given.filter(|_| idle < Duration::from_secs(30 * 60)) {
            let words = format!(
                "{key}: clients that wait for mail (IDLE) are silent for 29 minutes, and would be cut off; write \"35m\""
            );
            self.problems.warn(given.span(), &words);
        }
        idle
    }

    fn count(&mut self, given: Option<&Spanned<usize>>, key: &str, usual: usize) -> usize {
        match given.map(|given| (*given.get_ref(), given.span())) {
            None => usual,
            Some((number @ 1..=100_000, _)) => number,
            Some((_, span)) => {
                self.problems.at(span, format!("{key} must be from 1 to 100000"));
                usual
            }
        }
    }
}
