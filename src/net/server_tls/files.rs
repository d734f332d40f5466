//! A certificate chain and its key out of PEM files (RFC 7468), and whether they serve.
//!
//! Of a key nothing is told but that it does not serve.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use jiff::{Timestamp, civil::Date, tz::Offset};
use rustls::{
    Error as RustlsError, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::TlsFiles;

/// No chain of certificates comes near this, in octets.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Why certificate and key of a listener cannot be used.
#[derive(Debug, Error)]
#[error("listener.tls: {}: {what}; {remedy}", path.display())]
pub struct CertificateError {
    /// The file that is at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl CertificateError {
    pub(super) fn new(path: &Path, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), what: what.into(), remedy }
    }
}

/// A certificate that can be used.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) ends: Ends,
}

/// When a certificate ends.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The day (UTC).
    pub on: Date,
    /// How many days from today (UTC); less than none where it is past.
    pub days_left: i32,
}

impl Ends {
    fn of(on: Date) -> Self {
        let today = Offset::UTC.to_datetime(Timestamp::now()).date();
        let days_left = today.until(on).map_or(i32::MAX, |span| span.get_days());
        Self { on, days_left }
    }

    /// Whether that day is past.
    pub fn has_ended(self) -> bool {
        self.days_left < 0
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loaded(ends {})", self.ends.on)
    }
}

/// By what the files are known again: time, length and, where there is one, number of each.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Stamp([Option<(Option<SystemTime>, u64, u64)>; 2]);

impl Stamp {
    pub(super) fn of(files: &TlsFiles) -> Self {
        Self([&files.certificate, &files.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok(), metadata.len(), number(&metadata)))
        }))
    }
}

/// One that is moved into place may be as old and as long as the one before.
#[cfg(unix)]
fn number(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &fs::Metadata) -> u64 {
    0
}

/// Reads both and sees that they serve. Blocks.
pub(super) fn load(files: &TlsFiles) -> Result<Loaded, CertificateError> {
    let (chain, key) = (chain(&files.certificate)?, key(&files.key)?);
    let ends = ends(&files.certificate, chain.first())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unfit(files, &error))?;
    Ok(Loaded { config: Arc::new(config), ends })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::new(path, format!("not PEM ({error})"), CONVERT))?;
    if chain.is_empty() {
        return Err(CertificateError::new(path, "there is no certificate in it", CONVERT));
    }
    Ok(chain)
}

const CONVERT: &str = "it must hold the server's certificate as PEM (-----BEGIN CERTIFICATE-----), and behind it those \
     that lead to its authority; convert a .pfx with: openssl pkcs12 -in FILE -nodes -out cert.pem";

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = read(path)?;
    let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|sign| text.windows(sign.len()).any(|window| window == *sign));
    if is_encrypted {
        return Err(CertificateError::new(
            path,
            "its private key is encrypted",
            "decrypt it with: openssl pkey -in FILE -out cert.key, and chmod 600 that",
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::new(
            path,
            "there is no private key in it",
            "set key to the PEM file of the certificate's private key (-----BEGIN PRIVATE KEY-----)",
        ),
        // The error may quote a line, and that may be the key's.
        _ => CertificateError::new(path, "its private key is not PEM", "write it anew"),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let unreadable = |why: String| {
        CertificateError::new(
            path,
            format!("cannot read it: {why}"),
            "mend the path or the file's permissions",
        )
    };
    let mut octets = Zeroizing::new(Vec::with_capacity(16 * 1024)); // growing would leave copies
    File::open(path)
        .and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut octets))
        .map_err(|error| unreadable(error.to_string()))?;
    if octets.len() as u64 > FILE_LIMIT {
        return Err(unreadable("it is longer than 1 MiB".to_owned()));
    }
    Ok(octets)
}

fn ends(path: &Path, leaf: Option<&CertificateDer<'_>>) -> Result<Ends, CertificateError> {
    let der = leaf.map(AsRef::as_ref).unwrap_or_default();
    let (_, leaf) = x509_parser::parse_x509_certificate(der).map_err(|_| {
        CertificateError::new(path, "the certificate in it is broken", "write it anew")
    })?;
    let end = Timestamp::from_second(leaf.validity().not_after.timestamp());
    Ok(Ends::of(end.map_or(Date::MAX, |end| Offset::UTC.to_datetime(end).date())))
}

fn unfit(files: &TlsFiles, error: &RustlsError) -> CertificateError {
    match error {
        RustlsError::InconsistentKeys(_) => CertificateError::new(
            &files.certificate,
            format!("the certificate is not the one of the key in {}", files.key.display()),
            "set certificate and key to files that were made together; the server's own certificate comes first",
        ),
        RustlsError::InvalidCertificate(why) => CertificateError::new(
            &files.certificate,
            format!("the certificate cannot be used ({why})"),
            "make a new one, of version 3",
        ),
        _ => CertificateError::new(
            &files.key,
            "its private key cannot be used",
            "use an RSA key of 2048 to 8192 bits, or one of the curve P-256, P-384 or Ed25519",
        ),
    }
}
