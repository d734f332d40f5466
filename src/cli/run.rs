//! `mailwicket run`: the proxy, until a signal.

use std::{convert::Infallible, io, path::Path, process::ExitCode};

use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    task,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use super::{complain, exit, logging, supervisor::Supervisor};
use crate::{
    config::{self, Config},
    daemon::{Daemon, Reload, StartError},
    net::inherited::Inherited,
};

pub(super) fn run(path: &Path, config: &Config) -> ExitCode {
    logging::install(&config.log);
    warn_of(config);
    raise_file_limit(config.limits.max_sessions);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("mailwicket: no runtime: {error}"));
            return exit::software();
        }
    };
    let code = runtime.block_on(serve(path, config));
    // What had to be written the daemon has waited for; a hash that is checked for nobody it has not.
    runtime.shutdown_background();
    code
}

async fn serve(path: &Path, config: &Config) -> ExitCode {
    // Signals first: one that comes during start-up must count as well.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format_args!("mailwicket: cannot listen for signals: {error}"));
            return exit::software();
        }
    };
    let inherited = match Inherited::from_environment() {
        Ok(inherited) => inherited,
        Err(error) => {
            complain(&format_args!(
                "mailwicket: a socket that was passed: {error}; in the .socket unit write only \
                 ListenStream with address and port"
            ));
            return exit::config();
        }
    };
    let daemon = match Daemon::inherit(config, inherited) {
        Ok(daemon) => daemon,
        Err(error) => {
            complain(&format_args!("mailwicket: {error}"));
            return match error {
                StartError::Tls(_) | StartError::Certificate(_) | StartError::Vault(_) => {
                    exit::config()
                }
                StartError::Bind { .. } => exit::unavailable(),
            };
        }
    };
    info!(event = "ready", version = env!("CARGO_PKG_VERSION"), "mailwicket is ready");
    let supervisor = Supervisor::of_environment();
    supervisor.ready(String::new());
    let watchdog = TaskTracker::new().spawn(supervisor.clone().feed_watchdog());
    let (reload, reloads) = mpsc::channel(1);
    let hurry = daemon.hurry();
    tokio::select! {
        _cut = daemon.run(reloads) => {}
        never = obey(signals, path, reload, hurry, &supervisor) => match never {},
    }
    watchdog.abort();
    supervisor.flush();
    exit::ok()
}

/// Reloads when asked to, until asked to stop; then `reloads` is dropped. Who asks to stop once more
/// is in a hurry.
async fn obey(
    mut signals: Signals,
    path: &Path,
    reloads: mpsc::Sender<Reload>,
    hurry: CancellationToken,
    supervisor: &Supervisor,
) -> Infallible {
    while let Signal::Reload = signals.next().await {
        supervisor.reloading();
        match reload(path, &reloads).await {
            Ok(()) => {
                info!(event = "reloaded", "configuration reloaded");
                supervisor.ready(String::new());
            }
            Err(error) => {
                let error = error.to_string().replace('\n', "; "); // one line a mistake
                supervisor.ready(format!("The configuration before is in force: {error}"));
                error!(
                    event = "reload_refused",
                    error,
                    remedy = "mend proxy.toml and reload again",
                    "configuration not reloaded: the one before stays in force",
                );
            }
        }
    }
    supervisor.stopping();
    drop(reloads); // the drain begins
    loop {
        signals.asked_to_stop().await;
        hurry.cancel();
    }
}

async fn reload(path: &Path, reloads: &mpsc::Sender<Reload>) -> anyhow::Result<()> {
    let path = path.to_owned();
    let config = task::spawn_blocking(move || config::load(&path)).await??;
    warn_of(&config);
    let (outcome, taken) = oneshot::channel();
    reloads.send(Reload { config, outcome }).await?;
    Ok(taken.await??)
}

/// A session has two sockets, and systems let a process have 1024 files unless it asks for more.
/// Out of them, nobody can even ask whether we live.
fn raise_file_limit(sessions: usize) {
    /// What is needed beside sessions: listeners, the status, files, requests for tokens.
    const BESIDE: u64 = 128;
    let wanted =
        u64::try_from(sessions).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(BESIDE);
    #[cfg(unix)]
    match rlimit::increase_nofile_limit(wanted) {
        Ok(have) if have >= wanted => {}
        Ok(have) => warn!(
            event = "file_limit",
            have,
            wanted,
            cause = "this process may not open as many files as limits.max_sessions sessions need",
            remedy = "raise the hard limit (LimitNOFILE, ulimit -Hn) or lower limits.max_sessions",
            "too few files for so many sessions",
        ),
        Err(error) => info!(%error, "the limit of open files is not known"),
    }
    #[cfg(not(unix))]
    let _ = wanted; // there is no such limit
}

fn warn_of(config: &Config) {
    for warning in &config.warnings {
        warn!(event = "config_warning", "{warning}");
    }
}

/// What the system may ask of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    /// To read its configuration again: SIGHUP.
    Reload,
    /// To stop: SIGTERM, SIGINT, Ctrl-C.
    Stop,
}

/// The ways in which the system asks.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await; // no console to press it on
        }
        Signal::Stop
    }

    /// Waits until asked to stop; there is nothing to reload.
    pub(super) async fn asked_to_stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
