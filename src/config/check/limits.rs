//! `[limits]`: how much of everything.

use std::time::Duration;

use toml::Spanned;

use super::{
    super::{Limits, file},
    Checker,
};

impl Checker<'_> {
    pub(super) fn limits(&mut self, given: &file::Limits) -> Limits {
        self.not_yet(given.smtp_sessions_per_mailbox.as_ref(), "limits.smtp_sessions_per_mailbox");
        let usual = Limits::default();
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
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
            login_timeout: self.duration(
                given.login_timeout.as_ref(),
                "limits.login_timeout",
                usual.login_timeout,
                second..=day,
            ),
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
