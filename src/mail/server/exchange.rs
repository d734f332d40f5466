//! The SASL exchange with a legacy client: PLAIN (RFC 4616) and LOGIN, in every form seen.
//!
//! The same for all three protocols, which differ only in how a challenge is dressed: with or
//! without initial response, `=` for an empty one, `*` to cancel at every step. Must never know
//! which protocol carries it.

use secrecy::SecretString;

use crate::mail::sasl::{self, BadResponse};

/// The challenge for the user name: "Username:". Devices compare it octet by octet.
const USER_NAME: &str = "VXNlcm5hbWU6";
/// The challenge for the password: "Password:".
const PASSWORD: &str = "UGFzc3dvcmQ6";

/// What the client's next line is.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN's message.
    Plain,
    /// LOGIN's user name.
    LoginUser,
    /// LOGIN's password.
    LoginPassword {
        /// What came before.
        user: String,
    },
}

/// Where an exchange has got to.
pub(super) enum Turn {
    /// Send this challenge, in base64, and wait for the answer.
    Ask(Exchange, &'static str),
    /// The credentials.
    Judge(String, SecretString),
    /// The client has taken it back.
    Cancelled,
    /// What came cannot be used.
    Bad(BadResponse),
}

impl Exchange {
    /// Begins with a mechanism and its initial response; `None` for a mechanism that is not taken.
    pub(super) fn begin(mechanism: &[u8], initial: Option<&[u8]>) -> Option<Turn> {
        // RFC 4954 section 4, RFC 4959 section 3: "=" is an initial response of no octets.
        let initial = initial.map(|response| if response == b"=" { &b""[..] } else { response });
        if mechanism.eq_ignore_ascii_case(b"PLAIN") {
            return Some(match initial {
                Some(response) => Self::Plain.answer(response),
                None => Turn::Ask(Self::Plain, ""),
            });
        }
        if mechanism.eq_ignore_ascii_case(b"LOGIN") {
            return Some(match initial {
                Some(b"") | None => Turn::Ask(Self::LoginUser, USER_NAME),
                Some(response) => Self::LoginUser.answer(response),
            });
        }
        None
    }

    /// Goes on with the client's line.
    pub(super) fn answer(self, response: &[u8]) -> Turn {
        if response.trim_ascii() == b"*" {
            return Turn::Cancelled;
        }
        let turn = match self {
            Self::Plain => {
                sasl::plain(response).map(|(user, password)| Turn::Judge(user, password))
            }
            Self::LoginUser => sasl::login_user(response)
                .map(|user| Turn::Ask(Self::LoginPassword { user }, PASSWORD)),
            Self::LoginPassword { user } => {
                sasl::login_password(response).map(|password| Turn::Judge(user, password))
            }
        };
        turn.unwrap_or_else(Turn::Bad)
    }
}
