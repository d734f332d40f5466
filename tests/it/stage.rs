//! The stage that the end-to-end tests play on: the sandbox, mailwicket on it, a legacy client.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use mailwicket::{
    config::{self, Config},
    daemon::{Daemon, Reload, StartError},
    net::dial::Dialer,
    sandbox::{Options, Profile, Sandbox, world::contoso},
    secret, session,
    token::{Identity, cache::Tokens},
};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) const USER: &str = "scanner@contoso.com";
pub(crate) const PASSWORD: &str = "local-canary-password";
const PATIENCE: Duration = Duration::from_secs(20);

/// Argon2 once for the whole test run.
static HASH: LazyLock<String> = LazyLock::new(|| secret::hash_password(&PASSWORD.into()));

/// An address on which nobody listens. On Linux it has an IP of its own, so that no other test gets
/// the port meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let mine = [127, 0, 77, COUNT.fetch_add(1, Ordering::Relaxed)];
    let ip = if cfg!(target_os = "linux") { mine } else { [127, 0, 0, 1] };
    let socket = TcpListener::bind(SocketAddr::from((ip, 0))).expect("a port");
    socket.local_addr().expect("bound")
}

/// While this is held no test starts a program. One that starts has a copy of every socket of this
/// process until it executes, so that what has just been closed may be open still.
pub(crate) fn no_program_starts() -> MutexGuard<'static, ()> {
    static STARTING: Mutex<()> = Mutex::new(());
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program.
pub(crate) fn start(command: &mut Command) -> Child {
    let _alone = no_program_starts();
    command.spawn().expect("it starts")
}

/// A sandbox with mailwicket on it.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    /// Where SMTP is spoken.
    pub(crate) address: SocketAddr,
    /// Where IMAP is spoken.
    pub(crate) imap: SocketAddr,
    /// Where POP3 is spoken.
    pub(crate) pop3: SocketAddr,
    /// Where the listeners after these are.
    pub(crate) more: Vec<SocketAddr>,
    /// Where the status can be looked at, if `[status]` is there.
    pub(crate) status: Option<SocketAddr>,
    reloads: Option<mpsc::Sender<Reload>>,
    daemon: JoinHandle<usize>,
}

impl Stage {
    /// The usual stage: client credentials, through the proxy, by the real host names.
    pub(crate) async fn new() -> Self {
        Self::with("", "").await
    }

    /// With more lines for the listener, and more tables at the end.
    pub(crate) async fn with(listener: &str, more: &str) -> Self {
        let sandbox = Self::sandbox().await;
        let text = text(&sandbox, listener, more);
        let config = parse(&text);
        Self::run(sandbox, &config)
    }

    /// The usual stage with another configuration.
    pub(crate) async fn changed(change: impl FnOnce(&mut Config)) -> Self {
        let sandbox = Self::sandbox().await;
        let mut config = parse(&text(&sandbox, "", ""));
        change(&mut config);
        Self::run(sandbox, &config)
    }

    /// A token that a client of ours got for itself, in another way than through mailwicket.
    pub(crate) async fn token(&self) -> String {
        let config = parse(&text(&self.sandbox, "", ""));
        let dialer = Arc::new(Dialer::new(&config.outbound).expect("a way out"));
        let tokens = Tokens::new(
            session::courier(dialer),
            None,
            TaskTracker::new(),
            CancellationToken::new(),
        );
        let identity =
            Identity { app: Arc::clone(&config.accounts[0].entra), user: USER.to_owned() };
        let token = tokens.get(&identity, None).await.expect("a token");
        token.secret().expose_secret().to_owned()
    }

    pub(crate) async fn sandbox() -> Sandbox {
        Self::sandbox_of(Profile::default()).await
    }

    /// With this generation of Exchange Online's front ends.
    pub(crate) async fn sandbox_of(profile: Profile) -> Sandbox {
        let credentials = Some(("svc-mail".to_owned(), "proxy-canary-password".to_owned()));
        let options = Options {
            profile,
            tarpit: Duration::ZERO,
            proxy_credentials: credentials,
            ..Options::default()
        };
        Sandbox::start(options).await.expect("the sandbox starts")
    }

    pub(crate) fn run(sandbox: Sandbox, config: &Config) -> Self {
        Self::of(sandbox, Daemon::bind(config).expect("the daemon binds"))
    }

    /// With a daemon that is bound.
    pub(crate) fn of(sandbox: Sandbox, daemon: Daemon) -> Self {
        let addresses = daemon.addresses().expect("bound");
        let [address, imap, pop3, more @ ..] = &addresses[..] else {
            panic!("three listeners at least")
        };
        let (address, imap, pop3, more) = (*address, *imap, *pop3, more.to_vec());
        let status = daemon.status_address();
        let (reload, reloads) = mpsc::channel(1);
        #[allow(clippy::disallowed_methods)] // a test's own task; there is no drain to escape
        let daemon = tokio::spawn(daemon.run(reloads));
        Self { sandbox, address, imap, pop3, more, status, reloads: Some(reload), daemon }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// As SIGHUP does.
    pub(crate) async fn reload(&self, config: Config) -> Result<(), StartError> {
        let (outcome, taken) = oneshot::channel();
        let reloads = self.reloads.as_ref().expect("not stopping");
        assert!(reloads.send(Reload { config, outcome }).await.is_ok(), "the daemon runs");
        timeout(PATIENCE, taken).await.expect("an outcome in time").expect("an outcome")
    }

    /// As SIGTERM does; the rest of the drain is waited for by `ended`.
    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.reloads.take());
    }

    /// Whether the drain is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.daemon.is_finished()
    }

    /// How many sessions the drain had to cut.
    pub(crate) async fn ended(mut self) -> usize {
        self.ask_to_stop();
        timeout(PATIENCE, self.daemon).await.expect("the drain ends").expect("no panic")
    }
}

/// `proxy.toml` for the sandbox.
pub(crate) fn text(sandbox: &Sandbox, listener: &str, more: &str) -> String {
    let hash = &*HASH;
    format!(
        "\
[entra.app]
tenant = \"{tenant}\"
client_id = \"{client}\"
grant = \"client_credentials\"
client_secret = {{ env = \"SECRET\" }}

[entra.ropc]
tenant = \"{tenant}\"
client_id = \"{public}\"
grant = \"password\"

[[listener]]
protocol = \"smtp\"
bind = \"127.0.0.1:0\"
{listener}

[[listener]]
protocol = \"imap\"
bind = \"127.0.0.1:0\"

[[listener]]
protocol = \"pop3\"
bind = \"127.0.0.1:0\"

[[account]]
user = \"*@contoso.com\"
password_hash = \"{hash}\"
entra = \"app\"

[[account]]
user = \"erp@contoso.com\"
entra = \"ropc\"

[[account]]
user = \"scan\"
mailbox = \"{USER}\"
password_hash = \"{hash}\"
entra = \"app\"

[outbound]
proxy = \"http://{proxy}\"
username = \"svc-mail\"
password = \"proxy-canary-password\"
ca_file = '{ca}'
{more}
",
        tenant = contoso::TENANT_DOMAIN,
        client = contoso::APP_ID,
        public = contoso::PUBLIC_APP_ID,
        proxy = sandbox.proxy(),
        ca = sandbox.ca_file().display(),
    )
}

pub(crate) fn parse(text: &str) -> Config {
    let environment = |name: &str| (name == "SECRET").then(|| contoso::APP_SECRET.to_owned());
    config::parse("proxy.toml", text, Path::new("."), &environment)
        .expect("the configuration is valid")
}

/// A legacy client, byte for byte.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and takes the greeting.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::silent(address).await;
        let greeting = client.reply().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        client
    }

    /// Connects and takes nothing.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(address).await.expect("connects")) }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// One line as it came; empty at the end of the stream.
    pub(crate) async fn raw_line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let read = timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await;
        read.expect("a line in time").unwrap_or(0);
        line
    }

    /// One line without its end; empty at the end of the stream.
    pub(crate) async fn line(&mut self) -> String {
        String::from_utf8_lossy(&self.raw_line().await).trim_end().to_owned()
    }

    /// Says a line and takes one back.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes()).await;
        self.line().await
    }

    /// So many octets.
    pub(crate) async fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut octets)).await;
        read.expect("octets in time").expect("all of them");
        octets
    }

    /// One whole reply of SMTP; empty at the end of the stream.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let read = timeout(PATIENCE, self.stream.read_line(&mut reply))
                .await
                .expect("a reply in time");
            if read.unwrap_or(0) == 0 {
                return reply;
            }
            let last = reply.trim_end().lines().last().unwrap_or_default();
            if last.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    pub(crate) async fn log_in(&mut self, user: &str, password: &str) -> String {
        self.say("EHLO client.example").await;
        self.say("AUTH LOGIN").await;
        self.say(&BASE64_STANDARD.encode(user)).await;
        self.say(&BASE64_STANDARD.encode(password)).await
    }

    /// Logs in with AUTH PLAIN and its initial response.
    pub(crate) async fn log_in_plain(&mut self, user: &str, password: &str) -> String {
        self.say("EHLO client.example").await;
        self.say(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0{user}\0{password}"))))
            .await
    }

    /// Logs in with a token of its own.
    pub(crate) async fn log_in_with_token(&mut self, user: &str, token: &str) -> String {
        self.say("EHLO client.example").await;
        let message = format!("user={user}\x01auth=Bearer {token}\x01\x01");
        self.say(&format!("AUTH XOAUTH2 {}", BASE64_STANDARD.encode(message))).await
    }

    /// Sends a message, already dot-stuffed and ended by CRLF.
    pub(crate) async fn send(&mut self, from: &str, stuffed: &[u8]) -> String {
        let reply = self.say(&format!("MAIL FROM:<{from}>")).await;
        if !reply.starts_with("250") {
            return reply;
        }
        self.say("RCPT TO:<you@example.net>").await;
        let reply = self.say("DATA").await;
        assert!(reply.starts_with("354"), "{reply}");
        self.write(stuffed).await;
        self.write(b".\r\n").await;
        self.reply().await
    }

    /// Everything until the server closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ =
            timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("the server closes");
        rest
    }

    /// Closes the writing side only.
    pub(crate) async fn shutdown(&mut self) {
        self.stream.shutdown().await.expect("shut down");
    }
}
