//! Message submission as the client meets it, up to the login: RFC 5321, AUTH of RFC 4954,
//! STARTTLS of RFC 3207.
//!
//! Tolerant where old devices need it: HELO will do, AUTH may come in any case and with trailing
//! blanks, PLAIN and LOGIN in every form seen. Strict where it protects: nothing but a login leads
//! on, three refusals end the session, and so do twenty bad commands.
//!
//! Where nothing is asked, MAIL stands for the login: it is yielded before it is taken, so that it
//! and all that is pipelined behind it reach the upstream, which answers. Only the refusal of a
//! MAIL is said here.

mod command;

use bytes::BytesMut;

pub(in crate::mail) use self::command::is_client_name;
use self::command::{Command, client_name, command, is_auth};
use super::{
    Asks, Ended, Offer, Tally, Tls,
    exchange::{Exchange, Turn},
};
use crate::mail::{
    Credentials, Login, Refusal, RefusalKind, Step,
    sasl::BadResponse,
    wire::{COMMAND_LINE, Framed, peek_line, reply, take_line},
};

/// The server's half of one session before login.
#[derive(Debug)]
pub struct Server {
    offer: Offer,
    state: State,
    client_name: Option<String>,
    tally: Tally,
}

#[derive(Debug)]
enum State {
    Greeting,
    Command,
    Sasl(Exchange),
    /// The client was told to begin TLS.
    StartTls,
    /// A login was yielded; the verdict is awaited.
    Judged,
    /// The MAIL that stood for it was refused; its line is still to be taken.
    MailRefused,
}

impl Server {
    pub(super) fn new(offer: Offer) -> Self {
        Self { offer, state: State::Greeting, client_name: None, tally: Tally::default() }
    }

    pub(super) fn is_secured(&mut self) {
        self.offer.tls = Tls::On;
    }

    pub(super) fn step(&mut self, input: &mut BytesMut) -> Step<Login, Ended> {
        if let Some(ended) = self.tally.ended {
            return Step::Fail(ended);
        }
        match self.state {
            State::Greeting => {
                self.state = State::Command;
                return say(220, &format!("{} ESMTP mailwicket ready", self.offer.host_name));
            }
            State::StartTls => return self.secured(),
            State::Judged => return Step::Read,
            State::Command | State::Sasl(_) | State::MailRefused => {}
        }
        if self.is_mail_next(input) {
            self.state = State::Judged;
            let client_name = self.client_name.clone();
            return Step::Done(Login { credentials: Credentials::Unasked, client_name });
        }
        let auth_line = self.offer.asks.auth_line();
        let is_long = matches!(self.state, State::Sasl(_)) || is_auth(input);
        let limit = if is_long { auth_line } else { COMMAND_LINE };
        let line = match take_line(input, limit) {
            Framed::Line(line) => line,
            Framed::Partial => return Step::Read,
            Framed::TooLong => {
                let code = if is_long { "5.5.6" } else { "5.5.2" };
                let text = format!("{code} Line longer than {limit} octets, closing connection");
                return self.tally.end(reply(500, [text.as_str()]), Ended::LineTooLong);
            }
        };
        match std::mem::replace(&mut self.state, State::Command) {
            State::Sasl(exchange) => self.turn(exchange.answer(&line)),
            State::MailRefused => self.step(input), // it was answered with the verdict
            State::Greeting | State::Command | State::StartTls | State::Judged => {
                self.command(&line, input)
            }
        }
    }

    pub(super) fn answer(&mut self, verdict: Result<(), &Refusal>) -> Vec<u8> {
        let is_asked = self.offer.asks != Asks::Nothing;
        self.state = if is_asked { State::Command } else { State::MailRefused };
        let Err(refusal) = verdict else {
            return if is_asked {
                reply(235, ["2.7.0 Authentication successful"])
            } else {
                Vec::new() // the upstream answers the MAIL
            };
        };
        if !self.tally.refuse() {
            return if is_asked { refused(refusal) } else { mail_refused(refusal) };
        }
        let text = format!("4.7.0 {}; too many failed logins, closing connection", refusal.text);
        reply(421, [text.as_str()])
    }

    pub(super) fn farewell(refusal: &Refusal) -> Vec<u8> {
        refused(refusal)
    }

    /// Whether the next line stands for a login.
    fn is_mail_next(&self, input: &[u8]) -> bool {
        let stands_for_it = self.offer.asks == Asks::Nothing && self.offer.tls != Tls::Required;
        if !stands_for_it || !matches!(self.state, State::Command) {
            return false;
        }
        matches!(peek_line(input, COMMAND_LINE), Framed::Line(line) if command(line) == Command::Mail)
    }

    fn command(&mut self, line: &[u8], input: &mut BytesMut) -> Step<Login, Ended> {
        let command = command(line);
        if self.offer.asks == Asks::Nothing {
            return self.command_unasked(command, input);
        }
        self.common(command, input)
    }

    /// Where nothing is asked, nothing but its order makes a command one of the client's: what a
    /// web page has a browser send, or what somebody wrote into a message, must not become one.
    fn command_unasked(
        &mut self,
        command: Command<'_>,
        input: &mut BytesMut,
    ) -> Step<Login, Ended> {
        match command {
            Command::Bdat | Command::Http => {
                let words = "4.7.0 Only commands belong here, closing connection";
                self.tally.end(reply(421, [words]), Ended::NoCommands)
            }
            other if self.needs_tls(other) => self.tls_first(),
            // Python's smtplib takes 503 as logged in already.
            Command::Auth { .. } => self.error(503, "5.5.1 No login is needed here"),
            Command::Transaction => self.error(503, "5.5.1 MAIL comes first"),
            Command::Help => say(214, "2.0.0 Send mail; no login is needed here"),
            Command::Vrfy => say(252, "2.1.5 Cannot verify a user; send"),
            other => self.common(other, input),
        }
    }

    fn common(&mut self, command: Command<'_>, input: &mut BytesMut) -> Step<Login, Ended> {
        match command {
            other if self.needs_tls(other) => self.tls_first(),
            Command::Ehlo(name) => self.ehlo(name),
            Command::Helo(name) => {
                self.client_name = client_name(name);
                say(250, &self.offer.host_name.clone())
            }
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::StartTls => self.start_tls(input),
            Command::Noop => say(250, "2.0.0 OK"),
            Command::Rset => say(250, "2.0.0 Resetting"),
            Command::Help => say(
                214,
                "2.0.0 Log in with AUTH LOGIN or AUTH PLAIN; all else is answered by the mail server behind",
            ),
            Command::Vrfy => say(252, "2.1.5 Cannot verify a user; log in and send"),
            Command::Quit => self.tally.end(reply(221, ["2.0.0 Closing connection"]), Ended::Quit),
            Command::Mail | Command::Transaction | Command::Bdat => self.error(
                530,
                "5.7.0 Authentication required: log in with AUTH LOGIN or AUTH PLAIN first",
            ),
            Command::Http | Command::Unknown => self.error(500, "5.5.1 Command not recognized"),
        }
    }

    /// Whether a command must wait for TLS. RFC 3207 section 4 would have more of them wait; these
    /// are those that say something about the client or lead on.
    fn needs_tls(&self, command: Command<'_>) -> bool {
        self.offer.tls == Tls::Required
            && matches!(
                command,
                Command::Auth { .. }
                    | Command::Mail
                    | Command::Transaction
                    | Command::Bdat
                    | Command::Vrfy
            )
    }

    fn tls_first(&mut self) -> Step<Login, Ended> {
        self.error(530, "5.7.0 Must issue a STARTTLS command first") // RFC 3207 section 4
    }

    fn start_tls(&mut self, input: &mut BytesMut) -> Step<Login, Ended> {
        match self.offer.tls {
            Tls::Absent => self.error(502, "5.5.1 STARTTLS is not offered here"),
            Tls::On => self.error(503, "5.5.1 TLS is on already"),
            Tls::Offered | Tls::Required if input.is_empty() => {
                self.state = State::StartTls;
                say(220, "2.0.0 Ready to start TLS")
            }
            Tls::Offered | Tls::Required => {
                // Passing: the message itself is not at fault, and a queue keeps it.
                let words = "4.7.0 Nothing may follow STARTTLS, closing connection";
                self.tally.injected(input, reply(421, [words]))
            }
        }
    }

    /// What was learnt in clear is forgotten (RFC 3207 section 4.2); what was done amiss is not.
    fn secured(&mut self) -> Step<Login, Ended> {
        self.state = State::Command;
        self.client_name = None;
        self.offer.tls = Tls::On;
        Step::StartTls
    }

    fn ehlo(&mut self, name: &[u8]) -> Step<Login, Ended> {
        self.client_name = client_name(name);
        let ours = |line: &&String| {
            let keyword = line.split([' ', '=']).next().unwrap_or_default();
            !keyword.eq_ignore_ascii_case("AUTH") && !keyword.eq_ignore_ascii_case("STARTTLS")
        };
        let extensions = self.offer.extensions.iter().filter(ours).map(String::as_str);
        let tls = self.offer.tls.is_offered().then_some("STARTTLS");
        let lines = [self.offer.host_name.as_str()].into_iter().chain(extensions).chain(tls);
        // The second form is the one of before RFC 2554; some devices know no other.
        let auth: &[&str] = match self.offer.asks {
            _ if self.offer.tls == Tls::Required => &[],
            Asks::Password => &["AUTH LOGIN PLAIN", "AUTH=LOGIN PLAIN"],
            Asks::PasswordOrToken => &["AUTH LOGIN PLAIN XOAUTH2 OAUTHBEARER", "AUTH=LOGIN PLAIN"],
            Asks::Nothing => &[],
        };
        Step::Write(reply(250, lines.chain(auth.iter().copied())))
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> Step<Login, Ended> {
        match Exchange::begin(self.offer.asks, mechanism, initial) {
            Some(turn) => self.turn(turn),
            None if self.offer.asks.takes_tokens() => self.error(
                504,
                "5.5.4 Mechanism not supported: use LOGIN, PLAIN, XOAUTH2 or OAUTHBEARER",
            ),
            None => self.error(504, "5.5.4 Mechanism not supported: use LOGIN or PLAIN"),
        }
    }

    fn turn(&mut self, turn: Turn) -> Step<Login, Ended> {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                say(334, challenge)
            }
            Turn::Judge(credentials) => {
                self.state = State::Judged;
                Step::Done(Login { credentials, client_name: self.client_name.clone() })
            }
            Turn::Cancelled => self.error(501, "5.0.0 Authentication cancelled"), // RFC 4954 section 4
            Turn::Bad(bad @ (BadResponse::Base64 | BadResponse::Form | BadResponse::Token)) => {
                self.error(501, &format!("5.5.2 {bad}"))
            }
            Turn::Bad(bad @ (BadResponse::User | BadResponse::Authorization)) => {
                self.error(535, &format!("5.7.8 {bad}"))
            }
        }
    }

    fn error(&mut self, code: u16, text: &str) -> Step<Login, Ended> {
        if self.tally.err() {
            return say(421, "4.7.0 Too many errors, closing connection");
        }
        say(code, text)
    }
}

/// The reply code that makes a client do the right thing about a refusal.
fn refused(refusal: &Refusal) -> Vec<u8> {
    let (code, status) = match refusal.kind {
        RefusalKind::Credentials | RefusalKind::Mailbox => (535, "5.7.8"),
        RefusalKind::Unavailable => (454, "4.7.0"),
        RefusalKind::Busy | RefusalKind::ShuttingDown => (421, "4.3.2"),
        RefusalKind::Deadline => (421, "4.4.2"),
        RefusalKind::NotAllowed => (421, "4.7.0"),
    };
    reply(code, [format!("{status} {}", refusal.text).as_str()])
}

/// The same about a MAIL. A 535 answers AUTH only, and 530 would have the client ask a person for
/// a password that does not exist: 550 (RFC 5321 section 4.2.3) with `X.7.1`, delivery not
/// authorized (RFC 3463 section 3.8), lets the message come back to its sender. 451 keeps it in
/// the client's queue.
fn mail_refused(refusal: &Refusal) -> Vec<u8> {
    let (code, status) = match refusal.kind {
        RefusalKind::Credentials | RefusalKind::Mailbox => (550, "5.7.1"),
        RefusalKind::Unavailable => (451, "4.7.0"),
        RefusalKind::Busy => (451, "4.3.2"),
        RefusalKind::ShuttingDown | RefusalKind::Deadline | RefusalKind::NotAllowed => {
            return refused(refusal);
        }
    };
    reply(code, [format!("{status} {}", refusal.text).as_str()])
}

fn say(code: u16, text: &str) -> Step<Login, Ended> {
    Step::Write(reply(code, [text]))
}
