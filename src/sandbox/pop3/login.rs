//! The AUTH command of POP3 (RFC 5034): XOAUTH2 in two lines, and passwords for the sake of their
//! refusal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::Profile;
use crate::sandbox::exchange_auth::{self, Service};
use crate::sandbox::pop3::maildrop::Maildrop;
use crate::sandbox::pop3::{Next, Session, Told, replies};
use crate::sandbox::wire::Silence;
use crate::sandbox::world::Pop3Fault;

/// A longer token is a protocol error since July 2025.
const TOKEN_LIMIT: usize = 4096;

impl Session {
    pub(super) async fn auth(&mut self, argument: &str) -> Told {
        let (mechanism, initial) = match argument.split_once(' ') {
            Some((mechanism, initial)) => (mechanism.to_ascii_uppercase(), Some(initial.trim())),
            None => (argument.to_ascii_uppercase(), None),
        };
        let shown = match (mechanism.as_str(), initial) {
            ("XOAUTH2", Some(_)) => "AUTH XOAUTH2 <token>",
            ("XOAUTH2", None) => "AUTH XOAUTH2",
            ("PLAIN", Some(_)) => "AUTH PLAIN <password>",
            ("PLAIN", None) => "AUTH PLAIN",
            _ => "AUTH <other>",
        };
        self.heard(shown);
        if self.world.strikes(Pop3Fault::DropOnAuth) {
            return Ok(Next::End);
        }
        match (mechanism.as_str(), self.profile) {
            ("PLAIN", Profile::Exo2023) => {
                if initial.is_none() && self.ask("", "<password>").await?.is_none() {
                    return self.auth_failed(replies::AUTH_FAILED).await;
                }
                self.basic_refused().await
            }
            ("PLAIN", Profile::Exo2026) => self.basic_refused().await,
            ("XOAUTH2", _) => self.xoauth2(initial).await,
            _ => self.auth_failed(replies::UNKNOWN).await,
        }
    }

    async fn xoauth2(&mut self, initial: Option<&str>) -> Told {
        let one_line = initial.is_some() && self.profile == Profile::Exo2026;
        if one_line || self.world.strikes(Pop3Fault::ProtocolError) {
            self.auth_failed(replies::PROTOCOL_ERROR).await?;
            return Ok(Next::End);
        }
        let response = match initial {
            Some(initial) => initial.as_bytes().to_vec(),
            None => match self.ask("", "<token>").await? {
                Some(response) => response,
                None => return self.auth_failed(replies::AUTH_FAILED).await,
            },
        };
        let too_long = exchange_auth::read_response(&response)
            .is_some_and(|(_, token)| token.len() > TOKEN_LIMIT);
        if too_long && self.profile == Profile::Exo2026 {
            self.auth_failed(replies::PROTOCOL_ERROR).await?;
            return Ok(Next::End);
        }
        let verdict = exchange_auth::by_token(&self.world, Service::Pop3, &response);
        // Whatever is wrong, POP3 says the same.
        let principal = verdict
            .ok()
            .filter(|principal| principal.may_open && !self.world.strikes(Pop3Fault::RejectToken));
        let Some(principal) = principal else {
            if self.world.strikes(Pop3Fault::ErrorChallenge) {
                let challenge =
                    r#"{"status":"401","schemes":"bearer","scope":"https://outlook.office.com/"}"#;
                self.ask(&STANDARD.encode(challenge), "").await?;
            }
            self.tarpit().await;
            return self.auth_failed(replies::AUTH_FAILED).await;
        };
        let away = self.world.directory(|directory| {
            directory
                .mailbox(&principal.mailbox)
                .is_some_and(|mailbox| mailbox.throttled || mailbox.unavailable)
        });
        if away || self.world.strikes(Pop3Fault::TemporaryFailure) {
            return self.auth_failed(replies::TEMPORARY).await;
        }
        if self.world.strikes(Pop3Fault::InUse) {
            return self.auth_failed(replies::IN_USE).await;
        }
        self.drop = Some(Maildrop::open(&self.world, &principal.mailbox));
        self.wire.allow(self.world.tuning().pop3_idle);
        self.world.count(|counters| counters.pop3_auth_succeeded += 1);
        self.reply(replies::AUTHENTICATED).await
    }

    pub(super) async fn basic_refused(&mut self) -> Told {
        self.tarpit().await;
        self.auth_failed(replies::basic_refused(self.profile)).await
    }

    /// Sends a challenge and reads the answer, which the transcript knows as `masked`; none where
    /// the client cancels.
    async fn ask(&mut self, challenge: &str, masked: &str) -> Result<Option<Vec<u8>>, Silence> {
        if challenge.is_empty() && self.world.strikes(Pop3Fault::BarePrompt) {
            self.reply("+").await?;
        } else {
            self.reply(&format!("+ {challenge}")).await?;
        }
        let answer = self.wire.line().await?;
        let cancelled = answer == b"*";
        self.heard(if cancelled { "*" } else { masked });
        Ok((!cancelled).then_some(answer))
    }

    async fn auth_failed(&mut self, reply: &str) -> Told {
        self.world.count(|counters| counters.pop3_auth_failed += 1);
        self.reply(reply).await
    }
}
