//! Sign-ins on the paused clock, with a scripted Entra.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::Url;
use secrecy::ExposeSecret;
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::{Courier, CourierError, Identity, Letter, vault::Vault},
    Arrival, Notice, SignIn, SignInError, SignedIn, Verdict,
};
use crate::config::{Credential, EntraApp, Grant, VaultFiles, VaultKey};

const ANN: &str = "ann@contoso.example";
const PENDING: (u16, &str) = (
    400,
    r#"{"error":"authorization_pending","error_description":"AADSTS70016: OAuth 2.0 device flow error. Authorization is pending. Continue polling.","error_codes":[70016]}"#,
);
const BEGUN: (u16, &str) = (
    200,
    r#"{"user_code":"ABC123DEF","device_code":"device-canary","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"To sign in, open https://microsoft.com/devicelogin and enter ABC123DEF\u001b[2J."}"#,
);

/// What the scripted Entra does with one request.
enum Say {
    Body(u16, String),
    RetryAfter(u16, &'static str),
    NoWay,
    Hang,
}

struct Stage {
    script: Arc<Mutex<VecDeque<Say>>>,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    shown: Arc<Mutex<Vec<Notice>>>,
    courier: Courier,
    vault: Arc<Vault>,
    identity: Identity,
    started: Instant,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new(grant: Grant, script: Vec<Say>) -> Self {
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let asked: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let (says, hears) = (Arc::clone(&script), Arc::clone(&asked));
        let courier: Courier = Arc::new(move |Letter { request, .. }| {
            let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
            let body = format!("{} {}", request.url().path(), String::from_utf8_lossy(body));
            hears.lock().unwrap().push((Instant::now(), body));
            let say = says.lock().unwrap().pop_front().expect("no more is asked");
            Box::pin(async move {
                let response = hyper::Response::builder();
                Ok(match say {
                    Say::Body(status, body) => response.status(status).body(body).unwrap().into(),
                    Say::RetryAfter(status, after) => {
                        let response = response.status(status).header("Retry-After", after);
                        response.body(String::new()).unwrap().into()
                    }
                    Say::NoWay => {
                        return Err(CourierError {
                            what: "proxy p:8080 answered 403".to_owned(),
                            remedy: Some("ask the network team".to_owned()),
                            summary: String::new(),
                        });
                    }
                    Say::Hang => pending().await,
                })
            })
        });
        let folder = tempfile::tempdir().unwrap();
        let key = VaultKey::File(folder.path().join("key"));
        let files = VaultFiles { path: folder.path().join("vault"), key };
        Self {
            script,
            asked,
            shown: Arc::default(),
            courier,
            vault: Arc::new(Vault::open(&files).unwrap()),
            identity: Identity { app: EntraApp::sample(grant), user: ANN.to_owned() },
            started: Instant::now(),
            _folder: folder,
        }
    }

    fn device(script: Vec<Say>) -> Self {
        Self::new(Grant::DeviceCode { credential: None }, script)
    }

    async fn by_device(&self) -> Result<SignedIn, SignInError> {
        let shown = Arc::clone(&self.shown);
        let show = move |notice| shown.lock().unwrap().push(notice);
        let meant = [ANN.to_owned()];
        SignIn::new(&self.courier, &self.vault, &self.identity, &meant, &show).by_device().await
    }

    fn stored(&self) -> bool {
        self.vault.kept(&self.identity.name()).unwrap().is_some()
    }

    /// Seconds since the start at which something was asked.
    fn times(&self) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(at, _)| at.duration_since(self.started).as_secs()).collect()
    }
}

fn say((status, body): (u16, &str)) -> Say {
    Say::Body(status, body.to_owned())
}

fn id_token(claims: &str) -> String {
    format!("eyJ0.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
}

fn granted(claims: &str) -> Say {
    Say::Body(
        200,
        format!(
            r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"access-canary","refresh_token":"refresh-canary","id_token":"{}"}}"#,
            id_token(claims)
        ),
    )
}

fn granted_to(who: &str) -> Say {
    granted(&format!(r#"{{"aud":"client","preferred_username":"{who}"}}"#))
}

#[tokio::test(start_paused = true)]
async fn a_device_is_polled_at_its_interval_and_slower_when_told() {
    let stage = Stage::device(vec![
        say(BEGUN),
        say(PENDING),
        say((400, r#"{"error":"slow_down"}"#)),
        say(PENDING),
        granted_to("Ann@Contoso.example"),
    ]);
    let signed_in = stage.by_device().await.unwrap();
    assert_eq!(signed_in.who, "Ann@Contoso.example");
    assert_eq!(stage.times(), [0, 5, 10, 20, 30]);
    let asked = stage.asked.lock().unwrap();
    assert_eq!(
        asked[0].1,
        "/contoso.example/oauth2/v2.0/devicecode client_id=client&scope=scope%2F.default+openid+profile+offline_access"
    );
    assert_eq!(
        asked[1].1,
        "/contoso.example/oauth2/v2.0/token client_id=client&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=device-canary"
    );
    let words = "To sign in, open https://microsoft.com/devicelogin and enter ABC123DEF [2J.";
    assert_eq!(*stage.shown.lock().unwrap(), [Notice::Device(words.to_owned())]);
    let kept = stage.vault.kept(&stage.identity.name()).unwrap().unwrap();
    assert_eq!(kept.refresh.unwrap().expose_secret(), "refresh-canary");
    let access = kept.access.unwrap();
    assert_eq!(access.secret.expose_secret(), "access-canary");
    let life = access.expires.duration_since(access.granted).unwrap();
    assert_eq!(life, Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn an_outage_while_polling_is_waited_out_ever_more_slowly() {
    let stage = Stage::device(vec![
        say(BEGUN),
        Say::NoWay,
        Say::Hang,
        Say::RetryAfter(429, "90"),
        say((503, "<html><title>Busy</title>")),
        say(PENDING),
        granted_to(ANN),
    ]);
    stage.by_device().await.unwrap();
    // 5, then 10 after the failure, then 20 after 30 of nothing, then the 90 that were asked for.
    assert_eq!(stage.times(), [0, 5, 15, 65, 155, 215, 220]);
    let troubles = stage.shown.lock().unwrap();
    assert_eq!(troubles.len(), 2, "told once: {troubles:?}");
    assert_eq!(troubles[1], Notice::Trouble("proxy p:8080 answered 403".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_device_code_ends_with_its_life_whatever_is_said_meanwhile() {
    let mut script = vec![say(BEGUN)];
    script.extend((0..179).map(|_| say(PENDING)));
    let stage = Stage::device(script);
    let error = stage.by_device().await.unwrap_err();
    assert_eq!(error.to_string(), "the sign-in has expired before it was completed");
    assert_eq!(stage.started.elapsed().as_secs(), 900);
    assert!(error.remedy().unwrap().contains("start again"));

    let stage = Stage::device(vec![say(BEGUN), Say::RetryAfter(429, "3600")]);
    let error = stage.by_device().await.unwrap_err().to_string();
    assert!(error.contains("at last: HTTP 429"), "{error}");
    assert_eq!(stage.started.elapsed().as_secs(), 900);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_device_sign_in_has_its_words() {
    let no = |error: &str, words: &str| {
        Say::Body(400, format!(r#"{{"error":"{error}","error_description":"{words}"}}"#))
    };
    let poll = |said: Say| vec![say(BEGUN), said];
    let no_refresh = format!(
        r#"{{"access_token":"a.b.c","expires_in":3600,"id_token":"{}"}}"#,
        id_token(&format!(r#"{{"aud":["x","CLIENT"],"upn":"{ANN}"}}"#))
    );
    let rows: Vec<(Vec<Say>, &str, &str)> = vec![
        (vec![Say::NoWay], "no sign-in now: proxy p:8080 answered 403", "network team"),
        (vec![Say::Hang], "no answer within 30 s", ""),
        (vec![Say::RetryAfter(429, "7")], "HTTP 429", "try again in 7 s"),
        (vec![say((200, "<html><title>Guest</title>"))], "Guest", ""),
        (vec![granted_to(ANN)], "in place of a device code", "authority"),
        (
            vec![say((400, r#"{"error":"unauthorized_client","error_codes":[700016]}"#))],
            "Entra refused the sign-in: unauthorized_client",
            "client_id",
        ),
        (poll(no("expired_token", "AADSTS70019: x")), "expired", "start again"),
        (
            poll(no("authorization_declined", "AADSTS65004: User declined.")),
            "declined: AADSTS65004: User declined.",
            "admin consent",
        ),
        (poll(no("access_denied", "")), "declined: access_denied", "accept"),
        (
            poll(no("bad_verification_code", "AADSTS70018: Invalid.")),
            "bad_verification_code: AADSTS70018",
            "type the new code",
        ),
        (poll(no("invalid_grant", "AADSTS53003: Blocked.")), "AADSTS53003", "trusted location"),
        (
            poll(granted_to("bob@contoso.example")),
            "bob@contoso.example signed in, but ann@contoso.example was meant; nothing was stored",
            "sign in as ann@contoso.example",
        ),
        (
            poll(say((200, r#"{"access_token":"a.b.c","refresh_token":"r"}"#))),
            "cannot be told who signed in: Entra gave no id token",
            "openid",
        ),
        (
            poll(say((200, r#"{"access_token":"a.b.c","refresh_token":"r","id_token":"opaque"}"#))),
            "the id token cannot be read",
            "openid",
        ),
        (
            poll(granted(&format!(r#"{{"aud":"other","upn":"{ANN}"}}"#))),
            "the id token is for another app",
            "",
        ),
        (poll(granted(r#"{"aud":"client"}"#)), "the id token names no user", "profile"),
        (
            poll(granted(&format!(r#"{{"aud":"client","email":"{ANN}"}}"#))),
            "the id token names no user, by preferred_username or upn",
            "profile",
        ),
        (poll(say((200, &no_refresh))), "gave no refresh token", "offline_access"),
    ];
    let mut ran = 0;
    for (script, words, remedy) in rows {
        let stage = Stage::device(script);
        let error = stage.by_device().await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        let said = error.remedy().unwrap_or_default();
        assert!(said.contains(remedy), "{error}: {said}");
        assert!(!format!("{error:?} {said}").contains("canary"), "{error:?}");
        assert!(!stage.stored(), "{words}");
        ran += 1;
    }
    assert_eq!(ran, 18);
}

#[tokio::test(start_paused = true)]
async fn the_second_secret_is_tried_where_the_first_is_refused() {
    let expired = (401, r#"{"error":"invalid_client","error_codes":[7000222]}"#);
    let secrets = vec!["first".into(), "second".into()];
    let grant = Grant::DeviceCode { credential: Some(Credential::Secrets(secrets)) };
    let script = vec![say(BEGUN), say(expired), say(PENDING), granted_to(ANN)];
    let stage = Stage::new(grant.clone(), script);
    stage.by_device().await.unwrap();
    {
        let asked = stage.asked.lock().unwrap();
        let secrets: Vec<_> =
            asked[1..].iter().map(|(_, body)| body.rsplit('=').next().unwrap()).collect();
        assert_eq!(secrets, ["first", "second", "second"]);
    }
    let stage = Stage::new(grant, vec![say(BEGUN), say(expired), say(expired)]);
    assert!(stage.by_device().await.unwrap_err().to_string().contains("invalid_client"));
}

/// A person, a browser and a terminal.
struct Browsing {
    stage: Stage,
    urls: mpsc::UnboundedSender<String>,
}

impl Browsing {
    /// Runs the flow beside `person`, who gets the URL and a way to arrive.
    async fn run<P: Future>(
        script: Vec<Say>,
        person: impl FnOnce(Url, mpsc::Sender<Arrival>, Arc<Mutex<VecDeque<Say>>>) -> P,
    ) -> (Result<SignedIn, SignInError>, P::Output, Stage) {
        let redirect_uri = "http://localhost".to_owned();
        let grant = Grant::AuthorizationCode { credential: None, redirect_uri };
        let (urls, mut url) = mpsc::unbounded_channel();
        let Self { stage, urls } = Self { stage: Stage::new(grant, script), urls };
        let shown = Arc::clone(&stage.shown);
        let show = move |notice: Notice| {
            if let Notice::Browser(url) = &notice {
                urls.send(url.clone()).unwrap();
            }
            shown.lock().unwrap().push(notice);
        };
        let meant = [ANN.to_owned()];
        let (arrive, arrivals) = mpsc::channel(4);
        let script = Arc::clone(&stage.script);
        let flow = SignIn::new(&stage.courier, &stage.vault, &stage.identity, &meant, &show);
        let person = async {
            let url = Url::parse(&url.recv().await.unwrap()).unwrap();
            person(url, arrive, script).await
        };
        let (outcome, seen) =
            tokio::join!(flow.by_browser("http://localhost:4711", arrivals), person);
        (outcome, seen, stage)
    }
}

fn field(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned()
}

async fn visit(arrive: &mpsc::Sender<Arrival>, query: &str) -> Verdict {
    let (arrival, verdict) = Arrival::by_browser(query.to_owned());
    arrive.send(arrival).await.ok().unwrap();
    verdict.await.unwrap()
}

fn granted_for(url: &Url) -> Say {
    let nonce = field(url, "nonce");
    granted(&format!(r#"{{"aud":"client","preferred_username":"{ANN}","nonce":"{nonce}"}}"#))
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_comes_back_signs_in_and_strays_do_not() {
    let (outcome, (url, verdicts), stage) =
        Browsing::run(vec![], |url, arrive, script| async move {
            script.lock().unwrap().push_back(granted_for(&url));
            let state = field(&url, "state");
            let verdicts = [
                visit(&arrive, "").await,
                visit(&arrive, "code=code-canary-of-another&state=forged").await,
                visit(&arrive, "error=access_denied&state=forged").await,
                visit(&arrive, &format!("code=code-canary-1&state={state}")).await,
            ];
            (url, verdicts)
        })
        .await;
    assert_eq!(outcome.unwrap().who, ANN);
    let words: Vec<_> = verdicts.iter().map(|verdict| verdict.words.as_str()).collect();
    assert!(words[0].contains("no code") && words[1].contains("another sign-in"), "{words:?}");
    assert!(words[2].contains("another sign-in"), "{words:?}");
    assert_eq!(words[3], "ann@contoso.example is signed in.");
    assert_eq!(verdicts.map(|verdict| verdict.fine), [false, false, false, true]);
    assert!(stage.stored());

    assert!(url.as_str().starts_with("https://localhost/contoso.example/oauth2/v2.0/authorize?"));
    for (name, value) in [
        ("client_id", "client"),
        ("response_type", "code"),
        ("redirect_uri", "http://localhost:4711"),
        ("response_mode", "query"),
        ("scope", "scope/.default openid profile offline_access"),
        ("code_challenge_method", "S256"),
        ("login_hint", ANN),
    ] {
        assert_eq!(field(&url, name), value);
    }
    let asked = stage.asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "nothing was asked for the strays");
    let body = Url::parse(&format!("http://x/?{}", asked[0].1.split(' ').nth(1).unwrap())).unwrap();
    assert_eq!(field(&body, "code"), "code-canary-1");
    assert_eq!(field(&body, "redirect_uri"), "http://localhost:4711");
    let verifier = field(&body, "code_verifier");
    assert!((43..=128).contains(&verifier.len()), "RFC 7636 section 4.1");
    let challenge = <sha2::Sha256 as sha2::Digest>::digest(&verifier);
    assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(challenge), field(&url, "code_challenge"));
    assert!(!url.as_str().contains(&verifier));
}

#[tokio::test(start_paused = true)]
async fn the_address_or_the_code_may_be_pasted() {
    for form in ["http://localhost:4711/?code=CODE&state=STATE&session_state=x", "CODE"] {
        let (outcome, (), stage) = Browsing::run(vec![], |url, arrive, script| async move {
            script.lock().unwrap().push_back(granted_for(&url));
            let line =
                form.replace("STATE", &field(&url, "state")).replace("CODE", "1.code-canary-12");
            for line in ["", "what?", &line] {
                arrive.send(Arrival::pasted(line.to_owned())).await.ok().unwrap();
            }
        })
        .await;
        assert_eq!(outcome.unwrap().who, ANN, "{form}");
        let shown = stage.shown.lock().unwrap();
        assert!(matches!(&shown[..], [Notice::Browser(_), Notice::NotIt(_)]), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pasted_line_that_is_no_code_ends_nothing_and_an_address_may() {
    let no = || say((400, r#"{"error":"invalid_grant","error_description":"AADSTS9002313: No."}"#));
    for bare in [true, false] {
        let (outcome, (), stage) = Browsing::run(vec![no()], |url, arrive, script| async move {
            script.lock().unwrap().push_back(granted_for(&url));
            let state = field(&url, "state");
            let first = if bare { "some-password-canary" } else { "?code=old-code&state=STATE" };
            for line in [first, "?code=code-canary-1&state=STATE"] {
                let line = line.replace("STATE", &state);
                let _ = arrive.send(Arrival::pasted(line)).await;
            }
        })
        .await;
        assert_eq!(outcome.is_ok(), bare, "{outcome:?}");
        let shown = stage.shown.lock().unwrap();
        match &shown[..] {
            [_, Notice::NotIt(words)] if bare => {
                assert!(words.contains("AADSTS9002313") && !words.contains("canary"), "{words}");
            }
            shown => assert!(!bare && shown.len() == 1, "{shown:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_and_it_ends_after_ten_minutes() {
    let (outcome, arrive, stage) =
        Browsing::run(vec![], |_, arrive, _| async move { arrive }).await;
    assert!(matches!(outcome, Err(SignInError::Expired { .. })), "{outcome:?}");
    assert_eq!(stage.started.elapsed().as_secs(), 600);
    drop(arrive);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_browser_sign_in_has_its_words() {
    let declined =
        "error=access_denied&error_description=AADSTS65004%3A+User+declined.+Trace+ID%3A+1";
    let refused = "error=invalid_client&error_description=AADSTS650057%3A+Invalid+resource.";
    let code = "code=code-canary-1";
    let rows: Vec<(&str, Vec<Say>, &str, &str)> = vec![
        (
            declined,
            vec![],
            "the sign-in was declined: AADSTS65004: User declined.",
            "admin consent",
        ),
        (refused, vec![], "invalid_client: AADSTS650057", "Add the permission"),
        (
            code,
            vec![say((400, r#"{"error":"invalid_grant","error_codes":[54005]}"#))],
            "invalid_grant",
            "Sign in again",
        ),
        (code, vec![granted_to(ANN)], "belongs to another sign-in", "start again"),
        (code, vec![Say::NoWay, Say::RetryAfter(503, "700")], "at last: HTTP 503", "start again"),
    ];
    let mut ran = 0;
    for (query, script, words, remedy) in rows {
        let (outcome, verdict, stage) = Browsing::run(script, |url, arrive, _| async move {
            visit(&arrive, &format!("{query}&state={}", field(&url, "state"))).await
        })
        .await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(error.remedy().unwrap().contains(remedy), "{error}");
        assert!(!verdict.fine && verdict.words.contains(&error.to_string()), "{verdict:?}");
        assert!(!format!("{error:?}{verdict:?}").contains("canary"), "{error:?}");
        assert!(!stage.stored());
        ran += 1;
    }
    assert_eq!(ran, 5);
}
