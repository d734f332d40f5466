//! `proxy.toml` as it is written: the mirror that serde fills, and nothing more.
//!
//! Keys of the contract that this version does not serve yet are here too, so that they are
//! refused with words and never silently ignored. [`super::check`] makes a
//! [`Config`](super::Config) of it. No value's `Debug` shows a secret.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use toml::Spanned;

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
    pub(super) status: Option<Spanned<IgnoredAny>>,
    pub(super) vault: Option<Spanned<IgnoredAny>>,
}

/// `[entra.NAME]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entra {
    #[serde(alias = "directory-id")]
    pub(super) tenant: Spanned<String>,
    #[serde(alias = "client-id")]
    pub(super) client_id: Spanned<String>,
    pub(super) grant: Spanned<String>,
    #[serde(alias = "secret")]
    pub(super) client_secret: Option<Spanned<Secret>>,
    #[serde(alias = "tenant-authority")]
    pub(super) authority: Option<Spanned<String>>,
    pub(super) scope: Option<Spanned<String>>,
    #[serde(alias = "token-expiry-margin-time")]
    pub(super) token_expiry_margin: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<IgnoredAny>>,
    pub(super) redirect_uri: Option<Spanned<IgnoredAny>>,
    pub(super) cloud: Option<Spanned<IgnoredAny>>,
}

/// `[[listener]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) protocol: Spanned<String>,
    pub(super) bind: Spanned<String>,
    #[serde(default)]
    pub(super) upstream: Upstream,
    pub(super) allow: Option<Vec<Spanned<String>>>,
    pub(super) tls: Option<Spanned<IgnoredAny>>,
    pub(super) account: Option<Spanned<IgnoredAny>>,
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
}

/// `mailbox = "..."` or one for each protocol.
#[derive(Deserialize)]
#[serde(untagged)]
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
    pub(super) proxy: Option<Spanned<String>>,
    pub(super) username: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<Secret>>,
    #[serde(default)]
    pub(super) no_proxy: Vec<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
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
    pub(super) smtp_sessions_per_mailbox: Option<Spanned<IgnoredAny>>,
}

/// `[log]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
}

/// A value marked (secret): the string itself, a file's content, or an environment variable's.
pub(super) enum Secret {
    Literal(SecretString),
    File(PathBuf),
    Env(String),
}

impl<'de> Deserialize<'de> for Secret {
    /// By hand, because serde's own message for an untagged enum says nothing, and because a value
    /// of the wrong type must not be quoted.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Literal(SecretString),
            Table(BTreeMap<String, String>),
        }
        let wrong = || {
            serde::de::Error::custom(
                "a secret is a string, { file = \"PATH\" } or { env = \"NAME\" }",
            )
        };
        match Form::deserialize(deserializer).map_err(|_| wrong())? {
            Form::Literal(secret) => Ok(Self::Literal(secret)),
            Form::Table(table) => {
                let mut entries = table.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((key, path)), None) if key == "file" => Ok(Self::File(path.into())),
                    (Some((key, name)), None) if key == "env" => Ok(Self::Env(name)),
                    _ => Err(wrong()),
                }
            }
        }
    }
}
