//! IMAP as mailwicket does it: greeting, CAPABILITY where the greeting has none, AUTHENTICATE
//! XOAUTH2.
//!
//! RFC 3501, RFC 4959; codes of RFC 5530. Exchange Online's front ends differ in their words and
//! never tell capabilities unasked, so nothing rests on a greeting's text, and untagged lines may
//! come anywhere. A challenge after the token is a refusal in disguise, as in SMTP.

use bytes::BytesMut;

use super::{CHALLENGES, Failure, KEPT, Opened, REPLY_LINE, TokenForm, TokenLogin, line};
use crate::mail::{
    Step, sasl,
    wire::{Framed, one_line, take_line},
};

/// The longest command line with the token on it, in octets. Dovecot takes 5,400 and hangs up at
/// 12,000 (as observed); Exchange Server's default is 10,240.
const INLINE: usize = 4096;

/// The client's half of one session.
#[derive(Debug)]
pub struct Client {
    login: TokenLogin,
    state: State,
    /// The number of the last tag.
    commands: u8,
    capabilities: Option<Vec<String>>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Capability,
    /// AUTHENTICATE without the token was sent.
    Prompt,
    /// The token was sent.
    Verdict {
        inline_octets: Option<usize>,
        detail: Option<String>,
        challenges: u8,
    },
    /// The dialogue is over.
    Over,
}

/// A line of the server (RFC 3501 section 7).
enum Response<'a> {
    Untagged(&'a [u8]),
    Continue(&'a [u8]),
    /// For our command: whether OK, NO or BAD, and all of it for the log.
    Tagged(Status, String),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Status {
    Ok,
    No,
    Bad,
}

impl Client {
    pub(super) fn new(login: TokenLogin) -> Self {
        Self { login, state: State::Greeting, commands: 0, capabilities: None }
    }

    pub(super) fn phase(&self) -> &'static str {
        match self.state {
            State::Greeting => "greeting",
            State::Capability => "capability",
            State::Prompt | State::Verdict { .. } | State::Over => "auth",
        }
    }

    pub(super) fn step(&mut self, input: &mut BytesMut) -> Step<Opened, Failure> {
        loop {
            let line = match take_line(input, REPLY_LINE) {
                Framed::Line(line) => line,
                Framed::Partial => return Step::Read,
                Framed::TooLong => {
                    return self.protocol(format!("a line beyond {REPLY_LINE} octets"));
                }
            };
            if line.ends_with(b"}") {
                return self.protocol("a literal before the login".to_owned());
            }
            let step = match self.response(&line) {
                None => self.protocol(format!("not a response to us: {}", one_line(&line, 80))),
                Some(Response::Untagged(text)) => match self.untagged(text) {
                    Some(step) => step,
                    None => continue,
                },
                Some(Response::Continue(text)) => self.continued(text),
                Some(Response::Tagged(status, text)) => self.completed(status, text),
            };
            return step;
        }
    }

    /// What an untagged line leads to, if to anything: as a rule they are news of no interest.
    fn untagged(&mut self, text: &[u8]) -> Option<Step<Opened, Failure>> {
        let said = one_line(text, KEPT);
        let (kind, rest) = said.split_once(' ').unwrap_or((&said, ""));
        if kind.eq_ignore_ascii_case("CAPABILITY") {
            self.capabilities = Some(words(rest));
            return None;
        }
        if kind.eq_ignore_ascii_case("BYE") {
            let phase = self.phase();
            self.state = State::Over;
            return Some(Step::Fail(Failure::Unavailable { reply: said, phase }));
        }
        self.learn(rest);
        if !matches!(self.state, State::Greeting) {
            return None;
        }
        Some(match kind {
            _ if kind.eq_ignore_ascii_case("OK") && self.capabilities.is_some() => {
                self.authenticate()
            }
            _ if kind.eq_ignore_ascii_case("OK") => {
                self.state = State::Capability;
                Step::Write(format!("{} CAPABILITY\r\n", self.next_tag()).into_bytes())
            }
            _ if kind.eq_ignore_ascii_case("PREAUTH") => self.protocol(
                "it says PREAUTH, so it takes everybody for somebody; whose mailbox is that?"
                    .to_owned(),
            ),
            _ => self.protocol(format!("not a greeting: {}", one_line(text, 80))),
        })
    }

    fn continued(&mut self, text: &[u8]) -> Step<Opened, Failure> {
        let phase = self.phase();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Prompt => self.send_token(),
            State::Verdict { inline_octets, detail, challenges } if challenges < CHALLENGES => {
                let said = detail.or_else(|| sasl::challenge(text));
                let detail = Some(said.unwrap_or_else(|| "challenged".to_owned()));
                self.state = State::Verdict { inline_octets, detail, challenges: challenges + 1 };
                Step::Write(b"\r\n".to_vec())
            }
            _ => {
                let what = format!("unexpected continuation: + {}", one_line(text, 80));
                Step::Fail(Failure::Protocol { what, phase })
            }
        }
    }

    fn completed(&mut self, status: Status, reply: String) -> Step<Opened, Failure> {
        let phase = self.phase();
        match (std::mem::replace(&mut self.state, State::Over), status) {
            (State::Capability, Status::Ok) => self.authenticate(),
            (State::Verdict { detail: None, inline_octets, .. }, Status::Ok) => {
                let extensions = self.capabilities.take().unwrap_or_default();
                Step::Done(Opened { extensions, inline_octets })
            }
            // RFC 4959 section 3: a server without SASL-IR says BAD, whatever it has announced.
            (State::Verdict { inline_octets: Some(_), detail: None, .. }, Status::Bad)
                if !is_not_connected(&reply) =>
            {
                self.prompt()
            }
            (_, Status::No | Status::Bad) if is_temporary(&reply) => {
                Step::Fail(Failure::Unavailable { reply, phase })
            }
            (State::Verdict { inline_octets, detail, .. }, Status::Ok | Status::No) => {
                Step::Fail(Failure::Rejected { reply, detail, inline_octets })
            }
            (State::Prompt, Status::No) => {
                Step::Fail(Failure::Rejected { reply, detail: None, inline_octets: None })
            }
            (State::Verdict { inline_octets, detail, .. }, Status::Bad)
                if is_not_connected(&reply) =>
            {
                Step::Fail(Failure::Rejected { reply, detail, inline_octets })
            }
            _ => {
                let what = format!("unexpected reply: {reply}");
                Step::Fail(Failure::Protocol { what, phase })
            }
        }
    }

    fn authenticate(&mut self) -> Step<Opened, Failure> {
        let offered = self.capabilities.as_deref().unwrap_or_default();
        let offers = |name: &str| offered.iter().any(|word| word.eq_ignore_ascii_case(name));
        if !offers("AUTH=XOAUTH2") {
            let offered = offered.join(" ");
            self.state = State::Over;
            return Step::Fail(Failure::NoXoauth2 { offered });
        }
        if self.login.form == TokenForm::TwoSteps || !offers("SASL-IR") {
            return self.prompt();
        }
        let Some(token) = sasl::xoauth2(&self.login.user, &self.login.token) else {
            return Step::Fail(Failure::BadUser);
        };
        let octets = "M2 AUTHENTICATE XOAUTH2 \r\n".len() + token.len();
        if octets > INLINE {
            return self.prompt();
        }
        self.state = State::Verdict { inline_octets: Some(octets), detail: None, challenges: 0 };
        Step::Write(line(&[&self.next_tag(), " AUTHENTICATE XOAUTH2 ", &token]))
    }

    fn prompt(&mut self) -> Step<Opened, Failure> {
        self.state = State::Prompt;
        Step::Write(format!("{} AUTHENTICATE XOAUTH2\r\n", self.next_tag()).into_bytes())
    }

    fn send_token(&mut self) -> Step<Opened, Failure> {
        let Some(token) = sasl::xoauth2(&self.login.user, &self.login.token) else {
            return Step::Fail(Failure::BadUser);
        };
        self.state = State::Verdict { inline_octets: None, detail: None, challenges: 0 };
        Step::Write(line(&[&token]))
    }

    fn response<'a>(&mut self, line: &'a [u8]) -> Option<Response<'a>> {
        if let Some(text) = line.strip_prefix(b"* ") {
            return Some(Response::Untagged(text));
        }
        if let Some(text) = line.strip_prefix(b"+") {
            return Some(Response::Continue(text.trim_ascii()));
        }
        let rest = line.strip_prefix(format!("M{} ", self.commands).as_bytes())?;
        let reply = one_line(rest, KEPT);
        let (status, text) = reply.split_once(' ').unwrap_or((&reply, ""));
        let status = match status.to_ascii_uppercase().as_str() {
            "OK" => Status::Ok,
            "NO" => Status::No,
            "BAD" => Status::Bad,
            _ => return None,
        };
        self.learn(text);
        Some(Response::Tagged(status, reply))
    }

    /// `[CAPABILITY ...]` may stand in any status response (RFC 3501 section 7.1).
    fn learn(&mut self, text: &str) {
        let code = text.strip_prefix('[').and_then(|text| text.split_once(']'));
        let listed = code.and_then(|(code, _)| code.split_once(' '));
        if let Some((_, listed)) =
            listed.filter(|(name, _)| name.eq_ignore_ascii_case("CAPABILITY"))
        {
            self.capabilities = Some(words(listed));
        }
    }

    fn next_tag(&mut self) -> String {
        self.commands += 1; // at most three
        format!("M{}", self.commands)
    }

    fn protocol(&mut self, what: String) -> Step<Opened, Failure> {
        let phase = self.phase();
        self.state = State::Over;
        Step::Fail(Failure::Protocol { what, phase })
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Whether a refusal passes by itself: by its response code, or in Exchange's words, which come
/// without one.
pub(super) fn is_temporary(reply: &str) -> bool {
    let reply = reply.to_ascii_lowercase();
    ["[unavailable]", "[limit]", "[inuse]", "[serverbug]", "server unavailable", "throttled"]
        .iter()
        .any(|words| reply.contains(words))
}

/// The token is good and opens no mailbox: a refusal, whatever the status.
pub(super) fn is_not_connected(reply: &str) -> bool {
    reply.to_ascii_lowercase().contains("authenticated but not connected")
}
