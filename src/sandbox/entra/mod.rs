//! Entra's endpoints, v2.0, over TLS: `POST /{tenant}/oauth2/v2.0/token` and, for sign-ins by a
//! user, `devicecode` and `authorize` beside it.
//!
//! Answered in the JSON shapes and with the headers of the real one. The decisions are in
//! [`grants`], [`device`] and [`authorize`], the words in [`errors`].

mod assertion;
mod authorize;
mod device;
mod errors;
mod form;
mod grants;
pub(super) mod jwt;
pub(super) mod machine;
mod scope;
mod signed_in;
mod users;

#[cfg(test)]
mod tests;

use std::future;
use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::sandbox::entra::errors::Refusal;
use crate::sandbox::entra::form::Form;
use crate::sandbox::entra::grants::Issued;
use crate::sandbox::moment::{Moment, guid, random_hex};
use crate::sandbox::world::{Fault, Speaker, TokenFault, World};

/// Largest request body in octets; real ones are below 8 kB.
const BODY_LIMIT: usize = 64 * 1024;

type Answer = Response<Full<Bytes>>;

/// The endpoint; serves one connection at a time for each task.
pub(super) struct Endpoint {
    world: World,
    acceptor: TlsAcceptor,
}

impl Endpoint {
    pub(super) fn new(world: World, acceptor: TlsAcceptor) -> Self {
        Self { world, acceptor }
    }

    /// Serves requests on this connection until the peer leaves.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        if self.world.armed(&Fault::Token(TokenFault::Reset)) {
            // Closing with a linger of zero sends RST instead of FIN.
            stream.set_zero_linger()?;
        }
        let stream = self.acceptor.accept(stream).await?;
        let service = service_fn(|request| self.answer(request));
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(io::Error::other)
    }

    /// An error ends the connection without an answer.
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, &'static str> {
        let path = request.uri().path().to_owned();
        if let Some(page) = authorize::Page::at(&path) {
            return Ok(self.page_of_sign_in(&page, request).await);
        }
        let (head, body) = request.into_parts();
        if let Some(tenant) = of_tenant(&path, "devicecode") {
            return Ok(self.device_code(tenant, &head, body).await);
        }
        let of_v1 = of_tenant_v1(&path);
        let Some(tenant) = of_tenant(&path, "token").or(of_v1) else {
            self.world.say(Speaker::TokenClient, format!("{} (unknown path)", head.method));
            return Ok(self.page(StatusCode::NOT_FOUND, "Not Found"));
        };
        if head.method != Method::POST {
            let refusal = errors::only_post(head.method.as_str());
            self.world.say(Speaker::TokenClient, format!("{} {path}", head.method));
            return Ok(self.refused(&refusal, &head.headers));
        }
        let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
            return Ok(self.page(StatusCode::PAYLOAD_TOO_LARGE, "Request too large"));
        };
        let form = read_form(&head.headers, &body.to_bytes());
        let grant = form.as_ref().and_then(|form| form.value("grant_type")).unwrap_or_default();
        self.world.count(|counters| {
            *counters.token_requests.entry(known_grant(grant).to_owned()).or_default() += 1;
        });
        let said = form.as_ref().map_or_else(|| "(malformed)".to_owned(), Form::masked);
        self.world.say(Speaker::TokenClient, format!("POST {path} {said}"));

        let fault = self.world.strike(|fault| match fault {
            Fault::Token(fault) => Some(fault.clone()),
            _ => None,
        });
        match &fault {
            Some(TokenFault::Hang) => return future::pending().await,
            Some(TokenFault::Reset) => return Err("a reset was asked for"),
            Some(TokenFault::Throttled(after)) => {
                return Ok(self.refused(&errors::throttled(*after), &head.headers));
            }
            Some(TokenFault::ServiceUnavailable) => {
                return Ok(self.page(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"));
            }
            Some(TokenFault::HtmlPage) => {
                return Ok(self.page(StatusCode::OK, "Welcome to the guest network"));
            }
            Some(TokenFault::InvalidGrant) => {
                return Ok(self.refused(&errors::renewal_malformed(), &head.headers));
            }
            Some(TokenFault::SlowDown) => {
                return Ok(self.refused(&errors::device_too_fast(), &head.headers));
            }
            Some(TokenFault::LoopDetected) => {
                return Ok(self.refused(&errors::loop_detected(), &head.headers));
            }
            _ => {}
        }
        let tenant = form::decode(tenant.as_bytes()).unwrap_or_default();
        let now = Moment::now(self.world.tuning().clock_offset);
        let form = form.ok_or_else(errors::malformed);
        let form = if of_v1.is_some() { form.and_then(scope_of_resource) } else { form };
        let issued = form.and_then(|form| grants::issue(&self.world, &tenant, &form, now));
        // v1.0 writes all numbers as strings.
        let fault = fault.or(of_v1.map(|_| TokenFault::NumbersAsStrings));
        Ok(match issued {
            Ok(issued) => self.granted(&issued, fault.as_ref(), &head.headers),
            Err(refusal) => self.refused(&refusal, &head.headers),
        })
    }

    fn granted(&self, issued: &Issued, fault: Option<&TokenFault>, request: &HeaderMap) -> Answer {
        self.world.count(|counters| counters.tokens_issued += 1);
        let number = |seconds: u64| match fault {
            Some(TokenFault::NumbersAsStrings) => json!(seconds.to_string()),
            _ => json!(seconds),
        };
        let mut body = json!({
            "token_type": "Bearer",
            "expires_in": number(issued.expires_in),
            "ext_expires_in": number(issued.expires_in),
        });
        if let Some(fields) = body.as_object_mut() {
            if fault == Some(&TokenFault::NoExpiresIn) {
                fields.remove("expires_in");
            }
            if let Some(scope) = &issued.scope {
                fields.insert("scope".to_owned(), json!(scope));
            }
            let mut shown = fields.clone();
            fields.insert("access_token".to_owned(), json!(issued.access_token));
            shown.insert("access_token".to_owned(), json!("<token>"));
            if let Some(refresh) = &issued.refresh_token {
                fields.insert("refresh_token".to_owned(), json!(refresh));
                shown.insert("refresh_token".to_owned(), json!("<token>"));
            }
            if let Some(id_token) = &issued.id_token {
                fields.insert("id_token".to_owned(), json!(id_token));
                shown.insert("id_token".to_owned(), json!("<token>"));
            }
            self.world.say(Speaker::Entra, format!("200 {}", Value::Object(shown)));
        }
        let mut text = body.to_string();
        if fault == Some(&TokenFault::TruncatedJson) {
            text.truncate(text.len() / 2);
        }
        json_answer(StatusCode::OK, text, request)
    }

    fn refused(&self, refusal: &Refusal, request: &HeaderMap) -> Answer {
        let now = Moment::now(self.world.tuning().clock_offset);
        let correlation = request
            .get("client-request-id")
            .and_then(|id| id.to_str().ok())
            .filter(|id| id.len() == 36)
            .map_or_else(guid, str::to_owned);
        let body = refusal.body(&self.world.authority(), now, &correlation).to_string();
        self.world.say(Speaker::Entra, format!("{} {body}", refusal.status.as_u16()));
        let mut answer = json_answer(refusal.status, body, request);
        if let Some(seconds) = refusal.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("POST, OPTIONS");
            answer.headers_mut().insert(header::ALLOW, allowed);
        }
        answer
    }

    fn page(&self, status: StatusCode, title: &str) -> Answer {
        self.world.say(Speaker::Entra, format!("{} (an HTML page: {title})", status.as_u16()));
        let page = format!(
            "<!DOCTYPE html>\r\n<html><head><title>{title}</title></head>\r\n\
             <body><h2>{title}</h2></body></html>\r\n"
        );
        let mut answer = Response::new(Full::new(Bytes::from(page)));
        *answer.status_mut() = status;
        let html = HeaderValue::from_static("text/html; charset=us-ascii");
        answer.headers_mut().insert(header::CONTENT_TYPE, html);
        answer
    }
}

/// The fields of the body. Another content type holds no fields at all, so that the first missing
/// parameter is what Entra complains of; the client's Basic credentials (RFC 6749 section 2.3.1)
/// count as fields.
fn read_form(headers: &HeaderMap, body: &[u8]) -> Option<Form> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let mut form = if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Form::parse(body)?
    } else {
        Form::default()
    };
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    if let Some((_, credentials)) = basic {
        let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
        let (id, secret) = decoded.split_once(':')?;
        form.insert("client_id", form::decode(id.as_bytes())?);
        form.insert("client_secret", form::decode(secret.as_bytes())?);
    }
    Some(form)
}

/// The tenant in `/{tenant}/oauth2/v2.0/{endpoint}`.
fn of_tenant<'a>(path: &'a str, endpoint: &str) -> Option<&'a str> {
    let tenant = path.strip_prefix('/')?.strip_suffix(endpoint)?.strip_suffix("/oauth2/v2.0/")?;
    (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
}

/// The tenant in `/{tenant}/oauth2/token`, the endpoint of version 1.0.
fn of_tenant_v1(path: &str) -> Option<&str> {
    let tenant = path.strip_prefix('/')?.strip_suffix("/oauth2/token")?;
    (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
}

/// Version 1.0 is asked for a resource, grants all that was consented to, and always gives a
/// refresh token.
fn scope_of_resource(mut form: Form) -> Result<Form, Refusal> {
    let resource = form.value("resource").ok_or_else(|| errors::missing_parameter("resource"))?;
    let scope = format!("{resource}/.default offline_access");
    form.insert("scope", scope);
    Ok(form)
}

/// Counts must not grow with every name that a client makes up.
fn known_grant(grant: &str) -> &str {
    match grant {
        "" | "client_credentials" | "password" | "refresh_token" | "authorization_code" => grant,
        device::GRANT => "device_code",
        _ => "other",
    }
}

fn json_answer(status: StatusCode, body: String, request: &HeaderMap) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let fixed = [
        ("cache-control", "no-store, no-cache"),
        ("pragma", "no-cache"),
        ("content-type", "application/json; charset=utf-8"),
        ("expires", "-1"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("p3p", "CP=\"DSP CUR OTPi IND OTRi ONL FIN\""),
        ("x-ms-ests-server", "2.1.0 - sandbox"),
    ];
    for (name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let drawn = [
        ("x-ms-request-id", guid()),
        ("set-cookie", format!("fpc={}; path=/; secure; HttpOnly; SameSite=None", random_hex(16))),
    ];
    for (name, value) in drawn {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(id) = request.get("client-request-id") {
        headers.insert(HeaderName::from_static("client-request-id"), id.clone());
    }
    answer
}
