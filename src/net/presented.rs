//! Which certificate was presented when it was refused: the issuer's name tells who inspects TLS.
//!
//! The verdict is the real verifier's and is never changed; this only notes whose certificate it
//! was about. Must never decide anything.

use std::{cell::RefCell, fmt};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest name told, in characters.
const NAME: usize = 120;

tokio::task_local! {
    /// The certificate that this handshake refused.
    static REFUSED: RefCell<Option<Presented>>;
}

/// Whose certificate it is, and who says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Presented {
    subject: String,
    issuer: String,
}

impl fmt::Display for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, issuer } = self;
        if subject == issuer {
            return write!(f, "\"{subject}\" has signed it itself");
        }
        write!(f, "issued by \"{issuer}\" for \"{subject}\"")
    }
}

/// Runs one handshake, and gives what it returns with the certificate that was refused in it.
pub(super) async fn noting<T>(handshake: impl Future<Output = T>) -> (T, Option<Presented>) {
    let noted = async {
        let outcome = handshake.await;
        (outcome, REFUSED.with(RefCell::take))
    };
    REFUSED.scope(RefCell::new(None), noted).await
}

/// The real verifier, with a note of what it refused.
#[derive(Debug)]
pub(super) struct Noting(pub(super) Verifier);

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verdict.is_err() {
            // Outside of `noting` nobody asks for it.
            let _ = REFUSED.try_with(|refused| refused.replace(presented(end_entity)));
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn presented(certificate: &CertificateDer<'_>) -> Option<Presented> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = one_line(&certificate.subject().to_string());
    Some(Presented { subject, issuer: one_line(&certificate.issuer().to_string()) })
}

/// A stranger wrote it, and it goes to the log.
fn one_line(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(NAME)
        .collect();
    if name.is_empty() { "no name".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn names_are_told_on_one_line_and_not_without_end() {
        let mut params = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("a\nb{}", "x".repeat(500)));
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let told = presented(&der).unwrap().to_string();
        assert!(told.contains("has signed it itself") && told.contains("a b"), "{told}");
        assert!(!told.contains('\n') && told.len() < 300, "{told}");
    }

    proptest! {
        #[test]
        fn no_certificate_panics(der in any::<Vec<u8>>()) {
            let _ = presented(&CertificateDer::from(der));
        }
    }
}
