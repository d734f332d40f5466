//! An IMAP command before login: collected whole, literals included, then parsed.
//!
//! RFC 3501 section 9, literals of RFC 7888. More is taken than the grammar allows where clients are
//! seen to send it: octets beyond ASCII, and bare words that should be quoted. Must never know what
//! is answered.

use bytes::{BufMut, BytesMut};
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take, take_while1},
    character::complete::{char, crlf, space0, space1, u32},
    combinator::{all_consuming, map, opt, recognize, rest, verify},
    multi::{length_data, many0_count},
    sequence::{delimited, preceded, terminated},
};
use zeroize::{Zeroize, Zeroizing};

use crate::mail::wire::{COMMAND_LINE, Framed, take_line};

/// The longest literal before login, in octets: only user names and passwords come as such.
const LITERAL: usize = 1024;
/// The longest command with all its literals, in octets.
const COMMAND: usize = 8192;
/// The longest tag, in octets: it must come back on a reply line.
const TAG: usize = 255;
/// A command as far as it has come. Holds credentials: wiped on drop, and never printed.
#[derive(Default)]
pub(super) struct Arriving {
    /// Its lines and literals, as they were sent.
    octets: Zeroizing<Vec<u8>>,
    /// Octets of a literal that are yet to come.
    awaited: usize,
}

/// What has become of an arriving command.
pub(super) enum Arrived {
    /// It is whole.
    Whole,
    /// More is to come.
    Partial,
    /// The client waits to be asked for its literal.
    Asks,
    /// A line beyond this limit.
    LineTooLong(usize),
    /// A literal was announced that would be too long, or make the command so; it was not read.
    TooLong {
        /// Which of the two.
        what: Long,
        /// Whether the client waits to be asked for it.
        asked: bool,
    },
}

/// What is too long; its `Display` names the limit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Long {
    Literal,
    Command,
}

impl std::fmt::Display for Long {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal => write!(f, "Literal longer than {LITERAL} octets"),
            Self::Command => write!(f, "Command longer than {COMMAND} octets"),
        }
    }
}

/// A command, as far as it matters before login.
pub(super) enum Command<'a> {
    Capability,
    Noop,
    Id,
    Logout,
    Login {
        user: Zeroizing<Vec<u8>>,
        password: Zeroizing<Vec<u8>>,
    },
    Authenticate {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    StartTls,
    /// LOGIN or AUTHENTICATE whose arguments are none.
    Malformed,
    /// A command that needs a login first, or none at all.
    Other,
}

impl std::fmt::Debug for Arriving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arriving({} octets)", self.octets.len())
    }
}

impl Arriving {
    /// Collects lines and literals until the command is whole (RFC 3501 section 2.2.1).
    /// A line that begins an AUTHENTICATE may have `auth_line` octets.
    pub(super) fn collect(&mut self, input: &mut BytesMut, auth_line: usize) -> Arrived {
        loop {
            self.take_literal(input);
            if self.awaited > 0 {
                return Arrived::Partial;
            }
            let may_be_long = self.octets.is_empty() && is_authenticate(input);
            let limit = if may_be_long { auth_line } else { COMMAND_LINE };
            let line = match take_line(input, limit) {
                Framed::Line(line) => line,
                Framed::Partial => return Arrived::Partial,
                Framed::TooLong => return Arrived::LineTooLong(limit),
            };
            let Some((length, asked)) = announced(&line) else {
                self.octets.put_slice(&line);
                return Arrived::Whole;
            };
            self.put_line_with_literal(&line);
            if length > LITERAL {
                return Arrived::TooLong { what: Long::Literal, asked };
            }
            if self.octets.len() + length > COMMAND {
                return Arrived::TooLong { what: Long::Command, asked };
            }
            self.awaited = length;
            if asked {
                return Arrived::Asks;
            }
        }
    }

    /// Tag and command; `None` where there is no tag.
    pub(super) fn parse(&self) -> Option<(&str, Command<'_>)> {
        let (rest, tag) = tagged(&self.octets)?;
        let (_, command) = command(rest).ok()?;
        Some((tag, command))
    }

    /// The tag, of a command that is not whole.
    pub(super) fn tag(&self) -> Option<&str> {
        tagged(&self.octets).map(|(_, tag)| tag)
    }

    /// Moves what has come of an announced literal from the input, where it is wiped.
    fn take_literal(&mut self, input: &mut BytesMut) {
        let mut taken = input.split_to(self.awaited.min(input.len()));
        self.octets.put_slice(&taken);
        self.awaited -= taken.len();
        taken.zeroize();
    }

    /// A line whose literal is yet to come. The room for the whole command is made at once, so
    /// that no copy of a credential stays behind when the buffer grows.
    fn put_line_with_literal(&mut self, line: &[u8]) {
        let room = (COMMAND + 2 * COMMAND_LINE).saturating_sub(self.octets.len());
        self.octets.reserve_exact(room);
        self.octets.put_slice(line);
        self.octets.put_slice(b"\r\n");
    }
}

/// Whether a line that is still arriving may be an AUTHENTICATE command, whose limit is higher.
fn is_authenticate(input: &[u8]) -> bool {
    let tag = input.iter().position(|&octet| octet == b' ').unwrap_or(input.len());
    let verb = input.get(tag..).unwrap_or_default().trim_ascii_start();
    verb.get(..13).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTHENTICATE "))
}

/// The literal that this line ends in: its length, and whether the client waits to be asked for it
/// (RFC 3501 section 4.3, RFC 7888 section 3).
fn announced(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let (before, digits) = inner.split_at(inner.iter().rposition(|&octet| octet == b'{')?);
    if !before.ends_with(b" ") && !before.ends_with(b"(") {
        return None; // a password that ends so
    }
    let digits = digits.strip_prefix(b"{")?;
    let (digits, waits) =
        digits.strip_suffix(b"+").map_or((digits, true), |digits| (digits, false));
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // All digits: what does not fit is too long in any case.
    let length = std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX / 2);
    Some((length, waits))
}

/// `tag SP` (RFC 3501 section 9: `tag = 1*<any ASTRING-CHAR except "+">`)
fn tagged(octets: &[u8]) -> Option<(&[u8], &str)> {
    let is_tag = |octet: u8| is_astring_octet(octet) && octet != b'+';
    let tag = verify(take_while1(is_tag), |tag: &[u8]| tag.len() <= TAG);
    let parsed: IResult<_, _> = terminated(tag, space1).parse(octets);
    let (rest, tag) = parsed.ok()?;
    Some((rest, std::str::from_utf8(tag).ok()?))
}

/// `ASTRING-CHAR = ATOM-CHAR / "]"` (RFC 3501 section 9)
pub(super) fn is_astring_octet(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\".contains(&octet)
}

fn command(input: &[u8]) -> IResult<&[u8], Command<'_>> {
    let (arguments, verb) = take_while1(|octet: u8| octet.is_ascii_graphic()).parse(input)?;
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let malformed = map(rest, |_| Command::Malformed);
    if is("LOGIN") {
        return alt((all_consuming(login), malformed)).parse(arguments);
    }
    if is("AUTHENTICATE") {
        return alt((all_consuming(authenticate), malformed)).parse(arguments);
    }
    let command = match () {
        () if is("CAPABILITY") => Command::Capability,
        () if is("NOOP") => Command::Noop,
        () if is("ID") => Command::Id,
        () if is("LOGOUT") => Command::Logout,
        () if is("STARTTLS") && arguments.trim_ascii().is_empty() => Command::StartTls,
        () => Command::Other,
    };
    Ok((&[], command))
}

/// `login = "LOGIN" SP userid SP password` (RFC 3501 section 9)
fn login(arguments: &[u8]) -> IResult<&[u8], Command<'_>> {
    let pair = (preceded(space1, astring), preceded(space1, astring));
    terminated(pair, space0)
        .map(|(user, password)| Command::Login { user, password })
        .parse(arguments)
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]` (RFC 4959 section 7)
fn authenticate(arguments: &[u8]) -> IResult<&[u8], Command<'_>> {
    let word = || preceded(space1, take_while1(|octet: u8| octet.is_ascii_graphic()));
    terminated((word(), opt(word())), space0)
        .map(|(mechanism, initial)| Command::Authenticate { mechanism, initial })
        .parse(arguments)
}

/// `astring = 1*ASTRING-CHAR / string` (RFC 3501 section 9)
fn astring(input: &[u8]) -> IResult<&[u8], Zeroizing<Vec<u8>>> {
    alt((quoted, literal, unquoted)).parse(input)
}

/// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`, where octets beyond ASCII are taken too, and a backslash
/// that escapes nothing stands for itself: clients write `"CONTOSO\user"`.
fn quoted(input: &[u8]) -> IResult<&[u8], Zeroizing<Vec<u8>>> {
    let octet = verify(take(1_usize), |octet: &[u8]| !b"\"\r\n\0".contains(&octet[0]));
    let octets = many0_count(alt((tag(&b"\\\""[..]), tag(&b"\\\\"[..]), octet)));
    let (rest, escaped) = delimited(char('"'), recognize(octets), char('"')).parse(input)?;
    let mut text = Zeroizing::new(Vec::with_capacity(escaped.len()));
    let mut octets = escaped.iter().peekable();
    while let Some(&octet) = octets.next() {
        let escaped = octets.next_if(|next| octet == b'\\' && b"\"\\".contains(next));
        text.push(*escaped.unwrap_or(&octet));
    }
    Ok((rest, text))
}

/// `literal = "{" number ["+"] "}" CRLF *CHAR8` (RFC 3501 section 9, RFC 7888 section 3)
fn literal(input: &[u8]) -> IResult<&[u8], Zeroizing<Vec<u8>>> {
    let length = delimited(char('{'), u32, (opt(char('+')), char('}'), crlf));
    length_data(length).map(|octets: &[u8]| Zeroizing::new(octets.to_vec())).parse(input)
}

/// `1*ASTRING-CHAR`, and whatever else clients send without quotes: `user\shared`, `pass%word`.
fn unquoted(input: &[u8]) -> IResult<&[u8], Zeroizing<Vec<u8>>> {
    let word = take_while1(|octet: u8| octet > b' ' && octet != 0x7f);
    verify(word, |word: &[u8]| !b"\"{(".contains(&word[0]))
        .map(|word: &[u8]| Zeroizing::new(word.to_vec()))
        .parse(input)
}
