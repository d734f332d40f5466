//! The little web server that a browser comes back to after a sign-in (RFC 8252 section 7.3).
//!
//! It listens on loopback only, answers GET on one path with a small page, and everything else
//! with a status. It lives as long as a sign-in. Must never know what the query means.

use std::{
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::listen;

/// Connections at one time: a browser opens a few.
const CONNECTIONS: usize = 16;
/// A request's head must have come within this time.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// The longest head, in octets: other servers on localhost may have left large cookies.
const HEAD_OCTETS: usize = 64 * 1024;
/// How long the last page may take to get out.
const FAREWELL: Duration = Duration::from_secs(3);
/// Free ports tried before giving up.
const ATTEMPTS: usize = 8;
/// The rest after an accept error that is not one connection's own.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a browser is shown.
#[derive(Clone, Debug)]
pub struct Page {
    /// Whether it is good news.
    pub fine: bool,
    /// The news; plain text.
    pub words: String,
}

/// A bound loopback port.
pub struct Loopback {
    sockets: Vec<TcpListener>,
    /// As sent to the authority: with the port.
    uri: String,
    path: String,
}

impl Loopback {
    /// Binds where `http://HOST[:PORT][/PATH]` leads; without a port a free one is taken. For
    /// `localhost` both families are bound, because that name may lead to either.
    ///
    /// # Errors
    /// The port is taken, or the URL is no such one.
    pub fn bind(uri: &str) -> io::Result<Self> {
        let odd = || io::Error::new(io::ErrorKind::InvalidInput, "no loopback URL");
        let rest = uri.strip_prefix("http://").ok_or_else(odd)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| odd())?),
            None => (authority, 0),
        };
        if host != "localhost" && host != "127.0.0.1" {
            return Err(odd());
        }
        let sockets = sockets(port, host == "localhost")?;
        let port = sockets.first().ok_or_else(odd)?.local_addr()?.port();
        let uri = format!("http://{host}:{port}{path}");
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { sockets, uri, path })
    }

    /// Where the browser is to be sent.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Answers until `stop`, and then finishes what has begun. `visit` is called with the query of
    /// each request for the path, and says what to show.
    pub async fn serve<V, P>(self, stop: CancellationToken, visit: V)
    where
        V: Fn(String) -> P + Send + Sync + 'static,
        P: Future<Output = Page> + Send + 'static,
    {
        let shared = Arc::new((self.path, visit));
        let mut connections = JoinSet::new();
        let mut sockets = self.sockets.iter();
        let (first, second) = (sockets.next(), sockets.next());
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                _ = connections.join_next(), if !connections.is_empty() => continue,
                accepted = accept(first) => accepted,
                accepted = accept(second) => accepted,
            };
            match accepted {
                Ok(_) if connections.len() >= CONNECTIONS => {}
                Ok(stream) => {
                    connections.spawn(converse(stream, stop.clone(), Arc::clone(&shared)));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
        drop(self.sockets);
        let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    }
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// One socket, or one of each family with the same port. A port of which another program holds the
/// other half will not do: the browser would come back to that program.
fn sockets(port: u16, both: bool) -> io::Result<Vec<TcpListener>> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let v4 = listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        if !both {
            return Ok(vec![v4]);
        }
        let same = v4.local_addr()?.port();
        match listen::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, same))) {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if port != 0 || attempts == 0 {
                    return Err(error);
                }
            }
            Err(_) => return Ok(vec![v4]), // no IPv6 here, so nobody is led to it
        }
    }
}

async fn accept(socket: Option<&TcpListener>) -> io::Result<TcpStream> {
    match socket {
        Some(socket) => socket.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn converse<V, P>(stream: TcpStream, stop: CancellationToken, shared: Arc<(String, V)>)
where
    V: Fn(String) -> P + Send + Sync + 'static,
    P: Future<Output = Page> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&request, &shared).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_OCTETS);
    builder.keep_alive(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await; // a browser that has gone is no error
}

async fn answer<V, P>(
    request: &Request<Incoming>,
    (path, visit): &(String, V),
) -> Response<Full<Bytes>>
where
    V: Fn(String) -> P,
    P: Future<Output = Page>,
{
    if request.uri().path() != path {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here.");
    }
    let Page { fine, words } = visit(request.uri().query().unwrap_or_default().to_owned()).await;
    let status = if fine { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    page(status, &words)
}

/// A page without scripts, styles or links. Its address holds a code that is used up by now, and is
/// passed on to nobody.
fn page(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let advice = if status == StatusCode::OK { "<p>You may close this window.</p>" } else { "" };
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>mailwicket</title></head>\n\
         <body><h1>mailwicket</h1>\n<p>{words}</p>\n{advice}</body></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_get_on_its_path_is_answered_and_words_stay_words() {
        let loopback = Loopback::bind("http://localhost/back").unwrap();
        let address = loopback.sockets[0].local_addr().unwrap();
        assert_eq!(loopback.uri(), format!("http://localhost:{}/back", address.port()));
        let all: Vec<_> = loopback.sockets.iter().map(|s| s.local_addr().unwrap()).collect();
        assert!(all.iter().all(|address| address.ip().is_loopback()), "{all:?}");
        let stop = CancellationToken::new();
        let serve = loopback.serve(stop.clone(), |query| async move {
            Page { fine: query == "a=1", words: format!("<b>{query}</b>") }
        });
        let visits = async {
            let idle = TcpStream::connect(address).await.unwrap(); // as browsers do, in advance
            let rows = [
                (
                    "GET /back?a=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    "200",
                    "&lt;b&gt;a=1&lt;/b&gt;",
                ),
                ("GET /back?b HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", "&lt;b&gt;b&lt;/b&gt;"),
                ("GET /back HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", "&lt;b&gt;"),
                ("GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n", "404", "nothing here"),
                ("GET /back/?a=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", "404", "nothing here"),
                (
                    "POST /back?a=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
                    "405",
                    "Only GET",
                ),
                ("nonsense\r\n\r\n", "400", ""),
            ];
            let mut ran = 0;
            for (request, status, words) in rows {
                let answer = ask(address, request).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
                assert!(answer.contains(words), "{request}: {answer}");
                ran += 1;
            }
            assert_eq!(ran, 7);
            let long = format!("GET /back?{} HTTP/1.1\r\n\r\n", "x".repeat(2 * HEAD_OCTETS));
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(long.as_bytes()).await; // may be cut before it is all sent
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
            stop.cancel();
            drop(idle);
        };
        tokio::join!(serve, visits);
        assert!(TcpStream::connect(address).await.is_err(), "closed");
    }

    #[tokio::test]
    async fn a_page_under_way_is_finished_after_the_stop() {
        let loopback = Loopback::bind("http://127.0.0.1").unwrap();
        let address = loopback.sockets[0].local_addr().unwrap();
        assert_eq!(loopback.sockets.len(), 1);
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        let serve = loopback.serve(stop, move |_| {
            stopper.cancel();
            async { Page { fine: true, words: "done".to_owned() } }
        });
        let (answer, ()) =
            tokio::join!(ask(address, "GET /?x HTTP/1.1\r\nHost: localhost\r\n\r\n"), serve);
        assert!(answer.contains("done"), "{answer}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_in_either_family_will_not_do() {
        let taken = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Loopback::bind(&format!("http://localhost:{port}")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        if let Ok(taken) = listen::bind("[::1]:0".parse().unwrap()) {
            let port = taken.local_addr().unwrap().port();
            assert!(Loopback::bind(&format!("http://localhost:{port}")).is_err());
        }
        for odd in ["https://localhost", "http://example.com", "http://localhost:x", "localhost"] {
            assert!(Loopback::bind(odd).is_err(), "{odd}");
        }
    }
}
