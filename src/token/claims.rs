//! What an access token says of itself: for whom it is, whose it is, what it allows.
//!
//! The claims of Entra's access tokens (Microsoft: "Access token claims reference"), read from the
//! payload of a JWT (RFC 7519 section 3) without a look at its signature: that is the resource's to
//! check, and nothing here decides what anybody may do. They are for words only, so that a person
//! sees what Exchange Online sees. Whatever is odd is left out: a token is never wrong for being
//! unlike the tokens of today. Must never know: what the claims should be, or who asks.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Token, entra::one_line};

/// RFC 7515 section 2 writes no padding; some issuers do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// How much of one claim is kept, in characters.
const LONGEST: usize = 320;
/// How many permissions are kept.
const MOST: usize = 100;

/// The claims of one token. Printable, each on one line; nothing of them opens anything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// `aud`: the resource, as URI or application id; the first, where there are several.
    pub audience: Option<String>,
    /// `appid`, or `azp` in tokens of version 2.0: the app that got it.
    pub app_id: Option<String>,
    /// `oid`: the object id of the user; in an app's own token of its service principal, which is
    /// the enterprise application and not the app registration.
    pub object_id: Option<String>,
    /// `tid`: the directory.
    pub tenant_id: Option<String>,
    /// `roles`: what the app may do in its own name.
    pub roles: Vec<String>,
    /// `scp`: what the app may do in the user's name.
    pub scopes: Vec<String>,
    /// `upn`, `preferred_username` or `unique_name`: the user.
    pub user: Option<String>,
}

impl Token {
    /// What it says of itself; `None` where it is opaque, as the tokens of personal accounts are.
    pub fn claims(&self) -> Option<Claims> {
        Claims::read(self.secret().expose_secret())
    }
}

impl Claims {
    fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None; // a JWE (RFC 7516 section 3.1), which is opaque to its holder
        }
        let payload = Zeroizing::new(BASE64.decode(payload).ok()?);
        let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
        let first = |names: &[&str]| names.iter().find_map(|name| text(claims.get(*name)?));
        Some(Self {
            audience: first(&["aud"]),
            app_id: first(&["appid", "azp"]),
            object_id: first(&["oid"]),
            tenant_id: first(&["tid"]),
            roles: words(claims.get("roles")),
            scopes: words(claims.get("scp")),
            user: first(&["upn", "preferred_username", "unique_name"]),
        })
    }
}

/// A claim that is a text, or the first of several.
fn text(claim: &Value) -> Option<String> {
    let text = match claim {
        Value::String(text) => text,
        Value::Array(several) => several.iter().find_map(Value::as_str)?,
        _ => return None,
    };
    let text = one_line(text.trim(), LONGEST);
    (!text.is_empty()).then_some(text)
}

/// A list, or words with blanks between.
fn words(claim: Option<&Value>) -> Vec<String> {
    let all: Vec<&str> = match claim {
        Some(Value::String(text)) => text.split_whitespace().collect(),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    all.into_iter().take(MOST).map(|word| one_line(word, LONGEST)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn token(payload: &str) -> String {
        format!("eyJ0eXAiOiJKV1QifQ.{}.sig", BASE64.encode(payload).trim_end_matches('='))
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn both_versions_of_entras_tokens_are_read() {
        let of_app = token(
            r#"{"aud":"https://outlook.office365.com","appid":"a","oid":"o","tid":"t",
                "roles":["SMTP.SendAsApp","IMAP.AccessAsApp"],"exp":1}"#,
        );
        let claims = Claims::read(&of_app).unwrap();
        assert_eq!(claims.audience.as_deref(), Some("https://outlook.office365.com"));
        assert_eq!((claims.app_id.as_deref(), claims.object_id.as_deref()), (Some("a"), Some("o")));
        assert_eq!(claims.roles, texts(&["SMTP.SendAsApp", "IMAP.AccessAsApp"]));
        assert_eq!((claims.scopes, claims.user), (vec![], None));

        let of_user = token(
            r#"{"aud":["guid","other"],"azp":"b","preferred_username":" ann@contoso.com ",
                "scp":"SMTP.Send  IMAP.AccessAsUser.All","ver":"2.0"}"#,
        );
        let claims = Claims::read(&of_user).unwrap();
        assert_eq!(claims.audience.as_deref(), Some("guid"));
        assert_eq!(claims.app_id.as_deref(), Some("b"));
        assert_eq!(claims.user.as_deref(), Some("ann@contoso.com"));
        assert_eq!(claims.scopes, texts(&["SMTP.Send", "IMAP.AccessAsUser.All"]));
    }

    #[test]
    fn what_is_no_jwt_is_opaque_and_what_is_odd_is_left_out() {
        let mut ran = 0;
        for opaque in
            ["", "EwB4A8l6BAAU", "a.b", "a.b.c", "..", &token("[1]"), &token("{"), "a.!.c"]
        {
            assert_eq!(Claims::read(opaque), None, "{opaque}");
            ran += 1;
        }
        let encrypted = format!("{}.x.y", token("{}"));
        assert_eq!(Claims::read(&encrypted), None, "five parts are a JWE");
        for odd in ["{}", r#"{"aud":7,"roles":"","scp":{},"upn":" ","oid":null,"tid":[]}"#] {
            assert_eq!(Claims::read(&token(odd)), Some(Claims::default()), "{odd}");
            ran += 1;
        }
        assert_eq!(ran, 10);
        let padded = format!("h.{}.s", BASE64.encode(r#"{"aud":"abc"}"#));
        assert!(padded.contains('='), "{padded}");
        assert!(Claims::read(&padded).is_some());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(?s).{0,400}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                vec((".{0,9}", inner), 0..6).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(token in "(?s).{0,200}|[a-zA-Z0-9_=-]{0,90}(\\.[a-zA-Z0-9_=-]{0,90}){0,5}") {
            let _ = Claims::read(&token);
        }

        /// Whatever a token says comes out as lines of bounded length.
        #[test]
        fn claims_of_any_kind_are_printable_lines(
            values in vec(json(), 9),
        ) {
            let names = ["aud", "appid", "azp", "oid", "tid", "roles", "scp", "upn", "unique_name"];
            let all: Map<_, _> = names.iter().map(|&name| name.to_owned()).zip(values).collect();
            let claims = Claims::read(&token(&Value::from(all).to_string())).unwrap();
            let Claims { audience, app_id, object_id, tenant_id, roles, scopes, user } = claims;
            prop_assert!(roles.len() <= MOST && scopes.len() <= MOST);
            let single = [audience, app_id, object_id, tenant_id, user].into_iter().flatten();
            for text in single.chain(roles).chain(scopes) {
                prop_assert!(text.chars().count() <= LONGEST);
                prop_assert!(!text.chars().any(char::is_control));
            }
        }
    }
}
