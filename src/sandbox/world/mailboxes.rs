//! The mail of all mailboxes on the world: what submission delivers into them, what tests and the
//! demo put there and read, and how waiting sessions hear of a change.

use std::sync::Arc;

use tokio::sync::watch;

use crate::sandbox::moment::Moment;
use crate::sandbox::world::store::{Flags, Mail, Stored};
use crate::sandbox::world::{Message, State, World};

/// Why all sessions of IMAP that have logged in are ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ImapEnd {
    /// `* BYE Session invalidated - AccessTokenExpired`; it also comes on its own when a
    /// session's token expires.
    TokenExpired,
    /// `* BYE Connection is closed. 13`, which also ends idle sessions.
    Idle,
    /// `* BYE Connection closed. 14`.
    Error,
    /// The connection ends without a word.
    Silent,
}

impl World {
    /// Puts a message into a folder of a mailbox, unread and dated now; a missing folder is made.
    /// Its unique identifier, or 0 where the folder cannot be made.
    pub fn put(&self, mailbox: &str, folder: &str, message: impl AsRef<[u8]>) -> u32 {
        self.put_with(mailbox, folder, message, Flags::NONE, self.now())
    }

    /// Puts a message with these flags and this INTERNALDATE (seconds since 1970) into a folder.
    pub fn put_with(
        &self,
        mailbox: &str,
        folder: &str,
        message: impl AsRef<[u8]>,
        flags: Flags,
        date: u64,
    ) -> u32 {
        let message = message.as_ref();
        let keep = self.tuning().keep_octets.min(message.len());
        let bytes: Arc<[u8]> = message.get(..keep).unwrap_or_default().into();
        self.change_mail(mailbox, |mail| {
            if mail.folder(folder).is_none() {
                // A name that is none leaves the folder missing, which is the answer.
                let _ = mail.create(folder);
            }
            mail.folder_mut(folder).map_or(0, |folder| folder.insert(bytes, flags, date))
        })
    }

    /// The names of a mailbox's folders.
    pub fn folders(&self, mailbox: &str) -> Vec<String> {
        self.mail(mailbox, |mail| mail.folders.iter().map(|folder| folder.name.clone()).collect())
    }

    /// The messages of a folder; none where it does not exist.
    pub fn folder(&self, mailbox: &str, folder: &str) -> Vec<Stored> {
        self.mail(mailbox, |mail| {
            mail.folder(folder).map(|folder| folder.messages.clone()).unwrap_or_default()
        })
    }

    /// Waits until a folder holds `count` messages, and gives them all.
    pub async fn folder_at_least(&self, mailbox: &str, folder: &str, count: usize) -> Vec<Stored> {
        self.folder_when(mailbox, folder, |messages| messages.len() >= count).await
    }

    /// Waits until a folder is as `wanted` says, and gives its messages.
    pub async fn folder_when(
        &self,
        mailbox: &str,
        folder: &str,
        wanted: impl Fn(&[Stored]) -> bool,
    ) -> Vec<Stored> {
        let mut news = self.mail_news();
        loop {
            let messages = self.folder(mailbox, folder);
            // The sender lives in the world that is held here, so there is always more to come.
            if wanted(&messages) || news.changed().await.is_err() {
                return messages;
            }
        }
    }

    /// Removes a message from a folder, as another client would; whether it was there.
    pub fn remove(&self, mailbox: &str, folder: &str, uid: u32) -> bool {
        self.change_mail(mailbox, |mail| {
            mail.folder_mut(folder)
                .is_some_and(|folder| !folder.remove(|message| message.uid == uid).is_empty())
        })
    }

    /// Sets the flags of a message, as another client would; whether it was there.
    pub fn set_flags(&self, mailbox: &str, folder: &str, uid: u32, flags: Flags) -> bool {
        self.change_mail(mailbox, |mail| {
            mail.folder_mut(folder).is_some_and(|folder| folder.set_flags(uid, flags).is_some())
        })
    }

    /// Ends all sessions of IMAP that have logged in, in this manner.
    pub fn end_imap_sessions(&self, end: ImapEnd) {
        self.0.imap_end.send_replace(Some(end));
    }
}

/// What the servers use.
impl World {
    /// Now, in seconds since 1970, by the clock of Microsoft.
    pub(in crate::sandbox) fn now(&self) -> u64 {
        Moment::now(self.tuning().clock_offset).unix()
    }

    /// Looks at a mailbox's mail.
    pub(in crate::sandbox) fn mail<T>(&self, mailbox: &str, with: impl FnOnce(&Mail) -> T) -> T {
        with(mail_of(&mut self.state(), mailbox))
    }

    /// Changes a mailbox's mail and wakes those who wait for news of any mailbox.
    pub(in crate::sandbox) fn change_mail<T>(
        &self,
        mailbox: &str,
        with: impl FnOnce(&mut Mail) -> T,
    ) -> T {
        let outcome = with(mail_of(&mut self.state(), mailbox));
        self.0.mail_news.send_replace(());
        outcome
    }

    /// Wakes at every change of any mail from now on.
    pub(in crate::sandbox) fn mail_news(&self) -> watch::Receiver<()> {
        self.0.mail_news.subscribe()
    }

    /// Wakes when the sessions of IMAP are to end.
    pub(in crate::sandbox) fn imap_end(&self) -> watch::Receiver<Option<ImapEnd>> {
        self.0.imap_end.subscribe()
    }

    /// Files a submitted message: a copy in Sent Items of the mailbox that sent it, as the
    /// submission service does, and one in the INBOX of each recipient who has a mailbox here.
    pub(super) fn file(&self, message: &Message) {
        let date = self.now();
        let bytes: Arc<[u8]> = message.bytes.as_slice().into();
        let mut state = self.state();
        let mut inboxes: Vec<String> = message
            .recipients
            .iter()
            .filter_map(|recipient| state.directory.mailbox(recipient))
            .map(|mailbox| mailbox.address.clone())
            .collect();
        inboxes.sort();
        inboxes.dedup();
        let sent = (message.mailbox.clone(), "Sent Items", Flags::SEEN);
        let received = inboxes.into_iter().map(|mailbox| (mailbox, "INBOX", Flags::NONE));
        for (mailbox, folder, flags) in [sent].into_iter().chain(received) {
            if let Some(folder) = mail_of(&mut state, &mailbox).folder_mut(folder) {
                folder.insert(Arc::clone(&bytes), flags, date);
            }
        }
        drop(state);
        self.0.mail_news.send_replace(());
    }
}

/// The mail of a mailbox; it comes into being when someone first looks.
fn mail_of<'a>(state: &'a mut State, mailbox: &str) -> &'a mut Mail {
    let mailbox = mailbox.to_ascii_lowercase();
    state.mail.entry(mailbox).or_insert_with(|| {
        // By the clock, so that a client that has seen an earlier sandbox starts afresh.
        Mail::new(u32::try_from(Moment::now(0).unix()).unwrap_or(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERP: &str = "erp@contoso.com";

    fn submitted(recipients: &[&str]) -> Message {
        Message {
            mailbox: "scanner@contoso.com".to_owned(),
            from: "scanner@contoso.com".to_owned(),
            parameters: Vec::new(),
            recipients: recipients.iter().map(|&recipient| recipient.to_owned()).collect(),
            bytes: b"Subject: x\r\n\r\ny\r\n".to_vec(),
            octets: 17,
            sha256: [0; 32],
            chunked: false,
        }
    }

    #[tokio::test]
    async fn a_submitted_message_is_sent_and_received() {
        let world = World::contoso();
        world.deliver(submitted(&["x@example.net", "ERP@contoso.com", ERP, "info@contoso.com"]));
        let sent = world.folder("Scanner@contoso.com", "sent items");
        assert_eq!((sent.len(), sent[0].flags), (1, Flags::SEEN));
        for mailbox in [ERP, "info@contoso.com"] {
            let received = world.folder_at_least(mailbox, "INBOX", 1).await;
            assert_eq!((received.len(), received[0].flags), (1, Flags::NONE), "{mailbox}");
            assert_eq!(&*received[0].bytes, b"Subject: x\r\n\r\ny\r\n");
        }
        assert!(world.folder("x@example.net", "INBOX").is_empty());
        assert_eq!(world.messages().len(), 1);
    }

    #[test]
    fn tests_put_read_and_change_mail() {
        let world = World::contoso();
        world.tune(|tuning| tuning.keep_octets = 5);
        assert_eq!(world.put(ERP, "Bills/2026", "123456789"), 1);
        assert_eq!(world.put(ERP, "a//b", "x"), 0, "no name");
        assert!(world.folders(ERP).contains(&"Bills".to_owned()));
        assert_eq!(&*world.folder(ERP, "Bills/2026")[0].bytes, b"12345");
        assert!(world.set_flags(ERP, "Bills/2026", 1, Flags::FLAGGED));
        assert_eq!(world.folder(ERP, "Bills/2026")[0].flags, Flags::FLAGGED);
        assert!(world.remove(ERP, "Bills/2026", 1) && !world.remove(ERP, "Bills/2026", 1));
    }
}
