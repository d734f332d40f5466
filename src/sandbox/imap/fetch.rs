//! What FETCH asks for and how it is answered (RFC 3501 sections 6.4.5 and 7.4.2).

use crate::sandbox::imap::cursor::Cursor;
use crate::sandbox::imap::dates;
use crate::sandbox::imap::mime::{self, Part};
use crate::sandbox::imap::structure;
use crate::sandbox::world::Stored;

/// One `fetch-att`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Item {
    Flags,
    Uid,
    Date,
    Size,
    Envelope,
    Structure { label: &'static str, extended: bool },
    Section { label: String, section: Section, partial: Option<(usize, usize)>, peek: bool },
}

/// A `section`: numbers, and what of the part they lead to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Section {
    path: Vec<u32>,
    what: What,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum What {
    /// All of a message, or the body of a part.
    Whole,
    Header,
    Text,
    Mime,
    Fields {
        names: Vec<String>,
        not: bool,
    },
}

impl Item {
    /// Whether fetching this sets `\Seen`.
    pub(super) fn reads(&self) -> bool {
        matches!(self, Self::Section { peek: false, .. })
    }
}

/// `ALL`, `FULL`, `FAST`, one item or a list of them.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Vec<Item>> {
    let fast = [Item::Flags, Item::Date, Item::Size];
    let all = || [&fast[..], &[Item::Envelope]].concat();
    if cursor.peek() == Some(b'(') {
        return cursor.list(item).filter(|items| !items.is_empty());
    }
    match cursor.clone().word().as_deref() {
        Some("FAST") => cursor.word().map(|_| fast.to_vec()),
        Some("ALL") => cursor.word().map(|_| all()),
        Some("FULL") => {
            cursor.word()?;
            let body = Item::Structure { label: "BODY", extended: false };
            Some([all(), vec![body]].concat())
        }
        _ => Some(vec![item(cursor)?]),
    }
}

fn item(cursor: &mut Cursor<'_>) -> Option<Item> {
    let name = cursor.run(|octet| octet.is_ascii_alphanumeric() || octet == b'.')?;
    let old = |what, peek| {
        let section = Section { path: Vec::new(), what };
        Item::Section { label: name.to_ascii_uppercase(), section, partial: None, peek }
    };
    Some(match name.to_ascii_uppercase().as_str() {
        "FLAGS" => Item::Flags,
        "UID" => Item::Uid,
        "INTERNALDATE" => Item::Date,
        "RFC822.SIZE" => Item::Size,
        "ENVELOPE" => Item::Envelope,
        "BODYSTRUCTURE" => Item::Structure { label: "BODYSTRUCTURE", extended: true },
        "RFC822" => old(What::Whole, false),
        "RFC822.HEADER" => old(What::Header, true),
        "RFC822.TEXT" => old(What::Text, false),
        "BODY" if cursor.peek() != Some(b'[') => Item::Structure { label: "BODY", extended: false },
        body @ ("BODY" | "BODY.PEEK") => {
            let (section, spelt) = section(cursor)?;
            let partial = partial(cursor)?;
            let origin = partial.map(|(start, _)| format!("<{start}>")).unwrap_or_default();
            let label = format!("BODY[{spelt}]{origin}");
            Item::Section { label, section, partial, peek: body == "BODY.PEEK" }
        }
        _ => return None,
    })
}

/// `"[" [section-spec] "]"` and how the answer spells it.
fn section(cursor: &mut Cursor<'_>) -> Option<(Section, String)> {
    cursor.take(b'[')?;
    let mut path = Vec::new();
    while cursor.peek()?.is_ascii_digit() {
        path.push(cursor.number()?);
        if cursor.peek() == Some(b'.') {
            cursor.take(b'.')?;
        }
    }
    let numbers = path.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    if cursor.take(b']').is_some() {
        return Some((Section { path, what: What::Whole }, numbers));
    }
    let word = cursor.run(|octet| octet.is_ascii_alphabetic() || octet == b'.')?;
    let word = word.to_ascii_uppercase();
    let mut names = String::new();
    let what = match word.as_str() {
        "HEADER" => What::Header,
        "TEXT" => What::Text,
        "MIME" if !path.is_empty() => What::Mime,
        "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
            cursor.space()?;
            let listed = cursor.list(Cursor::astring).filter(|listed| !listed.is_empty())?;
            names = format!(" ({})", listed.join(" "));
            What::Fields { names: listed, not: word.ends_with("NOT") }
        }
        _ => return None,
    };
    cursor.take(b']')?;
    let dot = if numbers.is_empty() { "" } else { "." };
    Some((Section { path, what }, format!("{numbers}{dot}{word}{names}")))
}

/// `["<" number "." nz-number ">"]`
#[allow(clippy::option_option)] // absent and malformed differ
fn partial(cursor: &mut Cursor<'_>) -> Option<Option<(usize, usize)>> {
    if cursor.peek() != Some(b'<') {
        return Some(None);
    }
    cursor.take(b'<')?;
    let start = usize::try_from(cursor.number()?).ok()?;
    cursor.take(b'.')?;
    let count = usize::try_from(cursor.number()?).ok().filter(|count| *count > 0)?;
    cursor.take(b'>')?;
    Some(Some((start, count)))
}

/// What stands in the parentheses of the answer.
pub(super) fn write(items: &[Item], message: &Stored) -> Vec<u8> {
    let part = Part::read(&message.bytes);
    let mut text = Vec::new();
    for item in items {
        if !text.is_empty() {
            text.push(b' ');
        }
        match item {
            Item::Flags => text.extend(format!("FLAGS ({})", message.flags).bytes()),
            Item::Uid => text.extend(format!("UID {}", message.uid).bytes()),
            Item::Date => {
                let date = dates::date_time(message.date);
                text.extend(format!("INTERNALDATE \"{date}\"").bytes());
            }
            Item::Size => text.extend(format!("RFC822.SIZE {}", message.bytes.len()).bytes()),
            Item::Envelope => {
                text.extend(format!("ENVELOPE {}", structure::envelope(&part)).bytes());
            }
            Item::Structure { label, extended } => {
                text.extend(format!("{label} {}", structure::body(&part, *extended)).bytes());
            }
            Item::Section { label, section, partial, .. } => {
                let octets = section.of(&part, &message.bytes);
                let octets = match partial {
                    None => octets.as_slice(),
                    Some((start, count)) => {
                        let rest = octets.get(*start..).unwrap_or_default();
                        rest.get(..*count).unwrap_or(rest)
                    }
                };
                text.extend(format!("{label} {{{}}}\r\n", octets.len()).bytes());
                text.extend(octets);
            }
        }
    }
    text
}

impl Section {
    /// The octets of this section; none where it does not exist.
    fn of(&self, message: &Part<'_>, whole: &[u8]) -> Vec<u8> {
        let Some(part) = message.section(&self.path) else {
            return Vec::new();
        };
        // HEADER and TEXT of a part are those of the message inside it.
        let inner = if self.path.is_empty() { Some(part) } else { part.inner() };
        match &self.what {
            What::Whole if self.path.is_empty() => whole.to_vec(),
            What::Whole => part.body.to_vec(),
            What::Mime => part.header.to_vec(),
            What::Header => inner.map(|inner| inner.header.to_vec()).unwrap_or_default(),
            What::Text => inner.map(|inner| inner.body.to_vec()).unwrap_or_default(),
            What::Fields { names, not } => {
                let wanted = |field: &[u8]| {
                    let name = mime::name_of(field);
                    names.iter().any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name)) != *not
                };
                let fields = inner.map(|inner| mime::fields(inner.header)).unwrap_or_default();
                let mut kept = fields.into_iter().filter(|field| wanted(field)).collect::<Vec<_>>();
                kept.push(b"\r\n");
                kept.concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::world::{Flags, Mail};

    #[test]
    fn every_item_has_its_answer() {
        let mut mail = Mail::new(1);
        let inbox = mail.folder_mut("INBOX").unwrap();
        let bytes = b"A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\nbody\r\n";
        let uid = inbox.insert(bytes[..].into(), Flags::SEEN, 0);
        let message = inbox.message(uid).unwrap();
        let whole = std::str::from_utf8(bytes).unwrap();
        let table = [
            ("flags", "FLAGS (\\Seen)".to_owned()),
            ("UID", "UID 1".to_owned()),
            (
                "FAST",
                "FLAGS (\\Seen) INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" RFC822.SIZE 30"
                    .to_owned(),
            ),
            ("BODY[]", format!("BODY[] {{30}}\r\n{whole}")),
            ("RFC822", format!("RFC822 {{30}}\r\n{whole}")),
            ("body.peek[text]", "BODY[TEXT] {6}\r\nbody\r\n".to_owned()),
            ("BODY[1]", "BODY[1] {6}\r\nbody\r\n".to_owned()),
            ("BODY[2]", "BODY[2] {0}\r\n".to_owned()),
            ("BODY[HEADER]", "BODY[HEADER] {24}\r\nA: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\n".to_owned()),
            (
                "RFC822.HEADER",
                "RFC822.HEADER {24}\r\nA: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\n".to_owned(),
            ),
            (
                "BODY[HEADER.FIELDS (b \"X\")]",
                "BODY[HEADER.FIELDS (b X)] {12}\r\nB: 2\r\n 3\r\n\r\n".to_owned(),
            ),
            (
                "BODY[HEADER.FIELDS.NOT (b)]",
                "BODY[HEADER.FIELDS.NOT (b)] {14}\r\nA: 1\r\nC: 4\r\n\r\n".to_owned(),
            ),
            ("BODY[]<1.3>", "BODY[]<1> {3}\r\n: 1".to_owned()),
            ("BODY[]<99.3>", "BODY[]<99> {0}\r\n".to_owned()),
            ("(UID FLAGS)", "UID 1 FLAGS (\\Seen)".to_owned()),
        ];
        for (asked, answer) in &table {
            let mut cursor = Cursor::new(asked.as_bytes());
            let items = read(&mut cursor).unwrap_or_else(|| panic!("{asked}"));
            assert!(cursor.end().is_some(), "{asked}");
            assert_eq!(String::from_utf8(write(&items, message)).unwrap(), *answer, "{asked}");
        }
        assert_eq!(table.len(), 15);
        for odd in ["", "()", "XYZ", "BODY[", "BODY[MIME]", "BODY[HEADER.FIELDS ()]", "BODY[]<1>"] {
            assert_eq!(read(&mut Cursor::new(odd.as_bytes())), None, "{odd}");
        }
    }
}
