//! What server replies, AADSTS codes and proxy answers mean, and what to do: a pure table.
//!
//! The words here are only words. Nothing decides by them, because Microsoft changes codes and
//! texts; what can be decided rests on reply classes, HTTP status and the OAuth error. Sources:
//! Microsoft's published references, and replies as observed in public logs.

mod entra;
mod mail;
mod proxy;

/// What one code or reply means.
#[derive(Debug, Eq, PartialEq)]
pub struct Advice {
    /// The code, as one would search for it.
    pub code: &'static str,
    /// What it means, in a sentence or two.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// A reply is matched by all of these, without regard to case; of several that match, the one
/// with the longest parts is meant.
struct Pattern {
    parts: &'static [&'static str],
    advice: Advice,
}

/// What a mail server's reply means. A reply that carries an earlier one inside (`530 5.7.57 ...
/// Error: 535 5.7.139 ...`) means the inner one.
pub fn for_reply(reply: &str) -> Option<&'static Advice> {
    let reply = reply.to_ascii_lowercase();
    let matching = mail::REPLIES.iter().filter(|pattern| {
        pattern
            .parts
            .iter()
            .all(|part| reply.contains(&part.to_ascii_lowercase()))
    });
    let longest =
        matching.max_by_key(|pattern| pattern.parts.iter().map(|part| part.len()).sum::<usize>());
    longest.map(|pattern| &pattern.advice)
}

/// What an AADSTS number means.
pub fn for_aadsts(code: u32) -> Option<&'static Advice> {
    entra::CODES
        .iter()
        .find(|(codes, _)| codes.contains(&code))
        .map(|(_, advice)| advice)
}

/// What a proxy's status in answer to CONNECT means.
pub fn for_proxy_status(status: u16) -> Option<&'static Advice> {
    proxy::STATUSES
        .iter()
        .find(|(known, _)| *known == status)
        .map(|(_, advice)| advice)
}

/// All that is known about a text: the AADSTS codes in it, the server reply that it is, or a
/// proxy's answer to CONNECT. A bare number is taken for any of them.
pub fn explain(text: &str) -> Vec<&'static Advice> {
    let mut found = Vec::new();
    let mut add = |advice: Option<&'static Advice>| {
        if let Some(advice) = advice.filter(|advice| !found.contains(advice)) {
            found.push(advice);
        }
    };
    for number in numbers(text) {
        if number > 10_000 {
            add(for_aadsts(number));
        }
    }
    add(for_reply(text));
    let about_a_proxy = ["connect", "proxy", "squid", "tunnel"]
        .iter()
        .any(|word| text.to_ascii_lowercase().contains(word));
    let bare = text.trim().len() == 3;
    if about_a_proxy || bare {
        for number in numbers(text) {
            add(u16::try_from(number).ok().and_then(for_proxy_status));
        }
    }
    found
}

fn numbers(text: &str) -> impl Iterator<Item = u32> {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_specific_reply_is_meant() {
        let rows = [
            (
                "535 5.7.3 Authentication unsuccessful [HOST 2026-01-01T00:00:00.000Z 08D]",
                "535 5.7.3",
            ),
            (
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit x",
                "535 5.7.139 (mailbox)",
            ),
            (
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit x",
                "535 5.7.139 (tenant)",
            ),
            (
                "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.",
                "535 5.7.139 (basic)",
            ),
            (
                "535 5.7.139 Authentication unsuccessful, something new",
                "535 5.7.139",
            ),
            (
                "530 5.7.57 Client not authenticated to send mail.",
                "530 5.7.57",
            ),
            (
                "530 5.7.57 Client not authenticated to send mail. Error: 535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully.",
                "535 5.7.139 (policy)",
            ),
            (
                "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
                "432 4.3.2",
            ),
            ("421 4.3.2 Service not available", "421 4.3.2"),
            (
                "554 5.2.252 SendAsDenied; a not allowed to send as b; STOREDRV",
                "554 5.2.252",
            ),
            (
                "550 5.2.252 Sender throttled due to continuous send as denied errors",
                "550 5.2.251-255",
            ),
            (
                "A3 BAD User is authenticated but not connected.",
                "User is authenticated but not connected",
            ),
        ];
        for (reply, code) in rows {
            assert_eq!(
                for_reply(reply).map(|advice| advice.code),
                Some(code),
                "{reply}"
            );
            assert_eq!(
                for_reply(&reply.to_uppercase()).map(|advice| advice.code),
                Some(code),
                "{reply}"
            );
        }
        assert_eq!(for_reply("250 2.0.0 OK"), None);
    }

    #[test]
    fn every_entra_code_of_the_published_reference_that_mail_meets_is_known() {
        let codes = [
            7_000_215, 7_000_222, 7_000_218, 700_025, 700_016, 700_027, 700_024, 700_030, 70_021,
            700_211, 700_212, 700_213, 7_000_112, 70_001, 70_002, 90_002, 900_023, 90_038, 90_019,
            50_059, 9_001_023, 50_194, 900_144, 9_002_313, 900_561, 9_002_326, 9_002_327,
            9_002_332, 50_034, 50_053, 50_055, 50_056, 50_057, 50_076, 50_079, 50_078, 50_074,
            50_072, 50_105, 50_126, 50_158, 50_173, 50_196, 53_000, 53_001, 53_002, 53_003,
            530_032, 530_035, 530_034, 54_005, 65_001, 65_004, 650_052, 650_054, 650_057, 70_000,
            70_008, 700_082, 700_084, 70_043, 700_003, 70_011, 1_002_012, 70_003, 70_016, 70_018,
            70_019, 70_020, 500_011, 500_014, 50_001, 1_002_016, 90_055, 90_006, 90_024, 90_033,
            90_090, 50_033, 50_087, 90_012, 500_021, 500_022, 50_002, 50_012, 65_002, 90_124,
            90_130,
        ];
        for code in codes {
            assert!(for_aadsts(code).is_some(), "AADSTS{code}");
        }
        assert_eq!(codes.len(), 88);
    }

    #[test]
    fn no_entry_is_empty_or_too_long_for_a_reply() {
        let replies = mail::REPLIES.iter().map(|pattern| &pattern.advice);
        let entra = entra::CODES.iter().map(|(_, advice)| advice);
        let proxy = proxy::STATUSES.iter().map(|(_, advice)| advice);
        let mut looked = 0;
        for advice in replies.chain(entra).chain(proxy) {
            looked += 1;
            assert!(
                !advice.code.is_empty() && !advice.remedy.is_empty(),
                "{advice:?}"
            );
            assert!((10..=200).contains(&advice.cause.len()), "{advice:?}");
        }
        assert!(looked > 80, "only {looked} entries");
    }

    #[test]
    fn a_text_is_explained_by_what_is_in_it() {
        let codes = |text: &str| {
            explain(text)
                .iter()
                .map(|advice| advice.code)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            codes("AADSTS7000215: Invalid client secret provided."),
            ["AADSTS7000215"]
        );
        assert_eq!(codes("7000215"), ["AADSTS7000215"]);
        assert_eq!(
            codes("535 5.7.3 Authentication unsuccessful"),
            ["535 5.7.3"]
        );
        assert_eq!(
            codes("proxy p:8080 answered 403 to CONNECT smtp.office365.com:587"),
            ["proxy 403"]
        );
        assert!(codes("hello").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = explain(&text);
        }
    }
}
