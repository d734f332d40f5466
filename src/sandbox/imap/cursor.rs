//! Reading the arguments of one whole command, its literals included (RFC 3501 section 9).

/// What is left of a command.
#[derive(Clone)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// This octet.
    pub(super) fn take(&mut self, octet: u8) -> Option<()> {
        let rest = self.0.strip_prefix(&[octet])?;
        self.0 = rest;
        Some(())
    }

    /// The one blank between two arguments.
    pub(super) fn space(&mut self) -> Option<()> {
        self.take(b' ')
    }

    /// Nothing more.
    pub(super) fn end(&self) -> Option<()> {
        self.0.iter().all(|octet| *octet == b' ').then_some(())
    }

    /// The longest run of such octets, at least one.
    pub(super) fn run(&mut self, wanted: impl Fn(u8) -> bool) -> Option<&'a str> {
        let end = self.0.iter().position(|octet| !wanted(*octet)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        let run = std::str::from_utf8(run).ok().filter(|run| !run.is_empty())?;
        self.0 = rest;
        Some(run)
    }

    /// `atom`, in upper case.
    pub(super) fn word(&mut self) -> Option<String> {
        self.run(is_atom).map(str::to_ascii_uppercase)
    }

    /// `number`
    pub(super) fn number(&mut self) -> Option<u32> {
        self.run(|octet| octet.is_ascii_digit())?.parse().ok()
    }

    /// `astring = 1*ASTRING-CHAR / string`
    pub(super) fn astring(&mut self) -> Option<String> {
        match self.peek()? {
            b'"' | b'{' => self.text(),
            _ => self.run(|octet| is_atom(octet) || octet == b']').map(str::to_owned),
        }
    }

    /// `list-mailbox = 1*list-char / string`: an `astring` that may have wildcards.
    pub(super) fn pattern(&mut self) -> Option<String> {
        match self.peek()? {
            b'"' | b'{' => self.text(),
            _ => self
                .run(|octet| is_atom(octet) || matches!(octet, b']' | b'%' | b'*'))
                .map(str::to_owned),
        }
    }

    /// `string = quoted / literal`, as text.
    pub(super) fn text(&mut self) -> Option<String> {
        if self.peek() == Some(b'{') {
            return String::from_utf8(self.literal()?.to_vec()).ok();
        }
        self.take(b'"')?;
        let mut text = Vec::new();
        loop {
            let (octet, rest) = self.0.split_first()?;
            self.0 = rest;
            match octet {
                b'"' => return String::from_utf8(text).ok(),
                b'\\' => {
                    let (escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    text.push(*escaped);
                }
                b'\r' | b'\n' | 0 => return None,
                octet => text.push(*octet),
            }
        }
    }

    /// `literal = "{" number ["+"] "}" CRLF *CHAR8`
    pub(super) fn literal(&mut self) -> Option<&'a [u8]> {
        self.take(b'{')?;
        let length = usize::try_from(self.number()?).ok()?;
        if self.peek() == Some(b'+') {
            self.take(b'+')?;
        }
        self.take(b'}')?;
        self.take(b'\r')?;
        self.take(b'\n')?;
        let (literal, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(literal)
    }

    /// `"(" item *(SP item) ")"`, also with nothing in it.
    pub(super) fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.take(b'(')?;
        let mut items = Vec::new();
        while self.peek()? != b')' {
            if !items.is_empty() {
                self.space()?;
            }
            items.push(item(self)?);
        }
        self.take(b')')?;
        Some(items)
    }

    /// `sequence-set`
    pub(super) fn set(&mut self) -> Option<Set> {
        let run = self.run(|octet| octet.is_ascii_digit() || b":*,".contains(&octet))?;
        let number = |text: &str| match text {
            "*" => Some(None),
            digits => digits.parse().ok().filter(|number| *number > 0).map(Some),
        };
        let ranges = run.split(',').map(|range| {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            Some((number(first)?, number(last)?))
        });
        ranges.collect::<Option<Vec<_>>>().map(Set)
    }
}

/// What `ATOM-CHAR` allows; flags and mailbox names of today go a little further.
fn is_atom(octet: u8) -> bool {
    octet > b' ' && octet != 0x7f && !b"(){%*\"\\]".contains(&octet)
}

/// Ranges of numbers, where none stands for `*`, the largest in use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Set(Vec<(Option<u32>, Option<u32>)>);

impl Set {
    pub(super) fn holds(&self, number: u32, largest: u32) -> bool {
        self.0.iter().any(|(first, last)| {
            let (first, last) = (first.unwrap_or(largest), last.unwrap_or(largest));
            (first.min(last)..=first.max(last)).contains(&number)
        })
    }

    /// Whether it names no number beyond this one.
    pub(super) fn within(&self, largest: u32) -> bool {
        let fits = |number: &Option<u32>| number.is_none_or(|number| number <= largest);
        self.0.iter().all(|(first, last)| fits(first) && fits(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_in_three_forms() {
        let table: [(&[u8], Option<&str>); 9] = [
            (b"abc def", Some("abc")),
            (b"a]b", Some("a]b")),
            (b"\"a \\\"b\\\\\" c", Some("a \"b\\")),
            (b"{3}\r\na\"b c", Some("a\"b")),
            (b"{3+}\r\nabc", Some("abc")),
            (b"{4}\r\nabc", None),
            (b"\"abc", None),
            (b"", None),
            (b"\"\"", Some("")),
        ];
        for (octets, text) in table {
            assert_eq!(Cursor::new(octets).astring().as_deref(), text, "{octets:?}");
        }
        assert_eq!(table.len(), 9);
    }

    #[test]
    fn sets_know_the_largest_number() {
        let set = |text: &str| Cursor::new(text.as_bytes()).set();
        let table = [("1:3,7", "1237"), ("*", "9"), ("8:*", "89"), ("*:8", "89"), ("3:1", "123")];
        for (text, members) in table {
            let found: String = (1..=9)
                .filter(|number| set(text).unwrap().holds(*number, 9))
                .map(|number| number.to_string())
                .collect();
            assert_eq!(found, members, "{text}");
        }
        assert_eq!(table.len(), 5);
        assert!(set("1:10").unwrap().within(10) && !set("1:10").unwrap().within(9));
        for odd in ["", "0", "1:", ",1", "1:2:3", "99999999999"] {
            assert_eq!(set(odd), None, "{odd}");
        }
    }
}
