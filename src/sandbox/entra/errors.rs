//! What Entra says when it says no: status, OAuth error, AADSTS code and text, in the JSON shape
//! of its v2.0 endpoint. Codes and their pairs with status and error are as documented or as seen
//! in public logs.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::sandbox::moment::{Moment, guid};

/// A refusal of the token endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) code: u32,
    pub(super) text: String,
    pub(super) suberror: Option<&'static str>,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<u32>,
}

impl Refusal {
    /// The JSON body. `authority` is the sandbox's own, where Entra names its own host.
    pub(super) fn body(&self, authority: &str, now: Moment, correlation: &str) -> Value {
        let (trace, time) = (guid(), now.entra());
        let mut body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
                self.code, self.text,
            ),
            "error_codes": [self.code],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("{authority}/error?code={}", self.code),
        });
        if let (Some(suberror), Some(fields)) = (self.suberror, body.as_object_mut()) {
            fields.insert("suberror".to_owned(), json!(suberror));
        }
        body
    }
}

pub(super) fn refuse(
    status: u16,
    error: &'static str,
    code: u32,
    text: impl Into<String>,
) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Refusal { status, error, code, text: text.into(), suberror: None, retry_after: None }
}

/// The refusals of the request itself.
pub(super) fn missing_parameter(name: &str) -> Refusal {
    let text = format!("The request body must contain the following parameter: '{name}'.");
    refuse(400, "invalid_request", 900_144, text)
}

pub(super) fn malformed() -> Refusal {
    refuse(400, "invalid_request", 9_002_313, "Invalid request. Request is malformed or invalid.")
}

pub(super) fn only_post(method: &str) -> Refusal {
    let text =
        format!("The endpoint only accepts POST, OPTIONS requests. Received a {method} request.");
    refuse(405, "invalid_request", 900_561, text)
}

pub(super) fn unsupported_grant(grant: &str) -> Refusal {
    let text = format!("The app requested an unsupported grant type '{}'.", shown(grant));
    refuse(400, "unsupported_grant_type", 70_003, text)
}

/// The refusals of the tenant.
pub(super) fn tenant_unreadable(tenant: &str) -> Refusal {
    let text = format!(
        "Specified tenant identifier '{}' is neither a valid DNS name, nor a valid external domain.",
        shown(tenant)
    );
    refuse(400, "invalid_request", 900_023, text)
}

pub(super) fn tenant_unknown(tenant: &str) -> Refusal {
    let text = format!(
        "Tenant '{}' not found. Check to make sure you have the correct tenant ID and are signing \
         into the correct cloud. Check with your subscription administrator, this may happen if \
         there are no active subscriptions for the tenant.",
        shown(tenant)
    );
    refuse(400, "invalid_request", 90_002, text)
}

pub(super) fn tenant_missing() -> Refusal {
    let text = "No tenant-identifying information found in either the request or implied by any \
                provided credentials.";
    refuse(400, "invalid_request", 50_059, text)
}

pub(super) fn grant_needs_tenant() -> Refusal {
    let text = "The grant type is not supported over the /common or /consumers endpoints. Please \
                use the /organizations or tenant-specific endpoint.";
    refuse(400, "invalid_request", 9_001_023, text)
}

/// The refusals of the app and its credential.
pub(super) fn no_credential() -> Refusal {
    let text = "The request body must contain the following parameter: 'client_assertion' or \
                'client_secret'.";
    refuse(401, "invalid_client", 7_000_218, text)
}

pub(super) fn public_with_secret() -> Refusal {
    let text = "Client is public so neither 'client_assertion' nor 'client_secret' should be \
                presented.";
    refuse(401, "invalid_client", 700_025, text)
}

pub(super) fn app_unknown(client_id: &str, tenant: &str) -> Refusal {
    let text = format!(
        "Application with identifier '{}' was not found in the directory '{}'. This can happen if \
         the application has not been installed by the administrator of the tenant or consented to \
         by any user in the tenant. You may have sent your authentication request to the wrong \
         tenant.",
        shown(client_id),
        shown(tenant)
    );
    refuse(400, "unauthorized_client", 700_016, text)
}

pub(super) fn wrong_secret(client_id: &str) -> Refusal {
    let text = format!(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client \
         secret value, not the client secret ID, for a secret added to app '{}'.",
        shown(client_id)
    );
    refuse(401, "invalid_client", 7_000_215, text)
}

pub(super) fn expired_secret(client_id: &str) -> Refusal {
    let text = format!(
        "The provided client secret keys for app '{}' are expired. Visit the Azure portal to \
         create new keys for your app: https://aka.ms/NewClientSecret, or consider using \
         certificate credentials for added security: https://aka.ms/certCreds.",
        shown(client_id)
    );
    refuse(401, "invalid_client", 7_000_222, text)
}

pub(super) fn app_disabled(client_id: &str, name: &str) -> Refusal {
    let text = format!("Application '{}'({}) is disabled.", shown(client_id), shown(name));
    refuse(401, "unauthorized_client", 7_000_112, text)
}

/// The refusals of the scope.
pub(super) fn not_default_scope(scope: &str) -> Refusal {
    let text = format!(
        "The provided value for scope {} is not valid. Client credential flows must have a scope \
         value with /.default suffixed to the resource identifier (application ID URI).",
        shown(scope)
    );
    refuse(400, "invalid_scope", 1_002_012, text)
}

pub(super) fn scope_invalid(scope: &str) -> Refusal {
    let text = format!(
        "The provided request must include a 'scope' input parameter. The provided value for the \
         input parameter 'scope' is not valid. The scope {} is not valid.",
        shown(scope)
    );
    refuse(400, "invalid_scope", 70_011, text)
}

pub(super) fn several_resources(scope: &str) -> Refusal {
    let text = format!(
        "Provided value for the input parameter scope is not valid because it contains more than \
         one resource. Scope {} is not valid.",
        shown(scope)
    );
    refuse(400, "invalid_request", 28_000, text)
}

pub(super) fn resource_unknown(resource: &str, tenant: &str) -> Refusal {
    let text = format!(
        "The resource principal named {} was not found in the tenant named {}. This can happen if \
         the application has not been installed by the administrator of the tenant or consented to \
         by any user in the tenant. You might have sent your authentication request to the wrong \
         tenant.",
        shown(resource),
        shown(tenant)
    );
    refuse(400, "invalid_resource", 500_011, text)
}

/// The refusals of the user.
pub(super) fn wrong_password() -> Refusal {
    refuse(
        400,
        "invalid_grant",
        50_126,
        "Error validating credentials due to invalid username or password.",
    )
}

pub(super) fn locked() -> Refusal {
    let text = "The account is locked, you've tried to sign in too many times with an incorrect \
                user ID or password.";
    refuse(400, "invalid_grant", 50_053, text)
}

pub(super) fn password_expired() -> Refusal {
    let refusal = refuse(400, "invalid_grant", 50_055, "The password is expired.");
    Refusal { suberror: Some("user_password_expired"), ..refusal }
}

pub(super) fn federated() -> Refusal {
    let text = "Invalid or null password: password does not exist in the directory for this user.";
    refuse(400, "invalid_grant", 50_056, text)
}

pub(super) fn user_disabled() -> Refusal {
    refuse(400, "invalid_grant", 50_057, "The user account is disabled.")
}

pub(super) fn user_unknown(user: &str, tenant: &str) -> Refusal {
    let text = format!(
        "The user account {} does not exist in the {} directory. To sign into this application, \
         the account must be added to the directory.",
        shown(user),
        shown(tenant)
    );
    refuse(400, "invalid_grant", 50_034, text)
}

pub(super) fn mfa_required() -> Refusal {
    let text = "Due to a configuration change made by your administrator, or because you moved to \
                a new location, you must use multi-factor authentication to access \
                '00000002-0000-0ff1-ce00-000000000000'.";
    let refusal = refuse(400, "invalid_grant", 50_076, text);
    Refusal { suberror: Some("basic_action"), ..refusal }
}

pub(super) fn mfa_enrolment() -> Refusal {
    let text = "Due to a configuration change made by your administrator, or because you moved to \
                a new location, you must enroll in multi-factor authentication to access \
                '00000002-0000-0ff1-ce00-000000000000'.";
    let refusal = refuse(400, "invalid_grant", 50_079, text);
    Refusal { suberror: Some("basic_action"), ..refusal }
}

pub(super) fn access_blocked() -> Refusal {
    let text = "Access has been blocked by Conditional Access policies. The access policy does \
                not allow token issuance.";
    let refusal = refuse(400, "invalid_grant", 53_003, text);
    Refusal { suberror: Some("message_only"), ..refusal }
}

pub(super) fn no_consent(client_id: &str, name: &str) -> Refusal {
    let text = format!(
        "The user or administrator has not consented to use the application with ID '{}' named \
         '{}'. Send an interactive authorization request for this user and resource.",
        shown(client_id),
        shown(name)
    );
    let refusal = refuse(400, "invalid_grant", 65_001, text);
    Refusal { suberror: Some("consent_required"), ..refusal }
}

/// The refusals of the refresh token.
pub(super) fn renewal_malformed() -> Refusal {
    let text = "Provided grant is invalid or malformed.";
    let refusal = refuse(400, "invalid_grant", 70_000, text);
    Refusal { suberror: Some("bad_token"), ..refusal }
}

pub(super) fn renewal_expired() -> Refusal {
    let text = "The provided authorization code or refresh token has expired due to inactivity. \
                Send a new interactive authorization request for this user and resource.";
    refuse(400, "invalid_grant", 70_008, text)
}

pub(super) fn renewal_revoked() -> Refusal {
    let text = "The provided grant has expired due to it being revoked, a fresh auth token is \
                needed. The user might have changed or reset their password.";
    refuse(400, "invalid_grant", 50_173, text)
}

/// The refusals of a sign-in with a device code.
pub(super) fn device_pending() -> Refusal {
    let text = "OAuth 2.0 device flow error. Authorization is pending. Continue polling.";
    refuse(400, "authorization_pending", 70_016, text)
}

/// No literal of the real service is known for this one.
pub(super) fn device_too_fast() -> Refusal {
    let text = "OAuth 2.0 device flow error. The device polls too fast. Slow down.";
    refuse(400, "slow_down", 70_016, text)
}

/// The error is documented; the number is not, so the one of a declined consent stands here.
pub(super) fn device_declined() -> Refusal {
    refuse(400, "authorization_declined", 65_004, "User declined to consent to access the app.")
}

pub(super) fn device_unknown() -> Refusal {
    let text = "Invalid verification code due to User typing in wrong user code for device code \
                flow.";
    refuse(400, "bad_verification_code", 70_018, text)
}

pub(super) fn device_expired() -> Refusal {
    let text = "Verification code expired. Have the user retry the sign-in.";
    refuse(400, "expired_token", 70_019, text)
}

/// The refusals of an authorization code and of the request for one.
pub(super) fn redeemed_before() -> Refusal {
    let text = "OAuth2 Authorization code was already redeemed, please retry with a new valid \
                code or use an existing refresh token.";
    refuse(400, "invalid_grant", 54_005, text)
}

pub(super) fn wrong_verifier() -> Refusal {
    let text = "The Code_Verifier does not match the code_challenge supplied in the authorization \
                request.";
    refuse(400, "invalid_grant", 501_481, text)
}

/// Observed with this status and error.
pub(super) fn redirect_unknown(client_id: &str) -> Refusal {
    let text = format!(
        "The redirect URI specified in the request does not match the redirect URIs configured \
         for the application '{}'.",
        shown(client_id)
    );
    refuse(400, "invalid_client", 50_011, text)
}

pub(super) fn challenge_missing() -> Refusal {
    refuse(400, "invalid_request", 50_147, "Missing code_challenge parameter.")
}

pub(super) fn challenge_size() -> Refusal {
    refuse(400, "invalid_request", 501_491, "Invalid size of Code_Challenge parameter.")
}

pub(super) fn response_type() -> Refusal {
    let text = "The response_type is not supported by the sandbox, which knows 'code' only.";
    refuse(400, "unsupported_response_type", 700_051, text)
}

/// What the page of consent sends back where the user says no.
pub(super) fn consent_declined() -> Refusal {
    refuse(400, "access_denied", 65_004, "User declined to consent to access the app.")
}

/// The refusals that are faults.
pub(super) fn throttled(retry_after: Option<u32>) -> Refusal {
    let text = "Server is terminating this request because of too many requests.";
    Refusal { retry_after, ..refuse(429, "temporarily_unavailable", 90_055, text) }
}

pub(super) fn loop_detected() -> Refusal {
    let text = "The server terminated an operation because it encountered a client request loop. \
                Please contact your app vendor.";
    refuse(400, "invalid_grant", 50_196, text)
}

/// Untrusted text as it may stand in a description: bounded and printable.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}
