//! `mailwicket demo`: mailwicket at work on an embedded Microsoft 365.
//!
//! Everything runs in this process and on loopback: Entra, Exchange Online, and a corporate proxy
//! that both legs go through. The configuration that is printed is the one that runs, read by the
//! same code as a `proxy.toml` on disk. Only [`serve`] leaves this machine: it is the Microsoft 365
//! alone, for a mailwicket elsewhere.

mod client;
mod serve;
mod tour;

use std::{net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};

use super::{complain, exit, logging, run::Signals, say};
use crate::{
    config::{self, Config},
    daemon::Daemon,
    sandbox::{Options, Sandbox, world::contoso},
    secret,
};

/// The user of the demo's client-credentials account.
const USER: &str = "scanner@contoso.com";
/// Its local password: known to the demo and to the reader, and good for nothing else.
const PASSWORD: &str = "demo-password";
/// A mailbox whose SMTP AUTH switch is off.
const DISABLED: &str = "disabled@contoso.com";
/// The login at the embedded proxy.
const PROXY_LOGIN: (&str, &str) = ("svc-mail", "proxy-password");

pub(super) fn demo(once: bool, serve_in: Option<&Path>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("mailwicket: no runtime: {error}"));
            return exit::software();
        }
    };
    let outcome = runtime.block_on(async {
        match serve_in {
            Some(folder) => serve::serve(folder).await,
            None if once => tour().await,
            None => stay().await,
        }
    });
    match outcome {
        Ok(()) => exit::ok(),
        Err(error) => {
            complain(&format_args!("mailwicket demo: {error:#}"));
            exit::unavailable()
        }
    }
}

/// Where old programs connect.
struct Doors {
    smtp: SocketAddr,
    imap: SocketAddr,
    pop3: SocketAddr,
}

/// The demo's parts, running.
struct Stage {
    sandbox: Sandbox,
    doors: Doors,
    /// What runs, as the reader would write it.
    proxy_toml: String,
    daemon: Daemon,
}

async fn stay() -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let Stage { sandbox, doors, proxy_toml, daemon } = set_up(Duration::from_secs(5)).await?;
    logging::install(&config::Log::default());
    let Doors { smtp, imap, pop3 } = doors;
    let (host, port) = (smtp.ip(), smtp.port());
    say(&format_args!(
        "\
mailwicket runs on an embedded Microsoft 365. Nothing leaves this machine.

  mailwicket            {smtp} (SMTP), {imap} (IMAP), {pop3} (POP3), all in clear;
                        user {USER}, password {PASSWORD}
  corporate proxy       {proxy}; asks for a login, and knows the next two by their real names
  Entra                 {entra}
  Exchange Online       {exo_smtp} (SMTP), {exo_imap} (IMAP), {exo_pop3} (POP3)

Send a message with swaks:

  swaks --server {host} --port {port} --auth LOGIN --auth-user {USER} --auth-password {PASSWORD} \\
        --from {USER} --to {USER} --body 'Hello from an old program'

or with Python:

  python3 -c 'import smtplib; s = smtplib.SMTP(\"{host}\", {port}); s.login(\"{USER}\", \"{PASSWORD}\"); \\
  s.sendmail(\"{USER}\", \"{USER}\", \"Subject: demo\\r\\n\\r\\nHello from an old program\\r\\n\"); s.quit()'

and read it with curl:

  curl --user {USER}:{PASSWORD} 'imap://{imap}/INBOX;MAILINDEX=1'
  curl --user {USER}:{PASSWORD} 'pop3://{pop3}/1'

Try a wrong password, or the user {DISABLED} (same password), whose SMTP AUTH is switched off;
Exchange takes its time to refuse. The log below says why and what to do. Ctrl-C ends the demo.

The configuration that runs (proxy.toml):

{toml}
The log:
",
        proxy = sandbox.proxy(),
        entra = sandbox.authority(),
        exo_smtp = sandbox.smtp(),
        exo_imap = sandbox.imap(),
        exo_pop3 = sandbox.pop3(),
        toml = indent(&proxy_toml),
    ));
    let (running, reloads) = mpsc::channel(1);
    tokio::join!(daemon.run(reloads), async {
        signals.asked_to_stop().await;
        drop(running);
    });
    sandbox.stop().await;
    Ok(())
}

async fn tour() -> anyhow::Result<()> {
    let Stage { sandbox, doors, daemon, .. } = set_up(Duration::ZERO).await?;
    let (running, reloads) = mpsc::channel(1);
    let (_, outcome) = tokio::join!(daemon.run(reloads), async {
        let outcome = tour::walk(&sandbox, &doors).await;
        drop(running);
        outcome
    });
    sandbox.stop().await;
    outcome
}

async fn set_up(tarpit: Duration) -> anyhow::Result<Stage> {
    let credentials = Some((PROXY_LOGIN.0.to_owned(), PROXY_LOGIN.1.to_owned()));
    let options = Options { tarpit, proxy_credentials: credentials, ..Options::default() };
    let sandbox =
        Sandbox::start(options).await.context("the embedded Microsoft 365 cannot start")?;
    let mut binds = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
    for (bind, usual) in binds.iter_mut().zip([1587, 1143, 1110]) {
        *bind = free_port(usual).await;
    }
    let proxy_toml = proxy_toml(&sandbox, binds);
    let config = read(&proxy_toml).context("the demo's own configuration")?;
    let daemon = Daemon::bind(&config)?;
    let [smtp, imap, pop3] = daemon.addresses()?[..] else { bail!("not three listeners") };
    Ok(Stage { sandbox, doors: Doors { smtp, imap, pop3 }, proxy_toml, daemon })
}

/// The usual port, or any where that is taken.
async fn free_port(usual: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], usual));
    match TcpListener::bind(usual).await {
        Ok(_) => usual,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

fn proxy_toml(sandbox: &Sandbox, [smtp, imap, pop3]: [SocketAddr; 3]) -> String {
    let hash = secret::hash_password(&PASSWORD.into());
    format!(
        "\
[entra.contoso]
tenant        = \"{tenant}\"
client_id     = \"{client_id}\"
grant         = \"client_credentials\"
client_secret = {{ env = \"ENTRA_CLIENT_SECRET\" }}

[[listener]]
protocol = \"smtp\"
bind     = \"{smtp}\"

[[listener]]
protocol = \"imap\"
bind     = \"{imap}\"

[[listener]]
protocol = \"pop3\"
bind     = \"{pop3}\"

[[account]]
user          = \"{USER}\"
password_hash = \"{hash}\"

[[account]]
user          = \"{DISABLED}\"
password_hash = \"{hash}\"

[outbound]
proxy    = \"http://{proxy}\"
username = \"{login}\"
password = {{ env = \"PROXY_PASSWORD\" }}
ca_file  = '{ca_file}'
",
        tenant = contoso::TENANT_DOMAIN,
        client_id = contoso::APP_ID,
        proxy = sandbox.proxy(),
        login = PROXY_LOGIN.0,
        ca_file = sandbox.ca_file().display(),
    )
}

/// Reads the text as a file would be read, in an environment that holds the two secrets.
fn read(text: &str) -> anyhow::Result<Config> {
    let environment = |name: &str| match name {
        "ENTRA_CLIENT_SECRET" => Some(contoso::APP_SECRET.to_owned()),
        "PROXY_PASSWORD" => Some(PROXY_LOGIN.1.to_owned()),
        _ => None,
    };
    Ok(config::parse("proxy.toml", text, Path::new("."), &environment)?)
}

fn indent(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n") + "\n"
}
