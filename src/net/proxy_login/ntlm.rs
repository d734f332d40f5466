//! NTLM, version 2 only (MS-NLMP): the proxy's nonce is answered with a keyed hash.
//!
//! Written here, on the crates for its hashes: the crate `sspi` has the messages too, but pulls some
//! 190 crates, three of them pre-releases, for these two. LM and version 1 are never sent, whatever
//! the proxy negotiates, because they can be turned back into the password. No channel bindings: a
//! proxy that is reached over TLS and demands them (EPA) refuses. Pure: bytes in, bytes out. Must
//! never know HTTP or sockets.

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::config::ProxyCredentials;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// Flags (section 2.2.2.5).
const UNICODE: u32 = 0x0000_0001;
const OEM: u32 = 0x0000_0002;
const REQUEST_TARGET: u32 = 0x0000_0004;
const NTLM: u32 = 0x0000_0200;
const ALWAYS_SIGN: u32 = 0x0000_8000;
const EXTENDED_SESSION_SECURITY: u32 = 0x0008_0000;
const TARGET_INFO: u32 = 0x0080_0000;
const KEY_128: u32 = 0x2000_0000;
const KEY_56: u32 = 0x8000_0000;
const OURS: u32 = UNICODE
    | OEM
    | REQUEST_TARGET
    | NTLM
    | ALWAYS_SIGN
    | EXTENDED_SESSION_SECURITY
    | TARGET_INFO
    | KEY_128
    | KEY_56;

/// Ids of attributes in the target information (section 2.2.2.1).
const AV_END: u16 = 0;
const AV_FLAGS: u16 = 6;
const AV_TIMESTAMP: u16 = 7;
/// In `AV_FLAGS`: the answer carries a MIC.
const HAS_MIC: u32 = 2;

/// Where the MIC stands in the third message, and where its payload begins.
const MIC_AT: usize = 72;
const PAYLOAD_AT: usize = MIC_AT + 16;

/// What of the second message the third needs.
#[derive(Debug)]
pub(super) struct Puzzle {
    whole: Vec<u8>,
    flags: u32,
    nonce: [u8; 8],
    info: Vec<(u16, Vec<u8>)>,
}

/// What makes one answer differ from another.
pub(super) struct Moment {
    /// Our nonce.
    pub(super) nonce: [u8; 8],
    /// Tenths of microseconds since 1601, for a proxy that does not say its own time.
    pub(super) filetime: u64,
}

/// The first message, `NEGOTIATE_MESSAGE` (section 2.2.1.1). It says nothing of user or machine.
pub(super) fn hello() -> Vec<u8> {
    let mut message = [&SIGNATURE[..], &1_u32.to_le_bytes(), &OURS.to_le_bytes()].concat();
    message.extend_from_slice(&[0; 24]); // no domain, no workstation, no version
    message
}

/// The second message, `CHALLENGE_MESSAGE` (section 2.2.1.2).
///
/// # Errors
/// In words, where it is none.
pub(super) fn read(message: &[u8]) -> Result<Puzzle, &'static str> {
    if !message.starts_with(SIGNATURE) {
        // px#29: 0x60 begins an initial GSS token, 0xa1 a NegTokenResp (RFC 4178).
        return Err(match message.first() {
            Some(0x60 | 0xa1) => "a message of Negotiate (SPNEGO) under the name of NTLM",
            _ => "no message of NTLM",
        });
    }
    if u32_at(message, 8) != Some(2) {
        return Err("a message of NTLM that is no challenge");
    }
    let flags = u32_at(message, 20).ok_or("a challenge that is cut off")?;
    let nonce = message.get(24..32).and_then(|octets| octets.try_into().ok());
    let nonce = nonce.ok_or("a challenge that is cut off")?;
    // The oldest servers, and squid's test helper, echo the flag and have no such field: then what
    // stands in its place points nowhere.
    let info = target_info(message).filter(|_| flags & TARGET_INFO != 0);
    let info = info.map_or_else(|| Ok(Vec::new()), attributes)?;
    Ok(Puzzle { whole: message.to_vec(), flags, nonce, info })
}

fn target_info(message: &[u8]) -> Option<&[u8]> {
    let (length, at) = (u16_at(message, 40)?, usize::try_from(u32_at(message, 44)?).ok()?);
    message.get(at..)?.get(..length.into()).filter(|field| !field.is_empty())
}

fn attributes(mut field: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, &'static str> {
    let broken = "a challenge whose target information is broken";
    let mut all = Vec::new();
    loop {
        let (id, length) = (u16_at(field, 0).ok_or(broken)?, u16_at(field, 2).ok_or(broken)?);
        if id == AV_END {
            return Ok(all);
        }
        let (value, rest) =
            field.get(4..).and_then(|rest| rest.split_at_checked(length.into())).ok_or(broken)?;
        all.push((id, value.to_vec()));
        field = rest;
    }
}

/// The third message, `AUTHENTICATE_MESSAGE` (section 2.2.1.3), to the puzzle that followed
/// [`hello`].
pub(super) fn proof(
    puzzle: &Puzzle,
    credentials: &ProxyCredentials,
    moment: &Moment,
) -> Zeroizing<Vec<u8>> {
    let (domain, user) = names(&credentials.username);
    let key = owf_v2(credentials.password.expose_secret(), user, domain);
    let (time, info, with_mic) = own_info(puzzle, moment);
    let temp = temp(&info, moment.nonce, time);
    let proof = hmac_md5(&key[..], &[&puzzle.nonce, &temp]);
    let answer = Zeroizing::new([&proof[..], &temp].concat());

    let flags = puzzle.flags & OURS;
    let text =
        |text: &str| if flags & UNICODE == 0 { text.as_bytes().to_vec() } else { utf16(text) };
    let fields: [&[u8]; 6] = [
        &[0; 24], // the LM answer: never given
        &answer,
        &text(domain),
        &text(user),
        &[], // the name of this machine is nobody's concern
        &[], // no session key is exchanged: nothing is signed or sealed afterwards
    ];
    let mut head = [&SIGNATURE[..], &3_u32.to_le_bytes()].concat();
    let mut payload = Zeroizing::new(Vec::with_capacity(4096));
    for field in fields {
        let length = u16::try_from(field.len()).unwrap_or(u16::MAX).to_le_bytes();
        let at = u32::try_from(PAYLOAD_AT + payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        head.extend_from_slice(&[&length[..], &length, &at].concat());
        payload.extend_from_slice(field);
    }
    head.extend_from_slice(
        &(if flags & UNICODE == 0 { flags } else { flags & !OEM }).to_le_bytes(),
    );
    head.extend_from_slice(&[0; 8]); // no version
    let after = |mic: [u8; 16]| Zeroizing::new([&head[..], &mic, &payload].concat());
    if !with_mic {
        return after([0; 16]);
    }
    let session = Zeroizing::new(hmac_md5(&key[..], &[&proof]));
    after(hmac_md5(&session[..], &[&hello(), &puzzle.whole, &after([0; 16])]))
}

/// The time to use, the target information to send back, and whether a MIC goes along: a server that
/// says its time wants one (section 3.1.5.1.2).
fn own_info(puzzle: &Puzzle, moment: &Moment) -> (u64, Vec<u8>, bool) {
    let find = |wanted| puzzle.info.iter().find(|(id, _)| *id == wanted).map(|(_, value)| value);
    let theirs =
        find(AV_TIMESTAMP).and_then(|value| Some(u64::from_le_bytes(value[..].try_into().ok()?)));
    let with_mic = theirs.is_some();
    let mut info = Vec::new();
    let mut add = |id: u16, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        info.extend_from_slice(&[&id.to_le_bytes()[..], &length.to_le_bytes(), value].concat());
    };
    for (id, value) in puzzle.info.iter().filter(|(id, _)| !(with_mic && *id == AV_FLAGS)) {
        add(*id, value);
    }
    if with_mic {
        let old = find(AV_FLAGS).and_then(|value| u32_at(value, 0)).unwrap_or_default();
        add(AV_FLAGS, &(old | HAS_MIC).to_le_bytes());
    }
    add(AV_END, &[]);
    (theirs.unwrap_or(moment.filetime), info, with_mic)
}

/// What is hashed with the nonce, and sent behind the hash (section 3.3.2).
fn temp(info: &[u8], nonce: [u8; 8], time: u64) -> Vec<u8> {
    [&[1, 1, 0, 0, 0, 0, 0, 0], &time.to_le_bytes()[..], &nonce, &[0; 4], info, &[0; 4]].concat()
}

/// `NTOWFv2` (section 3.3.2).
fn owf_v2(password: &str, user: &str, domain: &str) -> Zeroizing<[u8; 16]> {
    let password = Zeroizing::new(utf16(password));
    let hash = Zeroizing::new(<[u8; 16]>::from(Md4::digest(&password[..])));
    let name = utf16(&format!("{}{domain}", user.to_uppercase()));
    Zeroizing::new(hmac_md5(&hash[..], &[&name]))
}

/// Domain and user. A name such as `user@realm` is taken whole, as Windows does.
fn names(username: &str) -> (&str, &str) {
    username.split_once('\\').unwrap_or(("", username))
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else {
        return [0; 16]; // HMAC takes a key of any length
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|two| u16::from_le_bytes(*two))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// Section 4.2.4.3, the challenge of the example.
    const CHALLENGE: &str = "4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef
        0000000000000000 2400240044000000 060070170000000f 530065007200760065007200
        02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000";

    fn example() -> ProxyCredentials {
        ProxyCredentials { username: "Domain\\User".to_owned(), password: "Password".into() }
    }

    fn field(message: &[u8], number: usize) -> Vec<u8> {
        let at = 12 + 8 * number;
        let length = usize::from(u16_at(message, at).unwrap());
        let from = u32_at(message, at + 4).unwrap() as usize;
        message[from..from + length].to_vec()
    }

    /// MS-NLMP section 4.2.4: 4.2.4.1.1, 4.2.4.2.2.
    #[test]
    fn the_example_of_the_specification_comes_out() {
        let key = owf_v2("Password", "User", "Domain");
        assert_eq!(&key[..], octets("0c868a403bfd7a93a3001ef22ef02e3f"));
        let puzzle = read(&octets(CHALLENGE)).unwrap();
        let moment = Moment { nonce: [0xaa; 8], filetime: 0 };
        let message = proof(&puzzle, &example(), &moment);
        let answer = field(&message, 1);
        assert_eq!(&answer[..16], octets("68cd0ab851e51c96aabc927bebef6a1c"));
        assert_eq!(
            &answer[16..],
            octets("0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
                02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000 00000000")
        );
        assert_eq!(field(&message, 0), [0; 24], "no LM answer");
        assert_eq!((field(&message, 2), field(&message, 3)), (utf16("Domain"), utf16("User")));
        assert!(field(&message, 4).is_empty() && field(&message, 5).is_empty());
        assert_eq!(&message[MIC_AT..PAYLOAD_AT], [0; 16]);
        let session = hmac_md5(&key[..], &[&answer[..16]]);
        assert_eq!(session[..], octets("8de40ccadbc14a82f15cb0ad0de95ca3"));
    }

    #[test]
    fn a_server_that_says_its_time_gets_that_and_a_mic() {
        let mut challenge = octets(CHALLENGE);
        challenge.truncate(challenge.len() - 4);
        challenge.extend(octets("06000400 01000000 07000800 0102030405060708 00000000"));
        challenge[40] = 0x38;
        challenge[42] = 0x38;
        let puzzle = read(&challenge).unwrap();
        let moment = Moment { nonce: [0xaa; 8], filetime: 7 };
        let message = proof(&puzzle, &example(), &moment);
        let answer = field(&message, 1);
        assert_eq!(&answer[24..32], octets("0102030405060708"));
        assert!(
            answer.ends_with(&octets(
                "07000800 0102030405060708 06000400 03000000 00000000 00000000"
            ))
        );
        let key = owf_v2("Password", "User", "Domain");
        let session = hmac_md5(&key[..], &[&answer[..16]]);
        let mut blank = message.to_vec();
        blank[MIC_AT..PAYLOAD_AT].fill(0);
        assert_eq!(
            message[MIC_AT..PAYLOAD_AT],
            hmac_md5(&session, &[&hello(), &challenge, &blank])
        );
    }

    #[test]
    fn what_is_no_challenge_is_told_apart() {
        let rows: &[(&str, &str)] = &[
            ("6082", "SPNEGO"),
            ("a181", "SPNEGO"),
            ("", "no message"),
            ("4e544c4d53535000 01000000", "no challenge"),
            ("4e544c4d53535000 02000000 0000000000000000 33828ae2 0123", "cut off"),
            (
                "4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000 0600060030000000 020009000000",
                "is broken",
            ),
        ];
        for (text, words) in rows {
            let said = read(&octets(text)).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
        let old = "4e544c4d53535000 02000000 0000000000000000 02020000 0123456789abcdef";
        let puzzle = read(&octets(old)).unwrap();
        let message = proof(&puzzle, &example(), &Moment { nonce: [1; 8], filetime: 7 });
        assert_eq!(field(&message, 3), b"User", "without Unicode names are octets");
        // As squid's ntlm_fake_auth says it.
        let fake = "4e544c4d53535000 02000000 09000900aeaaaaaa 078288a0 a4136c912da7018d
            000000000000 3a00 574f524b47524f5550";
        assert!(read(&octets(fake)).unwrap().info.is_empty());
    }

    proptest! {
        #[test]
        fn no_challenge_panics(tail in any::<Vec<u8>>(), user in any::<String>()) {
            let message = [&octets("4e544c4d53535000 02000000")[..], &tail].concat();
            if let Ok(puzzle) = read(&message) {
                let credentials = ProxyCredentials { username: user, password: "p".into() };
                let _ = proof(&puzzle, &credentials, &Moment { nonce: [1; 8], filetime: 7 });
            }
        }
    }
}
