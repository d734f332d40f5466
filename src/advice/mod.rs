//! What a server's reply or an Entra error code means, and what to do about it, in plain words.
//!
//! A pure table: it looks at text and returns text. The words are for logs, `check` and `explain`;
//! no decision of the program rests on them, because Microsoft may change numbers and sentences.
//! Each row says whether its reply is documented by the owner of the service or only observed in
//! public transcripts. Must never know: any other room, the network, the clock.

mod entra;
mod login;
mod mailbox;
mod proxy;
mod row;
mod submission;
#[cfg(test)]
mod tests;

use self::row::{Row, Text};

/// The cause and the remedy of one reply or code.
#[derive(Debug, Eq, PartialEq)]
pub struct Advice {
    /// The reply code or error number, such as `535 5.7.3` or `AADSTS7000215`.
    pub code: &'static str,
    /// What has happened; at most 160 characters, one sentence or two.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The advice for a mail server's reply, matched by code and phrase; the most specific row wins.
///
/// Exchange Online appends a remembered refusal to a later reply (`530 5.7.57 ... Error: 535
/// 5.7.139 ...`); then the inner reply is the one explained.
pub fn for_reply(reply: &str) -> Option<&'static Advice> {
    let text = Text::new(reply);
    let inner = text.after_last("error: 5").and_then(|inner| best(&inner, replies()));
    inner.or_else(|| best(&text, replies()))
}

/// The advice for a mail server's reply to a login, by whose token it was: an app's, or a user's
/// own.
pub fn for_login(reply: &str, by_app: bool) -> Option<&'static Advice> {
    let rows = if by_app { mailbox::BY_APP } else { mailbox::BY_USER };
    best(&Text::new(reply), rows.iter()).or_else(|| for_reply(reply))
}

/// The advice for an Entra error number, such as `7000215`.
pub fn for_aadsts(code: u32) -> Option<&'static Advice> {
    entra::rows().find(|row| row.codes.contains(&code)).map(|row| &row.advice)
}

/// The advice for what a machine's managed identity endpoint says when it refuses.
pub fn for_managed_identity(refusal: &str) -> Option<&'static Advice> {
    best(&Text::new(refusal), entra::machine::ROWS.iter())
}

/// The advice for the status with which an HTTP proxy answered CONNECT.
pub fn for_proxy_status(status: u16) -> Option<&'static Advice> {
    let found = proxy::STATUSES.iter().find(|(statuses, _)| statuses.contains(&status));
    found.map(|(_, advice)| advice)
}

/// All advice that fits a free text: Entra codes, server replies and proxy answers found in it, each
/// once, Entra's first. A bare number counts as an Entra code or, alone, as a proxy's status.
pub fn explain(text: &str) -> Vec<&'static Advice> {
    // A reply pasted over several lines is one reply; a log of several replies is several.
    let mut replies: Vec<_> = text.lines().filter_map(for_reply).collect();
    if replies.is_empty() {
        replies.extend(for_reply(text));
    }
    let whole = Text::new(text);
    let proxies = match best(&whole, proxy::PHRASES.iter()) {
        Some(advice) => vec![advice],
        None => proxy_statuses(&whole).into_iter().filter_map(for_proxy_status).collect(),
    };
    let mut found: Vec<&'static Advice> = Vec::new();
    let codes = entra_codes(text).into_iter().filter_map(for_aadsts);
    for advice in codes.chain(for_managed_identity(text)).chain(replies).chain(proxies) {
        if !found.contains(&advice) {
            found.push(advice);
        }
    }
    found
}

fn replies() -> impl Iterator<Item = &'static Row> {
    login::ROWS.iter().chain(submission::ROWS).chain(mailbox::ROWS)
}

fn best(text: &Text, rows: impl Iterator<Item = &'static Row>) -> Option<&'static Advice> {
    let scored = rows.filter_map(|row| Some((row.fits(text)?, row)));
    scored.max_by_key(|(score, _)| *score).map(|(_, row)| &row.advice)
}

/// The numbers behind `AADSTS`, and bare ones that stand as words of their own: a port behind a
/// colon or a part of an identifier is none.
fn entra_codes(text: &str) -> Vec<u32> {
    let words = text.split(|c: char| c.is_whitespace() || "[](){},;=\"'".contains(c));
    let code = |word: &str| {
        let word = word.trim_end_matches([':', '.', '!', '?']).to_ascii_lowercase();
        word.rsplit("aadsts").next().unwrap_or(&word).parse().ok()
    };
    words.filter_map(code).collect()
}

/// The statuses in a text that is about a proxy, or is nothing but a number.
fn proxy_statuses(text: &Text) -> Vec<u16> {
    let numbers = || text.numbers().filter_map(|number| number.parse().ok());
    let about_a_proxy = ["proxy", "connect ", "http/1"].iter().any(|word| text.contains(word));
    if about_a_proxy || text.is_number() { numbers().collect() } else { Vec::new() }
}
