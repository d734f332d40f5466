//! The signed statement that proves who the app is (RFC 7523).

use std::path::Path;

use secrecy::SecretString;

use super::super::TokenError;
use crate::config::{CertificateFiles, EntraApp};

/// `client_assertion_type` (RFC 7523 section 2.2).
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion signed with the app's certificate.
pub(super) async fn signed(
    _app: &EntraApp,
    files: &CertificateFiles,
) -> Result<SecretString, TokenError> {
    foreign(&files.certificate).await
}

/// The token of another issuer, as it is in its file.
pub(super) async fn foreign(_token_file: &Path) -> Result<SecretString, TokenError> {
    Err(TokenError::NoPassword)
}
