//! TLS towards the outside: the system's roots plus the configured CA, names always verified.
//!
//! TLS 1.2 and 1.3 by rustls with ring. A failure says in words what was wrong with the
//! certificate, because behind a company proxy that is the most common of all. Must never know
//! what is spoken inside.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, Error as RustlsError,
    crypto::CryptoProvider,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use thiserror::Error;
use tokio_rustls::TlsConnector;

use super::{
    Io,
    error::{Trouble, is_proxy},
    presented::{Noting, Presented, noting},
    tunnel::Early,
};

/// Why the TLS side cannot be set up.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// The CA file cannot be used.
    #[error("outbound.ca_file {}: {why}; it must hold PEM certificates (-----BEGIN CERTIFICATE-----)", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system's certificates cannot be used.
    #[error(
        "the system's root certificates cannot be used: {0}; install the package ca-certificates, or set outbound.ca_file"
    )]
    Roots(RustlsError),
}

/// A client configuration that trusts the system's roots and those in `ca_file`.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsConfigError> {
    let extra = ca_file.map(read_ca).transpose()?.unwrap_or_default();
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(extra, Arc::clone(&provider)).map_err(|error| match ca_file {
        Some(path) => TlsConfigError::CaFile { path: path.to_owned(), why: error.to_string() },
        None => TlsConfigError::Roots(error),
    })?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsConfigError::Roots)?
        .dangerous() // the platform verifier is no danger: it checks chain and name
        .with_custom_certificate_verifier(Arc::new(Noting(verifier)))
        .with_no_client_auth();
    Ok(config)
}

/// TLS over `io`; `target` is for the words of a failure: `host:port`, with `proxy` in front where
/// it is one.
pub(super) async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    target: &str,
    io: Io,
) -> Result<Io, Trouble> {
    let trouble = |(what, remedy)| Trouble::Tls { target: target.to_owned(), what, remedy };
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| {
        trouble(("the host is no DNS name or address".to_owned(), "mend the host name".to_owned()))
    })?;
    match noting(TlsConnector::from(config).connect(name, io)).await {
        (Ok(tls), _) => Ok(Box::new(tls)),
        (Err(error), refused) => Err(match Early::within(&error) {
            Some(early) => Trouble::Early(early.clone()),
            None => trouble(words(&error, refused.as_ref(), is_proxy(target))),
        }),
    }
}

fn read_ca(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let unusable = |why: String| TlsConfigError::CaFile { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(format!("not PEM ({error})")))?;
    if certificates.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, RustlsError> {
    if extra.is_empty() {
        return Verifier::new(provider);
    }
    Verifier::new_with_extra_roots(extra, provider)
}

/// What happened and what to do, by the kind of failure.
fn words(error: &io::Error, refused: Option<&Presented>, by_proxy: bool) -> (String, String) {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
    let (what, remedy) = match rustls {
        Some(RustlsError::InvalidCertificate(certificate)) => {
            return certificate_words(certificate, refused);
        }
        Some(RustlsError::InvalidMessage(_)) if by_proxy => (
            "it does not speak TLS on this port".to_owned(),
            "write http:// in outbound.proxy, or the port on which the proxy speaks TLS",
        ),
        Some(RustlsError::InvalidMessage(_)) => (
            "the peer does not speak TLS here".to_owned(),
            "check upstream.port and upstream.security: 587 takes \"starttls\", 993 and 995 take \"tls\"",
        ),
        Some(other) => (
            other.to_string(),
            "the peer refuses this TLS; ask whoever runs it, or a proxy in between, why",
        ),
        None if error.kind() == io::ErrorKind::UnexpectedEof && by_proxy => (
            "it closed the connection during the handshake".to_owned(),
            "check that the proxy speaks TLS on this port; if not, write http:// in outbound.proxy",
        ),
        None if error.kind() == io::ErrorKind::UnexpectedEof => (
            "the peer closed the connection during the handshake".to_owned(),
            "a firewall or proxy may cut TLS it cannot inspect: ask for a bypass for this host",
        ),
        None => (
            error.to_string(),
            "the connection broke during the handshake: look at the firewall or proxy in between",
        ),
    };
    (what, remedy.to_owned())
}

fn certificate_words(error: &CertificateError, refused: Option<&Presented>) -> (String, String) {
    let whose = refused.map(|presented| format!(": {presented}")).unwrap_or_default();
    let (what, remedy) = match error {
        CertificateError::UnknownIssuer => (
            "the certificate is signed by an unknown authority".to_owned(),
            "if the issuer is a device of the company that inspects TLS, set outbound.ca_file to its CA \
             certificate or ask to have this host exempted; if it is a public one, install ca-certificates",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the certificate is for another name ({error})"),
            "check the host name; a captive portal or a proxy may be answering in its place",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the certificate has expired ({error})"),
            "check this machine's clock; if it is right, whoever issued the certificate must renew it",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (format!("the certificate is not valid yet ({error})"), "check this machine's clock")
        }
        other => (
            format!("the certificate is not acceptable ({other})"),
            "look at the certificate with: openssl s_client -starttls smtp -connect HOST:587",
        ),
    };
    (format!("{what}{whose}"), remedy.to_owned())
}
