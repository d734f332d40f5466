//! Reads what the token endpoint answers: RFC 6749 sections 5.1 and 5.2, Microsoft's additions,
//! the shapes of a machine's managed identity endpoint, and what comes from somebody else in its
//! place.
//!
//! Numbers may be strings; `expires_in` may be missing, or be an `expires_on`; a proxy's page may
//! come with status 200.
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
/// What Entra may answer as a refusal though it passes by itself, and for how long nothing is asked
/// then at least: smart lockout, because somebody guesses at this user's password, be it at
/// Microsoft's own pages; a loop of equal requests; and faults and throttling of its own. This bends
/// the rule that numbers only choose words, because they may come as `invalid_grant`, like a wrong
/// password: as a refusal, mail would bounce, and what was accepted would end, because of what a
/// stranger or Entra itself does. Should Microsoft change the numbers, they are refusals again and
/// nothing worse.
const PASSES_BY_ITSELF: [(u32, Option<Duration>); 10] = [
    (50_053, Some(Duration::from_secs(5 * 60))),
    (50_196, Some(Duration::from_secs(90))),
    (50_033, None),
    (50_087, None),
    (90_006, None),
    (90_012, None),
    (90_024, None),
    (90_033, None),
    (90_055, None),
    (90_090, None),
];
/// OAuth errors that are no verdict, whatever the status (RFC 6749 section 4.1.2.1).
const PASSING_ERRORS: [&str; 2] = ["server_error", "temporarily_unavailable"];
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
    /// Who signed in, where the scope holds `openid`; unverified, as it came over our own TLS.
    pub id_token: Option<SecretString>,
    /// What was granted of the scope, where the answer says it.
    pub scope: Option<String>,
}

#[derive(Deserialize)]
struct Success {
    access_token: SecretString,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default, deserialize_with = "lenient_seconds")]
    expires_in: Option<u64>,
    /// Unix time; App Service says only this.
    #[serde(default, deserialize_with = "lenient_seconds")]
    expires_on: Option<u64>,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    id_token: Option<SecretString>,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_codes: Vec<serde_json::Value>,
}

/// How App Service and Container Apps say no.
#[derive(Deserialize)]
struct ServiceFailure {
    message: String,
    #[serde(rename = "statusCode")]
    _status: serde_json::Value,
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
    // A machine's endpoint says 404 and 410 while it is being updated; of Entra's own, 404 says
    // that something else answers in its place.
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::NOT_FOUND
                | StatusCode::GONE
        );
    if status.is_success() {
        return match serde_json::from_slice::<Success>(body) {
            Ok(success) => granted(success),
            Err(_) => Answer::Transient { what: not_json(status, body), retry_after },
        };
    }
    let failure = serde_json::from_slice(body).or_else(|_| {
        let ServiceFailure { message, .. } = serde_json::from_slice(body)?;
        let error = format!("HTTP {} of the managed identity endpoint", status.as_u16());
        let (error_description, error_codes) = (Some(message), Vec::new());
        Ok::<_, serde_json::Error>(Failure { error, error_description, error_codes })
    });
    let Ok(Failure { error, error_description, error_codes }) = failure else {
        return Answer::Transient { what: not_json(status, body), retry_after };
    };
    let error = one_line(&error, 60);
    let description = first_sentence(&error_description.unwrap_or_default());
    if passing || PASSING_ERRORS.contains(&error.as_str()) {
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
    let number = listed.and_then(|code| u32::try_from(code).ok()).or_else(|| aadsts(&description));
    let passes = PASSES_BY_ITSELF.into_iter().find(|(passes, _)| number == Some(*passes));
    if let Some((number, wait)) = passes {
        // The number is told where the words leave it out.
        let told = aadsts(&description) == Some(number);
        let words = if told { description } else { format!("AADSTS{number}: {description}") };
        let what = format!("HTTP {}: {error}: {words}", status.as_u16());
        return Answer::Transient { what, retry_after: retry_after.max(wait) };
    }
    Answer::Refused { error, description, aadsts: number }
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
    let until = |end| {
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end));
        end.and_then(|end| end.duration_since(SystemTime::now()).ok()).unwrap_or_default()
    };
    let life = success.expires_in.map(Duration::from_secs).or(success.expires_on.map(until));
    let life = life.unwrap_or(UNSTATED_LIFE).min(LONGEST_LIFE);
    if life.is_zero() {
        return nonsense("the answer holds a token that has expired");
    }
    // The instance metadata service writes an empty one.
    let stated = |secret: &SecretString| !secret.expose_secret().is_empty();
    Answer::Granted(Granted {
        access: success.access_token,
        life,
        refresh: success.refresh_token.filter(stated),
        id_token: success.id_token.filter(stated),
        scope: success.scope,
    })
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::advice;

    fn read(status: u16, body: &str) -> Answer {
        interpret(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    /// Whatever status and error they come with: mail must not bounce for them.
    #[test]
    fn what_passes_by_itself_is_no_refusal() {
        let mut ran = 0;
        for (number, wait) in PASSES_BY_ITSELF {
            let advice = advice::for_aadsts(number).expect("advice");
            let is_passing =
                ["tried again", "Wait"].iter().any(|words| advice.remedy.contains(words));
            assert!(is_passing || wait.is_some(), "{number}: {}", advice.remedy);
            for error in ["invalid_grant", "invalid_request", "server_error"] {
                let body = format!(
                    r#"{{"error":"{error}","error_description":"AADSTS{number}: Words. Trace ID: 1","error_codes":[{number}]}}"#
                );
                let answer = read(400, &body);
                let Answer::Transient { what, retry_after } = answer else { panic!("{answer:?}") };
                assert!(what.contains(&format!("AADSTS{number}")), "{what}");
                assert!(
                    retry_after == wait || error == "server_error",
                    "{number}: {retry_after:?}"
                );
                ran += 1;
            }
        }
        assert_eq!(ran, 30);
        for error in PASSING_ERRORS {
            let answer = read(400, &format!(r#"{{"error":"{error}"}}"#));
            assert!(matches!(answer, Answer::Transient { .. }), "{answer:?}");
        }
        let no = read(400, r#"{"error":"invalid_grant","error_description":"AADSTS50126: No."}"#);
        assert!(matches!(no, Answer::Refused { aadsts: Some(50_126), .. }), "{no:?}");
    }

    /// Every number of which the advice says that it passes is among them.
    #[test]
    fn the_advice_and_the_answer_agree() {
        let mut found = 0;
        for number in 50_000..91_000 {
            let passes = advice::for_aadsts(number)
                .is_some_and(|advice| advice.remedy.contains("it is tried again"));
            let known = PASSES_BY_ITSELF.iter().any(|(known, _)| *known == number);
            assert!(!passes || known, "AADSTS{number}");
            found += u32::from(passes);
        }
        assert!(found >= 7, "{found}");
    }

    #[test]
    fn a_machines_token_is_read_with_its_numbers_as_strings() {
        let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let on = soon + 7200;
        let token = r#""token_type":"Bearer","access_token":"t","resource":"https://outlook.office365.com""#;
        let rows = [
            // The instance metadata service.
            (
                format!(
                    r#"{{"refresh_token":"","expires_in":"3599","expires_on":"{on}",{token}}}"#
                ),
                3599,
            ),
            // App Service.
            (format!(r#"{{"expires_on":"{on}","client_id":"x",{token}}}"#), 7200),
            (format!(r#"{{"expires_on":{on},{token}}}"#), 7200),
            // What cannot be understood is no reason to be without a token.
            (format!(r#"{{"expires_on":"09/14/2027 00:00:00 PM +00:00",{token}}}"#), 300),
        ];
        for (body, life) in rows {
            let Answer::Granted(granted) = read(200, &body) else { panic!("{body}") };
            assert_eq!(granted.access.expose_secret(), "t");
            assert!(granted.refresh.is_none() && granted.id_token.is_none());
            assert!((life - 2..=life).contains(&granted.life.as_secs()), "{:?}", granted.life);
        }
        for past in [soon - 60, u64::MAX] {
            let answer = read(200, &format!(r#"{{"expires_on":"{past}",{token}}}"#));
            assert!(matches!(answer, Answer::Transient { .. }), "{past}: {answer:?}");
        }
    }

    #[test]
    fn a_sign_in_brings_its_id_token_and_scope() {
        let body = r#"{"token_type":"Bearer","scope":"a b","access_token":"t","refresh_token":"r","id_token":"i","expires_in":9}"#;
        let Answer::Granted(granted) = read(200, body) else { panic!() };
        assert_eq!(granted.id_token.unwrap().expose_secret(), "i");
        assert_eq!(granted.refresh.unwrap().expose_secret(), "r");
        assert_eq!(granted.scope.as_deref(), Some("a b"));
    }

    #[test]
    fn a_machine_says_no_in_two_shapes_and_not_yet_in_many_statuses() {
        let imds = |error, words| format!(r#"{{"error":"{error}","error_description":"{words}"}}"#);
        let service = |status, words| format!(r#"{{"statusCode":{status},"message":"{words}"}}"#);
        let rows = [
            (400, imds("invalid_request", "Identity not found"), true, "Identity not found"),
            (
                400,
                imds("bad_request_102", "Required metadata header not specified"),
                true,
                "header",
            ),
            (400, imds("invalid_resource", "AADSTS50001: The application"), true, "AADSTS50001"),
            (401, imds("unknown_source", "Unknown Source"), true, "Unknown Source"),
            (
                400,
                service(400, "Unable to load requested managed identity."),
                true,
                "Unable to load",
            ),
            (401, service(401, "Unauthorized"), true, "Unauthorized"),
            (404, imds("not_found", "IMDS is being updated"), false, "HTTP 404"),
            (404, "<html><title>Not Found</title>".to_owned(), false, "HTTP 404"),
            (410, String::new(), false, "HTTP 410"),
            (429, imds("too_many_requests", "wait"), false, "HTTP 429"),
            (500, service(500, "internal"), false, "HTTP 500"),
            (503, service(503, "unavailable"), false, "HTTP 503"),
        ];
        let mut looked = 0;
        for (status, body, refused, words) in rows {
            let answer = read(status, &body);
            match &answer {
                Answer::Refused { description, .. } => {
                    assert!(refused && description.contains(words), "{answer:?}");
                }
                Answer::Transient { what, .. } => {
                    assert!(!refused && what.contains(words), "{answer:?}");
                }
                Answer::Granted(_) => panic!("{body}"),
            }
            looked += 1;
        }
        assert_eq!(looked, 12);
    }
}
