//! SASL mechanisms as pure functions: PLAIN and LOGIN as the server reads them, XOAUTH2 as the
//! client writes it.
//!
//! Base64 is part of each protocol's profile, so it is done here once for all three. Must never
//! know which protocol carries it.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Some devices leave the padding away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why credentials cannot be used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum BadResponse {
    /// Not base64 (RFC 4648 section 4).
    #[error("Not valid base64")]
    Base64,
    /// Not of the mechanism's form.
    #[error("Malformed credentials")]
    Form,
    /// The user name is empty, too long, or holds ^A, CR, LF or NUL.
    #[error("User name not usable")]
    User,
    /// PLAIN that asks to act as somebody else.
    #[error("Authorization identity must be empty or the user itself")]
    Authorization,
}

/// The longest user name taken: an address has at most 254 octets (RFC 5321 section 4.5.3.1.3).
const USER_LIMIT: usize = 320;

/// The message of PLAIN (RFC 4616 section 2): `[authzid] NUL authcid NUL passwd`. Many clients
/// repeat the user as authorization identity; nobody may name another.
pub(super) fn plain(response: &[u8]) -> Result<(String, SecretString), BadResponse> {
    let message = decode(response)?;
    let mut parts = message.splitn(3, |&octet| octet == 0);
    let (Some(authorization), Some(user), Some(password)) =
        (parts.next(), parts.next(), parts.next())
    else {
        return Err(BadResponse::Form);
    };
    if password.contains(&0) {
        return Err(BadResponse::Form);
    }
    if !authorization.is_empty() && !authorization.eq_ignore_ascii_case(user) {
        return Err(BadResponse::Authorization);
    }
    Ok((user_name(user)?, text(password)))
}

/// The user's answer in LOGIN.
pub(super) fn login_user(response: &[u8]) -> Result<String, BadResponse> {
    user_name(&decode(response)?)
}

/// The password's answer in LOGIN.
pub(super) fn login_password(response: &[u8]) -> Result<SecretString, BadResponse> {
    Ok(text(&decode(response)?))
}

/// User and password as they are, for the commands that carry them without SASL (IMAP LOGIN, POP3
/// USER and PASS).
pub(super) fn bare_user(user: &[u8]) -> Result<String, BadResponse> {
    user_name(user)
}

/// See [`bare_user`].
pub(super) fn bare_password(password: &[u8]) -> Result<SecretString, BadResponse> {
    if password.contains(&0) { Err(BadResponse::Form) } else { Ok(text(password)) }
}

/// The client's message of XOAUTH2 (Microsoft: "Authenticate an IMAP, POP or SMTP connection using
/// OAuth"), in base64. `None` where user or token hold an octet that would end a field.
pub(super) fn xoauth2(user: &str, token: &SecretString) -> Option<Zeroizing<String>> {
    let token = token.expose_secret();
    let clean = |text: &str| !text.is_empty() && !text.contains(['\x01', '\r', '\n', '\0']);
    if !clean(user) || !clean(token) {
        return None;
    }
    let message = Zeroizing::new(format!("user={user}\x01auth=Bearer {token}\x01\x01"));
    Some(Zeroizing::new(BASE64.encode(message.as_bytes())))
}

/// The length of a token, in characters.
pub(super) fn token_length(token: &SecretString) -> usize {
    token.expose_secret().len()
}

/// What a server's challenge after the token says: JSON in base64, as Gmail and Dovecot send it.
pub(super) fn challenge(text: &[u8]) -> Option<String> {
    let bytes = decode(text).ok()?;
    (!bytes.is_empty()).then(|| super::wire::one_line(&bytes, 200))
}

fn decode(response: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadResponse> {
    BASE64.decode(response).map(Zeroizing::new).map_err(|_| BadResponse::Base64)
}

fn user_name(octets: &[u8]) -> Result<String, BadResponse> {
    let user = Zeroizing::new(decoded(octets));
    let usable =
        !user.is_empty() && user.len() <= USER_LIMIT && !user.chars().any(char::is_control);
    if usable { Ok(user.to_string()) } else { Err(BadResponse::User) }
}

fn text(octets: &[u8]) -> SecretString {
    let mut decoded = decoded(octets);
    let secret = SecretString::from(decoded.as_str());
    decoded.zeroize();
    secret
}

/// UTF-8, or else Latin-1, which older devices send.
fn decoded(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => octets.iter().map(|&octet| char::from(octet)).collect(),
    }
}
