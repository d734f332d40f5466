//! The pages where a user signs in: `GET /{tenant}/oauth2/v2.0/authorize` (RFC 6749 section 4.1.1
//! with PKCE, RFC 7636) and `/devicelogin`, and the redemption of the code at the token endpoint.
//!
//! A person gets a small form. A test adds `sandbox_user=UPN` to the query and is redirected at
//! once, as that user; with `sandbox_error=1` as somebody who said no.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use sha2::{Digest, Sha256};

use crate::sandbox::entra::errors::{self, Refusal};
use crate::sandbox::entra::form::{self, Form};
use crate::sandbox::entra::grants::{self, Issued, Request, Wanted};
use crate::sandbox::entra::signed_in::SignedIn;
use crate::sandbox::entra::{Answer, BODY_LIMIT, Endpoint, of_tenant};
use crate::sandbox::moment::{Moment, random_hex};
use crate::sandbox::world::sign_ins::{Code, SignIns};
use crate::sandbox::world::{Directory, Speaker, World};

/// A page for a person.
pub(super) enum Page {
    /// The authorize page of this tenant.
    Authorize(String),
    /// Where a user code is typed.
    DeviceLogin,
}

impl Page {
    /// The page at this path, if there is one.
    pub(super) fn at(path: &str) -> Option<Self> {
        if path == "/devicelogin" {
            return Some(Self::DeviceLogin);
        }
        let tenant = of_tenant(path, "authorize")?;
        Some(Self::Authorize(form::decode(tenant.as_bytes())?))
    }
}

/// A request for a code that may be answered at its redirect address.
struct Asked {
    tenant: String,
    client_id: String,
    redirect_uri: String,
    state: Option<String>,
}

impl Endpoint {
    pub(super) async fn page_of_sign_in(
        &self,
        page: &Page,
        request: hyper::Request<Incoming>,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        self.world.say(Speaker::Browser, format!("{} {}", head.method, head.uri.path()));
        let typed = match head.method {
            Method::GET => None,
            Method::POST => match Limited::new(body, BODY_LIMIT).collect().await {
                Ok(body) => Form::parse(&body.to_bytes()),
                Err(_) => return self.page(StatusCode::PAYLOAD_TOO_LARGE, "Request too large"),
            },
            _ => return self.page(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        };
        let Some(asked) = Form::parse(query.as_bytes()) else {
            return self.page(StatusCode::BAD_REQUEST, "Bad request");
        };
        match page {
            Page::DeviceLogin => self.device_login(typed.as_ref()),
            Page::Authorize(tenant) => self.authorize(tenant, &asked, typed.as_ref()),
        }
    }

    fn authorize(&self, tenant: &str, query: &Form, typed: Option<&Form>) -> Answer {
        // An address that is not the app's own must never be redirected to (RFC 6749 4.1.2.1).
        let asked = match asked(&self.world, tenant, query) {
            Ok(asked) => asked,
            Err(refusal) => {
                return self.form(StatusCode::BAD_REQUEST, &words(&refusal), SORRY);
            }
        };
        if let Err(refusal) = self.legal(&asked, query) {
            return self.redirect(&asked, &failure(&refusal));
        }
        if query.value("sandbox_error").is_some() {
            return self.redirect(&asked, &failure(&errors::consent_declined()));
        }
        let user = match (query.value("sandbox_user"), typed) {
            (Some(user), _) => Ok(user.to_owned()),
            (None, Some(typed)) => signed_in_by_password(&self.world, typed),
            (None, None) => return self.form(StatusCode::OK, "Sign in", SIGN_IN),
        };
        match user {
            Ok(user) => {
                let code = self.code(&asked, query, user);
                self.redirect(&asked, &[("code", code), ("session_state", random_hex(16))])
            }
            Err(refusal) => self.form(StatusCode::OK, &words(&refusal), SIGN_IN),
        }
    }

    /// What is told at the redirect address.
    fn legal(&self, asked: &Asked, query: &Form) -> Result<(), Refusal> {
        if query.value("response_type") != Some("code") {
            return Err(errors::response_type());
        }
        let scope = query.value("scope").ok_or_else(|| errors::missing_parameter("scope"))?;
        self.world.directory(|_| Wanted::read(scope, &asked.tenant)).map(|_| ())?;
        let challenge = query.value("code_challenge").ok_or_else(errors::challenge_missing)?;
        // Of S256 only: 32 octets in base64url.
        if query.value("code_challenge_method") != Some("S256") || challenge.len() != 43 {
            return Err(errors::challenge_size());
        }
        Ok(())
    }

    fn code(&self, asked: &Asked, query: &Form, upn: String) -> String {
        let tuning = self.world.tuning();
        let field = |name| query.value(name).unwrap_or_default().to_owned();
        let code = Code {
            value: format!("1.AXk{}", random_hex(400)), // about as long as real ones
            client_id: asked.client_id.clone(),
            redirect_uri: asked.redirect_uri.clone(),
            scope: field("scope"),
            challenge: field("code_challenge"),
            nonce: query.value("nonce").map(str::to_owned),
            upn,
            exp: Moment::now(tuning.clock_offset).unix() + tuning.code_life.as_secs(),
            used: false,
        };
        let value = code.value.clone();
        self.world.people_and_sign_ins(|_, sign_ins| sign_ins.add_code(code));
        value
    }

    fn device_login(&self, typed: Option<&Form>) -> Answer {
        let Some(typed) = typed else {
            return self.form(StatusCode::OK, "Enter code", DEVICE);
        };
        let user = match signed_in_by_password(&self.world, typed) {
            Ok(user) => user,
            Err(refusal) => return self.form(StatusCode::OK, &words(&refusal), DEVICE),
        };
        if self.world.approve_device(typed.value("user_code").unwrap_or_default(), &user) {
            return self.form(StatusCode::OK, "You have signed in on your device", DONE);
        }
        self.form(StatusCode::OK, &words(&errors::device_unknown()), DEVICE)
    }

    fn redirect(&self, asked: &Asked, fields: &[(&str, String)]) -> Answer {
        let mut location = asked.redirect_uri.clone();
        if !location.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
            location.push('/');
        }
        let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
        let state = asked.state.as_deref().map(|state| ("state", state));
        let what = fields.clone().next().map_or("", |(name, _)| name);
        let mut mark = '?';
        for (name, value) in fields.chain(state) {
            location.push(mark);
            location.push_str(name);
            location.push('=');
            location.push_str(&encode(value));
            mark = '&';
        }
        self.world.say(Speaker::Entra, format!("302 to {} with {what}", asked.redirect_uri));
        let mut answer = Answer::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::FOUND;
        if let Ok(location) = HeaderValue::from_str(&location) {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        answer
    }

    fn form(&self, status: StatusCode, title: &str, rest: &str) -> Answer {
        self.world.say(Speaker::Entra, format!("{} (a page: {title})", status.as_u16()));
        let title = escape(title);
        let page = format!(
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
             <body><h1>{title}</h1>\n<p>This is a simulated Microsoft 365.</p>\n{rest}\n</body></html>\n"
        );
        let mut answer = Answer::new(Full::new(Bytes::from(page)));
        *answer.status_mut() = status;
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, html);
        answer
    }
}

const SORRY: &str = "<p>Sorry, but we're having trouble signing you in.</p>";
const DONE: &str = "<p>You may now close this window.</p>";
const SIGN_IN: &str = "<form method=\"post\">\
<p><label>User <input name=\"user\"></label></p>\
<p><label>Password <input name=\"password\" type=\"password\"></label></p>\
<p><button>Sign in</button></p></form>";
const DEVICE: &str = "<form method=\"post\">\
<p><label>Code <input name=\"user_code\"></label></p>\
<p><label>User <input name=\"user\"></label></p>\
<p><label>Password <input name=\"password\" type=\"password\"></label></p>\
<p><button>Sign in</button></p></form>";

/// The app and the address to answer at, once both are right.
fn asked(world: &World, tenant: &str, query: &Form) -> Result<Asked, Refusal> {
    let field = |name| query.value(name).ok_or_else(|| errors::missing_parameter(name));
    let client_id = field("client_id")?;
    let redirect_uri = field("redirect_uri")?;
    world.directory(|directory| {
        let app = if grants::is_shared_endpoint(tenant) {
            directory.apps.iter().find(|app| app.client_id.eq_ignore_ascii_case(client_id))
        } else {
            directory.app(&grants::tenant_id(directory, tenant)?, client_id)
        };
        let app = app.ok_or_else(|| errors::app_unknown(client_id, tenant))?;
        if !app.redirect_uris.iter().any(|registered| is_same_address(registered, redirect_uri)) {
            return Err(errors::redirect_unknown(client_id));
        }
        Ok(Asked {
            tenant: app.tenant.clone(),
            client_id: app.client_id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            state: query.value("state").map(str::to_owned),
        })
    })
}

/// Whether an address is the registered one; of `localhost` the port does not matter, the path does.
fn is_same_address(registered: &str, given: &str) -> bool {
    let plain = |address: &str| address.strip_suffix('/').unwrap_or(address).to_owned();
    let portless = |address: &str| {
        let Some(rest) = address.strip_prefix("http://localhost") else {
            return address.to_owned();
        };
        let rest = match rest.strip_prefix(':') {
            Some(rest) => rest.trim_start_matches(|letter: char| letter.is_ascii_digit()),
            None => rest,
        };
        format!("http://localhost{rest}")
    };
    plain(&portless(registered)) == plain(&portless(given))
}

fn signed_in_by_password(world: &World, typed: &Form) -> Result<String, Refusal> {
    let (name, password) = (typed.value("user").unwrap_or_default(), typed.value("password"));
    world.directory(|directory| {
        let user = directory.user(name).ok_or_else(errors::wrong_password)?;
        grants::check_existence(user)?;
        if password != Some(user.password.as_str()) {
            return Err(errors::wrong_password());
        }
        Ok(user.upn.clone())
    })
}

/// Redeems a code (RFC 6749 section 4.1.3, RFC 7636 section 4.6).
pub(super) fn redeem(
    request: &Request<'_>,
    directory: &Directory,
    sign_ins: &mut SignIns,
    tenant: &str,
) -> Result<Issued, Refusal> {
    let (value, redirect_uri) = (request.field("code")?, request.field("redirect_uri")?);
    let code = sign_ins.code(value).ok_or_else(errors::renewal_malformed)?;
    let tenant = grants::users_tenant(directory, tenant, &code.upn)?;
    let app = request.app(directory, &tenant, false)?;
    if !app.client_id.eq_ignore_ascii_case(&code.client_id) {
        return Err(errors::renewal_malformed());
    }
    if code.used {
        return Err(errors::redeemed_before());
    }
    if code.exp <= request.now.unix() {
        return Err(errors::renewal_expired());
    }
    if code.redirect_uri != redirect_uri {
        return Err(errors::redirect_unknown(&app.client_id));
    }
    let verifier = request.field("code_verifier")?;
    if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != code.challenge {
        return Err(errors::wrong_verifier());
    }
    code.used = true;
    let (scope, nonce) = (code.scope.as_str(), code.nonce.as_deref());
    request.signed_in(directory, app, SignedIn { upn: &code.upn, scope, nonce })
}

fn words(refusal: &Refusal) -> String {
    format!("AADSTS{}: {}", refusal.code, refusal.text)
}

/// The fields of an answer that says no.
fn failure(refusal: &Refusal) -> Vec<(&'static str, String)> {
    vec![("error", refusal.error.to_owned()), ("error_description", words(refusal))]
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "%{octet:02X}"); // to a String it cannot fail
        }
    }
    encoded
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::sandbox::Sandbox;
    use crate::sandbox::kit::{Http, http, post, start};
    use crate::sandbox::world::contoso::{PASSWORD, PUBLIC_APP_ID, TENANT_DOMAIN};

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    /// Of the verifier above (RFC 7636, appendix B).
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const BACK: &str = "http://localhost:5555";

    fn query() -> String {
        format!(
            "client_id={PUBLIC_APP_ID}&response_type=code&redirect_uri={}&state=a%26b&nonce=n\
             &code_challenge={CHALLENGE}&code_challenge_method=S256\
             &scope=openid+profile+offline_access+https://outlook.office.com/SMTP.Send",
            encode(BACK)
        )
    }

    async fn get(sandbox: &Sandbox, tenant: &str, query: &str) -> Http {
        let request = format!(
            "GET /{tenant}/oauth2/v2.0/authorize?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        http(sandbox, request).await.unwrap()
    }

    async fn submit(sandbox: &Sandbox, path: &str, form: &str) -> Http {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        http(sandbox, request).await.unwrap()
    }

    fn back(answer: &Http) -> Form {
        assert_eq!(answer.status, 302, "{}", answer.body);
        let location = answer.header("location").unwrap();
        let query = location.strip_prefix("http://localhost:5555/?").unwrap();
        Form::parse(query.as_bytes()).unwrap()
    }

    async fn code(sandbox: &Sandbox, user: &str) -> String {
        let answer = get(sandbox, TENANT_DOMAIN, &format!("{}&sandbox_user={user}", query())).await;
        let back = back(&answer);
        assert_eq!(back.value("state"), Some("a&b"));
        back.value("code").unwrap().to_owned()
    }

    async fn redeemed(sandbox: &Sandbox, code: &str, uri: &str, verifier: &str) -> Value {
        let form = format!(
            "grant_type=authorization_code&client_id={PUBLIC_APP_ID}&code={code}\
             &redirect_uri={}&code_verifier={verifier}",
            encode(uri)
        );
        post(sandbox, TENANT_DOMAIN, "", &form).await.unwrap().json()
    }

    #[tokio::test]
    async fn a_code_is_redeemed_once_by_the_one_who_has_the_verifier() {
        let sandbox = start().await;
        let world = sandbox.world();
        let first = code(&sandbox, "mfa@contoso.com").await;
        let codes = |answer: Value| answer["error_codes"][0].as_u64().unwrap_or(0);
        let wrong = VERIFIER.replace('d', "e");
        assert_eq!(codes(redeemed(&sandbox, &first, BACK, &wrong).await), 501_481);
        let elsewhere = "http://localhost:5556";
        assert_eq!(codes(redeemed(&sandbox, &first, elsewhere, VERIFIER).await), 50_011);
        assert_eq!(codes(redeemed(&sandbox, "1.AXk", BACK, VERIFIER).await), 70_000);
        let granted = redeemed(&sandbox, &first, BACK, VERIFIER).await;
        assert!(granted["refresh_token"].is_string(), "{granted}");
        let token = granted["id_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
        assert_eq!(claims["preferred_username"], "mfa@contoso.com");
        assert_eq!((&claims["nonce"], &claims["aud"]), (&json!("n"), &json!(PUBLIC_APP_ID)));
        assert_eq!(codes(redeemed(&sandbox, &first, BACK, VERIFIER).await), 54_005);

        world.tune(|tuning| tuning.code_life = Duration::ZERO);
        let late = code(&sandbox, "erp@contoso.com").await;
        assert_eq!(codes(redeemed(&sandbox, &late, BACK, VERIFIER).await), 70_008);
        assert_eq!(world.counters().token_requests["authorization_code"], 6);
        let said = format!("{:?}", world.transcript());
        assert!(!said.contains("1.AXk") && !said.contains(VERIFIER), "{said}");
    }

    #[tokio::test]
    async fn only_the_apps_own_address_is_redirected_to() {
        let sandbox = start().await;
        let q = query();
        let id = format!("client_id={PUBLIC_APP_ID}");
        let port = "localhost%3A5555";
        let t = TENANT_DOMAIN;
        let pages = [
            (t, q.replace(port, "evil.example"), "AADSTS50011"),
            (t, q.replace(port, "localhost.evil.example"), "AADSTS50011"),
            (t, q.replace(port, "localhost%3A5555%2Fpath"), "AADSTS50011"),
            (t, q.replace("http%3A", "https%3A"), "AADSTS50011"),
            (t, q.replace(port, "127.0.0.1%3A5555"), "AADSTS50011"),
            (t, q.replace(&id, "client_id=x"), "AADSTS700016"),
            (t, q.replace(&id, ""), "AADSTS900144"),
            ("fabrikam.com", q.clone(), "AADSTS90002"),
        ];
        let mut ran = 0;
        for (tenant, query, words) in pages {
            let answer = get(&sandbox, tenant, &query).await;
            assert_eq!(answer.status, 400, "{query}");
            assert!(answer.body.contains(words), "{query}: {}", answer.body);
            ran += 1;
        }
        let redirects = [
            (q.replace("response_type=code", "response_type=token"), "unsupported_response_type"),
            (q.replace("scope=openid", "scope=mail"), "invalid_scope"),
            (q.replace("code_challenge=", "x="), "invalid_request"),
            (q.replace("=S256", "=plain"), "invalid_request"),
            (q.clone() + "&sandbox_error=1", "access_denied"),
        ];
        for (query, error) in redirects {
            let back = back(&get(&sandbox, t, &query).await);
            assert_eq!(back.value("error"), Some(error), "{query}");
            assert_eq!(back.value("state"), Some("a&b"));
            ran += 1;
        }
        assert_eq!(ran, 13);
    }

    #[tokio::test]
    async fn a_person_gets_a_form() {
        let sandbox = start().await;
        let page = get(&sandbox, TENANT_DOMAIN, &query()).await;
        assert!(page.status == 200 && page.body.contains("<form"), "{}", page.body);
        let path = format!("/{TENANT_DOMAIN}/oauth2/v2.0/authorize?{}", query());
        let wrong = submit(&sandbox, &path, "user=mfa@contoso.com&password=x").await;
        assert!(wrong.status == 200 && wrong.body.contains("AADSTS50126"), "{}", wrong.body);
        let left = format!("user=leaver@contoso.com&password={PASSWORD}");
        assert!(submit(&sandbox, &path, &left).await.body.contains("AADSTS50057"));
        let right = format!("user=mfa@contoso.com&password={PASSWORD}");
        assert!(back(&submit(&sandbox, &path, &right).await).value("code").is_some());

        let form = format!("client_id={PUBLIC_APP_ID}&scope=https://outlook.office.com/SMTP.Send");
        submit(&sandbox, &format!("/{TENANT_DOMAIN}/oauth2/v2.0/devicecode"), &form).await;
        let user_code = sandbox.world().device_codes().remove(0);
        let typed = submit(&sandbox, "/devicelogin", &format!("user_code=x&{right}")).await;
        assert!(typed.body.contains("AADSTS70018"), "{}", typed.body);
        submit(&sandbox, "/devicelogin", &format!("user_code={user_code}&{right}")).await;
        assert!(sandbox.world().device_codes().is_empty());
    }
}
