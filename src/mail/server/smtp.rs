//! Message submission as the client meets it, up to the login: RFC 5321, AUTH of RFC 4954.
//!
//! Tolerant where old devices need it: HELO will do, AUTH may come in any case and with trailing
//! blanks, PLAIN and LOGIN in every form seen. Strict where it protects: nothing but a login leads
//! on, three refusals end the session, and so do twenty bad commands.

use core::net::{Ipv4Addr, Ipv6Addr}; // the addresses; the sockets are std's

use bytes::BytesMut;
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag_no_case, take_while1},
    character::complete::{space0, space1},
    combinator::{all_consuming, opt, rest, verify},
    sequence::{preceded, terminated},
};

use super::{
    Ended, Offer, Tally,
    exchange::{Exchange, Turn},
};
use crate::mail::{
    Login, Refusal, RefusalKind, Step,
    sasl::BadResponse,
    wire::{AUTH_LINE, COMMAND_LINE, Framed, reply, take_line},
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
    /// A login was yielded; the verdict is awaited.
    Judged,
}

/// A command line, as far as it matters before login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Command<'a> {
    Ehlo(&'a [u8]),
    Helo(&'a [u8]),
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    StartTls,
    Noop,
    Rset,
    Help,
    Vrfy,
    Quit,
    /// A command that needs a login first.
    Mail,
    Unknown,
}

impl Server {
    pub(super) fn new(offer: Offer) -> Self {
        Self { offer, state: State::Greeting, client_name: None, tally: Tally::default() }
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
            State::Judged => return Step::Read,
            State::Command | State::Sasl(_) => {}
        }
        let limit = if matches!(self.state, State::Command) && !is_auth(input) {
            COMMAND_LINE
        } else {
            AUTH_LINE
        };
        let line = match take_line(input, limit) {
            Framed::Line(line) => line,
            Framed::Partial => return Step::Read,
            Framed::TooLong => {
                let code = if limit == AUTH_LINE { "5.5.6" } else { "5.5.2" };
                let text = format!("{code} Line longer than {limit} octets, closing connection");
                return self.tally.end(reply(500, [text.as_str()]), Ended::LineTooLong);
            }
        };
        match std::mem::replace(&mut self.state, State::Command) {
            State::Sasl(exchange) => self.turn(exchange.answer(&line)),
            State::Greeting | State::Command | State::Judged => self.command(&line),
        }
    }

    pub(super) fn answer(&mut self, verdict: Result<(), &Refusal>) -> Vec<u8> {
        self.state = State::Command;
        let Err(refusal) = verdict else {
            return reply(235, ["2.7.0 Authentication successful"]);
        };
        if !self.tally.refuse() {
            return refused(refusal);
        }
        let text = format!("4.7.0 {}; too many refused logins, closing connection", refusal.text);
        reply(421, [text.as_str()])
    }

    pub(super) fn farewell(refusal: &Refusal) -> Vec<u8> {
        refused(refusal)
    }

    fn command(&mut self, line: &[u8]) -> Step<Login, Ended> {
        match command(line) {
            Command::Ehlo(name) => self.ehlo(name),
            Command::Helo(name) => {
                self.client_name = client_name(name);
                say(250, &self.offer.host_name.clone())
            }
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::StartTls => self.error(502, "5.5.1 STARTTLS is not offered here"),
            Command::Noop => say(250, "2.0.0 OK"),
            Command::Rset => say(250, "2.0.0 Resetting"),
            Command::Help => say(
                214,
                "2.0.0 Log in with AUTH LOGIN or AUTH PLAIN; all else is answered by the mail server behind",
            ),
            Command::Vrfy => say(252, "2.1.5 Cannot verify a user; log in and send"),
            Command::Quit => self.tally.end(reply(221, ["2.0.0 Closing connection"]), Ended::Quit),
            Command::Mail => self.error(
                530,
                "5.7.0 Authentication required: log in with AUTH LOGIN or AUTH PLAIN first",
            ),
            Command::Unknown => self.error(500, "5.5.1 Command not recognized"),
        }
    }

    fn ehlo(&mut self, name: &[u8]) -> Step<Login, Ended> {
        self.client_name = client_name(name);
        let ours = |line: &&String| {
            let keyword = line.split([' ', '=']).next().unwrap_or_default();
            !keyword.eq_ignore_ascii_case("AUTH") && !keyword.eq_ignore_ascii_case("STARTTLS")
        };
        let extensions = self.offer.extensions.iter().filter(ours).map(String::as_str);
        let lines = [self.offer.host_name.as_str()].into_iter().chain(extensions);
        // The second form is the one of before RFC 2554; some devices know no other.
        Step::Write(reply(250, lines.chain(["AUTH LOGIN PLAIN", "AUTH=LOGIN PLAIN"])))
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> Step<Login, Ended> {
        match Exchange::begin(mechanism, initial) {
            Some(turn) => self.turn(turn),
            None => self.error(504, "5.5.4 Mechanism not supported: use LOGIN or PLAIN"),
        }
    }

    fn turn(&mut self, turn: Turn) -> Step<Login, Ended> {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                say(334, challenge)
            }
            Turn::Judge(user, password) => {
                self.state = State::Judged;
                Step::Done(Login { user, password, client_name: self.client_name.clone() })
            }
            Turn::Cancelled => self.error(501, "5.0.0 Authentication cancelled"), // RFC 4954 section 4
            Turn::Bad(bad @ (BadResponse::Base64 | BadResponse::Form)) => {
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
        RefusalKind::Credentials => (535, "5.7.8"),
        RefusalKind::Unavailable => (454, "4.7.0"),
        RefusalKind::Busy | RefusalKind::ShuttingDown => (421, "4.3.2"),
        RefusalKind::Deadline => (421, "4.4.2"),
        RefusalKind::NotAllowed => (421, "4.7.0"),
    };
    reply(code, [format!("{status} {}", refusal.text).as_str()])
}

fn say(code: u16, text: &str) -> Step<Login, Ended> {
    Step::Write(reply(code, [text]))
}

/// Whether a line that is still arriving may be an AUTH command, whose limit is higher.
fn is_auth(input: &[u8]) -> bool {
    input.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}

fn command(line: &[u8]) -> Command<'_> {
    let line = line.trim_ascii();
    let parsed: IResult<_, _> = all_consuming(alt((auth, argument, plain_command))).parse(line);
    parsed.map_or(Command::Unknown, |(_, command)| command)
}

/// `"AUTH" SP sasl-mech [SP (initial-response / "=")]` (RFC 4954 section 4)
fn auth(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let mechanism = preceded((tag_no_case("AUTH"), space1), word);
    let initial = opt(preceded(space1, word));
    (mechanism, initial)
        .map(|(mechanism, initial)| Command::Auth { mechanism, initial })
        .parse(line)
}

/// `"EHLO" SP ( Domain / address-literal )` and `"HELO" SP Domain` (RFC 5321 section 4.1.1.1);
/// some clients leave the argument away.
fn argument(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let name = || preceded(space0, rest);
    alt((
        preceded(verb("EHLO"), name()).map(Command::Ehlo),
        preceded(verb("HELO"), name()).map(Command::Helo),
    ))
    .parse(line)
}

/// A verb and whatever follows it (RFC 5321 section 4.1.1).
fn plain_command(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let known = |name, command| verb(name).map(move |_| command);
    terminated(
        alt((
            known("STARTTLS", Command::StartTls),
            known("NOOP", Command::Noop),
            known("RSET", Command::Rset),
            known("HELP", Command::Help),
            known("VRFY", Command::Vrfy),
            known("QUIT", Command::Quit),
            alt(["MAIL", "RCPT", "DATA", "BDAT", "EXPN", "ETRN", "BURL"].map(verb))
                .map(|_| Command::Mail),
        )),
        rest,
    )
    .parse(line)
}

/// The verb, as a whole word, in any case.
fn verb<'a>(
    name: &'static str,
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> {
    verify(take_while1(|octet: u8| octet.is_ascii_graphic()), move |word: &[u8]| {
        word.eq_ignore_ascii_case(name.as_bytes())
    })
}

fn word(line: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet: u8| octet.is_ascii_graphic()).parse(line)
}

/// The client's name where it is a `Domain` or an `address-literal` (RFC 5321 sections 4.1.2 and
/// 4.1.3); Exchange Online refuses anything else.
fn client_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    is_client_name(name).then(|| name.to_owned())
}

/// See [`client_name`].
pub(in crate::mail) fn is_client_name(name: &str) -> bool {
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match literal.get(..5) {
            Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
                literal[5..].parse::<Ipv6Addr>().is_ok()
            }
            _ => literal.parse::<Ipv4Addr>().is_ok(),
        };
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(label)
}
