//! The page for people: one file, no scripts, nothing from elsewhere.
//!
//! User names are shown as typed, so everything that was not written here is escaped.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::view::{Readiness, View};
use crate::{
    stats::{Refused, Session},
    token::IdentityState,
};

/// So many rows of a table are shown; nobody reads more.
const ROWS: usize = 200;

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"10\">
<meta name=\"viewport\" content=\"width=device-width\"><title>mailwicket</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } .wide { overflow-x: auto }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
.number { text-align: right } .bad { color: #b00020 } .good { color: #18702f }
@media (prefers-color-scheme: dark) {
body { color: #ddd; background: #181818 } th, td { border-color: #444 }
.bad { color: #ff8a9a } .good { color: #7fd694 } }
</style></head><body>
";

/// The page, as things are now.
pub(super) fn write(view: &View) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string does not fail.
    let _ = fill(&mut page, view);
    page
}

fn fill(page: &mut String, view: &View) -> fmt::Result {
    let Readiness { ready, verdict, .. } = view.readiness_now();
    let class = if ready { "good" } else { "bad" };
    write!(
        page,
        "<h1>mailwicket {} <span class=\"{class}\">{verdict}</span></h1>\n<p>Running for {}. \
         Programs ask <a href=\"/healthz\">/healthz</a>, <a href=\"/readyz\">/readyz</a> and \
         <a href=\"/metrics\">/metrics</a>.</p>\n",
        env!("CARGO_PKG_VERSION"),
        time(view.age()),
    )?;
    let doors = view.doors();
    table(page, "Listeners", &["protocol", "address", "goes to", ""], &doors, |door| {
        let state = if door.accepts.is_finished() { "closed" } else { "" };
        vec![
            door.protocol.to_string(),
            door.address.to_string(),
            door.upstream.clone(),
            state.to_owned(),
        ]
    })?;
    let (ours, others) = view.identities();
    let heads = ["app", "user", "condition", "token left", "trouble"];
    table(page, "Identities", &heads, &ours, identity)?;
    for ((app, condition), count) in others {
        let (app, condition) = (Escaped(&app), condition.word());
        writeln!(page, "<p>{count} more of {app}, whom only a pattern covers: {condition}</p>")?;
    }
    let sessions = view.stats().sessions();
    let heads = ["protocol", "account", "client", "phase", "age", "up", "down"];
    table(page, "Sessions", &heads, &sessions, |live| session(live))?;
    let refused = view.stats().refused();
    let heads = ["when", "protocol", "account", "client", "reason", ""];
    table(page, "Recent refusals", &heads, &refused, refusal)?;
    page.write_str("</body></html>\n")
}

fn table<T>(
    page: &mut String,
    title: &str,
    heads: &[&str],
    rows: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> fmt::Result {
    writeln!(page, "<h2>{title} ({})</h2>", rows.len())?;
    if rows.is_empty() {
        return page.write_str("<p>none</p>\n");
    }
    page.write_str("<div class=\"wide\"><table><tr>")?;
    for head in heads {
        write!(page, "<th>{head}</th>")?;
    }
    page.write_str("</tr>\n")?;
    for row in rows.iter().take(ROWS) {
        page.write_str("<tr>")?;
        for (cell, head) in cells(row).iter().zip(heads) {
            let class = if ["up", "down"].contains(head) { " class=\"number\"" } else { "" };
            write!(page, "<td{class}>{}</td>", Escaped(cell))?;
        }
        page.write_str("</tr>\n")?;
    }
    page.write_str("</table></div>\n")?;
    match rows.len().checked_sub(ROWS) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(page, "<p>and {more} more</p>"),
    }
}

fn identity(state: &IdentityState) -> Vec<String> {
    vec![
        state.app.clone(),
        state.user.clone().unwrap_or_default(),
        state.condition.word().to_owned(),
        state.left.map(time).unwrap_or_default(),
        state.trouble.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

fn session(session: &Session) -> Vec<String> {
    let noted = session.noted();
    let (up, down) = session.carried.both();
    vec![
        session.protocol.to_owned(),
        noted.account.chars().take(ROWS).collect(),
        session.client.map(|client| client.to_string()).unwrap_or_default(),
        noted.phase.to_owned(),
        time(session.started.elapsed()),
        up.to_string(),
        down.to_string(),
    ]
}

fn refusal(refused: &Refused) -> Vec<String> {
    vec![
        humantime::format_rfc3339_seconds(refused.at).to_string(),
        refused.protocol.to_owned(),
        refused.account.clone(),
        refused.client.map(|client| client.to_string()).unwrap_or_default(),
        refused.reason.to_owned(),
        refused.words.clone(),
    ]
}

fn time(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// Text between tags.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            letter => f.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_typed_is_markup() {
        let mut page = String::new();
        let rows = vec!["<script>alert('x') & \"y\"</script>"; ROWS + 3];
        table(&mut page, "T", &["a"], &rows, |row| vec![(*row).to_owned()]).unwrap();
        let cell = "<td>&lt;script&gt;alert(&#39;x&#39;) &amp; &quot;y&quot;&lt;/script&gt;</td>";
        assert_eq!(page.matches(cell).count(), ROWS, "{page}");
        assert!(!page.contains("<script>") && page.contains("and 3 more"), "{page}");
    }
}
