//! What comes back from the sign-in page: by the browser itself, or pasted by a person.

use reqwest::Url;
use secrecy::SecretString;
use tokio::sync::oneshot;
use zeroize::Zeroize;

use super::super::{
    Refused,
    entra::{aadsts, first_sentence, one_line},
};

/// A code is at least this long; what is shorter was typed, not pasted.
const SHORTEST_CODE: usize = 16;
/// Longer than any redirect address of Entra.
const LONGEST: usize = 32 * 1024;

/// Something that may be the answer of the sign-in page.
pub struct Arrival {
    text: String,
    /// The browser waits for a word; a person at the terminal hears it anyway.
    reply: Option<oneshot::Sender<Verdict>>,
}

/// What the browser is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Whether the user is signed in.
    pub fine: bool,
    /// In words, with nothing secret.
    pub words: String,
}

/// What an arrival says.
pub(super) enum Said {
    /// The code, for this sign-in as far as can be told.
    Code(SecretString),
    /// Something that may be a code, with nothing that ties it to this sign-in.
    Bare(SecretString),
    /// The page said no.
    No(Refused),
    /// It is nothing that was waited for; why.
    NotIt(&'static str),
    /// An empty line.
    Nothing,
}

impl Arrival {
    /// A line that a person pasted: the whole address, its query, or the code alone.
    pub fn pasted(line: String) -> Self {
        Self { text: line, reply: None }
    }

    /// The query of a browser's request, and where to hear what to tell it. Nothing is heard where
    /// the sign-in is over.
    pub fn by_browser(query: String) -> (Self, oneshot::Receiver<Verdict>) {
        let (reply, verdict) = oneshot::channel();
        (Self { text: query, reply: Some(reply) }, verdict)
    }

    /// Whether a person pasted it.
    pub(super) fn is_pasted(&self) -> bool {
        self.reply.is_none()
    }

    pub(super) fn answer(self, fine: bool, words: String) {
        if let Some(reply) = self.reply {
            let _ = reply.send(Verdict { fine, words }); // a browser that has gone needs no answer
        }
    }

    /// Reads it, and wipes it.
    pub(super) fn read(&mut self, state: &str) -> Said {
        let said = read(&self.text, self.is_pasted(), state);
        self.text.zeroize();
        said
    }
}

fn read(text: &str, pasted: bool, state: &str) -> Said {
    let text = text.trim().trim_matches(['"', '\'', '<', '>']);
    if text.is_empty() && pasted {
        return Said::Nothing;
    }
    if text.len() > LONGEST {
        return Said::NotIt("it is longer than any answer of a sign-in page");
    }
    let query = match text.split_once('?') {
        Some((_, query)) => query,
        None if !pasted || text.starts_with("code=") || text.contains("&code=") => text,
        None if text.contains("://") => {
            return Said::NotIt("the address holds no code; copy all of it, to its end");
        }
        None => return bare(text),
    };
    let query = query.split('#').next().unwrap_or_default();
    let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else {
        return Said::NotIt("it is no address");
    };
    let field = |name: &str| {
        let found = url.query_pairs().find(|(found, _)| found == name);
        found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
    };
    let (code, error) = (field("code"), field("error"));
    if code.is_none() && error.is_none() {
        return Said::NotIt(if field("code_challenge").is_some() {
            "that is the address to open; wanted is the one that the browser has at the end"
        } else {
            "it holds no code"
        });
    }
    if field("state").as_deref() != Some(state) {
        return Said::NotIt(
            "it belongs to another sign-in (its state is another); open the address that is shown \
             here",
        );
    }
    match (code, error) {
        (_, Some(error)) => {
            let description = first_sentence(&field("error_description").unwrap_or_default());
            let aadsts = aadsts(&description);
            let error = one_line(&error, 60);
            Said::No(Refused { error, description, aadsts, by_password: false })
        }
        (Some(code), None) => Said::Code(code.into()),
        (None, None) => Said::NotIt("it holds no code"),
    }
}

/// A code alone has no state. PKCE ties it to this sign-in, if it is one: Entra knows.
fn bare(text: &str) -> Said {
    if text.len() >= SHORTEST_CODE && text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Said::Bare(text.into());
    }
    Said::NotIt("it is neither the address that the browser has at the end, nor a code")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn an_answer_is_found_in_whatever_was_pasted() {
        let code = "1.AXkAlongcode_-0123";
        let long = "x".repeat(LONGEST + 1);
        let rows = [
            (true, format!("http://localhost:1/?code={code}&state=st"), format!("code {code}")),
            (
                true,
                format!("  \"http://localhost:1/?code={code}&state=st#\"\r"),
                format!("code {code}"),
            ),
            (true, format!("?state=st&code={code}"), format!("code {code}")),
            (true, format!("code={code}&state=st"), format!("code {code}")),
            (true, "code=a%2Bb+c&state=st".to_owned(), "code a+b c".to_owned()),
            (true, code.to_owned(), format!("bare {code}")),
            (false, format!("code={code}&state=st"), format!("code {code}")),
            (false, code.to_owned(), "not no code".to_owned()),
            (true, format!("http://localhost/?code={code}&state=other"), "not state".to_owned()),
            (true, format!("http://localhost/?code={code}"), "not state".to_owned()),
            (false, "error=access_denied&state=other".to_owned(), "not state".to_owned()),
            (
                false,
                "error=access_denied&error_description=AADSTS65004%3A+No.+Trace+ID%3A+1&state=st"
                    .to_owned(),
                "no access_denied AADSTS65004: No. Some(65004)".to_owned(),
            ),
            (false, "error=x%1b%5B2J&state=st".to_owned(), "no x [2J  None".to_owned()),
            (
                true,
                "https://login/authorize?code_challenge=x&state=st".to_owned(),
                "not address to open".to_owned(),
            ),
            (true, "http://localhost:1/".to_owned(), "not to its end".to_owned()),
            (true, "yes".to_owned(), "not neither".to_owned()),
            (true, "two words of some length".to_owned(), "not neither".to_owned()),
            (true, long, "not longer".to_owned()),
            (false, String::new(), "not no code".to_owned()),
            (true, "  ".to_owned(), "nothing".to_owned()),
        ];
        let mut ran = 0;
        for (pasted, text, expected) in rows {
            let got = match read(&text, pasted, "st") {
                Said::Code(code) => format!("code {}", code.expose_secret()),
                Said::Bare(code) => format!("bare {}", code.expose_secret()),
                Said::No(Refused { error, description, aadsts, .. }) => {
                    format!("no {error} {description} {aadsts:?}")
                }
                Said::NotIt(why) => {
                    let words = expected.strip_prefix("not ").unwrap_or("?");
                    assert!(why.contains(words), "{text}: {why}");
                    expected.clone()
                }
                Said::Nothing => "nothing".to_owned(),
            };
            assert_eq!(got, expected, "{text}");
            ran += 1;
        }
        assert_eq!(ran, 20);
    }
}
