//! The AUTH command (RFC 4954): XOAUTH2 inline and in two steps, and LOGIN for the sake of its
//! refusal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::exchange_auth::{self, Principal, Refusal, Service};
use crate::sandbox::smtp::replies;
use crate::sandbox::smtp::{Next, Session, Told};
use crate::sandbox::wire::Silence;
use crate::sandbox::world::SmtpFault;

/// The longest inline AUTH line that Postfix takes, in octets.
const POSTFIX_LINE: usize = 2048;

type Judged = Result<Result<Principal, Refusal>, Silence>;

impl Session {
    pub(super) async fn auth(&mut self, argument: &str) -> Told {
        let (mechanism, initial) = match argument.split_once(' ') {
            Some((mechanism, initial)) => (mechanism.to_ascii_uppercase(), Some(initial.trim())),
            None => (argument.to_ascii_uppercase(), None),
        };
        let shown = match (mechanism.as_str(), initial) {
            ("XOAUTH2", Some(_)) => "AUTH XOAUTH2 <token>",
            ("XOAUTH2", None) => "AUTH XOAUTH2",
            ("LOGIN", Some(_)) => "AUTH LOGIN <user>",
            ("LOGIN", None) => "AUTH LOGIN",
            _ => "AUTH <other>",
        };
        self.heard(shown);
        self.world.count(|counters| match initial {
            Some(_) => counters.auth_inline += 1,
            None => counters.auth_two_step += 1,
        });
        if self.principal.is_some() {
            return self.auth_failed(&self.voice.error(replies::AUTH_TWICE)).await;
        }
        if !self.secure || !matches!(mechanism.as_str(), "XOAUTH2" | "LOGIN") {
            return self.auth_failed(&self.voice.error(replies::UNKNOWN_MECHANISM)).await;
        }
        if !self.greeted {
            return self.auth_failed(&self.voice.error(replies::HELLO_FIRST)).await;
        }
        if self.world.strikes(SmtpFault::DropOnAuth) {
            return Ok(Next::End);
        }
        let octets = "AUTH ".len() + argument.len();
        if octets > POSTFIX_LINE && self.world.strikes(SmtpFault::ShortAuthLines) {
            return self.auth_failed(replies::SHORT_LINES).await;
        }
        let verdict = if mechanism == "XOAUTH2" {
            self.xoauth2(initial).await?
        } else {
            self.login(initial).await?
        };
        if self.world.strikes(SmtpFault::TemporaryAuthFailure) {
            return self.auth_failed(replies::TEMPORARY_AUTH).await;
        }
        match verdict {
            Ok(principal) => {
                self.open.log_in(&principal.mailbox);
                self.principal = Some(principal);
                self.refusal = None;
                self.world.count(|counters| counters.auth_succeeded += 1);
                self.reply(replies::AUTHENTICATED).await
            }
            Err(refusal) => {
                let refusal = replies::refusal(refusal);
                self.refusal = Some(refusal);
                self.tarpit().await;
                self.auth_failed(&self.voice.error(refusal)).await
            }
        }
    }

    async fn xoauth2(&mut self, initial: Option<&str>) -> Judged {
        let response = match initial {
            Some(initial) => initial.as_bytes().to_vec(),
            None => match self.ask("", "<token>").await? {
                Some(response) => response,
                // RFC 4954 wants 501 here; one implementer has noted 535 at Exchange Online.
                None => return Ok(Err(Refusal::BadToken)),
            },
        };
        let verdict = exchange_auth::by_token(&self.world, Service::Submission, &response);
        let verdict = match verdict {
            Ok(_) if self.world.strikes(SmtpFault::RejectToken) => Err(Refusal::BadToken),
            verdict => verdict,
        };
        if verdict.is_err() && self.world.strikes(SmtpFault::ErrorChallenge) {
            let challenge =
                r#"{"status":"401","schemes":"bearer","scope":"https://outlook.office.com/"}"#;
            self.ask(&STANDARD.encode(challenge), "").await?;
        }
        Ok(verdict)
    }

    async fn login(&mut self, initial: Option<&str>) -> Judged {
        let user = match initial {
            Some(initial) => Some(initial.as_bytes().to_vec()),
            None => self.ask("VXNlcm5hbWU6", "<user>").await?,
        };
        let Some(user) = user else {
            return Ok(Err(Refusal::BadToken));
        };
        let Some(password) = self.ask("UGFzc3dvcmQ6", "<password>").await? else {
            return Ok(Err(Refusal::BadToken));
        };
        Ok(exchange_auth::by_password(&self.world, &user, &password))
    }

    /// Sends a challenge and reads the answer, which the transcript knows as `masked`; none where
    /// the client cancels.
    async fn ask(&mut self, challenge: &str, masked: &str) -> Result<Option<Vec<u8>>, Silence> {
        if challenge.is_empty() && self.world.strikes(SmtpFault::BarePrompt) {
            self.reply("334").await?;
        } else {
            self.reply(&format!("334 {challenge}")).await?;
        }
        let answer = self.wire()?.line().await?;
        let cancelled = answer == b"*";
        self.heard(if cancelled { "*" } else { masked });
        Ok((!cancelled).then_some(answer))
    }

    async fn auth_failed(&mut self, reply: &str) -> Told {
        self.world.count(|counters| counters.auth_failed += 1);
        self.reply(reply).await
    }
}
