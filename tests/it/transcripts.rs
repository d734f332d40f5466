//! Replays the transcripts of both roles: whole, in pieces of one, two, three and seven octets, and
//! over TLS.
//!
//! A file holds scenes (`== title`). In `server.txt` the client's lines are given and the server's
//! are expected, in `client.txt` the other way round. Further lines say what the role yields:
//! `LOGIN user password name`, `TLS`, `DONE extensions`, `END words`, `FAIL words`, `LEFT octets`;
//! and what is done to it: `VERDICT ok`, `VERDICT kind words`, `RAW octets` without a line end.

use std::{collections::VecDeque, fmt::Debug, fs, path::Path};

use bytes::BytesMut;
use mailwicket::mail::{
    Login, Refusal, RefusalKind, Step,
    client::{ClientRole, Failure, Opened, Security, SmtpLogin, TokenForm},
    server::{ServerRole, SmtpOffer},
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

#[test]
fn the_server_role_plays_its_scenes() {
    let scenes = scenes("server.txt");
    for way in WAYS {
        for (title, lines) in &scenes {
            let mut stage = Stage::new(way);
            let mut offer = SmtpOffer::exchange_online();
            offer.extensions = ["SIZE 157286400", "auth LOGIN XOAUTH2", "STARTTLS", "8BITMIME"]
                .map(str::to_owned)
                .into();
            let mut role = ServerRole::smtp(offer);
            for (number, line) in lines {
                stage.at = format!("server.txt:{number} ({title}, {way:?})");
                let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
                match verb {
                    "C:" => stage.give(rest, "\r\n"),
                    "RAW" => stage.give(rest, ""),
                    "S:" => {
                        stage.hear(|input| role.step(input));
                        stage.expect(rest);
                    }
                    "LOGIN" => {
                        let Step::Done(login) = stage.yielded(|input| role.step(input)) else {
                            panic!("{}", stage.at)
                        };
                        assert_eq!(
                            shown(&login),
                            String::from_utf8(unescape(rest)).unwrap(),
                            "{}",
                            stage.at
                        );
                    }
                    "VERDICT" => {
                        let bytes = match rest.split_once(' ') {
                            None => role.answer(Ok(())),
                            Some((kind, words)) => role.answer(Err(&refusal(kind, words))),
                        };
                        stage.heard(&bytes);
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
    }
    assert!(scenes.len() >= 25, "only {} scenes", scenes.len());
}

#[test]
fn the_client_role_plays_its_scenes() {
    let scenes = scenes("client.txt");
    for way in WAYS {
        for (title, lines) in &scenes {
            let mut stage = Stage::new(way);
            let mut role = ClientRole::smtp(login("", TokenForm::Inline));
            for (number, line) in lines {
                stage.at = format!("client.txt:{number} ({title}, {way:?})");
                let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
                match verb {
                    "USES" => role = ClientRole::smtp(options(rest)),
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
                        let Step::Done(Opened { extensions }) =
                            stage.yielded(|input| role.step(input))
                        else {
                            panic!("{}", stage.at)
                        };
                        assert_eq!(extensions.join("|"), rest, "{}", stage.at);
                    }
                    "FAIL" => {
                        let step = stage.yielded(|input| role.step(input));
                        let Step::Fail(failure) = step else { panic!("{}: {step:?}", stage.at) };
                        let words = format!("{} {failure}", kind(&failure));
                        match rest.strip_suffix("...") {
                            Some(start) => {
                                assert!(words.starts_with(start), "{}: {words}", stage.at);
                            }
                            None => assert_eq!(words, rest, "{}", stage.at),
                        }
                    }
                    "LEFT" => stage.left(rest),
                    _ => panic!("{}: {line}", stage.at),
                }
            }
            stage.silent();
        }
    }
    assert!(scenes.len() >= 15, "only {} scenes", scenes.len());
}

proptest! {
    /// What a client sends, in whatever pieces, gets the same answers; they are whole lines; and
    /// nothing panics.
    #[test]
    fn any_pieces_give_the_server_the_same_session(input in client_speech(), cuts in proptest::collection::vec(1..9_usize, 1..40)) {
        let run = |cuts: &[usize]| {
            let mut role = ServerRole::smtp(SmtpOffer::exchange_online());
            replay(&input, cuts, |input| role.step(input))
        };
        prop_assert_eq!(run(&[usize::MAX]), run(&cuts));
    }

    /// The same for what a server sends.
    #[test]
    fn any_pieces_give_the_client_the_same_session(input in server_speech(), cuts in proptest::collection::vec(1..9_usize, 1..40)) {
        let run = |cuts: &[usize]| {
            let mut role = ClientRole::smtp(login("", TokenForm::Inline));
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
            other => return (said, format!("{other:?}")),
        }
    }
}

fn client_speech() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("EHLO a.example".to_owned()),
        Just("HELO a".to_owned()),
        Just("AUTH LOGIN".to_owned()),
        Just("AUTH PLAIN =".to_owned()),
        Just("AUTH PLAIN AHUAcA==".to_owned()),
        Just("*".to_owned()),
        Just("dXNlcg==".to_owned()),
        Just("NOOP".to_owned()),
        Just("MAIL FROM:<a@b>".to_owned()),
        "[ -~]{0,60}",
        "\\PC{0,30}",
    ];
    speech(line)
}

fn server_speech() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("220 ready".to_owned()),
        Just("250-mail".to_owned()),
        Just("250-STARTTLS".to_owned()),
        Just("250 AUTH LOGIN XOAUTH2".to_owned()),
        Just("334 ".to_owned()),
        Just("334 eyJzIjoiNDAwIn0=".to_owned()),
        Just("235 2.7.0 ok".to_owned()),
        Just("535 5.7.3 no".to_owned()),
        Just("454 4.7.0 later".to_owned()),
        "[2-5][0-9]{2}[ -][ -~]{0,40}",
        "\\PC{0,30}",
    ];
    speech(line)
}

fn speech(line: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let ended = (line, prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")]);
    let lines = proptest::collection::vec(ended, 0..30);
    lines.prop_map(|lines| {
        lines.into_iter().map(|(line, end)| line + end).collect::<String>().into_bytes()
    })
}

fn options(text: &str) -> SmtpLogin {
    let mut options = login("", TokenForm::Inline);
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

fn login(name: &str, form: TokenForm) -> SmtpLogin {
    SmtpLogin {
        name: if name.is_empty() { "client.example".to_owned() } else { name.to_owned() },
        security: Security::StartTls,
        user: "agent@contoso.example".to_owned(),
        token: "TESTTOKEN".into(),
        form,
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
        Failure::BadUser => "bad user:",
        Failure::Protocol { .. } => "protocol:",
    }
}

fn refusal(kind: &str, words: &str) -> Refusal {
    let kind = match kind {
        "credentials" => RefusalKind::Credentials,
        "unavailable" => RefusalKind::Unavailable,
        "busy" => RefusalKind::Busy,
        "deadline" => RefusalKind::Deadline,
        "shutdown" => RefusalKind::ShuttingDown,
        "not-allowed" => RefusalKind::NotAllowed,
        _ => panic!("{kind}"),
    };
    Refusal::new(kind, String::from_utf8(unescape(words)).unwrap())
}

fn shown(Login { user, password, client_name }: &Login) -> String {
    format!("{user} {} {}", password.expose_secret(), client_name.as_deref().unwrap_or("-"))
}

type Scene = (String, Vec<(usize, String)>);

fn scenes(file: &str) -> Vec<Scene> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/smtp").join(file);
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

/// Bytes behind the reply to STARTTLS are told by what has arrived, so they come whole here.
#[test]
fn bytes_behind_starttls_never_cross_it() {
    let mut role = ClientRole::smtp(login("", TokenForm::Inline));
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
