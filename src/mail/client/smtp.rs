//! Message submission as mailwicket does it: greeting, EHLO, STARTTLS, EHLO again, AUTH XOAUTH2.
//!
//! RFC 5321, RFC 3207, RFC 4954. The server's replies are read whole, however many lines they
//! have; its policy texts run over a kilobyte. A challenge after the token is a refusal in
//! disguise: it is acknowledged with an empty line, the verdict is awaited, and even a success
//! after it does not count.

use bytes::BytesMut;

use super::{CHALLENGES, Failure, KEPT, Opened, REPLY_LINE, Security, TokenForm, TokenLogin, line};
use crate::mail::{
    Step, sasl,
    server::smtp::is_client_name,
    wire::{AUTH_LINE, Framed, one_line, take_line},
};

/// The most lines of one reply.
const REPLY_LINES: usize = 100;

/// The client's half of one session.
#[derive(Debug)]
pub struct Client {
    login: TokenLogin,
    state: State,
    secure: bool,
    extensions: Vec<String>,
    reply: Reply,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    StartTls,
    /// TLS has been asked for; the next step finds it done.
    Secured,
    /// AUTH without the token was sent.
    AuthPrompt,
    /// The token was sent.
    Verdict {
        inline_octets: Option<usize>,
        detail: Option<String>,
        challenges: u8,
    },
    /// The dialogue is over.
    Over,
}

/// A reply that is arriving.
#[derive(Debug, Default)]
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Client {
    pub(super) fn new(login: TokenLogin) -> Self {
        let secure = login.security == Security::Tls;
        Self {
            login,
            state: State::Greeting,
            secure,
            extensions: Vec::new(),
            reply: Reply::default(),
        }
    }

    pub(super) fn phase(&self) -> &'static str {
        match self.state {
            State::Greeting => "greeting",
            State::Ehlo => "ehlo",
            State::StartTls | State::Secured => "starttls",
            State::AuthPrompt | State::Verdict { .. } | State::Over => "auth",
        }
    }

    pub(super) fn step(&mut self, input: &mut BytesMut) -> Step<Opened, Failure> {
        if matches!(self.state, State::Secured) {
            self.secure = true;
            return self.ehlo();
        }
        match self.read_reply(input) {
            Ok(Some(reply)) => self.proceed(&reply, input),
            Ok(None) => Step::Read,
            Err(what) => self.protocol(what),
        }
    }

    fn proceed(&mut self, reply: &Reply, input: &BytesMut) -> Step<Opened, Failure> {
        let phase = self.phase();
        match (std::mem::replace(&mut self.state, State::Over), reply.code) {
            (State::Greeting, 220) => self.ehlo(),
            (State::Ehlo, 250) => self.greeted(reply),
            (State::StartTls, 220) if !input.is_empty() => Step::Fail(Failure::StartTlsInjection),
            (State::StartTls, 220) => {
                // RFC 3207 section 4.2: what was learnt in clear is forgotten.
                self.extensions.clear();
                self.state = State::Secured;
                Step::StartTls
            }
            (State::AuthPrompt, 334) => self.send_token(),
            (State::AuthPrompt, 500..=599) => rejected(reply, None, None),
            (State::Verdict { detail: None, inline_octets, .. }, 235) => {
                let extensions = std::mem::take(&mut self.extensions);
                Step::Done(Opened { extensions, inline_octets })
            }
            (State::Verdict { inline_octets, detail, .. }, 235 | 500..=599) => {
                rejected(reply, detail, inline_octets)
            }
            (State::Verdict { inline_octets, detail, challenges }, 334)
                if challenges < CHALLENGES =>
            {
                let said = reply.lines.first().and_then(|line| sasl::challenge(line.as_bytes()));
                let detail = Some(detail.or(said).unwrap_or_else(|| "challenged".to_owned()));
                self.state = State::Verdict { inline_octets, detail, challenges: challenges + 1 };
                Step::Write(b"\r\n".to_vec())
            }
            (_, 400..=599) => Step::Fail(Failure::Unavailable { reply: reply.text(), phase }),
            (_, code) => {
                let what = format!("unexpected reply {code}: {}", reply.text());
                Step::Fail(Failure::Protocol { what, phase })
            }
        }
    }

    fn ehlo(&mut self) -> Step<Opened, Failure> {
        self.state = State::Ehlo;
        let name = if is_client_name(&self.login.name) { &self.login.name } else { "[127.0.0.1]" };
        Step::Write(format!("EHLO {name}\r\n").into_bytes())
    }

    fn greeted(&mut self, reply: &Reply) -> Step<Opened, Failure> {
        self.extensions = reply.lines.iter().skip(1).cloned().collect(); // the first says hello
        if self.secure {
            return self.auth();
        }
        if !self.extensions.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
            return Step::Fail(Failure::NoStartTls { offered: self.extensions.join(", ") });
        }
        self.state = State::StartTls;
        Step::Write(b"STARTTLS\r\n".to_vec())
    }

    fn auth(&mut self) -> Step<Opened, Failure> {
        let offered: Vec<_> = self.extensions.iter().filter_map(|line| mechanisms(line)).collect();
        let offered = offered.join(" ");
        if !offered.split(' ').any(|mechanism| mechanism.eq_ignore_ascii_case("XOAUTH2")) {
            return Step::Fail(Failure::NoXoauth2 { offered });
        }
        let Some(token) = sasl::xoauth2(&self.login.user, &self.login.token) else {
            return Step::Fail(Failure::BadUser);
        };
        let octets = "AUTH XOAUTH2 \r\n".len() + token.len();
        if self.login.form == TokenForm::TwoSteps || octets > AUTH_LINE {
            self.state = State::AuthPrompt;
            return Step::Write(b"AUTH XOAUTH2\r\n".to_vec());
        }
        self.state = State::Verdict { inline_octets: Some(octets), detail: None, challenges: 0 };
        Step::Write(line(&["AUTH XOAUTH2 ", &token]))
    }

    fn send_token(&mut self) -> Step<Opened, Failure> {
        let Some(token) = sasl::xoauth2(&self.login.user, &self.login.token) else {
            return Step::Fail(Failure::BadUser);
        };
        self.state = State::Verdict { inline_octets: None, detail: None, challenges: 0 };
        Step::Write(line(&[&token]))
    }

    /// A whole reply, if there is one: `*( code "-" text CRLF ) code [ SP text ] CRLF` (RFC 5321
    /// section 4.2).
    fn read_reply(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, String> {
        loop {
            let line = match take_line(input, REPLY_LINE) {
                Framed::Line(line) => line,
                Framed::Partial => return Ok(None),
                Framed::TooLong => return Err(format!("a reply line beyond {REPLY_LINE} octets")),
            };
            let (code, more, text) = reply_line(&line)
                .ok_or_else(|| format!("not an SMTP reply: {}", one_line(&line, 80)))?;
            if !self.reply.lines.is_empty() && self.reply.code != code {
                return Err(format!("one reply with codes {} and {code}", self.reply.code));
            }
            self.reply.code = code;
            self.reply.lines.push(one_line(text, KEPT));
            if !more {
                return Ok(Some(std::mem::take(&mut self.reply)));
            }
            if self.reply.lines.len() >= REPLY_LINES {
                return Err(format!("a reply of more than {REPLY_LINES} lines"));
            }
        }
    }

    fn protocol(&mut self, what: String) -> Step<Opened, Failure> {
        let phase = self.phase();
        self.state = State::Over;
        Step::Fail(Failure::Protocol { what, phase })
    }
}

impl Reply {
    /// Code and text on one line, for the log.
    fn text(&self) -> String {
        let text = format!("{} {}", self.code, self.lines.join(" / "));
        text.chars().take(KEPT).collect()
    }
}

fn rejected(
    reply: &Reply,
    detail: Option<String>,
    inline_octets: Option<usize>,
) -> Step<Opened, Failure> {
    Step::Fail(Failure::Rejected { reply: reply.text(), detail, inline_octets })
}

/// Code, whether more lines follow, and text.
fn reply_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let in_range = digits.iter().all(u8::is_ascii_digit) && (200..=599).contains(&code);
    match rest.split_first() {
        _ if !in_range => None,
        None => Some((code, false, b"")),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// The mechanisms of an EHLO line `AUTH ...`, or of the old form `AUTH=...`.
fn mechanisms(line: &str) -> Option<&str> {
    let (keyword, rest) = line.split_at_checked(4)?;
    let listed = rest.strip_prefix([' ', '='])?;
    keyword.eq_ignore_ascii_case("AUTH").then_some(listed.trim())
}
