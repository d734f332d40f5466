//! The SASL exchange with a client: PLAIN (RFC 4616) and LOGIN in every form seen, and XOAUTH2 and
//! OAUTHBEARER (RFC 7628) where a client may bring its own token.
//!
//! A token that is refused is answered with the protocol's plain failure, and not first with a
//! challenge of JSON as RFC 7628 section 3.2.2 has it: that is what Exchange Online does, so every
//! client that speaks these mechanisms to it knows how to take it, and it cannot hang clients
//! that do not expect another turn.
//!
//! The same for all three protocols, which differ only in how a challenge is dressed: with or
//! without initial response, `=` for an empty one, `*` to cancel at every step. Must never know
//! which protocol carries it.

use super::Asks;
use crate::mail::{
    Credentials,
    sasl::{self, BadResponse},
};

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
    /// XOAUTH2's message.
    Xoauth2,
    /// OAUTHBEARER's message.
    OauthBearer,
}

/// Where an exchange has got to.
pub(super) enum Turn {
    /// Send this challenge, in base64, and wait for the answer.
    Ask(Exchange, &'static str),
    /// The credentials.
    Judge(Credentials),
    /// The client has taken it back.
    Cancelled,
    /// What came cannot be used.
    Bad(BadResponse),
}

impl Exchange {
    /// Begins with a mechanism and its initial response; `None` for a mechanism that is not taken.
    pub(super) fn begin(asks: Asks, mechanism: &[u8], initial: Option<&[u8]>) -> Option<Turn> {
        // RFC 4954 section 4, RFC 4959 section 3: "=" is an initial response of no octets.
        let initial = initial.map(|response| if response == b"=" { &b""[..] } else { response });
        let exchange = match mechanism.to_ascii_uppercase().as_slice() {
            b"LOGIN" => {
                return Some(match initial {
                    Some(b"") | None => Turn::Ask(Self::LoginUser, USER_NAME),
                    Some(response) => Self::LoginUser.answer(response),
                });
            }
            b"PLAIN" => Self::Plain,
            b"XOAUTH2" if asks.takes_tokens() => Self::Xoauth2,
            b"OAUTHBEARER" if asks.takes_tokens() => Self::OauthBearer,
            _ => return None,
        };
        Some(match initial {
            Some(response) => exchange.answer(response),
            None => Turn::Ask(exchange, ""),
        })
    }

    /// Goes on with the client's line.
    pub(super) fn answer(self, response: &[u8]) -> Turn {
        let response = response.trim_ascii(); // some put a blank behind it
        if response == b"*" {
            return Turn::Cancelled;
        }
        let by_password = |(user, password)| Turn::Judge(Credentials::Password { user, password });
        let by_token = |(user, token)| Turn::Judge(Credentials::Token { user, token });
        let turn = match self {
            Self::Plain => sasl::plain(response).map(by_password),
            Self::LoginUser => sasl::login_user(response)
                .map(|user| Turn::Ask(Self::LoginPassword { user }, PASSWORD)),
            Self::LoginPassword { user } => {
                sasl::login_password(response).map(|password| by_password((user, password)))
            }
            Self::Xoauth2 => sasl::read_xoauth2(response).map(by_token),
            Self::OauthBearer => sasl::read_oauthbearer(response).map(by_token),
        };
        turn.unwrap_or_else(Turn::Bad)
    }
}
