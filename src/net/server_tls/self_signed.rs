//! A certificate of our own making, for clients that only need some TLS.
//!
//! Made once and then kept: a client that has been told to trust it does so as long as the file
//! stays. Nobody but a client that was told so can know that it is ours.

use std::{
    fs::Permissions,
    io::{self, Write},
    net::IpAddr,
    path::Path,
};

use jiff::{Timestamp, tz::Offset};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use tracing::info;

use super::files::CertificateError;
use crate::config::TlsFiles;

/// How long it is valid, in years. Devices keep no calendar of certificates.
const YEARS: i32 = 10;

/// Whether it is yet to be made.
///
/// # Errors
/// Where one of the two files is there without the other.
pub(super) fn is_missing(files: &TlsFiles) -> Result<bool, CertificateError> {
    match (files.certificate.exists(), files.key.exists()) {
        (true, true) => Ok(false),
        (false, false) => Ok(true),
        (true, false) => Err(alone(&files.certificate, "key")),
        (false, true) => Err(alone(&files.key, "certificate")),
    }
}

fn alone(path: &Path, other: &str) -> CertificateError {
    CertificateError::new(
        path,
        format!("it is there without its {other}"),
        "put the other back, or remove this one: then both are made anew",
    )
}

/// Makes certificate and key for this machine. Blocks.
///
/// # Errors
/// Where the files cannot be written.
pub(super) fn make(files: &TlsFiles, binds: &[IpAddr]) -> Result<(), CertificateError> {
    let failed = |path: &Path, why: String| {
        let what = format!("cannot make it: {why}");
        CertificateError::new(path, what, "let mailwicket write in the folder, or name other files")
    };
    let names = names(binds, &gethostname::gethostname().to_string_lossy());
    let (certificate, key) =
        made(&names).map_err(|error| failed(&files.certificate, error.to_string()))?;
    // The key first: it is of no use to anybody alone.
    for (path, pem, mode) in
        [(&files.key, key.serialize_pem(), 0o600), (&files.certificate, certificate, 0o644)]
    {
        put(path, &pem, mode).map_err(|error| failed(path, error.to_string()))?;
    }
    info!(
        event = "tls_certificate_made",
        certificate = %files.certificate.display(),
        names = names.join(" "),
        "self-signed certificate made; a client that verifies must be told to trust it",
    );
    Ok(())
}

/// What a client on this machine or on its network may call it.
fn names(binds: &[IpAddr], host: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let is_dns = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
    if !host.is_empty() && host.bytes().all(is_dns) {
        names.push(host.to_owned());
    }
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    names.extend(binds.iter().filter(|bind| !bind.is_unspecified()).map(ToString::to_string));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn made(names: &[String]) -> Result<(String, KeyPair), rcgen::Error> {
    let year = i32::from(Offset::UTC.to_datetime(Timestamp::now()).year());
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "mailwicket");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Devices' clocks are behind more often than not.
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + YEARS, 12, 31);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key))
}

/// Whole or not at all, and never over another.
fn put(path: &Path, pem: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    let permissions = permissions(mode);
    if let Some(permissions) = permissions {
        builder.permissions(permissions);
    }
    let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(pem.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // elsewhere there are none
fn permissions(mode: u32) -> Option<Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Elsewhere access is not a matter of mode bits.
#[cfg(not(unix))]
fn permissions(_: u32) -> Option<Permissions> {
    None
}
