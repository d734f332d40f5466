//! Lines for the journal: each says its level in the form that journald reads (`sd-daemon(3)`:
//! `<3>` and so on, after syslog), so that `journalctl -p warning` finds what it should.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    registry::LookupSpan,
};

/// Whether standard error leads into the journal: `JOURNAL_STREAM` names device and inode of the
/// stream that systemd has put there (`systemd.exec(5)`), which a redirection changes.
#[cfg(target_os = "linux")]
pub(super) fn reads_stderr() -> bool {
    use std::os::unix::fs::MetadataExt;

    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reads_stderr() -> bool {
    false
}

/// A format whose lines begin with their level.
pub(super) struct Leveled<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Leveled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The priority of a level (RFC 5424 section 6.2.1).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{subscriber::with_default, warn};
    use tracing_subscriber::fmt::{format::Format, layer};
    use tracing_subscriber::{layer::SubscriberExt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_begins_with_its_level_in_both_formats() {
        let paper = Paper::default();
        let written = paper.clone();
        let make = move || written.clone();
        let text = layer().with_ansi(false).with_writer(make.clone());
        let text = text.event_format(Leveled(
            Format::default().with_target(false).with_level(false).without_time(),
        ));
        with_default(registry().with(text), || warn!(event = "x", "words"));
        let json = layer().with_ansi(false).with_writer(make).json().flatten_event(true);
        with_default(registry().with(json.map_event_format(Leveled)), || warn!("words"));
        let lines = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[0], "<4>words event=\"x\"");
        assert!(lines[1].starts_with("<4>{\"timestamp\""), "{}", lines[1]);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn levels_have_the_priorities_of_syslog() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(levels.map(priority), [3, 4, 6, 7, 7]);
    }
}
