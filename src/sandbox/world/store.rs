//! The mail of one simulated mailbox: folders, messages, flags and their unique identifiers, with
//! the rules of RFC 3501 section 2.3. Pure data; it reads no protocol and no clock.

use std::fmt;
use std::sync::Arc;

/// The folders that every mailbox has and that can be neither deleted nor renamed.
pub(in crate::sandbox) const DEFAULT_FOLDERS: [&str; 7] =
    ["INBOX", "Archive", "Deleted Items", "Drafts", "Junk Email", "Outbox", "Sent Items"];

/// A folder keeps this many messages, so that a demo left alone for weeks stays small.
const FOLDER_MESSAGES: usize = 10_000;

/// The flags that Exchange keeps; it knows no other keywords.
const NAMES: [(&str, Flags); 6] = [
    ("\\Seen", Flags::SEEN),
    ("\\Answered", Flags::ANSWERED),
    ("\\Flagged", Flags::FLAGGED),
    ("\\Deleted", Flags::DELETED),
    ("\\Draft", Flags::DRAFT),
    ("$MDNSent", Flags::MDN_SENT),
];

/// A set of message flags. It is displayed as IMAP writes it, without parentheses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u8);

impl Flags {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// `\Seen`.
    pub const SEEN: Self = Self(1);
    /// `\Answered`.
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`.
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`.
    pub const DELETED: Self = Self(8);
    /// `\Draft`.
    pub const DRAFT: Self = Self(16);
    /// `$MDNSent`.
    pub const MDN_SENT: Self = Self(32);

    /// The flag of this name; none where Exchange would not keep it.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, flag)| *flag)
    }

    /// Whether all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and `flags`.
    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These but not `flags`.
    #[must_use]
    pub fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = NAMES.iter().filter(|(_, flag)| self.has(*flag)).map(|(name, _)| *name);
        f.write_str(&set.collect::<Vec<_>>().join(" "))
    }
}

/// A message in a folder.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its unique identifier in the folder.
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE, in seconds since 1970.
    pub date: u64,
    /// The message itself.
    pub bytes: Arc<[u8]>,
    /// Grows with every change of the flags.
    pub(in crate::sandbox) revision: u64,
}

/// A folder of a mailbox.
pub(in crate::sandbox) struct Folder {
    /// The whole name, with `/` between the levels.
    pub(in crate::sandbox) name: String,
    pub(in crate::sandbox) validity: u32,
    pub(in crate::sandbox) uid_next: u32,
    pub(in crate::sandbox) subscribed: bool,
    /// By ascending identifier.
    pub(in crate::sandbox) messages: Vec<Stored>,
}

impl Folder {
    /// The message with this identifier.
    pub(in crate::sandbox) fn message(&self, uid: u32) -> Option<&Stored> {
        let at = self.messages.binary_search_by_key(&uid, |message| message.uid).ok()?;
        self.messages.get(at)
    }

    /// Adds a message; its identifier.
    pub(in crate::sandbox) fn insert(&mut self, bytes: Arc<[u8]>, flags: Flags, date: u64) -> u32 {
        if self.messages.len() >= FOLDER_MESSAGES {
            self.messages.remove(0);
        }
        let uid = self.uid_next;
        self.uid_next = self.uid_next.saturating_add(1);
        self.messages.push(Stored { uid, flags, date, bytes, revision: 0 });
        uid
    }

    /// Sets the flags of a message; the message as it is then.
    pub(in crate::sandbox) fn set_flags(&mut self, uid: u32, flags: Flags) -> Option<&Stored> {
        let at = self.messages.binary_search_by_key(&uid, |message| message.uid).ok()?;
        let message = self.messages.get_mut(at)?;
        if message.flags != flags {
            message.flags = flags;
            message.revision += 1;
        }
        Some(message)
    }

    /// Removes the messages that `doomed` names; their identifiers.
    pub(in crate::sandbox) fn remove(&mut self, doomed: impl Fn(&Stored) -> bool) -> Vec<u32> {
        let mut removed = Vec::new();
        self.messages.retain(|message| {
            let goes = doomed(message);
            removed.extend(goes.then_some(message.uid));
            !goes
        });
        removed
    }
}

/// Why a folder cannot be made, moved or removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::sandbox) enum Unfit {
    Exists,
    Missing,
    /// It is a default folder, has folders below it, or its name is none.
    Fixed,
}

/// A mailbox's mail.
pub(in crate::sandbox) struct Mail {
    pub(in crate::sandbox) folders: Vec<Folder>,
    next_validity: u32,
}

impl Mail {
    /// The default folders. UIDVALIDITY counts up from `validity`, so that a folder that is made
    /// anew under an old name is not taken for the old one.
    pub(in crate::sandbox) fn new(validity: u32) -> Self {
        let mut mail = Self { folders: Vec::new(), next_validity: validity.max(1) };
        for name in DEFAULT_FOLDERS {
            mail.add(name);
        }
        mail
    }

    /// The folder of this name; as in Exchange the case of letters does not matter.
    pub(in crate::sandbox) fn folder(&self, name: &str) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.name.eq_ignore_ascii_case(name))
    }

    pub(in crate::sandbox) fn folder_mut(&mut self, name: &str) -> Option<&mut Folder> {
        self.folders.iter_mut().find(|folder| folder.name.eq_ignore_ascii_case(name))
    }

    /// Whether there are folders below this one.
    pub(in crate::sandbox) fn has_children(&self, name: &str) -> bool {
        self.folders.iter().any(|folder| below(&folder.name, name).is_some())
    }

    /// Makes a folder and those above it that are missing.
    pub(in crate::sandbox) fn create(&mut self, name: &str) -> Result<(), Unfit> {
        // A client may declare by a `/` at the end that it will create names below.
        let name = name.strip_suffix('/').unwrap_or(name);
        if !valid(name) {
            return Err(Unfit::Fixed);
        }
        if self.folder(name).is_some() {
            return Err(Unfit::Exists);
        }
        let levels = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        for level in levels.filter_map(|end| name.get(..end)) {
            if self.folder(level).is_none() {
                self.add(level);
            }
        }
        Ok(())
    }

    pub(in crate::sandbox) fn delete(&mut self, name: &str) -> Result<(), Unfit> {
        let at = self
            .folders
            .iter()
            .position(|folder| folder.name.eq_ignore_ascii_case(name))
            .ok_or(Unfit::Missing)?;
        if fixed(name) || self.has_children(name) {
            return Err(Unfit::Fixed);
        }
        self.folders.remove(at);
        Ok(())
    }

    /// Renames a folder and all below it.
    pub(in crate::sandbox) fn rename(&mut self, from: &str, to: &str) -> Result<(), Unfit> {
        if self.folder(from).is_none() {
            return Err(Unfit::Missing);
        }
        if fixed(from) || !valid(to) || below(to, from).is_some() {
            return Err(Unfit::Fixed);
        }
        if self.folder(to).is_some() {
            return Err(Unfit::Exists);
        }
        if let Some((parent, _)) = to.rsplit_once('/') {
            match self.create(parent) {
                Ok(()) | Err(Unfit::Exists) => {}
                Err(unfit) => return Err(unfit),
            }
        }
        for folder in &mut self.folders {
            if folder.name.eq_ignore_ascii_case(from) {
                to.clone_into(&mut folder.name);
            } else if let Some(rest) = below(&folder.name, from) {
                folder.name = format!("{to}/{rest}");
            }
        }
        Ok(())
    }

    /// Copies messages in this order; old and new identifiers. None where a folder is missing.
    pub(in crate::sandbox) fn copy(
        &mut self,
        from: &str,
        uids: &[u32],
        to: &str,
    ) -> Option<Vec<(u32, u32)>> {
        let source = self.folder(from)?;
        let copies: Vec<Stored> =
            uids.iter().filter_map(|uid| source.message(*uid)).cloned().collect();
        let target = self.folder_mut(to)?;
        let moved = copies
            .into_iter()
            .map(|message| (message.uid, target.insert(message.bytes, message.flags, message.date)))
            .collect();
        Some(moved)
    }

    fn add(&mut self, name: &str) {
        self.folders.push(Folder {
            name: name.to_owned(),
            validity: self.next_validity,
            uid_next: 1,
            subscribed: true,
            messages: Vec::new(),
        });
        self.next_validity = self.next_validity.saturating_add(1);
    }
}

/// What follows `parent/` in a name.
fn below<'a>(name: &'a str, parent: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(parent.len())?;
    head.eq_ignore_ascii_case(parent).then_some(rest)?.strip_prefix('/')
}

fn fixed(name: &str) -> bool {
    DEFAULT_FOLDERS.iter().any(|default| default.eq_ignore_ascii_case(name))
}

fn valid(name: &str) -> bool {
    name.len() <= 250
        && name.split('/').all(|level| !level.is_empty())
        && !name.chars().any(|letter| letter.is_control() || letter == '*' || letter == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn identifiers_are_never_used_twice() {
        let mut mail = Mail::new(7);
        let inbox = mail.folder_mut("Inbox").unwrap();
        assert_eq!((inbox.validity, inbox.uid_next), (7, 1));
        let uids: Vec<u32> =
            (0..3).map(|number| inbox.insert(bytes("x"), Flags::NONE, number)).collect();
        assert_eq!(uids, [1, 2, 3]);
        assert_eq!(inbox.remove(|message| message.uid > 1), [2, 3]);
        assert_eq!(inbox.insert(bytes("y"), Flags::SEEN, 9), 4);
        assert_eq!(inbox.message(4).unwrap().flags, Flags::SEEN);
        assert!(inbox.message(2).is_none());
        for _ in 0..FOLDER_MESSAGES {
            inbox.insert(bytes("z"), Flags::NONE, 0);
        }
        assert_eq!(inbox.messages.len(), FOLDER_MESSAGES);
        assert!(inbox.message(4).is_none(), "the oldest go");
    }

    #[test]
    fn flags_have_their_names_and_a_change_shows() {
        let flags = Flags::named("\\SEEN").unwrap().with(Flags::named("\\draft").unwrap());
        assert_eq!(flags.to_string(), "\\Seen \\Draft");
        assert_eq!(flags.without(Flags::SEEN).to_string(), "\\Draft");
        assert_eq!(Flags::NONE.to_string(), "");
        assert_eq!(Flags::named("$Forwarded"), None);
        let mut mail = Mail::new(1);
        let inbox = mail.folder_mut("INBOX").unwrap();
        let uid = inbox.insert(bytes("x"), Flags::NONE, 0);
        assert_eq!(inbox.set_flags(uid, Flags::NONE).unwrap().revision, 0);
        assert_eq!(inbox.set_flags(uid, Flags::SEEN).unwrap().revision, 1);
        assert!(inbox.set_flags(99, Flags::SEEN).is_none());
    }

    #[test]
    fn folders_are_made_moved_and_removed() {
        let mut mail = Mail::new(1);
        assert_eq!(mail.create("a/b/c/"), Ok(()));
        assert!(mail.has_children("A/B"));
        let validity = mail.folder("a/b/c").unwrap().validity;
        assert_eq!(mail.rename("a/b", "x/y"), Ok(()));
        assert_eq!(mail.folder("x/y/c").unwrap().validity, validity);
        assert!(mail.folder("a/b").is_none() && mail.folder("a").is_some());
        assert_eq!(mail.delete("x/y/c"), Ok(()));
        assert_eq!(mail.create("x/y/c"), Ok(()));
        assert!(mail.folder("x/y/c").unwrap().validity > validity, "another folder");
        let table = [
            (mail.create("inbox"), Unfit::Exists),
            (mail.create(""), Unfit::Fixed),
            (mail.create("a//b"), Unfit::Fixed),
            (mail.create("a*"), Unfit::Fixed),
            (mail.delete("x"), Unfit::Fixed),
            (mail.delete("Drafts"), Unfit::Fixed),
            (mail.delete("none"), Unfit::Missing),
            (mail.rename("none", "b"), Unfit::Missing),
            (mail.rename("INBOX", "b"), Unfit::Fixed),
            (mail.rename("a", "a/b"), Unfit::Fixed),
            (mail.rename("a", "x"), Unfit::Exists),
        ];
        for (number, (outcome, unfit)) in table.iter().enumerate() {
            assert_eq!(*outcome, Err(*unfit), "row {number}");
        }
        assert_eq!(table.len(), 11);
    }

    #[test]
    fn a_copy_keeps_flags_and_date() {
        let mut mail = Mail::new(1);
        let inbox = mail.folder_mut("INBOX").unwrap();
        inbox.insert(bytes("a"), Flags::NONE, 5);
        inbox.insert(bytes("b"), Flags::SEEN, 6);
        assert_eq!(mail.copy("INBOX", &[2, 9, 1], "Archive"), Some(vec![(2, 1), (1, 2)]));
        assert_eq!(mail.copy("INBOX", &[1], "none"), None);
        let copy = mail.folder("Archive").unwrap().message(1).unwrap();
        assert_eq!((copy.flags, copy.date, &*copy.bytes), (Flags::SEEN, 6, &b"b"[..]));
    }
}
