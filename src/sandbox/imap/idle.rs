//! IDLE (RFC 2177): the session listens, and hears of mail the moment it comes.

use tokio::time::Instant;

use crate::sandbox::imap::dispatch::completed;
use crate::sandbox::imap::{Heard, Session, Told, replies};
use crate::sandbox::world::World;

impl Session {
    pub(super) async fn idle(&mut self, tag: &str) -> Told {
        if let Some(member) = &mut self.member {
            // What came before is told below, and is no news.
            member.news.mark_unchanged();
        }
        let _idling = Idling::new(&self.world);
        let until = Instant::now() + self.world.tuning().imap_idle;
        self.send(replies::IDLING).await?;
        loop {
            self.tell_news(true).await?;
            match self.hear(Some(until)).await? {
                Heard::News => {}
                Heard::End(end) => return self.end(end).await,
                Heard::Line(line) if line.trim_ascii().eq_ignore_ascii_case(b"DONE") => {
                    self.heard("DONE");
                    self.tell_news(true).await?;
                    return self.reply(tag, &completed("IDLE")).await;
                }
                Heard::Line(_) => {
                    self.heard("<unknown command>");
                    return self.reply(tag, replies::ARGUMENT_ERROR).await;
                }
            }
        }
    }
}

/// Counts a session in IDLE for as long as it is there, also where its task is cut off.
struct Idling(World);

impl Idling {
    fn new(world: &World) -> Self {
        world.count(|counters| counters.imap_idling += 1);
        Self(world.clone())
    }
}

impl Drop for Idling {
    fn drop(&mut self) {
        self.0.count(|counters| counters.imap_idling = counters.imap_idling.saturating_sub(1));
    }
}
