//! The log's subscriber: text for people or JSON for machines, to standard error.
//!
//! The levels are tracing's; what may be logged is decided where it is logged, and a test runs
//! whole sessions at TRACE to show that no secret is.

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing::error;
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Installs the subscriber for the process. Calling it twice changes nothing.
pub(super) fn install(log: &Log) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let _ = registry().with(lines.with_filter(filter)).try_init(); // a second one changes nothing
    panic::set_hook(Box::new(|panic| {
        // The place only: a message may quote what was being parsed.
        let place = panic.location().map(ToString::to_string);
        error!(
            event = "bug",
            place,
            remedy = "please report this place",
            "a task panicked; the others go on"
        );
    }));
}
