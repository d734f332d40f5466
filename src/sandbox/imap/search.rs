//! SEARCH (RFC 3501 section 6.4.4): reading the keys, and trying a message against them.

use crate::sandbox::imap::cursor::{Cursor, Set};
use crate::sandbox::imap::dates;
use crate::sandbox::imap::mime::Part;
use crate::sandbox::world::{Flags, Stored};

/// Keys in keys are read no deeper than this.
const DEPTH: usize = 16;

/// A `search-key`.
#[derive(Clone, Debug)]
pub(super) enum Key {
    All,
    /// `NEW` and `RECENT`: no message is recent here.
    None,
    Has(Flags),
    Lacks(Flags),
    Numbers(Set),
    Uids(Set),
    /// Days since 1970 of INTERNALDATE or of the Date field: at least, less than.
    Days {
        sent: bool,
        from: u64,
        to: u64,
    },
    Larger(usize),
    Smaller(usize),
    Field(String, String),
    Body(String),
    Text(String),
    Not(Box<Key>),
    Either(Box<Key>, Box<Key>),
    Both(Vec<Key>),
}

/// All keys to the end of the command; the error is whether a charset is to blame.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Key, bool> {
    let mut ahead = cursor.clone();
    if ahead.word().as_deref() == Some("CHARSET") {
        *cursor = ahead;
        let charset = cursor.space().and_then(|()| cursor.astring()).ok_or(false)?;
        if !["US-ASCII", "UTF-8"].contains(&charset.to_ascii_uppercase().as_str()) {
            return Err(true);
        }
        cursor.space().ok_or(false)?;
    }
    let mut keys = vec![key(cursor, 0).ok_or(false)?];
    while cursor.end().is_none() {
        cursor.space().ok_or(false)?;
        keys.push(key(cursor, 0).ok_or(false)?);
    }
    Ok(Key::Both(keys))
}

fn key(cursor: &mut Cursor<'_>, depth: usize) -> Option<Key> {
    if depth > DEPTH {
        return None;
    }
    match cursor.peek()? {
        b'(' => {
            let keys = cursor.list(|cursor| key(cursor, depth + 1))?;
            return (!keys.is_empty()).then_some(Key::Both(keys));
        }
        b'0'..=b'9' | b'*' => return cursor.set().map(Key::Numbers),
        _ => {}
    }
    let word = cursor.word()?;
    let flag = match word.as_str() {
        "ALL" | "OLD" => return Some(Key::All),
        "NEW" | "RECENT" => return Some(Key::None),
        "ANSWERED" | "UNANSWERED" => Some(Flags::ANSWERED),
        "DELETED" | "UNDELETED" => Some(Flags::DELETED),
        "DRAFT" | "UNDRAFT" => Some(Flags::DRAFT),
        "FLAGGED" | "UNFLAGGED" => Some(Flags::FLAGGED),
        "SEEN" | "UNSEEN" => Some(Flags::SEEN),
        _ => None,
    };
    if let Some(flag) = flag {
        return Some(if word.starts_with("UN") { Key::Lacks(flag) } else { Key::Has(flag) });
    }
    cursor.space()?;
    let days = |cursor: &mut Cursor<'_>| dates::read_date(&cursor.astring()?);
    let size = |cursor: &mut Cursor<'_>| usize::try_from(cursor.number()?).ok();
    let text = |cursor: &mut Cursor<'_>| Some(cursor.astring()?.to_lowercase());
    let sent = word.starts_with("SENT");
    Some(match word.as_str() {
        "KEYWORD" => Flags::named(&cursor.word()?).map_or(Key::None, Key::Has),
        "UNKEYWORD" => Flags::named(&cursor.word()?).map_or(Key::All, Key::Lacks),
        "BEFORE" | "SENTBEFORE" => Key::Days { sent, from: 0, to: days(cursor)? },
        "SINCE" | "SENTSINCE" => Key::Days { sent, from: days(cursor)?, to: u64::MAX },
        "ON" | "SENTON" => {
            let day = days(cursor)?;
            Key::Days { sent, from: day, to: day + 1 }
        }
        "LARGER" => Key::Larger(size(cursor)?),
        "SMALLER" => Key::Smaller(size(cursor)?),
        "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Field(word, text(cursor)?),
        "HEADER" => {
            let name = cursor.astring()?;
            cursor.space()?;
            Key::Field(name, text(cursor)?)
        }
        "BODY" => Key::Body(text(cursor)?),
        "TEXT" => Key::Text(text(cursor)?),
        "UID" => Key::Uids(cursor.set()?),
        "NOT" => Key::Not(Box::new(key(cursor, depth + 1)?)),
        "OR" => {
            let first = key(cursor, depth + 1)?;
            cursor.space()?;
            Key::Either(Box::new(first), Box::new(key(cursor, depth + 1)?))
        }
        _ => return None,
    })
}

/// A message and where it stands.
pub(super) struct Candidate<'a> {
    pub(super) message: &'a Stored,
    pub(super) number: u32,
    pub(super) last_number: u32,
    pub(super) last_uid: u32,
}

impl Key {
    pub(super) fn fits(&self, candidate: &Candidate<'_>) -> bool {
        let message = candidate.message;
        let part = || Part::read(&message.bytes);
        let contains = |octets: &[u8], text: &str| {
            String::from_utf8_lossy(octets).to_lowercase().contains(text)
        };
        match self {
            Self::All => true,
            Self::None => false,
            Self::Has(flag) => message.flags.has(*flag),
            Self::Lacks(flag) => !message.flags.has(*flag),
            Self::Numbers(set) => set.holds(candidate.number, candidate.last_number),
            Self::Uids(set) => set.holds(message.uid, candidate.last_uid),
            Self::Days { sent, from, to } => {
                let day = match part().field("date").filter(|_| *sent) {
                    Some(field) => dates::header_day(&field),
                    None => (!sent).then_some(message.date / 86_400),
                };
                day.is_some_and(|day| (*from..*to).contains(&day))
            }
            Self::Larger(size) => message.bytes.len() > *size,
            Self::Smaller(size) => message.bytes.len() < *size,
            Self::Field(name, text) => {
                part().field(name).is_some_and(|field| field.to_lowercase().contains(text))
            }
            Self::Body(text) => contains(part().body, text),
            Self::Text(text) => contains(&message.bytes, text),
            Self::Not(key) => !key.fits(candidate),
            Self::Either(first, second) => first.fits(candidate) || second.fits(candidate),
            Self::Both(keys) => keys.iter().all(|key| key.fits(candidate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::world::Mail;

    #[test]
    fn keys_find_what_they_name() {
        let mut mail = Mail::new(1);
        let inbox = mail.folder_mut("INBOX").unwrap();
        let date = dates::read_date_time("10-Oct-2024 12:00:00 +0000").unwrap();
        inbox.insert(
            b"From: Ann <a@b.c>\r\nDate: Wed, 9 Oct 2024 1:2:3 +0000\r\n\r\nHello"[..].into(),
            Flags::SEEN.with(Flags::FLAGGED),
            date,
        );
        let message = inbox.message(1).unwrap();
        let candidate = Candidate { message, number: 1, last_number: 4, last_uid: 9 };
        let table = [
            ("ALL", true),
            ("1:2", true),
            ("2:*", false),
            ("UID 1", true),
            ("SEEN FLAGGED UNDELETED", true),
            ("UNSEEN", false),
            ("NOT UNSEEN", true),
            ("OR UNSEEN (SEEN FLAGGED)", true),
            ("SINCE 10-Oct-2024", true),
            ("BEFORE 10-Oct-2024", false),
            ("ON \"10-Oct-2024\"", true),
            ("SENTON 9-Oct-2024", true),
            ("SENTSINCE 10-Oct-2024", false),
            ("FROM ann", true),
            ("HEADER from B.C", true),
            ("HEADER X \"\"", false),
            ("BODY hello", true),
            ("BODY ann", false),
            ("TEXT ANN", true),
            ("LARGER 10 SMALLER 100", true),
            ("CHARSET UTF-8 NEW", false),
            ("KEYWORD x UNKEYWORD x", false),
        ];
        for (keys, found) in table {
            let key = read(&mut Cursor::new(keys.as_bytes())).unwrap_or_else(|_| panic!("{keys}"));
            assert_eq!(key.fits(&candidate), found, "{keys}");
        }
        assert_eq!(table.len(), 22);
        for odd in ["", "XYZZY", "SINCE x", "NOT", "OR ALL", "()", "UID", "ALL  SEEN"] {
            assert!(matches!(read(&mut Cursor::new(odd.as_bytes())), Err(false)), "{odd}");
        }
        assert!(matches!(read(&mut Cursor::new(b"CHARSET KOI8-R ALL")), Err(true)));
        let deep = "NOT ".repeat(99) + "ALL";
        assert!(read(&mut Cursor::new(deep.as_bytes())).is_err());
    }
}
