//! The dance against proxies that are written down: what each connection is answered, and what it
//! was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::advance,
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
            far.write_all(answer.as_bytes()).await.unwrap();
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
            vec![vec![asks("NTLM"), asks(&type_2), ok()]],
            "| - NTLM1 NTLM3",
            vec![vec![asks("Basic realm=x"), ok()]],
            "| NTLM1 Basic",
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
            "log",
        ),
        (
            Auto,
            true,
            vec![vec![asks(all), asks(&type_2)]],
            "| - NTLM1",
            "closed the connection in the middle of the login by NTLM",
            "log",
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
    let script = Script::new(&[refuses(), refuses()]);
    // All at once: one tries, and the others hear of it.
    let both = tokio::join!(script.tunnel(&memory, &proxy), script.tunnel(&memory, &proxy));
    assert!(told(both.0).0.contains("does not accept"));
    let (text, _) = told(both.1);
    assert!(text.contains("not tried again for 120 s"), "{text}");
    assert_eq!(script.seen(), "| - Basic");
    advance(Duration::from_secs(119)).await;
    assert!(told(script.tunnel(&memory, &proxy).await).0.contains("for 1 s"));
    advance(Duration::from_secs(1)).await;
    assert!(told(script.tunnel(&memory, &proxy).await).0.contains("does not accept"));
    assert_eq!(script.seen(), "| - Basic");
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
