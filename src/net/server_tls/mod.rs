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
pub use self::{
    files::{CertificateError, Ends},
    handshake::HandshakeError,
};
use super::{Io, prefixed::prefixed};
use crate::config::{Listener, LocalTls, TlsFiles};

/// The first octet of a TLS handshake record (RFC 8446 section 5.1). No command of a mail protocol
/// begins with it.
pub const HANDSHAKE: u8 = 0x16;

/// What is there of a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// It serves, or did so until it ended.
    Usable(Ends),
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
    files::load(files).map(|loaded| Seen::Usable(loaded.ends))
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
        tell_end(files, loaded.ends);
        Ok(Self { files: files.clone(), config: RwLock::new(loaded.config), looked_at })
    }

    /// The server's side of a handshake. `said` is what the client has sent already. The limit on
    /// its time is the caller's.
    ///
    /// # Errors
    /// Why there is no TLS, with cause and remedy; the connection is gone.
    pub async fn accept(self: Arc<Self>, said: BytesMut, io: Io) -> Result<Io, HandshakeError> {
        let this = Arc::clone(&self);
        // Told here, in the session's span. Where it cannot be done what is there is used.
        if let Ok(Some(refreshed)) = task::spawn_blocking(move || this.refresh()).await {
            self.tell(refreshed);
        }
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        match TlsAcceptor::from(config).accept(prefixed(said.freeze(), io)).await {
            Ok(tls) => Ok(Box::new(tls)),
            Err(error) => Err(HandshakeError::of(&error)),
        }
    }

    /// Reads the files again where they have changed, and each change once. Blocks.
    fn refresh(&self) -> Option<Result<Ends, CertificateError>> {
        let mut looked_at = self.looked_at.try_lock().ok()?; // else somebody is at it
        let now = Stamp::of(&self.files);
        if *looked_at == now {
            return None;
        }
        *looked_at = now;
        Some(files::load(&self.files).map(|Loaded { config, ends }| {
            *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
            ends
        }))
    }

    fn tell(&self, refreshed: Result<Ends, CertificateError>) {
        match refreshed {
            Ok(ends) => {
                let certificate = self.files.certificate.display();
                info!(event = "tls_certificate", %certificate, ends = %ends.on, "new certificate");
                tell_end(&self.files, ends);
            }
            Err(CertificateError { path, what, remedy }) => error!(
                event = "tls_certificate_refused",
                path = %path.display(),
                cause = what,
                remedy,
                "new certificate or key of no use: the ones before stay in force",
            ),
        }
    }
}

/// How many days before its end a certificate is warned of.
const WARN_AHEAD: i32 = 14;

/// Not an error: some devices look at no date.
fn tell_end(files: &TlsFiles, ends: Ends) {
    if ends.days_left > WARN_AHEAD {
        return;
    }
    let certificate = files.certificate.display();
    let cause =
        if ends.has_ended() { "the certificate has ended" } else { "the certificate ends soon" };
    let remedy = if files.self_signed {
        "remove the certificate and its key, and reload: new ones are made"
    } else {
        "put a new certificate and its key in place; no restart is needed"
    };
    warn!(event = "tls_certificate_end", %certificate, ends = %ends.on, cause, remedy, "certificate of a listener");
}
