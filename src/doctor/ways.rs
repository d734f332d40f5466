//! The ways out where there are proxies: which one leads each leg to its destination, and whether
//! the others would.
//!
//! Each is gone as far as the destination's port; what is spoken there, the walk tells.

use super::{Finding, Findings, Words};
use crate::{
    config::{Config, Grant, Way},
    net::{Leg, dial::Dialer, error::DialError},
};

/// Adds what is met on every way to every destination; nothing where no proxy is configured.
pub(super) async fn look(config: &Config, dialer: &Dialer, findings: &mut Findings) {
    let outbound = &config.outbound;
    let mut ways = outbound.proxies.iter().chain(outbound.token_proxies.iter().flatten());
    if !ways.any(|way| matches!(way, Way::Proxy(_))) {
        return;
    }
    for (leg, host, port) in destinations(config) {
        let seen = dialer.survey(leg, &host, port).await;
        describe(&format!("way to {host}:{port} ({leg})"), seen, findings);
    }
}

/// Each once: where apps get their tokens, and where listeners lead.
fn destinations(config: &Config) -> Vec<(Leg, String, u16)> {
    let apps = config.apps();
    let asked = apps.iter().filter(|app| !matches!(app.grant, Grant::ManagedIdentity { .. }));
    let tokens = asked.filter_map(|app| {
        let url = reqwest::Url::parse(&app.authority).ok()?;
        Some((Leg::Token, url.host_str()?.to_owned(), url.port_or_known_default()?))
    });
    let servers = config
        .listeners
        .iter()
        .map(|listener| (Leg::Mail, listener.upstream.host.clone(), listener.upstream.port));
    let mut destinations = Vec::new();
    for destination in tokens.chain(servers) {
        if !destinations.contains(&destination) {
            destinations.push(destination);
        }
    }
    destinations
}

fn describe(what: &str, seen: Vec<(String, Option<DialError>)>, findings: &mut Findings) {
    let alone = seen.len() == 1;
    let leads = seen.iter().position(|(_, error)| error.is_none());
    for (place, (way, error)) in seen.into_iter().enumerate() {
        let Some(error) = error else {
            let role = match (alone, leads) {
                (true, _) => "",
                (_, Some(first)) if first == place => ", which is taken",
                _ => ", in reserve",
            };
            findings.add(Finding::fine(format!("{what}: {way}{role}")));
            continue;
        };
        let mut words = Words { error: error.to_string(), cause: None, remedy: error.remedy() };
        if leads.is_some() {
            words.cause = Some("another way leads there".to_owned());
        }
        let finding = if leads.is_some() { Finding::warning } else { Finding::failure };
        findings.add(finding(format!("{what}: {way}"), words));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use crate::net::error::Trouble;

    fn failed() -> DialError {
        let tried = Vec::new();
        DialError {
            leg: Leg::Mail,
            trouble: Trouble::Connect { hop: "proxy a:1".to_owned(), tried },
        }
    }

    #[test]
    fn a_way_that_fails_is_a_warning_where_another_leads() {
        // What is met on each way, and the verdicts.
        let rows = [
            (vec![None], "ok w: 0"),
            (vec![Some(failed())], "FAIL w: 0"),
            (vec![None, None], "ok w: 0, which is taken; ok w: 1, in reserve"),
            (vec![Some(failed()), None], "warn w: 0; ok w: 1, which is taken"),
            (vec![Some(failed()), Some(failed())], "FAIL w: 0; FAIL w: 1"),
        ];
        let mut ran = 0;
        for (seen, expected) in rows {
            let seen = seen.into_iter().enumerate();
            let mut findings = Findings::default();
            describe("w", seen.map(|(at, error)| (at.to_string(), error)).collect(), &mut findings);
            let told = findings.0.iter().map(|finding| match finding.verdict {
                Verdict::Fine => format!("ok {}", finding.what),
                Verdict::Warning(_) => format!("warn {}", finding.what),
                Verdict::Failure(_) => format!("FAIL {}", finding.what),
            });
            assert_eq!(told.collect::<Vec<_>>().join("; "), expected);
            ran += 1;
        }
        assert_eq!(ran, 5);
    }
}
