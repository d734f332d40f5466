//! A command line before login, as the client sends it (RFC 5321 section 4.1, RFC 4954 section 4).
//!
//! Must never know what is answered.

use core::net::{Ipv4Addr, Ipv6Addr}; // the addresses; the sockets are std's

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag_no_case, take_while1},
    character::complete::{space0, space1},
    combinator::{all_consuming, opt, rest, verify},
    sequence::{preceded, terminated},
};

/// A command line, as far as it matters before login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command<'a> {
    Ehlo(&'a [u8]),
    Helo(&'a [u8]),
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    StartTls,
    Noop,
    Rset,
    Help,
    Vrfy,
    Quit,
    /// MAIL: it needs a login first, or stands for one.
    Mail,
    /// A command that needs MAIL first, and with it a login.
    Transaction,
    /// The same, with content behind it that was not asked for (RFC 3030).
    Bdat,
    /// A web browser's request.
    Http,
    Unknown,
}

/// Whether a line that is still arriving may be an AUTH command, whose limit is higher.
pub(super) fn is_auth(input: &[u8]) -> bool {
    input.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}

/// Reads a command line.
pub(super) fn command(line: &[u8]) -> Command<'_> {
    let line = line.trim_ascii();
    let parsed: IResult<_, _> = all_consuming(alt((auth, argument, plain_command))).parse(line);
    let unknown = if is_http(line) { Command::Http } else { Command::Unknown };
    parsed.map_or(unknown, |(_, command)| command)
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3)
fn is_http(line: &[u8]) -> bool {
    line.windows(6).any(|octets| octets.eq_ignore_ascii_case(b" HTTP/"))
}

/// `"AUTH" SP sasl-mech [SP (initial-response / "=")]` (RFC 4954 section 4)
fn auth(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let mechanism = preceded((tag_no_case("AUTH"), space1), word);
    let initial = opt(preceded(space1, word));
    (mechanism, initial)
        .map(|(mechanism, initial)| Command::Auth { mechanism, initial })
        .parse(line)
}

/// `"EHLO" SP ( Domain / address-literal )` and `"HELO" SP Domain` (RFC 5321 section 4.1.1.1);
/// some clients leave the argument away.
fn argument(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let name = || preceded(space0, rest);
    alt((
        preceded(verb("EHLO"), name()).map(Command::Ehlo),
        preceded(verb("HELO"), name()).map(Command::Helo),
    ))
    .parse(line)
}

/// A verb and whatever follows it (RFC 5321 section 4.1.1).
fn plain_command(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let known = |name, command| verb(name).map(move |_| command);
    terminated(
        alt((
            known("STARTTLS", Command::StartTls),
            known("NOOP", Command::Noop),
            known("RSET", Command::Rset),
            known("HELP", Command::Help),
            known("VRFY", Command::Vrfy),
            known("QUIT", Command::Quit),
            known("MAIL", Command::Mail),
            known("BDAT", Command::Bdat),
            alt(["RCPT", "DATA", "EXPN", "ETRN", "BURL"].map(verb)).map(|_| Command::Transaction),
        )),
        rest,
    )
    .parse(line)
}

/// The verb, as a whole word, in any case.
fn verb<'a>(
    name: &'static str,
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> {
    verify(take_while1(|octet: u8| octet.is_ascii_graphic()), move |word: &[u8]| {
        word.eq_ignore_ascii_case(name.as_bytes())
    })
}

fn word(line: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet: u8| octet.is_ascii_graphic()).parse(line)
}

/// The client's name where it is a `Domain` or an `address-literal` (RFC 5321 sections 4.1.2 and
/// 4.1.3); Exchange Online refuses anything else.
pub(super) fn client_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    is_client_name(name).then(|| name.to_owned())
}

/// See [`client_name`].
pub(in crate::mail) fn is_client_name(name: &str) -> bool {
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match literal.get(..5) {
            Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
                literal[5..].parse::<Ipv6Addr>().is_ok()
            }
            _ => literal.parse::<Ipv4Addr>().is_ok(),
        };
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(label)
}
