//! The sandbox's certificate authority: fresh at each start and gone with it, or kept in a folder.
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
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

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

/// In a folder where they are kept: the authority's certificate, for clients to trust.
const CA_FILE: &str = "ca.pem";
/// In the same folder: the leaf and its key, for nobody but us. The authority's own key is not
/// kept, so that nothing else can ever be signed with it.
const LEAF_FILE: &str = "server.pem";

/// The authority and the leaf that it signed.
pub(super) struct Authority {
    pem: String,
    /// A private one, removed on drop; none where the files are kept.
    directory: Option<PathBuf>,
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
            file: directory.join(CA_FILE),
            directory: Some(directory),
            chain: vec![leaf, issuer.der().clone()],
            key: key.serialize_der(),
        };
        private_file(&made.file)?.write_all(made.pem.as_bytes())?;
        Ok(made)
    }

    /// Takes both certificates from this folder, or makes them and puts them there, so that who has
    /// once trusted the authority does so after the next start.
    pub(super) fn kept_in(folder: &Path) -> io::Result<Self> {
        if let Some(kept) = Self::read(folder) {
            return Ok(kept);
        }
        let (issuer, leaf, key) = certificates().map_err(io::Error::other)?;
        let blocks = [
            pem::Pem::new("CERTIFICATE", leaf.to_vec()),
            pem::Pem::new("PRIVATE KEY", key.serialize_der()),
        ];
        let (leaf_file, file) = (folder.join(LEAF_FILE), folder.join(CA_FILE));
        for old in [&leaf_file, &file] {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        private_file(&leaf_file)?.write_all(pem::encode_many(&blocks).as_bytes())?;
        fs::write(&file, issuer.pem())?; // for everybody: last, so that it never promises too much
        Ok(Self {
            pem: issuer.pem(),
            directory: None,
            file,
            chain: vec![leaf, issuer.der().clone()],
            key: key.serialize_der(),
        })
    }

    /// What an earlier start has kept, if it is whole and still holds.
    fn read(folder: &Path) -> Option<Self> {
        let file = folder.join(CA_FILE);
        let pem = fs::read_to_string(&file).ok()?;
        let issuer = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let kept = fs::read(folder.join(LEAF_FILE)).ok()?;
        let leaf = CertificateDer::from_pem_slice(&kept).ok()?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&kept).ok()?.secret_pkcs8_der().to_vec();
        for certificate in [&issuer, &leaf] {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            if !certificate.validity().is_valid() {
                return None;
            }
        }
        Some(Self { pem, directory: None, file, chain: vec![leaf, issuer], key })
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
        if let Some(directory) = &self.directory {
            // Nothing can be done about a directory that someone else has already removed.
            let _ = fs::remove_dir_all(directory);
        }
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
