//! `proxy.toml`, checked: what is here can be run with.
//!
//! `file` mirrors the file as written, `check` makes of it what is here: validated data, so that
//! no other room asks "is it set?". Config is data: it must never know token, net, tokio, or any
//! machinery that uses it.

mod app;
mod check;
mod file;
mod form;
mod limits;
mod outbound;
mod problem;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use secrecy::SecretString;

pub use self::{
    app::{Audience, CertificateFiles, Credential, Date, EntraApp, Expiry, Grant, IdentitySource},
    limits::Limits,
    outbound::{NoProxy, Outbound, Proxy, ProxyAuth, ProxyCredentials, ProxyScheme, Way},
    problem::ConfigError,
};
use self::{check::Checker, problem::Problems};
use crate::mail::Protocol;

/// Reads and checks a configuration file.
///
/// # Errors
/// All that is wrong with it, one line each: file, line, key, what to write. No value of a secret
/// is quoted.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let (name, text) = read(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    parse(&name, &text, folder, &|variable| std::env::var(variable).ok())
}

/// Reads `[status]` of a configuration file, if it is there, and nothing else: no secret, and a
/// mistake elsewhere does not matter.
///
/// # Errors
/// A file that cannot be read or is no TOML, and what is wrong with this table.
pub fn load_status(path: &Path) -> Result<Option<Status>, ConfigError> {
    let (name, text) = read(path)?;
    let mut problems = Problems::new(&text);
    let file = match toml::from_str(&text) {
        Ok(file::StatusOnly { status }) => status,
        Err(error) => {
            problems.unreadable(error);
            None
        }
    };
    let mut checker = Checker { problems, folder: Path::new(""), environment: &|_| None };
    let status = file.and_then(|table| checker.status(&table, &[]));
    checker.problems.verdict(&name)?;
    Ok(status)
}

/// What messages call the file, and its text.
fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let words = format!("cannot read it: {error}; name the file with --config PATH");
            Err(ConfigError::whole(&name, words))
        }
    }
}

/// Checks a configuration that is already read. `name` is what messages call it, relative paths in
/// it start at `folder`, and `environment` answers for variables.
///
/// # Errors
/// As [`load`].
pub fn parse(
    name: &str,
    text: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let mut problems = Problems::new(text);
    let file = match toml::from_str(text) {
        Ok(file) => Some(file),
        Err(error) => {
            problems.unreadable(error);
            None
        }
    };
    let mut checker = Checker { problems, folder, environment };
    let config = file.and_then(|file| checker.config(&file));
    let warnings = checker.problems.verdict(name)?;
    config
        .map(|config| Config { warnings, ..config })
        .ok_or_else(|| ConfigError::whole(name, "unusable".to_owned()))
}

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `[[listener]]` tables, in file order; at least one.
    pub listeners: Vec<Arc<Listener>>,
    /// The `[[account]]` tables, in file order; at least one.
    pub accounts: Vec<Arc<Account>>,
    /// The `[outbound]` table, or what the environment says in its absence.
    pub outbound: Outbound,
    /// The `[limits]` table.
    pub limits: Limits,
    /// The `[log]` table.
    pub log: Log,
    /// The `[vault]` table; `None` where the file has none, and then tokens live in memory only.
    pub vault: Option<VaultFiles>,
    /// The `[status]` table; `None` where the file has none, and then nobody can look.
    pub status: Option<Status>,
    /// What works and should still be looked at.
    pub warnings: Vec<String>,
}

impl Config {
    /// Whether a user's tokens come from this app: by the account that covers the user most closely,
    /// or by one whose mailbox, behind a short name, is the user's.
    pub fn covers(&self, app: &EntraApp, user: &str) -> bool {
        let user = user.to_ascii_lowercase();
        let closest = closest(&self.accounts, &user);
        let is_owner = |account: &&Arc<Account>| {
            account.mailbox.only().is_some_and(|owner| owner.eq_ignore_ascii_case(&user))
        };
        let owned = self.accounts.iter().filter(is_owner);
        closest.into_iter().chain(owned).any(|account| account.entra.name == app.name)
    }

    /// The apps of its accounts, each once.
    pub fn apps(&self) -> Vec<Arc<EntraApp>> {
        let mut apps: Vec<Arc<EntraApp>> = Vec::new();
        for app in self.accounts.iter().map(|account| &account.entra) {
            if !apps.iter().any(|known| Arc::ptr_eq(known, app)) {
                apps.push(Arc::clone(app));
            }
        }
        apps
    }
}

/// A local port: `[[listener]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it listens.
    pub bind: SocketAddr,
    /// Where its sessions go.
    pub upstream: Upstream,
    /// Who may connect. Never empty: loopback where the file names nobody.
    pub allow: Vec<IpNet>,
    /// The account that everyone who may connect is, without a login. SMTP only, and only with an
    /// allow list that the file names.
    pub account: Option<Pinned>,
    /// Whether a client may bring a token of its own (XOAUTH2, OAUTHBEARER), which is passed on.
    pub pass_tokens: bool,
    /// TLS towards the client; `None`: all is spoken in clear, and STARTTLS is not offered.
    pub tls: Option<LocalTls>,
}

/// TLS towards the client.
#[derive(Clone, Debug)]
pub struct LocalTls {
    /// When it begins.
    pub mode: TlsMode,
    /// Whether no login is taken before it.
    pub required: bool,
    /// Certificate and key.
    pub files: TlsFiles,
}

/// When TLS towards the client begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsMode {
    /// When the client asks for it (RFC 3207, RFC 2595).
    StartTls,
    /// At once (RFC 8314).
    Implicit,
    /// As the client likes: at once, when it asks, or never.
    Auto,
}

/// PEM files of a listener's certificate and its key. Understood where they are used, and anew when
/// they change.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TlsFiles {
    /// The server's certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key; may be the same file.
    pub key: PathBuf,
    /// Whether both are made at first use, where they are absent.
    pub self_signed: bool,
}

/// Where operators look: `[status]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Who may look. Never empty: loopback where the file names nobody.
    pub allow: Vec<IpNet>,
}

/// The account of a listener that asks for no login.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The user name, as written; covered by `account`.
    pub user: String,
    /// The account. Its grant needs no password.
    pub account: Arc<Account>,
}

/// A mail server to relay to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Upstream {
    /// DNS name or address. Never resolved locally when a proxy leads there.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
}

/// How an upstream connection is secured; never not at all.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Security {
    /// STARTTLS, required (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

/// Who may log in, and as what: `[[account]]`.
#[derive(Clone, Debug)]
pub struct Account {
    /// Which user names it covers.
    pub user: UserPattern,
    /// The argon2id PHC string that a password must match; `None` with [`Grant::Password`], where
    /// Entra judges the password, and for an account that only a pinned listener uses, which
    /// nobody can log in to.
    pub password_hash: Option<String>,
    /// Whose mailbox XOAUTH2 names.
    pub mailbox: Mailbox,
    /// The app that gets the tokens.
    pub entra: Arc<EntraApp>,
    /// From where it may be used; empty: from wherever the listener allows.
    pub allow: Vec<IpNet>,
}

/// The account that covers a user, whose name is in lower case, most closely: exact before
/// `*@domain` before `*`.
pub fn closest<'a>(accounts: &'a [Arc<Account>], user: &str) -> Option<&'a Arc<Account>> {
    let ranked = accounts.iter().filter_map(|account| Some((account.user.rank(user)?, account)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, account)| account)
}

/// The user names that an account covers. Compared without regard to ASCII case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UserPattern {
    /// This name only; lower case.
    Exact(String),
    /// Any name at this domain (`*@domain`); lower case, without the `*@`.
    Domain(String),
    /// Every name (`*`).
    Any,
}

impl UserPattern {
    /// How closely it covers a user, whose name is in lower case: the lowest rank has the user.
    /// `None` where it does not cover the user.
    pub fn rank(&self, user: &str) -> Option<u8> {
        let domain = user.rsplit_once('@').map(|(_, domain)| domain);
        match self {
            Self::Exact(name) => (name == user).then_some(0),
            Self::Domain(name) => (Some(name.as_str()) == domain).then_some(1),
            Self::Any => Some(2),
        }
    }
}

/// As it is written in the file.
impl fmt::Display for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Whose mailbox XOAUTH2 names, per protocol; `None` means the user's own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mailbox {
    /// For SMTP.
    pub smtp: Option<String>,
    /// For IMAP.
    pub imap: Option<String>,
    /// For POP3.
    pub pop3: Option<String>,
}

impl Mailbox {
    /// The one address that is set, where no other is.
    pub fn only(&self) -> Option<&str> {
        let mut set = [&self.smtp, &self.imap, &self.pop3].into_iter().flatten();
        let first = set.next()?;
        set.all(|other| other.eq_ignore_ascii_case(first)).then_some(first.as_str())
    }

    /// The mailbox for this protocol, if one other than the user's own.
    pub fn for_protocol(&self, protocol: Protocol) -> Option<&str> {
        match protocol {
            Protocol::Smtp => self.smtp.as_deref(),
            Protocol::Imap => self.imap.as_deref(),
            Protocol::Pop3 => self.pop3.as_deref(),
        }
    }
}

/// Where tokens are kept over a restart, encrypted.
#[derive(Clone, Debug)]
pub struct VaultFiles {
    /// The vault itself.
    pub path: PathBuf,
    /// What it is encrypted with.
    pub key: VaultKey,
}

/// Where the vault's key comes from.
#[derive(Clone, Debug)]
pub enum VaultKey {
    /// A file, which is made at first use, with mode 0600, where it is absent.
    File(PathBuf),
    /// 32 octets in base64, from the environment or a systemd credential.
    Value(SecretString),
}

/// The `[log]` table.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// A `tracing` filter directive, such as `info` or `mailwicket=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
