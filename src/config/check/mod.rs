//! Makes a [`Config`] of a [`File`], or says all that is wrong with it.
//!
//! Each message names the key, what is wrong, and what to write. Files that are named are read
//! here, and the environment through a function, so that nothing further down fails for a
//! misspelt path.

mod account;
mod app;
mod listener;
mod outbound;

use std::{
    ops::{Range, RangeInclusive},
    path::Path,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::{
    Config, Limits, Log, LogFormat,
    file::{self, File, Secret},
    problem::Problems,
};

/// What the whole check needs to know of the world.
pub(super) struct Checker<'a> {
    pub(super) problems: Problems<'a>,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Checker<'_> {
    pub(super) fn config(&mut self, file: &File) -> Option<Config> {
        for (section, name) in [(&file.status, "[status]"), (&file.vault, "[vault]")] {
            self.not_yet(section.as_ref(), name);
        }
        let apps = self.apps(&file.entra);
        let listeners = self.listeners(&file.listener);
        let accounts = self.accounts(&file.account, &apps, file.entra.is_empty());
        let outbound = self.outbound(file.outbound.as_ref());
        let limits = self.limits(&file.limits);
        let log = self.log(&file.log);
        Some(Config {
            listeners,
            accounts,
            outbound: outbound?,
            limits,
            log,
            vault: None,
            warnings: Vec::new(),
        })
    }

    fn limits(&mut self, given: &file::Limits) -> Limits {
        self.not_yet(given.smtp_sessions_per_mailbox.as_ref(), "limits.smtp_sessions_per_mailbox");
        let usual = Limits::default();
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        Limits {
            max_sessions: self.count(
                given.max_sessions.as_ref(),
                "limits.max_sessions",
                usual.max_sessions,
            ),
            max_sessions_per_address: self.count(
                given.max_sessions_per_address.as_ref(),
                "limits.max_sessions_per_address",
                usual.max_sessions_per_address,
            ),
            login_timeout: self.duration(
                given.login_timeout.as_ref(),
                "limits.login_timeout",
                usual.login_timeout,
                second..=day,
            ),
            smtp_idle_timeout: self.duration(
                given.smtp_idle_timeout.as_ref(),
                "limits.smtp_idle_timeout",
                usual.smtp_idle_timeout,
                second..=day,
            ),
            imap_idle_timeout: self.imap_idle(given.imap_idle_timeout.as_ref()),
            pop3_idle_timeout: self.duration(
                given.pop3_idle_timeout.as_ref(),
                "limits.pop3_idle_timeout",
                usual.pop3_idle_timeout,
                second..=day,
            ),
            shutdown_grace: self.duration(
                given.shutdown_grace.as_ref(),
                "limits.shutdown_grace",
                usual.shutdown_grace,
                Duration::ZERO..=day,
            ),
        }
    }

    fn imap_idle(&mut self, given: Option<&Spanned<String>>) -> Duration {
        let key = "limits.imap_idle_timeout";
        let usual = Limits::default().imap_idle_timeout;
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let idle = self.duration(given, key, usual, second..=day);
        if let Some(given) = given.filter(|_| idle < Duration::from_secs(30 * 60)) {
            let words = format!(
                "{key}: clients that wait for mail (IDLE) are silent for 29 minutes, and would be cut off; write \"35m\""
            );
            self.problems.warn(given.span(), &words);
        }
        idle
    }

    fn log(&mut self, given: &file::Log) -> Log {
        let mut log = Log::default();
        if let Some(format) = &given.format {
            match format.get_ref().as_str() {
                "text" => log.format = LogFormat::Text,
                "json" => log.format = LogFormat::Json,
                other => self.problems.at(
                    format.span(),
                    format!("log.format: \"{other}\" is neither \"text\" nor \"json\""),
                ),
            }
        }
        if let Some(level) = &given.level {
            if ["error", "warn", "info", "debug", "trace"].contains(&level.get_ref().as_str()) {
                log.level.clone_from(level.get_ref());
            } else {
                let words = format!(
                    "log.level: \"{}\" is none of error, warn, info, debug, trace",
                    level.get_ref()
                );
                self.problems.at(level.span(), words);
            }
        }
        log
    }

    /// The value behind a secret; a trailing line end is dropped.
    pub(super) fn secret(&mut self, key: &str, given: &Spanned<Secret>) -> Option<SecretString> {
        let found = match given.get_ref() {
            Secret::Literal(secret) => Ok(secret.clone()),
            Secret::Env(name) => match (self.environment)(name) {
                Some(value) => Ok(value.into()),
                None => Err(format!(
                    "{key}: the environment has no variable {name}; set it, or use {{ file = \"PATH\" }}"
                )),
            },
            Secret::File(path) => self.secret_file(key, given.span(), path),
        };
        let value = match found {
            Ok(value) => value,
            Err(words) => {
                self.problems.at(given.span(), words);
                return None;
            }
        };
        let trimmed = value.expose_secret().trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            self.problems.at(given.span(), format!("{key} is empty"));
            return None;
        }
        Some(trimmed.to_owned().into())
    }

    fn secret_file(
        &mut self,
        key: &str,
        span: Range<usize>,
        path: &Path,
    ) -> Result<SecretString, String> {
        let path = self.folder.join(path);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!(
                "{key}: cannot read {}: {error}; mend the path or the file's permissions",
                path.display()
            )
        })?;
        if is_world_readable(&path) {
            let words = format!(
                "{key}: everybody on this machine can read {}; chmod 600 it",
                path.display()
            );
            self.problems.warn(span, &words);
        }
        Ok(text.into())
    }

    fn duration(
        &mut self,
        given: Option<&Spanned<String>>,
        key: &str,
        usual: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(given) = given else { return usual };
        match humantime::parse_duration(given.get_ref().trim()) {
            Ok(duration) if bounds.contains(&duration) => duration,
            Ok(_) => {
                let (low, high) = (
                    humantime::format_duration(*bounds.start()),
                    humantime::format_duration(*bounds.end()),
                );
                self.problems.at(given.span(), format!("{key} must be from {low} to {high}"));
                usual
            }
            Err(_) => {
                let words = format!(
                    "{key}: \"{}\" is no duration; write such as \"30s\", \"5m\" or \"1h\"",
                    given.get_ref()
                );
                self.problems.at(given.span(), words);
                usual
            }
        }
    }

    fn count(&mut self, given: Option<&Spanned<usize>>, key: &str, usual: usize) -> usize {
        match given.map(|given| (*given.get_ref(), given.span())) {
            None => usual,
            Some((number @ 1..=100_000, _)) => number,
            Some((_, span)) => {
                self.problems.at(span, format!("{key} must be from 1 to 100000"));
                usual
            }
        }
    }

    fn not_yet<T>(&mut self, key: Option<&Spanned<T>>, name: &str) {
        if let Some(key) = key {
            self.problems
                .at(key.span(), format!("{name} is not available in this version; remove it"));
        }
    }
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Elsewhere access is not a matter of mode bits.
#[cfg(not(unix))]
fn is_world_readable(_: &Path) -> bool {
    false
}
