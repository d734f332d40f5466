//! HTTP CONNECT (RFC 9110 section 9.3.6): asking a proxy for a tunnel.
//!
//! Written here because in mail the server speaks first: its greeting may arrive in one segment
//! with the proxy's 200, and ready-made tunnels lose it. What comes behind the reply is returned.
//! The answer is parsed as bytes ([`parse`]), whole or in any pieces. Must never know TLS or legs.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::{Zeroize, Zeroizing};

use super::Io;
use crate::config::ProxyCredentials;

/// The longest reply head taken, in octets.
const HEAD_LIMIT: usize = 16 * 1024;
/// The most header fields taken.
const FIELDS: usize = 100;

/// A proxy's final answer to CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// HTTP status; any 2xx is a tunnel.
    pub status: u16,
    /// Reason phrase and telling headers, in one printable line.
    pub hint: String,
    /// The schemes of `Proxy-Authenticate`.
    pub schemes: Vec<String>,
}

/// Why there is no [`Answer`].
#[derive(Debug)]
pub enum ConnectError {
    /// The connection broke.
    Io(io::Error),
    /// What came is no answer: in words.
    Odd(String),
}

/// Asks for a tunnel to `target` (`host:port`). Returns the answer and the octets behind it.
pub async fn connect(
    io: &mut Io,
    target: &str,
    credentials: Option<&ProxyCredentials>,
) -> Result<(Answer, Bytes), ConnectError> {
    let mut request = request(target, credentials);
    let sent = io.write_all(&request).await;
    request.zeroize();
    sent.map_err(ConnectError::Io)?;
    io.flush().await.map_err(ConnectError::Io)?;
    let mut input = BytesMut::new();
    loop {
        if let Some((answer, length)) = parse(&input).map_err(ConnectError::Odd)? {
            return Ok((answer, input.split_off(length).freeze()));
        }
        if io.read_buf(&mut input).await.map_err(ConnectError::Io)? == 0 {
            return Err(ConnectError::Odd(if input.is_empty() {
                "it closed the connection".to_owned()
            } else {
                "it closed the connection in the middle of its answer".to_owned()
            }));
        }
    }
}

/// The request. Credentials go along unasked, as Basic (RFC 7617): it saves the 407 and works with
/// proxies that close after one.
pub fn request(target: &str, credentials: Option<&ProxyCredentials>) -> Vec<u8> {
    let login = credentials.map(|ProxyCredentials { username, password }| {
        let pair = Zeroizing::new(format!("{username}:{}", password.expose_secret()));
        Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()))
    });
    let mut request = Vec::with_capacity(4096); // no growth that would leave a copy of the login
    request
        .extend_from_slice(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").as_bytes());
    if let Some(login) = login {
        request.extend_from_slice(b"Proxy-Authorization: Basic ");
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
            let hint = hint(response.reason.unwrap_or_default(), response.headers);
            return Ok(Some((Answer { status, hint, schemes: schemes(response.headers) }, start)));
        }
    }
}

/// What helps to recognise the proxy and its reason.
fn hint(reason: &str, fields: &[httparse::Header<'_>]) -> String {
    let telling = |name: &str| {
        let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(format!("{name}: {}", String::from_utf8_lossy(field.value)))
    };
    let parts = [
        Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        telling("X-Squid-Error"),
        telling("Server"),
        telling("Location"),
    ];
    let hint = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    hint.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(200).collect()
}

/// Schemes come as fields of their own or as one list; a challenge's parameters hold `=`.
fn schemes(fields: &[httparse::Header<'_>]) -> Vec<String> {
    let challenges =
        fields.iter().filter(|field| field.name.eq_ignore_ascii_case("Proxy-Authenticate"));
    let values = challenges.map(|field| String::from_utf8_lossy(field.value).into_owned());
    let mut schemes = Vec::new();
    for part in values.flat_map(|value| value.split(',').map(str::to_owned).collect::<Vec<_>>()) {
        let word = part.split_whitespace().next().unwrap_or_default();
        let is_scheme = !word.is_empty()
            && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        if is_scheme
            && word.len() <= 20
            && !schemes.iter().any(|known: &String| known.eq_ignore_ascii_case(word))
        {
            schemes.push(word.to_owned());
        }
    }
    schemes
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
    fn the_request_carries_the_login_unasked() {
        let credentials = ProxyCredentials { username: "svc".to_owned(), password: "p:w".into() };
        let request =
            String::from_utf8(request("smtp.office365.com:587", Some(&credentials))).unwrap();
        assert_eq!(
            request,
            "CONNECT smtp.office365.com:587 HTTP/1.1\r\nHost: smtp.office365.com:587\r\n\
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
        assert_eq!(answer(SQUID_407).schemes, ["Negotiate", "Basic"]);
        assert_eq!(
            answer("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM, Basic realm=x\r\n\r\n").schemes,
            ["NTLM", "Basic"]
        );
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
            let Err(ConnectError::Odd(what)) = connect(&mut io, "mail:587", None).await else {
                panic!("{text}")
            };
            assert!(what.contains(words), "{what}");
        }
    }

    proptest! {
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
