//! `mailwicket sign-in USER`: a person signs in once, in a browser here or anywhere.

use std::{env, process::ExitCode};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    runtime::Runtime,
    sync::mpsc,
    task,
};
use webbrowser::{Browser, BrowserOptions};

use super::{complain, exit, logging, run::Signals, say};
use crate::{
    config::Config,
    session::sign_in::{SignIn, Unfit},
    token::signin::{Notice, SignInError, SignedIn},
};

/// The most that is read from standard input, in octets: some pasted addresses.
const PASTED_OCTETS: u64 = 1024 * 1024;

pub(super) fn sign_in(config: &Config, user: &str) -> ExitCode {
    logging::install(&config.log);
    let sign_in = match SignIn::prepare(config, user) {
        Ok(sign_in) => sign_in,
        Err(Unfit { usage, what, remedy }) => {
            complain(&format_args!("mailwicket: {what}\n  remedy: {remedy}"));
            return if usage { exit::usage() } else { exit::config() };
        }
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("mailwicket: no runtime: {error}"));
            return exit::software();
        }
    };
    let code = runtime.block_on(converse(&sign_in));
    runtime.shutdown_background(); // standard input may still be waited for
    code
}

async fn converse(sign_in: &SignIn) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format_args!("mailwicket: cannot listen for signals: {error}"));
            return exit::software();
        }
    };
    let (paste, pasted) = mpsc::channel(4);
    let takes_pasted = sign_in.takes_pasted();
    let meant = sign_in.meant();
    say(&format_args!("Sign in as {meant}."));
    tokio::select! {
        outcome = sign_in.run(pasted, &show) => verdict(outcome),
        () = signals.asked_to_stop() => {
            complain(&"mailwicket: stopped; nobody is signed in and nothing was stored");
            exit::unavailable()
        }
        () = read_lines(paste), if takes_pasted => exit::software(), // it never ends
    }
}

fn verdict(outcome: Result<SignedIn, SignInError>) -> ExitCode {
    match outcome {
        Ok(SignedIn { who }) => {
            say(&format_args!(
                "{who} is signed in and kept in the vault. A running mailwicket takes it from there \
                 by itself."
            ));
            exit::ok()
        }
        Err(error) => {
            complain(&format_args!("mailwicket: {error}"));
            if let Some(remedy) = error.remedy() {
                complain(&format_args!("  remedy: {remedy}"));
            }
            exit::unavailable()
        }
    }
}

fn show(notice: Notice) {
    match notice {
        Notice::Device(message) => say(&message),
        Notice::Browser(url) => {
            say(&format_args!(
                "Open this address in a browser:\n\n{url}\n\n\
                 If the browser is on another machine, it ends at an address that begins with \
                 http://localhost or http://127.0.0.1 and shows an error. Copy that address and \
                 paste it here."
            ));
            open(url);
        }
        Notice::Trouble(what) => say(&format_args!("No answer yet, trying again: {what}")),
        Notice::NotIt(why) => say(&format_args!("That does not help: {why}.")),
    }
}

/// Opens the address where there is a desktop to open it on; fails silently, for it is printed too.
/// It holds nothing secret, so it may be a process's argument.
fn open(url: String) {
    let desktop = cfg!(any(target_os = "macos", target_os = "windows"))
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    if desktop {
        task::spawn_blocking(move || {
            let mut options = BrowserOptions::new();
            options.with_suppress_output(true);
            let _ = webbrowser::open_browser_with_options(Browser::Default, &url, &options);
        });
    }
}

/// Hands on each line of standard input. Ends never: without more lines the browser may still come.
async fn read_lines(paste: mpsc::Sender<String>) {
    let mut lines = BufReader::new(tokio::io::stdin().take(PASTED_OCTETS)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if paste.send(line).await.is_err() {
            break;
        }
    }
    std::future::pending::<()>().await;
}
