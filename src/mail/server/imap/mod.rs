//! IMAP as the client meets it, up to the login: RFC 3501, with SASL-IR (RFC 4959), LITERAL+ (RFC
//! 7888), ID (RFC 2971), STARTTLS and the response codes of RFC 5530.
//!
//! A command is collected whole, literals included, before the grammar sees it; a literal beyond
//! its limit is refused before an octet of it is read. Capabilities are told in the greeting and
//! on request, and agree: ours for the login, the upstream's for the rest, because some clients
//! never ask again after it.

mod command;

use bytes::BytesMut;

use self::command::{Arrived, Arriving, Command, Long};
use super::{
    Ended, Offer, Tally, Tls,
    exchange::{Exchange, Turn},
};
use crate::mail::{
    Credentials, Login, Refusal, RefusalKind, Step,
    sasl::{self, BadResponse},
    wire::{Framed, line, take_line},
};

/// The longest list of capabilities, in octets, so that it fits a reply line.
const CAPABILITIES: usize = 400;
/// What the login here needs; the rest is the upstream's.
const OURS: &str = "IMAP4rev1 LITERAL+ SASL-IR ID";
/// The ways to log in.
const LOGINS: &str = " AUTH=PLAIN AUTH=LOGIN";
/// In their place before TLS where that is required (RFC 3501 section 6.2.1).
const NO_LOGIN: &str = " LOGINDISABLED";
/// Before TLS where it is offered.
const FOR_TLS: &str = " STARTTLS";
/// And where a client may bring a token of its own.
const FOR_TOKENS: &str = " AUTH=XOAUTH2 AUTH=OAUTHBEARER";
/// Capabilities of an upstream that are not passed on before login: what is ours to say, what is
/// no business of a client here (`LOGINDISABLED`), and a protocol that is not spoken here.
const NOT_PASSED_ON: [&str; 11] = [
    "IMAP4",
    "IMAP4rev1",
    "IMAP4rev2",
    "ENABLE",
    "LITERAL+",
    "LITERAL-",
    "SASL-IR",
    "ID",
    "STARTTLS",
    "LOGINDISABLED",
    "UNAUTHENTICATE",
];

/// The server's half of one session before login.
#[derive(Debug)]
pub struct Server {
    offer: Offer,
    state: State,
    tally: Tally,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// A command is arriving.
    Command(Arriving),
    Sasl {
        tag: String,
        exchange: Exchange,
    },
    /// The client was told to begin TLS.
    StartTls,
    /// A login was yielded; the verdict is awaited.
    Judged {
        tag: String,
    },
}

impl Server {
    pub(super) fn new(offer: Offer) -> Self {
        Self { offer, state: State::Greeting, tally: Tally::default() }
    }

    pub(super) fn is_secured(&mut self) {
        self.offer.tls = Tls::On;
    }

    pub(super) fn step(&mut self, input: &mut BytesMut) -> Step<Login, Ended> {
        if let Some(ended) = self.tally.ended {
            return Step::Fail(ended);
        }
        match std::mem::replace(&mut self.state, State::Command(Arriving::default())) {
            State::Greeting => {
                let offered = capabilities(&self.offer);
                let greeting = format!("* OK [CAPABILITY {offered}] mailwicket ready");
                Step::Write(line(&greeting))
            }
            State::Command(arriving) => self.collect(arriving, input),
            State::Sasl { tag, exchange } => match take_line(input, self.offer.asks.auth_line()) {
                Framed::Line(line) => self.turn(tag, exchange.answer(&line)),
                Framed::Partial => {
                    self.state = State::Sasl { tag, exchange };
                    Step::Read
                }
                Framed::TooLong => self.too_long(self.offer.asks.auth_line()),
            },
            State::StartTls => {
                self.offer.tls = Tls::On;
                Step::StartTls
            }
            judged @ State::Judged { .. } => {
                self.state = judged;
                Step::Read
            }
        }
    }

    pub(super) fn answer(&mut self, verdict: Result<(), &Refusal>) -> Vec<u8> {
        let judged = std::mem::replace(&mut self.state, State::Command(Arriving::default()));
        let State::Judged { tag } = judged else {
            return Vec::new(); // there was no login to answer
        };
        let Err(refusal) = verdict else {
            return line(&format!("{tag} OK Logged in"));
        };
        let mut words = line(&format!("{tag} NO {}", refused(refusal)));
        if self.tally.refuse() {
            words.extend(line("* BYE Too many failed logins, closing connection"));
        }
        words
    }

    pub(super) fn farewell(refusal: &Refusal) -> Vec<u8> {
        line(&format!("* BYE {}", refused(refusal)))
    }

    fn collect(&mut self, mut arriving: Arriving, input: &mut BytesMut) -> Step<Login, Ended> {
        match arriving.collect(input, self.offer.asks.auth_line()) {
            Arrived::Whole => self.command(&arriving, input),
            Arrived::Partial => {
                self.state = State::Command(arriving);
                Step::Read
            }
            Arrived::Asks => {
                self.state = State::Command(arriving);
                Step::Write(b"+ Ready\r\n".to_vec())
            }
            Arrived::LineTooLong(limit) => self.too_long(limit),
            Arrived::TooLong { what, asked } => self.beyond(&arriving, what, asked),
        }
    }

    fn command(&mut self, arrived: &Arriving, input: &mut BytesMut) -> Step<Login, Ended> {
        let Some((tag, command)) = arrived.parse() else {
            return self.bad("*", "A command begins with a tag and a blank");
        };
        match command {
            Command::Capability => {
                let told = format!("* CAPABILITY {}", capabilities(&self.offer));
                say([told.as_str(), &format!("{tag} OK CAPABILITY completed")])
            }
            Command::Noop => say([format!("{tag} OK NOOP completed").as_str()]),
            Command::Id => {
                let told = "* ID (\"name\" \"mailwicket\")";
                say([told, &format!("{tag} OK ID completed")])
            }
            Command::Logout => {
                let words =
                    [line("* BYE Closing connection"), line(&format!("{tag} OK LOGOUT completed"))];
                self.tally.end(words.concat(), Ended::Quit)
            }
            Command::Login { .. } | Command::Authenticate { .. } | Command::Malformed
                if self.offer.tls == Tls::Required =>
            {
                self.no(tag, "[PRIVACYREQUIRED] Begin TLS with STARTTLS first") // RFC 5530
            }
            Command::Login { user, password } => {
                let user = sasl::bare_user(&user);
                let turn = match user.and_then(|user| Ok((user, sasl::bare_password(&password)?))) {
                    Ok((user, password)) => Turn::Judge(Credentials::Password { user, password }),
                    Err(bad) => Turn::Bad(bad),
                };
                self.turn(tag.to_owned(), turn)
            }
            Command::Authenticate { mechanism, initial } => {
                match Exchange::begin(self.offer.asks, mechanism, initial) {
                    Some(turn) => self.turn(tag.to_owned(), turn),
                    None if self.offer.asks.takes_tokens() => self.no(
                        tag,
                        "Mechanism not supported: use PLAIN, LOGIN, XOAUTH2 or OAUTHBEARER",
                    ),
                    None => self.no(tag, "Mechanism not supported: use PLAIN or LOGIN"),
                }
            }
            Command::StartTls => self.start_tls(tag, input),
            Command::Malformed => {
                self.bad(tag, "LOGIN takes user and password, AUTHENTICATE a mechanism")
            }
            Command::Other => {
                self.bad(tag, "Log in first, with LOGIN, AUTHENTICATE PLAIN or AUTHENTICATE LOGIN")
            }
        }
    }

    fn start_tls(&mut self, tag: &str, input: &mut BytesMut) -> Step<Login, Ended> {
        match self.offer.tls {
            Tls::Absent => self.bad(tag, "STARTTLS is not offered here"),
            Tls::On => self.bad(tag, "TLS is on already"),
            Tls::Offered | Tls::Required if input.is_empty() => {
                self.state = State::StartTls;
                say([&format!("{tag} OK Begin TLS negotiation now")])
            }
            Tls::Offered | Tls::Required => {
                let words = "* BYE Nothing may follow STARTTLS, closing connection";
                self.tally.injected(input, line(words))
            }
        }
    }

    fn turn(&mut self, tag: String, turn: Turn) -> Step<Login, Ended> {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.state = State::Sasl { tag, exchange };
                say([format!("+ {challenge}").as_str()])
            }
            Turn::Judge(credentials) => {
                self.state = State::Judged { tag };
                Step::Done(Login { credentials, client_name: None })
            }
            Turn::Cancelled => self.bad(&tag, "Authentication cancelled"), // RFC 3501 section 6.2.2
            Turn::Bad(bad @ (BadResponse::Base64 | BadResponse::Form | BadResponse::Token)) => {
                self.bad(&tag, &bad.to_string())
            }
            Turn::Bad(bad @ (BadResponse::User | BadResponse::Authorization)) => {
                self.no(&tag, &format!("[AUTHENTICATIONFAILED] {bad}"))
            }
        }
    }

    fn bad(&mut self, tag: &str, text: &str) -> Step<Login, Ended> {
        self.error(&format!("{tag} BAD {text}"))
    }

    fn no(&mut self, tag: &str, text: &str) -> Step<Login, Ended> {
        self.error(&format!("{tag} NO {text}"))
    }

    fn error(&mut self, reply: &str) -> Step<Login, Ended> {
        if self.tally.err() {
            return say([reply, "* BYE Too many errors, closing connection"]);
        }
        say([reply])
    }

    fn too_long(&mut self, limit: usize) -> Step<Login, Ended> {
        let words = line(&format!("* BYE Line longer than {limit} octets, closing connection"));
        self.tally.end(words, Ended::LineTooLong)
    }

    /// A client that waits to be asked hears no and goes on; one that does not is already sending
    /// (RFC 7888 section 4).
    fn beyond(&mut self, arrived: &Arriving, what: Long, asked: bool) -> Step<Login, Ended> {
        let text = format!("{what}");
        if asked {
            return self.bad(arrived.tag().unwrap_or("*"), &text);
        }
        self.tally.end(line(&format!("* BYE {text}, closing connection")), Ended::LiteralTooLong)
    }
}

/// Response code and words of a refusal (RFC 5530).
fn refused(refusal: &Refusal) -> String {
    let code = match refusal.kind {
        RefusalKind::Credentials => "[AUTHENTICATIONFAILED] ",
        RefusalKind::Mailbox => "[AUTHORIZATIONFAILED] ",
        RefusalKind::Unavailable | RefusalKind::ShuttingDown => "[UNAVAILABLE] ",
        RefusalKind::Busy => "[LIMIT] ",
        RefusalKind::Deadline | RefusalKind::NotAllowed => "",
    };
    format!("{code}{}", refusal.text)
}

/// What is offered here: our own, and of the upstream what there is room for.
fn capabilities(offer: &Offer) -> String {
    let mut offered = OURS.to_owned();
    if offer.tls.is_offered() {
        offered.push_str(FOR_TLS);
    }
    if offer.tls == Tls::Required {
        offered.push_str(NO_LOGIN);
    } else {
        offered.push_str(LOGINS);
        if offer.asks.takes_tokens() {
            offered.push_str(FOR_TOKENS);
        }
    }
    for capability in &offer.extensions {
        let ours = NOT_PASSED_ON.iter().any(|ours| ours.eq_ignore_ascii_case(capability))
            || capability.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("AUTH="));
        let legal = !capability.is_empty() && capability.bytes().all(command::is_astring_octet);
        if legal && !ours && offered.len() + 1 + capability.len() <= CAPABILITIES {
            offered.push(' ');
            offered.push_str(capability);
        }
    }
    offered
}

fn say<const N: usize>(lines: [&str; N]) -> Step<Login, Ended> {
    Step::Write(lines.into_iter().flat_map(line).collect())
}
