//! The life of a token under faults, on the paused clock, with a scripted Entra.

mod clocks;
mod guesses;
mod kept;
mod life;
mod outages;
mod property;
mod reload;
mod rotation;
mod sign_in;

use std::{
    collections::VecDeque,
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt, registry};

use super::{
    Courier, CourierError, Identity, Token, TokenError,
    cache::Tokens,
    clock::Clock,
    vault::{Kept, Vault},
};
use crate::config::{EntraApp, Grant, VaultFiles, VaultKey};

/// What the scripted Entra does with one request.
#[derive(Clone, Debug)]
enum Say {
    /// A token that lives so many seconds.
    Token(u64),
    /// The same with a refresh token.
    WithRefresh(u64),
    /// This status and body.
    Body(u16, &'static str),
    /// 429 with this `Retry-After`.
    Busy(&'static str),
    /// 503 with this `Retry-After`.
    Down(&'static str),
    /// The way broke off, in these words.
    Cut(&'static str),
    /// The way is closed.
    NoWay,
    /// Nothing, ever.
    Hang,
}

const REFUSED: Say = Say::Body(
    401,
    r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 1","error_codes":[7000215]}"#,
);
const REVOKED: Say = Say::Body(
    400,
    r#"{"error":"invalid_grant","error_codes":[50173],"error_description":"AADSTS50173: revoked"}"#,
);
const WRONG_PASSWORD: Say = Say::Body(
    400,
    r#"{"error":"invalid_grant","error_description":"AADSTS50126: Error validating credentials.","error_codes":[50126]}"#,
);

const LOCKED: Say = Say::Body(
    400,
    r#"{"error":"invalid_grant","error_description":"AADSTS50053: The account is locked.","error_codes":[50053]}"#,
);
const LOOP: Say = Say::Body(400, r#"{"error":"invalid_grant","error_codes":["50196"]}"#);

/// A scripted Entra: each request takes the next line; the last line is said for ever.
struct Entra {
    script: Mutex<VecDeque<Say>>,
    asked: AtomicUsize,
    /// When it was asked.
    moments: Mutex<Vec<Instant>>,
    /// What was asked: the body, or the address where there is none.
    bodies: Mutex<Vec<String>>,
    /// An answer is on its way.
    answered: Notify,
}

impl Entra {
    fn new(script: &[Say]) -> (Arc<Self>, Tokens) {
        let entra = Self::scripted(script);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let tokens = Tokens::new(entra.courier(), None, tasks, stop);
        (entra, tokens)
    }

    fn scripted(script: &[Say]) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.to_vec().into()),
            asked: AtomicUsize::new(0),
            moments: Mutex::default(),
            bodies: Mutex::default(),
            answered: Notify::new(),
        })
    }

    fn body(&self, number: usize) -> String {
        self.bodies.lock().unwrap()[number - 1].clone()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn now_says(&self, script: &[Say]) {
        *self.script.lock().unwrap() = script.to_vec().into();
    }

    fn courier(self: &Arc<Self>) -> Courier {
        let entra = Arc::clone(self);
        Arc::new(move |super::Letter { request, .. }| {
            let entra = Arc::clone(&entra);
            Box::pin(async move {
                let number = entra.asked.fetch_add(1, Ordering::SeqCst) + 1;
                let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
                let body = String::from_utf8_lossy(body).into_owned();
                let asked = if body.is_empty() { request.url().to_string() } else { body };
                entra.bodies.lock().unwrap().push(asked);
                let say = {
                    let mut script = entra.script.lock().unwrap();
                    if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
                };
                entra.moments.lock().unwrap().push(Instant::now());
                sleep(Duration::from_millis(50)).await; // a request takes a moment
                let answer = say.answer(number).await;
                entra.answered.notify_one();
                answer
            })
        })
    }
}

impl Say {
    async fn answer(self, number: usize) -> Result<reqwest::Response, CourierError> {
        let (status, body, retry) = match self {
            Self::Token(life) => (200, token_json(number, life, ""), None),
            Self::WithRefresh(life) => (
                200,
                token_json(number, life, &format!(r#","refresh_token":"refresh-{number}""#)),
                None,
            ),
            Self::Body(status, body) => (status, body.to_owned(), None),
            Self::Busy(retry) => (429, String::new(), Some(retry)),
            Self::Down(retry) => (503, String::new(), Some(retry)),
            Self::NoWay => {
                let what =
                    "proxy p:8080 answered 403 to CONNECT login.microsoftonline.com:443".to_owned();
                return Err(CourierError {
                    what,
                    remedy: None,
                    summary: "The proxy answered 403".to_owned(),
                });
            }
            Self::Cut(what) => {
                let (what, summary) = (what.to_owned(), "no way".to_owned());
                return Err(CourierError { what, remedy: None, summary });
            }
            Self::Hang => pending().await,
        };
        let mut response = hyper::Response::builder().status(status);
        if let Some(retry) = retry {
            response = response.header("Retry-After", retry);
        }
        Ok(response.body(body).unwrap().into())
    }
}

fn token_json(number: usize, life: u64, more: &str) -> String {
    format!(
        r#"{{"token_type":"Bearer","expires_in":{life},"ext_expires_in":{life},"access_token":"token-{number}"{more}}}"#
    )
}

fn identity(grant: Grant, user: &str) -> Identity {
    Identity { app: EntraApp::sample(grant), user: user.to_owned() }
}

fn app() -> Identity {
    identity(Grant::of_app("s3cret+&"), "")
}

fn user() -> Identity {
    identity(Grant::by_password(), "ann@contoso.example")
}

fn pw(text: &str) -> SecretString {
    text.into()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[track_caller]
fn text(token: Result<Token, TokenError>) -> String {
    token.unwrap().secret().expose_secret().to_owned()
}

fn signed_in() -> Identity {
    identity(Grant::DeviceCode { credential: None }, "eve@contoso.example")
}

/// Entra, a vault, and a process that can be started anew.
struct World {
    entra: Arc<Entra>,
    vault: Arc<Vault>,
    folder: TempDir,
    /// By how many seconds the wall clock is ahead of the paused one.
    shift: Arc<AtomicI64>,
    clock: Clock,
    stop: CancellationToken,
    tokens: Tokens,
}

impl World {
    fn new(script: &[Say]) -> Self {
        let entra = Entra::scripted(script);
        let folder = TempDir::new().unwrap();
        let vault = open_vault(&folder);
        let (shift, stop) = (Arc::new(AtomicI64::new(0)), CancellationToken::new());
        let (ahead, start, wall) = (Arc::clone(&shift), Instant::now(), SystemTime::now());
        let clock = Clock::with_wall(move || {
            let (now, ahead) = (wall + start.elapsed(), ahead.load(Ordering::SeqCst));
            let by = Duration::from_secs(ahead.unsigned_abs());
            if ahead < 0 { now - by } else { now + by }
        });
        let tokens = Self::start(&entra, &vault, &stop, &clock);
        Self { entra, vault, folder, shift, clock, stop, tokens }
    }

    fn start(
        entra: &Arc<Entra>,
        vault: &Arc<Vault>,
        stop: &CancellationToken,
        clock: &Clock,
    ) -> Tokens {
        let vault = Some(Arc::clone(vault));
        let (tasks, stop, clock) = (TaskTracker::new(), stop.clone(), clock.clone());
        Tokens::with_clock(entra.courier(), vault, tasks, stop, clock)
    }

    /// Ends the process and starts it anew; only the vault stays.
    fn restart(&mut self) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.tokens = Self::start(&self.entra, &self.vault, &self.stop, &self.clock);
    }

    fn kept(&self, identity: &Identity) -> Kept {
        self.vault.kept(&identity.name()).unwrap().unwrap_or_default()
    }

    fn kept_refresh(&self, identity: &Identity) -> String {
        let kept = self.kept(identity).refresh;
        kept.map_or(String::new(), |token| token.expose_secret().to_owned())
    }

    /// As `mailwicket sign-in` does, in a process of its own.
    fn signs_in(&self, identity: &Identity, refresh: &str) {
        let kept = Kept { refresh: Some(refresh.into()), ..Kept::default() };
        self.vault.keep(&identity.name(), &kept).unwrap();
    }

    fn shift_wall(&self, seconds: i64) {
        self.shift.fetch_add(seconds, Ordering::SeqCst);
    }
}

fn open_vault(folder: &TempDir) -> Arc<Vault> {
    let path = folder.path().join("vault");
    let key = VaultKey::Value("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into());
    Arc::new(Vault::open(&VaultFiles { path, key }).unwrap())
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
        (log, tracing::subscriber::set_default(registry().with(layer)))
    }

    fn lines(&self, event: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let event = format!("event=\"{event}\"");
        text.lines().filter(|line| line.contains(&event)).map(str::to_owned).collect()
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
