//! What a proxy asks for: `Proxy-Authenticate` (RFC 9110 sections 11.6.1 and 11.7.1).
//!
//! One field holds one challenge or a list of them, and a list's commas are those of its parameters
//! too; only a grammar tells them apart. Pure: text in, challenges out. Must never know what a scheme
//! means.

use std::fmt;

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{is_not, tag, take_while, take_while1},
    character::complete::{char, none_of, satisfy, space0, space1},
    combinator::{map, not, opt, peek, recognize, value, verify},
    multi::{fold_many0, many0, separated_list1},
    sequence::{delimited, preceded, separated_pair, terminated},
};

/// The most challenges taken from one answer, and the most parameters of one. None comes near it.
const MOST: usize = 32;

/// One challenge.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Challenge {
    /// The scheme as it was written, such as `NTLM`.
    pub scheme: String,
    /// The token of schemes that have one in place of parameters; in base64.
    pub token: Option<String>,
    /// Names in lower case and values, in order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of this name, which is in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is of this scheme.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        if let Some(token) = &self.token {
            write!(f, " {token}")?;
        }
        for (at, (name, value)) in self.parameters.iter().enumerate() {
            let before = if at == 0 { " " } else { ", " };
            write!(f, "{before}{name}={}", quoted(value))?;
        }
        Ok(())
    }
}

/// A quoted-string (RFC 9110 section 5.6.4).
pub fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// The challenges in one field's value. What follows the first fault is left out: a proxy that
/// writes one odd challenge behind good ones can still be logged in at.
pub fn challenges(text: &str) -> Vec<Challenge> {
    let gap = || take_while(|letter| matches!(letter, ',' | ' ' | '\t'));
    let one = terminated(challenge, peek(preceded(space0, alt((tag(","), end)))));
    let list = preceded(gap(), separated_list1((space0, char(','), gap()), one)).parse(text);
    let mut found = list.map_or_else(|_| Vec::new(), |(_, found)| found);
    found.truncate(MOST);
    found
}

/// `challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]`
fn challenge(text: &str) -> IResult<&str, Challenge> {
    let (text, scheme) = verify(token, |scheme: &str| scheme.len() <= MOST).parse(text)?;
    let bare = Challenge { scheme: scheme.to_owned(), ..Challenge::default() };
    let whole_token = terminated(token68, peek(preceded(space0, alt((tag(","), end)))));
    let (text, with_token) = opt(preceded(space1, whole_token)).parse(text)?;
    if let Some(token) = with_token {
        return Ok((text, Challenge { token: Some(token.to_owned()), ..bare }));
    }
    let between = (space0, char(','), take_while(|letter| matches!(letter, ',' | ' ' | '\t')));
    let (text, parameters) =
        opt(preceded(space1, separated_list1(between, parameter))).parse(text)?;
    let mut parameters = parameters.unwrap_or_default();
    parameters.truncate(MOST);
    Ok((text, Challenge { parameters, ..bare }))
}

/// `auth-param = token BWS "=" BWS ( token / quoted-string )`. An unquoted value may hold what a
/// token must not, because proxies' realms do.
fn parameter(text: &str) -> IResult<&str, (String, String)> {
    let bare = map(is_not(",\""), |value: &str| value.trim_end().to_owned());
    let value = alt((quoted_string, bare));
    let pair = separated_pair(token, (space0, char('='), not(char('=')), space0), value);
    map(pair, |(name, value)| (name.to_ascii_lowercase(), value)).parse(text)
}

/// `quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE`
fn quoted_string(text: &str) -> IResult<&str, String> {
    let letter = alt((preceded(char('\\'), satisfy(|_| true)), none_of("\"\\")));
    let inside = fold_many0(letter, String::new, |mut all, letter| {
        all.push(letter);
        all
    });
    delimited(char('"'), inside, char('"')).parse(text)
}

/// `token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn token68(text: &str) -> IResult<&str, &str> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-._~+/".contains(letter);
    recognize((take_while1(letter), many0(value((), char('='))))).parse(text)
}

/// `token = 1*tchar` (RFC 9110 section 5.6.2)
fn token(text: &str) -> IResult<&str, &str> {
    let letter =
        |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    take_while1(letter).parse(text)
}

fn end(text: &str) -> IResult<&str, &str> {
    verify(nom::combinator::rest, str::is_empty).parse(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each as `scheme`, `scheme:token`, or `scheme{name=value|...}`.
    fn read(text: &str) -> Vec<String> {
        let shown = |challenge: &Challenge| match (&challenge.token, &challenge.parameters[..]) {
            (Some(token), []) => format!("{}:{token}", challenge.scheme),
            (None, []) => challenge.scheme.clone(),
            (None, all) => {
                let all: Vec<_> = all.iter().map(|(n, v)| format!("{n}={v}")).collect();
                format!("{}{{{}}}", challenge.scheme, all.join("|"))
            }
            both => panic!("{both:?}"),
        };
        challenges(text).iter().map(shown).collect()
    }

    #[test]
    fn challenges_of_every_form_are_told_apart() {
        let rows: &[(&str, &[&str])] = &[
            ("Negotiate", &["Negotiate"]),
            ("NTLM TlRMTVNTUAACAAAA=", &["NTLM:TlRMTVNTUAACAAAA="]),
            ("NTLM, Basic realm=x", &["NTLM", "Basic{realm=x}"]),
            (
                "Negotiate YII+/==,NTLM ,Basic realm=\"a, b\"",
                &["Negotiate:YII+/==", "NTLM", "Basic{realm=a, b}"],
            ),
            (
                "Basic realm=\"say \\\"hi\\\" \\\\\", Negotiate",
                &["Basic{realm=say \"hi\" \\}", "Negotiate"],
            ),
            (
                "Digest realm=\"r\", qop=\"auth,auth-int\", Nonce = \"n==\" ,stale=FALSE, Digest realm=r2,nonce=m",
                &[
                    "Digest{realm=r|qop=auth,auth-int|nonce=n==|stale=FALSE}",
                    "Digest{realm=r2|nonce=m}",
                ],
            ),
            (",, Basic realm=the company, ,NTLM,", &["Basic{realm=the company}", "NTLM"]),
            ("Basic realm=\"\"", &["Basic{realm=}"]),
            ("Basic realm=\"x\", <garbage>, NTLM", &["Basic{realm=x}"]),
            ("Basic realm=\"never ends", &[]),
            ("", &[]),
            ("=", &[]),
        ];
        for (text, wanted) in rows {
            assert_eq!(read(text), *wanted, "{text}");
        }
        assert_eq!(rows.len(), 12);
    }

    fn any_challenge() -> impl Strategy<Value = Challenge> {
        let parameters = proptest::collection::vec(("[a-z]{1,8}", "[ -~äß]{0,12}"), 0..4);
        ("[A-Za-z-]{1,12}", proptest::option::of("[A-Za-z0-9+/]{1,20}={0,2}"), parameters).prop_map(
            |(scheme, token, parameters)| match token {
                Some(_) => Challenge { scheme, token, parameters: Vec::new() },
                None => Challenge { scheme, token, parameters },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(list in proptest::collection::vec(any_challenge(), 1..5)) {
            let printed: Vec<_> = list.iter().map(Challenge::to_string).collect();
            prop_assert_eq!(challenges(&printed.join(", ")), list);
        }

        #[test]
        fn whatever_is_read_is_read_again_once_printed(text in any::<String>(), near in "[A-Za-z=\", \\\\]{0,60}") {
            for text in [text, near] {
                let found = challenges(&text);
                let printed: Vec<_> = found.iter().map(Challenge::to_string).collect();
                prop_assert_eq!(challenges(&printed.join(", ")), found);
            }
        }
    }
}
