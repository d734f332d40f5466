//! Lines out of a buffer, and replies into one.
//!
//! Framing is a job of its own: grammars only ever see one whole line. A line is bounded before
//! it is buffered whole, and a reply built here cannot hold a CR or LF that its author did not
//! mean (reply splitting). Must never know what a line says.

use bytes::{Buf, BytesMut};
use zeroize::Zeroize;

/// The longest command line before login, without its line end. RFC 5321 section 4.5.3.1.4 and RFC
/// 2449 section 4 ask for 512 and 255; extensions and careless clients exceed it.
pub(super) const COMMAND_LINE: usize = 2048;
/// The longest line of a SASL exchange, without its line end (RFC 4954 section 4).
pub(super) const AUTH_LINE: usize = 12_288;
/// The same where a client may bring a token of its own: a token of 16 kB in base64, and what
/// stands around it.
pub(super) const TOKEN_LINE: usize = 24_576;
/// The longest reply line, without CRLF: RFC 5321 section 4.5.3.1.5 has 512 octets with it, and
/// some clients read no more.
const REPLY_LINE: usize = 510;

/// What is at the front of a buffer.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Framed<T> {
    /// A whole line.
    Line(T),
    /// Not yet a whole line.
    Partial,
    /// More than the limit without a line end.
    TooLong,
}

/// A line that may hold a credential: wiped on drop, and never printed.
pub(super) struct Line(Vec<u8>);

impl std::ops::Deref for Line {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The line at the front of the buffer, which stays there; as [`take_line`] would take it.
pub(super) fn peek_line(input: &[u8], limit: usize) -> Framed<&[u8]> {
    let Some(end) = input.iter().take(limit + 2).position(|&octet| octet == b'\n') else {
        return if input.len() > limit + 1 { Framed::TooLong } else { Framed::Partial };
    };
    let text = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    if text.len() <= limit { Framed::Line(text) } else { Framed::TooLong }
}

/// Takes one line of at most `limit` octets off the buffer, without its line end. CRLF ends a
/// line, and so does a bare LF, which old devices send; within a login no content is at stake.
/// The octets are wiped from the buffer.
pub(super) fn take_line(input: &mut BytesMut, limit: usize) -> Framed<Line> {
    let Some(end) = input.iter().take(limit + 2).position(|&octet| octet == b'\n') else {
        return if input.len() > limit + 1 { Framed::TooLong } else { Framed::Partial };
    };
    let mut taken = input.split_to(end);
    input.advance(1);
    let text = taken.strip_suffix(b"\r").unwrap_or(&taken);
    let line = (text.len() <= limit).then(|| Line(text.to_vec()));
    taken.zeroize();
    line.map_or(Framed::TooLong, Framed::Line)
}

/// One line of a reply, with its end: control characters and octets beyond ASCII become `?`, and it
/// is cut at 510 octets.
pub(super) fn line(text: &str) -> Vec<u8> {
    let mut out: Vec<u8> = text.chars().map(plain).take(REPLY_LINE).collect();
    out.extend_from_slice(b"\r\n");
    out
}

/// One SMTP reply of one or more lines: `250-first`, `250 last`, each as by [`line()`].
pub(super) fn reply<'a>(code: u16, lines: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let lines: Vec<_> = lines.into_iter().collect();
    let last = lines.len().saturating_sub(1);
    let numbered = lines.iter().enumerate().flat_map(|(index, text)| {
        let separator = if index == last { ' ' } else { '-' };
        line(&format!("{code}{separator}{text}"))
    });
    numbered.collect()
}

/// The text as one line that may stand in an error or a log.
pub(super) fn one_line(text: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(limit).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn plain(letter: char) -> u8 {
    if matches!(letter, ' '..='~') { letter as u8 } else { b'?' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(text: &str, limit: usize) -> (Framed<Vec<u8>>, BytesMut) {
        let mut input = BytesMut::from(text);
        let framed = match take_line(&mut input, limit) {
            Framed::Line(line) => Framed::Line(line.to_vec()),
            Framed::Partial => Framed::Partial,
            Framed::TooLong => Framed::TooLong,
        };
        (framed, input)
    }

    #[test]
    fn a_line_ends_at_crlf_or_lf_and_the_rest_stays() {
        assert_eq!(take("EHLO a\r\nMAIL", 9), (Framed::Line(b"EHLO a".to_vec()), "MAIL".into()));
        assert_eq!(take("EHLO a\nMAIL", 9), (Framed::Line(b"EHLO a".to_vec()), "MAIL".into()));
        assert_eq!(take("\r\n", 9), (Framed::Line(vec![]), "".into()));
        assert_eq!(take("EHLO a\r", 9).0, Framed::Partial);
    }

    #[test]
    fn a_line_is_bounded_before_it_is_whole() {
        assert_eq!(take("123456789\r\n", 9).0, Framed::Line(b"123456789".to_vec()));
        assert_eq!(take("123456789\r", 9).0, Framed::Partial);
        assert_eq!(take("1234567890", 9).0, Framed::Partial, "a CR may yet be the tenth");
        assert_eq!(take("1234567890\n", 9).0, Framed::TooLong);
        assert_eq!(take("12345678901", 9).0, Framed::TooLong);
    }

    proptest! {
        #[test]
        fn a_reply_line_is_one_bounded_line(text in "\\PC*|[\\r\\n\\x00-\\x7f]*", more in ".*") {
            let reply = reply(250, [text.as_str(), more.as_str()]);
            let lines: Vec<_> = reply.split(|&octet| octet == b'\n').collect();
            prop_assert_eq!(lines.len(), 3, "two lines, each with its end");
            for line in &lines[..2] {
                prop_assert!(line.len() <= 511 && line.ends_with(b"\r"));
                prop_assert!(line[..line.len() - 1].iter().all(|octet| (0x20..0x7f).contains(octet)));
            }
        }
    }
}
