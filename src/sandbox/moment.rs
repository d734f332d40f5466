//! Points in time and random names in the three spellings that the simulated servers use.

use std::time::{Duration, SystemTime};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time of the servers' clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(SystemTime);

impl Moment {
    /// Now, by a clock that is `offset` seconds ahead of ours (behind, where negative).
    pub(super) fn now(offset: i64) -> Self {
        let by = Duration::from_secs(offset.unsigned_abs());
        let now = SystemTime::now();
        let then = if offset < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        Self(then.unwrap_or(now))
    }

    /// So many seconds since 1970.
    pub(super) fn of_unix(seconds: u64) -> Self {
        // The year 9999 is the last that can be spelt.
        let since = Duration::from_secs(seconds.min(253_402_300_799));
        Self(SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Seconds since 1970.
    pub(super) fn unix(self) -> u64 {
        self.0.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// `2025-04-26T18:06:35.781Z`, as in Exchange's error suffix.
    pub(super) fn iso(self) -> String {
        humantime::format_rfc3339_millis(self.0).to_string()
    }

    /// `2026-09-12 10:11:12Z`, as in Entra's error description.
    pub(super) fn entra(self) -> String {
        humantime::format_rfc3339_seconds(self.0).to_string().replace('T', " ")
    }

    /// `Thu, 10 Oct 2024 22:49:55 +0000`, as in Exchange's greeting (the day is not padded).
    pub(super) fn banner(self) -> String {
        let iso = self.iso();
        let part = |from: usize, to: usize| iso.get(from..to).unwrap_or_default();
        let weekday = usize::try_from(self.unix() / 86_400 % 7).unwrap_or(0);
        let month = part(5, 7).parse::<usize>().unwrap_or(1).saturating_sub(1);
        format!(
            "{}, {} {} {} {} +0000",
            DAYS.get(weekday).unwrap_or(&"Thu"),
            part(8, 10).trim_start_matches('0'),
            MONTHS.get(month).unwrap_or(&"Jan"),
            part(0, 4),
            part(11, 19),
        )
    }

    pub(super) fn year(self) -> i32 {
        self.iso().get(..4).and_then(|year| year.parse().ok()).unwrap_or(2026)
    }
}

/// `octets` random octets in lower-case hexadecimal.
#[allow(clippy::expect_used)] // an operating system without randomness can serve no TLS either
pub(super) fn random_hex(octets: usize) -> String {
    let mut bytes = vec![0; octets];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A random GUID (RFC 9562, version 4).
pub(super) fn guid() -> String {
    let hex = random_hex(16);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-9{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_spelt_as_each_server_does() {
        let moment = Moment::of_unix(1_728_600_595);
        assert_eq!(moment.banner(), "Thu, 10 Oct 2024 22:49:55 +0000");
        assert_eq!(moment.iso(), "2024-10-10T22:49:55.000Z");
        assert_eq!(moment.entra(), "2024-10-10 22:49:55Z");
        assert_eq!(Moment::of_unix(1_667_988_581).banner(), "Wed, 9 Nov 2022 10:09:41 +0000");
    }

    #[test]
    fn a_guid_has_its_shape() {
        let guid = guid();
        let lengths: Vec<_> = guid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(guid.get(14..15), Some("4"), "{guid}");
    }
}
