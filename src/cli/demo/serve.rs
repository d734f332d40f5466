//! `demo --serve DIR`: the simulated Microsoft 365 by itself, for a mailwicket in another container
//! or on another machine.
//!
//! It has the real ports and certificates for the real names, so that a network team rehearses with
//! its own proxy, its own firewall and an ordinary `proxy.toml`, which only trusts one more
//! certificate. The names must lead here for those who rehearse, by their hosts file or name
//! server. It knows nobody but contoso, and its secrets are printed in this source.

use std::{
    fs,
    io::{self, Write},
    net::Ipv4Addr,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use tokio::time::interval;

use super::{DISABLED, PASSWORD, USER};
use crate::{
    cli::{run::Signals, say},
    sandbox::{Options, Sandbox, world::contoso},
    secret,
};

/// How often what was said is printed. It is kept in memory until then.
const PRINT_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn serve(folder: &Path) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let sandbox = start(folder, [443, 587, 993, 995]).await?;
    say(&format_args!(
        "\
A simulated Microsoft 365 serves login.microsoftonline.com:443, smtp.office365.com:587,
outlook.office365.com:993 and :995 on all addresses of this machine. In {folder}:

  ca.pem         the certificate to trust: ca_file in [outbound]
  client_secret  of the app {app} in the tenant {tenant}
  proxy.toml     for a mailwicket where these names lead here; user {USER}, or {DISABLED},
                 whose SMTP AUTH is off; password {PASSWORD}

What is said here, secrets left out:
",
        folder = folder.display(),
        app = contoso::APP_ID,
        tenant = contoso::TENANT_DOMAIN,
    ));
    let mut ticks = interval(PRINT_EVERY);
    loop {
        tokio::select! {
            () = signals.asked_to_stop() => break,
            _ = ticks.tick() => print_what_was_said(&sandbox),
        }
    }
    print_what_was_said(&sandbox);
    sandbox.stop().await;
    Ok(())
}

/// Starts it and writes what others need; `proxy.toml` last, so that where it is there all is.
async fn start(
    folder: &Path,
    [entra_port, smtp_port, imap_port, pop3_port]: [u16; 4],
) -> anyhow::Result<Sandbox> {
    let unwritable = || format!("{} cannot be written", folder.display());
    fs::create_dir_all(folder).with_context(unwritable)?;
    let options = Options {
        bind_ip: Ipv4Addr::UNSPECIFIED.into(),
        keep_in: Some(folder.to_owned()),
        entra_port,
        smtp_port,
        imap_port,
        pop3_port,
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.with_context(|| {
        format!(
            "cannot serve; the ports {entra_port}, {smtp_port}, {imap_port} and {pop3_port} must be \
             free and may need root, and {} must be writable",
            folder.display()
        )
    })?;
    write(folder, "client_secret", contoso::APP_SECRET).with_context(unwritable)?;
    write(folder, "proxy.toml", &proxy_toml()).with_context(unwritable)?;
    Ok(sandbox)
}

/// A whole file or none, for us alone: `proxy.toml` names a secret, though a well-known one, and
/// what is copied from here should look as it must.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?; // mode 0600
    file.write_all(text.as_bytes())?;
    file.persist(folder.join(name))?;
    Ok(())
}

fn proxy_toml() -> String {
    format!(
        "\
# For a mailwicket where login.microsoftonline.com, smtp.office365.com and outlook.office365.com lead
# to `mailwicket demo --serve`.
[entra.contoso]
tenant        = \"{tenant}\"
client_id     = \"{client_id}\"
grant         = \"client_credentials\"
client_secret = {{ file = \"client_secret\" }}

[[listener]]
protocol = \"smtp\"
bind     = \"127.0.0.1:1587\"

[[listener]]
protocol = \"imap\"
bind     = \"127.0.0.1:1143\"

[[listener]]
protocol = \"pop3\"
bind     = \"127.0.0.1:1110\"

[[account]]
user          = \"*@contoso.com\"
password_hash = \"{hash}\"

[outbound]
ca_file  = \"ca.pem\"
# proxy    = \"http://proxy.corp.example:8080\"
",
        tenant = contoso::TENANT_DOMAIN,
        client_id = contoso::APP_ID,
        hash = secret::hash_password(&PASSWORD.into()),
    )
}

fn print_what_was_said(sandbox: &Sandbox) {
    for line in sandbox.world().take_transcript() {
        say(&format_args!("{:<12} {}", line.who, line.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[tokio::test]
    async fn what_it_writes_is_a_whole_configuration_that_trusts_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("made/too");
        let sandbox = start(&inner, [0; 4]).await.unwrap();
        assert!(sandbox.smtp().ip().is_unspecified() && sandbox.proxy().ip().is_loopback());
        let config = config::load(&inner.join("proxy.toml")).unwrap();
        assert_eq!((config.listeners.len(), config.warnings.len()), (3, 0));
        let ca = config.outbound.ca_file.unwrap();
        let pem = fs::read_to_string(&ca).unwrap();
        assert_eq!(pem, sandbox.ca_pem());
        sandbox.stop().await;
        let again = start(&inner, [0; 4]).await.unwrap();
        assert_eq!(again.ca_pem(), pem, "kept");
    }
}
