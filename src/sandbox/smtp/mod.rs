//! Exchange Online's submission server: greeting, STARTTLS, XOAUTH2, envelope and message
//! (RFC 5321, 3207, 4954, 3030), in the order and with the words of the real one.
//!
//! This file is the dialogue up to the envelope; [`delivery`] takes the message in, [`auth`]
//! decides who may log in, [`replies`] has the words.

mod auth;
mod delivery;
mod message;
mod replies;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::sandbox::Profile;
use crate::sandbox::smtp::auth::Principal;
use crate::sandbox::smtp::message::Envelope;
use crate::sandbox::smtp::replies::Voice;
use crate::sandbox::smtp::wire::{Silence, Wire};
use crate::sandbox::world::{Fault, SmtpFault, Speaker, World};

/// The longest inline AUTH line that Postfix takes, in octets.
const POSTFIX_LINE: usize = 2048;
/// Documented default for one message.
const RECIPIENTS: usize = 500;

/// The submission server.
pub(super) struct Server {
    world: World,
    acceptor: TlsAcceptor,
    profile: Profile,
    sessions: AtomicU64,
}

impl Server {
    pub(super) fn new(world: World, acceptor: TlsAcceptor, profile: Profile) -> Self {
        Self {
            world,
            acceptor,
            profile,
            sessions: AtomicU64::new(0),
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let tuning = self.world.tuning();
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let starttls = if self.world.strikes(SmtpFault::NoStartTls) {
            None
        } else if self.world.strikes(SmtpFault::MangledStartTls) {
            Some("XXXXXXXA")
        } else {
            Some("STARTTLS")
        };
        let mut session = Session {
            open: Open::new(&self.world, number),
            world: self.world.clone(),
            voice: Voice::new(self.profile, tuning.clock_offset),
            wire: None,
            peer,
            starttls,
            secure: false,
            greeted: false,
            principal: None,
            refusal: None,
            envelope: None,
        };
        session.wire = Some(Wire::new(stream, tuning.idle));
        // How a session ends matters to the client only.
        let _ = session.run(&self.acceptor).await;
        if let Some(mut wire) = session.wire.take() {
            wire.close().await;
        }
        Ok(())
    }
}

/// Counts a session for as long as it lives, also where its task is cut off.
struct Open {
    world: World,
    number: u64,
    mailbox: Option<String>,
}

impl Open {
    fn new(world: &World, number: u64) -> Self {
        world.count(|counters| {
            counters.smtp_sessions += 1;
            counters.smtp_open += 1;
        });
        Self {
            world: world.clone(),
            number,
            mailbox: None,
        }
    }

    fn log_in(&mut self, mailbox: &str) {
        self.world.open_submission(mailbox, self.number);
        self.mailbox = Some(mailbox.to_owned());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mailbox) = &self.mailbox {
            self.world.close_submission(mailbox, self.number);
        }
        self.world
            .count(|counters| counters.smtp_open = counters.smtp_open.saturating_sub(1));
    }
}

struct Session {
    world: World,
    voice: Voice,
    /// None only for the moment of the TLS handshake.
    wire: Option<Wire>,
    open: Open,
    peer: SocketAddr,
    /// What stands in the EHLO list at the place of STARTTLS.
    starttls: Option<&'static str>,
    secure: bool,
    greeted: bool,
    principal: Option<Principal>,
    /// The refusal of an earlier AUTH, which MAIL FROM repeats.
    refusal: Option<&'static str>,
    envelope: Option<Envelope>,
}

/// Whether the session goes on.
#[derive(Debug, Eq, PartialEq)]
enum Next {
    Command,
    End,
}

type Told = Result<Next, Silence>;

impl Session {
    async fn run(&mut self, acceptor: &TlsAcceptor) -> Result<(), Silence> {
        if self.greet().await? == Next::End {
            return Ok(());
        }
        loop {
            let next = match self.wire()?.line().await {
                Ok(line) => self.command(&line, acceptor).await?,
                Err(Silence::Closed) => return Ok(()),
                Err(Silence::Idle) => {
                    self.reply(&self.voice.error(replies::TIMEOUT)).await?;
                    Next::End
                }
                Err(Silence::TooLong) => {
                    self.reply(&self.voice.error(replies::LINE_TOO_LONG))
                        .await?;
                    Next::End
                }
            };
            if next == Next::End {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self) -> Told {
        if self.world.strikes(SmtpFault::DropOnConnect) {
            return Ok(Next::End);
        }
        let delay = self.world.strike(|fault| match fault {
            Fault::Smtp(SmtpFault::BannerDelayed(delay)) => Some(*delay),
            _ => None,
        });
        if let Some(delay) = delay {
            time::sleep(delay).await;
        }
        if self.world.strikes(SmtpFault::ServiceNotAvailable) {
            self.reply(replies::NOT_AVAILABLE).await?;
            return Ok(Next::End);
        }
        let greeting = self.voice.greeting();
        if self.world.strikes(SmtpFault::BannerByteByByte) {
            self.world.say(Speaker::Exchange, greeting.as_str());
            self.wire()?
                .trickle(format!("{greeting}\r\n").as_bytes())
                .await?;
            return Ok(Next::Command);
        }
        self.reply(&greeting).await
    }

    async fn command(&mut self, line: &[u8], acceptor: &TlsAcceptor) -> Told {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim();
        let verb_upper = verb.to_ascii_uppercase();
        if !matches!(verb_upper.as_str(), "AUTH" | "DATA") && known(&verb_upper) {
            self.heard(line);
        }
        match verb_upper.as_str() {
            "EHLO" => self.ehlo(argument).await,
            "HELO" => self.helo(argument).await,
            "STARTTLS" => self.start_tls(acceptor).await,
            "AUTH" => self.auth(argument).await,
            "MAIL" => self.mail(argument).await,
            "RCPT" => self.rcpt(argument).await,
            "DATA" => self.data().await,
            "BDAT" => self.bdat(argument).await,
            "RSET" => {
                self.envelope = None;
                self.reply(replies::RESETTING).await
            }
            "NOOP" => self.reply(replies::NOOP).await,
            "VRFY" => self.reply(replies::CANNOT_VERIFY).await,
            "HELP" => self.reply(replies::HELP).await,
            "EXPN" => self.refuse(replies::NOT_IMPLEMENTED).await,
            "QUIT" => {
                self.reply(replies::CLOSING).await?;
                Ok(Next::End)
            }
            // It may be a password or a token that has lost its place: not for the transcript.
            _ => {
                self.heard("<unknown command>");
                self.unrecognized(verb, "<unknown>").await
            }
        }
    }

    async fn ehlo(&mut self, name: &str) -> Told {
        if !valid_domain(name) {
            self.tarpit().await;
            return self.refuse(replies::INVALID_DOMAIN).await;
        }
        self.greeted = true;
        self.envelope = None;
        let line = if self.secure {
            Some("AUTH LOGIN XOAUTH2")
        } else {
            self.starttls
        };
        let list = self
            .voice
            .ehlo(self.peer.ip(), self.world.tuning().size_limit, line);
        if self.world.strikes(SmtpFault::EhloSplit) {
            list.lines()
                .for_each(|line| self.world.say(Speaker::Exchange, line));
            let list = format!("{list}\r\n");
            let (first, second) = list.as_bytes().split_at(list.len() / 2);
            self.wire()?.send(first).await?;
            time::sleep(std::time::Duration::from_millis(20)).await;
            self.wire()?.send(second).await?;
            return Ok(Next::Command);
        }
        self.reply(&list).await
    }

    async fn helo(&mut self, name: &str) -> Told {
        if !valid_domain(name) {
            self.tarpit().await;
            return self.refuse(replies::INVALID_DOMAIN).await;
        }
        self.greeted = true;
        self.envelope = None;
        self.reply(&self.voice.helo(self.peer.ip())).await
    }

    async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> Told {
        if self.starttls != Some("STARTTLS") {
            return self.unrecognized("STARTTLS", "STARTTLS").await;
        }
        if self.secure {
            return self.refuse(replies::TLS_TWICE).await;
        }
        if !self.greeted {
            return self.refuse(replies::HELLO_FIRST).await;
        }
        if self.world.strikes(SmtpFault::BytesBehindStartTls) {
            let injected = format!("{}\r\n250 injected in clear\r\n", replies::STARTTLS_READY);
            self.world.say(Speaker::Exchange, replies::STARTTLS_READY);
            self.wire()?.send(injected.as_bytes()).await?;
        } else {
            self.reply(replies::STARTTLS_READY).await?;
        }
        let wire = self.wire.take().ok_or(Silence::Closed)?;
        self.wire = Some(wire.start_tls(acceptor).await?);
        self.world.say(Speaker::Exchange, "(TLS)");
        self.secure = true;
        self.greeted = false;
        Ok(Next::Command)
    }

    async fn auth(&mut self, argument: &str) -> Told {
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
            return self
                .auth_failed(&self.voice.error(replies::AUTH_TWICE))
                .await;
        }
        if !self.secure || !matches!(mechanism.as_str(), "XOAUTH2" | "LOGIN") {
            return self
                .auth_failed(&self.voice.error(replies::UNKNOWN_MECHANISM))
                .await;
        }
        if !self.greeted {
            return self
                .auth_failed(&self.voice.error(replies::HELLO_FIRST))
                .await;
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
                None => return Ok(Err(replies::BAD_TOKEN)),
            },
        };
        let verdict = auth::by_token(&self.world, &response);
        let verdict = match verdict {
            Ok(_) if self.world.strikes(SmtpFault::RejectToken) => Err(replies::BAD_TOKEN),
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
            return Ok(Err(replies::BAD_TOKEN));
        };
        let Some(password) = self.ask("UGFzc3dvcmQ6", "<password>").await? else {
            return Ok(Err(replies::BAD_TOKEN));
        };
        Ok(auth::by_password(&self.world, &user, &password))
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

    async fn mail(&mut self, argument: &str) -> Told {
        if !self.greeted {
            return self.refuse(replies::HELLO_FIRST).await;
        }
        if self.principal.is_none() {
            let reply = self.voice.not_authenticated(self.refusal);
            return self.reply(&reply).await;
        }
        if self.envelope.is_some() {
            return self.refuse(replies::SENDER_TWICE).await;
        }
        let Some((from, parameters)) = path(argument, "FROM:") else {
            return self.refuse(replies::INVALID_ARGUMENTS).await;
        };
        let parameters: Vec<String> = parameters.split_whitespace().map(str::to_owned).collect();
        let size = parameters.iter().find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.eq_ignore_ascii_case("SIZE")
                .then(|| value.parse::<u64>())
        });
        match size {
            Some(Err(_)) => return self.refuse(replies::INVALID_ARGUMENTS).await,
            Some(Ok(size)) if size > self.world.tuning().size_limit => {
                return self.refuse(replies::TOO_LARGE).await;
            }
            _ => {}
        }
        if self.world.strikes(SmtpFault::TemporaryServerError) {
            return self.reply(replies::TEMPORARY_ERROR).await;
        }
        self.envelope = Some(Envelope {
            from: from.to_owned(),
            binary: parameters
                .iter()
                .any(|name| name.eq_ignore_ascii_case("BODY=BINARYMIME")),
            parameters,
            ..Envelope::default()
        });
        self.reply(replies::SENDER_OK).await
    }

    async fn rcpt(&mut self, argument: &str) -> Told {
        let Some(envelope) = self.envelope.as_mut().filter(|envelope| !envelope.chunked) else {
            return self.refuse(replies::NEED_MAIL).await;
        };
        let Some((to, _)) = path(argument, "TO:").filter(|(to, _)| !to.is_empty()) else {
            return self.refuse(replies::INVALID_ARGUMENTS).await;
        };
        if envelope.recipients.len() >= RECIPIENTS {
            return self.refuse(replies::TOO_MANY_RECIPIENTS).await;
        }
        envelope.recipients.push(to.to_owned());
        self.reply(replies::RECIPIENT_OK).await
    }

    async fn unrecognized(&mut self, verb: &str, shown: &str) -> Told {
        self.tarpit().await;
        let reply = self.voice.unrecognized(verb);
        self.world
            .say(Speaker::Exchange, self.voice.unrecognized(shown));
        self.wire()?.send(format!("{reply}\r\n").as_bytes()).await?;
        Ok(Next::Command)
    }

    async fn auth_failed(&mut self, reply: &str) -> Told {
        self.world.count(|counters| counters.auth_failed += 1);
        self.reply(reply).await
    }

    /// A refusal with the suffix of the profile.
    async fn refuse(&mut self, text: &str) -> Told {
        let reply = self.voice.error(text);
        self.reply(&reply).await
    }

    async fn reply(&mut self, text: &str) -> Told {
        text.lines()
            .for_each(|line| self.world.say(Speaker::Exchange, line));
        self.wire()?.send(format!("{text}\r\n").as_bytes()).await?;
        Ok(Next::Command)
    }

    /// Waits as Exchange does before it refuses.
    async fn tarpit(&mut self) {
        time::sleep(self.world.tuning().tarpit).await;
    }

    fn heard(&self, text: &str) {
        let text: String = text
            .chars()
            .filter(|letter| !letter.is_control())
            .take(512)
            .collect();
        self.world.say(Speaker::MailClient, text);
    }

    fn wire(&mut self) -> Result<&mut Wire, Silence> {
        self.wire.as_mut().ok_or(Silence::Closed)
    }
}

type Judged = Result<Result<Principal, &'static str>, Silence>;

fn known(verb: &str) -> bool {
    const VERBS: [&str; 14] = [
        "AUTH", "BDAT", "DATA", "EHLO", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT",
        "RSET", "STARTTLS", "VRFY",
    ];
    VERBS.contains(&verb)
}

/// A host name or an address literal; an empty name was seen to pass.
fn valid_domain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let literal = |inner: &str| {
        inner
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".:".contains(c))
    };
    name.is_empty()
        || name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(literal)
        || name.split('.').all(label)
}

/// `FROM:<path> parameters`, with or without a blank behind the colon.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    let rest = rest.trim_start().strip_prefix('<')?;
    let (path, parameters) = rest.split_once('>')?;
    head.eq_ignore_ascii_case(keyword)
        .then_some((path, parameters))
}
