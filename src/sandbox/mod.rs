//! A simulated Microsoft 365: Entra's token endpoint, Exchange Online's servers for submission,
//! IMAP and POP3 over one small store of mail, and a corporate CONNECT proxy, on loopback ports of
//! this process.
//!
//! `mailwicket demo` runs on it, the tests run on it, and a network team can rehearse failures on
//! it before their tenant shows them. It says what the real services were documented or observed
//! to say, texts included, and it is honest: it verifies the tokens it issued, looks at the
//! mailbox's switch before the token as Exchange does, and finds missing mailbox rights only at
//! the end of DATA. Where no literal of the real service is known, the comment says so.
//!
//! Must never know: the product's own mail, token and net rooms. A simulator that shared their
//! parsers would share their bugs, so it reads its own lines and its own forms. It never connects
//! to anything but loopback addresses.

mod connect_proxy;
mod entra;
mod exchange_auth;
mod frontend;
mod imap;
#[cfg(test)]
mod kit;
mod moment;
mod pop3;
mod smtp;
mod tls;
mod wire;
pub mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::tls::Authority;
use crate::sandbox::world::World;

/// Which generation of Exchange Online's front ends is played.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// As observed in 2022 and 2023: no session id in the banner, errors end in `[HOST]`.
    Exo2023,
    /// As observed since 2024: a session id in the banner, errors end in `[HOST time id]`.
    #[default]
    Exo2026,
}

/// How a [`Sandbox`] starts. Everything that may change while it runs is in [`World`].
pub struct Options {
    /// The generation of Exchange Online.
    pub profile: Profile,
    /// How long Exchange Online waits before it says no; observed from 5 to 17 seconds.
    pub tarpit: Duration,
    /// The address that Entra and Exchange Online bind; loopback unless there is a reason. The
    /// CONNECT proxy and the machine's identity endpoint are for this machine and stay on loopback.
    pub bind_ip: IpAddr,
    /// A folder where the certificates are kept from one start to the next; none: fresh ones.
    pub keep_in: Option<PathBuf>,
    /// Port of the token endpoint; 0 for a free one. At 443 it goes by its real name.
    pub entra_port: u16,
    /// Port of the submission server; 0 for a free one.
    pub smtp_port: u16,
    /// Port of the IMAP server (implicit TLS); 0 for a free one.
    pub imap_port: u16,
    /// Port of the POP3 server (implicit TLS); 0 for a free one.
    pub pop3_port: u16,
    /// Port of the CONNECT proxy; 0 for a free one.
    pub proxy_port: u16,
    /// User name and password that the proxy asks for; none: it asks for nothing.
    pub proxy_credentials: Option<(String, String)>,
    /// The tenant, its mailboxes and the knobs.
    pub world: World,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            tarpit: Duration::from_secs(5),
            bind_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            keep_in: None,
            entra_port: 0,
            smtp_port: 0,
            imap_port: 0,
            pop3_port: 0,
            proxy_port: 0,
            proxy_credentials: None,
            world: World::contoso(),
        }
    }
}

/// A running sandbox. It ends when it is stopped or dropped.
pub struct Sandbox {
    world: World,
    authority: Authority,
    entra: SocketAddr,
    smtp: SocketAddr,
    imap: SocketAddr,
    pop3: SocketAddr,
    proxy: SocketAddr,
    secure_proxy: SocketAddr,
    socks: SocketAddr,
    machine: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Sandbox {
    /// Makes a certificate authority, or finds it kept, binds the ports and starts to serve.
    ///
    /// # Errors
    /// A port that cannot be bound, or a directory that cannot be written.
    pub async fn start(options: Options) -> io::Result<Self> {
        let authority = match &options.keep_in {
            Some(folder) => Authority::kept_in(folder)?,
            None => Authority::create()?,
        };
        let acceptor = authority.acceptor()?;
        let entra_listener = TcpListener::bind((options.bind_ip, options.entra_port)).await?;
        let smtp_listener = TcpListener::bind((options.bind_ip, options.smtp_port)).await?;
        let imap_listener = TcpListener::bind((options.bind_ip, options.imap_port)).await?;
        let pop3_listener = TcpListener::bind((options.bind_ip, options.pop3_port)).await?;
        let proxy_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.proxy_port)).await?;
        let secure_proxy_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let socks_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let machine_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sandbox = Self {
            world: options.world,
            authority,
            entra: entra_listener.local_addr()?,
            smtp: smtp_listener.local_addr()?,
            imap: imap_listener.local_addr()?,
            pop3: pop3_listener.local_addr()?,
            proxy: proxy_listener.local_addr()?,
            secure_proxy: secure_proxy_listener.local_addr()?,
            socks: socks_listener.local_addr()?,
            machine: machine_listener.local_addr()?,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        sandbox.world.tune(|tuning| {
            tuning.tarpit = options.tarpit;
            for (name, address) in [
                ("login.microsoftonline.com:443", sandbox.entra),
                ("smtp.office365.com:587", sandbox.smtp),
                ("outlook.office365.com:587", sandbox.smtp),
                ("outlook.office365.com:993", sandbox.imap),
                ("outlook.office365.com:995", sandbox.pop3),
            ] {
                tuning.proxy_names.insert(name.to_owned(), address);
            }
        });
        sandbox.world.set_authority(&sandbox.authority());

        let entra = Arc::new(entra::Endpoint::new(sandbox.world.clone(), acceptor.clone()));
        sandbox.serve(entra_listener, move |stream, _| Arc::clone(&entra).serve(stream));
        let machine = Arc::new(entra::machine::Endpoint::new(sandbox.world.clone()));
        sandbox.serve(machine_listener, move |stream, _| Arc::clone(&machine).serve(stream));
        let (world, profile) = (&sandbox.world, options.profile);
        let smtp = Arc::new(smtp::Server::new(world.clone(), acceptor.clone(), profile));
        sandbox.serve(smtp_listener, move |stream, peer| Arc::clone(&smtp).serve(stream, peer));
        let imap = Arc::new(imap::Server::new(world.clone(), acceptor.clone(), profile));
        sandbox.serve(imap_listener, move |stream, _| Arc::clone(&imap).serve(stream));
        let pop3 = Arc::new(pop3::Server::new(world.clone(), acceptor.clone(), profile));
        sandbox.serve(pop3_listener, move |stream, _| Arc::clone(&pop3).serve(stream));
        let proxy =
            Arc::new(connect_proxy::Proxy::new(sandbox.world.clone(), options.proxy_credentials));
        let (secure_proxy, socks) = (Arc::clone(&proxy), Arc::clone(&proxy));
        sandbox.serve(proxy_listener, move |stream, _| Arc::clone(&proxy).serve(stream));
        sandbox.serve(secure_proxy_listener, move |stream, _| {
            Arc::clone(&secure_proxy).serve_tls(stream, acceptor.clone())
        });
        sandbox.serve(socks_listener, move |stream, _| Arc::clone(&socks).serve_socks(stream));
        Ok(sandbox)
    }

    /// The Entra authority: `https://localhost:PORT`, no slash at the end, or the real one where
    /// the port is the real one.
    pub fn authority(&self) -> String {
        match self.entra.port() {
            443 => "https://login.microsoftonline.com".to_owned(),
            port => format!("https://localhost:{port}"),
        }
    }

    /// Where submission listens (STARTTLS). The name to use is `localhost`.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// Where IMAP listens (implicit TLS). The name to use is `localhost`.
    pub fn imap(&self) -> SocketAddr {
        self.imap
    }

    /// Where POP3 listens (implicit TLS). The name to use is `localhost`.
    pub fn pop3(&self) -> SocketAddr {
        self.pop3
    }

    /// Where the CONNECT proxy listens. Besides loopback targets it knows
    /// `login.microsoftonline.com:443`, `smtp.office365.com:587` and `outlook.office365.com` with
    /// the ports 587, 993 and 995, which lead into the sandbox.
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where the same proxy listens within TLS. The name to use is `localhost`.
    pub fn secure_proxy(&self) -> SocketAddr {
        self.secure_proxy
    }

    /// Where the same proxy speaks SOCKS 5.
    pub fn socks(&self) -> SocketAddr {
        self.socks
    }

    /// Where the machine's managed identity endpoint listens, as a base URL of plain HTTP: the
    /// instance metadata service, and App Service's endpoint at `/msi/token`, which wants
    /// [`world::contoso::IDENTITY_HEADER`].
    pub fn machine(&self) -> String {
        format!("http://{}", self.machine)
    }

    /// The certificate to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The same certificate in a file in a private directory, which goes with the sandbox.
    pub fn ca_file(&self) -> &Path {
        self.authority.file()
    }

    /// The tenant, the records and the knobs; all of it may be changed while the sandbox runs.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Ends all connections and waits until they are gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Accepts on the tracker until the sandbox stops; each connection is a task of its own.
    fn serve<F, C>(&self, listener: TcpListener, connection: F)
    where
        F: Fn(TcpStream, SocketAddr) -> C + Send + 'static,
        C: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
                let Ok((stream, peer)) = accepted else {
                    // Out of descriptors, or a peer that left the queue: neither ends a server.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let (stop, served) = (stop.clone(), connection(stream, peer));
                tasks.spawn(async move {
                    // A peer that vanishes is an ordinary end of a connection.
                    let _ = stop.run_until_cancelled(served).await;
                });
            }
        });
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}
