//! The commands about folders: SELECT, LIST, STATUS, CREATE and their kin (RFC 3501 section 6.3).

use crate::sandbox::imap::cursor::Cursor;
use crate::sandbox::imap::dispatch::{Answer, completed, only};
use crate::sandbox::imap::view::View;
use crate::sandbox::imap::{Session, replies};
use crate::sandbox::world::{Flags, Folder, Unfit};

const FLAGS: &str = "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent";

impl Session {
    /// The mailbox of who has logged in.
    pub(super) fn mailbox(&self) -> String {
        self.member.as_ref().map(|member| member.principal.mailbox.clone()).unwrap_or_default()
    }

    pub(super) fn select(&mut self, name: &str, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let folder = cursor.astring()?;
        cursor.end()?;
        let read_only = name == "EXAMINE";
        // Also where the new one cannot be selected, the old one no longer is.
        self.view = None;
        let opened = self.world.mail(&self.mailbox(), |mail| {
            mail.folder(&folder).map(|folder| (View::of(folder, read_only), opening(folder)))
        });
        let Some((view, mut lines)) = opened else {
            return Some(only(replies::NO_FOLDER));
        };
        self.view = Some(view);
        let permanent = if read_only { "" } else { FLAGS };
        lines.insert(2, format!("* OK [PERMANENTFLAGS ({permanent})] Permanent flags"));
        lines.insert(2, format!("* FLAGS ({FLAGS})"));
        let access = if read_only { "READ-ONLY" } else { "READ-WRITE" };
        Some((lines, format!("OK [{access}] {name} completed.")))
    }

    /// CLOSE removes what is marked as deleted, in silence; UNSELECT does not (RFC 3691).
    pub(super) fn close(&mut self, name: &str) -> Answer {
        let mailbox = self.mailbox();
        if let Some(view) = self.view.take().filter(|view| name == "CLOSE" && !view.read_only) {
            self.world.change_mail(&mailbox, |mail| {
                if view.in_mail(mail).is_some()
                    && let Some(folder) = mail.folder_mut(&view.folder)
                {
                    folder.remove(|message| message.flags.has(Flags::DELETED));
                }
            });
        }
        only(&completed(name))
    }

    pub(super) fn list(&self, name: &str, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let reference = cursor.astring()?;
        cursor.space()?;
        let pattern = cursor.pattern()?;
        cursor.end()?;
        if pattern.is_empty() {
            // A question for the delimiter only.
            return Some((vec![format!("* {name} (\\Noselect) \"/\" \"\"")], completed(name)));
        }
        let pattern = format!("{reference}{pattern}");
        let lines = self.world.mail(&self.mailbox(), |mail| {
            let wanted = |folder: &&Folder| {
                (name == "LIST" || folder.subscribed) && fits(&pattern, &folder.name)
            };
            let line = |folder: &Folder| {
                let children = if mail.has_children(&folder.name) { "Has" } else { "HasNo" };
                format!("* {name} (\\{children}Children) \"/\" {}", spelt(&folder.name))
            };
            mail.folders.iter().filter(wanted).map(line).collect()
        });
        Some((lines, completed(name)))
    }

    pub(super) fn status(&self, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let name = cursor.astring()?;
        cursor.space()?;
        let items = cursor.list(Cursor::word).filter(|items| !items.is_empty())?;
        cursor.end()?;
        let found = self.world.mail(&self.mailbox(), |mail| {
            let folder = mail.folder(&name)?;
            let counts = items.iter().map(|item| Some(format!("{item} {}", count(folder, item)?)));
            Some(counts.collect::<Option<Vec<_>>>().map(|counts| (spelt(&folder.name), counts)))
        });
        let Some(found) = found else {
            return Some(only(replies::NO_FOLDER));
        };
        let (name, counts) = found?;
        Some((vec![format!("* STATUS {name} ({})", counts.join(" "))], completed("STATUS")))
    }

    pub(super) fn change_folder(&self, name: &str, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let folder = cursor.astring()?;
        let to = if name == "RENAME" {
            cursor.space()?;
            cursor.astring()?
        } else {
            String::new()
        };
        cursor.end()?;
        let outcome = self.world.change_mail(&self.mailbox(), |mail| match name {
            "CREATE" => mail.create(&folder),
            "DELETE" => mail.delete(&folder),
            "RENAME" => mail.rename(&folder, &to),
            _ => mail
                .folder_mut(&folder)
                .map(|folder| folder.subscribed = name == "SUBSCRIBE")
                .ok_or(Unfit::Missing),
        });
        Some(only(match outcome {
            Ok(()) => return Some(only(&completed(name))),
            Err(Unfit::Exists) => replies::FOLDER_EXISTS,
            Err(Unfit::Missing) => replies::NO_FOLDER,
            Err(Unfit::Fixed) => replies::FOLDER_FIXED,
        }))
    }
}

/// What SELECT says of a folder, the flags aside; texts from Exchange Server.
fn opening(folder: &Folder) -> Vec<String> {
    let mut lines = vec![format!("* {} EXISTS", folder.messages.len()), "* 0 RECENT".to_owned()];
    let unseen = folder.messages.iter().position(|message| !message.flags.has(Flags::SEEN));
    if let Some(at) = unseen {
        lines.push(format!("* OK [UNSEEN {}] Is the first unseen message", at + 1));
    }
    lines.push(format!("* OK [UIDVALIDITY {}] UIDVALIDITY value", folder.validity));
    lines.push(format!("* OK [UIDNEXT {}] The next unique identifier value", folder.uid_next));
    lines
}

fn count(folder: &Folder, item: &str) -> Option<usize> {
    let number = |number: u32| usize::try_from(number).ok();
    match item {
        "MESSAGES" => Some(folder.messages.len()),
        "RECENT" => Some(0),
        "UIDNEXT" => number(folder.uid_next),
        "UIDVALIDITY" => number(folder.validity),
        "UNSEEN" => {
            let seen = folder.messages.iter().filter(|message| message.flags.has(Flags::SEEN));
            Some(folder.messages.len() - seen.count())
        }
        _ => None,
    }
}

/// A folder's name as an answer writes it; names hold neither control characters nor, in modified
/// UTF-7, anything but ASCII.
fn spelt(name: &str) -> String {
    if name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"/-_.".contains(&octet)) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a name fits a pattern of LIST: `*` is anything, `%` anything without `/`.
fn fits(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase().into_bytes();
    // For each length of a beginning of the name: whether the pattern so far fits it.
    let mut reached = vec![false; name.len() + 1];
    reached.iter_mut().take(1).for_each(|start| *start = true);
    for octet in pattern.to_ascii_lowercase().bytes() {
        let mut now = false;
        let mut next = Vec::with_capacity(reached.len());
        for (at, before) in reached.iter().enumerate() {
            let last = at.checked_sub(1).and_then(|last| name.get(last));
            now = match octet {
                b'*' => now || *before,
                b'%' => *before || (now && last != Some(&b'/')),
                plain => {
                    let shorter = at.checked_sub(1).and_then(|last| reached.get(last));
                    last == Some(&plain) && shorter == Some(&true)
                }
            };
            next.push(now);
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        let table = [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "inbox", true),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("A*c", "a/b/c", true),
            ("%/%/%", "a/b/c", true),
            ("inbox", "INBOX", true),
            ("in", "INBOX", false),
            ("inbox%", "INBOX", true),
            ("*x*", "INBOX", true),
            ("", "a", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(table.len(), 12);
        assert!(!fits(&"*".repeat(5000), "") || fits("*", ""));
    }
}
