//! Client assertions (RFC 7523): signed with a certificate of the app, or by an issuer that the app
//! trusts. Checked in Entra's order: whose key, its signature, then what is claimed, then the time.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use x509_parser::prelude::X509Certificate;

use crate::sandbox::entra::errors::{Refusal, refuse, shown};
use crate::sandbox::entra::jwt;
use crate::sandbox::moment::Moment;
use crate::sandbox::world::{App, Directory, World};

/// `client_assertion_type` (RFC 7523 section 2.2).
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far a client's clock may be off, in seconds.
const SKEW: u64 = 300;

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// SHA-256 of the certificate; some writers pad it.
    #[serde(rename = "x5t#S256")]
    thumbprint: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    #[serde(default)]
    jti: Option<String>,
    nbf: u64,
    exp: u64,
}

/// Who asks, with what.
pub(super) struct Presented<'a> {
    pub(super) world: &'a World,
    pub(super) directory: &'a Directory,
    pub(super) app: &'a App,
    pub(super) assertion: &'a str,
    pub(super) now: Moment,
    /// Our own, beside Entra's real one. Not asked of the world here: its lock is held.
    pub(super) authority: &'a str,
}

impl Presented<'_> {
    /// Whether the assertion proves that the app asks.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let (header, claims) = read(self.assertion).ok_or_else(unknown)?;
        if header.thumbprint.is_some() {
            self.check_certificate(&header)?;
            if claims.iss != claims.sub || !claims.iss.eq_ignore_ascii_case(&self.app.client_id) {
                return Err(of_another_app());
            }
            if !self.is_our_endpoint(&claims.aud) {
                return Err(for_another_endpoint());
            }
        } else {
            self.check_federated(&header, &claims)?;
        }
        let now = self.now.unix();
        if now.saturating_add(SKEW) < claims.nbf || claims.exp.saturating_add(SKEW) < now {
            return Err(out_of_time(self.now, claims.nbf, claims.exp));
        }
        // A federated token is used until its file changes; an assertion of one's own, once.
        match claims.jti.filter(|_| header.thumbprint.is_some()) {
            Some(id) if !self.world.is_first_use(&id) => Err(used_before()),
            _ => Ok(()),
        }
    }

    fn check_certificate(&self, header: &Header) -> Result<(), Refusal> {
        let wanted = header.thumbprint.as_deref().unwrap_or_default().trim_end_matches('=');
        let known = |der: &&Vec<u8>| URL_SAFE_NO_PAD.encode(Sha256::digest(der)) == wanted;
        let der = self.app.certificates.iter().find(known).ok_or_else(unknown)?;
        let broken =
            || invalid("The provided signature value did not match the expected signature value.");
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_| broken())?;
        if !is_signed(&header.alg, &certificate, self.assertion) {
            return Err(broken());
        }
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        if end < self.now.unix() {
            return Err(invalid("The key used is expired."));
        }
        Ok(())
    }

    fn check_federated(&self, header: &Header, claims: &Claims) -> Result<(), Refusal> {
        let mut left: Vec<_> = self.app.federated.iter().collect();
        if left.is_empty() {
            return Err(no_federated_credential(70_021, "issuer", &claims.iss));
        }
        left.retain(|credential| credential.issuer == claims.iss);
        if left.is_empty() {
            return Err(no_federated_credential(700_211, "issuer", &claims.iss));
        }
        left.retain(|credential| credential.subject == claims.sub);
        if left.is_empty() {
            return Err(no_federated_credential(700_213, "subject", &claims.sub));
        }
        left.retain(|credential| credential.audience == claims.aud);
        if left.is_empty() {
            return Err(no_federated_credential(700_212, "audience", &claims.aud));
        }
        let signed = |key| header.alg == "HS256" && jwt::is_signed_by(key, self.assertion);
        if !left.iter().any(|credential| signed(&credential.key)) {
            return Err(invalid("The key was not found."));
        }
        Ok(())
    }

    /// The token endpoint of the app's tenant, by its own name or ours, by either version.
    fn is_our_endpoint(&self, audience: &str) -> bool {
        let hosts = ["https://login.microsoftonline.com", self.authority];
        let path = hosts.iter().find_map(|host| audience.strip_prefix(host)?.strip_prefix('/'));
        let endings = ["/oauth2/v2.0/token", "/oauth2/token", "/v2.0"];
        let tenant =
            path.and_then(|path| endings.iter().find_map(|ending| path.strip_suffix(ending)));
        tenant.is_some_and(|tenant| {
            let found = self.directory.tenant(tenant);
            found.is_some_and(|found| found.id == self.app.tenant) || tenant == "organizations"
        })
    }
}

fn read(assertion: &str) -> Option<(Header, Claims)> {
    let mut parts = assertion.split('.');
    let mut part = || URL_SAFE_NO_PAD.decode(parts.next()?.trim_end_matches('=')).ok();
    Some((serde_json::from_slice(&part()?).ok()?, serde_json::from_slice(&part()?).ok()?))
}

fn is_signed(alg: &str, certificate: &X509Certificate<'_>, assertion: &str) -> bool {
    let by: &'static RsaParameters = match alg {
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        _ => return false,
    };
    let Some((signed, signature)) = assertion.rsplit_once('.') else {
        return false;
    };
    let decoded = URL_SAFE_NO_PAD.decode(signature).or_else(|_| URL_SAFE.decode(signature));
    let Ok(signature) = decoded else {
        return false;
    };
    let key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(by, key).verify(signed.as_bytes(), &signature).is_ok()
}

fn unknown() -> Refusal {
    let text = "The certificate with identifier used to sign the client assertion is not \
                registered on application. [Reason - The key was not found.]";
    refuse(401, "invalid_client", 700_027, text)
}

/// `reason` in Entra's words, such as `The key used is expired.`.
fn invalid(reason: &str) -> Refusal {
    let text = format!("Client assertion failed signature validation. [Reason - {reason}]");
    refuse(401, "invalid_client", 700_027, text)
}

fn of_another_app() -> Refusal {
    let text = "Client assertion application identifier doesn't match 'client_id' parameter.";
    refuse(401, "invalid_client", 700_021, text)
}

fn for_another_endpoint() -> Refusal {
    let text = "Client assertion audience claim does not match Realm issuer.";
    refuse(401, "invalid_client", 700_023, text)
}

fn out_of_time(now: Moment, begin: u64, end: u64) -> Refusal {
    let time = |seconds| Moment::of_unix(seconds).iso();
    let text = format!(
        "Client assertion is not within its valid time range. Current time: {}, assertion valid \
         from {}, expiry time of assertion {}.",
        now.iso(),
        time(begin),
        time(end)
    );
    refuse(401, "invalid_client", 700_024, text)
}

/// Entra is not known to refuse a repeated `jti`, though RFC 7523 section 3 lets it; code and text
/// are the sandbox's choice, and strict, so that a client that repeats itself is found out.
fn used_before() -> Refusal {
    refuse(401, "invalid_client", 50_012, "Authentication failed: the assertion was used before.")
}

fn no_federated_credential(code: u32, what: &str, value: &str) -> Refusal {
    let text = format!(
        "No matching federated identity record found for presented assertion {what} '{}'. Please \
         check your federated identity credential Subject, Audience and Issuer against the \
         presented assertion.",
        shown(value)
    );
    refuse(401, "invalid_client", code, text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
    use serde_json::{Value, json};

    use super::*;
    use crate::sandbox::Sandbox;
    use crate::sandbox::kit::{SCOPE, post, start};
    use crate::sandbox::world::Federated;
    use crate::sandbox::world::contoso::{APP_ID, TENANT_DOMAIN};

    fn fixture(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
        std::fs::read(folder.join(name)).unwrap()
    }

    fn key(name: &str) -> RsaKeyPair {
        RsaKeyPair::from_pkcs8(pem::parse(fixture(name)).unwrap().contents()).unwrap()
    }

    fn sign(key: &RsaKeyPair, by: &'static dyn RsaEncoding, head: &Value, body: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(head), part(body));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(by, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn head(alg: &str) -> Value {
        let print = URL_SAFE_NO_PAD.encode(Sha256::digest(fixture("app.der")));
        json!({"alg": alg, "typ": "JWT", "x5t#S256": print})
    }

    fn body(id: &str, from: i64, to: i64) -> Value {
        let now = Moment::now(0).unix();
        json!({
            "aud": format!("https://login.microsoftonline.com/{TENANT_DOMAIN}/oauth2/v2.0/token"),
            "iss": APP_ID, "sub": APP_ID, "jti": id,
            "nbf": now.saturating_add_signed(from), "iat": now,
            "exp": now.saturating_add_signed(to),
        })
    }

    fn with(mut value: Value, field: &str, content: &str) -> Value {
        value[field] = json!(content);
        value
    }

    /// The AADSTS number of the answer, or 0 for a token.
    async fn verdict(sandbox: &Sandbox, assertion: &str, more: &str) -> u64 {
        let form = format!(
            "grant_type=client_credentials&client_id={APP_ID}&client_assertion_type={TYPE}\
             &client_assertion={assertion}&scope={SCOPE}{more}"
        );
        let answer = post(sandbox, TENANT_DOMAIN, "", &form).await.unwrap();
        let code = answer.json()["error_codes"][0].as_u64().unwrap_or(0);
        assert_eq!(answer.status == 200, code == 0, "{}", answer.body);
        code
    }

    #[tokio::test]
    async fn a_certificates_assertion_is_checked_in_entras_order() {
        let sandbox = start().await;
        let (app, other) = (key("app.key"), key("other.key"));
        let pss = |head: &Value, body: &Value| sign(&app, &RSA_PSS_SHA256, head, body);
        let good = |id: &str| pss(&head("PS256"), &body(id, -300, 300));
        assert_eq!(verdict(&sandbox, &good("0"), "").await, 700_027, "not registered yet");
        let register = |disabled| {
            sandbox.world().directory(|directory| {
                let app = directory.app_mut(APP_ID).unwrap();
                app.certificates = vec![fixture("app.der")];
                app.disabled = disabled;
            });
        };
        register(false);
        let url = "https://login.microsoftonline.com";
        let rows = [
            (good("1"), 0),
            (good("1"), 50_012),
            (sign(&app, &RSA_PKCS1_SHA256, &head("RS256"), &body("2", 0, 600)), 0),
            (sign(&app, &RSA_PKCS1_SHA256, &head("PS256"), &body("3", 0, 600)), 700_027),
            (sign(&other, &RSA_PSS_SHA256, &head("PS256"), &body("4", 0, 600)), 700_027),
            (pss(&head("none"), &body("5", 0, 600)), 700_027),
            (pss(&with(head("PS256"), "x5t#S256", "AAAA"), &body("6", 0, 600)), 700_027),
            ("a.b.c".to_owned(), 700_027),
            (pss(&head("PS256"), &with(body("7", 0, 600), "iss", "other")), 700_021),
            (pss(&head("PS256"), &with(body("8", 0, 600), "aud", url)), 700_023),
            (
                pss(
                    &head("PS256"),
                    &with(
                        body("9", 0, 600),
                        "aud",
                        &format!("{url}/fabrikam.com/oauth2/v2.0/token"),
                    ),
                ),
                700_023,
            ),
            (
                pss(
                    &head("PS256"),
                    &with(
                        body("10", 0, 600),
                        "aud",
                        &format!("{}/contoso.com/oauth2/token", sandbox.authority()),
                    ),
                ),
                0,
            ),
            (pss(&head("PS256"), &body("11", 290, 600)), 0),
            (pss(&head("PS256"), &body("12", 320, 900)), 700_024),
            (pss(&head("PS256"), &body("13", -900, -290)), 0),
            (pss(&head("PS256"), &body("14", -900, -310)), 700_024),
        ];
        let mut looked = 0;
        for (assertion, code) in rows {
            assert_eq!(verdict(&sandbox, &assertion, "").await, code, "row {looked}");
            looked += 1;
        }
        assert_eq!(looked, 16);
        register(true);
        let late = pss(&head("PS256"), &body("15", 320, 900));
        assert_eq!(verdict(&sandbox, &late, "").await, 700_024, "time before standing");
        assert_eq!(verdict(&sandbox, &good("16"), "x").await, 7_000_112, "standing before scope");
        register(false);
        assert_eq!(verdict(&sandbox, &good("17"), "x").await, 1_002_012);
        let lines = sandbox.world().transcript();
        assert!(lines.iter().all(|line| !line.text.contains("eyJ")), "assertions are masked");
    }

    #[tokio::test]
    async fn a_federated_token_must_match_letter_by_letter() {
        let sandbox = start().await;
        let known = Federated {
            issuer: "https://issuer.example/".to_owned(),
            subject: "system:serviceaccount:mail:relay".to_owned(),
            audience: "api://AzureADTokenExchange".to_owned(),
            key: [7; 32],
        };
        assert_eq!(verdict(&sandbox, &known.token(3600), "").await, 70_021);
        sandbox.world().directory(|directory| {
            directory.app_mut(APP_ID).unwrap().federated = vec![known.clone()];
        });
        let changed = |change: fn(&mut Federated)| {
            let mut changed = known.clone();
            change(&mut changed);
            changed.token(3600)
        };
        let same = known.token(3600);
        let rows = [
            (same.clone(), 0),
            (same, 0), // until its file changes
            (changed(|it| it.issuer.truncate(22)), 700_211),
            (changed(|it| it.subject.push('s')), 700_213),
            (changed(|it| it.audience.make_ascii_lowercase()), 700_212),
            (changed(|it| it.key = [8; 32]), 700_027),
            (known.token(-310), 700_024),
        ];
        let mut looked = 0;
        for (token, code) in rows {
            assert_eq!(verdict(&sandbox, &token, "").await, code, "row {looked}");
            looked += 1;
        }
        assert_eq!(looked, 7);
    }
}
