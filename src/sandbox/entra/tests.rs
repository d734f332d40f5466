//! The token endpoint over raw TLS sockets: statuses, codes and shapes.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::sandbox::kit::{SCOPE, app_form, http, post, start};
use crate::sandbox::world::contoso::{
    APP_ID, APP_OBJECT_ID, APP_ROLES, APP_SECRET, PASSWORD, PUBLIC_APP_ID, TENANT_DOMAIN, TENANT_ID,
};
use crate::sandbox::world::{AppSecret, TokenFault};

fn user_form(user: &str, password: &str) -> String {
    format!(
        "grant_type=password&client_id={PUBLIC_APP_ID}&username={user}@contoso.com\
         &password={password}&scope=https://outlook.office.com/SMTP.Send+offline_access"
    )
}

fn claims(answer: &Value) -> Value {
    let token = answer["access_token"].as_str().unwrap();
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
}

#[tokio::test]
async fn an_app_token_has_its_claims_headers_and_size() {
    let sandbox = start().await;
    for tenant in [TENANT_DOMAIN, TENANT_ID, "CONTOSO.com"] {
        let answer = post(&sandbox, tenant, "", &app_form()).await.unwrap();
        assert_eq!(answer.status, 200);
        let json = answer.json();
        let mut fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["access_token", "expires_in", "ext_expires_in", "token_type"]);
        assert_eq!(json["token_type"], "Bearer");
        let life = json["expires_in"].as_u64().unwrap();
        assert!((3599..=5399).contains(&life), "{life}");
        let octets = json["access_token"].as_str().unwrap().len();
        assert!((1590..=2410).contains(&octets), "{octets}");
        let claims = claims(&json);
        assert_eq!(claims["aud"], "https://outlook.office365.com");
        assert_eq!(claims["roles"], serde_json::json!(APP_ROLES));
        assert_eq!(claims["tid"], TENANT_ID);
        assert_eq!(claims["appid"], APP_ID);
        assert_eq!(claims["oid"], APP_OBJECT_ID);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), life + 301);
        assert!(claims.get("scp").is_none() && claims.get("upn").is_none());
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store, no-cache"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        assert_eq!(answer.header("expires"), Some("-1"));
        assert_eq!(answer.header("x-ms-request-id").unwrap().len(), 36);
    }
    assert_eq!(sandbox.world().counters().token_requests["client_credentials"], 3);
    assert_eq!(sandbox.world().counters().tokens_issued, 3);
}

#[tokio::test]
async fn every_refusal_has_its_status_error_and_code() {
    let sandbox = start().await;
    sandbox.world().directory(|directory| {
        let mut off = directory.app_mut(APP_ID).unwrap().clone();
        off.client_id = "0ff".to_owned();
        off.disabled = true;
        let mut plain = off.clone();
        plain.client_id = "plain".to_owned();
        plain.disabled = false;
        plain.public = true;
        plain.scopes = vec![];
        plain.secrets = vec![AppSecret::default()];
        directory.apps.extend([off, plain]);
    });
    let app = |changed: &[(&str, &str)]| {
        let mut form = app_form();
        for (from, to) in changed {
            assert!(form.contains(from), "{from}");
            form = form.replace(from, to);
        }
        form
    };
    let secret = format!("&client_secret={APP_SECRET}");
    let t = TENANT_DOMAIN;
    let user = |name: &str| user_form(name, PASSWORD);
    let rows: Vec<(&str, String, u16, &str, u32)> = vec![
        (t, app(&[(APP_SECRET, "wrong")]), 401, "invalid_client", 7_000_215),
        (
            t,
            app(&[(APP_SECRET, &format!("{APP_SECRET}-of-last-year"))]),
            401,
            "invalid_client",
            7_000_222,
        ),
        (t, app(&[(&secret, "")]), 401, "invalid_client", 7_000_218),
        (t, app(&[(APP_SECRET, "")]), 401, "invalid_client", 7_000_218),
        (t, app(&[("client_secret", "client_assertion")]), 400, "invalid_request", 900_144),
        (
            t,
            app(&[(
                "client_secret",
                "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer\
                 &client_assertion",
            )]),
            401,
            "invalid_client",
            700_027,
        ),
        (t, app(&[(APP_ID, PUBLIC_APP_ID)]), 401, "invalid_client", 700_025),
        (t, app(&[(APP_ID, "nobody")]), 400, "unauthorized_client", 700_016),
        (t, app(&[(APP_ID, "0ff")]), 401, "unauthorized_client", 7_000_112),
        ("fabrikam.com", app_form(), 400, "invalid_request", 90_002),
        ("9c7f2a4e-0000-4b8a-8f0e-2d6b1c3a5e70", app_form(), 400, "invalid_request", 90_002),
        ("contoso", app_form(), 400, "invalid_request", 900_023),
        ("common", app_form(), 400, "invalid_request", 50_059),
        (t, app(&[("/.default", "/SMTP.Send")]), 400, "invalid_scope", 1_002_012),
        (t, app(&[(SCOPE, "mail")]), 400, "invalid_scope", 70_011),
        (t, app(&[("outlook.office365.com", "outlook.example")]), 400, "invalid_resource", 500_011),
        (t, app(&[(SCOPE, "")]), 400, "invalid_request", 900_144),
        (t, app(&[("grant_type=client_credentials", "")]), 400, "invalid_request", 900_144),
        (t, app(&[("client_credentials", "magic")]), 400, "unsupported_grant_type", 70_003),
        (t, "grant_type=%zz".to_owned(), 400, "invalid_request", 9_002_313),
        ("common", user("scanner"), 400, "invalid_request", 9_001_023),
        (t, user_form("scanner", "wrong"), 400, "invalid_grant", 50_126),
        (t, user("nobody"), 400, "invalid_grant", 50_034),
        (t, user("locked"), 400, "invalid_grant", 50_053),
        (t, user("expired"), 400, "invalid_grant", 50_055),
        (t, user("federated"), 400, "invalid_grant", 50_056),
        (t, user("leaver"), 400, "invalid_grant", 50_057),
        (t, user("mfa"), 400, "invalid_grant", 50_076),
        (t, user("enrol"), 400, "invalid_grant", 50_079),
        (t, user("policy"), 400, "invalid_grant", 53_003),
        (t, user_form("mfa", "wrong"), 400, "invalid_grant", 50_126),
        (t, user("scanner").replace(PUBLIC_APP_ID, "plain"), 400, "invalid_grant", 65_001),
        (
            t,
            user("scanner").replace("SMTP.Send", "EWS.AccessAsUser.All"),
            400,
            "invalid_grant",
            65_001,
        ),
        (t, user("scanner").replace(PUBLIC_APP_ID, APP_ID), 401, "invalid_client", 7_000_218),
        (t, user("scanner") + "&client_secret=x", 401, "invalid_client", 700_025),
        (
            t,
            "grant_type=refresh_token&client_id=x&refresh_token=1.x.y.z".to_owned(),
            400,
            "unauthorized_client",
            700_016,
        ),
        (
            t,
            format!("grant_type=refresh_token&client_id={PUBLIC_APP_ID}&refresh_token=1.x.y.z"),
            400,
            "invalid_grant",
            70_000,
        ),
    ];
    assert_eq!(rows.len(), 37);
    for (tenant, form, status, error, code) in rows {
        let answer = post(&sandbox, tenant, "", &form).await.unwrap();
        let json = answer.json();
        assert_eq!(json["error_codes"], serde_json::json!([code]), "{form}");
        assert_eq!((answer.status, json["error"].as_str()), (status, Some(error)), "{code}");
        let text = json["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
        let tail = format!(
            " Trace ID: {} Correlation ID: {} Timestamp: {}",
            json["trace_id"].as_str().unwrap(),
            json["correlation_id"].as_str().unwrap(),
            json["timestamp"].as_str().unwrap(),
        );
        assert!(text.ends_with(&tail), "{text}");
        let uri = format!("{}/error?code={code}", sandbox.authority());
        assert_eq!(json["error_uri"], uri);
        assert!(!text.contains(PASSWORD) && !text.contains(APP_SECRET), "{text}");
    }
    let answer = post(&sandbox, t, "", &user("mfa")).await.unwrap().json();
    assert_eq!(answer["suberror"], "basic_action");
}

#[tokio::test]
async fn the_request_itself_is_judged_as_entra_does() {
    let sandbox = start().await;
    let get = format!(
        "GET /{TENANT_DOMAIN}/oauth2/v2.0/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    let answer = http(&sandbox, get).await.unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(answer.json()["error_codes"], serde_json::json!([900_561]));
    let lost =
        "POST /x/oauth2/v3.0/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned();
    assert_eq!(http(&sandbox, lost).await.unwrap().status, 404);
    let as_json = "Content-Type: application/json\r\n";
    let answer = post(&sandbox, TENANT_DOMAIN, as_json, &app_form()).await.unwrap();
    assert_eq!(answer.json()["error_codes"], serde_json::json!([900_144]), "no form, no fields");
    let charset = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    assert_eq!(post(&sandbox, TENANT_DOMAIN, charset, &app_form()).await.unwrap().status, 200);
    let id = "client-request-id: 11111111-2222-4333-9444-555555555555\r\n";
    let answer = post(&sandbox, TENANT_DOMAIN, id, "").await.unwrap();
    assert_eq!(answer.json()["correlation_id"], "11111111-2222-4333-9444-555555555555");
    let basic = STANDARD.encode(format!("{APP_ID}:{}", APP_SECRET.replace('~', "%7E")));
    let basic = format!("Authorization: Basic {basic}\r\n");
    let form = format!("grant_type=client_credentials&scope={SCOPE}");
    assert_eq!(post(&sandbox, TENANT_DOMAIN, &basic, &form).await.unwrap().status, 200);
    let huge = "x".repeat(70_000);
    assert_eq!(post(&sandbox, TENANT_DOMAIN, "", &huge).await.unwrap().status, 413);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_end() {
    let sandbox = start().await;
    let world = sandbox.world();
    let first = post(&sandbox, "organizations", "", &user_form("scanner", PASSWORD)).await.unwrap();
    let first = first.json();
    assert_eq!(first["scope"], "https://outlook.office.com/SMTP.Send");
    let seen = claims(&first);
    assert_eq!((seen["scp"].as_str(), seen["idtyp"].as_str()), (Some("SMTP.Send"), Some("user")));
    assert_eq!(seen["upn"], "scanner@contoso.com");
    assert_eq!(seen["aud"], "https://outlook.office.com");
    let renew = |token: &Value| {
        let token = token["refresh_token"].as_str().unwrap().to_owned();
        format!("grant_type=refresh_token&client_id={PUBLIC_APP_ID}&refresh_token={token}")
    };
    let second = post(&sandbox, TENANT_DOMAIN, "", &renew(&first)).await.unwrap().json();
    assert_ne!(second["refresh_token"], first["refresh_token"], "a new one each time");
    assert_eq!(post(&sandbox, TENANT_DOMAIN, "", &renew(&first)).await.unwrap().status, 200, "old");
    assert_eq!(post(&sandbox, TENANT_DOMAIN, "", &renew(&second)).await.unwrap().status, 200);

    world.directory(|directory| {
        directory.user_mut("scanner@contoso.com").unwrap().generation += 1;
    });
    let revoked = post(&sandbox, TENANT_DOMAIN, "", &renew(&second)).await.unwrap().json();
    assert_eq!(revoked["error_codes"], serde_json::json!([50_173]));
    world.tune(|tuning| tuning.refresh_life = Duration::ZERO);
    let short =
        post(&sandbox, TENANT_DOMAIN, "", &user_form("erp", PASSWORD)).await.unwrap().json();
    let expired = post(&sandbox, TENANT_DOMAIN, "", &renew(&short)).await.unwrap().json();
    assert_eq!(expired["error_codes"], serde_json::json!([70_008]));
}

#[tokio::test]
async fn ten_wrong_passwords_lock_the_account() {
    let sandbox = start().await;
    sandbox.world().tune(|tuning| tuning.lockout_after = 3);
    let mut codes = Vec::new();
    for password in ["a", "b", PASSWORD, "a", "b", "c", PASSWORD] {
        let answer = post(&sandbox, TENANT_DOMAIN, "", &user_form("erp", password)).await.unwrap();
        codes.push(answer.json()["error_codes"][0].as_u64().unwrap_or(0));
    }
    assert_eq!(codes, [50_126, 50_126, 0, 50_126, 50_126, 50_126, 50_053]);
}

#[tokio::test]
async fn faults_strike_as_often_as_they_are_armed() {
    let sandbox = start().await;
    let world = sandbox.world();
    let ask = || post(&sandbox, TENANT_DOMAIN, "", "");
    let good = async || post(&sandbox, TENANT_DOMAIN, "", &app_form()).await.unwrap();

    world.arm_times(TokenFault::Throttled(Some(7)), 1);
    let answer = good().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    world.arm_times(TokenFault::Throttled(None), 1);
    let answer = good().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, None));
    assert_eq!(good().await.status, 200);

    world.arm_times(TokenFault::ServiceUnavailable, 2);
    for _ in 0..2 {
        let answer = good().await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("<html>"));
    }
    world.arm_times(TokenFault::HtmlPage, 1);
    let answer = good().await;
    assert!(answer.status == 200 && answer.body.contains("<html>"));
    world.arm_times(TokenFault::TruncatedJson, 1);
    let answer = good().await;
    assert!(answer.status == 200 && serde_json::from_str::<Value>(&answer.body).is_err());
    world.arm_times(TokenFault::NoExpiresIn, 1);
    let answer = good().await.json();
    assert!(answer.get("expires_in").is_none() && answer.get("access_token").is_some());
    world.arm_times(TokenFault::NumbersAsStrings, 1);
    assert!(good().await.json()["expires_in"].is_string());
    world.arm_times(TokenFault::InvalidGrant, 1);
    assert_eq!(good().await.json()["error"], "invalid_grant");
    world.arm_times(TokenFault::LoopDetected, 1);
    assert_eq!(good().await.json()["error_codes"], serde_json::json!([50_196]));
    assert_eq!(good().await.status, 200);

    world.arm(TokenFault::Reset);
    assert!(ask().await.is_none() && ask().await.is_none());
    world.disarm();
    assert_eq!(good().await.status, 200);
    world.arm_times(TokenFault::Hang, 1);
    let hung = tokio::time::timeout(Duration::from_millis(100), ask()).await;
    assert!(hung.is_err(), "no answer");
    assert_eq!(world.counters().token_requests_total(), 16);
}

#[tokio::test]
async fn the_knobs_turn_while_it_runs() {
    let sandbox = start().await;
    sandbox.world().tune(|tuning| {
        tuning.token_octets = Some(6000);
        tuning.token_life = Some(Duration::from_secs(600));
        tuning.clock_offset = -600;
    });
    let answer = post(&sandbox, TENANT_DOMAIN, "", &app_form()).await.unwrap().json();
    let octets = answer["access_token"].as_str().unwrap().len();
    assert!((5990..=6010).contains(&octets), "{octets}");
    assert_eq!(answer["expires_in"], 599);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let exp = claims(&answer)["exp"].as_u64().unwrap();
    assert!(exp <= now.as_secs(), "already over by our clock");
}
