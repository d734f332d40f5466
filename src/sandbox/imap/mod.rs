//! Exchange Online's IMAP server: implicit TLS, XOAUTH2, and the folders of a mailbox (RFC 3501,
//! 4959, 2177, 4315, 6851), with the words of the real one.
//!
//! This file is the session and its end; [`dispatch`] knows the commands, [`framing`] makes one
//! whole of lines and literals, [`login`] is AUTHENTICATE, [`folders`] and [`messages`] do the
//! work, [`replies`] has the words.

mod cursor;
mod dates;
mod dispatch;
mod fetch;
mod folders;
mod framing;
mod idle;
mod login;
mod messages;
mod mime;
mod replies;
mod search;
mod structure;
mod view;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tokio_rustls::TlsAcceptor;

use crate::sandbox::Profile;
use crate::sandbox::exchange_auth::Principal;
use crate::sandbox::imap::view::View;
use crate::sandbox::wire::{Silence, Wire};
use crate::sandbox::world::{Fault, ImapEnd, ImapFault, Speaker, World};

/// A line of the transcript is cut at this many letters.
const SHOWN: usize = 200;

/// The IMAP server.
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
        if self.world.strikes(ImapFault::DropOnConnect) {
            return Ok(());
        }
        stream.set_nodelay(true)?;
        let wire = Wire::new(stream, self.world.tuning().login_idle);
        let Ok(wire) = wire.start_tls(&self.acceptor).await else {
            return Ok(());
        };
        let mut session = Session {
            sasl_ir: !self.world.strikes(ImapFault::NoSaslIr),
            world: self.world.clone(),
            profile: self.profile,
            wire,
            member: None,
            view: None,
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
            counters.imap_sessions += 1;
            counters.imap_open += 1;
        });
        Self(world.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(|counters| counters.imap_open = counters.imap_open.saturating_sub(1));
    }
}

struct Session {
    world: World,
    profile: Profile,
    wire: Wire,
    /// Whether an initial response is offered and taken.
    sasl_ir: bool,
    /// None before the login.
    member: Option<Member>,
    /// The selected folder.
    view: Option<View>,
}

/// Someone who has logged in, and what the session has to listen to since.
struct Member {
    principal: Principal,
    end: watch::Receiver<Option<ImapEnd>>,
    news: watch::Receiver<()>,
}

/// Whether the session goes on.
#[derive(Debug, Eq, PartialEq)]
enum Next {
    Command,
    End,
}

type Told = Result<Next, Silence>;

/// What comes while a session waits.
enum Heard {
    Line(Vec<u8>),
    /// Some mail has changed.
    News,
    End(ImapEnd),
}

impl Session {
    async fn run(&mut self) -> Result<(), Silence> {
        if self.greet().await? == Next::End {
            return Ok(());
        }
        loop {
            let next = match self.hear(None).await? {
                Heard::Line(line) => self.command(line).await,
                Heard::News => Ok(Next::Command),
                Heard::End(end) => self.end(end).await,
            };
            match next {
                Ok(Next::Command) => {}
                Ok(Next::End) => return Ok(()),
                // In the middle of a command.
                Err(Silence::Idle | Silence::TooLong) => {
                    self.end(ImapEnd::Idle).await?;
                    return Ok(());
                }
                Err(Silence::Closed) => return Err(Silence::Closed),
            }
        }
    }

    async fn greet(&mut self) -> Told {
        let delay = self.world.strike(|fault| match fault {
            Fault::Imap(ImapFault::BannerDelayed(delay)) => Some(*delay),
            _ => None,
        });
        if let Some(delay) = delay {
            time::sleep(delay).await;
        }
        if self.world.strikes(ImapFault::ByeGreeting) {
            return self.end(ImapEnd::Idle).await;
        }
        let state = if self.world.strikes(ImapFault::Preauth) { "PREAUTH" } else { "OK" };
        let greeting = replies::greeting(self.profile, state);
        if self.world.strikes(ImapFault::BannerByteByByte) {
            self.world.say(Speaker::Exchange, greeting.as_str());
            self.wire.trickle(format!("{greeting}\r\n").as_bytes()).await?;
            return Ok(Next::Command);
        }
        self.send(&greeting).await
    }

    /// Waits for the next line, for the end of the token or of the session and, in IDLE, for a
    /// change of mail. IDLE has a moment at which it ends, for news is no sign of the client.
    async fn hear(&mut self, idle_until: Option<Instant>) -> Result<Heard, Silence> {
        let heard = match &mut self.member {
            None => self.wire.line().await,
            Some(member) => {
                let left = member
                    .principal
                    .expires
                    .map_or(u64::MAX, |expires| expires.saturating_sub(self.world.now()));
                // Some years are as good as for ever.
                let expiry = Duration::from_secs(left.min(1 << 28));
                tokio::select! {
                    biased;
                    _ = member.end.changed() => {
                        let end = *member.end.borrow_and_update();
                        return Ok(Heard::End(end.unwrap_or(ImapEnd::Silent)));
                    }
                    () = time::sleep(expiry) => return Ok(Heard::End(ImapEnd::TokenExpired)),
                    () = time::sleep_until(idle_until.unwrap_or_else(Instant::now)),
                        if idle_until.is_some() => return Ok(Heard::End(ImapEnd::Idle)),
                    _ = member.news.changed(), if idle_until.is_some() => {
                        return Ok(Heard::News);
                    }
                    line = self.wire.line() => line,
                }
            }
        };
        match heard {
            Ok(line) => Ok(Heard::Line(line)),
            Err(Silence::Idle) => Ok(Heard::End(ImapEnd::Idle)),
            Err(Silence::TooLong) => Ok(Heard::End(ImapEnd::Error)),
            Err(Silence::Closed) => Err(Silence::Closed),
        }
    }

    /// The last words, and the end.
    async fn end(&mut self, end: ImapEnd) -> Told {
        if let Some(bye) = replies::bye(end) {
            self.send(bye).await?;
        }
        Ok(Next::End)
    }

    /// Tells what has changed in the selected folder.
    async fn tell_news(&mut self, expunges: bool) -> Told {
        let (Some(member), Some(view)) = (&self.member, &mut self.view) else {
            return Ok(Next::Command);
        };
        let lines = self.world.mail(&member.principal.mailbox, |mail| {
            let folder = view.in_mail(mail);
            view.refresh(folder, expunges)
        });
        for line in lines {
            self.send(&line).await?;
        }
        Ok(Next::Command)
    }

    async fn send(&mut self, text: &str) -> Told {
        self.say(text);
        self.wire.send(format!("{text}\r\n").as_bytes()).await?;
        Ok(Next::Command)
    }

    async fn reply(&mut self, tag: &str, text: &str) -> Told {
        self.send(&format!("{tag} {text}")).await
    }

    /// Waits as Exchange does before it refuses.
    async fn tarpit(&mut self) {
        time::sleep(self.world.tuning().tarpit).await;
    }

    fn say(&self, text: &str) {
        let shown = text.lines().next().unwrap_or_default();
        self.world.say(Speaker::Exchange, shown.chars().take(SHOWN).collect::<String>());
    }

    fn heard(&self, text: &str) {
        let text = text.chars().filter(|letter| !letter.is_control()).take(SHOWN);
        self.world.say(Speaker::MailClient, text.collect::<String>());
    }
}
