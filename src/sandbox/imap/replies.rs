//! The words of Exchange Online's IMAP server, as documented or observed. A comment marks what is
//! only known from Exchange Server or not known at all.

use crate::sandbox::Profile;
use crate::sandbox::frontend::Frontend;
use crate::sandbox::moment::guid;
use crate::sandbox::world::ImapEnd;

pub(super) const AUTHENTICATED: &str = "OK AUTHENTICATE completed.";
pub(super) const AUTH_FAILED: &str = "NO AUTHENTICATE failed.";
pub(super) const BASIC_OFF: &str = "NO Basic authentication is disabled.";
pub(super) const LOGIN_FAILED: &str = "NO LOGIN failed.";
pub(super) const NOT_CONNECTED: &str = "User is authenticated but not connected.";
pub(super) const UNAVAILABLE: &str = "NO Server Unavailable. 15";
pub(super) const THROTTLED: &str =
    "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
pub(super) const INVALID_STATE: &str = "BAD Command received in Invalid state.";
pub(super) const SIGNING_OFF: &str = "* BYE Microsoft Exchange Server IMAP4 server signing off.";
/// The four below are from Exchange Server.
pub(super) const COMMAND_ERROR: &str = "BAD Command Error. 10";
pub(super) const ARGUMENT_ERROR: &str = "BAD Command Argument Error. 11";
pub(super) const INVALID_SET: &str = "BAD The specified message set is invalid.";
pub(super) const CONTINUE: &str = "+ Ready for additional command text.";
pub(super) const IDLING: &str = "+ IDLE accepted, awaiting DONE command.";
/// The literals of all below are not known; codes as in RFC 3501, 4315 and 7889.
pub(super) const NO_FOLDER: &str = "NO The mailbox doesn't exist.";
pub(super) const TRY_CREATE: &str = "NO [TRYCREATE] The mailbox doesn't exist.";
pub(super) const FOLDER_EXISTS: &str = "NO The mailbox already exists.";
pub(super) const FOLDER_FIXED: &str = "NO The mailbox can't be changed.";
pub(super) const READ_ONLY: &str = "NO The mailbox is selected read-only.";
pub(super) const BAD_CHARSET: &str =
    "NO [BADCHARSET (US-ASCII UTF-8)] The specified charset is not supported.";
pub(super) const TOO_BIG: &str = "NO [TOOBIG] The message exceeds the maximum size.";
pub(super) const LITERAL_TOO_LONG: &str = "BAD Command Argument Error. 12";

/// What IMAP4 calls itself; its state is `OK`, or `PREAUTH` by a fault.
pub(super) fn greeting(profile: Profile, state: &str) -> String {
    let tag = Frontend::any().tag();
    match profile {
        Profile::Exo2023 => {
            format!("* {state} The Microsoft Exchange IMAP4 service is ready. [{tag}]")
        }
        Profile::Exo2026 => format!(
            "* {state} Microsoft Exchange IMAP4 service ready. {} (tcpproxy/15.21.0406.000 \
             BACKENDAUTHENTICATE) [{tag}]",
            guid()
        ),
    }
}

pub(super) fn capabilities(profile: Profile, logged_in: bool, sasl_ir: bool) -> String {
    let login = match profile {
        Profile::Exo2023 => "AUTH=PLAIN AUTH=XOAUTH2",
        Profile::Exo2026 => "AUTH=XOAUTH2 LOGINDISABLED",
    };
    let sasl_ir = if sasl_ir { " SASL-IR" } else { "" };
    // Observed with the older generation; that the newer says the same is a guess.
    let more = if logged_in {
        " CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE"
    } else {
        ""
    };
    format!(
        "* CAPABILITY IMAP4 IMAP4rev1 {login}{sasl_ir} UIDPLUS MOVE ID UNSELECT{more} CHILDREN \
         IDLE NAMESPACE LITERAL+"
    )
}

/// The last words of a session that is ended; none where it ends in silence.
pub(super) fn bye(end: ImapEnd) -> Option<&'static str> {
    match end {
        ImapEnd::TokenExpired => Some("* BYE Session invalidated - AccessTokenExpired"),
        ImapEnd::Idle => Some("* BYE Connection is closed. 13"),
        ImapEnd::Error => Some("* BYE Connection closed. 14"),
        ImapEnd::Silent => None,
    }
}
