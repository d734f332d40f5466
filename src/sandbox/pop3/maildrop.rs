//! The INBOX as a maildrop: as it was at login, numbered, with marks of deletion (RFC 1939
//! section 5).

use crate::sandbox::world::{Stored, World};

/// A maildrop in the transaction state.
pub(super) struct Maildrop {
    mailbox: String,
    validity: u32,
    /// The messages, and whether each is deleted.
    messages: Vec<(Stored, bool)>,
}

impl Maildrop {
    pub(super) fn open(world: &World, mailbox: &str) -> Self {
        world.mail(mailbox, |mail| {
            let (validity, messages) = mail
                .folder("INBOX")
                .map_or((0, &[][..]), |inbox| (inbox.validity, inbox.messages.as_slice()));
            Self {
                mailbox: mailbox.to_owned(),
                validity,
                messages: messages.iter().map(|message| (message.clone(), false)).collect(),
            }
        })
    }

    pub(super) fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// The identifiers of what QUIT removes.
    pub(super) fn deleted(&self) -> Vec<u32> {
        let doomed = self.messages.iter().filter(|(_, deleted)| *deleted);
        doomed.map(|(message, _)| message.uid).collect()
    }

    /// The message of this number, unless it is deleted.
    pub(super) fn message(&self, number: Option<usize>) -> Option<&Stored> {
        let (message, deleted) = self.messages.get(number?.checked_sub(1)?)?;
        (!deleted).then_some(message)
    }

    pub(super) fn delete(&mut self, number: Option<usize>) -> bool {
        let at = number.and_then(|number| number.checked_sub(1));
        match at.and_then(|at| self.messages.get_mut(at)) {
            Some((_, deleted)) if !*deleted => {
                *deleted = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn reset(&mut self) {
        self.messages.iter_mut().for_each(|(_, deleted)| *deleted = false);
    }

    pub(super) fn stat(&self) -> String {
        let octets: usize = self.left().map(|(_, message)| message.bytes.len()).sum();
        format!("+OK {} {octets}", self.left().count())
    }

    /// A line for each message, with what `column` says of it.
    pub(super) fn listing(&self, column: impl Fn(&Stored) -> String) -> String {
        let lines =
            self.left().map(|(number, message)| format!("{number} {}\r\n", column(message)));
        format!("+OK\r\n{}.", lines.collect::<String>())
    }

    /// The line of one message.
    pub(super) fn line(
        &self,
        number: Option<usize>,
        column: impl Fn(&Self, &Stored) -> String,
    ) -> Option<String> {
        let message = self.message(number)?;
        Some(format!("+OK {} {}", number?, column(self, message)))
    }

    pub(super) fn unique_ids(&self) -> String {
        self.listing(|message| self.unique(message))
    }

    pub(super) fn unique_id(&self, number: Option<usize>) -> Option<String> {
        self.line(number, Self::unique)
    }

    /// Printable, and never given to another message, also in another sandbox.
    fn unique(&self, message: &Stored) -> String {
        format!("{}-{}", self.validity, message.uid)
    }

    fn left(&self) -> impl Iterator<Item = (usize, &Stored)> {
        let numbered = self.messages.iter().enumerate();
        numbered.filter(|(_, (_, deleted))| !deleted).map(|(at, (message, _))| (at + 1, message))
    }
}

/// A message for RETR, or its header and so many lines for TOP: dots stuffed, whole lines, still
/// without the lone dot.
pub(super) fn stuffed(message: &[u8], lines: Option<usize>) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 64);
    let (mut rest, mut left) = (message, None);
    while !rest.is_empty() && left != Some(0) {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let (line, next) = rest.split_at(end.unwrap_or(rest.len()));
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
        stuffed.extend_from_slice(b"\r\n");
        rest = next.get(2..).unwrap_or_default();
        left = match left {
            Some(body) => Some(body - 1),
            // Behind the empty line the body begins, of which TOP wants only so much.
            None if line.is_empty() => lines,
            None => None,
        };
    }
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_stuffed_and_lines_made_whole() {
        let message = b"A: b\r\n\r\n.one\r\n..two\nx\r\n.\r\nend";
        let whole = b"A: b\r\n\r\n..one\r\n...two\nx\r\n..\r\nend\r\n";
        let rows = [
            (None, &whole[..]),
            (Some(9), &whole[..]),
            (Some(0), &b"A: b\r\n\r\n"[..]),
            (Some(1), &b"A: b\r\n\r\n..one\r\n"[..]),
        ];
        for (lines, expected) in rows {
            assert_eq!(stuffed(message, lines), expected, "{lines:?}");
        }
        assert_eq!(rows.len(), 4);
        assert_eq!(stuffed(b"", None), b"");
    }
}
