//! The managed identity endpoint of an Azure machine, over plain HTTP: the instance metadata
//! service of a virtual machine (`/metadata/identity/oauth2/token`), and the endpoint of App Service
//! and Container Apps (`/msi/token`), on one port.
//!
//! Errors of the metadata service are as documented; App Service's as observed in public logs.

use std::future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::sandbox::entra::form::Form;
use crate::sandbox::entra::grants::{self, Issued, NoIdentity};
use crate::sandbox::moment::Moment;
use crate::sandbox::world::{Fault, MachineFault, Speaker, World, contoso};

/// The endpoint.
pub(in crate::sandbox) struct Endpoint {
    world: World,
}

/// Which of the two is asked.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shape {
    Imds,
    AppService,
}

type Answer = Response<Full<Bytes>>;

impl Endpoint {
    pub(in crate::sandbox) fn new(world: World) -> Self {
        Self { world }
    }

    /// Serves requests on this connection until the peer leaves.
    pub(in crate::sandbox) async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let service = service_fn(|request| self.answer(request));
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(io::Error::other)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, &'static str> {
        let (uri, headers) = (request.uri(), request.headers());
        self.world.count(|counters| counters.machine_requests += 1);
        self.world.say(Speaker::MachineClient, format!("{} {uri}", request.method()));
        let shape = match uri.path().trim_end_matches('/') {
            "/metadata/identity/oauth2/token" => Shape::Imds,
            "/msi/token" => Shape::AppService,
            _ => return Ok(self.say(StatusCode::NOT_FOUND, &json!({"error": "not_found"}))),
        };
        let fault = self.world.strike(|fault| match fault {
            Fault::Machine(fault) => Some(*fault),
            _ => None,
        });
        let (status, words) = match fault {
            Some(MachineFault::Hang) => return future::pending().await,
            Some(MachineFault::Updating) => (404, "The service is being updated."),
            Some(MachineFault::Gone) => (410, "The service is being updated."),
            Some(MachineFault::Throttled) => (429, "Too many requests."),
            Some(MachineFault::ServerError) => (500, "Failed to retrieve token from the AAD."),
            None => match issue(&self.world, shape, request.method(), uri.query(), headers) {
                Ok(body) => return Ok(self.say(StatusCode::OK, &body)),
                Err(no) => return Ok(self.say(no.status, &no.body(shape))),
            },
        };
        let no = No::new(status, "unknown", words);
        Ok(self.say(no.status, &no.body(shape)))
    }

    fn say(&self, status: StatusCode, body: &Value) -> Answer {
        let mut shown = body.clone();
        if let Some(token) = shown.get_mut("access_token") {
            *token = json!("<token>");
            self.world.count(|counters| counters.tokens_issued += 1);
        }
        self.world.say(Speaker::Machine, format!("{} {shown}", status.as_u16()));
        let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
        *answer.status_mut() = status;
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer
    }
}

/// A refusal.
struct No {
    status: StatusCode,
    error: &'static str,
    words: String,
}

impl No {
    fn new(status: u16, error: &'static str, words: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, error, words: words.into() }
    }

    fn body(&self, shape: Shape) -> Value {
        match shape {
            Shape::Imds => json!({"error": self.error, "error_description": self.words}),
            Shape::AppService => {
                json!({"statusCode": self.status.as_u16(), "message": self.words})
            }
        }
    }
}

fn issue(
    world: &World,
    shape: Shape,
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Value, No> {
    // A proxy that can be talked into fetching this address must get no token.
    if headers.contains_key("x-forwarded-for") || headers.contains_key(header::VIA) {
        return Err(No::new(400, "invalid_request", "Requests through a proxy are not allowed."));
    }
    if method != Method::GET {
        return Err(No::new(405, "invalid_request", "Method not allowed"));
    }
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    let version = match shape {
        Shape::Imds if !is("metadata", "true") => {
            let words = "Required metadata header not specified";
            return Err(No::new(400, "bad_request_102", words));
        }
        Shape::AppService if !is("x-identity-header", contoso::IDENTITY_HEADER) => {
            return Err(No::new(401, "unauthorized", "Unauthorized"));
        }
        Shape::Imds => "2018-02-01",
        Shape::AppService => "2019-08-01",
    };
    let malformed = || No::new(400, "invalid_request", "The query cannot be read");
    let query = Form::parse(query.unwrap_or_default().as_bytes()).ok_or_else(malformed)?;
    if query.value("api-version") != Some(version) {
        return Err(No::new(
            400,
            "invalid_request",
            "Required query variable 'api-version' is missing or wrong",
        ));
    }
    let missing =
        || No::new(400, "invalid_request", "Required query variable 'resource' is missing");
    let resource = query.value("resource").ok_or_else(missing)?;
    let now = Moment::now(world.tuning().clock_offset);
    let (client_id, issued) = grants::for_machine(world, query.value("client_id"), resource, now)
        .map_err(|no| match (no, shape) {
            (NoIdentity::Unknown, Shape::Imds) => {
                No::new(400, "invalid_request", "Identity not found")
            }
            (NoIdentity::Unknown, Shape::AppService) => No::new(
                400,
                "invalid_request",
                "No Managed Identity was found for specified ClientId/ResourceId/PrincipalId.",
            ),
            (NoIdentity::Resource(tenant), _) => No::new(
                400,
                "invalid_resource",
                format!("AADSTS50001: The application named {resource} was not found in the tenant named {tenant}."),
            ),
        })?;
    Ok(granted(shape, &client_id, resource, &issued, now))
}

/// All values are strings.
fn granted(shape: Shape, client_id: &str, resource: &str, issued: &Issued, now: Moment) -> Value {
    let expires_on = now.unix().saturating_add(issued.expires_in).to_string();
    match shape {
        Shape::Imds => json!({
            "access_token": issued.access_token,
            "client_id": client_id,
            "expires_in": issued.expires_in.to_string(),
            "expires_on": expires_on,
            "ext_expires_in": issued.expires_in.to_string(),
            "not_before": now.unix().saturating_sub(300).to_string(),
            "refresh_token": "",
            "resource": resource,
            "token_type": "Bearer",
        }),
        Shape::AppService => json!({
            "access_token": issued.access_token,
            "client_id": client_id,
            "expires_on": expires_on,
            "resource": resource,
            "token_type": "Bearer",
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::sandbox::Sandbox;
    use crate::sandbox::kit::start;
    use crate::sandbox::world::contoso::{IDENTITY_HEADER, MANAGED_ID};

    const RESOURCE: &str = "resource=https%3A%2F%2Foutlook.office365.com";

    async fn ask(sandbox: &Sandbox, line: &str, headers: &str) -> (u16, Value) {
        let host = sandbox.machine().replace("http://", "");
        let mut io = TcpStream::connect(&host).await.unwrap();
        let request =
            format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn both_shapes_of_token_hold_strings_only() {
        let sandbox = start().await;
        let imds = format!("GET /metadata/identity/oauth2/token?api-version=2018-02-01&{RESOURCE}");
        let (status, body) = ask(&sandbox, &imds, "Metadata: true\r\n").await;
        assert_eq!(status, 200);
        let fields = body.as_object().unwrap();
        assert!(fields.values().all(Value::is_string), "{body}");
        assert_eq!((&body["refresh_token"], &body["client_id"]), (&json!(""), &json!(MANAGED_ID)));
        assert!(body["expires_in"].as_str().unwrap().parse::<u64>().unwrap() >= 3599);
        let service =
            format!("GET /msi/token?api-version=2019-08-01&{RESOURCE}&client_id={MANAGED_ID}");
        let header = format!("X-IDENTITY-HEADER: {IDENTITY_HEADER}\r\n");
        let (status, body) = ask(&sandbox, &service, &header).await;
        assert_eq!(status, 200);
        let fields = body.as_object().unwrap();
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["access_token", "client_id", "expires_on", "resource", "token_type"]);
        assert!(fields.values().all(Value::is_string), "{body}");
        assert_eq!(sandbox.world().counters().machine_requests, 2);
        assert_eq!(sandbox.world().counters().tokens_issued, 2);
    }

    #[tokio::test]
    async fn everything_else_is_refused_in_its_shape() {
        let sandbox = start().await;
        let imds = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&";
        let service = "GET /msi/token/?api-version=2019-08-01&";
        let meta = "Metadata: true\r\n";
        let own = format!("X-IDENTITY-HEADER: {IDENTITY_HEADER}\r\n");
        let both = |more: &str| format!("{meta}{more}\r\n");
        let rows = [
            (format!("{imds}{RESOURCE}"), String::new(), 400, "bad_request_102"),
            (format!("{imds}{RESOURCE}"), both("X-Forwarded-For: 10.0.0.1"), 400, "proxy"),
            (format!("{imds}{RESOURCE}"), both("Via: 1.1 squid"), 400, "proxy"),
            (imds.replace("GET", "POST") + RESOURCE, meta.to_owned(), 405, "not allowed"),
            (imds.to_owned(), meta.to_owned(), 400, "'resource' is missing"),
            (imds.replace("2018", "2017") + RESOURCE, meta.to_owned(), 400, "api-version"),
            (format!("{imds}resource=https://x.example"), meta.to_owned(), 400, "AADSTS50001"),
            (format!("{imds}{RESOURCE}&client_id=x"), meta.to_owned(), 400, "Identity not found"),
            (format!("{service}{RESOURCE}"), meta.to_owned(), 401, "\"statusCode\":401"),
            (format!("{service}{RESOURCE}&client_id=x"), own, 400, "No Managed Identity was found"),
            ("GET /latest/meta-data".to_owned(), meta.to_owned(), 404, "not_found"),
        ];
        let mut looked = 0;
        for (line, headers, status, words) in rows {
            let (found, body) = ask(&sandbox, &line, &headers).await;
            assert_eq!(found, status, "{line}: {body}");
            assert!(body.to_string().contains(words), "{line}: {body}");
            looked += 1;
        }
        assert_eq!(looked, 11);
        for (fault, status) in [
            (MachineFault::Updating, 404),
            (MachineFault::Gone, 410),
            (MachineFault::Throttled, 429),
            (MachineFault::ServerError, 500),
        ] {
            sandbox.world().arm_times(fault, 1);
            let (found, _) = ask(&sandbox, &format!("{imds}{RESOURCE}"), meta).await;
            assert_eq!(found, status);
        }
        assert_eq!(ask(&sandbox, &format!("{imds}{RESOURCE}"), meta).await.0, 200);
    }
}
