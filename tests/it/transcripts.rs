//! Replays the transcripts of both roles: whole, in pieces of one, two, three and seven octets, and
//! over TLS.
//!
//! Each protocol has a folder. A file holds scenes (`== title`). In `server.txt` the client's lines are given and the server's
//! are expected, in `client.txt` the other way round. Further lines say what the role yields:
//! `LOGIN user password name`, `TOKEN user token name`, `UNASKED name`, `TLS`, `DONE extensions`, `END words`, `FAIL words`, `LEFT octets`;
//! and what is done to it: `VERDICT ok`, `VERDICT kind words`, `RAW octets` without a line end, `TOGETHER octets` that
//! arrive at once, `HAS tls` before the first octet, `SECURED` where TLS was on before it.

use std::{collections::VecDeque, fmt::Debug, fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use mailwicket::mail::{
    Credentials, Login, Protocol, Refusal, RefusalKind, Step,
    client::{ClientRole, Failure, Opened, Security, TokenForm, TokenLogin},
    server::{Asks, Offer, ServerRole, Tls},
};
use proptest::prelude::*;
use secrecy::ExposeSecret;

use crate::tls_pair::TlsPair;

/// Octets a piece, and whether they travel through TLS.
const WAYS: [(usize, bool); 7] = [
    (usize::MAX, false),
    (1, false),
    (2, false),
    (3, false),
    (7, false),
    (usize::MAX, true),
    (5, true),
];

/// The pump of the tests: feeds pieces, collects lines.
struct Stage {
    pending: VecDeque<u8>,
    piece: usize,
    input: BytesMut,
    said: VecDeque<String>,
    at: String,
    tls: Option<TlsPair>,
}

impl Stage {
    fn new((piece, tls): (usize, bool)) -> Self {
        let (pending, input, said, at) = Default::default();
        Self { pending, piece, input, said, at, tls: tls.then(TlsPair::new) }
    }

    fn give(&mut self, text: &str, end: &str) {
        self.pending.extend(unescape(text));
        self.pending.extend(end.as_bytes());
    }

    /// Steps until the role says something.
    fn hear<T: Debug, F: Debug>(&mut self, mut step: impl FnMut(&mut BytesMut) -> Step<T, F>) {
        while self.said.is_empty() {
            match step(&mut self.input) {
                Step::Write(bytes) => self.heard(&bytes),
                Step::Read => self.feed(),
                other => panic!("{}: {other:?} where words were expected", self.at),
            }
        }
    }

    /// Steps until the role yields something else than words.
    fn yielded<T: Debug, F: Debug>(
        &mut self,
        mut step: impl FnMut(&mut BytesMut) -> Step<T, F>,
    ) -> Step<T, F> {
        self.silent();
        loop {
            match step(&mut self.input) {
                Step::Read => self.feed(),
                Step::Write(bytes) => {
                    panic!("{}: said {:?}", self.at, String::from_utf8_lossy(&bytes))
                }
                other => return other,
            }
        }
    }

    fn feed(&mut self) {
        assert!(!self.pending.is_empty(), "{}: the role waits for more", self.at);
        let count = self.piece.min(self.pending.len());
        let mut octets: Vec<u8> = self.pending.drain(..count).collect();
        if let Some(tls) = &mut self.tls {
            octets = tls.inward(&octets);
        }
        self.input.extend(octets);
    }

    fn heard(&mut self, bytes: &[u8]) {
        let through_tls = self.tls.as_mut().map(|tls| tls.outward(bytes));
        let bytes = through_tls.as_deref().unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).expect("ASCII");
        let lines =
            text.strip_suffix("\r\n").unwrap_or_else(|| panic!("{}: no CRLF: {text:?}", self.at));
        self.said.extend(lines.split("\r\n").map(str::to_owned));
        assert!(self.said.iter().all(|line| !line.contains(['\r', '\n'])), "{}", self.at);
    }

    fn expect(&mut self, line: &str) {
        let said = self
            .said
            .pop_front()
            .unwrap_or_else(|| panic!("{}: nothing said, expected {line:?}", self.at));
        let expected = String::from_utf8(unescape(line)).unwrap();
        match expected.strip_suffix("...") {
            Some(start) => assert!(said.starts_with(start), "{}: {said:?}", self.at),
            None => assert_eq!(said, expected, "{}", self.at),
        }
    }

    fn silent(&self) {
        assert!(self.said.is_empty(), "{}: also said {:?}", self.at, self.said);
    }

    fn left(&mut self, octets: &str) {
        let all: Vec<u8> = self.input.iter().copied().chain(self.pending.drain(..)).collect();
        assert_eq!(all, unescape(octets), "{}", self.at);
        self.input.clear();
    }
}

/// Each protocol, and how many scenes its files hold at least.
const PROTOCOLS: [(Protocol, usize, usize); 3] =
    [(Protocol::Smtp, 47, 15), (Protocol::Imap, 36, 20), (Protocol::Pop3, 30, 10)];

#[test]
fn the_server_roles_play_their_scenes() {
    for (protocol, at_least, _) in PROTOCOLS {
        let scenes = scenes(protocol, "server.txt");
        for way in WAYS {
            for scene in &scenes {
                play_server(protocol, scene, way);
            }
        }
        assert!(scenes.len() >= at_least, "{protocol}: only {} scenes", scenes.len());
    }
}

fn play_server(protocol: Protocol, (title, lines): &Scene, way: (usize, bool)) {
    let mut stage = Stage::new(way);
    let mut offer = Offer::exchange_online(protocol);
    if protocol == Protocol::Smtp {
        offer.extensions = ["SIZE 157286400", "auth LOGIN XOAUTH2", "STARTTLS", "8BITMIME"]
            .map(str::to_owned)
            .into();
    }
    let mut role = ServerRole::new(protocol, offer.clone());
    for (number, line) in lines {
        stage.at = format!("{protocol}/server.txt:{number} ({title}, {way:?})");
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "OFFERS" => {
                offer.extensions = rest.split('|').map(str::to_owned).collect();
                role = ServerRole::new(protocol, offer.clone());
            }
            "ASKS" => {
                offer.asks = asks(rest);
                role = ServerRole::new(protocol, offer.clone());
            }
            "HAS" => {
                offer.tls = tls(rest);
                role = ServerRole::new(protocol, offer.clone());
            }
            "SECURED" => role.is_secured(),
            "TLS" => {
                let step = stage.yielded(|input| role.step(input));
                assert!(matches!(step, Step::StartTls), "{}: {step:?}", stage.at);
                assert!(stage.input.is_empty() && stage.pending.is_empty(), "{}", stage.at);
            }
            "C:" => stage.give(rest, "\r\n"),
            "RAW" => stage.give(rest, ""),
            "TOGETHER" => {
                assert!(stage.pending.is_empty(), "{}", stage.at);
                stage.input.extend(unescape(rest));
            }
            "S:" => {
                stage.hear(|input| role.step(input));
                stage.expect(rest);
            }
            "LOGIN" | "TOKEN" | "UNASKED" => {
                let Step::Done(login) = stage.yielded(|input| role.step(input)) else {
                    panic!("{}", stage.at)
                };
                for secret in ["TESTTOKEN", "pass word"] {
                    assert!(!format!("{login:?} {role:?}").contains(secret), "{}", stage.at);
                }
                let expected = String::from_utf8(unescape(line)).unwrap();
                assert_eq!(shown(&login), expected, "{}", stage.at);
            }
            "VERDICT" => {
                let bytes = match rest.split_once(' ') {
                    None => role.answer(Ok(())),
                    Some((kind, words)) => role.answer(Err(&refusal(kind, words))),
                };
                if !bytes.is_empty() {
                    stage.heard(&bytes);
                }
            }
            "FAREWELL" => {
                let (kind, words) = rest.split_once(' ').unwrap();
                stage.heard(&role.farewell(&refusal(kind, words)));
            }
            "LEFT" => stage.left(rest),
            "END" => {
                let Step::Fail(ended) = stage.yielded(|input| role.step(input)) else {
                    panic!("{}", stage.at)
                };
                assert_eq!(ended.to_string(), rest, "{}", stage.at);
            }
            _ => panic!("{}: {line}", stage.at),
        }
    }
    stage.silent();
}

#[test]
fn the_client_roles_play_their_scenes() {
    for (protocol, _, at_least) in PROTOCOLS {
        let scenes = scenes(protocol, "client.txt");
        for way in WAYS {
            for scene in &scenes {
                play_client(protocol, scene, way);
            }
        }
        assert!(scenes.len() >= at_least, "{protocol}: only {} scenes", scenes.len());
    }
}

fn play_client(protocol: Protocol, (title, lines): &Scene, way: (usize, bool)) {
    let mut stage = Stage::new(way);
    let mut role = ClientRole::new(protocol, login());
    for (number, line) in lines {
        stage.at = format!("{protocol}/client.txt:{number} ({title}, {way:?})");
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "USES" => role = ClientRole::new(protocol, options(rest)),
            "S:" => stage.give(rest, "\r\n"),
            "RAW" => stage.give(rest, ""),
            "C:" => {
                stage.hear(|input| role.step(input));
                stage.expect(rest);
            }
            "C" => {
                stage.hear(|input| role.step(input));
                stage.expect("");
            }
            "TLS" => {
                let step = stage.yielded(|input| role.step(input));
                assert!(matches!(step, Step::StartTls), "{}: {step:?}", stage.at);
                assert!(stage.input.is_empty() && stage.pending.is_empty(), "{}", stage.at);
            }
            "DONE" => {
                let step = stage.yielded(|input| role.step(input));
                let Step::Done(Opened { extensions, .. }) = step else {
                    panic!("{}: {step:?}", stage.at)
                };
                assert_eq!(extensions.join("|"), rest, "{}", stage.at);
            }
            "FAIL" => {
                let step = stage.yielded(|input| role.step(input));
                let Step::Fail(failure) = step else { panic!("{}: {step:?}", stage.at) };
                let words = format!("{} {failure}", kind(&failure));
                match rest.strip_suffix("...") {
                    Some(start) => assert!(words.starts_with(start), "{}: {words}", stage.at),
                    None => assert_eq!(words, rest, "{}", stage.at),
                }
            }
            "LEFT" => stage.left(rest),
            _ => panic!("{}: {line}", stage.at),
        }
    }
    stage.silent();
}

proptest! {
    /// What a client sends, in whatever pieces, gets the same answers; they are whole lines; and
    /// nothing panics.
    #[test]
    fn any_pieces_give_the_server_the_same_session(
        (protocol, input) in spoken(client_words),
        asks in proptest::sample::select(vec![Asks::Password, Asks::PasswordOrToken, Asks::Nothing]),
        tls in proptest::sample::select(vec![Tls::Absent, Tls::Offered, Tls::Required, Tls::On]),
        cuts in proptest::collection::vec(1..9_usize, 1..40),
    ) {
        let run = |cuts: &[usize]| {
            let offer = Offer { asks, tls, ..Offer::exchange_online(protocol) };
            let mut role = ServerRole::new(protocol, offer);
            replay(&input, cuts, |input| role.step(input))
        };
        // STARTTLS injection is told by what has arrived by then, so it depends on the pieces.
        let (whole, pieces) = (run(&[usize::MAX]), run(&cuts));
        let injected = |end: &str| end.contains("StartTls");
        prop_assert!(whole == pieces || injected(&whole.1) || injected(&pieces.1));
    }

    /// The same for what a server sends.
    #[test]
    fn any_pieces_give_the_client_the_same_session(
        (protocol, input) in spoken(server_words),
        cuts in proptest::collection::vec(1..9_usize, 1..40),
    ) {
        let run = |cuts: &[usize]| {
            let mut role = ClientRole::new(protocol, login());
            replay(&input, cuts, |input| role.step(input))
        };
        // STARTTLS injection is told by what has arrived by then, so it depends on the pieces.
        let (whole, pieces) = (run(&[usize::MAX]), run(&cuts));
        let injected = |end: &str| end.contains("StartTls");
        prop_assert!(whole == pieces || injected(&whole.1) || injected(&pieces.1));
    }
}

/// All that a role says, and how it ends.
fn replay<T: Debug, F: Debug>(
    input: &[u8],
    cuts: &[usize],
    mut step: impl FnMut(&mut BytesMut) -> Step<T, F>,
) -> (Vec<u8>, String) {
    let (mut rest, mut cuts, mut buffer, mut said) =
        (input, cuts.iter().cycle(), BytesMut::new(), Vec::new());
    loop {
        match step(&mut buffer) {
            Step::Write(bytes) => {
                assert!(bytes.ends_with(b"\r\n"));
                let text = String::from_utf8(bytes).unwrap();
                assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
                said.extend(text.into_bytes());
            }
            Step::Read if rest.is_empty() => return (said, "Read".to_owned()),
            Step::Read => {
                let (piece, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                buffer.extend_from_slice(piece);
                rest = more;
            }
            other => {
                assert!(buffer.is_empty() || !matches!(other, Step::StartTls));
                return (said, format!("{other:?}"));
            }
        }
    }
}

fn client_words(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Smtp => &[
            "EHLO a.example",
            "HELO a",
            "AUTH LOGIN",
            "AUTH PLAIN =",
            "AUTH PLAIN AHUAcA==",
            "*",
            "dXNlcg==",
            "AUTH XOAUTH2",
            "AUTH OAUTHBEARER biwBAQ==",
            "dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==",
            "NOOP",
            "STARTTLS",
            "MAIL FROM:<a@b>",
            "BDAT 3",
            "GET / HTTP/1.1",
        ],
        Protocol::Imap => &[
            "a CAPABILITY",
            "b LOGIN user pass",
            "c LOGIN \"us\\\"er\" {4}",
            "d LOGIN {4+}",
            "user {4+}",
            "pass",
            "e AUTHENTICATE PLAIN",
            "f AUTHENTICATE LOGIN dXNlcg==",
            "g authenticate plain AHUAcA==",
            "l authenticate xoauth2",
            "m AUTHENTICATE XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==",
            "dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==",
            "h LOGIN {9999}",
            "i LOGIN {9999+}",
            "AHUAcA==",
            "*",
            "j ID (\"name\" {1}",
            "x)",
            "k LOGOUT",
            "n STARTTLS",
        ],
        Protocol::Pop3 => &[
            "CAPA",
            "USER user",
            "PASS  pass word ",
            "AUTH",
            "AUTH PLAIN",
            "AUTH LOGIN dXNlcg==",
            "AUTH XOAUTH2",
            "dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==",
            "AHUAcA==",
            "*",
            "APOP user 0123",
            "STLS",
            "STAT",
            "QUIT",
        ],
    }
}

fn server_words(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Smtp => &[
            "220 ready",
            "250-mail",
            "250-STARTTLS",
            "250 AUTH LOGIN XOAUTH2",
            "334 ",
            "334 eyJzIjoiNDAwIn0=",
            "235 2.7.0 ok",
            "535 5.7.3 no",
            "454 4.7.0 later",
        ],
        Protocol::Imap => &[
            "* OK ready",
            "* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] ready",
            "* CAPABILITY IMAP4 AUTH=XOAUTH2 SASL-IR",
            "* PREAUTH hello",
            "* BYE gone",
            "M1 OK done",
            "M1 BAD what",
            "M2 OK done",
            "M2 NO AUTHENTICATE failed.",
            "+",
            "+ eyJzIjoiNDAwIn0=",
            "* 1 FETCH (BODY[] {5}",
        ],
        Protocol::Pop3 => &[
            "+OK ready",
            "+OK User successfully authenticated.",
            "-ERR Protocol error. Connection is closed. 10",
            "-ERR [SYS/TEMP] later",
            "+",
            "+ eyJzIjoiNDAwIn0=",
        ],
    }
}

/// A protocol and what one of its sides may say: known lines, and lines that are none.
fn spoken(
    words: fn(Protocol) -> &'static [&'static str],
) -> impl Strategy<Value = (Protocol, Vec<u8>)> {
    let protocol = proptest::sample::select(vec![Protocol::Smtp, Protocol::Imap, Protocol::Pop3]);
    protocol.prop_flat_map(move |protocol| {
        let known = proptest::sample::select(words(protocol)).prop_map(str::to_owned);
        let reply = "[2-5][0-9]{2}[ -][ -~]{0,40}";
        let line = prop_oneof![6 => known, 1 => "[ -~]{0,60}", 1 => "\\PC{0,30}", 1 => reply];
        let ended = (line, prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")]);
        let lines = proptest::collection::vec(ended, 0..30);
        lines.prop_map(move |lines| {
            let text: String = lines.into_iter().map(|(line, end)| line + end).collect();
            (protocol, text.into_bytes())
        })
    })
}

fn options(text: &str) -> TokenLogin {
    let mut options = login();
    for option in text.split(' ') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("two-steps", _) => options.form = TokenForm::TwoSteps,
            ("tls", _) => options.security = Security::Tls,
            ("name", name) => name.clone_into(&mut options.name),
            ("token-of", octets) => options.token = "t".repeat(octets.parse().unwrap()).into(),
            ("user", user) => options.user = String::from_utf8(unescape(user)).unwrap(),
            _ => panic!("{option}"),
        }
    }
    options
}

fn login() -> TokenLogin {
    TokenLogin {
        name: "client.example".to_owned(),
        security: Security::StartTls,
        user: "agent@contoso.example".to_owned(),
        token: "TESTTOKEN".into(),
        form: TokenForm::Inline,
    }
}

fn kind(failure: &Failure) -> &'static str {
    match failure {
        Failure::Rejected { inline_octets: Some(_), .. } => "rejected inline:",
        Failure::Rejected { .. } => "rejected:",
        Failure::Unavailable { .. } => "unavailable:",
        Failure::NoStartTls { .. } => "no STARTTLS:",
        Failure::StartTlsInjection => "injection:",
        Failure::NoXoauth2 { .. } => "no XOAUTH2:",
        Failure::TokenTooLong { .. } => "token too long:",
        Failure::BadUser => "bad user:",
        Failure::Protocol { .. } => "protocol:",
    }
}

fn refusal(kind: &str, words: &str) -> Refusal {
    let kind = match kind {
        "credentials" => RefusalKind::Credentials,
        "mailbox" => RefusalKind::Mailbox,
        "unavailable" => RefusalKind::Unavailable,
        "busy" => RefusalKind::Busy,
        "deadline" => RefusalKind::Deadline,
        "shutdown" => RefusalKind::ShuttingDown,
        "not-allowed" => RefusalKind::NotAllowed,
        _ => panic!("{kind}"),
    };
    Refusal::new(kind, String::from_utf8(unescape(words)).unwrap())
}

fn shown(Login { credentials, client_name }: &Login) -> String {
    let name = client_name.as_deref().unwrap_or("-");
    match credentials {
        Credentials::Password { user, password } => {
            format!("LOGIN {user} {} {name}", password.expose_secret())
        }
        Credentials::Token { user, token } => {
            format!("TOKEN {user} {} {name}", token.expose_secret())
        }
        Credentials::Unasked => format!("UNASKED {name}"),
    }
}

fn asks(word: &str) -> Asks {
    match word {
        "password" => Asks::Password,
        "tokens" => Asks::PasswordOrToken,
        "nothing" => Asks::Nothing,
        _ => panic!("{word}"),
    }
}

fn tls(word: &str) -> Tls {
    match word {
        "absent" => Tls::Absent,
        "offered" => Tls::Offered,
        "required" => Tls::Required,
        _ => panic!("{word}"),
    }
}

type Scene = (String, Vec<(usize, String)>);

fn scenes(protocol: Protocol, file: &str) -> Vec<Scene> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let path = folder.join(protocol.to_string()).join(file);
    let mut scenes: Vec<Scene> = Vec::new();
    for (number, line) in (1..).zip(fs::read_to_string(path).unwrap().lines()) {
        if let Some(title) = line.strip_prefix("== ") {
            scenes.push((title.to_owned(), Vec::new()));
        } else if !line.is_empty() && !line.starts_with('#') {
            scenes.last_mut().expect("a title first").1.push((number, line.to_owned()));
        }
    }
    scenes
}

/// `\r`, `\n`, `\0`, `\xNN`, and `\*NNNN` for as many letters x.
fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        octets.extend(rest[..at].bytes());
        let (escape, after) = (rest.as_bytes()[at + 1], &rest[at + 2..]);
        let (octet, used) = match escape {
            b'r' => (vec![b'\r'], 0),
            b'n' => (vec![b'\n'], 0),
            b'0' => (vec![0], 0),
            b'x' => (vec![u8::from_str_radix(&after[..2], 16).unwrap()], 2),
            b'*' => (vec![b'x'; after[..5].parse().unwrap()], 5),
            other => panic!("\\{}", char::from(other)),
        };
        octets.extend(octet);
        rest = &after[used..];
    }
    octets.extend(rest.bytes());
    octets
}

/// A token of 16 kB fits, one octet more does not, and a line without an end is not waited for.
/// Not as a scene: octet by octet it would take minutes.
#[test]
fn a_token_and_its_line_have_limits() {
    let rows = [
        (Protocol::Smtp, "AUTH XOAUTH2 "),
        (Protocol::Imap, "a AUTHENTICATE XOAUTH2 "),
        (Protocol::Pop3, "AUTH XOAUTH2 "),
    ];
    let mut ran = 0;
    for (protocol, command) in rows {
        let offer = Offer { asks: Asks::PasswordOrToken, ..Offer::exchange_online(protocol) };
        let said_to = |text: &str| {
            let mut role = ServerRole::new(protocol, offer.clone());
            replay(text.as_bytes(), &[usize::MAX], |input| role.step(input))
        };
        let with_token = |octets| {
            let message = format!("user=a\x01auth=Bearer {}\x01\x01", "t".repeat(octets));
            said_to(&format!("{command}{}\r\n", BASE64_STANDARD.encode(message)))
        };
        assert!(with_token(16_384).1.starts_with("Done("), "{protocol}");
        let (said, end) = with_token(16_385);
        assert_eq!(end, "Read", "{protocol}");
        assert!(String::from_utf8(said).unwrap().contains("Not a bearer token"), "{protocol}");
        assert_eq!(said_to(&format!("{command}{}", "x".repeat(24_000))).1, "Read", "{protocol}");
        let (_, end) = said_to(&format!("{command}{}", "x".repeat(24_600)));
        assert_eq!(end, "Fail(LineTooLong)", "{protocol}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}

/// Bytes behind the reply to STARTTLS are told by what has arrived, so they come whole here.
#[test]
fn bytes_behind_starttls_never_cross_it() {
    let mut role = ClientRole::new(Protocol::Smtp, login());
    let mut step = |text: &str| {
        let mut input = BytesMut::from(text);
        loop {
            match role.step(&mut input) {
                Step::Write(_) => {}
                other => return other,
            }
        }
    };
    assert!(matches!(step("220 mail\r\n"), Step::Read));
    assert!(matches!(step("250-mail\r\n250 STARTTLS\r\n"), Step::Read));
    let failure = step("220 go\r\n250 AUTH XOAUTH2\r\n");
    assert!(matches!(failure, Step::Fail(Failure::StartTlsInjection)), "{failure:?}");
}
