//! The names of Exchange Online's machines, which its servers put into their greetings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::moment::random_hex;

/// A machine that a session has met, as the outside and as the inside call it.
pub(super) struct Frontend {
    /// As in the greeting of the submission server.
    pub(super) outside: String,
    /// As in its errors.
    pub(super) inside: String,
}

impl Frontend {
    /// Some machine.
    pub(super) fn any() -> Self {
        let number = random_hex(2).to_uppercase();
        Self {
            outside: format!("AM0PR{number}CA.outlook.office365.com"),
            inside: format!("AM9PR{number}MB.eurprd04.prod.outlook.com"),
        }
    }

    /// The name that IMAP and POP3 greet with: the base64 of UTF-16, little end first.
    pub(super) fn tag(&self) -> String {
        let octets: Vec<u8> = self.inside.encode_utf16().flat_map(u16::to_le_bytes).collect();
        STANDARD.encode(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_spelt_as_observed() {
        let inside = "CY4PR16CA0016.namprd16.prod.outlook.com".to_owned();
        let tag = Frontend { outside: String::new(), inside }.tag();
        assert_eq!(
            tag,
            "QwBZADQAUABSADEANgBDAEEAMAAwADEANgAuAG4AYQBtAHAAcgBkADEANgAuAHAAcgBvAGQALgBvAHUAdABsAG8AbwBrAC4AYwBvAG0A"
        );
    }
}
