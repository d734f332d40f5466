//! A handshake with a client that failed: what it means, and what to do.

use std::io;

use rustls::{AlertDescription, Error as RustlsError, PeerIncompatible};
use thiserror::Error;

/// Why there is no TLS with a client.
#[derive(Debug, Error)]
#[error("no TLS with the client: {what}")]
pub struct HandshakeError {
    /// What happened.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

/// For a client that rustls cannot serve.
const TOO_OLD: &str = "TLS 1.0 and 1.1 are not spoken here: update the client, or let it use a listener without \
     TLS on a network that is trusted, or put stunnel in between";
/// For a client that does not like the certificate.
const DISTRUST: &str = "make the client trust the certificate's authority (or the self-signed certificate itself), \
     use one from an authority that it trusts, or switch verification off in the client";

impl HandshakeError {
    pub(super) fn of(error: &io::Error) -> Self {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
        let (what, remedy) = match rustls {
            Some(RustlsError::InvalidMessage(_)) => (
                "it sent something else than TLS".to_owned(),
                "look at the client's TLS setting: it and the listener's tls.mode must agree",
            ),
            Some(RustlsError::PeerIncompatible(why)) => incompatible(why),
            Some(RustlsError::AlertReceived(alert)) => alerted(*alert),
            Some(other) => (other.to_string(), "update the client, or look at its TLS settings"),
            None if error.kind() == io::ErrorKind::UnexpectedEof => (
                "it closed the connection during the handshake".to_owned(),
                "many clients do so when they do not trust the certificate; look at the client's log",
            ),
            None => (error.to_string(), "look at the network between the client and this machine"),
        };
        Self { what, remedy }
    }
}

fn incompatible(why: &PeerIncompatible) -> (String, &'static str) {
    match why {
        // rustls looks for the last of these first: TLS 1.2 brought it (RFC 5246 section 7.4.1.4.1).
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
            ("it speaks no TLS later than 1.1, or an early 1.2".to_owned(), TOO_OLD)
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired => (
            format!("it and we have no way in common ({why:?})"),
            "where it knows RSA only, give the listener a certificate with an RSA key; else update the \
             client, or let it use a listener without TLS on a network that is trusted",
        ),
        _ => (format!("it and we have no way in common ({why:?})"), TOO_OLD),
    }
}

fn alerted(alert: AlertDescription) -> (String, &'static str) {
    match alert {
        AlertDescription::UnknownCA => {
            ("it does not know the authority of our certificate".to_owned(), DISTRUST)
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            (format!("it does not accept our certificate ({alert:?})"), DISTRUST)
        }
        AlertDescription::CertificateExpired => (
            "it says that our certificate has ended, or not begun".to_owned(),
            "look at the certificate's dates and at the client's clock",
        ),
        AlertDescription::ProtocolVersion => ("it takes no TLS of ours".to_owned(), TOO_OLD),
        other => (format!("it ended the handshake ({other:?})"), DISTRUST),
    }
}
