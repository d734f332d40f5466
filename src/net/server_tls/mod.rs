//! TLS towards the client: a listener's certificate, kept up to date, and the handshake.
//!
//! The PEM files are looked at before every handshake, which costs far more than that: new ones
//! count at once, and where they are of no use the ones before stay in force. TLS 1.2 and 1.3 by
//! rustls with ring. A handshake runs in its session's task, never in an accept loop. Must never
//! know what is spoken inside.

mod files;
mod handshake;
mod self_signed;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::task;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

use self::files::{Loaded, Stamp};
pub use self::{files::CertificateError, handshake::HandshakeError};
use super::{Io, prefixed::prefixed};
use crate::config::{Listener, LocalTls, TlsFiles};

/// The first octet of a TLS handshake record (RFC 8446 section 5.1). No command of a mail protocol
/// begins with it.
pub const HANDSHAKE: u8 = 0x16;

/// What is there of a certificate.
#[derive(Debug)]
pub enum Seen {
    /// It can be used; the day (UTC) on which it ends.
    Usable(jiff::civil::Date),
    /// It is to be made at first use.
    ToBeMade,
}

/// Looks at certificate and key, and makes nothing. Blocks.
///
/// # Errors
/// What is wrong with the files, and what to do.
pub fn look_at(files: &TlsFiles) -> Result<Seen, CertificateError> {
    if files.self_signed && self_signed::is_missing(files)? {
        return Ok(Seen::ToBeMade);
    }
    files::load(files).map(|loaded| Seen::Usable(loaded.end))
}

/// The TLS ends of all listeners that have one.
#[derive(Clone, Default)]
pub struct Terminators(HashMap<TlsFiles, Arc<Terminator>>);

impl Terminators {
    /// Reads what the listeners name, and makes the self-signed certificates that are not there
    /// yet. Listeners that name the same files share them. Blocks.
    ///
    /// # Errors
    /// What is wrong with the files, and what to do.
    pub fn open(listeners: &[Arc<Listener>]) -> Result<Self, CertificateError> {
        let with_tls =
            || listeners.iter().filter_map(|each| Some((each.bind.ip(), each.tls.as_ref()?)));
        let mut terminators = HashMap::new();
        for (_, LocalTls { files, .. }) in with_tls() {
            if terminators.contains_key(files) {
                continue;
            }
            if files.self_signed && self_signed::is_missing(files)? {
                let sharing = with_tls().filter(|(_, tls)| tls.files == *files);
                self_signed::make(files, &sharing.map(|(bind, _)| bind).collect::<Vec<_>>())?;
            }
            terminators.insert(files.clone(), Arc::new(Terminator::open(files)?));
        }
        Ok(Self(terminators))
    }

    /// The one with this certificate.
    pub fn of(&self, tls: &LocalTls) -> Option<Arc<Terminator>> {
        self.0.get(&tls.files).cloned()
    }
}

/// The server's end of TLS, with one certificate.
pub struct Terminator {
    files: TlsFiles,
    /// What handshakes use.
    config: RwLock<Arc<ServerConfig>>,
    /// The files that were looked at last, useful or not.
    looked_at: Mutex<Stamp>,
}

impl Terminator {
    fn open(files: &TlsFiles) -> Result<Self, CertificateError> {
        let looked_at = Mutex::new(Stamp::of(files)); // before reading: a change meanwhile is seen
        let loaded = files::load(files)?;
        tell_end(files, &loaded);
        Ok(Self { files: files.clone(), config: RwLock::new(loaded.config), looked_at })
    }

    /// The server's side of a handshake. `said` is what the client has sent already. The limit on
    /// its time is the caller's.
    ///
    /// # Errors
    /// Why there is no TLS, with cause and remedy; the connection is gone.
    pub async fn accept(self: Arc<Self>, said: BytesMut, io: Io) -> Result<Io, HandshakeError> {
        let this = Arc::clone(&self);
        let _ = task::spawn_blocking(move || this.refresh()).await; // if not, what is there is used
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        match TlsAcceptor::from(config).accept(prefixed(said.freeze(), io)).await {
            Ok(tls) => Ok(Box::new(tls)),
            Err(error) => Err(HandshakeError::of(&error)),
        }
    }

    /// Reads the files again where they have changed. What cannot be used is told once.
    fn refresh(&self) {
        let Ok(mut looked_at) = self.looked_at.try_lock() else {
            return; // somebody is at it
        };
        let now = Stamp::of(&self.files);
        if *looked_at == now {
            return;
        }
        *looked_at = now;
        match files::load(&self.files) {
            Ok(loaded) => {
                let certificate = self.files.certificate.display();
                info!(event = "tls_certificate", %certificate, ends = %loaded.end, "new certificate");
                tell_end(&self.files, &loaded);
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
            }
            Err(error) => error!(
                event = "tls_certificate_refused",
                path = %error.path.display(),
                cause = error.what,
                remedy = error.remedy,
                "new certificate or key of no use: the ones before stay in force",
            ),
        }
    }
}

/// How many days before its end a certificate is warned of.
const WARN_AHEAD: i32 = 14;

/// Not an error: some devices look at no date.
fn tell_end(files: &TlsFiles, loaded: &Loaded) {
    let days = loaded.days_left();
    if days > WARN_AHEAD {
        return;
    }
    let certificate = files.certificate.display();
    let cause = if days < 0 { "the certificate has ended" } else { "the certificate ends soon" };
    let remedy = if files.self_signed {
        "remove the certificate and its key, and reload: new ones are made"
    } else {
        "put a new certificate and its key in place; no restart is needed"
    };
    warn!(event = "tls_certificate_end", %certificate, ends = %loaded.end, cause, remedy, "certificate of a listener");
}
