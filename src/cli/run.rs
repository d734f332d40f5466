//! `mailwicket run`: the proxy, until a signal.

use std::{io, process::ExitCode};

use tokio::runtime::Runtime;
use tracing::{info, warn};

use super::{complain, exit, logging};
use crate::{
    config::Config,
    daemon::{Daemon, StartError},
};

pub(super) fn run(config: &Config) -> ExitCode {
    logging::install(&config.log);
    for warning in &config.warnings {
        warn!(event = "config_warning", "{warning}");
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("mailwicket: no runtime: {error}"));
            return exit::software();
        }
    };
    let code = runtime.block_on(serve(config));
    runtime.shutdown_background(); // a hash being checked for nobody is not waited for
    code
}

async fn serve(config: &Config) -> ExitCode {
    // Signals first: one that comes during start-up must drain as well.
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format_args!("mailwicket: cannot listen for signals: {error}"));
            return exit::software();
        }
    };
    let daemon = match Daemon::bind(config) {
        Ok(daemon) => daemon,
        Err(error) => {
            complain(&format_args!("mailwicket: {error}"));
            return match error {
                StartError::Tls(_) => exit::config(),
                StartError::Bind { .. } => exit::unavailable(),
            };
        }
    };
    info!(event = "ready", version = env!("CARGO_PKG_VERSION"), "mailwicket is ready");
    daemon.run(signals.asked_to_stop()).await;
    exit::ok()
}

/// The ways in which the system asks a process to stop.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    pub(super) async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(super) async fn asked_to_stop(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await; // no console to press it on
        }
    }
}
