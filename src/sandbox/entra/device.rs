//! Device codes: `POST /{tenant}/oauth2/v2.0/devicecode` (RFC 8628 section 3.1) and the polls of
//! the token endpoint.

use std::str;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::entra::errors::{self, Refusal};
use crate::sandbox::entra::form::{self, Form};
use crate::sandbox::entra::grants::{self, Issued, Request, Wanted};
use crate::sandbox::entra::signed_in::SignedIn;
use crate::sandbox::entra::{Answer, BODY_LIMIT, Endpoint, json_answer, read_form};
use crate::sandbox::moment::{Moment, random_hex};
use crate::sandbox::world::sign_ins::{Device, DeviceState, SignIns};
use crate::sandbox::world::{Directory, Speaker, World};

/// The `grant_type` of a poll.
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Endpoint {
    pub(super) async fn device_code(&self, tenant: &str, head: &Parts, body: Incoming) -> Answer {
        let asked = format!("{} /{tenant}/oauth2/v2.0/devicecode", head.method);
        if head.method != Method::POST {
            self.world.say(Speaker::TokenClient, asked);
            return self.refused(&errors::only_post(head.method.as_str()), &head.headers);
        }
        let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
            return self.page(StatusCode::PAYLOAD_TOO_LARGE, "Request too large");
        };
        let form = read_form(&head.headers, &body.to_bytes());
        let said = form.as_ref().map_or_else(|| "(malformed)".to_owned(), Form::masked);
        self.world.say(Speaker::TokenClient, format!("{asked} {said}"));
        let tenant = form::decode(tenant.as_bytes()).unwrap_or_default();
        let begun = form.ok_or_else(errors::malformed);
        match begun.and_then(|form| begin(&self.world, &tenant, &form)) {
            Ok(body) => {
                let mut shown = body.clone();
                shown["device_code"] = json!("<token>");
                self.world.say(Speaker::Entra, format!("200 {shown}"));
                json_answer(StatusCode::OK, body.to_string(), &head.headers)
            }
            Err(refusal) => self.refused(&refusal, &head.headers),
        }
    }
}

/// Gives out a device code and a user code. Whether the app needs a credential is asked at the
/// token endpoint only.
fn begin(world: &World, tenant: &str, form: &Form) -> Result<Value, Refusal> {
    let field = |name| form.value(name).ok_or_else(|| errors::missing_parameter(name));
    let client_id = field("client_id")?.to_owned();
    let scope = field("scope")?.to_owned();
    world.directory(|directory| {
        let known = if grants::is_shared_endpoint(tenant) {
            directory.apps.iter().any(|app| app.client_id.eq_ignore_ascii_case(&client_id))
        } else {
            let tenant = grants::tenant_id(directory, tenant)?;
            directory.app(&tenant, &client_id).is_some()
        };
        if !known {
            return Err(errors::app_unknown(&client_id, tenant));
        }
        Wanted::read(&scope, tenant).map(|_| ())
    })?;
    let tuning = world.tuning();
    let (life, uri) = (tuning.device_life.as_secs(), format!("{}/devicelogin", world.authority()));
    let user_code = user_code();
    let device = Device {
        secret: format!("SAQ{}", random_hex(90)),
        user_code: user_code.clone(),
        client_id,
        scope,
        exp: Moment::now(tuning.clock_offset).unix().saturating_add(life),
        state: DeviceState::Pending,
    };
    let body = json!({
        "user_code": user_code,
        "device_code": device.secret,
        "verification_uri": uri,
        "expires_in": life,
        "interval": tuning.device_interval,
        "message": format!(
            "To sign in, use a web browser to open the page {uri} and enter the code {user_code} \
             to authenticate."
        ),
    });
    world.people_and_sign_ins(|_, sign_ins| sign_ins.add_device(device));
    Ok(body)
}

/// Answers a poll.
pub(super) fn poll(
    request: &Request<'_>,
    directory: &Directory,
    sign_ins: &mut SignIns,
    tenant: &str,
) -> Result<Issued, Refusal> {
    let device_code = request.field("device_code")?;
    let device = sign_ins.device(device_code);
    let upn = match device.as_deref() {
        Some(Device { state: DeviceState::Approved(upn), .. }) => upn.as_str(),
        _ => "",
    };
    let tenant = match upn {
        "" if grants::is_shared_endpoint(tenant) => String::new(),
        _ => grants::users_tenant(directory, tenant, upn)?,
    };
    let device = device.ok_or_else(errors::device_unknown)?;
    if !tenant.is_empty() {
        let app = request.app(directory, &tenant, false)?;
        if !app.client_id.eq_ignore_ascii_case(&device.client_id) {
            return Err(errors::device_unknown());
        }
    }
    if device.exp <= request.now.unix() {
        return Err(errors::device_expired());
    }
    match &device.state {
        DeviceState::Pending => Err(errors::device_pending()),
        DeviceState::Declined => Err(errors::device_declined()),
        DeviceState::Redeemed => Err(errors::redeemed_before()),
        DeviceState::Approved(upn) => {
            let app = request.app(directory, &tenant, false)?;
            let signed_in = SignedIn { upn, scope: &device.scope, nonce: None };
            let issued = request.signed_in(directory, app, signed_in)?;
            device.state = DeviceState::Redeemed;
            Ok(issued)
        }
    }
}

/// Nine letters and digits that are not mistaken for each other.
fn user_code() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut drawn = [0; 9];
    // Without randomness the code is the same each time; it opens nothing but the sandbox.
    let _ = getrandom::fill(&mut drawn);
    drawn
        .iter()
        .filter_map(|octet| LETTERS.get(usize::from(octet % 32)))
        .map(|c| char::from(*c))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sandbox::Sandbox;
    use crate::sandbox::kit::{Http, http, post, start};
    use crate::sandbox::world::TokenFault;
    use crate::sandbox::world::contoso::{APP_ID, PUBLIC_APP_ID, TENANT_DOMAIN};

    const SCOPE: &str = "openid+profile+offline_access+https://outlook.office.com/SMTP.Send";

    async fn ask(sandbox: &Sandbox, tenant: &str, form: &str) -> Http {
        let request = format!(
            "POST /{tenant}/oauth2/v2.0/devicecode HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        http(sandbox, request).await.unwrap()
    }

    async fn begun(sandbox: &Sandbox) -> Value {
        let form = format!("client_id={PUBLIC_APP_ID}&scope={SCOPE}");
        ask(sandbox, TENANT_DOMAIN, &form).await.json()
    }

    async fn polled(sandbox: &Sandbox, begun: &Value) -> Value {
        let code = begun["device_code"].as_str().unwrap();
        let form = format!("grant_type={GRANT}&client_id={PUBLIC_APP_ID}&device_code={code}");
        post(sandbox, TENANT_DOMAIN, "", &form).await.unwrap().json()
    }

    #[tokio::test]
    async fn a_device_code_has_the_documented_fields_and_waits_for_its_user() {
        let sandbox = start().await;
        let world = sandbox.world();
        let begun = begun(&sandbox).await;
        let mut fields: Vec<_> = begun.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let expected =
            ["device_code", "expires_in", "interval", "message", "user_code", "verification_uri"];
        assert_eq!(fields, expected);
        assert_eq!(
            (begun["expires_in"].as_u64(), begun["interval"].as_u64()),
            (Some(900), Some(5))
        );
        let user_code = begun["user_code"].as_str().unwrap();
        assert_eq!(user_code.len(), 9);
        assert!(begun["message"].as_str().unwrap().contains(user_code));
        assert_eq!(world.device_codes(), [user_code]);

        let pending = polled(&sandbox, &begun).await;
        assert_eq!(pending["error"], "authorization_pending");
        assert_eq!(pending["error_codes"], json!([70_016]));
        world.arm_times(TokenFault::SlowDown, 1);
        assert_eq!(polled(&sandbox, &begun).await["error"], "slow_down");

        assert!(world.approve_device(&user_code.to_lowercase(), "mfa@contoso.com"));
        assert!(!world.decline_device(user_code), "settled");
        let granted = polled(&sandbox, &begun).await;
        assert!(granted["refresh_token"].is_string() && granted["id_token"].is_string());
        assert_eq!(granted["scope"], "https://outlook.office.com/SMTP.Send");
        assert_eq!(polled(&sandbox, &begun).await["error_codes"], json!([54_005]));
        assert_eq!(world.counters().token_requests["device_code"], 4);
        let said = format!("{:?}", world.transcript());
        assert!(said.contains(user_code) && !said.contains("SAQ"), "{said}");
    }

    #[tokio::test]
    async fn a_device_code_is_declined_expires_or_is_unknown() {
        let sandbox = start().await;
        let world = sandbox.world();
        let declined = begun(&sandbox).await;
        assert!(world.decline_device(declined["user_code"].as_str().unwrap()));
        assert_eq!(polled(&sandbox, &declined).await["error"], "authorization_declined");
        let leaver = begun(&sandbox).await;
        assert!(world.approve_device(leaver["user_code"].as_str().unwrap(), "leaver@contoso.com"));
        assert_eq!(polled(&sandbox, &leaver).await["error_codes"], json!([50_057]));
        world.tune(|tuning| tuning.device_life = Duration::ZERO);
        assert_eq!(polled(&sandbox, &begun(&sandbox).await).await["error"], "expired_token");
        let unknown = json!({"device_code": "SAQ"});
        assert_eq!(polled(&sandbox, &unknown).await["error"], "bad_verification_code");
        assert!(!world.approve_device("NOSUCH", "scanner@contoso.com"));
    }

    #[tokio::test]
    async fn the_request_for_a_device_code_is_judged() {
        let sandbox = start().await;
        let id = format!("client_id={PUBLIC_APP_ID}");
        let rows = [
            (TENANT_DOMAIN, format!("{id}&scope={SCOPE}"), 0),
            ("organizations", format!("{id}&scope={SCOPE}"), 0),
            (TENANT_DOMAIN, format!("client_id={APP_ID}&scope={SCOPE}"), 0),
            (TENANT_DOMAIN, id.clone(), 900_144),
            (TENANT_DOMAIN, format!("scope={SCOPE}"), 900_144),
            (TENANT_DOMAIN, format!("client_id=x&scope={SCOPE}"), 700_016),
            (TENANT_DOMAIN, format!("{id}&scope=mail"), 70_011),
            ("fabrikam.com", format!("{id}&scope={SCOPE}"), 90_002),
            (TENANT_DOMAIN, "client_id=%zz".to_owned(), 9_002_313),
        ];
        let mut ran = 0;
        for (tenant, form, code) in rows {
            let answer = ask(&sandbox, tenant, &form).await.json();
            assert_eq!(answer["error_codes"][0].as_u64().unwrap_or(0), code, "{tenant} {form}");
            ran += 1;
        }
        assert_eq!(ran, 9);
        let get = format!(
            "GET /{TENANT_DOMAIN}/oauth2/v2.0/devicecode HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(http(&sandbox, get).await.unwrap().status, 405);
    }
}
