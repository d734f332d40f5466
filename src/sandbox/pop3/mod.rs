//! Exchange Online's POP3 server: implicit TLS, XOAUTH2 in two lines, and the INBOX as a maildrop
//! (RFC 1939, 2449, 5034), with the words of the real one.
//!
//! This file is the dialogue; [`login`] is its AUTH, [`maildrop`] holds the messages, [`replies`]
//! has the words.

mod login;
mod maildrop;
mod replies;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::sandbox::Profile;
use crate::sandbox::pop3::maildrop::Maildrop;
use crate::sandbox::wire::{Silence, Wire};
use crate::sandbox::world::{Fault, Pop3Fault, Speaker, World};

/// The POP3 server.
pub(super) struct Server {
    world: World,
    acceptor: TlsAcceptor,
    profile: Profile,
}

impl Server {
    pub(super) fn new(world: World, acceptor: TlsAcceptor, profile: Profile) -> Self {
        Self { world, acceptor, profile }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let _open = Open::new(&self.world);
        if self.world.strikes(Pop3Fault::DropOnConnect) {
            return Ok(());
        }
        stream.set_nodelay(true)?;
        let wire = Wire::new(stream, self.world.tuning().login_idle);
        let Ok(wire) = wire.start_tls(&self.acceptor).await else {
            return Ok(());
        };
        let mut session = Session {
            world: self.world.clone(),
            profile: self.profile,
            wire,
            user_named: false,
            drop: None,
        };
        // How a session ends matters to the client only.
        let _ = session.run().await;
        session.wire.close().await;
        Ok(())
    }
}

/// Counts a session for as long as it lives, also where its task is cut off.
struct Open(World);

impl Open {
    fn new(world: &World) -> Self {
        world.count(|counters| {
            counters.pop3_sessions += 1;
            counters.pop3_open += 1;
        });
        Self(world.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(|counters| counters.pop3_open = counters.pop3_open.saturating_sub(1));
    }
}

struct Session {
    world: World,
    profile: Profile,
    wire: Wire,
    /// USER has been said, so PASS may follow.
    user_named: bool,
    /// None before the login.
    drop: Option<Maildrop>,
}

/// Whether the session goes on.
#[derive(Debug, Eq, PartialEq)]
enum Next {
    Command,
    End,
}

type Told = Result<Next, Silence>;

impl Session {
    async fn run(&mut self) -> Result<(), Silence> {
        self.greet().await?;
        loop {
            let next = match self.wire.line().await {
                Ok(line) => self.command(&line).await?,
                Err(Silence::Closed) => return Ok(()),
                Err(Silence::Idle | Silence::TooLong) => self.protocol_error().await?,
            };
            if next == Next::End {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self) -> Told {
        let delay = self.world.strike(|fault| match fault {
            Fault::Pop3(Pop3Fault::BannerDelayed(delay)) => Some(*delay),
            _ => None,
        });
        if let Some(delay) = delay {
            time::sleep(delay).await;
        }
        let greeting = replies::greeting(self.profile);
        if self.world.strikes(Pop3Fault::BannerByteByByte) {
            self.world.say(Speaker::Exchange, greeting.as_str());
            self.wire.trickle(format!("{greeting}\r\n").as_bytes()).await?;
            return Ok(Next::Command);
        }
        self.reply(&greeting).await
    }

    async fn command(&mut self, line: &[u8]) -> Told {
        let line = String::from_utf8_lossy(line);
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let (verb, argument) = (verb.trim_end().to_ascii_uppercase(), argument.trim_end());
        match verb.as_str() {
            "USER" => self.heard("USER <user>"),
            "PASS" => self.heard("PASS <password>"),
            // AUTH says itself what may be shown of it.
            "AUTH" => {}
            verb if KNOWN.contains(&verb) => self.heard(&line),
            // It may be a password or a token that has lost its place: not for the transcript.
            _ => self.heard("<unknown command>"),
        }
        match (verb.as_str(), self.drop.is_some()) {
            ("CAPA", _) => self.reply(replies::capabilities(self.profile)).await,
            ("USER", false) if !argument.is_empty() => {
                self.user_named = true;
                self.reply(replies::OK).await
            }
            ("PASS", false) if self.user_named => {
                self.user_named = false;
                self.basic_refused().await
            }
            ("AUTH", false) => self.auth(argument).await,
            ("QUIT", _) => self.quit().await,
            (_, true) => self.transaction(&verb, argument).await,
            _ => self.reply(replies::UNKNOWN).await,
        }
    }

    /// The commands behind the login.
    async fn transaction(&mut self, verb: &str, argument: &str) -> Told {
        let Some(drop) = self.drop.as_mut() else {
            return self.reply(replies::UNKNOWN).await;
        };
        let mut words = argument.split_ascii_whitespace().map(str::parse::<usize>);
        let (first, second) = (words.next(), words.next());
        let one = first.clone().and_then(Result::ok);
        let reply = match (verb, first.is_some()) {
            ("STAT", false) => drop.stat(),
            ("LIST", false) => drop.listing(|message| message.bytes.len().to_string()),
            ("UIDL", false) => drop.unique_ids(),
            ("NOOP", false) => replies::OK.to_owned(),
            ("RSET", false) => {
                drop.reset();
                replies::OK.to_owned()
            }
            ("LIST", true) => {
                drop.line(one, |_, message| message.bytes.len().to_string()).unwrap_or_default()
            }
            ("UIDL", true) => drop.unique_id(one).unwrap_or_default(),
            ("DELE", true) => {
                if drop.delete(one) {
                    replies::OK.to_owned()
                } else {
                    String::new()
                }
            }
            ("RETR", true) => return self.retrieve(one, None).await,
            ("TOP", true) => match second {
                Some(Ok(lines)) => return self.retrieve(one, Some(lines)).await,
                _ => replies::UNKNOWN.to_owned(),
            },
            _ => replies::UNKNOWN.to_owned(),
        };
        // A number that is none, of no message, or of a deleted one.
        self.reply(if reply.is_empty() { replies::OUT_OF_RANGE } else { &reply }).await
    }

    async fn retrieve(&mut self, number: Option<usize>, lines: Option<usize>) -> Told {
        let Some(message) = self.drop.as_ref().and_then(|drop| drop.message(number)) else {
            return self.reply(replies::OUT_OF_RANGE).await;
        };
        let stuffed = maildrop::stuffed(&message.bytes, lines);
        self.world.say(Speaker::Exchange, replies::OK);
        self.world.say(Speaker::Exchange, format!("({} octets of message)", stuffed.len()));
        let mut whole = format!("{}\r\n", replies::OK).into_bytes();
        whole.extend(stuffed);
        if lines.is_none() && self.world.strikes(Pop3Fault::DropMidRetr) {
            whole.truncate(whole.len() / 2);
            self.wire.send(&whole).await?;
            return Ok(Next::End);
        }
        whole.extend(b".\r\n");
        self.wire.send(&whole).await?;
        Ok(Next::Command)
    }

    /// The end; only here deleted messages go (RFC 1939 section 6).
    async fn quit(&mut self) -> Told {
        if let Some(drop) = self.drop.take() {
            let doomed = drop.deleted();
            if !doomed.is_empty() {
                self.world.change_mail(drop.mailbox(), |mail| {
                    if let Some(inbox) = mail.folder_mut("INBOX") {
                        inbox.remove(|message| doomed.contains(&message.uid));
                    }
                });
            }
        }
        self.reply(replies::SIGNING_OFF).await?;
        Ok(Next::End)
    }

    async fn protocol_error(&mut self) -> Told {
        self.reply(replies::PROTOCOL_ERROR).await?;
        Ok(Next::End)
    }

    async fn reply(&mut self, text: &str) -> Told {
        text.lines().for_each(|line| self.world.say(Speaker::Exchange, line));
        self.wire.send(format!("{text}\r\n").as_bytes()).await?;
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
}

/// What may stand in the transcript as it was sent.
const KNOWN: [&str; 11] =
    ["CAPA", "DELE", "LIST", "NOOP", "QUIT", "RETR", "RSET", "STAT", "STLS", "TOP", "UIDL"];
