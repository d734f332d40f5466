//! What a message is made of (RFC 5322, 2045, 2046), as far as ENVELOPE, BODYSTRUCTURE and the
//! section numbers of FETCH need it.

/// A part is not looked into any deeper than this.
const DEPTH: usize = 20;

/// A message, or a part of one.
pub(super) struct Part<'a> {
    /// With the empty line at its end.
    pub(super) header: &'a [u8],
    pub(super) body: &'a [u8],
    /// In lower case.
    pub(super) kind: String,
    pub(super) subtype: String,
    pub(super) parameters: Vec<(String, String)>,
    /// The parts of a multipart; the one message in a message/rfc822.
    pub(super) parts: Vec<Part<'a>>,
}

impl<'a> Part<'a> {
    pub(super) fn read(octets: &'a [u8]) -> Self {
        Self::at_depth(octets, "text/plain", 0)
    }

    fn at_depth(octets: &'a [u8], default: &str, depth: usize) -> Self {
        let (header, body) = halves(octets);
        let field = field(header, "content-type").unwrap_or_else(|| default.to_owned());
        let (media, parameters) = parameterised(&field);
        let (kind, subtype) = media.split_once('/').unwrap_or(("text", "plain"));
        let (kind, subtype) = (kind.trim().to_lowercase(), subtype.trim().to_lowercase());
        let mut part = Self { header, body, kind, subtype, parameters, parts: Vec::new() };
        if depth < DEPTH {
            part.parts = part.children(depth + 1);
        }
        if part.kind == "multipart" && part.parts.is_empty() {
            // No boundary, or none of its lines: nothing to number.
            (part.kind, part.subtype) = ("text".to_owned(), "plain".to_owned());
        }
        part
    }

    fn children(&self, depth: usize) -> Vec<Self> {
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("message", "rfc822") => vec![Self::at_depth(self.body, "text/plain", depth)],
            ("multipart", subtype) => {
                let default = if subtype == "digest" { "message/rfc822" } else { "text/plain" };
                let boundary = self.parameters.iter().find(|(name, _)| name == "boundary");
                boundary
                    .map(|(_, boundary)| between(self.body, boundary))
                    .unwrap_or_default()
                    .into_iter()
                    .map(|octets| Self::at_depth(octets, default, depth))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The message inside a message/rfc822.
    pub(super) fn inner(&self) -> Option<&Self> {
        self.parts.first().filter(|_| self.kind == "message")
    }

    /// The part of these section numbers, counted from a message.
    pub(super) fn section(&self, path: &[u32]) -> Option<&Self> {
        let mut message = Some(self);
        let mut part = self;
        for number in path {
            let at = usize::try_from(*number).ok()?.checked_sub(1)?;
            part = match message {
                // A message of one part is its own part 1.
                Some(message) if message.kind != "multipart" => {
                    Some(message).filter(|_| at == 0)?
                }
                Some(message) => message.parts.get(at)?,
                None => part.parts.get(at)?,
            };
            message = part.inner();
        }
        Some(part)
    }

    /// A header field, unfolded.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        field(self.header, name)
    }
}

/// Header and body; the empty line belongs to the header.
fn halves(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        at += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
    }
    octets.split_at(at)
}

/// The fields of a header with their lines as they stand, without the empty line.
pub(super) fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if !folded && at > start {
            fields.push(header.get(start..at).unwrap_or_default());
            start = at;
        }
        if matches!(line, b"\r\n" | b"\n") {
            return fields;
        }
        at += line.len();
    }
    if at > start {
        fields.push(header.get(start..at).unwrap_or_default());
    }
    fields
}

/// The name of a field.
pub(super) fn name_of(field: &[u8]) -> &[u8] {
    field.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii()
}

fn field(header: &[u8], name: &str) -> Option<String> {
    let found = fields(header)
        .into_iter()
        .find(|field| name_of(field).eq_ignore_ascii_case(name.as_bytes()))?;
    let text = String::from_utf8_lossy(found);
    let (_, value) = text.split_once(':')?;
    let unfolded: String = value.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    Some(unfolded.trim().to_owned())
}

/// `value; name=value; name="value"`, the names in lower case.
pub(super) fn parameterised(field: &str) -> (String, Vec<(String, String)>) {
    let mut pieces = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in field.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => {
                escaped = true;
                continue;
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            ';' if !quoted => {
                pieces.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    let mut pieces = pieces.into_iter();
    let value = pieces.next().unwrap_or_default().trim().to_owned();
    let parameters = pieces.filter_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        Some((name.trim().to_lowercase(), value.trim().to_owned()))
    });
    (value, parameters.collect())
}

/// What stands between the lines of a boundary (RFC 2046 section 5.1.1); the line end before a
/// boundary belongs to the boundary.
fn between<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (None, 0);
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let mark = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()));
        let mark = mark.map(<[u8]>::trim_ascii);
        if let Some(mark @ (b"" | b"--")) = mark {
            if let Some(start) = start {
                let part: &[u8] = body.get(start..at).unwrap_or_default();
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                parts.push(part.strip_suffix(b"\r").unwrap_or(part));
            }
            start = (mark.is_empty()).then_some(at + line.len());
            if !mark.is_empty() {
                return parts;
            }
        }
        at += line.len();
    }
    parts.extend(start.and_then(|start| body.get(start..)));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &[u8] =
        b"Subject: a\r\n b\r\nContent-Type: multipart/mixed;\r\n boundary=\"x y\"\r\n\
        \r\npreamble\r\n--x y\r\n\r\none\r\n--x y\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: in\r\n\r\ninner\r\n--x y\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>\r\n\
        --x y--\r\nepilogue";

    #[test]
    fn sections_have_their_numbers() {
        let message = Part::read(MIXED);
        assert_eq!(message.field("SUBJECT").as_deref(), Some("a b"));
        let table: [(&[u32], Option<&[u8]>); 6] = [
            (&[1], Some(b"one")),
            (&[2], Some(b"Subject: in\r\n\r\ninner")),
            (&[2, 1], Some(b"inner")),
            (&[3], Some(b"<p>")),
            (&[4], None),
            (&[0], None),
        ];
        for (path, body) in table {
            assert_eq!(message.section(path).map(|part| part.body), body, "{path:?}");
        }
        assert_eq!(table.len(), 6);
        let plain = Part::read(b"A: b\r\n\r\ntext");
        assert_eq!(plain.section(&[1]).map(|part| part.body), Some(&b"text"[..]));
        assert!(plain.section(&[2]).is_none() && plain.section(&[1, 1]).is_none());
        assert_eq!(fields(plain.header), [b"A: b\r\n"]);
    }

    #[test]
    fn odd_messages_are_text() {
        for odd in [&b""[..], b"\r\n", b"no header", b"Content-Type: multipart/mixed\r\n\r\nx"] {
            let part = Part::read(odd);
            assert_eq!((part.kind.as_str(), part.parts.len()), ("text", 0), "{odd:?}");
        }
        let nested = b"Content-Type: message/rfc822\r\n\r\n".repeat(100);
        assert_eq!(Part::read(&nested).kind, "message");
    }
}
