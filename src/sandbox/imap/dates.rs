//! Dates as IMAP and message headers write them, to and from seconds since 1970.

const DAY: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `date-time`, without its quotes: `25-Nov-2026 10:11:12 +0000`.
pub(super) fn date_time(unix: u64) -> String {
    let (year, month, day) = civil(unix / DAY);
    let month = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&"Jan");
    let (hour, minute, second) = (unix % DAY / 3600, unix % 3600 / 60, unix % 60);
    format!("{day:2}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Reads a `date-time` without its quotes.
pub(super) fn read_date_time(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    let mut parts = time.split(':').map(str::parse::<u64>);
    let mut part = |limit| parts.next()?.ok().filter(|part| *part < limit);
    let (hour, minute, second) = (part(24)?, part(60)?, part(61)?);
    let local = read_date(date)? * DAY + hour * 3600 + minute * 60 + second;
    let (sign, digits) = zone.split_at_checked(1)?;
    let zone: u64 = digits.parse().ok().filter(|zone| *zone < 2400)?;
    let zone = (zone / 100) * 3600 + (zone % 100) * 60;
    match sign {
        "+" => Some(local.saturating_sub(zone)),
        "-" => Some(local + zone),
        _ => None,
    }
}

/// `date`: `1-Feb-2026`, as days since 1970.
pub(super) fn read_date(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let date = days(parts.next()?, parts.next()?, parts.next()?);
    date.filter(|_| parts.next().is_none())
}

/// The day of a Date header field (RFC 5322 section 3.3), as days since 1970.
pub(super) fn header_day(field: &str) -> Option<u64> {
    let date = field.split_once(',').map_or(field, |(_, date)| date);
    let mut words = date.split_ascii_whitespace();
    days(words.next()?, words.next()?, words.next()?)
}

fn days(day: &str, month: &str, year: &str) -> Option<u64> {
    let day: u64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u64 + 1;
    let year: u64 = year.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    // Howard Hinnant's `days_from_civil`: the year starts in March, so that leap days end it.
    let shifted = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, of_era) = (shifted / 400, shifted % 400);
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

/// Year, month and day of a day since 1970: his `civil_from_days`.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        let table = [
            (0, " 1-Jan-1970 00:00:00 +0000"),
            (951_782_400, "29-Feb-2000 00:00:00 +0000"),
            (1_728_600_595, "10-Oct-2024 22:49:55 +0000"),
            (4_102_444_799, "31-Dec-2099 23:59:59 +0000"),
        ];
        for (unix, text) in table {
            assert_eq!(date_time(unix), text);
            assert_eq!(read_date_time(text), Some(unix), "{text}");
        }
        assert_eq!(table.len(), 4);
        assert_eq!(read_date_time("10-Oct-2024 22:49:55 +0200"), Some(1_728_593_395));
        assert_eq!(read_date_time("10-oct-2024 22:49:55 -0130"), Some(1_728_605_995));
        for odd in ["", "10-Oct-2024", "10-Oct-2024 25:00:00 +0000", "1-x-2024 1:1:1 +0000"] {
            assert_eq!(read_date_time(odd), None, "{odd}");
        }
        assert_eq!(header_day("Thu, 10 Oct 2024 22:49:55 +0000"), read_date("10-Oct-2024"));
    }
}
