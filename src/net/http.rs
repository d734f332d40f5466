//! One HTTP request over a connection that we dialled.
//!
//! reqwest's types say what is asked and answered; its own connector is not used, because it hides
//! a proxy's status from us and would give the token leg another way out than the mail leg has.
//! No redirect is followed and no connection kept: a token is fetched about once an hour. Must
//! never know what the request is for.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;

use super::{Leg, dial::Dialer, error::DialError};

/// The longest body taken, in octets: no answer of Entra comes near it.
const BODY_LIMIT: usize = 1024 * 1024;
/// The limit on sending the request and reading the whole answer, after the connection stands.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(20);

/// Why a request got no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The URL has no host, or a scheme that is not HTTP.
    #[error("the URL {0} cannot be asked")]
    Url(String),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The exchange broke.
    #[error("{host} gave no HTTP answer: {error}")]
    Exchange {
        /// Who was asked.
        host: String,
        /// What hyper said.
        error: hyper::Error,
    },
    /// The body broke off or was too long.
    #[error("the answer of {host} broke off or was longer than {BODY_LIMIT} octets")]
    Body {
        /// Who was asked.
        host: String,
    },
    /// It took too long.
    #[error("{host} did not answer within {} s", EXCHANGE_LIMIT.as_secs())]
    Timeout {
        /// Who was asked.
        host: String,
    },
}

impl HttpError {
    /// What to do, in words for the log.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Dial(error) => error.remedy(),
            Self::Url(_) => Some("mend authority in proxy.toml".to_owned()),
            Self::Exchange { .. } | Self::Body { .. } | Self::Timeout { .. } => Some(
                "trying again later may help; if not, look at the proxy or firewall in between"
                    .to_owned(),
            ),
        }
    }

    /// A few words for the client.
    pub fn summary(&self) -> String {
        match self {
            Self::Dial(error) => error.summary(),
            _ => "The token endpoint gave no usable answer".to_owned(),
        }
    }
}

/// Sends one request and reads its whole answer, within limits of size and time.
pub async fn send(
    dialer: &Dialer,
    leg: Leg,
    request: reqwest::Request,
) -> Result<reqwest::Response, HttpError> {
    let url = request.url().clone();
    let unusable = || HttpError::Url(url.to_string());
    let host = url.host_str().ok_or_else(unusable)?;
    let port = url.port_or_known_default().ok_or_else(unusable)?;
    let mut io = dialer.dial(leg, host, port).await?;
    match url.scheme() {
        "https" => io = dialer.start_tls(leg, host, port, io).await?,
        "http" => {}
        _ => return Err(unusable()),
    }
    let exchange = timeout(EXCHANGE_LIMIT, exchange(io, host, request));
    exchange.await.unwrap_or_else(|_| Err(HttpError::Timeout { host: host.to_owned() }))
}

async fn exchange(
    io: super::Io,
    host: &str,
    request: reqwest::Request,
) -> Result<reqwest::Response, HttpError> {
    let broke = |error| HttpError::Exchange { host: host.to_owned(), error };
    let mut request: hyper::Request<reqwest::Body> =
        request.try_into().map_err(|_| HttpError::Url(host.to_owned()))?;
    prepare(&mut request, host)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broke)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(broke)?.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|_| HttpError::Body { host: host.to_owned() })?.to_bytes();
        Ok(reqwest::Response::from(hyper::Response::from_parts(head, body)))
    };
    // The connection moves the bytes; when it ends, the answer has come or never will.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// HTTP/1.1 wants the target in origin form and a Host field (RFC 9112 sections 3.2.1 and 3.2).
fn prepare(request: &mut hyper::Request<reqwest::Body>, host: &str) -> Result<(), HttpError> {
    let unusable = || HttpError::Url(host.to_owned());
    let authority = request.uri().authority().ok_or_else(unusable)?.to_string();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| unusable())?;
    let value = authority.parse().map_err(|_| unusable())?;
    request.headers_mut().insert(hyper::header::HOST, value);
    Ok(())
}
