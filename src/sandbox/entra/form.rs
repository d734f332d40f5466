//! `application/x-www-form-urlencoded` bodies (WHATWG URL, section 5.1), read strictly.

/// The fields of a request body; the first of a name counts.
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// The fields; none where a percent sign is not followed by two digits or a value is not
    /// UTF-8.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut fields = Vec::new();
        for field in body.split(|octet| *octet == b'&').filter(|field| !field.is_empty()) {
            let (name, value) = match field.iter().position(|octet| *octet == b'=') {
                Some(at) => field.split_at_checked(at)?,
                None => (field, &b"="[..]),
            };
            fields.push((decode(name)?, decode(value.get(1..)?)?));
        }
        Some(Self(fields))
    }

    /// The value under this name; an empty one counts as absent, as Entra counts it.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn insert(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }

    /// The fields for the transcript, secrets masked.
    pub(super) fn masked(&self) -> String {
        let shown = self.0.iter().map(|(name, value)| match name.as_str() {
            "client_secret" | "password" => format!("{name}=<password>"),
            "client_assertion" | "refresh_token" => format!("{name}=<token>"),
            "client_assertion_type"
            | "client_id"
            | "grant_type"
            | "resource"
            | "scope"
            | "username" => {
                format!("{name}={}", value.chars().filter(|c| !c.is_control()).collect::<String>())
            }
            _ => format!("{name}=..."),
        });
        shown.collect::<Vec<_>>().join("&")
    }
}

/// Percent decoding, with `+` for a blank.
pub(super) fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(octet) = rest.next() {
        decoded.push(match octet {
            b'+' => b' ',
            b'%' => {
                let pair = [*rest.next()?, *rest.next()?];
                if !pair.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            plain => *plain,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_odd_ones_refused() {
        let form = Form::parse(b"a=1+2%2B3&b=&c&a=9&%C3%A9=%26").unwrap();
        assert_eq!(form.value("a"), Some("1 2+3"));
        assert_eq!(form.value("b"), None);
        assert_eq!(form.value("c"), None);
        assert_eq!(form.value("\u{e9}"), Some("&"));
        for odd in [&b"a=%"[..], b"a=%4", b"a=%+1", b"a=%zz", b"a=%ff", b"%=1"] {
            assert!(Form::parse(odd).is_none(), "{odd:?}");
        }
    }

    #[test]
    fn secrets_are_masked() {
        let form = Form::parse(b"client_id=x&client_secret=s3&password=p&odd=p&refresh_token=r");
        let masked = form.unwrap().masked();
        let expected = "client_id=x&client_secret=<password>&password=<password>&odd=...&refresh_token=<token>";
        assert_eq!(masked, expected);
    }
}
