//! `[limits]` as data: how many, and how long.
//!
//! The defaults follow the RFCs and what Exchange Online allows. Must never know who keeps them.

use std::time::Duration;

use crate::mail::Protocol;

/// The `[limits]` table.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions at one time.
    pub max_sessions: usize,
    /// Sessions at one time from one address.
    pub max_sessions_per_address: usize,
    /// Sessions at one time of one user who has logged in, over all protocols, beyond which logins
    /// are refused for the time being; `None`: as many as come.
    pub max_sessions_per_account: Option<usize>,
    /// SMTP sessions at one time in one mailbox at the provider. At least 1.
    pub smtp_sessions_per_mailbox: usize,
    /// How long a login waits for one of those to end. Shorter than `login_timeout`.
    pub queue_timeout: Duration,
    /// From accept to the answer to the login.
    pub login_timeout: Duration,
    /// Silence of both sides after which a relayed SMTP session ends.
    pub smtp_idle_timeout: Duration,
    /// The same for IMAP.
    pub imap_idle_timeout: Duration,
    /// The same for POP3.
    pub pop3_idle_timeout: Duration,
    /// Failed logins of one account within ten minutes after which it is locked; an address, when
    /// three times as many have come from it. At least 1.
    pub lockout_after: u32,
    /// How long a lockout lasts.
    pub lockout_time: Duration,
    /// How long relayed sessions may run on after SIGTERM.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1000,
            max_sessions_per_address: 500,
            max_sessions_per_account: None,
            // Exchange Online's own limit (Microsoft: Exchange Online limits, "concurrent
            // connections" of SMTP AUTH).
            smtp_sessions_per_mailbox: 3,
            queue_timeout: Duration::from_secs(20),
            login_timeout: Duration::from_secs(60),
            // RFC 5321 section 4.5.3.2: 5 minutes between commands, but 10 for the reply to the
            // final dot, when both sides are silent.
            smtp_idle_timeout: Duration::from_secs(600),
            // RFC 3501 section 5.4: at least 30 minutes; RFC 2177: a client in IDLE speaks up every
            // 29.
            imap_idle_timeout: Duration::from_secs(35 * 60),
            // RFC 1939 section 3: at least 10 minutes.
            pop3_idle_timeout: Duration::from_secs(10 * 60),
            lockout_after: 10,
            lockout_time: Duration::from_secs(5 * 60),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Silence of both sides after which a relayed session of this protocol ends.
    pub fn idle_timeout(&self, protocol: Protocol) -> Duration {
        match protocol {
            Protocol::Smtp => self.smtp_idle_timeout,
            Protocol::Imap => self.imap_idle_timeout,
            Protocol::Pop3 => self.pop3_idle_timeout,
        }
    }
}
