//! One whole command out of lines and literals (RFC 3501 section 4.3, RFC 7888), under limits.

use crate::sandbox::imap::{Next, Session, replies};
use crate::sandbox::wire::Silence;

/// Largest command in octets, the literal of APPEND aside. Exchange Server's default is 10,240;
/// that of Exchange Online is not known, and mirroring clients send long sets of numbers.
const COMMAND_LIMIT: usize = 64 * 1024;

/// A command as it came.
pub(super) enum Framed {
    Whole(Vec<u8>),
    /// It was refused on the way, and this is how the session goes on.
    Refused(Next),
}

impl Session {
    /// Reads what belongs to a command that starts with this line.
    pub(super) async fn whole(&mut self, line: Vec<u8>) -> Result<Framed, Silence> {
        let mut whole = line;
        let mut start = 0;
        let tag = tag_of(&whole);
        let append = whole
            .split(|octet| *octet == b' ')
            .nth(1)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"APPEND"));
        while let Some((length, waits)) = literal_at_end(whole.get(start..).unwrap_or_default()) {
            let tuning = self.world.tuning();
            let message = usize::try_from(tuning.size_limit).unwrap_or(usize::MAX);
            let limit = if append && self.member.is_some() {
                message.min(tuning.keep_octets).max(COMMAND_LIMIT)
            } else {
                COMMAND_LIMIT.saturating_sub(whole.len())
            };
            if length > limit {
                let reply = if append { replies::TOO_BIG } else { replies::LITERAL_TOO_LONG };
                let next = self.reply(&tag, reply).await?;
                // Where the client does not wait, its literal comes in any case.
                return Ok(Framed::Refused(if waits { next } else { Next::End }));
            }
            if waits {
                self.send(replies::CONTINUE).await?;
            }
            whole.extend(b"\r\n");
            whole.extend(self.wire.exactly(length).await?);
            start = whole.len();
            whole.extend(self.wire.line().await?);
        }
        Ok(Framed::Whole(whole))
    }
}

/// The tag of a command, where it is one that can be repeated.
pub(super) fn tag_of(command: &[u8]) -> String {
    let tag = command.split(|octet| *octet == b' ').next().unwrap_or_default();
    let fits = |octet: &u8| octet.is_ascii_graphic() && !b"(){%*\"\\+".contains(octet);
    match std::str::from_utf8(tag) {
        Ok(tag) if !tag.is_empty() && tag.len() <= 64 && tag.bytes().all(|octet| fits(&octet)) => {
            tag.to_owned()
        }
        _ => "*".to_owned(),
    }
}

/// The length of the literal that a line announces at its end, and whether the client waits.
fn literal_at_end(line: &[u8]) -> Option<(usize, bool)> {
    let line = line.strip_suffix(b"}")?;
    let (line, waits) = match line.strip_suffix(b"+") {
        Some(line) => (line, false),
        None => (line, true),
    };
    let start = line.iter().rposition(|octet| *octet == b'{')? + 1;
    let digits = std::str::from_utf8(line.get(start..)?).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    // A number beyond all bounds is a literal too, and too long.
    plain.then(|| (digits.parse().unwrap_or(usize::MAX), waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_announced_at_the_end() {
        let table = [
            ("a LOGIN {3}", Some((3, true))),
            ("a LOGIN {3+}", Some((3, false))),
            ("a {99999999999999999999999}", Some((usize::MAX, true))),
            ("a {}", None),
            ("a {+3}", None),
            ("a {3} b", None),
            ("a }", None),
            ("", None),
        ];
        for (line, literal) in table {
            assert_eq!(literal_at_end(line.as_bytes()), literal, "{line}");
        }
        assert_eq!(table.len(), 8);
        for (line, tag) in [("a1 NOOP", "a1"), ("", "*"), ("+ x", "*"), ("\u{e9} x", "*")] {
            assert_eq!(tag_of(line.as_bytes()), tag, "{line}");
        }
    }
}
