//! `proxy.toml` as it is written: the mirror that serde fills, and nothing more.
//!
//! Keys of the contract that this version does not serve yet are here too, so that they are
//! refused with words and never silently ignored. [`super::check`] makes a
//! [`Config`](super::Config) of it. No value's `Debug` shows a secret.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use toml::{Spanned, value::Datetime};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) entra: BTreeMap<String, Spanned<Entra>>,
    #[serde(default)]
    pub(super) listener: Vec<Spanned<Listener>>,
    #[serde(default)]
    pub(super) account: Vec<Spanned<Account>>,
    pub(super) outbound: Option<Spanned<Outbound>>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) log: Log,
    pub(super) status: Option<Spanned<Status>>,
    pub(super) vault: Option<Spanned<Vault>>,
}

/// The file, where only `[status]` matters.
#[derive(Deserialize)]
pub(super) struct StatusOnly {
    pub(super) status: Option<Spanned<Status>>,
}

/// `[entra.NAME]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entra {
    #[serde(alias = "directory-id")]
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(alias = "client-id")]
    pub(super) client_id: Option<Spanned<String>>,
    pub(super) grant: Spanned<String>,
    pub(super) cloud: Option<Spanned<String>>,
    #[serde(alias = "secret")]
    pub(super) client_secret: Option<Spanned<Secrets>>,
    pub(super) client_secret_expires: Option<Spanned<Day>>,
    pub(super) certificate: Option<Spanned<KeyPair>>,
    pub(super) token_file: Option<Spanned<PathBuf>>,
    pub(super) identity_endpoint: Option<Spanned<String>>,
    #[serde(alias = "tenant-authority")]
    pub(super) authority: Option<Spanned<String>>,
    pub(super) scope: Option<Spanned<String>>,
    pub(super) resource: Option<Spanned<String>>,
    pub(super) redirect_uri: Option<Spanned<String>>,
    pub(super) password_accepted_for: Option<Spanned<String>>,
    #[serde(alias = "token-expiry-margin-time")]
    pub(super) token_expiry_margin: Option<Spanned<String>>,
}

/// `certificate = { ... }`
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "{ certificate = \"app.pem\", key = \"app.key\" } or { certificate = \"app.pfx\" }"
)]
pub(super) struct KeyPair {
    pub(super) certificate: Spanned<PathBuf>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) password: Option<Spanned<Secret>>,
}

/// A day, as TOML writes it or in quotes.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a day such as \"2027-03-01\"")]
pub(super) enum Day {
    Quoted(String),
    Bare(Datetime),
}

/// `[[listener]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) protocol: Spanned<String>,
    pub(super) bind: Spanned<String>,
    #[serde(default)]
    pub(super) upstream: Upstream,
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) tls: Option<Spanned<Tls>>,
    pub(super) account: Option<Spanned<String>>,
    pub(super) pass_tokens: Option<Spanned<bool>>,
}

/// `tls = { ... }`
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "{ mode = \"starttls\", certificate = \"cert.pem\", key = \"cert.key\" }"
)]
pub(super) struct Tls {
    pub(super) mode: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) self_signed: Option<Spanned<bool>>,
    pub(super) required: Option<Spanned<bool>>,
}

/// `upstream = { ... }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) host: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) security: Option<Spanned<String>>,
}

/// `[[account]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    pub(super) user: Spanned<String>,
    pub(super) password_hash: Option<Spanned<String>>,
    pub(super) mailbox: Option<Spanned<Mailbox>>,
    pub(super) entra: Option<Spanned<String>>,
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
}

/// `mailbox = "..."` or one for each protocol.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write an address, or { smtp = \"...\", imap = \"...\", pop3 = \"...\" }"
)]
pub(super) enum Mailbox {
    All(String),
    Each(MailboxEach),
}

/// `mailbox = { smtp = "...", ... }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailboxEach {
    pub(super) smtp: Option<String>,
    pub(super) imap: Option<String>,
    pub(super) pop3: Option<String>,
}

/// `[outbound]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outbound {
    pub(super) proxy: Option<Spanned<Proxies>>,
    pub(super) token_proxy: Option<Spanned<Proxies>>,
    pub(super) username: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<Secret>>,
    pub(super) proxy_auth: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) no_proxy: Vec<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

/// `[status]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {
    pub(super) bind: Option<Spanned<String>>,
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
}

/// `proxy = "..."`, or several in an array.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write \"http://HOST:PORT\", or several such in an array")]
pub(super) enum Proxies {
    One(String),
    Several(Vec<String>),
}

impl Proxies {
    /// In the order in which they are written.
    pub(super) fn urls(&self) -> &[String] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Several(urls) => urls,
        }
    }
}

/// `[vault]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vault {
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<Secret>>,
}

/// `[limits]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) max_sessions: Option<Spanned<usize>>,
    pub(super) max_sessions_per_address: Option<Spanned<usize>>,
    pub(super) login_timeout: Option<Spanned<String>>,
    pub(super) smtp_idle_timeout: Option<Spanned<String>>,
    pub(super) imap_idle_timeout: Option<Spanned<String>>,
    pub(super) pop3_idle_timeout: Option<Spanned<String>>,
    pub(super) shutdown_grace: Option<Spanned<String>>,
    pub(super) lockout_after: Option<Spanned<usize>>,
    pub(super) lockout_time: Option<Spanned<String>>,
    pub(super) max_sessions_per_account: Option<Spanned<usize>>,
    pub(super) smtp_sessions_per_mailbox: Option<Spanned<usize>>,
    pub(super) queue_timeout: Option<Spanned<String>>,
}

/// `[log]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
}

/// A value marked (secret): the string itself, or where it is kept.
pub(super) enum Secret {
    Literal(SecretString),
    File(PathBuf),
    Env(String),
    /// A file in the folder that systemd names.
    Credential(String),
    /// None of these. What it is nobody is told, since a secret may be in it.
    Wrong,
}

impl<'de> Deserialize<'de> for Secret {
    /// By hand, and never a failure: serde's own message would quote what is there and could not
    /// name the key, so the check says it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Literal(SecretString),
            Table(BTreeMap<String, String>),
            Other(IgnoredAny),
        }
        let Form::Table(table) = (match Form::deserialize(deserializer)? {
            Form::Literal(secret) => return Ok(Self::Literal(secret)),
            other => other,
        }) else {
            return Ok(Self::Wrong);
        };
        let mut entries = table.into_iter();
        let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
            return Ok(Self::Wrong);
        };
        Ok(match kind.as_str() {
            "file" => Self::File(value.into()),
            "env" => Self::Env(value),
            "credential" => Self::Credential(value),
            _ => Self::Wrong,
        })
    }
}

/// One (secret), or several in an array.
pub(super) struct Secrets(pub(super) Vec<Secret>);

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Several(Vec<Secret>),
            One(Secret),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::Several(secrets) => secrets,
            Form::One(secret) => vec![secret],
        }))
    }
}
