//! How a row of the tables is matched against a text.

use super::Advice;

/// One reply and what it means.
pub(super) struct Row {
    /// All of these must be in the text.
    parts: &'static [Part],
    pub(super) advice: Advice,
}

/// Something that a reply holds.
pub(super) enum Part {
    /// A code as a word of its own: `5.7.3` is not in `5.7.30`.
    Code(&'static str),
    /// An enhanced code of this class and subject whose detail is in this range (RFC 3463).
    Codes(&'static str, u16, u16),
    /// A phrase, in lower case.
    Words(&'static str),
}

/// A row whose reply the owner of the service documents.
pub(super) const fn documented(
    parts: &'static [Part],
    code: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> Row {
    Row { parts, advice: Advice { code, cause, remedy } }
}

/// A row whose reply is seen in public transcripts only.
pub(super) const fn observed(
    parts: &'static [Part],
    code: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> Row {
    Row { parts, advice: Advice { code, cause, remedy } }
}

impl Row {
    /// How specifically this row fits the text; `None` where it does not.
    pub(super) fn fits(&self, text: &Text) -> Option<usize> {
        self.parts.iter().map(|part| part.fits(text)).sum()
    }
}

impl Part {
    // The longer what matched, the more specific. A code weighs as much as a phrase of ten letters,
    // so that two codes beat a vague phrase and a telling phrase beats a code; a range says less.
    fn fits(&self, text: &Text) -> Option<usize> {
        match self {
            Self::Code(code) => text.numbers().any(|number| number == *code).then_some(10),
            Self::Codes(class, least, most) => {
                let detail = |number: &str| number.strip_prefix(class)?.parse().ok();
                let within = |detail: u16| (*least..=*most).contains(&detail);
                text.numbers().filter_map(detail).any(within).then_some(5)
            }
            Self::Words(words) => text.contains(words).then_some(words.len()),
        }
    }
}

/// A text made ready to be searched: lower case, each run of blanks and line ends as one blank.
pub(super) struct Text(String);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        Self(words.join(" ").to_lowercase())
    }

    /// Whether this phrase, in lower case, is in the text.
    pub(super) fn contains(&self, words: &str) -> bool {
        self.0.contains(words)
    }

    /// The numbers in the text, dots within them included: `535`, `5.7.139`.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &str> {
        let pieces = self.0.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let pieces = pieces.map(|piece| piece.trim_matches('.'));
        pieces.filter(|piece| piece.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// Whether the text is one number and nothing else.
    pub(super) fn is_number(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// What follows the last occurrence of a phrase whose last character begins what is wanted.
    pub(super) fn after_last(&self, words: &str) -> Option<Self> {
        let at = self.0.rfind(words)?;
        let wanted = at + words.len() - words.chars().next_back().map_or(0, char::len_utf8);
        self.0.get(wanted..).map(|rest| Self(rest.to_owned()))
    }
}
