//! What the daemon looks after by itself, on the paused clock.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Dispatch, subscriber::DefaultGuard};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt, registry};

use super::upkeep::{Almanac, Rooted, attend};
use crate::{
    config::{
        self, CertificateFiles, Config, Credential, Date, EntraApp, Grant, Log, LogFormat,
        VaultFiles, VaultKey,
    },
    token::{CourierError, cache::Tokens},
};

#[derive(Clone, Default)]
struct Caught(Arc<Mutex<Vec<u8>>>);

impl Caught {
    /// The second subscriber keeps tests of other threads from switching log lines off for good.
    fn begin() -> (Self, (DefaultGuard, Dispatch)) {
        let caught = Self::default();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(caught.clone());
        let second = Dispatch::new(registry());
        (caught, (tracing::subscriber::set_default(registry().with(layer)), second))
    }

    /// What was logged since the last look.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Caught {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Caught {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn app(name: &str, ends: Option<&str>) -> Arc<EntraApp> {
    let app = (*EntraApp::sample(Grant::of_app("canary-secret"))).clone();
    Arc::new(EntraApp { name: name.to_owned(), secret_expires: ends.map(day), ..app })
}

fn with_certificate(name: &str, file: &str) -> Arc<EntraApp> {
    let certificate =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(file);
    let files = CertificateFiles { certificate, key: None, password: None };
    let grant = Grant::ClientCredentials { credential: Credential::Certificate(files) };
    let app = (*EntraApp::sample(grant)).clone();
    Arc::new(EntraApp { name: name.to_owned(), ..app })
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn what_ends_soon_is_told_at_start_each_day_and_after_a_reload() {
    let (caught, _guard) = Caught::begin();
    let today = Arc::new(Mutex::new(day("2027-02-01")));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let apps = vec![
        app("near", Some("2027-02-03")),
        app("past", Some("2027-01-31")),
        app("later", Some("2027-03-04")),
        app("unknown", None),
        with_certificate("lost", "none.pem"),
        with_certificate("good", "app.pem"),
    ];
    let clock = Arc::clone(&today);
    let almanac = Almanac::by(move || *clock.lock().unwrap(), apps, &tasks, stop.clone());

    sleep(HOUR / 2).await;
    let log = caught.take();
    let told = [
        ("WARN", "secret_expires", "near", "expires on 2027-02-03, in 2 days"),
        ("ERROR", "secret_expired", "past", "has expired on 2027-01-31"),
        ("ERROR", "certificate_unusable", "lost", "none.pem"),
    ];
    let mut ran = 0;
    for (level, event, app, words) in told {
        let is_it = |line: &&str| line.contains(&format!("event=\"{event}\""));
        let lines: Vec<_> = log.lines().filter(is_it).collect();
        let [line] = lines[..] else { panic!("{event}: {log}") };
        for words in [level, &format!("app=\"{app}\""), words, "remedy="] {
            assert!(line.contains(words), "{words}: {line}");
        }
        ran += 1;
    }
    assert_eq!((ran, log.lines().count()), (3, 3), "{log}");

    sleep(20 * HOUR).await;
    assert_eq!(caught.take(), "", "once a day");
    *today.lock().unwrap() = day("2027-02-02");
    sleep(HOUR).await;
    let log = caught.take();
    assert!(
        log.contains("2027-02-03, tomorrow") && log.contains("2027-03-04, in 30 days"),
        "{log}"
    );

    almanac.change(vec![app("new", Some("2027-02-02"))]);
    sleep(Duration::from_secs(1)).await;
    let log = caught.take();
    assert!(log.contains("today") && log.lines().count() == 1, "{log}");
    assert!(!log.contains("canary"));

    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_told_of_like_a_secret() {
    let (caught, _guard) = Caught::begin();
    let mut ran = 0;
    for (today, words) in [
        ("2126-10-02", Some("certificate_expires")),
        ("2126-11-02", Some("certificate_expired")),
        ("2126-10-01", None),
    ] {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let apps = vec![with_certificate("cert", "app.pem")];
        let _almanac = Almanac::by(move || day(today), apps, &tasks, stop.clone());
        sleep(Duration::from_secs(1)).await;
        let log = caught.take();
        match words {
            Some(words) => {
                let event = format!("event=\"{words}\"");
                assert!(log.contains(&event) && log.contains("2126-11-01"), "{today}: {log}");
            }
            None => assert_eq!(log, "", "{today}"),
        }
        ran += 1;
        stop.cancel();
    }
    assert_eq!(ran, 3);
}

fn parse(text: &str) -> Config {
    let environment = |_: &str| None;
    config::parse("proxy.toml", text, &PathBuf::from("."), &environment).unwrap()
}

/// Three accounts of an app whose users sign in, one of them for a listener only, and one of
/// another app.
fn people() -> Config {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";
    parse(&format!(
        r#"
[entra.people]
tenant = "contoso.onmicrosoft.com"
client_id = "c4d5e6f7-0a1b-4c2d-8e3f-4a5b6c7d8e92"
grant = "device_code"
[entra.app]
tenant = "contoso.onmicrosoft.com"
client_id = "1b2e6f0c-7a44-4c1d-9d35-0f8e5a6b7c81"
grant = "client_credentials"
client_secret = "sbx8Q~canary"
[vault]
path = "/nowhere/vault"
[[listener]]
protocol = "smtp"
bind = "127.0.0.1:0"
[[listener]]
protocol = "smtp"
bind = "127.0.0.1:0"
allow = ["127.0.0.1"]
account = "copier@contoso.com"
[[account]]
user = "ann@contoso.com"
entra = "people"
password_hash = "{hash}"
[[account]]
user = "*@contoso.com"
entra = "people"
password_hash = "{hash}"
[[account]]
user = "scanner@contoso.com"
entra = "app"
password_hash = "{hash}"
"#
    ))
}

#[tokio::test(start_paused = true)]
async fn who_has_to_sign_in_is_told_before_anybody_logs_in() {
    let (caught, _guard) = Caught::begin();
    let courier: crate::token::Courier = Arc::new(|_| {
        Box::pin(async {
            let (what, summary) = ("nobody is to be asked".to_owned(), String::new());
            Err(CourierError { what, remedy: None, summary })
        })
    });
    let stop = CancellationToken::new();
    let tokens = Tokens::new(courier, None, TaskTracker::new(), stop.clone());
    attend(&tokens, &people());
    sleep(Duration::from_secs(120)).await;
    let log = caught.take();
    let told: Vec<_> = log.lines().filter(|line| line.contains("needs_sign_in")).collect();
    assert_eq!(told.len(), 2, "{log}");
    for user in ["ann@contoso.com", "copier@contoso.com"] {
        let remedy = format!("mailwicket sign-in {user}");
        assert!(told.iter().any(|line| line.contains(&remedy)), "{user}: {log}");
    }
    assert_eq!(tokens.states().len(), 2, "the app's account needs nobody");
    stop.cancel();
}

#[test]
fn tables_that_are_read_at_start_only_are_named_when_they_change() {
    let vault = |path: &str, key: VaultKey| Some(VaultFiles { path: path.into(), key });
    let file = |path: &str| VaultKey::File(path.into());
    let value = |text: &str| VaultKey::Value(text.into());
    let log = |level: &str, format| Log { format, level: level.to_owned() };
    let text = || log("info", LogFormat::Text);
    let rows = [
        (vault("v", file("k")), text(), vault("v", file("k")), text(), ""),
        (vault("v", file("k")), text(), vault("w", file("k")), text(), "[vault]"),
        (vault("v", file("k")), text(), vault("v", file("l")), text(), "[vault]"),
        (vault("v", file("k")), text(), None, text(), "[vault]"),
        (vault("v", file("k")), text(), vault("v", value("a")), text(), "[vault]"),
        (vault("v", value("a")), text(), vault("v", value("a")), text(), ""),
        (vault("v", value("a")), text(), vault("v", value("b")), text(), "[vault]"),
        (None, text(), None, log("debug", LogFormat::Text), "[log]"),
        (None, text(), None, log("info", LogFormat::Json), "[log]"),
        (None, text(), vault("v", file("k")), log("debug", LogFormat::Json), "[vault] [log]"),
    ];
    let (caught, _guard) = Caught::begin();
    let mut ran = 0;
    for (vault, log, new_vault, new_log, expected) in rows {
        let before = Config { log, vault, ..people() };
        let after = Config { log: new_log, vault: new_vault, ..people() };
        Rooted::of(&before).warn_of(&after);
        let said = caught.take();
        for table in ["[vault]", "[log]"] {
            let is_named = said.contains(&format!("table=\"{table}\""));
            assert_eq!(is_named, expected.contains(table), "row {ran}: {said}");
        }
        assert_eq!(said.is_empty(), expected.is_empty(), "row {ran}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 10);
}
