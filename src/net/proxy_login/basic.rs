//! Basic (RFC 7617): user and password, as good as in clear.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::config::ProxyCredentials;

/// The value of `Proxy-Authorization`.
pub(super) fn login(credentials: &ProxyCredentials) -> Zeroizing<String> {
    let ProxyCredentials { username, password } = credentials;
    let pair = Zeroizing::new(format!("{username}:{}", password.expose_secret()));
    let pair = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
    Zeroizing::new(format!("Basic {}", *pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_user_colon_password_in_base64() {
        // RFC 7617 section 2.
        let row =
            ProxyCredentials { username: "Aladdin".to_owned(), password: "open sesame".into() };
        assert_eq!(*login(&row), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
