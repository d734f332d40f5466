//! ENVELOPE and BODYSTRUCTURE (RFC 3501 section 7.4.2), as text.

use crate::sandbox::imap::mime::{self, Part};

/// `string / nil`: quoted where it may be, else a literal.
pub(super) fn nstring(text: Option<&str>) -> String {
    match text {
        None => "NIL".to_owned(),
        Some(text) if text.bytes().all(|octet| (b' '..0x7f).contains(&octet)) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        Some(text) => format!("{{{}}}\r\n{text}", text.len()),
    }
}

pub(super) fn envelope(message: &Part<'_>) -> String {
    let text = |name: &str| nstring(message.field(name).as_deref());
    let from = message.field("from");
    // Sender and Reply-To default to From.
    let people = |name: &str, default: Option<&String>| {
        let field = message.field(name);
        addresses(field.as_ref().filter(|field| !field.is_empty()).or(default))
    };
    format!(
        "({} {} {} {} {} {} {} {} {} {})",
        text("date"),
        text("subject"),
        addresses(from.as_ref()),
        people("sender", from.as_ref()),
        people("reply-to", from.as_ref()),
        people("to", None),
        people("cc", None),
        people("bcc", None),
        text("in-reply-to"),
        text("message-id"),
    )
}

/// `"(" 1*address ")" / nil`; groups are read as the addresses in them.
fn addresses(field: Option<&String>) -> String {
    let written: String = field.map(|field| split(field)).unwrap_or_default().iter().fold(
        String::new(),
        |written, address| {
            let (name, address) = match address.rsplit_once('<') {
                Some((name, address)) => (Some(name), address.trim_end().trim_end_matches('>')),
                None => (None, address.trim()),
            };
            let name =
                name.map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty());
            let (local, host) = address.rsplit_once('@').unwrap_or((address, ""));
            let host = Some(host.trim()).filter(|host| !host.is_empty());
            let local = nstring(Some(local.trim()));
            written + &format!("({} NIL {local} {})", nstring(name), nstring(host))
        },
    );
    if written.is_empty() { "NIL".to_owned() } else { format!("({written})") }
}

/// The addresses of a list: at commas outside of quotes and angle brackets.
fn split(field: &str) -> Vec<String> {
    let mut addresses = vec![String::new()];
    let (mut quoted, mut angle) = (false, false);
    for letter in field.chars() {
        match letter {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            // A group: its name goes, its members stay.
            ':' if !quoted && !angle => {
                addresses.pop();
                addresses.push(String::new());
                continue;
            }
            ',' | ';' if !quoted && !angle => {
                addresses.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(address) = addresses.last_mut() {
            address.push(letter);
        }
    }
    addresses.retain(|address| !address.trim().is_empty());
    addresses
}

/// `body`; with its extension data for BODYSTRUCTURE, without for BODY.
pub(super) fn body(part: &Part<'_>, extended: bool) -> String {
    let more = |text: String| if extended { text } else { String::new() };
    if part.kind == "multipart" {
        let parts: String = part.parts.iter().map(|part| body(part, extended)).collect();
        let subtype = nstring(Some(&part.subtype));
        let tail = more(format!(" {} {} NIL NIL", parameters(&part.parameters), disposition(part)));
        return format!("({parts} {subtype}{tail})");
    }
    let field = |name: &str| part.field(name);
    let encoding = field("content-transfer-encoding").unwrap_or_else(|| "7bit".to_owned());
    let charset = [("charset".to_owned(), "us-ascii".to_owned())];
    let plain = part.kind == "text" && part.parameters.is_empty();
    let basic = format!(
        "({} {} {} {} {} {} {}",
        nstring(Some(&part.kind)),
        nstring(Some(&part.subtype)),
        parameters(if plain { &charset } else { &part.parameters }),
        nstring(field("content-id").as_deref()),
        nstring(field("content-description").as_deref()),
        nstring(Some(&encoding)),
        part.body.len(),
    );
    let lines = part.body.split_inclusive(|octet| *octet == b'\n').count();
    let special = match part.inner() {
        Some(inner) => format!(" {} {} {lines}", envelope(inner), body(inner, extended)),
        None if part.kind == "text" => format!(" {lines}"),
        None => String::new(),
    };
    basic + &special + &more(format!(" NIL {} NIL NIL", disposition(part))) + ")"
}

fn parameters(parameters: &[(String, String)]) -> String {
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{} {}", nstring(Some(name)), nstring(Some(value))));
    let pairs = pairs.collect::<Vec<_>>().join(" ");
    if pairs.is_empty() { "NIL".to_owned() } else { format!("({pairs})") }
}

fn disposition(part: &Part<'_>) -> String {
    let Some(field) = part.field("content-disposition") else {
        return "NIL".to_owned();
    };
    let (value, of_it) = mime::parameterised(&field);
    format!("({} {})", nstring(Some(&value)), parameters(&of_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_names_everyone() {
        let message = Part::read(
            b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nSubject: a \"b\"\r\n\
              From: \"Last, First\" <a@b.c>\r\nTo: d@e.f, G <g@h.i>\r\nCc: list: j@k.l;\r\n\
              Bcc:\r\nMessage-ID: <1@x>\r\n\r\n",
        );
        assert_eq!(
            envelope(&message),
            "(\"Thu, 1 Jan 2026 00:00:00 +0000\" \"a \\\"b\\\"\" \
             ((\"Last, First\" NIL \"a\" \"b.c\")) ((\"Last, First\" NIL \"a\" \"b.c\")) \
             ((\"Last, First\" NIL \"a\" \"b.c\")) ((NIL NIL \"d\" \"e.f\")(\"G\" NIL \"g\" \"h.i\")) \
             ((NIL NIL \"j\" \"k.l\")) NIL NIL \"<1@x>\")"
        );
    }

    #[test]
    fn a_structure_says_what_is_there() {
        let plain = Part::read(b"\r\none\r\ntwo");
        let text = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 2";
        assert_eq!(body(&plain, false), format!("{text})"));
        assert_eq!(body(&plain, true), format!("{text} NIL NIL NIL NIL)"));
        let mixed = Part::read(
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x\r\n\
              Content-Type: application/pdf; name=\"a.pdf\"\r\n\
              Content-Transfer-Encoding: base64\r\n\
              Content-Disposition: attachment; filename=a.pdf\r\n\r\nAAAA\r\n--x--\r\n",
        );
        assert_eq!(
            body(&mixed, true),
            "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 1 NIL NIL NIL NIL)\
             (\"application\" \"pdf\" (\"name\" \"a.pdf\") NIL NIL \"base64\" 4 NIL \
             (\"attachment\" (\"filename\" \"a.pdf\")) NIL NIL) \"mixed\" (\"boundary\" \"x\") NIL NIL NIL)"
        );
    }
}
