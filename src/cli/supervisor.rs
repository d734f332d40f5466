//! What a service manager is told: ready, reloading, stopping, still alive.
//!
//! systemd's protocol (`sd_notify(3)`): nothing happens where nobody listens, and on other systems
//! there is nobody to tell. A message that cannot be sent changes nothing for the mail, so its
//! errors are let go; systemd itself says in its log that it waits in vain. Must never hold up the
//! runtime: a manager that does not read lets the sender wait, so a thread of its own sends.

#[cfg(target_os = "linux")]
pub(super) use self::systemd::Supervisor;

#[cfg(not(target_os = "linux"))]
pub(super) use self::nobody::Supervisor;

#[cfg(target_os = "linux")]
mod systemd {
    use std::{
        sync::mpsc::{Sender, SyncSender, channel, sync_channel},
        thread,
        time::Duration,
    };

    use sd_notify::{NotifyState, notify, watchdog_enabled};
    use tokio::time::interval;

    /// Messages that wait to be read; more are dropped.
    const QUEUE: usize = 16;

    enum Message {
        Ready(String),
        Reloading,
        Stopping,
        Alive,
        /// Says that all before it was sent, by being dropped.
        Flush(#[allow(dead_code)] Sender<()>),
    }

    /// Whoever started us, if they want to hear from us.
    #[derive(Clone)]
    pub(in crate::cli) struct Supervisor(SyncSender<Message>);

    impl Supervisor {
        /// The one that the environment names (`NOTIFY_SOCKET`).
        pub(in crate::cli) fn of_environment() -> Self {
            let (sender, messages) = sync_channel(QUEUE);
            if std::env::var_os("NOTIFY_SOCKET").is_some() {
                thread::spawn(move || messages.iter().for_each(tell));
            }
            Self(sender)
        }

        /// Clients are served. `status` is a line for `systemctl status`, empty for none.
        pub(in crate::cli) fn ready(&self, status: String) {
            self.send(Message::Ready(status));
        }

        /// A new configuration is being looked at; [`Self::ready`] follows.
        pub(in crate::cli) fn reloading(&self) {
            self.send(Message::Reloading);
        }

        /// No new sessions are taken.
        pub(in crate::cli) fn stopping(&self) {
            self.send(Message::Stopping);
        }

        /// Says for ever that the runtime runs tasks, twice as often as is asked for
        /// (`WatchdogSec=`). To be spawned: a runtime that hangs then falls silent.
        pub(in crate::cli) async fn feed_watchdog(self) {
            let Some(limit) = watchdog_enabled().filter(|limit| !limit.is_zero()) else { return };
            let mut beat = interval((limit / 2).max(Duration::from_millis(1)));
            loop {
                beat.tick().await;
                self.send(Message::Alive);
            }
        }

        /// Waits until all is sent, for a second at most.
        pub(in crate::cli) fn flush(&self) {
            let (sender, sent) = channel();
            self.send(Message::Flush(sender));
            let _ = sent.recv_timeout(Duration::from_secs(1));
        }

        fn send(&self, message: Message) {
            let _ = self.0.try_send(message); // nobody listens, or nobody reads
        }
    }

    fn tell(message: Message) {
        let _ = match message {
            Message::Ready(status) => notify(&[NotifyState::Ready, NotifyState::Status(&status)]),
            Message::Reloading => {
                let now = NotifyState::monotonic_usec_now();
                notify(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>())
            }
            Message::Stopping => {
                notify(&[NotifyState::Stopping, NotifyState::Status("Finishing sessions")])
            }
            Message::Alive => notify(&[NotifyState::Watchdog]),
            Message::Flush(_) => Ok(()),
        };
    }
}

#[cfg(not(target_os = "linux"))]
mod nobody {
    #[derive(Clone)]
    pub(in crate::cli) struct Supervisor;

    impl Supervisor {
        pub(in crate::cli) fn of_environment() -> Self {
            Self
        }

        pub(in crate::cli) fn ready(&self, _status: String) {}

        pub(in crate::cli) fn reloading(&self) {}

        pub(in crate::cli) fn stopping(&self) {}

        pub(in crate::cli) async fn feed_watchdog(self) {}

        pub(in crate::cli) fn flush(&self) {}
    }
}
