//! What an independent IMAP parser makes of a LOGIN or AUTHENTICATE line, and what we make of it,
//! agree: on generated commands, and on the same with mistakes in them.
//!
//! We take more than the grammar allows where clients are seen to send it; [`is_lenient`] says
//! where. Everything else must be read alike, or refused by both.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use bytes::BytesMut;
use imap_codec::{
    CommandCodec,
    decode::Decoder,
    imap_types::{auth::AuthMechanism, command::CommandBody, core::AString},
};
use mailwicket::mail::{
    Credentials, Protocol, Step,
    server::{Offer, ServerRole},
};
use proptest::prelude::*;
use secrecy::ExposeSecret;

/// What becomes of a command.
#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    /// User, password, and what is left behind them.
    Login(String, String, Vec<u8>),
    /// The first octets of the challenge.
    Asks(&'static str),
    /// A user name that may not be sent on.
    BadUser,
    /// No login.
    Nothing,
}

fn ours(input: &[u8]) -> Verdict {
    let mut role = ServerRole::new(Protocol::Imap, Offer::exchange_online(Protocol::Imap));
    let mut buffer = BytesMut::new();
    assert!(matches!(role.step(&mut buffer), Step::Write(_)), "the greeting");
    buffer.extend_from_slice(input);
    loop {
        match role.step(&mut buffer) {
            Step::Done(login) => {
                let Credentials::Password { user, password } = login.credentials else {
                    panic!("{login:?}")
                };
                let password = password.expose_secret().to_owned();
                return Verdict::Login(user, password, buffer.to_vec());
            }
            Step::Write(words) if words == b"+ Ready\r\n" => {}
            Step::Write(words) => {
                let words = String::from_utf8(words).unwrap();
                return match words.as_str() {
                    "+ \r\n" => Verdict::Asks(""),
                    "+ VXNlcm5hbWU6\r\n" => Verdict::Asks("Username:"),
                    "+ UGFzc3dvcmQ6\r\n" => Verdict::Asks("Password:"),
                    _ if words.contains("User name not usable") => Verdict::BadUser,
                    _ => Verdict::Nothing,
                };
            }
            _ => return Verdict::Nothing,
        }
    }
}

fn theirs(input: &[u8]) -> Verdict {
    let Ok((rest, command)) = CommandCodec::default().decode(input) else {
        return Verdict::Nothing;
    };
    let login = |user: &[u8], password: &[u8]| match text(user) {
        user if user.is_empty()
            || user.len() > 320
            || user.contains(|letter: char| letter.is_control() || letter.is_whitespace()) =>
        {
            Verdict::BadUser
        }
        user => Verdict::Login(user, text(password), rest.to_vec()),
    };
    match command.body {
        CommandBody::Login { username, password } => {
            login(octets(&username), octets(password.declassify()))
        }
        CommandBody::Authenticate { mechanism, initial_response } => {
            let initial = initial_response.as_ref().map(|response| response.declassify().as_ref());
            match (mechanism, initial) {
                (AuthMechanism::Plain, None) => Verdict::Asks(""),
                (AuthMechanism::Plain, Some(message)) => {
                    let parts: Vec<_> = message.split(|&octet| octet == 0).collect();
                    match parts.as_slice() {
                        [b"", user, password] => login(user, password),
                        [who, user, password] if who.eq_ignore_ascii_case(user) => {
                            login(user, password)
                        }
                        _ => Verdict::Nothing,
                    }
                }
                (AuthMechanism::Login, None | Some(b"")) => Verdict::Asks("Username:"),
                (AuthMechanism::Login, Some(user)) => match login(user, b"") {
                    Verdict::BadUser => Verdict::BadUser,
                    _ => Verdict::Asks("Password:"),
                },
                _ => Verdict::Nothing,
            }
        }
        _ => Verdict::Nothing,
    }
}

fn octets<'a>(string: &'a AString<'a>) -> &'a [u8] {
    string.as_ref()
}

fn text(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => octets.iter().map(|&octet| char::from(octet)).collect(),
    }
}

/// Whether the input holds something that only we take: octets beyond ASCII or control characters
/// in strings, bare words with specials in them, a backslash that escapes nothing, blanks beyond
/// one, base64 without its padding.
fn is_lenient(input: &[u8]) -> bool {
    let odd = |octet: &u8| *octet >= 0x7f || (*octet < b' ' && !b"\r\n".contains(octet));
    let blanks = |pair: &[u8]| pair == b"  " || pair == b" \r" || pair == b" \n";
    let lines = || input.split(|&octet| octet == b'\n').map(<[u8]>::trim_ascii_end);
    input.iter().any(odd)
        || input.windows(2).any(blanks)
        || lines().any(has_lenient_word)
        || lines().any(is_unpadded)
}

/// Whether a word behind the first is none of an atom, a quoted string or a literal's announcement.
fn has_lenient_word(line: &[u8]) -> bool {
    let mut rest = line;
    let mut words = 0;
    while !rest.is_empty() {
        let (word, more) = split_word(rest);
        let is_literal = word.starts_with(b"{") && word.ends_with(b"}");
        let is_quoted = word.starts_with(b"\"") && is_strictly_quoted(word);
        let special = |octet: &u8| b"(){%*\"\\".contains(octet);
        if words > 0 && !is_literal && !is_quoted && word.iter().any(special) {
            return true; // a tag has rules of its own
        }
        words += 1;
        rest = more;
    }
    false
}

/// A word and what is behind the blank; blanks within quotes are the word's.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = line.starts_with(b"\"");
    let mut at = usize::from(quoted);
    while at < line.len() && (quoted || line[at] != b' ') {
        match line[at] {
            b'\\' if quoted && line.get(at + 1).is_some_and(|next| b"\"\\".contains(next)) => {
                at += 1;
            }
            b'"' => quoted = false,
            _ => {}
        }
        at += 1;
    }
    (&line[..at.min(line.len())], line.get(at + 1..).unwrap_or_default())
}

/// `quoted` of RFC 3501 section 9: a backslash escapes a quote or a backslash and nothing else.
fn is_strictly_quoted(word: &[u8]) -> bool {
    let Some(inner) = word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")) else {
        return false;
    };
    let mut octets = inner.iter();
    while let Some(octet) = octets.next() {
        let fine = match octet {
            b'"' => false,
            b'\\' => octets.next().is_some_and(|next| b"\"\\".contains(next)),
            _ => true,
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Whether a line ends in base64 that only lacks its padding, or has bits behind the last octet.
fn is_unpadded(line: &[u8]) -> bool {
    let last = line.rsplit(|&octet| octet == b' ').next().unwrap_or_default();
    let is_authenticate =
        line.to_ascii_uppercase().windows(14).any(|word| word == b" AUTHENTICATE ");
    is_authenticate && BASE64_STANDARD.decode(last).is_err() && UNPADDED.decode(last).is_ok()
}

/// Base64 as it may come: with padding or without.
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether we took a bare LF for a line end, and they would read the same with its CR.
fn is_bare_line_end(input: &[u8], ours: &Verdict) -> bool {
    let ends = (0..input.len()).filter(|&at| input[at] == b'\n');
    ends.into_iter().any(|at| theirs(&[&input[..at], b"\r", &input[at..]].concat()) == *ours)
}

fn word(case: bool, word: &str) -> String {
    if case { word.to_owned() } else { word.to_lowercase() }
}

/// A string in one of the forms that the grammar has for it.
fn astring() -> impl Strategy<Value = Vec<u8>> {
    let atom = "[!#$&',-/0-9:-@A-Z^_`a-z|}~\\]]{1,20}".prop_map(String::into_bytes);
    let quoted = "[ -~]{0,20}".prop_map(|text| {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into_bytes()
    });
    let literal = (proptest::collection::vec(1..=255_u8, 0..30), any::<bool>()).prop_map(
        |(octets, waits)| {
            let plus = if waits { "" } else { "+" };
            [format!("{{{}{plus}}}\r\n", octets.len()).into_bytes(), octets].concat()
        },
    );
    prop_oneof![atom, quoted, literal]
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let tag = "[!#$&',-/0-9:-@A-Z^_`a-z|}~\\]]{1,12}";
    let login = (astring(), astring(), any::<bool>()).prop_map(|(user, password, case)| {
        [word(case, "LOGIN ").as_bytes(), &user, b" ", &password].concat()
    });
    let message = prop_oneof![
        ("[ -~]{0,12}", "[ -~]{0,12}").prop_map(|(user, password)| format!("\0{user}\0{password}")),
        ("[ -~]{0,12}", "[ -~]{0,12}")
            .prop_map(|(user, password)| format!("{user}\0{user}\0{password}")),
        "[ -~]{0,12}".prop_map(|text| text),
    ];
    let initial = proptest::option::of(message.prop_map(|message| BASE64_STANDARD.encode(message)));
    let mechanism =
        proptest::sample::select(vec!["PLAIN", "LOGIN", "plain", "XOAUTH2", "CRAM-MD5"]);
    let authenticate =
        (mechanism, initial, any::<bool>()).prop_map(|(mechanism, initial, case)| {
            let initial = initial.map(|response| match response.as_str() {
                "" => " =".to_owned(),
                _ => format!(" {response}"),
            });
            let name = word(case, "AUTHENTICATE");
            format!("{name} {mechanism}{}", initial.unwrap_or_default()).into_bytes()
        });
    let rest = prop_oneof![Just(""), Just("b SELECT INBOX\r\n"), Just("c")];
    (tag, prop_oneof![login, authenticate], rest).prop_map(|(tag, body, rest)| {
        [tag.as_bytes(), b" ", &body, b"\r\n", rest.as_bytes()].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_read_a_command_alike(input in command()) {
        let expected = theirs(&input);
        prop_assert_eq!(ours(&input), expected, "{}", input.escape_ascii());
    }

    #[test]
    fn both_read_a_command_with_mistakes_alike(
        input in command(),
        mistakes in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..4),
    ) {
        let mut input = input;
        for (at, kind, octet) in mistakes {
            let at = at.index(input.len());
            match kind {
                0 => input[at] = octet,
                1 => input.insert(at, octet),
                _ if input.len() > 1 => drop(input.remove(at)),
                _ => {}
            }
        }
        let (ours, theirs) = (ours(&input), theirs(&input));
        // What they read we read, and as they do; what they do not, only where we say so.
        let ours_alone = theirs == Verdict::Nothing
            && (is_lenient(&input) || is_bare_line_end(&input, &ours));
        prop_assert!(
            ours == theirs || ours_alone,
            "{}: we {:?}, they {:?}", input.escape_ascii(), ours, theirs
        );
    }
}
