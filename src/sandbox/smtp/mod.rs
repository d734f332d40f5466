//! Exchange Online's submission server: greeting, STARTTLS, XOAUTH2, envelope and message
//! (RFC 5321, 3207, 4954, 3030), in the order and with the words of the real one.
//!
//! This file is the dialogue; [`login`] is its AUTH, [`delivery`] takes the envelope and the message
//! in, [`replies`] has the words.

mod delivery;
mod login;
mod message;
mod replies;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::sandbox::Profile;
use crate::sandbox::exchange_auth::Principal;
use crate::sandbox::smtp::message::Envelope;
use crate::sandbox::smtp::replies::Voice;
use crate::sandbox::wire::{Silence, Wire};
use crate::sandbox::world::{Fault, SmtpFault, Speaker, World};

/// The submission server.
pub(super) struct Server {
    world: World,
    acceptor: TlsAcceptor,
    profile: Profile,
    sessions: AtomicU64,
}

impl Server {
    pub(super) fn new(world: World, acceptor: TlsAcceptor, profile: Profile) -> Self {
        Self { world, acceptor, profile, sessions: AtomicU64::new(0) }
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
        Self { world: world.clone(), number, mailbox: None }
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
        self.world.count(|counters| counters.smtp_open = counters.smtp_open.saturating_sub(1));
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
                    self.reply(&self.voice.error(replies::LINE_TOO_LONG)).await?;
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
            self.wire()?.trickle(format!("{greeting}\r\n").as_bytes()).await?;
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
        let line = if self.secure { Some("AUTH LOGIN XOAUTH2") } else { self.starttls };
        let list = self.voice.ehlo(self.peer.ip(), self.world.tuning().size_limit, line);
        if self.world.strikes(SmtpFault::EhloSplit) {
            list.lines().for_each(|line| self.world.say(Speaker::Exchange, line));
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

    async fn unrecognized(&mut self, verb: &str, shown: &str) -> Told {
        self.tarpit().await;
        let reply = self.voice.unrecognized(verb);
        self.world.say(Speaker::Exchange, self.voice.unrecognized(shown));
        self.wire()?.send(format!("{reply}\r\n").as_bytes()).await?;
        Ok(Next::Command)
    }

    /// A refusal with the suffix of the profile.
    async fn refuse(&mut self, text: &str) -> Told {
        let reply = self.voice.error(text);
        self.reply(&reply).await
    }

    async fn reply(&mut self, text: &str) -> Told {
        text.lines().for_each(|line| self.world.say(Speaker::Exchange, line));
        self.wire()?.send(format!("{text}\r\n").as_bytes()).await?;
        Ok(Next::Command)
    }

    /// Waits as Exchange does before it refuses.
    async fn tarpit(&mut self) {
        time::sleep(self.world.tuning().tarpit).await;
    }

    fn heard(&self, text: &str) {
        let text: String = text.chars().filter(|letter| !letter.is_control()).take(512).collect();
        self.world.say(Speaker::MailClient, text);
    }

    fn wire(&mut self) -> Result<&mut Wire, Silence> {
        self.wire.as_mut().ok_or(Silence::Closed)
    }
}

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
        !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let literal =
        |inner: &str| inner.chars().all(|c| c.is_ascii_alphanumeric() || ".:".contains(c));
    name.is_empty()
        || name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).is_some_and(literal)
        || name.split('.').all(label)
}
