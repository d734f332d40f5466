//! HTTP CONNECT (RFC 9110 section 9.3.6): asking a proxy for a tunnel, once.
//!
//! Written here because in mail the server speaks first: its greeting may arrive in one segment
//! with the proxy's 200, and ready-made tunnels lose it. What comes behind the reply is returned.
//! The answer is parsed as bytes ([`parse`]), whole or in any pieces. A refusal's body is read away
//! ([`drain`]), so that the connection serves for the next question. Must never know TLS, legs or
//! what a login means: that is [`super::proxy_login`].

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{
    Io,
    proxy_login::challenge::{Challenge, challenges},
};

/// The longest reply head taken, in octets.
const HEAD_LIMIT: usize = 16 * 1024;
/// The most header fields taken.
const FIELDS: usize = 100;
/// The longest body of a refusal that is read away, in octets. Behind a longer one a new connection
/// is quicker.
const BODY_LIMIT: u64 = 256 * 1024;

/// A proxy's final answer to CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// HTTP status; any 2xx is a tunnel.
    pub status: u16,
    /// Reason phrase and telling headers, in one printable line.
    pub hint: String,
    /// What `Proxy-Authenticate` asks for.
    pub challenges: Vec<Challenge>,
    /// Where its body ends; means nothing behind a 2xx.
    pub body: Body,
    /// Whether the proxy says that it keeps the connection.
    pub persists: bool,
}

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// After so many octets.
    Length(u64),
    /// After the empty chunk.
    Chunked,
    /// Where the connection ends.
    Close,
}

/// Why there is no [`Answer`].
#[derive(Debug)]
pub enum ConnectError {
    /// The connection broke.
    Io(io::Error),
    /// It ended before an answer, or in the middle of one: in words.
    Ended(&'static str),
    /// What came is no answer: in words.
    Odd(String),
}

/// Asks for a tunnel to `target` (`host:port`), with the value of `Proxy-Authorization`, if any.
/// Returns the answer and the octets behind it.
pub async fn connect(
    io: &mut Io,
    target: &str,
    login: Option<&str>,
) -> Result<(Answer, BytesMut), ConnectError> {
    let request = request(target, login); // wiped also where the dial is given up meanwhile
    io.write_all(&request).await.map_err(ConnectError::Io)?;
    drop(request);
    io.flush().await.map_err(ConnectError::Io)?;
    let mut input = BytesMut::new();
    loop {
        if let Some((answer, length)) = parse(&input).map_err(ConnectError::Odd)? {
            return Ok((answer, input.split_off(length)));
        }
        if io.read_buf(&mut input).await.map_err(ConnectError::Io)? == 0 {
            return Err(ConnectError::Ended(if input.is_empty() {
                "it closed the connection"
            } else {
                "it closed the connection in the middle of its answer"
            }));
        }
    }
}

/// Reads a refusal's body away, of which `input` has come already. Whether the connection can then
/// be asked again.
pub async fn drain(io: &mut Io, mut input: BytesMut, answer: &Answer) -> bool {
    if !answer.persists {
        return false;
    }
    let (mut left, mut read) = (answer.body, input.len() as u64);
    loop {
        match drained(&mut input, &mut left) {
            Some(done) => return done && input.is_empty(),
            None if read > BODY_LIMIT => return false,
            None => match io.read_buf(&mut input).await {
                Ok(count) if count > 0 => read += count as u64,
                _ => return false,
            },
        }
    }
}

/// Takes what has come of a body. `Some(true)` where it ended, `Some(false)` where it has no end that
/// leaves the connection usable, `None` while more is to come.
fn drained(input: &mut BytesMut, left: &mut Body) -> Option<bool> {
    match left {
        Body::Close => Some(false),
        Body::Length(length) if *length > BODY_LIMIT => Some(false),
        Body::Length(length) => {
            let take = input.len().min(usize::try_from(*length).unwrap_or(usize::MAX));
            input.advance(take);
            *length -= take as u64;
            (*length == 0).then_some(true)
        }
        Body::Chunked => loop {
            let (head, size) = match httparse::parse_chunk_size(input) {
                Ok(httparse::Status::Complete(found)) => found,
                Ok(httparse::Status::Partial) => return None,
                Err(_) => return Some(false),
            };
            let Ok(size) = usize::try_from(size.min(BODY_LIMIT + 1)) else { return Some(false) };
            if size as u64 > BODY_LIMIT {
                return Some(false);
            }
            // Behind the last chunk's head come trailer fields, if any, and an empty line.
            if size == 0 {
                let rest = input.get(head..).unwrap_or_default();
                let mut fields = [httparse::EMPTY_HEADER; FIELDS];
                return match httparse::parse_headers(rest, &mut fields) {
                    Ok(httparse::Status::Complete((length, _))) => {
                        input.advance(head + length);
                        Some(true)
                    }
                    Ok(httparse::Status::Partial) => None,
                    Err(_) => Some(false),
                };
            }
            if input.len() < head + size + 2 {
                return None;
            }
            input.advance(head + size + 2);
        },
    }
}

/// The request, with the value of `Proxy-Authorization`, if any. Old proxies keep a connection, as
/// NTLM needs it, only where they are asked to (`Proxy-Connection`, which curl sends too).
pub fn request(target: &str, login: Option<&str>) -> Zeroizing<Vec<u8>> {
    // No growth that would leave a copy of the login: a ticket with a long list of groups comes to
    // tens of kilobytes.
    let mut request =
        Zeroizing::new(Vec::with_capacity(512 + 2 * target.len() + login.map_or(0, str::len)));
    request.extend_from_slice(
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Connection: Keep-Alive\r\n")
            .as_bytes(),
    );
    if let Some(login) = login {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(login.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The answer in `input` and the length of its head; `None` while it is incomplete. Interim
/// answers (1xx) are passed over.
///
/// # Errors
/// In words, where it is no HTTP or too long.
pub fn parse(input: &[u8]) -> Result<Option<(Answer, usize)>, String> {
    let mut start = 0;
    loop {
        let rest = input.get(start..).unwrap_or_default();
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if input.len() > HEAD_LIMIT => {
                return Err(format!("an answer of more than {HEAD_LIMIT} octets"));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("not HTTP ({error})")),
        };
        start += length;
        let status = response.code.unwrap_or_default();
        if !(100..200).contains(&status) || status == 101 {
            let fields = &*response.headers;
            let answer = Answer {
                status,
                hint: hint(response.reason.unwrap_or_default(), fields),
                challenges: values(fields, "Proxy-Authenticate")
                    .flat_map(|v| challenges(&v))
                    .collect(),
                body: body(status, fields),
                persists: persists(response.version, fields),
            };
            return Ok(Some((answer, start)));
        }
    }
}

/// What helps to recognise the proxy and its reason.
fn hint(reason: &str, fields: &[httparse::Header<'_>]) -> String {
    let telling = |name: &str| Some(format!("{name}: {}", values(fields, name).next()?));
    let parts = [
        Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        telling("X-Squid-Error"),
        telling("Server"),
        telling("Location"),
    ];
    let hint = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    hint.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(200).collect()
}

/// RFC 9112 section 6.3. Two lengths that differ are no length.
fn body(status: u16, fields: &[httparse::Header<'_>]) -> Body {
    if matches!(status, 204 | 304) {
        return Body::Length(0);
    }
    if let Some(coding) = values(fields, "Transfer-Encoding").last() {
        let last = coding.rsplit(',').next().unwrap_or_default().trim().to_owned();
        return if last.eq_ignore_ascii_case("chunked") { Body::Chunked } else { Body::Close };
    }
    let lengths: Vec<_> =
        values(fields, "Content-Length").map(|text| text.trim().parse()).collect();
    match lengths.split_first() {
        Some((Ok(first), others)) if others.iter().all(|other| other.as_ref() == Ok(first)) => {
            Body::Length(*first)
        }
        _ => Body::Close,
    }
}

/// HTTP/1.1 keeps a connection unless it says close; HTTP/1.0 only where it says so. Old proxies
/// say either in a field of their own.
fn persists(version: Option<u8>, fields: &[httparse::Header<'_>]) -> bool {
    let said = |word: &str| {
        ["Connection", "Proxy-Connection"].iter().any(|name| {
            values(fields, name)
                .any(|value| value.split(',').any(|said| said.trim().eq_ignore_ascii_case(word)))
        })
    };
    !said("close") && (version == Some(1) || said("keep-alive"))
}

fn values<'a>(
    fields: &'a [httparse::Header<'a>],
    name: &'a str,
) -> impl DoubleEndedIterator<Item = String> + 'a {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| String::from_utf8_lossy(field.value).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    const SQUID_407: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nServer: squid/5.7\r\n\
        X-Squid-Error: ERR_CACHE_ACCESS_DENIED 0\r\nProxy-Authenticate: Negotiate\r\n\
        Proxy-Authenticate: Basic realm=\"a, b\"\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";

    fn answer(text: &str) -> Answer {
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn the_request_carries_the_login() {
        let login = Some("Basic c3ZjOnA6dw==");
        let request = String::from_utf8(request("smtp.office365.com:587", login).to_vec()).unwrap();
        assert_eq!(
            request,
            "CONNECT smtp.office365.com:587 HTTP/1.1\r\nHost: smtp.office365.com:587\r\nProxy-Connection: Keep-Alive\r\n\
             Proxy-Authorization: Basic c3ZjOnA6dw==\r\n\r\n"
        );
    }

    #[test]
    fn answers_of_all_kinds_are_read() {
        let rows = [
            ("HTTP/1.1 200 Connection established\r\n\r\n", 200),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
            ("HTTP/1.1 200\r\n\r\n", 200),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200),
            ("HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n<html>", 403),
            ("HTTP/1.0 502 Bad Gateway\r\nServer: Zscaler/6.2\r\n\r\n", 502),
            (SQUID_407, 407),
        ];
        for (text, status) in rows {
            assert_eq!(answer(text).status, status, "{text}");
        }
        assert_eq!(answer(rows[4].0).hint, "Forbidden, X-Squid-Error: ERR_ACCESS_DENIED 0");
        let schemes = |text: &str| -> Vec<String> {
            answer(text).challenges.into_iter().map(|challenge| challenge.scheme).collect()
        };
        assert_eq!(schemes(SQUID_407), ["Negotiate", "Basic"]);
        let list = "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM, Basic realm=x\r\n\r\n";
        assert_eq!(schemes(list), ["NTLM", "Basic"]);
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        assert!(parse(b"220 mail ready\r\n").unwrap_err().starts_with("not HTTP"));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_LIMIT));
        assert!(parse(endless.as_bytes()).unwrap_err().contains("16384"));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
    }

    #[tokio::test]
    async fn a_greeting_behind_the_200_is_kept_and_an_early_end_is_told() {
        let (near, mut far) = duplex(1024);
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n").await.unwrap();
        let mut io = Box::new(near) as Io;
        let (answer, rest) = connect(&mut io, "mail:587", None).await.unwrap();
        assert_eq!((answer.status, rest.as_ref()), (200, &b"220 ready\r\n"[..]));

        for (text, words) in [("", "it closed the connection"), ("HTTP/1.1 2", "in the middle")] {
            let (near, mut far) = duplex(1024);
            far.write_all(text.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            let mut io = Box::new(near) as Io;
            let Err(ConnectError::Ended(what)) = connect(&mut io, "mail:587", None).await else {
                panic!("{text}")
            };
            assert!(what.contains(words), "{what}");
        }
    }

    #[tokio::test]
    async fn a_body_is_read_away_where_it_has_an_end() {
        let rows = [
            ("Content-Length: 5", "again", true),
            ("Content-Length: 5\r\nContent-Length: 5", "again", true),
            ("Content-Length: 0", "", true),
            ("Transfer-Encoding: chunked", "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n", true),
            ("Transfer-Encoding: chunked", "0\r\n\r\n", true),
            ("Content-Length: 5\r\nProxy-Connection: Close", "again", false),
            ("Connection: keep-alive, close\r\nContent-Length: 0", "", false),
            ("Content-Length: 5\r\nContent-Length: 6", "again", false),
            ("Content-Length: 5", "again and more", false),
            ("Content-Length: 99999999999", "", false),
            ("Transfer-Encoding: gzip", "", false),
            ("Transfer-Encoding: chunked", "zz\r\n", false),
            ("Transfer-Encoding: chunked", "ffffffffff\r\n", false),
            ("X: no length", "until the end", false),
        ];
        let mut ran = 0;
        for (fields, body, reusable) in rows {
            let answer = answer(&format!("HTTP/1.1 407 No\r\n{fields}\r\n\r\n"));
            let first = if reusable { 0 } else { body.len() };
            for early in first..=body.len() {
                let (near, mut far) = duplex(1024);
                far.write_all(&body.as_bytes()[early..]).await.unwrap();
                // The end of the connection is no end of the body.
                let ended = body.is_empty() || !reusable;
                if ended {
                    far.shutdown().await.unwrap();
                }
                let mut io = Box::new(near) as Io;
                let input = BytesMut::from(&body.as_bytes()[..early]);
                let drained = drain(&mut io, input, &answer).await;
                assert_eq!(drained, reusable, "{fields}: {body:?} after {early}");
            }
            ran += 1;
        }
        assert_eq!(ran, 14);
        let old = answer("HTTP/1.0 407 No\r\nContent-Length: 0\r\n\r\n");
        assert!(!old.persists);
        let kept = answer("HTTP/1.0 407 No\r\nProxy-Connection: keep-alive\r\n\r\n");
        assert!(kept.persists);
    }

    proptest! {
        #[test]
        fn no_body_panics(input in any::<Vec<u8>>(), length in any::<u64>()) {
            for mut body in [Body::Chunked, Body::Length(length), Body::Close] {
                let _ = drained(&mut BytesMut::from(&input[..]), &mut body);
            }
        }

        #[test]
        fn pieces_of_any_size_give_the_same_answer(cut in 0..SQUID_407.len()) {
            let whole = parse(SQUID_407.as_bytes()).unwrap().unwrap();
            match parse(&SQUID_407.as_bytes()[..cut]).unwrap() {
                Some(early) => prop_assert_eq!(early, whole),
                None => prop_assert!(cut < whole.1),
            }
        }

        #[test]
        fn no_input_panics(input in any::<Vec<u8>>(), status in 0..999_u16) {
            let _ = parse(&input);
            let text = [format!("HTTP/1.1 {status} ").as_bytes(), &input, b"\r\n\r\n"].concat();
            if let Ok(Some((_, length))) = parse(&text) {
                prop_assert!(length <= text.len());
            }
        }
    }
}
