//! The requests, octet by octet; and credential files, good and bad.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Method};
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::config::{CertificateFiles, IdentitySource};

const PASSWORD: &str = "test-password";
const MOMENT: Duration = Duration::from_secs(1_800_000_000);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name)
}

/// The files of this certificate and key; an empty name is none.
fn files(certificate: &str, key: &str, password: &str) -> CertificateFiles {
    CertificateFiles {
        certificate: fixture(certificate),
        key: (!key.is_empty()).then(|| fixture(key)),
        password: (!password.is_empty()).then(|| password.into()),
    }
}

fn app(credential: Credential) -> EntraApp {
    EntraApp::clone(&EntraApp::sample(Grant::ClientCredentials { credential }))
}

async fn body(app: &EntraApp, ask: Ask<'_>, credential: usize) -> String {
    let Letter { request, way } = letter(&Client::new(), app, &ask, credential).await.unwrap();
    assert_eq!((request.method(), way), (&Method::POST, Way::AsConfigured));
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    assert!(request.headers().get("authorization").is_none(), "credentials are in the body only");
    String::from_utf8(request.body().unwrap().as_bytes().unwrap().to_vec()).unwrap()
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn secrets_are_sent_by_number() {
    let app = app(Credential::Secrets(vec!["one".into(), "two&".into()]));
    assert_eq!(credentials(&app.grant), 2);
    let form =
        "client_id=client&scope=scope%2F.default&grant_type=client_credentials&client_secret=";
    assert_eq!(body(&app, Ask::App, 0).await, format!("{form}one"));
    assert_eq!(body(&app, Ask::App, 1).await, format!("{form}two%26"));
    assert_eq!(body(&app, Ask::App, 2).await, format!("{form}one"), "wraps around");
}

#[tokio::test]
async fn the_v1_endpoint_is_asked_for_a_resource() {
    let mut app = EntraApp::clone(&EntraApp::sample(Grant::by_password()));
    app.audience = Audience::Resource("https://partner.outlook.cn".to_owned());
    let password: SecretString = "p w+".into();
    let ask = || Ask::Password { user: "ann@contoso.example", password: &password };
    let request = letter(&Client::new(), &app, &ask(), 0).await.unwrap().request;
    assert_eq!(request.url().as_str(), "https://localhost/contoso.example/oauth2/token");
    assert_eq!(
        body(&app, ask(), 0).await,
        "client_id=client&resource=https%3A%2F%2Fpartner.outlook.cn&grant_type=password\
         &username=ann%40contoso.example&password=p+w%2B"
    );
}

#[tokio::test]
async fn every_grant_that_has_a_certificate_sends_a_fresh_assertion() {
    let files = files("app.pem", "app.key", "");
    let credential = Credential::Certificate(files);
    let password: SecretString = "pw".into();
    let refresh: SecretString = "refresh".into();
    let by_user = |credential| Grant::Password {
        credential: Some(credential),
        accepted_for: Duration::from_secs(1),
    };
    let mut app = app(credential.clone());
    let mut ids = Vec::new();
    for (grant, ask, word) in [
        (app.grant.clone(), Ask::App, "grant_type=client_credentials"),
        (
            by_user(credential.clone()),
            Ask::Password { user: "ann", password: &password },
            "grant_type=password&username=ann&password=pw",
        ),
        (
            by_user(credential.clone()),
            Ask::Refresh(&refresh),
            "grant_type=refresh_token&refresh_token=refresh",
        ),
        (app.grant.clone(), Ask::App, "grant_type=client_credentials"),
    ] {
        app.grant = grant;
        let form = body(&app, ask, 0).await;
        let start = format!(
            "client_id=client&scope=scope%2F.default&{word}\
             &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion="
        );
        let assertion = form.strip_prefix(&start).unwrap_or_else(|| panic!("{form}"));
        let claims = decoded(assertion.split('.').nth(1).unwrap());
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each assertion has an id of its own");
    // The device code's and the sign-in's requests take the same fields.
    let fields = credential_fields(&app, 0).await.unwrap();
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["client_assertion_type", "client_assertion"]);
    let public = EntraApp::sample(Grant::DeviceCode { credential: None });
    assert!(credential_fields(&public, 0).await.unwrap().is_empty());
}

#[test]
fn an_assertion_has_microsofts_form_and_its_certificate_verifies_it() {
    let now = SystemTime::UNIX_EPOCH + MOMENT;
    let pair = certificate::read(&files("app.pem", "app.key", ""), now).unwrap();
    let url = "https://login.microsoftonline.com/contoso/oauth2/v2.0/token";
    let assertion = assertion::sign(&pair, "client", url, now).unwrap();
    let parts: Vec<_> = assertion.expose_secret().split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let der = std::fs::read(fixture("app.der")).unwrap();
    let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&der));
    assert_eq!(
        decoded(header),
        serde_json::json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint})
    );
    let claims_read = decoded(claims);
    let id = claims_read["jti"].as_str().unwrap();
    let shape: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12]);
    assert_eq!((&id[14..15], id.len()), ("4", 36));
    assert!("89ab".contains(&id[19..20]), "{id}");
    let at = MOMENT.as_secs();
    assert_eq!(
        claims_read,
        serde_json::json!({
            "aud": url, "iss": "client", "sub": "client", "jti": id,
            "nbf": at - 300, "iat": at - 300, "exp": at + 300,
        })
    );
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let public = &parsed.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
        .verify(
            format!("{header}.{claims}").as_bytes(),
            &BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
        .unwrap();
}

#[test]
fn every_form_of_key_and_certificate_is_read() {
    let rows = [
        ("app.pem", "app.key", ""),
        ("app.pem", "app.key", "needless"),
        ("app.der", "app.key", ""),
        ("app.pem", "app.pkcs1.key", ""),
        ("app.pem", "app.aes256.key", PASSWORD),
        ("app.pem", "app.des3.key", PASSWORD),
        ("app.pem", "app.scrypt.key", PASSWORD),
        ("leaf.pem", "chain.pem", ""),
        ("chain.pem", "", ""),
        ("modern.pfx", "", PASSWORD),
        ("legacy.pfx", "", PASSWORD),
        ("des3.pfx", "", PASSWORD),
        ("empty.pfx", "", ""),
    ];
    let read = rows.map(|(certificate, key, password)| {
        let pair = certificate::read(&files(certificate, key, password), SystemTime::now());
        let pair = pair.unwrap_or_else(|error| panic!("{certificate}, {key}: {error}"));
        let end = certificate_end(&files(certificate, "", password)).unwrap();
        assert!(end.year() > 2120, "{certificate}: {end}");
        BASE64_URL_SAFE_NO_PAD.encode(pair.thumbprint)
    });
    assert_eq!(read.len(), 13);
    assert!(read[..7].iter().all(|print| *print == read[0]));
    assert_eq!(read[7], read[8], "the leaf is the first of a chain");
    assert_eq!(read[8], read[9], "in a PKCS#12 file too");
    assert_ne!(read[0], read[8]);
}

#[test]
fn whatever_is_wrong_with_a_file_is_told_and_is_no_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    let pem = std::fs::read_to_string(fixture("app.pem")).unwrap();
    write("empty", b"");
    write("cut.pem", &pem.as_bytes()[..pem.len() / 2]);
    write("text.pem", b"hello\n");
    write("odd.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("odd.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    write(
        "odd.sealed",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    write("odd.pfx", b"\x30\x03\x02\x01\x03");
    write("long.pem", &vec![b'\n'; 1024 * 1024 + 1]);
    dated(&folder.path().join("ended.pem"), 2020, 2021);
    dated(&folder.path().join("early.pem"), 2090, 2091);
    // Certificate, key, password; the file that is blamed; words of what, and of the remedy.
    let rows = [
        ("none.pem", "app.key", "", "none.pem", "cannot be read: No such file", "check the path"),
        (".", "app.key", "", "", "cannot be read", "check the path"),
        ("app.pem", "none.key", "", "none.key", "cannot be read: No such file", "check the path"),
        ("long.pem", "app.key", "", "long.pem", "longer than 1 MiB", "check the path"),
        ("empty", "app.key", "", "empty", "holds no certificate", "BEGIN CERTIFICATE"),
        ("text.pem", "app.key", "", "text.pem", "holds no certificate", "BEGIN CERTIFICATE"),
        ("app.key", "app.key", "", "app.key", "holds no certificate", "BEGIN CERTIFICATE"),
        ("cut.pem", "app.key", "", "cut.pem", "damaged", "copy it again, whole"),
        ("odd.pem", "app.key", "", "odd.pem", "certificate cannot be read", "export"),
        ("app.pem", "", "", "app.pem", "no private key", "set key"),
        ("app.der", "", "", "app.der", "no private key", "set key"),
        ("app.pem", "app.pem", "", "app.pem", "holds no private key", "BEGIN PRIVATE KEY"),
        ("app.pem", "odd.key", "", "odd.key", "cannot be used", "2048, 3072 or 4096"),
        ("app.pem", "app.aes256.key", "", "app.aes256.key", "is encrypted", "set password"),
        (
            "app.pem",
            "app.aes256.key",
            "wrong",
            "app.aes256.key",
            "does not open",
            "correct password",
        ),
        (
            "app.pem",
            "odd.sealed",
            "wrong",
            "odd.sealed",
            "a way that is not known",
            "openssl pkcs8 -topk8",
        ),
        (
            "app.pem",
            "app.pbes1.key",
            PASSWORD,
            "app.pbes1.key",
            "a way that is not known",
            "openssl pkcs8 -topk8",
        ),
        (
            "app.pem",
            "app.proc-type.key",
            PASSWORD,
            "app.proc-type.key",
            "Proc-Type: 4,ENCRYPTED",
            "openssl pkcs8 -topk8",
        ),
        ("ec.pem", "ec.key", "", "ec.key", "not an RSA key", "Entra takes RSA only"),
        ("ec.pem", "ec.sec1.key", "", "ec.sec1.key", "not an RSA key", "Entra takes RSA only"),
        ("short.pem", "short.key", "", "short.key", "shorter than 2048", "make a new RSA key"),
        ("app.pem", "other.key", "", "app.pem", "not the one of the key in", "made together"),
        ("ec.pem", "app.key", "", "ec.pem", "not the one of the key in", "made together"),
        ("ended.pem", "app.key", "", "ended.pem", "ended on 2021-01-01", "upload it"),
        ("early.pem", "app.key", "", "early.pem", "begins only on 2090-01-01", "clock"),
        ("modern.pfx", "", "", "modern.pfx", "with a password", "set password"),
        ("modern.pfx", "", "wrong", "modern.pfx", "its password is not", "correct password"),
        ("legacy.pfx", "", "wrong", "legacy.pfx", "its password is not", "correct password"),
        ("nokey.pfx", "", PASSWORD, "nokey.pfx", "no private key", "export it again"),
        ("odd.pfx", "", "", "odd.pfx", "no PKCS#12 file that can be read", "openssl pkcs12"),
    ];
    let mut looked = 0;
    for (certificate, key, password, blamed, what, remedy) in rows {
        let place = |name: &str| {
            let own = folder.path().join(name);
            if own.exists() { own } else { fixture(name) }
        };
        let files = CertificateFiles {
            certificate: place(certificate),
            key: (!key.is_empty()).then(|| place(key)),
            password: (!password.is_empty()).then(|| password.into()),
        };
        let Err(error) = certificate::read(&files, SystemTime::now()) else {
            panic!("{certificate}, {key}: accepted");
        };
        assert!(!error.is_refusal(), "{certificate}, {key}: a mended file must work at once");
        let (words, told) = (error.to_string(), error.remedy().unwrap());
        assert!(words.contains(what) && words.contains(blamed), "{certificate}, {key}: {words}");
        assert!(told.contains(remedy), "{certificate}, {key}: {told}");
        assert!(!words.contains(PASSWORD) && !told.contains(PASSWORD));
        assert!(error.client_text().contains("the proxy's own credential"));
        looked += 1;
    }
    assert_eq!(looked, 30);
}

#[test]
fn the_end_of_a_certificate_is_told_even_when_it_is_past_or_its_key_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("app.pem");
    dated(&certificate, 2020, 2021);
    let files = CertificateFiles { certificate, key: Some(fixture("none.key")), password: None };
    assert_eq!(certificate_end(&files).unwrap().to_string(), "2021-01-01");
    let none = certificate_end(&self::files("none.pem", "", "")).unwrap_err();
    assert!(none.to_string().contains("none.pem"), "{none}");
}

#[tokio::test]
async fn files_are_read_anew_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    let app = app(Credential::Federated { token_file: token_file.clone() });
    let http = Client::new();
    let error = letter(&http, &app, &Ask::App, 0).await.unwrap_err();
    assert!(error.to_string().contains("token: it cannot be read"), "{error}");
    for token in ["aaa.bbb.ccc", "ddd.eee.f-_="] {
        std::fs::write(&token_file, format!("  {token}\r\n")).unwrap();
        let form = body(&app, Ask::App, 0).await;
        let end = format!("jwt-bearer&client_assertion={}", token.replace('=', "%3D"));
        assert!(form.ends_with(&end), "{form}");
    }
    for (content, words) in [
        (&b" \n"[..], "is empty"),
        (b"aaa.bbb", "holds no token"),
        (b"a.b.c d", "holds no token"),
        (b"\xff.b.c", "holds no token"),
        (b"a.b.c.d", "holds no token"),
    ] {
        std::fs::write(&token_file, content).unwrap();
        let error = letter(&http, &app, &Ask::App, 0).await.unwrap_err();
        assert!(error.to_string().contains(words) && !error.is_refusal(), "{error}");
        assert!(error.remedy().is_some());
    }
}

#[tokio::test]
async fn the_machines_endpoint_is_asked_directly_and_with_its_own_headers() {
    let imds = || IdentitySource::Imds("http://169.254.169.254".to_owned());
    let service = || IdentitySource::AppService {
        endpoint: "http://127.0.0.1:41741/msi/token/".to_owned(),
        header: "S3cret".into(),
    };
    let scope = Audience::Scope("https://outlook.office365.com/.default".to_owned());
    let resource = Audience::Resource("https://outlook.office365.com".to_owned());
    let query = "resource=https%3A%2F%2Foutlook.office365.com";
    let imds_url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&";
    let service_url = "http://127.0.0.1:41741/msi/token/?api-version=2019-08-01&";
    let rows = [
        (imds(), resource.clone(), "", format!("{imds_url}{query}")),
        (imds(), scope, "", format!("{imds_url}{query}")),
        (imds(), resource.clone(), "id", format!("{imds_url}{query}&client_id=id")),
        (service(), resource.clone(), "", format!("{service_url}{query}")),
        (service(), resource.clone(), "id", format!("{service_url}{query}&client_id=id")),
    ];
    for (source, audience, client_id, url) in rows {
        let is_imds = matches!(source, IdentitySource::Imds(_));
        let mut app = EntraApp::clone(&EntraApp::sample(Grant::ManagedIdentity { source }));
        (app.audience, app.client_id) = (audience, client_id.to_owned());
        let Letter { request, way } = letter(&Client::new(), &app, &Ask::App, 0).await.unwrap();
        assert_eq!((request.method(), way), (&Method::GET, Way::Direct));
        assert_eq!(request.url().as_str(), url);
        assert!(request.body().is_none());
        let header = if is_imds { ("metadata", "true") } else { ("x-identity-header", "S3cret") };
        let headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(headers, [header]);
        assert!(!format!("{request:?}").contains("S3cret"), "{request:?}");
    }
    let source =
        IdentitySource::AppService { endpoint: "nowhere".to_owned(), header: "x\n".into() };
    let app: Arc<EntraApp> = EntraApp::sample(Grant::ManagedIdentity { source });
    let error = letter(&Client::new(), &app, &Ask::App, 0).await.unwrap_err();
    assert!(error.to_string().contains("IDENTITY_ENDPOINT") && !error.is_refusal(), "{error}");
}

/// A certificate of the fixtures' key from the first day of one year to that of another.
fn dated(path: &Path, from: i32, to: i32) {
    let key = std::fs::read_to_string(fixture("app.key")).unwrap();
    let key = KeyPair::from_pem_and_sign_algo(&key, &rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    std::fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
}
