//! `proxy.toml`, checked: what is here can be run with.
//!
//! `file` mirrors the file as written, `check` makes of it what is here: validated data, so that
//! no other room asks "is it set?". Config is data: it must never know token, net, tokio, or any
//! machinery that uses it.

mod check;
mod file;
mod form;
mod problem;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use jiff::{Timestamp, tz::Offset};
use secrecy::SecretString;

pub use self::problem::ConfigError;
use self::{check::Checker, problem::Problems};
use crate::mail::Protocol;

/// A secret that ends is told of when fewer days than this are left.
const EXPIRY_NOTICE: i32 = 31;

/// Reads and checks a configuration file.
///
/// # Errors
/// All that is wrong with it, one line each: file, line, key, what to write. No value of a secret
/// is quoted.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::whole(
            &name,
            format!("cannot read it: {error}; name the file with --config PATH"),
        )
    })?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    parse(&name, &text, folder, &|variable| std::env::var(variable).ok())
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
    let today = Offset::UTC.to_datetime(Timestamp::now()).date();
    parse_on(today, name, text, folder, environment)
}

/// The same on a given day.
fn parse_on(
    today: Date,
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
    let mut checker = Checker { problems, folder, environment, today };
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
    /// What works and should still be looked at.
    pub warnings: Vec<String>,
}

/// One Entra app registration: `[entra.NAME]`.
#[derive(Clone, Debug)]
pub struct EntraApp {
    /// The table's name.
    pub name: String,
    /// Tenant id or domain, or `consumers` for personal accounts.
    pub tenant: String,
    /// Application (client) id. For [`Grant::ManagedIdentity`] the user-assigned identity's, and
    /// empty for the machine's own.
    pub client_id: String,
    /// How tokens are got.
    pub grant: Grant,
    /// The authority's base URL, without a trailing slash. `http` only for a loopback host.
    pub authority: String,
    /// What tokens are for.
    pub audience: Audience,
    /// How long before expiry a token is renewed.
    pub token_expiry_margin: Duration,
    /// The day on which the client secret ends, where the file says so.
    pub secret_expires: Option<Date>,
}

impl EntraApp {
    /// The URL of the token endpoint: v2.0, or v1.0 where a resource is named in place of a scope.
    pub fn token_url(&self) -> String {
        let version = match self.audience {
            Audience::Scope(_) => "v2.0/",
            Audience::Resource(_) => "",
        };
        format!("{}/{}/oauth2/{version}token", self.authority, self.tenant)
    }

    /// The URL of the v2.0 authorization endpoint (RFC 6749 section 3.1).
    pub fn authorize_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/authorize", self.authority, self.tenant)
    }

    /// The URL of the v2.0 device authorization endpoint (RFC 8628 section 3.1).
    pub fn device_code_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/devicecode", self.authority, self.tenant)
    }

    /// An app for tests, with everything but the grant made up.
    #[cfg(test)]
    pub(crate) fn sample(grant: Grant) -> Arc<Self> {
        Arc::new(Self {
            name: "contoso".to_owned(),
            tenant: "contoso.example".to_owned(),
            client_id: "client".to_owned(),
            grant,
            authority: "https://localhost".to_owned(),
            audience: Audience::Scope("scope/.default".to_owned()),
            token_expiry_margin: Duration::from_secs(600),
            secret_expires: None,
        })
    }

    /// What to tell of a client secret that ends within 30 days of `today` or has ended: which, when,
    /// and what to do. A configuration's own warnings hold it as of the day on which it was read;
    /// whoever runs for longer asks again each day.
    pub fn expiry_warning(&self, today: Date) -> Option<String> {
        let day = self.secret_expires?;
        let left = today.until(day).map_or(i32::MAX, |span| span.get_days());
        let when = match left {
            EXPIRY_NOTICE.. => return None,
            2.. => format!("expires on {day}, in {left} days"),
            1 => format!("expires on {day}, tomorrow"),
            0 => format!("expires on {day}, today"),
            _ => format!("has expired on {day}"),
        };
        Some(format!(
            "entra.{}.client_secret {when}; make a new one in Entra (App registrations, Certificates & secrets), write it beside the old one, and its day to client_secret_expires",
            self.name
        ))
    }

    /// Whether the app itself is the identity, and not each of its users.
    pub fn is_app_only(&self) -> bool {
        matches!(self.grant, Grant::ClientCredentials { .. } | Grant::ManagedIdentity { .. })
    }
}

/// A calendar day (UTC).
pub type Date = jiff::civil::Date;

/// What a token is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// The scope as sent; for grants that give a refresh token it includes `offline_access`.
    Scope(String),
    /// The resource of the v1.0 endpoint, which Entra operated by 21Vianet is asked by password
    /// with, and [`Grant::ManagedIdentity`] always.
    Resource(String),
}

/// How an app gets its tokens.
#[derive(Clone, Debug)]
pub enum Grant {
    /// OAuth 2.0 client credentials (RFC 6749 section 4.4): one token of the app for all mailboxes.
    /// `client_credentials`, and `workload_identity` with [`Credential::Federated`].
    ClientCredentials {
        /// How the app proves who it is.
        credential: Credential,
    },
    /// Resource-owner password credentials (RFC 6749 section 4.3): a token for each user, for the
    /// password that the user typed.
    Password {
        /// How the app proves who it is; none for a public client.
        credential: Option<Credential>,
        /// How long an accepted password is believed before Entra is asked again.
        accepted_for: Duration,
    },
    /// A user signs in once in a browser (RFC 6749 section 4.1, RFC 7636); from then on the refresh
    /// token in the vault does.
    AuthorizationCode {
        /// How the app proves who it is; none for a public client.
        credential: Option<Credential>,
        /// Where the browser comes back to: `http://localhost[:PORT][/PATH]`. Without a port a free
        /// one is taken, which Entra lets pass for `localhost`.
        redirect_uri: String,
    },
    /// The same, on any device that has a browser (RFC 8628).
    DeviceCode {
        /// How the app proves who it is; none for a public client.
        credential: Option<Credential>,
    },
    /// The identity of the Azure machine or service that mailwicket runs on.
    ManagedIdentity {
        /// Where it is asked for.
        source: IdentitySource,
    },
}

impl Grant {
    /// Client credentials with this secret, for tests.
    #[cfg(test)]
    pub(crate) fn of_app(secret: &str) -> Self {
        Self::ClientCredentials { credential: Credential::Secrets(vec![secret.into()]) }
    }

    /// A public client's password grant, for tests.
    #[cfg(test)]
    pub(crate) fn by_password() -> Self {
        Self::Password { credential: None, accepted_for: Duration::from_secs(12 * 3600) }
    }

    /// Whether a person must have signed in with `mailwicket sign-in` first.
    pub fn needs_sign_in(&self) -> bool {
        matches!(self, Self::AuthorizationCode { .. } | Self::DeviceCode { .. })
    }

    /// The app's credential, where it has one.
    pub fn credential(&self) -> Option<&Credential> {
        match self {
            Self::ClientCredentials { credential } => Some(credential),
            Self::Password { credential, .. }
            | Self::AuthorizationCode { credential, .. }
            | Self::DeviceCode { credential } => credential.as_ref(),
            Self::ManagedIdentity { .. } => None,
        }
    }

    /// Its name in `proxy.toml`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials { credential: Credential::Federated { .. } } => {
                "workload_identity"
            }
            Self::ClientCredentials { .. } => "client_credentials",
            Self::Password { .. } => "password",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::DeviceCode { .. } => "device_code",
            Self::ManagedIdentity { .. } => "managed_identity",
        }
    }
}

/// How an app proves to Entra who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Client secrets, at least one: during a rotation the next is tried where one is refused.
    Secrets(Vec<SecretString>),
    /// A certificate's private key signs an assertion (RFC 7523). The files are read anew for each
    /// request, so that a renewed certificate is used at once.
    Certificate(CertificateFiles),
    /// A token of another issuer, such as Kubernetes, is the assertion. The file is read anew for
    /// each request, because its issuer replaces it every hour or so.
    Federated {
        /// The file that holds it.
        token_file: PathBuf,
    },
}

/// Where a certificate and its private key are.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// PEM file of the certificate, or a PKCS#12 file (`.pfx`, `.p12`) of both.
    pub certificate: PathBuf,
    /// PEM file of the private key; `None` where it is in the first file.
    pub key: Option<PathBuf>,
    /// What the key or the PKCS#12 file is encrypted with.
    pub password: Option<SecretString>,
}

/// Where a managed identity's tokens come from (Microsoft: "How to use managed identities").
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// The instance metadata service of a virtual machine; its base URL, without a trailing slash.
    Imds(String),
    /// App Service, Functions and Container Apps.
    AppService {
        /// `IDENTITY_ENDPOINT`
        endpoint: String,
        /// `IDENTITY_HEADER`: whoever knows it gets tokens, so it is a secret.
        header: SecretString,
    },
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

/// The way out.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// The HTTP proxy that both legs use; `None` to go direct.
    pub proxy: Option<Proxy>,
    /// Destinations that are reached without the proxy.
    pub no_proxy: Vec<NoProxy>,
    /// PEM certificates trusted in addition to the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// An HTTP proxy that is asked to CONNECT.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its host; resolved locally.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password for Basic authentication (RFC 7617).
    pub credentials: Option<ProxyCredentials>,
}

/// A login at a proxy.
#[derive(Clone, Debug)]
pub struct ProxyCredentials {
    /// User name; holds no colon.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoProxy {
    /// `*`: everything.
    All,
    /// A domain and all below it, lower case, without a leading dot.
    Domain {
        /// The domain.
        name: String,
        /// Only this port.
        port: Option<u16>,
    },
    /// An address range; matches hosts given as addresses.
    Net(IpNet),
}

/// The `[limits]` table.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions at one time.
    pub max_sessions: usize,
    /// Sessions at one time from one address.
    pub max_sessions_per_address: usize,
    /// From accept to the answer to the login.
    pub login_timeout: Duration,
    /// Silence of both sides after which a relayed SMTP session ends.
    pub smtp_idle_timeout: Duration,
    /// The same for IMAP.
    pub imap_idle_timeout: Duration,
    /// The same for POP3.
    pub pop3_idle_timeout: Duration,
    /// Failed logins of one account within ten minutes after which it is locked; an address, when
    /// three times as many have come from it. At least 1.
    pub lockout_after: u32,
    /// How long a lockout lasts.
    pub lockout_time: Duration,
    /// How long relayed sessions may run on after SIGTERM.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1000,
            max_sessions_per_address: 500,
            login_timeout: Duration::from_secs(60),
            // RFC 5321 section 4.5.3.2: 5 minutes between commands, but 10 for the reply to the
            // final dot, when both sides are silent.
            smtp_idle_timeout: Duration::from_secs(600),
            // RFC 3501 section 5.4: at least 30 minutes; RFC 2177: a client in IDLE speaks up every
            // 29.
            imap_idle_timeout: Duration::from_secs(35 * 60),
            // RFC 1939 section 3: at least 10 minutes.
            pop3_idle_timeout: Duration::from_secs(10 * 60),
            lockout_after: 10,
            lockout_time: Duration::from_secs(5 * 60),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Silence of both sides after which a relayed session of this protocol ends.
    pub fn idle_timeout(&self, protocol: Protocol) -> Duration {
        match protocol {
            Protocol::Smtp => self.smtp_idle_timeout,
            Protocol::Imap => self.imap_idle_timeout,
            Protocol::Pop3 => self.pop3_idle_timeout,
        }
    }
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
