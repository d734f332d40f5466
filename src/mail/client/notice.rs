//! What an IMAP server says after the login that its operator should hear of.
//!
//! The relay copies bytes and asks nobody; an [`Observer`] beside it looks at the first octets of
//! the server, where a mailbox that cannot be opened shows itself, and keeps the last ones, where
//! the reason of the end stands. What it holds may be mail: it is matched, and never shown.

use zeroize::Zeroize;

/// Octets after the login within which the first command's answer is looked for.
const HEAD: usize = 4096;
/// Octets kept of the end: two lines.
const TAIL: usize = 256;
/// The words of Exchange Online, in lower case (as observed).
const NOT_CONNECTED: &str = " bad user is authenticated but not connected";

/// Looks at what the server sends after the login.
#[derive(Default)]
pub struct Observer {
    /// The line that is arriving, while the head lasts.
    line: Vec<u8>,
    seen: usize,
    tail: Vec<u8>,
}

/// Why an IMAP server ended a session, as far as it is known and worth saying.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goodbye {
    /// The access token's life was over; a client logs in again, and that is all.
    TokenExpired,
    /// The client was silent for too long.
    Idle,
    /// The server gave up after an error that it had named before.
    AfterError,
}

impl Observer {
    /// Hears the next octets. True where they say, once at most, that the login was good and the
    /// mailbox cannot be opened.
    pub fn hear(&mut self, octets: &[u8]) -> bool {
        self.keep_tail(octets);
        if self.seen >= HEAD {
            return false;
        }
        self.seen += octets.len();
        // A literal is mail: the mailbox has been opened, and what follows may quote anything.
        let (mut found, mut mail) = (false, false);
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            self.line.extend_from_slice(piece.get(..HEAD).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                found |= is_not_connected(&self.line);
                mail |= self.line.ends_with(b"}\r\n");
                self.line.zeroize();
            }
            if found || mail {
                break;
            }
        }
        if found || mail || self.seen >= HEAD {
            self.seen = HEAD;
            self.line.zeroize();
            self.line.shrink_to_fit();
        }
        found
    }

    /// Why the server ended the session, if the last that it said was `* BYE` in known words.
    pub fn goodbye(&self) -> Option<Goodbye> {
        let text = String::from_utf8_lossy(&self.tail).to_ascii_lowercase();
        let mut lines = text.lines().rev().filter(|line| !line.is_empty()).take(2);
        let bye = lines.find_map(|line| line.strip_prefix("* bye "))?;
        [
            ("accesstokenexpired", Goodbye::TokenExpired),
            ("connection is closed. 13", Goodbye::Idle),
            ("connection closed. 14", Goodbye::AfterError),
        ]
        .into_iter()
        .find_map(|(words, goodbye)| bye.contains(words).then_some(goodbye))
    }

    fn keep_tail(&mut self, octets: &[u8]) {
        let fresh = octets.get(octets.len().saturating_sub(TAIL)..).unwrap_or_default();
        let excess = (self.tail.len() + fresh.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend_from_slice(fresh);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.line.zeroize();
        self.tail.zeroize();
    }
}

/// `tag BAD User is authenticated but not connected.`
fn is_not_connected(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    line.split_once(' ').is_some_and(|(tag, _)| line[tag.len()..].starts_with(NOT_CONNECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(observer: &mut Observer, text: &str, piece: usize) -> usize {
        text.as_bytes().chunks(piece).filter(|octets| observer.hear(octets)).count()
    }

    #[test]
    fn a_mailbox_that_cannot_be_opened_is_heard_once_in_whatever_pieces() {
        let said = "* CAPABILITY IMAP4\r\nA1 OK done.\r\nA2 BAD User is authenticated but not connected.\r\n\
                    A3 BAD User is authenticated but not connected.\r\n";
        for piece in [1, 2, 7, 1000] {
            assert_eq!(hear(&mut Observer::default(), said, piece), 1, "pieces of {piece}");
        }
    }

    #[test]
    fn mail_that_quotes_the_words_is_not_taken_for_them() {
        let quoting = "* 1 FETCH (BODY[] {60}\r\nIt said: BAD User is authenticated but not connected.\r\n)\r\n";
        assert_eq!(hear(&mut Observer::default(), quoting, 5), 0);
        let at_line_start = quoting.replace("It said: BAD", "A3 BAD");
        for piece in [1, 5, 1000] {
            assert_eq!(hear(&mut Observer::default(), &at_line_start, piece), 0);
        }
        let later = "x".repeat(HEAD) + "\r\nA2 BAD User is authenticated but not connected.\r\n";
        assert_eq!(
            hear(&mut Observer::default(), &later, 100),
            0,
            "not in answer to the first command"
        );
    }

    #[test]
    fn the_last_words_tell_why_the_session_ended() {
        let rows = [
            ("* BYE Session invalidated - AccessTokenExpired\r\n", Some(Goodbye::TokenExpired)),
            ("* 3 EXISTS\r\n* BYE Connection is closed. 13\r\n", Some(Goodbye::Idle)),
            ("* BYE Connection closed. 14\r\n", Some(Goodbye::AfterError)),
            ("* BYE signing off.\r\nA9 OK LOGOUT completed.\r\n", None),
            (
                "* BYE Connection closed. 14\r\nA9 OK LOGOUT completed.\r\n",
                Some(Goodbye::AfterError),
            ),
            ("A9 OK Session invalidated - AccessTokenExpired\r\n", None),
            ("", None),
        ];
        for (said, goodbye) in rows {
            for piece in [1, 9, 1000] {
                let mut observer = Observer::default();
                hear(&mut observer, &"* 1 EXISTS\r\n".repeat(99), 50);
                hear(&mut observer, said, piece);
                assert_eq!(observer.goodbye(), goodbye, "{said:?} in pieces of {piece}");
            }
        }
    }
}
