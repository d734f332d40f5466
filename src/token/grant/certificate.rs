//! The app's certificate and its private key, as they are in their files: PEM or PKCS#12.
//!
//! A file is read when it is needed and forgotten afterwards. Whatever is wrong with it is told
//! with the file's name and with what to do; of a key or a password nothing is told. Everything
//! here blocks: not for an async thread. Must never know what is signed.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, tz::TimeZone};
use p12_keystore::KeyStore;
use pem::Pem;
use pkcs8::{EncryptedPrivateKeyInfo, ObjectIdentifier, PrivateKeyInfo};
use ring::signature::RsaKeyPair;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::super::TokenError;
use crate::config::{CertificateFiles, Date};

/// No file of a credential comes near this, in octets.
const FILE_LIMIT: u64 = 1024 * 1024;
/// Where a section of a PEM file begins (RFC 7468 section 2).
const PEM_BEGIN: &[u8] = b"-----BEGIN ";
/// `rsaEncryption` (RFC 8017 appendix C).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A certificate that may be used now, and the private key that belongs to it.
pub(super) struct Pair {
    /// SHA-256 of the certificate's DER form, by which Entra finds it.
    pub(super) thumbprint: [u8; 32],
    /// The key; RSA of at least 2048 bits.
    pub(super) key: RsaKeyPair,
}

/// A private key in one of its DER forms.
enum Key {
    /// RFC 5958.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// RFC 8017 appendix A.1.2.
    Pkcs1(Zeroizing<Vec<u8>>),
}

/// The day (UTC) on which the certificate ends, be it in the past.
///
/// # Errors
/// [`TokenError::Unavailable`] with the file and the remedy. Blocks.
pub fn certificate_end(files: &CertificateFiles) -> Result<Date, TokenError> {
    let (certificate, _) = contents(files)?;
    let (_, end) = validity(&parsed(&files.certificate, &certificate)?);
    Ok(day(end))
}

/// Whether certificate and key can be used at this time, as a request for a token would find them.
///
/// # Errors
/// [`TokenError::Unavailable`] with the file and the remedy. Blocks.
pub fn certificate_fits(files: &CertificateFiles, now: SystemTime) -> Result<(), TokenError> {
    read(files, now).map(drop)
}

/// Reads both, and checks them: they belong together, and the certificate is valid at this time.
pub(super) fn read(files: &CertificateFiles, now: SystemTime) -> Result<Pair, TokenError> {
    let (der, key_inside) = contents(files)?;
    let certificate = parsed(&files.certificate, &der)?;
    let (key_file, key) = match (&files.key, key_inside) {
        (Some(file), _) => (file.as_path(), key_of(file, &sections(file, &load(file)?)?, files)?),
        (None, Some(key)) => (files.certificate.as_path(), key),
        (None, None) => {
            return Err(unusable(
                &files.certificate,
                "it holds a certificate and no private key",
                "set key to the PEM file of the private key",
            ));
        }
    };
    let key = usable(key_file, &key)?;
    if certificate.public_key().subject_public_key.data.as_ref() != key.public().as_ref() {
        let words = format!("the certificate is not the one of the key in {}", key_file.display());
        return Err(unusable(
            &files.certificate,
            &words,
            "set certificate and key to files that were made together; in a PEM file the app's own certificate comes first",
        ));
    }
    let (begin, end) = validity(&certificate);
    if now > end {
        return Err(unusable(
            &files.certificate,
            &format!("the certificate ended on {}", day(end)),
            "make a new certificate, upload it to the app registration and put it in place; no restart is needed",
        ));
    }
    // Entra's own tolerance: a certificate made a moment ago on a machine that is ahead is fine.
    if now + Duration::from_secs(300) < begin {
        return Err(unusable(
            &files.certificate,
            &format!("the certificate begins only on {}", day(begin)),
            "check this machine's clock; else wait, or use the certificate that is valid now",
        ));
    }
    Ok(Pair { thumbprint: Sha256::digest(&der).into(), key })
}

/// The certificate in DER form, and the key where it is in the same file and no other is named.
fn contents(files: &CertificateFiles) -> Result<(Vec<u8>, Option<Key>), TokenError> {
    let path = &files.certificate;
    let bytes = load(path)?;
    if bytes.first() == Some(&0x30) {
        if x509_parser::parse_x509_certificate(&bytes).is_ok() {
            return Ok((bytes.to_vec(), None));
        }
        let (certificate, key) = pkcs12(path, &bytes, files.password.as_ref())?;
        return Ok((certificate, Some(key)));
    }
    let sections = sections(path, &bytes)?;
    let certificate = sections.iter().find(|section| section.tag() == "CERTIFICATE");
    let certificate = certificate.ok_or_else(|| {
        unusable(
            path,
            "it holds no certificate",
            "set certificate to a PEM file with BEGIN CERTIFICATE in it, or to a PKCS#12 file (.pfx, .p12)",
        )
    })?;
    let holds_key = sections.iter().any(|section| section.tag().ends_with("PRIVATE KEY"));
    let key = (files.key.is_none() && holds_key).then(|| key_of(path, &sections, files));
    Ok((certificate.contents().to_vec(), key.transpose()?))
}

fn pkcs12(
    path: &Path,
    bytes: &[u8],
    password: Option<&SecretString>,
) -> Result<(Vec<u8>, Key), TokenError> {
    let convert =
        "convert it with: openssl pkcs12 -in FILE -out app.pem, and set certificate to app.pem";
    // An empty password is one that PKCS#12 files may have.
    let given = password.map_or("", |password| password.expose_secret());
    let store = KeyStore::from_pkcs12(bytes, given).map_err(|error| match error {
        p12_keystore::error::Error::MacError(_) if password.is_none() => unusable(
            path,
            "it is a PKCS#12 file with a password",
            "set password next to certificate, such as { file = \"pfx_password.txt\" }",
        ),
        p12_keystore::error::Error::MacError(_) => unusable(
            path,
            "its password is not the one that is configured",
            "correct password next to certificate",
        ),
        error => {
            unusable(path, &format!("it is no PKCS#12 file that can be read: {error}"), convert)
        }
    })?;
    let (_, chain) = store.private_key_chain().ok_or_else(|| {
        unusable(
            path,
            "it holds no private key with its certificate",
            "export it again with the private key",
        )
    })?;
    let certificate = chain.chain().first().map(|leaf| leaf.as_der().to_vec()).unwrap_or_default();
    Ok((certificate, Key::Pkcs8(Zeroizing::new(chain.key().to_vec()))))
}

/// The first private key of a PEM file.
fn key_of(path: &Path, sections: &[Pem], files: &CertificateFiles) -> Result<Key, TokenError> {
    let convert = "convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out app.key";
    let section = sections.iter().find(|section| section.tag().ends_with("PRIVATE KEY"));
    let section = section.ok_or_else(|| {
        unusable(
            path,
            "it holds no private key",
            "set key to a PEM file with BEGIN PRIVATE KEY in it",
        )
    })?;
    let der = Zeroizing::new(section.contents().to_vec());
    match section.tag() {
        _ if section.headers().get("Proc-Type").is_some() => Err(unusable(
            path,
            "its private key is encrypted in OpenSSL's old form (Proc-Type: 4,ENCRYPTED), which is too weak",
            convert,
        )),
        "PRIVATE KEY" => Ok(Key::Pkcs8(der)),
        "RSA PRIVATE KEY" => Ok(Key::Pkcs1(der)),
        "ENCRYPTED PRIVATE KEY" => {
            let Some(password) = &files.password else {
                return Err(unusable(
                    path,
                    "its private key is encrypted",
                    "set password next to certificate, such as { file = \"key_password.txt\" }",
                ));
            };
            let sealed = EncryptedPrivateKeyInfo::try_from(der.as_slice()).map_err(|error| {
                unusable(
                    path,
                    &format!("its private key is encrypted in a way that is not known: {error}"),
                    convert,
                )
            })?;
            let opened = sealed.decrypt(password.expose_secret()).map_err(|_| {
                unusable(
                    path,
                    "its private key does not open with the password that is configured",
                    "correct password next to certificate; if it is right, convert the key with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out app.key",
                )
            })?;
            Ok(Key::Pkcs8(Zeroizing::new(opened.as_bytes().to_vec())))
        }
        _ => Err(not_rsa(path)),
    }
}

fn usable(path: &Path, key: &Key) -> Result<RsaKeyPair, TokenError> {
    let pair = match key {
        Key::Pkcs1(der) => RsaKeyPair::from_der(der),
        Key::Pkcs8(der) => {
            let info = PrivateKeyInfo::try_from(der.as_slice());
            if info.is_ok_and(|info| info.algorithm.oid != RSA) {
                return Err(not_rsa(path));
            }
            RsaKeyPair::from_pkcs8(der)
        }
    };
    pair.map_err(|error| {
        let words = match error.to_string().as_str() {
            "TooSmall" => "its RSA key is shorter than 2048 bits".to_owned(),
            reason => format!("its private key cannot be used: {reason}"),
        };
        unusable(
            path,
            &words,
            "make a new RSA key of 2048, 3072 or 4096 bits and a certificate for it",
        )
    })
}

fn not_rsa(path: &Path) -> TokenError {
    unusable(
        path,
        "its private key is not an RSA key",
        "Entra takes RSA only for this: make a new RSA key of 2048 bits or more and a certificate for it",
    )
}

fn parsed<'a>(path: &Path, der: &'a [u8]) -> Result<X509Certificate<'a>, TokenError> {
    let parsed = x509_parser::parse_x509_certificate(der);
    parsed.map(|(_, certificate)| certificate).map_err(|_| {
        unusable(path, "its certificate cannot be read", "export the certificate again")
    })
}

/// A certificate's first and last moment.
fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let time = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let validity = certificate.validity();
    (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()))
}

fn day(time: SystemTime) -> Date {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX); // year 9999 and no end
    TimeZone::UTC.to_datetime(time).date()
}

/// The sections of a PEM file (RFC 7468). Text between them is no harm.
fn sections(path: &Path, bytes: &[u8]) -> Result<Vec<Pem>, TokenError> {
    let begun = bytes.windows(PEM_BEGIN.len()).filter(|window| *window == PEM_BEGIN).count();
    // The library passes over a section without an end.
    let whole = pem::parse_many(bytes).ok().filter(|sections| sections.len() == begun);
    whole.ok_or_else(|| {
        unusable(
            path,
            "it is a damaged PEM file",
            "copy it again, whole, with its BEGIN and END lines",
        )
    })
}

/// A credential's file, whole.
pub(super) fn load(path: &Path) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let cannot = |error: std::io::Error| {
        unusable(
            path,
            &format!("it cannot be read: {error}"),
            "check the path in proxy.toml, and that the user whom mailwicket runs as may read the file",
        )
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(cannot)?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(unusable(path, "it is longer than 1 MiB", "check the path in proxy.toml"));
    }
    Ok(bytes)
}

/// This file is why there is no token.
pub(super) fn unusable(path: &Path, what: &str, remedy: &str) -> TokenError {
    TokenError::Unavailable {
        what: format!("{}: {what}", path.display()),
        remedy: Some(remedy.to_owned()),
        summary: "the proxy's own credential for Entra cannot be used".to_owned(),
    }
}
