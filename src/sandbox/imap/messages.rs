//! The commands about messages: FETCH, STORE, COPY, SEARCH and their kin (RFC 3501 section 6.4),
//! and APPEND.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sandbox::imap::cursor::Cursor;
use crate::sandbox::imap::dispatch::{Answer, completed, only};
use crate::sandbox::imap::fetch::{self, Item};
use crate::sandbox::imap::search::{self, Candidate};
use crate::sandbox::imap::{Next, Session, Told, dates, replies};
use crate::sandbox::world::{Flags, ImapFault, Stored};

/// Octets in each piece of a split FETCH.
const PIECE: usize = 7;

impl Session {
    pub(super) fn append(&self, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let name = cursor.astring()?;
        cursor.space()?;
        let mut flags = Flags::NONE;
        if cursor.peek() == Some(b'(') {
            flags = read_flags(cursor)?;
            cursor.space()?;
        }
        let mut date = self.world.now();
        if cursor.peek() == Some(b'"') {
            date = dates::read_date_time(&cursor.text()?)?;
            cursor.space()?;
        }
        let bytes: Arc<[u8]> = cursor.literal()?.into();
        cursor.end()?;
        let appended = self.world.change_mail(&self.mailbox(), |mail| {
            let folder = mail.folder_mut(&name)?;
            Some((folder.validity, folder.insert(bytes, flags, date)))
        });
        Some(match appended {
            None => only(replies::TRY_CREATE),
            Some((validity, uid)) => {
                only(&format!("OK [APPENDUID {validity} {uid}] APPEND completed."))
            }
        })
    }

    pub(super) async fn fetch(&mut self, tag: &str, by_uid: bool, cursor: &mut Cursor<'_>) -> Told {
        let name = if by_uid { "UID FETCH" } else { "FETCH" };
        let Some((wanted, mut items)) = self.read_fetch(by_uid, cursor) else {
            return self.conclude(tag, name, only(replies::ARGUMENT_ERROR)).await;
        };
        let Some(wanted) = wanted else {
            return self.conclude(tag, name, only(replies::INVALID_SET)).await;
        };
        if by_uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let reads = items.iter().any(Item::reads);
        for (number, uid) in wanted {
            let Some((message, fresh)) = self.message(uid, reads) else {
                // Another session has removed it; this one will hear of it in time.
                continue;
            };
            let mut text = format!("* {number} FETCH (").into_bytes();
            text.extend(fetch::write(&items, &message));
            if fresh && !items.contains(&Item::Flags) {
                text.extend(format!(" FLAGS ({})", message.flags).bytes());
            }
            text.extend(b")\r\n");
            self.say(&String::from_utf8_lossy(&text));
            if self.world.strikes(ImapFault::DropMidFetch) {
                text.truncate(text.len() / 2);
                self.wire.send(&text).await?;
                return Ok(Next::End);
            }
            if self.world.strikes(ImapFault::SplitFetch) {
                for piece in text.chunks(PIECE) {
                    self.wire.send(piece).await?;
                }
            } else {
                self.wire.send(&text).await?;
            }
        }
        self.conclude(tag, name, only(&completed(name))).await
    }

    #[allow(clippy::type_complexity)] // read in one place, taken apart in one other
    fn read_fetch(
        &self,
        by_uid: bool,
        cursor: &mut Cursor<'_>,
    ) -> Option<(Option<Vec<(u32, u32)>>, Vec<Item>)> {
        cursor.space()?;
        let set = cursor.set()?;
        cursor.space()?;
        let items = fetch::read(cursor)?;
        cursor.end()?;
        Some((self.view.as_ref()?.resolve(&set, by_uid), items))
    }

    /// A message of the selected folder, now read if it `reads`, and whether it was not before.
    fn message(&mut self, uid: u32, reads: bool) -> Option<(Stored, bool)> {
        let mailbox = self.mailbox();
        let view = self.view.as_mut()?;
        let message =
            self.world.mail(&mailbox, |mail| view.in_mail(mail)?.message(uid).cloned())?;
        if !reads || view.read_only || message.flags.has(Flags::SEEN) {
            return Some((message, false));
        }
        let seen = message.flags.with(Flags::SEEN);
        let message = self.world.change_mail(&mailbox, |mail| {
            mail.folder_mut(&view.folder)?.set_flags(uid, seen).cloned()
        })?;
        view.told(uid, message.revision);
        Some((message, true))
    }

    pub(super) fn store(&mut self, by_uid: bool, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let set = cursor.set()?;
        cursor.space()?;
        let how = cursor.word()?;
        cursor.space()?;
        let flags = read_flags(cursor)?;
        cursor.end()?;
        let (how, silent) = match how.strip_suffix(".SILENT") {
            Some(how) => (how, true),
            None => (how.as_str(), false),
        };
        let change: fn(Flags, Flags) -> Flags = match how {
            "FLAGS" => |_, flags| flags,
            "+FLAGS" => Flags::with,
            "-FLAGS" => Flags::without,
            _ => return None,
        };
        let mailbox = self.mailbox();
        let view = self.view.as_mut()?;
        if view.read_only {
            return Some(only(replies::READ_ONLY));
        }
        let Some(wanted) = view.resolve(&set, by_uid) else {
            return Some(only(replies::INVALID_SET));
        };
        let lines = self.world.change_mail(&mailbox, |mail| {
            let mut lines = Vec::new();
            if view.in_mail(mail).is_none() {
                return lines;
            }
            let Some(folder) = mail.folder_mut(&view.folder) else {
                return lines;
            };
            for (number, uid) in wanted {
                let Some(before) = folder.message(uid).map(|message| message.flags) else {
                    continue;
                };
                if let Some(message) = folder.set_flags(uid, change(before, flags)) {
                    view.told(uid, message.revision);
                    let uid = if by_uid { format!("UID {uid} ") } else { String::new() };
                    lines.push(format!("* {number} FETCH ({uid}FLAGS ({}))", message.flags));
                }
            }
            lines
        });
        Some((if silent { Vec::new() } else { lines }, completed("STORE")))
    }

    /// COPY, and MOVE, which is a COPY and the removal (RFC 6851).
    pub(super) fn copy(
        &mut self,
        name: &str,
        by_uid: bool,
        cursor: &mut Cursor<'_>,
    ) -> Option<Answer> {
        let moves = name.ends_with("MOVE");
        cursor.space()?;
        let set = cursor.set()?;
        cursor.space()?;
        let to = cursor.astring()?;
        cursor.end()?;
        let mailbox = self.mailbox();
        let view = self.view.as_ref()?;
        if moves && view.read_only {
            return Some(only(replies::READ_ONLY));
        }
        let Some(wanted) = view.resolve(&set, by_uid) else {
            return Some(only(replies::INVALID_SET));
        };
        let uids: Vec<u32> = wanted.into_iter().map(|(_, uid)| uid).collect();
        let copied = self.world.change_mail(&mailbox, |mail| {
            view.in_mail(mail)?;
            let validity = mail.folder(&to)?.validity;
            let copied = mail.copy(&view.folder, &uids, &to)?;
            if moves && let Some(folder) = mail.folder_mut(&view.folder) {
                folder.remove(|message| copied.iter().any(|(old, _)| *old == message.uid));
            }
            Some((validity, copied))
        });
        let Some((validity, copied)) = copied else {
            return Some(only(replies::TRY_CREATE));
        };
        if copied.is_empty() {
            return Some(only(&completed(name)));
        }
        let list = |pick: fn(&(u32, u32)) -> u32| {
            copied.iter().map(|pair| pick(pair).to_string()).collect::<Vec<_>>().join(",")
        };
        let code = format!("[COPYUID {validity} {} {}]", list(|pair| pair.0), list(|pair| pair.1));
        Some(if moves {
            (vec![format!("* OK {code}")], completed(name))
        } else {
            only(&format!("OK {code} COPY completed."))
        })
    }

    pub(super) fn expunge(&self, by_uid: bool, cursor: &mut Cursor<'_>) -> Option<Answer> {
        let view = self.view.as_ref()?;
        let mut among = None;
        if by_uid {
            cursor.space()?;
            let set = cursor.set()?;
            let wanted = view.resolve(&set, true).unwrap_or_default();
            among = Some(wanted.into_iter().map(|(_, uid)| uid).collect::<BTreeSet<_>>());
        }
        cursor.end()?;
        if view.read_only {
            return Some(only(replies::READ_ONLY));
        }
        self.world.change_mail(&self.mailbox(), |mail| {
            if view.in_mail(mail).is_some()
                && let Some(folder) = mail.folder_mut(&view.folder)
            {
                folder.remove(|message| {
                    let meant = among.as_ref().is_none_or(|among| among.contains(&message.uid));
                    meant && message.flags.has(Flags::DELETED)
                });
            }
        });
        // The EXPUNGE lines come with the other news.
        Some(only(&completed("EXPUNGE")))
    }

    pub(super) fn search(&self, by_uid: bool, cursor: &mut Cursor<'_>) -> Option<Answer> {
        cursor.space()?;
        let key = match search::read(cursor) {
            Ok(key) => key,
            Err(true) => return Some(only(replies::BAD_CHARSET)),
            Err(false) => return None,
        };
        let view = self.view.as_ref()?;
        let (last_number, last_uid) = (view.len(), view.last_uid());
        let found: Vec<String> = self.world.mail(&self.mailbox(), |mail| {
            let folder = view.in_mail(mail);
            let fits = |(number, uid): &(u32, u32)| {
                folder.and_then(|folder| folder.message(*uid)).is_some_and(|message| {
                    let number = *number;
                    key.fits(&Candidate { message, number, last_number, last_uid })
                })
            };
            let hits = view.all().filter(fits);
            hits.map(|(number, uid)| if by_uid { uid } else { number }.to_string()).collect()
        });
        let blank = if found.is_empty() { "" } else { " " };
        Some((vec![format!("* SEARCH{blank}{}", found.join(" "))], completed("SEARCH")))
    }
}

/// Flags in parentheses or, for STORE, without; those that Exchange does not keep are left out.
fn read_flags(cursor: &mut Cursor<'_>) -> Option<Flags> {
    let flag = |cursor: &mut Cursor<'_>| {
        let backslash = cursor.take(b'\\').map_or("", |()| "\\");
        let name = format!("{backslash}{}", cursor.word()?);
        Some(Flags::named(&name).unwrap_or_default())
    };
    let flags = if cursor.peek() == Some(b'(') {
        cursor.list(flag)?
    } else {
        let mut flags = vec![flag(cursor)?];
        while cursor.end().is_none() {
            cursor.space()?;
            flags.push(flag(cursor)?);
        }
        flags
    };
    Some(flags.into_iter().fold(Flags::NONE, Flags::with))
}
