//! The dance against proxies that are written down: what each connection is answered, and what it
//! was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, advance, timeout},
};
use tokio_util::task::TaskTracker;

use super::{LoginMemory, kerberos::Places, tunnel};
use crate::{
    config::{Proxy, ProxyAuth, ProxyCredentials, ProxyScheme},
    net::{
        Io, Leg,
        error::{DialError, Trouble},
    },
};

const OK: &str = "HTTP/1.1 200 Connection established\r\n\r\n220 ready\r\n";
/// The challenge of MS-NLMP section 4.2.4.3.
const TYPE_2: &str = "TlRMTVNTUAACAAAADAAMADgAAAAzgoriASNFZ4mrze8AAAAAAAAAACQAJABEAAAABgBwFwAAAA9TAGUAcgB2AGUAcgACAAwARABvAG0AYQBpAG4AAQAMAFMAZQByAHYAZQByAAAAAAA=";

/// A 407 on a connection that lives on, with these challenges.
fn asks(challenges: &str) -> String {
    let lines: String =
        challenges.split('|').flat_map(|one| ["Proxy-Authenticate: ", one, "\r\n"]).collect();
    format!("HTTP/1.1 407 Proxy Authentication Required\r\n{lines}Content-Length: 6\r\n\r\n<html>")
}

/// The same, and then the proxy closes.
fn asks_and_closes(challenges: &str) -> String {
    asks(challenges).replacen("Content-Length", "Connection: close\r\nContent-Length", 1)
}

/// For each connection the answer to each request.
type Answers = Vec<Vec<String>>;

/// A proxy: for each connection in turn what it answers to each request; then it closes.
#[derive(Clone, Default)]
struct Script {
    connections: Arc<Mutex<VecDeque<Vec<String>>>>,
    /// The login of each request: `-` for none, `|` where a connection begins.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(connections: &[Vec<String>]) -> Self {
        let script = Self::default();
        script.connections.lock().unwrap().extend(connections.iter().cloned());
        script
    }

    fn open(&self) -> Io {
        let (near, far) = duplex(4096);
        let answers =
            self.connections.lock().unwrap().pop_front().expect("one connection too many");
        self.seen.lock().unwrap().push("|".to_owned());
        TaskTracker::new().spawn(self.clone().play(far, answers));
        Box::new(near)
    }

    async fn play(self, mut far: DuplexStream, answers: Vec<String>) {
        for answer in answers {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(octet) = far.read_u8().await else { return };
                head.push(octet);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("CONNECT mail.test:587 HTTP/1.1\r\n"), "{head}");
            let login = head.split("Proxy-Authorization: ").nth(1).unwrap_or("-");
            self.seen.lock().unwrap().push(login.lines().next().unwrap().to_owned());
            far.write_all(answer.as_bytes()).await.unwrap(); // an empty one: it closes
        }
    }

    async fn tunnel(&self, memory: &LoginMemory, proxy: &Proxy) -> Result<Io, Trouble> {
        let limit = Duration::from_secs(5);
        tunnel(memory, || async { Ok(self.open()) }, proxy, "mail.test:587", limit).await
    }

    /// What was asked since the last look; each login cut to its scheme and a little of it.
    fn seen(&self) -> String {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let short = |login: &String| match login.split_once(' ') {
            Some(("NTLM", token)) => {
                format!("NTLM{}", if token.starts_with("TlRMTVNTUAAB") { 1 } else { 3 })
            }
            Some((scheme, _)) => scheme.to_owned(),
            None => login.clone(),
        };
        seen.iter().map(short).collect::<Vec<_>>().join(" ")
    }
}

/// A memory that finds nothing of Kerberos.
fn memory() -> LoginMemory {
    LoginMemory::new(Places { configs: vec![], cache: Some("FILE:/nonexistent/cache".to_owned()) })
}

fn proxy(auth: ProxyAuth, with_user: bool) -> Proxy {
    let credentials = ProxyCredentials { username: "svc".to_owned(), password: "hidden".into() };
    Proxy {
        scheme: ProxyScheme::Http,
        host: "proxy.test".to_owned(),
        port: 8080,
        credentials: with_user.then_some(credentials),
        auth,
    }
}

fn told(outcome: Result<Io, Trouble>) -> (String, String) {
    let Err(trouble) = outcome else { panic!("a tunnel") };
    let error = DialError { leg: Leg::Mail, trouble };
    assert!(!format!("{error:?} {error}").contains("hidden"));
    (error.to_string(), error.remedy().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn every_good_way_ends_in_a_tunnel() {
    use ProxyAuth::{Auto, Basic, Digest, Ntlm};
    let digest = "Digest realm=r, nonce=n, qop=\"auth\"";
    let type_2 = format!("NTLM {TYPE_2}");
    let ok = || OK.to_owned();
    // The setting, each connection's answers, and what was asked, and by a second tunnel.
    let rows: Vec<(ProxyAuth, Answers, &str, Answers, &str)> = vec![
        (Auto, vec![vec![ok()]], "| -", vec![vec![ok()]], "| -"),
        (Auto, vec![vec![asks("Basic realm=x"), ok()]], "| - Basic", vec![vec![ok()]], "| Basic"),
        (
            Auto,
            vec![vec![asks_and_closes("Basic realm=x")], vec![ok()]],
            "| - | Basic",
            vec![vec![ok()]],
            "| Basic",
        ),
        // It closes without saying so.
        (
            Auto,
            vec![vec![asks("Basic realm=x")], vec![ok()]],
            "| - | Basic",
            vec![vec![ok()]],
            "| Basic",
        ),
        (
            Auto,
            vec![vec![asks(&format!("Basic realm=x|{digest}")), ok()]],
            "| - Digest",
            vec![vec![asks(digest), ok()]],
            "| - Digest",
        ),
        (
            Auto,
            vec![vec![asks("Negotiate|NTLM|Basic realm=x"), asks(&type_2), ok()]],
            "| - NTLM1 NTLM3",
            vec![vec![asks(&type_2), ok()]],
            "| NTLM1 NTLM3",
        ),
        // NTLM goes on after a close before its first message is answered, once.
        (
            Auto,
            vec![vec![asks_and_closes("NTLM, Basic realm=x")], vec![asks(&type_2), ok()]],
            "| - | NTLM1 NTLM3",
            vec![vec![asks_and_closes("NTLM")], vec![asks(&type_2), ok()]],
            "| NTLM1 | NTLM1 NTLM3",
        ),
        // It is another proxy now.
        (
            Auto,
            vec![vec![asks("Basic realm=x"), ok()]],
            "| - Basic",
            vec![vec![asks("NTLM"), asks(&type_2), ok()]],
            "| Basic NTLM1 NTLM3",
        ),
        (Basic, vec![vec![ok()]], "| Basic", vec![vec![ok()]], "| Basic"),
        (
            Digest,
            vec![vec![asks(&format!("NTLM|{digest}")), ok()]],
            "| - Digest",
            vec![vec![ok()]],
            "| -",
        ),
        (
            Ntlm,
            vec![vec![asks(&type_2), ok()]],
            "| NTLM1 NTLM3",
            vec![vec![asks(&type_2), ok()]],
            "| NTLM1 NTLM3",
        ),
        (
            Auto,
            vec![vec![asks(digest), asks(&format!("{digest}, stale=true")), ok()]],
            "| - Digest Digest",
            vec![vec![asks(digest), ok()]],
            "| - Digest",
        ),
        // What cannot start leaves its place to the next.
        (
            Auto,
            vec![vec![
                asks("NTLM|Digest realm=r, nonce=n, algorithm=X|Basic realm=x"),
                asks("NTLM YIIB|Basic realm=x"),
                ok(),
            ]],
            "| - NTLM1 Basic",
            vec![vec![ok()]],
            "| Basic",
        ),
    ];
    let mut ran = 0;
    for (auth, first, asked, second, asked_again) in rows {
        let (memory, proxy) = (memory(), proxy(auth, true));
        for (connections, asked) in [(first, asked), (second, asked_again)] {
            let script = Script::new(&connections);
            let mut io = script
                .tunnel(&memory, &proxy)
                .await
                .unwrap_or_else(|error| panic!("{asked}: {error}"));
            let mut greeting = [0; 11];
            io.read_exact(&mut greeting).await.unwrap();
            assert_eq!((&greeting, script.seen().as_str()), (b"220 ready\r\n", asked));
            assert!(script.connections.lock().unwrap().is_empty(), "{asked}");
        }
        ran += 1;
    }
    assert_eq!(ran, 13);
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_told_apart() {
    use ProxyAuth::{Auto, Basic, Digest, Negotiate, Ntlm};
    let digest = "Digest realm=r, nonce=n, qop=\"auth\"";
    let type_2 = format!("NTLM {TYPE_2}");
    let all = "Negotiate|NTLM|Digest realm=r, nonce=n|Basic realm=x";
    // The setting, whether there is a user, the answers, what was asked, what is said, the remedy.
    let rows: Vec<(ProxyAuth, bool, Answers, &str, &str, &str)> = vec![
        (
            Auto,
            true,
            vec![vec![asks("Basic realm=x"), asks("Basic realm=x")]],
            "| - Basic",
            "does not accept user and password by Basic",
            "mend them",
        ),
        (
            Auto,
            true,
            vec![vec![asks(digest), asks(digest)]],
            "| - Digest",
            "user and password by Digest",
            "mend them",
        ),
        (
            Auto,
            true,
            vec![vec![asks(all), asks(&type_2), asks(all)]],
            "| - NTLM1 NTLM3",
            "user and password by NTLM",
            "DOMAIN\\user",
        ),
        (
            Auto,
            true,
            vec![vec![
                asks(digest),
                asks(&format!("{digest}, stale=true")),
                asks(&format!("{digest}, stale=true")),
            ]],
            "| - Digest Digest",
            "user and password by Digest",
            "mend them",
        ),
        (
            Auto,
            true,
            vec![vec![asks(all), asks_and_closes(&type_2)]],
            "| - NTLM1",
            "closed the connection in the middle of the login by NTLM",
            "trying again may help",
        ),
        (
            Auto,
            true,
            vec![vec![asks(all), asks(&type_2), String::new()]],
            "| - NTLM1 NTLM3",
            "closed the connection in the middle of the login by NTLM",
            "most likely user and password are wrong",
        ),
        (
            Auto,
            true,
            vec![vec![asks("NTLM"), asks("NTLM")]],
            "| - NTLM1",
            "does not carry on after the first message",
            "another scheme",
        ),
        (
            Auto,
            true,
            vec![vec![asks("NTLM"), asks("NTLM YIIB")]],
            "| - NTLM1",
            "SPNEGO",
            "another scheme",
        ),
        (
            Auto,
            true,
            vec![vec![asks("Negotiate")]],
            "| -",
            "takes only Negotiate, and none of it can be had: Negotiate: the Kerberos realm of svc is not known",
            "user@REALM",
        ),
        (Auto, true, vec![vec![asks("Bearer")]], "| -", "takes only Bearer", "rule without login"),
        (
            Auto,
            true,
            vec![vec![asks("Digest realm=r, nonce=n, algorithm=X")]],
            "| -",
            "the algorithm X",
            "SHA-256",
        ),
        (
            Auto,
            false,
            vec![vec![asks("NTLM|Basic realm=x")]],
            "| -",
            "wants a login by NTLM, Basic",
            "set username and password",
        ),
        (
            Auto,
            false,
            vec![vec![asks("Negotiate, NTLM")]],
            "| -",
            "no Kerberos ticket: /nonexistent/cache",
            "kinit",
        ),
        (
            Negotiate,
            false,
            vec![],
            "",
            "no login can be had: Negotiate: no Kerberos ticket",
            "kinit",
        ),
        (
            Basic,
            true,
            vec![vec![asks("NTLM|Negotiate")]],
            "| Basic",
            "does not offer Basic, but by NTLM, Negotiate",
            "auto",
        ),
        (
            Digest,
            true,
            vec![vec![asks(all.rsplit_once('|').unwrap().1)]],
            "| -",
            "does not offer Digest",
            "auto",
        ),
        (Ntlm, true, vec![vec![asks("Basic realm=x")]], "| NTLM1", "does not offer NTLM", "auto"),
    ];
    let mut ran = 0;
    for (auth, with_user, connections, asked, said, remedy) in rows {
        let script = Script::new(&connections);
        let (text, advice) = told(script.tunnel(&memory(), &proxy(auth, with_user)).await);
        assert!(text.starts_with("mail: proxy proxy.test:8080"), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(advice.contains(remedy), "{text}: {advice}");
        assert_eq!(script.seen(), asked, "{text}");
        ran += 1;
    }
    assert_eq!(ran, 17);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_not_sent_again_for_a_while() {
    let (memory, proxy) = (memory(), proxy(ProxyAuth::Auto, true));
    let refuses = || vec![asks("Basic realm=x"), asks("Basic realm=x")];
    let asks_only = || vec![asks("Basic realm=x")];
    let script = Script::new(&[refuses(), refuses(), asks_only(), refuses(), asks_only()]);
    // All at once: one tries, and the others hear of it.
    let both = tokio::join!(script.tunnel(&memory, &proxy), script.tunnel(&memory, &proxy));
    let mut texts = [told(both.0).0, told(both.1).0];
    texts.sort_by_key(|text| text.contains("not tried again"));
    let [first, text] = texts;
    assert!(first.contains("does not accept"), "{first}");
    assert!(text.contains("answered 407") && text.contains("not tried again for 120 s"), "{text}");
    assert_eq!(script.seen().matches("Basic").count(), 1);
    advance(Duration::from_secs(119)).await;
    assert!(told(script.tunnel(&memory, &proxy).await).0.contains("for 1 s"));
    assert_eq!(script.seen(), "| -", "the proxy is asked, the password not sent");
    advance(Duration::from_secs(1)).await;
    assert!(told(script.tunnel(&memory, &proxy).await).0.contains("does not accept"));
    assert_eq!(script.seen(), "| - Basic");
    assert!(told(script.tunnel(&memory, &proxy).await).0.contains("for 300 s"), "it grows");
    // What needs no login is had all the while, and proves nothing.
    let open = Script::new(&[vec![OK.to_owned()], asks_only()]);
    assert!(open.tunnel(&memory, &proxy).await.is_ok());
    assert!(told(open.tunnel(&memory, &proxy).await).0.contains("for 300 s"));
    assert_eq!(open.seen(), "| - | -");
}

#[tokio::test(start_paused = true)]
async fn each_way_of_refusing_starts_the_pause() {
    use ProxyAuth::{Auto, Basic};
    let type_2 = format!("NTLM {TYPE_2}");
    let forbids = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
    // The setting, the answers, what was asked, and what the pause says, if there is one.
    let rows: Vec<(ProxyAuth, Answers, &str, Option<&str>)> = vec![
        // Squid closes. It looks like nothing else, so it counts.
        (
            Auto,
            vec![vec![asks("NTLM"), asks(&type_2), String::new()]],
            "| - NTLM1 NTLM3",
            Some("refused by NTLM"),
        ),
        (
            Auto,
            vec![vec![asks_and_closes("Basic realm=x")], vec![String::new()]],
            "| - | Basic",
            Some("got no answer by Basic"),
        ),
        (Basic, vec![vec![String::new()]], "| Basic", Some("got no answer by Basic")),
        (Auto, vec![vec![asks("NTLM"), forbids.clone()]], "| - NTLM1", None),
        (Auto, vec![vec![String::new()]], "| -", None),
    ];
    let mut ran = 0;
    for (auth, connections, asked, pause) in rows {
        let (memory, proxy) = (memory(), proxy(auth, true));
        let script = Script::new(&connections);
        told(script.tunnel(&memory, &proxy).await);
        assert_eq!(script.seen(), asked);
        let script = Script::new(&[vec![asks("Basic realm=x"), OK.to_owned()]]);
        match (script.tunnel(&memory, &proxy).await, pause) {
            (Ok(_), None) => {}
            (outcome, Some(words)) => assert!(told(outcome).0.contains(words), "{words}"),
            (Err(error), None) => panic!("{asked}: {error}"),
        }
        ran += 1;
    }
    assert_eq!(ran, 5);
}

/// A proxy that hangs: it reads, and its answers never come.
fn hangs() -> (Io, DuplexStream) {
    let (near, far) = duplex(4096);
    (Box::new(near), far)
}

#[tokio::test(start_paused = true)]
async fn a_dial_given_up_after_the_password_pauses_unless_it_has_proved_right() {
    let proxy = proxy(ProxyAuth::Basic, true);
    let limit = Duration::from_secs(5);
    let give_up = async |memory: &LoginMemory| {
        let (io, _far) = hangs();
        let io = Mutex::new(Some(io));
        let open = || async { Ok(io.lock().unwrap().take().expect("one")) };
        let dial = tunnel(memory, open, &proxy, "mail.test:587", limit);
        assert!(timeout(Duration::from_secs(20), dial).await.is_err());
    };
    let fresh = memory();
    give_up(&fresh).await;
    let script = Script::new(&[vec![asks("Basic realm=x")]]);
    let (text, advice) = told(script.tunnel(&fresh, &proxy).await);
    assert!(text.contains("got no answer by Basic") && advice.contains("slow"), "{text}: {advice}");

    // A host that the proxy waits for is no reason to doubt a password, until it happens in a row.
    let known = memory();
    let script = Script::new(&[vec![asks("Basic realm=x"), OK.to_owned()]]);
    let begins_unasked = self::proxy(ProxyAuth::Auto, true);
    assert!(script.tunnel(&known, &begins_unasked).await.is_ok());
    for _ in 0..5 {
        give_up(&known).await;
    }
    let script = Script::new(&[vec![String::new()], vec![asks("Basic realm=x")]]);
    assert!(told(script.tunnel(&known, &proxy).await).0.contains("closed"));
    assert!(told(script.tunnel(&known, &proxy).await).0.contains("got no answer"));
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_changed_is_sent_three_times_at_most() {
    let (memory, proxy) = (memory(), proxy(ProxyAuth::Auto, true));
    let good = Script::new(&[vec![asks("Basic realm=x"), OK.to_owned()]]);
    assert!(good.tunnel(&memory, &proxy).await.is_ok());
    let refuses = vec![asks("Basic realm=x"), asks("Basic realm=x")];
    let script = Script::new(&vec![refuses; 8]);
    let dial = || script.tunnel(&memory, &proxy);
    let all = tokio::join!(dial(), dial(), dial(), dial(), dial(), dial(), dial(), dial());
    for outcome in [all.0, all.1, all.2, all.3, all.4, all.5, all.6, all.7] {
        told(outcome);
    }
    let sent = script.seen().matches("Basic").count();
    assert!((1..=3).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_does_not_hold_up_others_for_long() {
    let (memory, proxy) = (memory(), proxy(ProxyAuth::Auto, true));
    let good = || Script::new(&[vec![asks("Basic realm=x"), OK.to_owned()]]);
    assert!(good().tunnel(&memory, &proxy).await.is_ok());
    let known = memory.of(&proxy);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(known.leave().await.unwrap());
    }
    let before = Instant::now();
    let script = Script::new(&[vec![OK.to_owned()]]);
    assert!(script.tunnel(&memory, &proxy).await.is_ok());
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_took_better_never_gets_the_password_in_clear() {
    let (memory, mut proxy) = (memory(), proxy(ProxyAuth::Auto, true));
    let type_2 = format!("NTLM {TYPE_2}");
    let good = Script::new(&[vec![asks("NTLM"), asks(&type_2), OK.to_owned()]]);
    assert!(good.tunnel(&memory, &proxy).await.is_ok());
    let basic = || Script::new(&[vec![asks("Basic realm=x"), OK.to_owned()]]);
    let script = basic();
    let (text, advice) = told(script.tunnel(&memory, &proxy).await);
    assert!(text.contains("it took a login by NTLM before"), "{text}");
    assert!(advice.contains("proxy_auth = \"basic\""), "{advice}");
    assert_eq!(script.seen(), "| NTLM1");
    proxy.scheme = ProxyScheme::Https; // the password is within TLS
    assert!(basic().tunnel(&memory, &proxy).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_closes_again_is_not_asked_for_ever() {
    let script = Script::new(&[vec![asks("Basic realm=x")], vec![]]);
    let (text, _) = told(script.tunnel(&memory(), &proxy(ProxyAuth::Auto, true)).await);
    assert!(text.contains("it closed the connection"), "{text}");
    assert_eq!(script.seen(), "| - |");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_matter_of_a_login_is_told_as_before() {
    let forbids = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
    let script = Script::new(&[vec![asks("Basic realm=x"), forbids.clone()], vec![forbids]]);
    let (memory, proxy) = (memory(), proxy(ProxyAuth::Auto, true));
    let (text, advice) = told(script.tunnel(&memory, &proxy).await);
    assert!(text.contains("answered 403") && advice.contains("SSL_ports"), "{text}: {advice}");
    told(script.tunnel(&memory, &proxy).await);
    assert_eq!(script.seen(), "| - Basic | Basic", "the login was right");
}
