//! The log's subscriber: text for people or JSON for machines, to standard error.
//!
//! The levels are tracing's; what may be logged is decided where it is logged, and a test runs
//! whole sessions at TRACE to show that no secret is.
//!
//! # Events
//!
//! Every line that an operator may wait for has a field `event`, whose names are stable; words and
//! other fields may change. A test holds this table against the sources.
//!
//! | event | level | says |
//! | --- | --- | --- |
//! | `ready` | info | every port is bound, clients are served |
//! | `listening`, `listener_closed` | info | a listener has been opened, or closed by a reload |
//! | `listener_lost` | error | a refused reload could not open a listener, or the status, again |
//! | `status_listening`, `status_closed` | info | the same of the status endpoint |
//! | `config_warning` | warn | something in `proxy.toml` works and should be looked at |
//! | `reloaded` | info | a new configuration is in force |
//! | `reload_refused` | error | it is not; the one before stays |
//! | `restart_needed` | warn | a table has changed that is read at start only |
//! | `drain` | info | stopping: no new sessions |
//! | `drain_cut` | warn | sessions are cut: they outlived `shutdown_grace`, or a second signal came |
//! | `stopped` | info | the end |
//! | `socket_unused` | warn | a supervisor passes a socket that no listener has |
//! | `file_limit` | warn | this process may not open enough files for `max_sessions` |
//! | `accept_paused` | warn | out of descriptors or memory |
//! | `max_sessions`, `max_sessions_per_address` | warn | a limit is reached |
//! | `not_allowed`, `status_not_allowed` | warn | an address is not in an allow list |
//! | `client_dialogue`, `login_deadline` | warn | a client was cut off before its login |
//! | `client_tls` | warn | no TLS with a client, or one that speaks in clear where TLS comes first |
//! | `tls_certificate`, `tls_certificate_made` | info | a listener's certificate was read anew, or made |
//! | `tls_certificate_end` | warn | it ends soon, or has ended |
//! | `tls_certificate_refused` | error | a changed one is of no use; the one before stays in force |
//! | `login` | info | a session was opened at the provider |
//! | `login_refused` | warn | it was not, and trying again cannot help |
//! | `login_unavailable` | warn | it was not, and trying again can |
//! | `login_locked` | debug | a login during a lockout |
//! | `lockout`, `lockout_end` | warn, info | an account or address is locked, and no longer |
//! | `mailbox_queue` | info, warn | a login waited for its mailbox; at warn in vain |
//! | `not_connected` | warn | logged in, and the mailbox cannot be opened |
//! | `session_end` | info | how a session ended, and what it carried |
//! | `way_lost`, `way_back` | warn, info | a proxy does not lead out and comes last for a while, or does again |
//! | `token` | info | Entra granted a token |
//! | `token_renewal_refused`, `token_renewal_failed` | warn | one could not be renewed |
//! | `secret_expires`, `certificate_expires` | warn | a credential of an app ends soon |
//! | `secret_expired`, `certificate_expired` | error | it has ended |
//! | `certificate_unusable` | error | an app's certificate or key cannot be used |
//! | `secret_refused` | warn | one of several client secrets is refused |
//! | `needs_sign_in` | warn | a person must sign in |
//! | `signed_in`, `signed_in_again` | info | somebody has |
//! | `vault_key_made` | info | the vault's key file was made |
//! | `vault_unreadable`, `vault_unwritable` | error | the vault cannot be used |
//! | `bug` | error | a task panicked; the others go on |

mod journal;

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing::error;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{format::Format, layer},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

use self::journal::Leveled;
use crate::config::{Log, LogFormat};

/// Installs the subscriber for the process. Calling it twice changes nothing.
pub(super) fn install(log: &Log) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let lines = layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match (log.format, journal::reads_stderr()) {
        (LogFormat::Text, false) => lines.with_target(false).boxed(),
        (LogFormat::Text, true) => {
            // The journal has a time of its own for each line.
            let format = Format::default().with_target(false).with_level(false).without_time();
            lines.event_format(Leveled(format)).boxed()
        }
        (LogFormat::Json, false) => lines.json().flatten_event(true).with_span_list(false).boxed(),
        (LogFormat::Json, true) => {
            lines.json().flatten_event(true).with_span_list(false).map_event_format(Leveled).boxed()
        }
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
