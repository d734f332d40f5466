//! Every way in which an app proves who it is, from the token cache to the simulated Entra and back,
//! by the way out that the mail takes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mailwicket::{
    config::{
        Audience, CertificateFiles, Credential, EntraApp, Grant, IdentitySource, Outbound, Proxy,
        ProxyAuth, ProxyCredentials, ProxyScheme, Way,
    },
    net::dial::Dialer,
    sandbox::{
        Sandbox,
        world::{Federated, MachineFault, contoso},
    },
    session,
    token::{Identity, Token, TokenError, cache::Tokens},
};
use secrecy::ExposeSecret;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    caught::Caught,
    stage::{Stage, free_address},
};

const RESOURCE: &str = "https://outlook.office365.com";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name)
}

fn certificate(certificate: &str, key: Option<&str>, password: &str) -> Grant {
    let credential = Credential::Certificate(CertificateFiles {
        certificate: fixture(certificate),
        key: key.map(fixture),
        password: Some(password.into()),
    });
    Grant::ClientCredentials { credential }
}

fn app(sandbox: &Sandbox, grant: Grant) -> EntraApp {
    let audience = match grant {
        Grant::ManagedIdentity { .. } => Audience::Resource(RESOURCE.to_owned()),
        _ => Audience::Scope(format!("{RESOURCE}/.default")),
    };
    EntraApp {
        name: "app".to_owned(),
        tenant: contoso::TENANT_DOMAIN.to_owned(),
        client_id: contoso::APP_ID.to_owned(),
        grant,
        authority: sandbox.authority(),
        audience,
        token_expiry_margin: Duration::from_secs(600),
        secret_expires: None,
    }
}

/// A fresh cache that asks through the sandbox's proxy, and what it gets.
async fn get(
    sandbox: &Sandbox,
    app: EntraApp,
    password: Option<&str>,
) -> Result<Token, TokenError> {
    let outbound = Outbound {
        proxies: vec![Way::Proxy(Proxy {
            scheme: ProxyScheme::Http,
            host: sandbox.proxy().ip().to_string(),
            port: sandbox.proxy().port(),
            credentials: Some(ProxyCredentials {
                username: "svc-mail".to_owned(),
                password: "proxy-canary-password".into(),
            }),
            auth: ProxyAuth::Auto,
        })],
        ca_file: Some(sandbox.ca_file().to_owned()),
        ..Outbound::default()
    };
    let dialer = Arc::new(Dialer::new(&outbound).unwrap());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let tokens = Tokens::new(session::courier(dialer), None, tasks, stop.clone());
    let identity = Identity { app: Arc::new(app), user: "erp@contoso.com".to_owned() };
    let token = tokens.get(&identity, password.map(Into::into).as_ref()).await;
    stop.cancel();
    token
}

/// The directory with a certificate and a federated credential for the confidential app.
fn prepare(sandbox: &Sandbox, certificates: &[&str]) -> Federated {
    let federated = Federated {
        issuer: "https://issuer.example/".to_owned(),
        subject: "relay".to_owned(),
        audience: "api://AzureADTokenExchange".to_owned(),
        key: [7; 32],
    };
    sandbox.world().directory(|directory| {
        let app = directory.app_mut(contoso::APP_ID).unwrap();
        app.certificates = certificates.iter().map(|name| der(name)).collect();
        app.federated = vec![federated.clone()];
    });
    federated
}

fn der(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let begin = "-----BEGIN CERTIFICATE-----";
    let text = String::from_utf8(bytes).unwrap();
    let (_, rest) = text.split_once(begin).unwrap();
    let (body, _) = rest.split_once("-----END").unwrap();
    let body: String = body.split_whitespace().collect();
    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, body).unwrap()
}

#[tokio::test]
async fn every_form_of_certificate_gets_a_token() {
    let sandbox = Stage::sandbox().await;
    prepare(&sandbox, &["app.pem", "leaf.pem"]);
    let rows = [
        ("app.pem", Some("app.key"), ""),
        ("app.pem", Some("app.aes256.key"), "test-password"),
        ("chain.pem", None, ""),
        ("modern.pfx", None, "test-password"),
        ("legacy.pfx", None, "test-password"),
    ];
    for (file, key, password) in rows {
        let token = get(&sandbox, app(&sandbox, certificate(file, key, password)), None).await;
        assert!(token.unwrap().secret().expose_secret().starts_with("ey"), "{file}");
    }
    assert_eq!(sandbox.world().counters().tokens_issued, 5);
    let form = "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer\
                &client_assertion=<token>";
    let lines = sandbox.world().transcript();
    assert_eq!(lines.iter().filter(|line| line.text.contains(form)).count(), 5);
}

#[tokio::test]
async fn a_clock_may_be_nine_minutes_off_and_not_eleven() {
    let sandbox = Stage::sandbox().await;
    prepare(&sandbox, &["app.pem"]);
    for (offset, fine) in [(-540, true), (540, true), (-660, false), (660, false)] {
        sandbox.world().tune(|tuning| tuning.clock_offset = offset);
        let app = app(&sandbox, certificate("app.pem", Some("app.key"), ""));
        match get(&sandbox, app, None).await {
            Ok(_) => assert!(fine, "{offset}"),
            Err(error) => {
                assert_eq!((fine, error.aadsts()), (false, Some(700_024)), "{offset}: {error}");
                assert!(error.remedy().unwrap().contains("clock"));
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_the_app_does_not_have_is_refused_with_words() {
    let sandbox = Stage::sandbox().await;
    prepare(&sandbox, &["leaf.pem"]);
    let app = app(&sandbox, certificate("app.pem", Some("app.key"), ""));
    let error = get(&sandbox, app.clone(), None).await.unwrap_err();
    assert_eq!(error.aadsts(), Some(700_027));
    assert!(error.is_refusal() && error.remedy().unwrap().contains("Upload the certificate"));
    // A file that is missing is not Entra's no.
    let missing = app_with(app, certificate("none.pem", None, ""));
    let error = get(&sandbox, missing, None).await.unwrap_err();
    assert!(!error.is_refusal() && error.to_string().contains("none.pem"), "{error}");
    assert_eq!(sandbox.world().counters().token_requests_total(), 1);
}

fn app_with(app: EntraApp, grant: Grant) -> EntraApp {
    EntraApp { grant, ..app }
}

#[tokio::test]
async fn a_federated_token_is_an_assertion_and_its_file_may_change() {
    let sandbox = Stage::sandbox().await;
    let issuer = prepare(&sandbox, &[]);
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    let grant = Grant::ClientCredentials {
        credential: Credential::Federated { token_file: token_file.clone() },
    };
    std::fs::write(&token_file, issuer.token(-3600)).unwrap();
    let error = get(&sandbox, app(&sandbox, grant.clone()), None).await.unwrap_err();
    assert_eq!(error.aadsts(), Some(700_024));
    std::fs::write(&token_file, format!("{}\n", issuer.token(3600))).unwrap();
    get(&sandbox, app(&sandbox, grant.clone()), None).await.unwrap();
    std::fs::write(&token_file, Federated { subject: "other".to_owned(), ..issuer }.token(3600))
        .unwrap();
    let error = get(&sandbox, app(&sandbox, grant), None).await.unwrap_err();
    assert_eq!(error.aadsts(), Some(700_213));
    assert!(error.remedy().unwrap().contains("federated credential"));
}

#[tokio::test]
async fn the_machines_identity_is_asked_for_without_the_proxy() {
    let sandbox = Stage::sandbox().await;
    let imds = || Grant::ManagedIdentity { source: IdentitySource::Imds(sandbox.machine()) };
    let service = |header: &str| Grant::ManagedIdentity {
        source: IdentitySource::AppService {
            endpoint: format!("{}/msi/token", sandbox.machine()),
            header: header.into(),
        },
    };
    let app = |grant, client_id: &str| EntraApp {
        client_id: client_id.to_owned(),
        ..app(&sandbox, grant)
    };
    for grant in [imds(), service(contoso::IDENTITY_HEADER)] {
        for client_id in ["", contoso::MANAGED_ID] {
            get(&sandbox, app(grant.clone(), client_id), None).await.unwrap();
        }
    }
    let world = sandbox.world();
    assert_eq!((world.counters().tokens_issued, world.counters().connects), (4, vec![]));

    let refused = [
        (app(imds(), "nobody"), "Identity not found", true),
        (app(service(contoso::IDENTITY_HEADER), "nobody"), "No Managed Identity was found", true),
        (app(service("wrong"), ""), "Unauthorized", false),
    ];
    for (app, words, advised) in refused {
        let error = get(&sandbox, app, None).await.unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains(words), "{error}");
        assert_eq!(error.remedy().is_some(), advised, "{error}");
    }
    for fault in [
        MachineFault::Updating,
        MachineFault::Gone,
        MachineFault::Throttled,
        MachineFault::ServerError,
    ] {
        world.arm_times(fault, 2);
        for grant in [imds(), service(contoso::IDENTITY_HEADER)] {
            let error = get(&sandbox, app(grant, ""), None).await.unwrap_err();
            assert!(!error.is_refusal(), "{fault:?}: {error}");
        }
    }
    // Nobody is there.
    let source = IdentitySource::Imds(format!("http://{}", free_address()));
    let error = get(&sandbox, app(Grant::ManagedIdentity { source }, ""), None).await.unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    assert!(error.to_string().contains("managed identity endpoint"), "{error}");
    assert!(error.remedy().unwrap().contains("no managed identity endpoint"));
}

#[tokio::test]
async fn the_v1_endpoint_grants_for_a_resource() {
    let sandbox = Stage::sandbox().await;
    let grant = Grant::Password { credential: None, accepted_for: Duration::from_secs(60) };
    let app = EntraApp {
        client_id: contoso::PUBLIC_APP_ID.to_owned(),
        audience: Audience::Resource("https://outlook.office.com".to_owned()),
        ..app(&sandbox, grant)
    };
    get(&sandbox, app, Some(contoso::PASSWORD)).await.unwrap();
    let lines = sandbox.world().transcript();
    let asked = format!(
        "POST /{}/oauth2/token client_id={}&resource=https://outlook.office.com&grant_type=password\
         &username=erp@contoso.com&password=<password>",
        contoso::TENANT_DOMAIN,
        contoso::PUBLIC_APP_ID
    );
    assert!(lines.iter().any(|line| line.text == asked), "{lines:?}");
    assert!(lines.iter().any(|line| line.text.contains(r#""expires_in":""#)), "{lines:?}");
}

#[tokio::test] // one thread: the subscriber is this thread's
async fn nothing_by_which_an_app_proves_itself_is_logged_or_told() {
    let (caught, _guard) = Caught::begin();
    let sandbox = Stage::sandbox().await;
    let issuer = prepare(&sandbox, &["app.pem", "leaf.pem"]);
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, issuer.token(3600)).unwrap();
    let secret = |secret: &str| Grant::ClientCredentials {
        credential: Credential::Secrets(vec![secret.into()]),
    };
    let service = |header: &str| Grant::ManagedIdentity {
        source: IdentitySource::AppService {
            endpoint: format!("{}/msi/token", sandbox.machine()),
            header: header.into(),
        },
    };
    let federated = Credential::Federated { token_file };
    let rows = [
        (secret(contoso::APP_SECRET), true),
        (secret("canary-secret"), false),
        (certificate("app.pem", Some("app.aes256.key"), "test-password"), true),
        (certificate("app.pem", Some("app.aes256.key"), "canary-password"), false),
        (certificate("modern.pfx", None, "test-password"), true),
        (certificate("modern.pfx", None, "canary-password"), false),
        (certificate("leaf.pem", None, "canary-password"), false),
        (Grant::ClientCredentials { credential: federated }, true),
        (service(contoso::IDENTITY_HEADER), true),
        (service("canary-header"), false),
    ];
    let (mut told, mut ran) = (Vec::new(), 0);
    for (grant, fine) in rows {
        let client_id =
            if matches!(grant, Grant::ManagedIdentity { .. }) { "" } else { contoso::APP_ID };
        let app = EntraApp { client_id: client_id.to_owned(), ..app(&sandbox, grant) };
        told.push(format!("{app:?}"));
        match get(&sandbox, app, None).await {
            Ok(token) => {
                assert!(fine, "{token:?}");
                told.push(format!("{token:?}"));
            }
            Err(error) => {
                assert!(!fine, "{error}");
                told.push(format!("{error} {error:?} {:?}", error.remedy()));
            }
        }
        ran += 1;
    }
    assert_eq!(ran, 10);
    let log = caught.text();
    assert!(log.contains("event=\"token\""), "the log was caught: {log}");
    let begins = ["eyJ", "PRIVATE KEY"];
    for canary in [contoso::APP_SECRET, contoso::IDENTITY_HEADER, "canary-", "test-password"] {
        for said in told.iter().chain([&log]) {
            for canary in begins.into_iter().chain([canary]) {
                assert!(!said.contains(canary), "{canary}: {said}");
            }
        }
    }
}
