//! AUTHENTICATE (RFC 3501 section 6.2.2, RFC 4959): XOAUTH2 inline and in two steps, and passwords
//! for the sake of their refusal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::Profile;
use crate::sandbox::exchange_auth::{self, Principal, Service};
use crate::sandbox::imap::cursor::Cursor;
use crate::sandbox::imap::{Member, Next, Session, Told, replies};
use crate::sandbox::wire::Silence;
use crate::sandbox::world::{ImapEnd, ImapFault};

impl Session {
    /// LOGIN, which no password can pass any more.
    pub(super) async fn login(&mut self, tag: &str, mut cursor: Cursor<'_>) -> Told {
        let mut word = || cursor.space().and_then(|()| cursor.astring());
        if word().and_then(|_| word()).is_none() || cursor.end().is_none() {
            return self.reply(tag, replies::ARGUMENT_ERROR).await;
        }
        let refusal = match self.profile {
            Profile::Exo2023 => {
                self.tarpit().await;
                replies::LOGIN_FAILED
            }
            // Before the account is looked up.
            Profile::Exo2026 => replies::BASIC_OFF,
        };
        self.auth_failed(tag, refusal).await
    }

    pub(super) async fn authenticate(&mut self, tag: &str, mut cursor: Cursor<'_>) -> Told {
        let mechanism = cursor.space().and_then(|()| cursor.word()).unwrap_or_default();
        let initial = match cursor.end() {
            Some(()) => None,
            None => cursor.space().and_then(|()| cursor.run(|octet| octet.is_ascii_graphic())),
        };
        let shown = match (mechanism.as_str(), initial) {
            ("XOAUTH2", Some(_)) => "AUTHENTICATE XOAUTH2 <token>",
            ("XOAUTH2", None) => "AUTHENTICATE XOAUTH2",
            ("PLAIN", Some(_)) => "AUTHENTICATE PLAIN <password>",
            ("PLAIN", None) => "AUTHENTICATE PLAIN",
            _ => "AUTHENTICATE <other>",
        };
        self.heard(&format!("{tag} {shown}"));
        self.world.count(|counters| match initial {
            Some(_) => counters.imap_auth_inline += 1,
            None => counters.imap_auth_two_step += 1,
        });
        if mechanism.is_empty() || cursor.end().is_none() || (initial.is_some() && !self.sasl_ir) {
            return self.auth_failed(tag, replies::ARGUMENT_ERROR).await;
        }
        if self.world.strikes(ImapFault::DropOnAuth) {
            return Ok(Next::End);
        }
        match (mechanism.as_str(), self.profile) {
            ("XOAUTH2", _) => self.xoauth2(tag, initial).await,
            ("PLAIN", Profile::Exo2026) => self.auth_failed(tag, replies::BASIC_OFF).await,
            ("PLAIN", Profile::Exo2023) => {
                if initial.is_none() {
                    self.ask("", "<password>").await?;
                }
                self.tarpit().await;
                self.auth_failed(tag, replies::AUTH_FAILED).await
            }
            // The literal is not known.
            _ => self.auth_failed(tag, replies::AUTH_FAILED).await,
        }
    }

    async fn xoauth2(&mut self, tag: &str, initial: Option<&str>) -> Told {
        let response = match initial {
            // An empty initial response is written so (RFC 4959 section 3).
            Some("=") => Vec::new(),
            Some(initial) => initial.as_bytes().to_vec(),
            None => match self.ask("", "<token>").await? {
                Some(response) => response,
                // RFC 3501 wants BAD here; what Exchange Online says is not known.
                None => return self.auth_failed(tag, replies::AUTH_FAILED).await,
            },
        };
        let verdict = exchange_auth::by_token(&self.world, Service::Imap, &response);
        let granted = verdict.ok().filter(|_| !self.world.strikes(ImapFault::RejectToken));
        let Some(principal) = granted else {
            if self.world.strikes(ImapFault::ErrorChallenge) {
                let challenge =
                    r#"{"status":"401","schemes":"bearer","scope":"https://outlook.office.com/"}"#;
                self.ask(&STANDARD.encode(challenge), "").await?;
            }
            self.tarpit().await;
            return self.auth_failed(tag, replies::AUTH_FAILED).await;
        };
        self.admit(tag, principal).await
    }

    /// The token is good; whether the mailbox can be had is another question.
    async fn admit(&mut self, tag: &str, mut principal: Principal) -> Told {
        let (throttled, unavailable) = self.world.directory(|directory| {
            let mailbox = directory.mailbox(&principal.mailbox);
            mailbox.map_or((false, false), |mailbox| (mailbox.throttled, mailbox.unavailable))
        });
        if unavailable || self.world.strikes(ImapFault::ServerUnavailable) {
            return self.auth_failed(tag, replies::UNAVAILABLE).await;
        }
        if throttled || self.world.strikes(ImapFault::ThrottledAuth) {
            self.auth_failed(tag, &format!("NO {}", replies::THROTTLED)).await?;
            return self.end(ImapEnd::Error).await;
        }
        if self.world.strikes(ImapFault::NotConnected) {
            principal.may_open = false;
        }
        if !principal.may_open && self.profile == Profile::Exo2026 {
            return self.auth_failed(tag, &format!("NO {}", replies::NOT_CONNECTED)).await;
        }
        if self.world.strikes(ImapFault::UntaggedBeforeReply) {
            self.send("* OK Still here").await?;
            self.send("* CAPABILITY IMAP4 IMAP4rev1").await?;
        }
        self.member =
            Some(Member { principal, end: self.world.imap_end(), news: self.world.mail_news() });
        self.wire.allow(self.world.tuning().imap_idle);
        self.world.count(|counters| counters.imap_auth_succeeded += 1);
        self.reply(tag, replies::AUTHENTICATED).await
    }

    /// Sends a challenge and reads the answer, which the transcript knows as `masked`; none where
    /// the client cancels.
    async fn ask(&mut self, challenge: &str, masked: &str) -> Result<Option<Vec<u8>>, Silence> {
        if challenge.is_empty() && self.world.strikes(ImapFault::BarePrompt) {
            self.send("+").await?;
        } else {
            self.send(&format!("+ {challenge}")).await?;
        }
        let answer = self.wire.line().await?;
        let cancelled = answer == b"*";
        self.heard(if cancelled { "*" } else { masked });
        Ok((!cancelled).then_some(answer))
    }

    async fn auth_failed(&mut self, tag: &str, reply: &str) -> Told {
        self.world.count(|counters| counters.imap_auth_failed += 1);
        self.reply(tag, reply).await?;
        if self.world.strikes(ImapFault::ByeAfterRefusal) {
            self.send(replies::SIGNING_OFF).await?;
            return Ok(Next::End);
        }
        Ok(Next::Command)
    }
}
