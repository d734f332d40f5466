//! The little of DER (X.690) that Kerberos is made of: what is written, and fields found by number.
//!
//! Written here because Kerberos' own errors need leniency: the types of `picky-krb` take no
//! KRB-ERROR that says the client's microseconds, and wrap each field six deep. Every read is
//! bounded by its input. Must never know what a field means.

/// A value with its tag and length.
pub(in super::super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut all = Vec::with_capacity(length + 6);
    all.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => all.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let skip = octets.iter().take_while(|octet| **octet == 0).count();
            let count = octets.len() - skip;
            all.push(0x80 | u8::try_from(count).unwrap_or(0x7f)); // a usize has eight octets at most
            all.extend_from_slice(octets.get(skip..).unwrap_or_default());
        }
    }
    all.extend_from_slice(content);
    all
}

/// `SEQUENCE` and `SEQUENCE OF`.
pub(in super::super) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// `[number]`, explicit.
pub(in super::super) fn context(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

/// `[APPLICATION number]`
pub(super) fn application(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x60 | number, content)
}

/// `INTEGER`; Kerberos' are those of 32 bits.
pub(super) fn int(number: i64) -> Vec<u8> {
    let octets = number.to_be_bytes();
    let sign = if number < 0 { 0xff } else { 0 };
    let mut skip = octets.iter().take(7).take_while(|octet| **octet == sign).count();
    let negative = |octet: Option<&u8>| octet.is_some_and(|octet| octet & 0x80 != 0);
    if negative(octets.get(skip)) != (number < 0) {
        skip -= 1; // the first octet carries the sign
    }
    tlv(0x02, octets.get(skip..).unwrap_or_default())
}

/// `OCTET STRING`
pub(in super::super) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// `OBJECT IDENTIFIER`, already encoded.
pub(in super::super) fn oid(content: &[u8]) -> Vec<u8> {
    tlv(0x06, content)
}

/// `KerberosString` (RFC 4120 section 5.2.1).
pub(super) fn string(text: &str) -> Vec<u8> {
    tlv(0x1b, text.as_bytes())
}

/// `KerberosFlags`: 32 bits, the first of which is the highest.
pub(super) fn flags(bits: u32) -> Vec<u8> {
    tlv(0x03, &[&[0][..], &bits.to_be_bytes()].concat())
}

/// `KerberosTime`: `YYYYMMDDHHMMSSZ`.
pub(super) fn time(at: jiff::Timestamp) -> Vec<u8> {
    tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
}

/// The first value in `input`: its tag, its content, and what follows it.
pub(super) fn split(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if octets.is_empty() || octets.len() > 4 {
            return None;
        }
        let length = octets.iter().fold(0_u64, |length, octet| length << 8 | u64::from(*octet));
        (usize::try_from(length).ok()?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of the one value in `input`, which has this tag.
pub(super) fn open(input: &[u8], tag: u8) -> Option<&[u8]> {
    let (found, content, _) = split(input)?;
    (found == tag).then_some(content)
}

/// The content of `[APPLICATION number] SEQUENCE`.
pub(super) fn message(input: &[u8], number: u8) -> Option<&[u8]> {
    open(open(input, 0x60 | number)?, 0x30)
}

/// Each value in the content of a `SEQUENCE OF`, whole.
pub(super) fn each(mut content: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (_, _, rest) = split(content)?;
        let (one, _) = content.split_at_checked(content.len() - rest.len())?;
        content = rest;
        Some(one)
    })
}

/// The value in field `[number]` of a sequence's content, whole.
pub(super) fn field(content: &[u8], number: u8) -> Option<&[u8]> {
    each(content).find_map(|one| open(one, 0xa0 | number))
}

/// An integer of up to 32 bits, signed or not, in field `[number]`.
pub(super) fn number(content: &[u8], number: u8) -> Option<i64> {
    let octets = open(field(content, number)?, 0x02)?;
    let (&first, _) = octets.split_first().filter(|_| octets.len() <= 5)?;
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Some(octets.iter().fold(start, |number, octet| number << 8 | i64::from(*octet)))
}

/// A text in field `[number]`, of whatever string type.
pub(super) fn text(content: &[u8], number: u8) -> Option<String> {
    let (_, octets, _) = split(field(content, number)?)?;
    Some(String::from_utf8_lossy(octets).into_owned())
}

/// A time in field `[number]`, in seconds since 1970.
pub(super) fn seconds(content: &[u8], number: u8) -> Option<i64> {
    let text = text(content, number)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(jiff::tz::Offset::UTC.to_timestamp(time).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_written_as_x690_has_it() {
        let rows: &[(Vec<u8>, &[u8])] = &[
            (int(0), &[2, 1, 0]),
            (int(127), &[2, 1, 127]),
            (int(128), &[2, 2, 0, 128]),
            (int(-1), &[2, 1, 0xff]),
            (int(-128), &[2, 1, 0x80]),
            (int(-138), &[2, 2, 0xff, 0x76]),
            (int(0x7fff_ffff), &[2, 4, 0x7f, 0xff, 0xff, 0xff]),
            (int(0x8003), &[2, 3, 0, 0x80, 3]),
            (flags(0x4000_0000), &[3, 5, 0, 0x40, 0, 0, 0]),
            (context(3, &octets(b"x")), &[0xa3, 3, 4, 1, b'x']),
            (time(jiff::Timestamp::from_second(0).unwrap()), b"\x18\x0f19700101000000Z"),
        ];
        for (written, wanted) in rows {
            assert_eq!(written, wanted);
        }
        assert_eq!(rows.len(), 11);
        assert_eq!(tlv(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn fields_are_found_by_number() {
        let at = jiff::Timestamp::from_second(1_790_000_000).unwrap();
        let whole = application(
            30,
            &seq(&[
                context(0, &int(5)),
                context(2, &string("R")),
                context(4, &time(at)),
                context(6, &int(-7)),
            ]),
        );
        let content = message(&whole, 30).unwrap();
        assert_eq!((number(content, 0), number(content, 6)), (Some(5), Some(-7)));
        assert_eq!((text(content, 2), number(content, 1)), (Some("R".to_owned()), None));
        assert_eq!(seconds(content, 4), Some(1_790_000_000));
        assert!(message(&whole, 29).is_none() && split(&[0x30, 0x80]).is_none());
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(given in any::<i32>()) {
            let content = context(1, &int(given.into()));
            prop_assert_eq!(number(&content, 1), Some(given.into()));
        }

        #[test]
        fn no_octets_panic(input in any::<Vec<u8>>()) {
            let _ = (split(&input), number(&input, 0), text(&input, 0), seconds(&input, 0));
            prop_assert!(each(&input).count() <= input.len());
        }
    }
}
