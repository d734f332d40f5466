//! mailwicket as a process, looked at from outside.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mailwicket::sandbox::{Sandbox, world::contoso};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// How it looks at one moment.
pub(crate) struct Sample {
    /// Resident memory in KiB.
    pub(crate) resident: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// All metrics, by name and labels.
    pub(crate) metrics: BTreeMap<String, f64>,
}

impl Sample {
    fn live(&self) -> f64 {
        let live = |(name, _): &(&String, &f64)| name.starts_with("mailwicket_sessions_live{");
        self.metrics.iter().filter(live).map(|(_, value)| value).sum()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, descriptors, .. } = self;
        write!(f, "{resident} KiB resident, {descriptors} descriptors, {} sessions", self.live())
    }
}

/// The process and its folder.
pub(crate) struct Service {
    child: Child,
    /// SMTP, IMAP, POP3.
    pub(crate) ports: [u16; 3],
    status: SocketAddr,
    folder: TempDir,
}

impl Service {
    pub(crate) async fn start(binary: &Path, sandbox: &Sandbox) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [smtp, imap, pop3, status] = free_ports();
        let config = folder.path().join("proxy.toml");
        fs::write(&config, text(sandbox, [smtp, imap, pop3, status])).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&config)
            .env("SECRET", contoso::APP_SECRET)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let status = SocketAddr::from(([127, 0, 0, 1], status));
        let mut service = Self { child, ports: [smtp, imap, pop3], status, folder };
        while TcpStream::connect(service.status).await.is_err() {
            let ended = service.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {}", service.log());
            sleep(Duration::from_millis(20)).await; // another program has no other way to tell
        }
        service
    }

    pub(crate) async fn sample(&mut self) -> Sample {
        let process = format!("/proc/{}", self.child.id());
        let resident = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let resident = resident.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        let descriptors = fs::read_dir(format!("{process}/fd")).map(Iterator::count);
        Sample {
            resident: resident.unwrap_or(0),
            descriptors: descriptors.unwrap_or(0),
            metrics: self.metrics().await,
        }
    }

    /// Waits for the last session; for a minute at most.
    pub(crate) async fn all_gone(&mut self) -> Sample {
        for _ in 0..600 {
            let sample = self.sample().await;
            if sample.live() == 0.0 {
                return sample;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.sample().await
    }

    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.signal("-TERM");
        let ended = self.child.wait().map_err(|error| error.to_string())?;
        let bugs = self.log().matches("event=\"bug\"").count();
        match (ended.code(), bugs) {
            (Some(0), 0) => Ok(()),
            (code, bugs) => Err(format!("it ended with {code:?}, and {bugs} tasks panicked")),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the process is gone");
    }

    async fn metrics(&self) -> BTreeMap<String, f64> {
        let mut page = String::new();
        let mut asked = TcpStream::connect(self.status).await.expect("the status endpoint");
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        asked.write_all(request).await.expect("asked");
        asked.read_to_string(&mut page).await.expect("an answer");
        let rows = page.lines().filter(|line| line.starts_with("mailwicket_"));
        let rows = rows.filter_map(|line| line.rsplit_once(' '));
        rows.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended where all went well
    }
}

/// Free a moment ago, and each another.
fn free_ports() -> [u16; 4] {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|socket| socket.local_addr().expect("bound").port())
}

fn text(sandbox: &Sandbox, [smtp, imap, pop3, status]: [u16; 4]) -> String {
    format!(
        "\
[entra.app]
tenant = \"{tenant}\"
client_id = \"{client}\"
grant = \"client_credentials\"
client_secret = {{ env = \"SECRET\" }}
token_expiry_margin = \"30s\"

[[listener]]
protocol = \"smtp\"
bind = \"127.0.0.1:{smtp}\"

[[listener]]
protocol = \"imap\"
bind = \"127.0.0.1:{imap}\"

[[listener]]
protocol = \"pop3\"
bind = \"127.0.0.1:{pop3}\"

[[account]]
user = \"*@contoso.com\"
password_hash = \"{hash}\"

[outbound]
proxy = \"http://{proxy}\"
ca_file = '{ca}'

[limits]
lockout_after = 100000

[status]
bind = \"127.0.0.1:{status}\"
",
        tenant = contoso::TENANT_DOMAIN,
        client = contoso::APP_ID,
        hash = crate::hash(),
        proxy = sandbox.proxy(),
        ca = sandbox.ca_file().display(),
    )
}
