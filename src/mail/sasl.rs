//! SASL mechanisms as pure functions: PLAIN, LOGIN, XOAUTH2 and OAUTHBEARER as the server reads
//! them, XOAUTH2 as the client writes it.
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

/// ^A: what separates the fields of XOAUTH2 and OAUTHBEARER.
const SEPARATOR: u8 = 1;

/// Why credentials cannot be used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum BadResponse {
    /// Not base64 (RFC 4648 section 4).
    #[error("Not valid base64")]
    Base64,
    /// Not of the mechanism's form.
    #[error("Malformed credentials")]
    Form,
    /// The user name is empty, too long, or holds a blank, ^A, CR, LF or NUL.
    #[error("User name not usable")]
    User,
    /// PLAIN that asks to act as somebody else.
    #[error("Authorization identity must be empty or the user itself")]
    Authorization,
    /// What came in place of a token is none, or is too long.
    #[error("Not a bearer token")]
    Token,
}

/// The longest user name taken: an address has at most 254 octets (RFC 5321 section 4.5.3.1.3).
const USER_LIMIT: usize = 320;
/// The longest token taken, in octets: Entra's have 1.5 to 2.5 kB, some with many groups over 4.
const TOKEN_LIMIT: usize = 16 * 1024;

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

/// The client's message of XOAUTH2, read: `"user=" user ^A "auth=Bearer " token ^A ^A`. Nothing
/// may be missing or more; what is sent on is built anew by [`xoauth2`], not this.
pub(super) fn read_xoauth2(response: &[u8]) -> Result<(String, SecretString), BadResponse> {
    let message = decode(response)?;
    let fields = message
        .strip_prefix(b"user=")
        .and_then(|fields| fields.strip_suffix(b"\x01\x01"))
        .ok_or(BadResponse::Form)?;
    let end = fields.iter().position(|&octet| octet == SEPARATOR).ok_or(BadResponse::Form)?;
    let authorization = fields[end + 1..].strip_prefix(b"auth=").ok_or(BadResponse::Form)?;
    Ok((token_user(&fields[..end])?, bearer(authorization)?))
}

/// The client's message of OAUTHBEARER (RFC 7628 section 3.1): `gs2-header ^A *kvpair ^A`, each
/// `kvpair` being `key "=" value ^A`. The user of the header is needed, because the upstream asks
/// for it; host, port and unknown keys are of no use and ignored, as the RFC has it.
pub(super) fn read_oauthbearer(response: &[u8]) -> Result<(String, SecretString), BadResponse> {
    let message = decode(response)?;
    let end = message.iter().position(|&octet| octet == SEPARATOR).ok_or(BadResponse::Form)?;
    let user = gs2_user(&message[..end])?;
    let pairs = message[end + 1..].strip_suffix(b"\x01\x01").ok_or(BadResponse::Form)?;
    let mut authorization = None;
    for pair in pairs.split(|&octet| octet == SEPARATOR) {
        let equals = pair.iter().position(|&octet| octet == b'=').ok_or(BadResponse::Form)?;
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        let is_key = !key.is_empty() && key.iter().all(u8::is_ascii_alphabetic);
        if !is_key || !value.iter().all(|octet| (b' '..=b'~').contains(octet)) {
            return Err(BadResponse::Form);
        }
        if key == b"auth" && authorization.replace(value).is_some() {
            return Err(BadResponse::Form);
        }
    }
    Ok((user, bearer(authorization.ok_or(BadResponse::Form)?)?))
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

/// The user of `gs2-header = ("n" / "y") "," ["a=" saslname] ","` (RFC 5801 section 4). Binding to
/// a channel (`p=`) is not offered.
fn gs2_user(header: &[u8]) -> Result<String, BadResponse> {
    let inner = header
        .strip_prefix(b"n,")
        .or_else(|| header.strip_prefix(b"y,"))
        .and_then(|rest| rest.strip_suffix(b","))
        .ok_or(BadResponse::Form)?;
    let name = match inner {
        b"" => return Err(BadResponse::User),
        _ => inner.strip_prefix(b"a=").ok_or(BadResponse::Form)?,
    };
    let mut user = Zeroizing::new(Vec::with_capacity(name.len()));
    let mut rest = name;
    while let Some((&octet, after)) = rest.split_first() {
        let (octet, after) = match (octet, after.get(..2)) {
            (b'=', Some(b"2C")) => (b',', &after[2..]),
            (b'=', Some(b"3D")) => (b'=', &after[2..]),
            (b'=' | b',', _) => return Err(BadResponse::Form),
            _ => (octet, after),
        };
        user.push(octet);
        rest = after;
    }
    token_user(&user)
}

/// `"Bearer" 1*SP b64token` (RFC 6750 section 2.1), which is what both mechanisms put behind
/// `auth=`. The scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(authorization: &[u8]) -> Result<SecretString, BadResponse> {
    let scheme = authorization.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "));
    let token = scheme.map(|_| authorization[7..].trim_ascii_start()).ok_or(BadResponse::Form)?;
    let unpadded = token.iter().rposition(|&octet| octet != b'=').map_or(0, |last| last + 1);
    let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~+/".contains(octet);
    if unpadded == 0 || token.len() > TOKEN_LIMIT || !token[..unpadded].iter().all(is_token) {
        return Err(BadResponse::Token);
    }
    Ok(text(token))
}

/// A user name beside a token: those clients are young enough to send UTF-8.
fn token_user(octets: &[u8]) -> Result<String, BadResponse> {
    if std::str::from_utf8(octets).is_err() { Err(BadResponse::User) } else { user_name(octets) }
}

fn user_name(octets: &[u8]) -> Result<String, BadResponse> {
    let user = Zeroizing::new(decoded(octets));
    // A blank would be in no configured name, and what Exchange makes of one is not known.
    let odd = |letter: char| letter.is_control() || letter.is_whitespace();
    let usable = !user.is_empty() && user.len() <= USER_LIMIT && !user.chars().any(odd);
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
