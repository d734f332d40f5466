//! The command line: subcommands, the log's subscriber, printing and exit codes.
//!
//! The only room that prints and the only one that chooses exit codes. What a subcommand does
//! lives below; here is only how a person meets it.

mod check;
mod demo;
mod logging;
mod run;
mod sign_in;
mod supervisor;

use std::{
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use secrecy::SecretString;

use crate::{
    advice,
    config::{self, Config},
    doctor::running::Question,
    secret,
};

/// Exit codes, after BSD's sysexits.
mod exit {
    use std::process::ExitCode;

    pub(super) fn ok() -> ExitCode {
        ExitCode::SUCCESS
    }
    /// `EX_USAGE`: the command was used wrongly.
    pub(super) fn usage() -> ExitCode {
        ExitCode::from(64)
    }
    /// `EX_UNAVAILABLE`: a check failed or a service is unavailable.
    pub(super) fn unavailable() -> ExitCode {
        ExitCode::from(69)
    }
    /// `EX_SOFTWARE`: a bug.
    pub(super) fn software() -> ExitCode {
        ExitCode::from(70)
    }
    /// `EX_CONFIG`: the configuration is wrong.
    pub(super) fn config() -> ExitCode {
        ExitCode::from(78)
    }
}

#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Logs go to standard error. SIGTERM and SIGINT drain and exit 0, SIGHUP reloads."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(
        long,
        value_name = "PATH",
        env = "MAILWICKET_CONFIG",
        default_value = "proxy.toml",
        global = true
    )]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy (the default)
    Run,
    /// Diagnose the configuration and every hop to Exchange Online, in words
    Check {
        /// Only check the configuration file
        #[arg(long)]
        offline: bool,
        /// Only check this account
        #[arg(long, value_name = "USER")]
        account: Option<String>,
        /// Only ask the mailwicket that runs by this configuration whether it is alive
        #[arg(long, conflicts_with_all = ["offline", "account"])]
        live: bool,
        /// The same, and whether it is ready: every app has, or can get, a token
        #[arg(long, conflicts_with_all = ["offline", "account", "live"])]
        ready: bool,
    },
    /// Sign in once, by device code or browser, for an account whose grant needs it
    SignIn {
        /// The user, as the mail client would type it
        user: String,
    },
    /// Read a password (terminal without echo, or standard input) and print its hash
    HashPassword,
    /// Say cause and remedy of a server reply or an AADSTS code
    Explain {
        /// The reply or code, as it was seen
        #[arg(required = true, allow_hyphen_values = true)]
        text: Vec<String>,
    },
    /// Run on an embedded Microsoft 365, to try mailwicket without a tenant
    Demo {
        /// Make a tour by itself, then exit 0 if every step held
        #[arg(long)]
        once: bool,
        /// Only serve the simulated Microsoft 365, on all addresses and its real ports; put into DIR
        /// what a mailwicket elsewhere needs to use it
        #[arg(long, value_name = "DIR", conflicts_with = "once")]
        serve: Option<PathBuf>,
    },
}

/// Parses the command line, does what it says, and chooses the exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print(); // with standard error gone there is nobody to tell
            return if error.use_stderr() { exit::usage() } else { exit::ok() };
        }
    };
    let path = &arguments.file.config;
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => with_config(path, |config| run::run(path, config)),
        Command::Check { live: true, .. } => check::running(path, Question::Live),
        Command::Check { ready: true, .. } => check::running(path, Question::Ready),
        Command::Check { offline, account, .. } => {
            with_config(path, |config| check::check(path, config, offline, account.as_deref()))
        }
        Command::SignIn { user } => with_config(path, |config| sign_in::sign_in(config, &user)),
        Command::HashPassword => hash_password(),
        Command::Explain { text } => explain(&text.join(" ")),
        Command::Demo { once, serve } => demo::demo(once, serve.as_deref()),
    }
}

fn with_config(path: &Path, run: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match config::load(path) {
        Ok(config) => run(&config),
        Err(error) => {
            complain(&error);
            exit::config()
        }
    }
}

fn hash_password() -> ExitCode {
    match read_password() {
        Ok(password) if secrecy::ExposeSecret::expose_secret(&password).is_empty() => {
            complain(&"mailwicket: an empty password is no password; nothing was hashed");
            exit::usage()
        }
        Ok(password) => {
            say(&secret::hash_password(&password));
            exit::ok()
        }
        Err(error) => {
            complain(&format_args!("mailwicket: cannot read the password: {error}"));
            exit::usage()
        }
    }
}

/// Asks twice on a terminal; takes the first line of anything else.
fn read_password() -> io::Result<SecretString> {
    if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ")?;
        let second = rpassword::prompt_password("Again: ")?;
        if first != second {
            return Err(io::Error::other("the two are not the same"));
        }
        return Ok(first.into());
    }
    let mut text = String::new();
    io::stdin().take(64 * 1024).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    zeroize::Zeroize::zeroize(&mut text);
    Ok(line.into())
}

fn explain(text: &str) -> ExitCode {
    let found = advice::explain(text);
    if found.is_empty() {
        complain(&format_args!(
            "mailwicket: nothing known about {text:?}; give the reply as the server sent it, \
             such as \"535 5.7.3 Authentication unsuccessful\" or \"AADSTS7000215\""
        ));
        return exit::unavailable();
    }
    for advice in found {
        say(&format_args!(
            "{}\n  cause:  {}\n  remedy: {}",
            advice.code, advice.cause, advice.remedy
        ));
    }
    exit::ok()
}

/// To standard output. A reader that has gone (`| head`) is no error of ours.
fn say(text: &impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// To standard error, where the log is not up yet.
fn complain(text: &impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
