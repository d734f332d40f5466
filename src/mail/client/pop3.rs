//! POP3 as mailwicket does it: greeting, then AUTH XOAUTH2 in two lines, always.
//!
//! RFC 1939, RFC 5034. Exchange Online ends the connection where the token comes on the line of the
//! command, so there is no other form here. Since July 2025 it is reported to do the same to tokens
//! of more than 4,096 characters, in two lines too.

use bytes::BytesMut;

use super::{CHALLENGES, Failure, KEPT, Opened, REPLY_LINE, TokenLogin, line};
use crate::mail::{
    Step, sasl,
    wire::{Framed, one_line, take_line},
};

/// The longest token that Exchange Online's POP3 is known to take, in characters (as reported).
const TOKEN: usize = 4096;

/// The client's half of one session.
#[derive(Debug)]
pub struct Client {
    login: TokenLogin,
    state: State,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// AUTH was sent.
    Prompt,
    /// The token was sent.
    Verdict {
        detail: Option<String>,
        challenges: u8,
    },
    /// The dialogue is over.
    Over,
}

impl Client {
    pub(super) fn new(login: TokenLogin) -> Self {
        Self { login, state: State::Greeting }
    }

    pub(super) fn phase(&self) -> &'static str {
        match self.state {
            State::Greeting => "greeting",
            State::Prompt | State::Verdict { .. } | State::Over => "auth",
        }
    }

    pub(super) fn step(&mut self, input: &mut BytesMut) -> Step<Opened, Failure> {
        let line = match take_line(input, REPLY_LINE) {
            Framed::Line(line) => line,
            Framed::Partial => return Step::Read,
            Framed::TooLong => return self.protocol(format!("a line beyond {REPLY_LINE} octets")),
        };
        if starts_with(&line, b"+OK") {
            return self.accepted(&line);
        }
        if starts_with(&line, b"-ERR") {
            return self.refused(one_line(&line, KEPT));
        }
        match line.strip_prefix(b"+") {
            Some(challenge) => self.continued(challenge.trim_ascii()),
            None => self.protocol(format!("not a POP3 reply: {}", one_line(&line, 80))),
        }
    }

    fn accepted(&mut self, reply: &[u8]) -> Step<Opened, Failure> {
        let phase = self.phase();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Greeting => {
                self.state = State::Prompt;
                Step::Write(b"AUTH XOAUTH2\r\n".to_vec())
            }
            State::Verdict { detail: None, .. } => {
                Step::Done(Opened { extensions: Vec::new(), inline_octets: None })
            }
            State::Verdict { detail, .. } => self.rejected(one_line(reply, KEPT), detail),
            State::Prompt | State::Over => {
                let what = format!("unexpected reply: {}", one_line(reply, 80));
                Step::Fail(Failure::Protocol { what, phase })
            }
        }
    }

    fn refused(&mut self, reply: String) -> Step<Opened, Failure> {
        let phase = self.phase();
        match std::mem::replace(&mut self.state, State::Over) {
            _ if is_temporary(&reply) => Step::Fail(Failure::Unavailable { reply, phase }),
            State::Greeting => Step::Fail(Failure::Unavailable { reply, phase }),
            State::Verdict { detail, .. } => self.rejected(reply, detail),
            State::Prompt | State::Over => {
                let what = format!("it does not take AUTH XOAUTH2: {reply}");
                Step::Fail(Failure::Protocol { what, phase })
            }
        }
    }

    fn continued(&mut self, challenge: &[u8]) -> Step<Opened, Failure> {
        let phase = self.phase();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Prompt => {
                let Some(token) = sasl::xoauth2(&self.login.user, &self.login.token) else {
                    return Step::Fail(Failure::BadUser);
                };
                self.state = State::Verdict { detail: None, challenges: 0 };
                Step::Write(line(&[&token]))
            }
            State::Verdict { detail, challenges } if challenges < CHALLENGES => {
                let said = detail.or_else(|| sasl::challenge(challenge));
                let detail = Some(said.unwrap_or_else(|| "challenged".to_owned()));
                self.state = State::Verdict { detail, challenges: challenges + 1 };
                Step::Write(b"\r\n".to_vec())
            }
            _ => {
                let what = format!("unexpected continuation: + {}", one_line(challenge, 80));
                Step::Fail(Failure::Protocol { what, phase })
            }
        }
    }

    fn rejected(&self, reply: String, detail: Option<String>) -> Step<Opened, Failure> {
        let characters = sasl::token_length(&self.login.token);
        Step::Fail(if characters > TOKEN && is_offence(&reply) {
            Failure::TokenTooLong { reply, characters, limit: TOKEN }
        } else {
            Failure::Rejected { reply, detail, inline_octets: None }
        })
    }

    fn protocol(&mut self, what: String) -> Step<Opened, Failure> {
        let phase = self.phase();
        self.state = State::Over;
        Step::Fail(Failure::Protocol { what, phase })
    }
}

fn starts_with(line: &[u8], status: &[u8]) -> bool {
    line.get(..status.len()).is_some_and(|start| start.eq_ignore_ascii_case(status))
}

/// Whether a refusal passes by itself: by its response code (RFC 2449 section 8, RFC 3206), or in
/// Exchange's words, which come without one.
fn is_temporary(reply: &str) -> bool {
    let reply = reply.to_ascii_lowercase();
    ["[sys/temp]", "[in-use]", "[login-delay]", "server unavailable", "throttled"]
        .iter()
        .any(|words| reply.contains(words))
}

/// How Exchange Online takes offence at what is too long for it (as reported).
fn is_offence(reply: &str) -> bool {
    reply.to_ascii_lowercase().contains("protocol error")
}
