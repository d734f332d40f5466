//! A ticket cache file as `kinit` writes it (MIT krb5, "Credential cache file format", version 4,
//! which Heimdal writes too). Pure; bytes in, tickets out. Must never know sockets or the clock.

use zeroize::Zeroizing;

use super::{Principal, Ticket};

/// The realm under which the cache keeps settings in place of tickets.
const SETTINGS: &str = "X-CACHECONF:";

/// What a cache holds.
pub(super) struct Cache {
    /// Whose tickets they are.
    pub(super) owner: Principal,
    tickets: Vec<(Principal, Ticket)>,
}

impl Cache {
    /// The ticket for this service that lives longest.
    pub(super) fn take(self, service: &[&str]) -> Option<Ticket> {
        let fits = self.tickets.into_iter().filter(|(server, _)| server.names == service);
        fits.map(|(_, ticket)| ticket).max_by_key(|ticket| ticket.ends)
    }
}

/// Reads a whole file.
///
/// # Errors
/// In words, where it is none of version 4 or is cut off.
pub(super) fn read(octets: &[u8]) -> Result<Cache, &'static str> {
    let mut input = Input(octets);
    let cut = "the cache is cut off";
    if input.u16().ok_or(cut)? != 0x0504 {
        return Err("the file is no ticket cache of version 4");
    }
    let head = input.u16().ok_or(cut)?;
    input.take(head.into()).ok_or(cut)?;
    let owner = input.principal().ok_or(cut)?;
    let mut tickets = Vec::new();
    while !input.0.is_empty() {
        let (server, ticket) = input.ticket().ok_or(cut)?;
        if server.realm != SETTINGS {
            tickets.push((server, ticket));
        }
    }
    Ok(Cache { owner, tickets })
}

/// What is yet to be read; numbers have their highest octet first.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn data(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.data()?).into_owned())
    }

    fn principal(&mut self) -> Option<Principal> {
        let kind = self.u32()?;
        let count = self.u32()?;
        let realm = self.text()?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.text()?);
        }
        Some(Principal { kind: kind.into(), realm, names })
    }

    /// Addresses or authorization data: a list of kind and data.
    fn list(&mut self) -> Option<()> {
        for _ in 0..self.u32()? {
            self.u16()?;
            self.data()?;
        }
        Some(())
    }

    fn ticket(&mut self) -> Option<(Principal, Ticket)> {
        let client = self.principal()?;
        let server = self.principal()?;
        let etype = self.u16()?;
        let key = Zeroizing::new(self.data()?.to_vec());
        let (_authenticated, _starts) = (self.u32()?, self.u32()?);
        let (ends, _renewable) = (self.u32()?, self.u32()?);
        let (_in_session_key, _flags) = (self.take(1)?, self.u32()?);
        self.list()?;
        self.list()?;
        let der = self.data()?.to_vec();
        self.data()?; // a second ticket, for user-to-user
        Some((server, Ticket { client, der, etype: etype.into(), key, ends: ends.into() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn principal(realm: &str, names: &[&str]) -> Vec<u8> {
        let mut all =
            [1_u32.to_be_bytes(), u32::try_from(names.len()).unwrap().to_be_bytes()].concat();
        all.extend(data(realm));
        all.extend(names.iter().flat_map(|name| data(name)));
        all
    }

    fn ticket(realm: &str, server: &[&str], ends: u32, der: &str) -> Vec<u8> {
        [
            principal("R.TEST", &["svc"]),
            principal(realm, server),
            18_u16.to_be_bytes().to_vec(),
            data("0123456789abcdef0123456789abcdef"),
            [0, 0, ends, 0].map(u32::to_be_bytes).concat(),
            vec![0, 0, 0, 0, 0],
            [0_u32.to_be_bytes(), 1_u32.to_be_bytes()].concat(),
            1_u16.to_be_bytes().to_vec(),
            data("rights"),
            data(der),
            data(""),
        ]
        .concat()
    }

    fn file() -> Vec<u8> {
        [
            vec![5, 4, 0, 12, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
            principal("R.TEST", &["svc"]),
            ticket("X-CACHECONF:", &["krb5_ccache_conf_data", "x"], 0, "yes"),
            ticket("R.TEST", &["krbtgt", "R.TEST"], 5, "old"),
            ticket("R.TEST", &["krbtgt", "R.TEST"], 9, "new"),
        ]
        .concat()
    }

    #[test]
    fn a_cache_is_read_and_its_longest_ticket_found() {
        let cache = read(&file()).unwrap_or_else(|words| panic!("{words}"));
        assert_eq!((cache.owner.realm.as_str(), cache.tickets.len()), ("R.TEST", 2));
        let found = cache.take(&["krbtgt", "R.TEST"]).unwrap();
        assert_eq!((found.der.as_slice(), found.ends, found.etype), (&b"new"[..], 9, 18));
        assert!(read(&file()).ok().unwrap().take(&["HTTP", "proxy"]).is_none());
        assert!(read(b"\x05\x03\0\0").is_err_and(|words| words.contains("version 4")));
    }

    #[test]
    fn a_cache_that_is_cut_off_anywhere_is_told() {
        let whole = file();
        let good = (0..whole.len()).filter(|&end| read(&whole[..end]).is_ok()).count();
        assert_eq!(good, 3, "only behind the owner and behind a ticket");
    }

    proptest! {
        #[test]
        fn no_file_panics(tail in any::<Vec<u8>>()) {
            let _ = read(&tail);
            let _ = read(&[&[5, 4, 0, 0][..], &tail].concat());
        }
    }
}
