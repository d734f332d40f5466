//! A message on its way in: undoing dot-stuffing (RFC 5321 section 4.5.2), measuring, keeping.

use sha2::{Digest, Sha256};

/// Largest header in octets; Exchange Online's documented 256 kB.
const HEADER_LIMIT: usize = 256 * 1024;

/// The envelope so far.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) parameters: Vec<String>,
    pub(super) recipients: Vec<String>,
    pub(super) binary: bool,
    pub(super) body: Body,
    pub(super) chunked: bool,
}

/// The octets of a message as they come.
#[derive(Default)]
pub(super) struct Body {
    pub(super) kept: Vec<u8>,
    pub(super) octets: u64,
    sha256: Sha256,
    header: Vec<u8>,
    header_ended: bool,
}

impl Body {
    pub(super) fn push(&mut self, octets: &[u8], keep: usize) {
        self.octets += octets.len() as u64;
        self.sha256.update(octets);
        let room = keep.saturating_sub(self.kept.len()).min(octets.len());
        self.kept.extend_from_slice(octets.get(..room).unwrap_or_default());
        if !self.header_ended && self.header.len() <= HEADER_LIMIT {
            let seen = self.header.len().saturating_sub(3);
            self.header.extend_from_slice(octets);
            let fresh = self.header.get(seen..).unwrap_or_default();
            let end = fresh.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                self.header.truncate(seen + end + 2);
                self.header_ended = true;
            }
        }
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        self.sha256.clone().finalize().into()
    }

    pub(super) fn header_too_large(&self) -> bool {
        self.header.len() > HEADER_LIMIT
    }

    /// The address of the first From field.
    pub(super) fn author(&self) -> Option<String> {
        let field = self.field("from")?;
        let address = match field.rsplit_once('<') {
            Some((_, address)) => address.split('>').next().unwrap_or_default(),
            None => field.as_str(),
        };
        let address = address.trim();
        address.contains('@').then(|| address.to_owned())
    }

    /// The Message-ID with its angle brackets.
    pub(super) fn message_id(&self) -> Option<String> {
        let id = self.field("message-id")?;
        let id = id.trim();
        // It goes into a reply line, so it must be one printable word.
        let fits = id.len() < 250 && id.bytes().all(|octet| octet.is_ascii_graphic());
        (fits && id.starts_with('<') && id.ends_with('>')).then(|| id.to_owned())
    }

    fn field(&self, name: &str) -> Option<String> {
        let header = String::from_utf8_lossy(&self.header);
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        unfolded.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// Undoes dot-stuffing. A line starts only after CRLF: `LF.LF` ends nothing here.
pub(super) struct Unstuffer {
    line_start: bool,
    last: u8,
}

impl Unstuffer {
    pub(super) fn new() -> Self {
        Self { line_start: true, last: b'\n' }
    }

    /// What of these octets belongs to the message; none at the lone dot. A piece ends at an LF
    /// or is part of a very long line.
    pub(super) fn piece<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let at_start = self.line_start;
        if at_start && piece == b".\r\n" {
            return None;
        }
        self.line_start = match piece {
            [.., b'\r', b'\n'] => true,
            [b'\n'] => self.last == b'\r',
            _ => false,
        };
        self.last = piece.last().copied().unwrap_or(self.last);
        match piece {
            [b'.', rest @ ..] if at_start => Some(rest),
            whole => Some(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuff(pieces: &[&str]) -> (String, bool) {
        let (mut unstuffer, mut text) = (Unstuffer::new(), String::new());
        for piece in pieces {
            match unstuffer.piece(piece.as_bytes()) {
                Some(kept) => text += std::str::from_utf8(kept).unwrap(),
                None => return (text, true),
            }
        }
        (text, false)
    }

    #[test]
    fn dots_are_unstuffed_only_where_a_line_starts() {
        let table: [(&[&str], &str, bool); 7] = [
            (&[".\r\n"], "", true),
            (&["..\r\n", ".\r\n"], ".\r\n", true),
            (&["a\r\n", "..b\r\n", "c.\r\n", ".\r\n"], "a\r\n.b\r\nc.\r\n", true),
            (&["a\n", ".\n", ".\r\n"], "a\n.\n.\r\n", false),
            (&["a\n", ".\r\n"], "a\n.\r\n", false),
            (&["aaa", ".\r\n", ".\r\n"], "aaa.\r\n", true),
            (&["aaa\r", "\n", ".\r\n"], "aaa\r\n", true),
        ];
        for (pieces, text, ended) in table {
            assert_eq!(unstuff(pieces), (text.to_owned(), ended), "{pieces:?}");
        }
        assert_eq!(table.len(), 7);
    }

    #[test]
    fn the_header_is_found_however_it_is_cut() {
        let message =
            b"Received: x\r\nFROM: \"A, B\"\r\n <a@b.c>\r\nMessage-Id: <1@x>\r\n\r\nFrom: no";
        for size in [1, 2, 3, 7, 1000] {
            let mut body = Body::default();
            message.chunks(size).for_each(|chunk| body.push(chunk, 5));
            assert_eq!(body.author().as_deref(), Some("a@b.c"), "{size}");
            assert_eq!(body.message_id().as_deref(), Some("<1@x>"), "{size}");
            assert_eq!(body.kept, b"Recei");
            assert_eq!(body.octets, message.len() as u64);
        }
        assert_eq!(Body::default().author(), None);
    }
}
