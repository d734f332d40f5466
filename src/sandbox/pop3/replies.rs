//! The words of Exchange Online's POP3 server, as documented or observed. A comment marks what is
//! only known from Exchange Server or not known at all.

use crate::sandbox::Profile;
use crate::sandbox::frontend::Frontend;

pub(super) const OK: &str = "+OK";
pub(super) const AUTHENTICATED: &str = "+OK User successfully authenticated.";
pub(super) const AUTH_FAILED: &str =
    "-ERR Authentication failure: unknown user name or bad password.";
pub(super) const PROTOCOL_ERROR: &str = "-ERR Protocol error. Connection is closed. 10";
pub(super) const UNKNOWN: &str = "-ERR Protocol error. 19";
/// From Exchange Server.
pub(super) const OUT_OF_RANGE: &str = "-ERR The specified message is out of range.";
/// From Exchange Server.
pub(super) const SIGNING_OFF: &str = "+OK Microsoft Exchange Server POP3 server signing off.";
/// As reported from Exchange Online and Exchange Server: without a response code.
pub(super) const TEMPORARY: &str = "-ERR Server Unavailable. 21";
/// The literal is not known; the code is that of RFC 2449.
pub(super) const IN_USE: &str = "-ERR [IN-USE] The mailbox is in use.";

pub(super) fn greeting(profile: Profile) -> String {
    let tag = Frontend::any().tag();
    match profile {
        Profile::Exo2023 => format!("+OK The Microsoft Exchange POP3 service is ready. [{tag}]"),
        Profile::Exo2026 => {
            format!("+OK Microsoft Exchange POP3 server ready (tcpproxy/15.20.9137.005). [{tag}]")
        }
    }
}

pub(super) fn capabilities(profile: Profile) -> &'static str {
    match profile {
        Profile::Exo2023 => "+OK\r\nTOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.",
        // Not observed yet: what is left without passwords.
        Profile::Exo2026 => "+OK\r\nTOP\r\nUIDL\r\nSASL XOAUTH2\r\n.",
    }
}

/// The answer to a password.
pub(super) fn basic_refused(profile: Profile) -> &'static str {
    match profile {
        Profile::Exo2023 => "-ERR Logon failure: unknown user name or bad password.",
        Profile::Exo2026 => "-ERR Basic authentication is disabled",
    }
}
