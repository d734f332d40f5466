//! mailwicket as a service manager sees it, as a process of its own: its messages, its sockets.

use std::{
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mailwicket::{net::inherited::Inherited, sandbox::Sandbox};
use tempfile::TempDir;

use crate::{
    caught::Caught,
    stage::{Client, PASSWORD, Stage, USER, parse, start, text},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a configuration, and the socket on which a manager listens.
struct Manager {
    folder: TempDir,
    hears: UnixDatagram,
}

impl Manager {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proxy.toml"), config).unwrap();
        let hears = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        hears.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, hears }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    /// Starts the service with this socket as its first, as systemd does: from number 3 on.
    fn start(&self, socket: &TcpListener) -> Service {
        self.start_within(socket, "")
    }

    /// The same within limits that this piece of shell sets.
    fn start_within(&self, socket: &TcpListener, limits: &str) -> Service {
        let socket = OwnedFd::from(socket.try_clone().unwrap());
        let shell =
            "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" run --config \"$1\"";
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{limits} {shell}"), env!("CARGO_BIN_EXE_mailwicket")])
            .arg(self.config())
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "100000")
            .env("SECRET", mailwicket::sandbox::world::contoso::APP_SECRET)
            .env("ENTRA_CLIENT_SECRET", "not asked for")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log")).unwrap());
        Service(start(&mut command))
    }

    /// What the service has said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits for a message with this in it; those before it are passed over.
    fn awaits(&self, word: &str) -> String {
        loop {
            let mut message = [0; 4096];
            let length = self
                .hears
                .recv(&mut message)
                .unwrap_or_else(|error| panic!("no {word}: {error}; {}", self.log()));
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message.contains(word) {
                return message;
            }
        }
    }
}

/// Ended with the test, whatever comes of it.
struct Service(Child);

impl Service {
    fn signal(&self, signal: &str) {
        let mut kill = Command::new("/bin/kill");
        let sent = start(kill.args([signal, &self.0.id().to_string()])).wait();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn config(at: SocketAddr) -> (Sandbox, String) {
    let sandbox = Stage::sandbox().await;
    let limits = "[limits]\nsmtp_sessions_per_mailbox = 10\n";
    let config = text(&sandbox, "", limits).replacen("127.0.0.1:0", &at.to_string(), 1);
    (sandbox, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_and_cuts_nobody_where_the_manager_holds_the_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (_sandbox, config) = config(address).await;
    let manager = Manager::new(&config);
    let mut before = manager.start(&socket);
    manager.awaits("READY=1");
    let mut session = Client::connect(address).await;
    assert!(session.log_in(USER, PASSWORD).await.starts_with("235 "));

    before.signal("-TERM");
    manager.awaits("STOPPING=1");
    // Whoever comes now is not refused by the system: the old one takes them and tells them to come
    // back, or they wait in the socket's queue for the new one.
    let mut waits = Client::silent(address).await;
    let after = manager.start(&socket);
    manager.awaits("READY=1");
    let told = waits.reply().await;
    assert!(["220 ", "421 "].contains(&&told[..4]), "{told}");
    let mut comes = Client::connect(address).await;
    assert!(comes.log_in(USER, PASSWORD).await.starts_with("235 "));
    assert!(session.send(USER, b"Subject: x\r\n\r\n").await.starts_with("250 "), "not cut");
    session.say("QUIT").await;
    drop((session, waits)); // and a manager that reads no more holds nothing up
    assert!(before.0.wait().unwrap().success(), "the drain ended by itself");
    drop(after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_hears_of_readiness_life_reloads_and_the_end() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_sandbox, good) = config(socket.local_addr().unwrap()).await;
    let manager = Manager::new(&good);
    let mut service = manager.start(&socket);
    manager.awaits("READY=1");
    for _ in 0..3 {
        manager.awaits("WATCHDOG=1");
    }
    service.signal("-HUP");
    assert!(manager.awaits("RELOADING=1").contains("MONOTONIC_USEC="));
    assert_eq!(manager.awaits("READY=1").trim_end(), "READY=1\nSTATUS=");

    std::fs::write(manager.config(), good + "[nonsense]\n").unwrap();
    service.signal("-HUP");
    let told = manager.awaits("READY=1");
    assert!(told.contains("STATUS=The configuration before is in force: "), "{told}");
    assert!(told.contains("nonsense"), "{told}");
    service.signal("-TERM");
    manager.awaits("STOPPING=1");
    assert!(service.0.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_to_stop_twice_waits_for_no_session() {
    let mut ran = 0;
    for (first, second) in [("-INT", "-INT"), ("-TERM", "-INT"), ("-INT", "-TERM")] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (_sandbox, config) = config(address).await;
        let manager = Manager::new(&(config + "shutdown_grace = \"10m\"\n"));
        let mut service = manager.start(&socket);
        manager.awaits("READY=1");
        let mut session = Client::connect(address).await;
        assert!(session.log_in(USER, PASSWORD).await.starts_with("235 "));

        service.signal(first);
        manager.awaits("STOPPING=1");
        assert!(session.say("NOOP").await.starts_with("250 "), "it may go on");
        service.signal(second);
        session.rest().await;
        assert!(service.0.wait().unwrap().success());
        let log = manager.log();
        let cut = log.lines().find(|line| line.contains("event=\"drain_cut\"")).expect(&log);
        assert!(cut.contains("sessions=1 cause=\"asked to stop once more\""), "{cut}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}

#[tokio::test]
async fn a_socket_that_no_listener_has_is_told() {
    let (sandbox, socket) = (Stage::sandbox().await, TcpListener::bind("127.0.0.1:0").unwrap());
    let address = socket.local_addr().unwrap();
    let config = parse(&text(&sandbox, "", ""));
    let (caught, catching) = Caught::begin();
    let daemon = mailwicket::daemon::Daemon::inherit(&config, Inherited::of(vec![socket])).unwrap();
    drop((daemon, catching));
    let log = caught.text();
    assert!(log.contains("event=\"socket_unused\""), "{log}");
    assert!(log.contains(&format!("address={address}")), "{log}");
}

#[test]
fn what_is_no_listening_socket_is_a_mistake_of_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let (_, stranger) = std::os::unix::net::UnixStream::pair().unwrap();
    let path: &Path = &folder.path().join("proxy.toml");
    std::fs::write(path, include_str!("../../proxy.toml")).unwrap();
    let shell = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" run --config \"$1\"";
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", shell, env!("CARGO_BIN_EXE_mailwicket")])
        .arg(path)
        .env("ENTRA_CLIENT_SECRET", "secret")
        .stdin(Stdio::from(OwnedFd::from(stranger)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = start(&mut command).wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{words}");
    assert!(words.contains("ListenStream"), "{words}");
}

/// Each session is two sockets; the system's usual 1024 files end before the usual 1000 sessions.
#[test]
fn as_many_files_may_be_open_as_the_sessions_need() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = socket.local_addr().unwrap().to_string();
    let config = include_str!("../../proxy.toml").replacen("127.0.0.1:1587", &bind, 1);
    assert!(config.contains(&bind), "the shipped configuration has this listener");
    let rows = [(300, true), (60_000, false)];
    let mut ran = 0;
    for (sessions, fits) in rows {
        let limits = format!("[limits]\nmax_sessions = {sessions}\n");
        let manager = Manager::new(&(config.clone() + &limits));
        let mut service = manager.start_within(&socket, "ulimit -Hn 4096; ulimit -Sn 256;");
        manager.awaits("READY=1");
        let path = format!("/proc/{}/limits", service.0.id());
        let told = std::fs::read_to_string(path).unwrap();
        let soft = told.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft: u64 =
            soft.and_then(|line| line.split_whitespace().next()).unwrap().parse().unwrap();
        assert!(soft >= if fits { 2 * sessions } else { 4096 }, "{told}");
        service.signal("-TERM");
        assert!(service.0.wait().unwrap().success());
        let log = manager.log();
        assert_eq!(log.contains("event=\"file_limit\""), !fits, "{log}");
        ran += 1;
    }
    assert_eq!(ran, 2);
}
