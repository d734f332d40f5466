//! The sandbox's certificate authority: fresh at each start, gone with it.
//!
//! One leaf certificate covers `localhost`, the loopback addresses and the real host names, so
//! that clients configured for Microsoft 365 meet a certificate that fits (RFC 6125 section 6.4).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::sandbox::moment::{Moment, random_hex};

/// The names and addresses that the leaf certificate covers.
const NAMES: [&str; 6] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "login.microsoftonline.com",
    "smtp.office365.com",
    "outlook.office365.com",
];

/// The authority and the leaf that it signed. The private directory is removed on drop.
pub(super) struct Authority {
    pem: String,
    directory: PathBuf,
    file: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Authority {
    /// Makes both certificates and writes the authority's into a directory only we may read.
    pub(super) fn create() -> io::Result<Self> {
        let (issuer, leaf, key) = certificates().map_err(io::Error::other)?;
        let directory = std::env::temp_dir().join(format!("mailwicket-sandbox-{}", random_hex(16)));
        private_directory(&directory)?;
        let made = Self {
            pem: issuer.pem(),
            file: directory.join("ca.pem"),
            directory,
            chain: vec![leaf, issuer.der().clone()],
            key: key.serialize_der(),
        };
        private_file(&made.file)?.write_all(made.pem.as_bytes())?;
        Ok(made)
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The server side of TLS 1.2 and 1.3 with the leaf certificate.
    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(self.chain.clone(), key)
            })
            .map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // Nothing can be done about a directory that someone else has already removed.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

type Made = (CertifiedIssuer<'static, KeyPair>, CertificateDer<'static>, KeyPair);

fn certificates() -> Result<Made, rcgen::Error> {
    let today = Moment::now(0);
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "mailwicket sandbox authority");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    root.not_before = date_time_ymd(today.year() - 1, 1, 1);
    root.not_after = date_time_ymd(today.year() + 1, 12, 31);
    let issuer = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "outlook.com");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    // Some verifiers refuse leaf certificates that live longer than 825 days.
    leaf.not_before = date_time_ymd(today.year() - 1, 12, 1);
    leaf.not_after = date_time_ymd(today.year() + 1, 12, 31);
    let key = KeyPair::generate()?;
    let signed = leaf.signed_by(&key, &issuer)?;
    Ok((issuer, signed.der().clone(), key))
}

fn private_directory(path: &Path) -> io::Result<()> {
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
