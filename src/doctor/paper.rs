//! What can be said without the network: whether what apps prove themselves with can be used, and
//! how long.

use std::{collections::HashSet, time::SystemTime};

use super::{Finding, Findings, Words};
use crate::{
    config::{CertificateFiles, Config, Credential, Date, EntraApp, TlsFiles},
    net::server_tls::{self, Seen},
    token::{TokenError, certificate_fits, expiry},
};

/// Looks at the secrets and certificates of all apps, as of that day, and at those of the
/// listeners. Blocks: files are read.
pub fn on_paper(config: &Config, today: Date) -> Vec<Finding> {
    let mut findings = Findings::default();
    for files in listeners_files(config) {
        findings.add(of_a_listener(files));
    }
    for app in config.apps() {
        let ended = match expiry::ending(&app, today) {
            Ok(None) => false,
            Ok(Some(ending)) => {
                let (what, over) = (ending.what(), ending.expiry.is_over());
                let meaning = if over {
                    "no token is got with it"
                } else {
                    "no token is got with it after that"
                };
                let words = Words::new(meaning, ending.remedy());
                let finding = if over { Finding::failure } else { Finding::warning };
                findings.add(finding(what, words));
                over
            }
            Err(error) => {
                findings.add(unusable(&app, error));
                continue;
            }
        };
        if let (false, Some(Credential::Certificate(files))) = (ended, app.grant.credential()) {
            findings.add(certificate(&app, files));
        }
    }
    findings.0
}

/// Each once, however many listeners share it.
fn listeners_files(config: &Config) -> Vec<&TlsFiles> {
    let mut seen = HashSet::new();
    let files = config.listeners.iter().filter_map(|each| Some(&each.tls.as_ref()?.files));
    files.filter(|files| seen.insert(*files)).collect()
}

fn of_a_listener(files: &TlsFiles) -> Finding {
    let what = format!("certificate {}", files.certificate.display());
    match server_tls::look_at(files) {
        Ok(Seen::Usable(ends)) if ends.has_ended() => {
            let remedy =
                "put a new certificate and its key in place; where it is self-signed, remove both";
            Finding::failure(what, Words::new(format!("it ended on {}", ends.on), remedy))
        }
        Ok(Seen::Usable(ends)) => Finding::fine(format!("{what}: valid until {}", ends.on)),
        Ok(Seen::ToBeMade) => Finding::fine(format!("{what}: will be made at first use")),
        Err(error) => Finding::failure(what, Words::new(error.to_string(), error.remedy)),
    }
}

fn certificate(app: &EntraApp, files: &CertificateFiles) -> Finding {
    match certificate_fits(files, SystemTime::now()) {
        Ok(()) => Finding::fine(format!(
            "entra.{}.certificate {}: it can be used, and its key is the right one",
            app.name,
            files.certificate.display()
        )),
        Err(error) => unusable(app, error),
    }
}

fn unusable(app: &EntraApp, error: TokenError) -> Finding {
    let remedy = error.remedy();
    let error = match error {
        TokenError::Unavailable { what, .. } => what,
        other => other.to_string(),
    };
    let words = Words { error, cause: None, remedy };
    Finding::failure(format!("entra.{}.certificate cannot be used", app.name), words)
}
