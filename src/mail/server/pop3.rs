//! POP3 as the client meets it, up to the login: RFC 1939, CAPA of RFC 2449, AUTH of RFC 5034, STLS
//! of RFC 2595, the response codes of RFC 3206.
//!
//! USER and PASS as well as SASL, all of it pipelined where a client likes. The greeting has no
//! timestamp, so that no client tries APOP: a digest of the password is of no use here.

use bytes::BytesMut;
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag_no_case, take_while1},
    character::complete::{char, space0, space1},
    combinator::{all_consuming, map, opt, rest},
    sequence::{preceded, terminated},
};

use super::{
    Ended, Offer, Tally, Tls,
    exchange::{Exchange, Turn},
};
use crate::mail::{
    Credentials, Login, Refusal, RefusalKind, Step,
    sasl::{self, BadResponse},
    wire::{COMMAND_LINE, Framed, line, take_line},
};

/// The server's half of one session before login.
#[derive(Debug)]
pub struct Server {
    offer: Offer,
    state: State,
    /// The name that USER gave; it waits for PASS, whatever comes between.
    user: Option<String>,
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
}

/// A command line, as far as it matters before login.
enum Command<'a> {
    Capa,
    User(&'a [u8]),
    Pass(&'a [u8]),
    /// AUTH without a mechanism asks for a list of them, as servers before RFC 5034 gave it.
    Mechanisms,
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    Apop,
    StartTls,
    Noop,
    Quit,
    /// A command that needs a login first.
    Transaction,
    Unknown,
}

impl Server {
    pub(super) fn new(offer: Offer) -> Self {
        Self { offer, state: State::Greeting, user: None, tally: Tally::default() }
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
                return say(["+OK mailwicket POP3 ready"]);
            }
            State::StartTls => return self.secured(),
            State::Judged => return Step::Read,
            State::Command | State::Sasl(_) => {}
        }
        let limit = if matches!(self.state, State::Command) && !is_auth(input) {
            COMMAND_LINE
        } else {
            self.offer.asks.auth_line()
        };
        let line = match take_line(input, limit) {
            Framed::Line(line) => line,
            Framed::Partial => return Step::Read,
            Framed::TooLong => {
                let text = format!("-ERR Line longer than {limit} octets, closing connection");
                return self.tally.end(reply([&text]), Ended::LineTooLong);
            }
        };
        match std::mem::replace(&mut self.state, State::Command) {
            State::Sasl(exchange) => self.turn(exchange.answer(&line)),
            State::Greeting | State::Command | State::StartTls | State::Judged => {
                self.command(&line, input)
            }
        }
    }

    pub(super) fn answer(&mut self, verdict: Result<(), &Refusal>) -> Vec<u8> {
        self.state = State::Command;
        let Err(refusal) = verdict else {
            return reply(["+OK Logged in"]);
        };
        if !self.tally.refuse() {
            return Self::farewell(refusal);
        }
        reply([&format!("{}; too many failed logins, closing connection", refused(refusal))])
    }

    pub(super) fn farewell(refusal: &Refusal) -> Vec<u8> {
        reply([&refused(refusal)])
    }

    fn command(&mut self, line: &[u8], input: &mut BytesMut) -> Step<Login, Ended> {
        match command(line) {
            Command::User(_) | Command::Pass(_) | Command::Mechanisms | Command::Auth { .. }
                if self.offer.tls == Tls::Required =>
            {
                self.error("-ERR Begin TLS with STLS first")
            }
            Command::Capa => self.capa(),
            Command::User(name) => match sasl::bare_user(name) {
                Ok(user) => {
                    self.user = Some(user);
                    say(["+OK"])
                }
                Err(bad) => self.error(&format!("-ERR [AUTH] {bad}")),
            },
            Command::Pass(password) => match (self.user.take(), sasl::bare_password(password)) {
                (Some(user), Ok(password)) => {
                    self.turn(Turn::Judge(Credentials::Password { user, password }))
                }
                (None, _) => self.error("-ERR USER comes before PASS"),
                (_, Err(bad)) => self.turn(Turn::Bad(bad)),
            },
            Command::Mechanisms => Self::list(self.mechanisms().split(' ')),
            Command::Auth { mechanism, initial } => {
                match Exchange::begin(self.offer.asks, mechanism, initial) {
                    Some(turn) => self.turn(turn),
                    None if self.offer.asks.takes_tokens() => self.error(
                        "-ERR Mechanism not supported: use PLAIN, LOGIN, XOAUTH2 or OAUTHBEARER",
                    ),
                    None => self.error("-ERR Mechanism not supported: use PLAIN or LOGIN"),
                }
            }
            Command::Apop => self.error("-ERR APOP is not supported: use USER and PASS"),
            Command::StartTls => self.start_tls(input),
            Command::Noop => say(["+OK"]),
            Command::Quit => self.tally.end(reply(["+OK Closing connection"]), Ended::Quit),
            Command::Transaction => self.error("-ERR Log in first, with USER and PASS"),
            Command::Unknown => self.error("-ERR Command not recognized"),
        }
    }

    fn capa(&self) -> Step<Login, Ended> {
        let offered = self.offer.extensions.iter().map(String::as_str);
        let sasl = format!("SASL {}", self.mechanisms());
        let logins = ["USER", sasl.as_str()];
        let logins: &[_] = if self.offer.tls == Tls::Required { &[] } else { &logins };
        let tls = self.offer.tls.is_offered().then_some("STLS");
        let ours = logins.iter().copied().chain(["RESP-CODES", "AUTH-RESP-CODE"]).chain(tls);
        Self::list(offered.chain(ours))
    }

    fn start_tls(&mut self, input: &mut BytesMut) -> Step<Login, Ended> {
        match self.offer.tls {
            Tls::Absent => self.error("-ERR STLS is not offered here"),
            Tls::On => self.error("-ERR TLS is on already"),
            Tls::Offered | Tls::Required if input.is_empty() => {
                self.state = State::StartTls;
                say(["+OK Begin TLS negotiation"])
            }
            Tls::Offered | Tls::Required => {
                let words = "-ERR Nothing may follow STLS, closing connection";
                self.tally.injected(input, reply([words]))
            }
        }
    }

    /// What was said in clear is forgotten (RFC 2595 section 4); what was done amiss is not.
    fn secured(&mut self) -> Step<Login, Ended> {
        self.state = State::Command;
        self.user = None;
        self.offer.tls = Tls::On;
        Step::StartTls
    }

    /// A multi-line response (RFC 1939 section 3); none of its lines begins with a dot.
    fn list<'a>(lines: impl Iterator<Item = &'a str>) -> Step<Login, Ended> {
        Step::Write(["+OK"].into_iter().chain(lines).chain(["."]).flat_map(line).collect())
    }

    fn mechanisms(&self) -> &'static str {
        if self.offer.asks.takes_tokens() {
            "PLAIN LOGIN XOAUTH2 OAUTHBEARER"
        } else {
            "PLAIN LOGIN"
        }
    }

    fn turn(&mut self, turn: Turn) -> Step<Login, Ended> {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                say([format!("+ {challenge}").as_str()])
            }
            Turn::Judge(credentials) => {
                self.state = State::Judged;
                Step::Done(Login { credentials, client_name: None })
            }
            Turn::Cancelled => self.error("-ERR Authentication cancelled"), // RFC 5034 section 4
            Turn::Bad(bad @ (BadResponse::Base64 | BadResponse::Form | BadResponse::Token)) => {
                self.error(&format!("-ERR {bad}"))
            }
            Turn::Bad(bad @ (BadResponse::User | BadResponse::Authorization)) => {
                self.error(&format!("-ERR [AUTH] {bad}"))
            }
        }
    }

    fn error(&mut self, text: &str) -> Step<Login, Ended> {
        if self.tally.err() {
            return say(["-ERR Too many errors, closing connection"]);
        }
        say([text])
    }
}

/// Status, response code and words of a refusal (RFC 2449 section 8, RFC 3206).
fn refused(refusal: &Refusal) -> String {
    let code = match refusal.kind {
        RefusalKind::Credentials | RefusalKind::Mailbox => "[AUTH]",
        // fetchmail knows no [SYS/TEMP]: without these words it takes an outage for a refused
        // password, and may stop asking for mail.
        RefusalKind::Unavailable | RefusalKind::ShuttingDown | RefusalKind::Deadline => {
            "[SYS/TEMP] Service unavailable:"
        }
        RefusalKind::Busy => "[IN-USE]",
        RefusalKind::NotAllowed => "[SYS/PERM]",
    };
    format!("-ERR {code} {}", refusal.text)
}

fn say<const N: usize>(lines: [&str; N]) -> Step<Login, Ended> {
    Step::Write(reply(lines))
}

fn reply<const N: usize>(lines: [&str; N]) -> Vec<u8> {
    lines.into_iter().flat_map(line).collect()
}

/// Whether a line that is still arriving may be an AUTH command, whose limit is higher.
fn is_auth(input: &[u8]) -> bool {
    input.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}

fn command(line: &[u8]) -> Command<'_> {
    let parsed: IResult<_, _> = all_consuming(alt((pass, auth, other))).parse(line);
    parsed.map_or(Command::Unknown, |(_, command)| command)
}

/// `"PASS" SP string`: one argument, all of it, blanks too (RFC 1939 section 7).
fn pass(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    preceded((tag_no_case("PASS"), char(' ')), rest).map(Command::Pass).parse(line)
}

/// `"AUTH" [SP mechanism [SP (initial-response / "=")]]` (RFC 5034 section 4)
fn auth(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let word = || preceded(space1, take_while1(|octet: u8| octet.is_ascii_graphic()));
    let named =
        map((word(), opt(word())), |(mechanism, initial)| Command::Auth { mechanism, initial });
    let arguments = map(opt(named), |named| named.unwrap_or(Command::Mechanisms));
    terminated(preceded(tag_no_case("AUTH"), arguments), space0).parse(line)
}

/// A keyword and whatever follows it (RFC 1939 section 3).
fn other(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let (arguments, verb) = take_while1(|octet: u8| octet.is_ascii_graphic()).parse(line)?;
    let command = match verb.to_ascii_uppercase().as_slice() {
        b"USER" => Command::User(arguments.trim_ascii()),
        b"CAPA" => Command::Capa,
        b"APOP" => Command::Apop,
        b"STLS" => Command::StartTls,
        b"NOOP" => Command::Noop,
        b"QUIT" => Command::Quit,
        b"STAT" | b"LIST" | b"RETR" | b"DELE" | b"RSET" | b"TOP" | b"UIDL" | b"LAST" => {
            Command::Transaction
        }
        _ => Command::Unknown,
    };
    Ok((&[], command))
}
