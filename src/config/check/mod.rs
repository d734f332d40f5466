//! Makes a [`Config`] of a [`File`], or says all that is wrong with it.
//!
//! Each message names the key, what is wrong, and what to write. Files that are named are read
//! here, and the environment through a function, so that nothing further down fails for a
//! misspelt path.

mod account;
mod app;
mod audience;
mod cloud;
mod credential;
mod grant;
mod limits;
mod listener;
mod local_tls;
mod outbound;
mod proxy_url;
mod secret;
mod status;
mod vault;

use std::{ops::RangeInclusive, path::Path, time::Duration};

use toml::Spanned;

use self::{account::closest, listener::House};
use super::{
    Config, Log, LogFormat,
    file::{self, File},
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
        let apps = self.apps(&file.entra, file.vault.is_some());
        let pins = file.listener.iter().filter_map(|table| table.get_ref().account.as_ref());
        let pinned: Vec<_> =
            pins.filter_map(|user| closest(&file.account, user.get_ref().trim())).collect();
        let no_apps = file.entra.is_empty();
        let accounts = self.accounts(&file.account, &apps.usable, no_apps, &pinned, &file.listener);
        let house = House { clouds: &apps.clouds, written: &file.account, accounts: &accounts };
        let listeners = self.listeners(&file.listener, &house);
        let vault = file.vault.as_ref().map(|table| self.vault(table));
        let outbound = self.outbound(file.outbound.as_ref());
        let limits = self.limits(&file.limits);
        let status = file.status.as_ref().map(|table| self.status(table, &listeners));
        let log = self.log(&file.log);
        Some(Config {
            listeners,
            accounts: accounts.into_iter().flatten().collect(),
            outbound: outbound?,
            limits,
            log,
            vault: vault.flatten(),
            status: status.flatten(),
            warnings: Vec::new(),
        })
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
}
