//! `mailwicket check`: what is wrong, in words.

use std::{path::Path, process::ExitCode};

use tokio::runtime::Runtime;

use super::{complain, exit, say};
use crate::{
    config::Config,
    doctor::{self, Finding},
};

pub(super) fn check(path: &Path, config: &Config, offline: bool, user: Option<&str>) -> ExitCode {
    let (listeners, accounts) = (config.listeners.len(), config.accounts.len());
    say(&format_args!(
        "ok    {}: {listeners} listener{}, {accounts} account{}",
        path.display(),
        plural(listeners),
        plural(accounts)
    ));
    for warning in &config.warnings {
        say(&format_args!("warn  {warning}"));
    }
    if offline {
        return exit::ok();
    }
    let findings = match Runtime::new() {
        Ok(runtime) => runtime.block_on(doctor::examine(config, user)),
        Err(error) => {
            complain(&format_args!("mailwicket: no runtime: {error}"));
            return exit::software();
        }
    };
    for finding in &findings {
        print(finding);
    }
    if findings.iter().any(|finding| finding.trouble.is_some()) {
        exit::unavailable()
    } else {
        exit::ok()
    }
}

fn print(Finding { what, trouble }: &Finding) {
    let Some(trouble) = trouble else {
        return say(&format_args!("ok    {what}"));
    };
    say(&format_args!("FAIL  {what}\n      {}", trouble.error));
    if let Some(cause) = &trouble.cause {
        say(&format_args!("      cause:  {cause}"));
    }
    if let Some(remedy) = &trouble.remedy {
        say(&format_args!("      remedy: {remedy}"));
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
