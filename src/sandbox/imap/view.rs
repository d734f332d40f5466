//! What a session believes to be in its selected folder: message numbers stay as they were told
//! until the session is told of a change (RFC 3501 sections 5.2 and 7.4.1).

use crate::sandbox::imap::cursor::Set;
use crate::sandbox::world::{Folder, Mail};

/// A selected folder, as the client knows it.
pub(super) struct View {
    pub(super) folder: String,
    pub(super) validity: u32,
    pub(super) read_only: bool,
    /// By message number: unique identifier and the revision of the flags that were told.
    known: Vec<(u32, u64)>,
    /// The largest identifier that was ever told.
    top: u32,
}

impl View {
    pub(super) fn of(folder: &Folder, read_only: bool) -> Self {
        let known: Vec<_> =
            folder.messages.iter().map(|message| (message.uid, message.revision)).collect();
        Self {
            folder: folder.name.clone(),
            validity: folder.validity,
            read_only,
            top: known.last().map_or(0, |(uid, _)| *uid),
            known,
        }
    }

    /// The folder, unless it is gone or another one of its name.
    pub(super) fn in_mail<'a>(&self, mail: &'a Mail) -> Option<&'a Folder> {
        mail.folder(&self.folder).filter(|folder| folder.validity == self.validity)
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.known.len()).unwrap_or(u32::MAX)
    }

    /// The largest identifier in it.
    pub(super) fn last_uid(&self) -> u32 {
        self.known.last().map_or(0, |(uid, _)| *uid)
    }

    /// Numbers and identifiers, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        (1..).zip(self.known.iter().map(|(uid, _)| *uid))
    }

    /// Numbers and identifiers of the messages that a set names; none where it names numbers that
    /// no message has. Identifiers that no message has are no mistake.
    pub(super) fn resolve(&self, set: &Set, by_uid: bool) -> Option<Vec<(u32, u32)>> {
        if by_uid {
            let last = self.last_uid();
            return Some(self.all().filter(|(_, uid)| set.holds(*uid, last)).collect());
        }
        let last = self.len();
        (set.within(last) && last > 0)
            .then(|| self.all().filter(|(number, _)| set.holds(*number, last)).collect())
    }

    /// The client knows the flags of this message as of this revision.
    pub(super) fn told(&mut self, uid: u32, revision: u64) {
        let at = self.known.binary_search_by_key(&uid, |(uid, _)| *uid);
        if let Some((_, known)) = at.ok().and_then(|at| self.known.get_mut(at)) {
            *known = revision;
        }
    }

    /// What has changed since, as untagged lines. Not every command may be followed by EXPUNGE.
    pub(super) fn refresh(&mut self, folder: Option<&Folder>, expunges: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let find = |uid| folder.and_then(|folder| folder.message(uid));
        if expunges {
            let mut at = 0;
            self.known.retain(|(uid, _)| {
                let stays = find(*uid).is_some();
                if stays {
                    at += 1;
                } else {
                    // The number of the next message is now that of this one.
                    lines.push(format!("* {} EXPUNGE", at + 1));
                }
                stays
            });
        }
        let fresh: Vec<_> = folder
            .map_or(&[][..], |folder| folder.messages.as_slice())
            .iter()
            .filter(|message| message.uid > self.top)
            .map(|message| (message.uid, message.revision))
            .collect();
        if let Some((top, _)) = fresh.last() {
            self.top = *top;
            self.known.extend(fresh);
            lines.push(format!("* {} EXISTS", self.known.len()));
        }
        for (number, (uid, known)) in (1..).zip(&mut self.known) {
            if let Some(message) = find(*uid).filter(|message| message.revision != *known) {
                *known = message.revision;
                lines.push(format!("* {number} FETCH (FLAGS ({}))", message.flags));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::world::Flags;

    #[test]
    fn changes_are_told_once_and_in_order() {
        let mut mail = Mail::new(1);
        let inbox = mail.folder_mut("INBOX").unwrap();
        for _ in 0..4 {
            inbox.insert(b"x"[..].into(), Flags::NONE, 0);
        }
        let mut view = View::of(inbox, false);
        inbox.remove(|message| message.uid == 1 || message.uid == 3);
        inbox.set_flags(4, Flags::SEEN);
        inbox.insert(b"y"[..].into(), Flags::NONE, 0);
        let told = view.refresh(Some(inbox), false);
        assert_eq!(told, ["* 5 EXISTS", "* 4 FETCH (FLAGS (\\Seen))"], "numbers stay");
        assert_eq!(view.refresh(Some(inbox), true), ["* 1 EXPUNGE", "* 2 EXPUNGE"]);
        assert!(view.refresh(Some(inbox), true).is_empty());
        assert_eq!(view.all().collect::<Vec<_>>(), [(1, 2), (2, 4), (3, 5)]);
        assert_eq!(view.refresh(None, true).len(), 3, "a deleted folder");
        inbox.insert(b"z"[..].into(), Flags::NONE, 0);
        assert_eq!(view.refresh(Some(inbox), true), ["* 1 EXISTS"]);
    }
}
