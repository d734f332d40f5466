//! Reads what the token endpoint answers: RFC 6749 sections 5.1 and 5.2, Microsoft's additions,
//! and what comes from somebody else in its place.
//!
//! Numbers may be strings; `expires_in` may be missing; a proxy's page may come with status 200.
//! Nothing of a token is ever part of an error. Must never know who asked, or why.

use std::time::{Duration, SystemTime};

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

/// Assumed where an answer does not say how long its token lives: short, so that little harm is
/// done, and long enough to be useful.
const UNSTATED_LIFE: Duration = Duration::from_secs(5 * 60);
/// No stated life beyond this is believed; Entra's longest is 28 hours.
const LONGEST_LIFE: Duration = Duration::from_secs(48 * 3600);
/// The longest `Retry-After` that is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How much of a description is kept.
const KEPT: usize = 300;

/// What the endpoint answered.
#[derive(Debug)]
pub enum Answer {
    /// A token.
    Granted(Granted),
    /// A refusal that will not change by itself.
    Refused {
        /// The OAuth error.
        error: String,
        /// Its first sentence.
        description: String,
        /// The AADSTS number.
        aadsts: Option<u32>,
    },
    /// No usable answer; another time it may be.
    Transient {
        /// What came.
        what: String,
        /// How long to wait, where it said so.
        retry_after: Option<Duration>,
    },
}

/// A token as granted.
#[derive(Debug)]
pub struct Granted {
    /// The access token.
    pub access: SecretString,
    /// Its life from now.
    pub life: Duration,
    /// A refresh token, for grants that give one.
    pub refresh: Option<SecretString>,
    /// Who signed in (`OpenID` Connect Core 1.0 section 2), where `openid` was asked for.
    pub id_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Success {
    access_token: SecretString,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default, deserialize_with = "lenient_seconds")]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    id_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_codes: Vec<serde_json::Value>,
}

/// Reads an answer, whatever it is.
pub async fn read(response: Response) -> Answer {
    let status = response.status();
    let retry_after = retry_after(&response);
    match response.bytes().await {
        Ok(body) => interpret(status, retry_after, &body),
        Err(_) => Answer::Transient { what: "the answer broke off".to_owned(), retry_after },
    }
}

pub(super) fn interpret(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Answer {
    let overloaded = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if status.is_success() {
        return match serde_json::from_slice::<Success>(body) {
            Ok(success) => granted(success),
            Err(_) => Answer::Transient { what: not_json(status, body), retry_after },
        };
    }
    let Ok(Failure { error, error_description, error_codes }) = serde_json::from_slice(body) else {
        return Answer::Transient { what: not_json(status, body), retry_after };
    };
    let error = one_line(&error, 60);
    let description = first_sentence(&error_description.unwrap_or_default());
    if overloaded || error == "temporarily_unavailable" {
        return Answer::Transient {
            what: format!("HTTP {}: {error}: {description}", status.as_u16()),
            retry_after,
        };
    }
    if status.is_redirection() {
        return Answer::Transient {
            what: format!("HTTP {}, a redirect, which is not followed", status.as_u16()),
            retry_after,
        };
    }
    let listed =
        error_codes.first().and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
    let aadsts = listed.and_then(|code| u32::try_from(code).ok()).or_else(|| aadsts(&description));
    Answer::Refused { error, description, aadsts }
}

fn granted(success: Success) -> Answer {
    use secrecy::ExposeSecret;
    let nonsense = |what: &str| Answer::Transient { what: what.to_owned(), retry_after: None };
    if success.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("Bearer")) {
        return nonsense("the answer holds a token that is no bearer token");
    }
    let token = success.access_token.expose_secret();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return nonsense("the answer holds a token that cannot be one");
    }
    let life = success.expires_in.map_or(UNSTATED_LIFE, Duration::from_secs).min(LONGEST_LIFE);
    if life.is_zero() {
        return nonsense("the answer holds a token that has expired");
    }
    let Success { access_token: access, refresh_token: refresh, id_token, .. } = success;
    Answer::Granted(Granted { access, life, refresh, id_token })
}

/// Seconds as a number or a string; nonsense counts as unstated.
pub(super) fn lenient_seconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_u64().or_else(|| number.as_i64().map(|_| 0)),
        serde_json::Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// What came in place of JSON: the title of a page, or how it began to go wrong.
fn not_json(status: StatusCode, body: &[u8]) -> String {
    let status = status.as_u16();
    let text = String::from_utf8_lossy(body);
    let trimmed = text.trim_start();
    if trimmed.is_empty() {
        return format!("HTTP {status} with an empty body");
    }
    if trimmed.starts_with('<') {
        let title = trimmed.split_once("<title>").or_else(|| trimmed.split_once("<TITLE>"));
        let title = title.and_then(|(_, rest)| rest.split('<').next()).unwrap_or("no title");
        let title = one_line(title.trim(), 80);
        return format!(
            "HTTP {status} with an HTML page (\"{title}\"), probably of a proxy in between"
        );
    }
    format!("HTTP {status} with a body that is not the JSON of a token endpoint, or broken off")
}

/// The description up to its trace ids, on one line.
pub(super) fn first_sentence(description: &str) -> String {
    let end = description.find("Trace ID:").unwrap_or(description.len());
    one_line(description.get(..end).unwrap_or_default().trim(), KEPT)
}

/// The number in `AADSTS50126: ...`.
pub(super) fn aadsts(description: &str) -> Option<u32> {
    let (_, rest) = description.split_once("AADSTS")?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

pub(super) fn one_line(text: &str, limit: usize) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(limit).collect()
}
