//! What is wrong in `proxy.toml`: line, key, and what to write instead.

use std::{fmt, ops::Range};

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug)]
pub struct ConfigError {
    /// What to call the file.
    pub(super) file: String,
    /// In file order.
    pub(super) problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: Option<usize>,
    pub(super) words: String,
}

impl ConfigError {
    /// One problem with the file as a whole.
    pub(super) fn whole(file: &str, words: String) -> Self {
        Self { file: file.to_owned(), problems: vec![Problem { line: None, words }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, words }) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match line {
                Some(line) => write!(f, "{}:{line}: {words}", self.file)?,
                None => write!(f, "{}: {words}", self.file)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems while a file is checked, so that all are told at once.
pub(super) struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new(), warnings: Vec::new() }
    }

    /// Something wrong at this place of the file.
    pub(super) fn at(&mut self, span: Range<usize>, words: impl Into<String>) {
        let line = Some(self.line(span.start));
        self.found.push(Problem { line, words: words.into() });
    }

    /// A file that is no TOML, or has other keys or types than ours. Not told in the error's own
    /// form: that quotes the line and the value, and a secret may stand there.
    pub(super) fn unreadable(&mut self, mut error: toml::de::Error) {
        error.set_input(None); // then its Display ends with the key in place of the line
        let (message, whole) = (error.message(), error.to_string());
        let key = whole.strip_prefix(message).and_then(|rest| {
            rest.trim().strip_prefix("in `")?.strip_suffix('`').map(|key| format!("{key}: "))
        });
        let words = format!("{}{}", key.unwrap_or_default(), unquoted(message));
        match error.span() {
            Some(span) => self.at(span, words),
            None => self.general(words),
        }
    }

    /// Something wrong with the file as a whole, or with the environment.
    pub(super) fn general(&mut self, words: impl Into<String>) {
        self.found.push(Problem { line: None, words: words.into() });
    }

    /// Something that works and should still be looked at.
    pub(super) fn warn(&mut self, span: Range<usize>, words: &str) {
        let line = self.line(span.start);
        self.warnings.push(format!("line {line}: {words}"));
    }

    /// The warnings, or all that is wrong.
    pub(super) fn verdict(mut self, file: &str) -> Result<Vec<String>, ConfigError> {
        if self.found.is_empty() {
            return Ok(self.warnings);
        }
        self.found.sort_by_key(|problem| problem.line);
        Err(ConfigError { file: file.to_owned(), problems: self.found })
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|&octet| octet == b'\n').count() + 1
    }
}

/// A message without the value that it is about, of which only the kind is told.
fn unquoted(message: &str) -> String {
    let of = |start| message.strip_prefix(start)?.rsplit_once(", expected ");
    let (found, expected) = match (of("invalid type: "), of("invalid value: ")) {
        (Some((found, expected)), _) => {
            (found.split(['"', '`']).next().unwrap_or_default().trim(), expected)
        }
        (None, Some((_, expected))) => ("another", expected),
        (None, None) => return message.to_owned(),
    };
    let expected = match expected {
        "u16" => "a number from 0 to 65535",
        "usize" => "a whole number",
        other => other,
    };
    format!("must be {expected}, and not {found}")
}
