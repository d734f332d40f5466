//! `mailwicket check`: what is wrong, in words.

use std::{path::Path, process::ExitCode};

use jiff::{Timestamp, tz::Offset};
use tokio::runtime::{Builder, Runtime};

use super::{complain, exit, say};
use crate::{
    config::{self, Config},
    doctor::{
        self, Finding, Verdict, Words,
        running::{self, Question},
    },
};

pub(super) fn check(path: &Path, config: &Config, offline: bool, user: Option<&str>) -> ExitCode {
    let (listeners, accounts) = (config.listeners.len(), config.accounts.len());
    say(&format_args!(
        "ok    {}: {listeners} listener{}, {accounts} account{}",
        path.display(),
        plural(listeners),
        plural(accounts)
    ));
    let today = Offset::UTC.to_datetime(Timestamp::now()).date();
    let mut findings = doctor::on_paper(config, today);
    for warning in &config.warnings {
        say(&format_args!("warn  {warning}"));
    }
    findings.iter().for_each(print);
    if !offline {
        let met = match Runtime::new() {
            Ok(runtime) => runtime.block_on(doctor::examine(config, user)),
            Err(error) => {
                complain(&format_args!("mailwicket: no runtime: {error}"));
                return exit::software();
            }
        };
        met.iter().for_each(print);
        findings.extend(met);
    }
    let failed = findings.iter().filter(|finding| finding.is_failure()).count();
    if failed == 0 {
        return exit::ok();
    }
    say(&format_args!("{failed} of {} did not work", findings.len()));
    exit::unavailable()
}

/// `check --live` and `check --ready`. Of the configuration only `[status]` is read: a mistake in a
/// file that is still being written says nothing about the program that runs.
pub(super) fn running(path: &Path, question: Question) -> ExitCode {
    let status = match config::load_status(path) {
        Ok(Some(status)) => status,
        Ok(None) => {
            complain(&format_args!(
                "{}: without [status] a running mailwicket cannot be asked; add the table, \
                 with bind = \"127.0.0.1:1580\"",
                path.display()
            ));
            return exit::config();
        }
        Err(error) => {
            complain(&error);
            return exit::config();
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("mailwicket: no runtime: {error}"));
            return exit::software();
        }
    };
    let finding = runtime.block_on(running::ask(&status, question));
    print(&finding);
    if finding.is_failure() { exit::unavailable() } else { exit::ok() }
}

fn print(Finding { what, verdict, commands }: &Finding) {
    let (mark, words) = match verdict {
        Verdict::Fine => ("ok    ", None),
        Verdict::Warning(words) => ("warn  ", Some(words)),
        Verdict::Failure(words) => ("FAIL  ", Some(words)),
    };
    say(&format_args!("{mark}{what}"));
    if let Some(Words { error, cause, remedy }) = words {
        say(&format_args!("      {error}"));
        if let Some(cause) = cause {
            say(&format_args!("      cause:  {cause}"));
        }
        if let Some(remedy) = remedy {
            say(&format_args!("      remedy: {remedy}"));
        }
    }
    for command in commands {
        say(&format_args!("        {command}"));
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
