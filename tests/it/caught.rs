//! The log of a test: everything that is logged on its thread, at any level, as text.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Dispatch, subscriber::DefaultGuard};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt, registry};

/// The text so far.
#[derive(Clone, Default)]
pub(crate) struct Caught(Arc<Mutex<Vec<u8>>>);

/// Ends the catching when it is dropped.
pub(crate) struct Catching {
    _guard: DefaultGuard,
    /// While there is one subscriber only, a test on another thread that comes first to a log line
    /// switches it off for good: tracing asks that thread's, and it has none.
    _second: Dispatch,
}

impl Caught {
    /// Catches until the guard is dropped. The test must have one thread.
    pub(crate) fn begin() -> (Self, Catching) {
        let caught = Self::default();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(caught.clone());
        let second = Dispatch::new(registry());
        let guard = tracing::subscriber::set_default(registry().with(layer));
        (caught, Catching { _guard: guard, _second: second })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Caught {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Caught {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
