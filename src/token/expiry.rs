//! When what an app proves itself with ends.
//!
//! A client secret's day stands in the configuration, because Entra tells it to nobody who has only
//! the secret; a certificate's is in its file, which may be another tomorrow. Must never know who
//! asks, or what day it is.

use std::path::PathBuf;

use super::{TokenError, certificate_end};
use crate::config::{Credential, Date, EntraApp, Expiry};

/// What ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ends {
    /// The client secret whose day the configuration names.
    Secret,
    /// The certificate in this file.
    Certificate(PathBuf),
}

/// An app's credential that ends within 30 days, or has ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The name of the app's table in `proxy.toml`.
    pub app: String,
    /// What ends.
    pub ends: Ends,
    /// When.
    pub expiry: Expiry,
}

impl Ending {
    /// What ends and when, in one sentence.
    pub fn what(&self) -> String {
        let Self { app, ends, expiry } = self;
        match ends {
            Ends::Secret => format!("entra.{app}.client_secret {expiry}"),
            Ends::Certificate(file) => {
                format!("entra.{app}.certificate {} {expiry}", file.display())
            }
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.ends {
            Ends::Secret => {
                "make a new one in Entra (App registrations, Certificates & secrets), write it beside the old one, and its day to client_secret_expires"
            }
            Ends::Certificate(_) => {
                "make a new certificate, upload it to the app registration and put it in place; no restart is needed"
            }
        }
    }
}

/// What of this app ends soon. Blocks: a certificate's file is read.
///
/// # Errors
/// As [`certificate_end`].
pub fn ending(app: &EntraApp, today: Date) -> Result<Option<Ending>, TokenError> {
    let (ends, day) = match (app.grant.credential(), app.secret_expires) {
        (Some(Credential::Certificate(files)), _) => {
            (Ends::Certificate(files.certificate.clone()), certificate_end(files)?)
        }
        (_, Some(day)) => (Ends::Secret, day),
        (_, None) => return Ok(None),
    };
    let expiry = Expiry::soon(day, today);
    Ok(expiry.map(|expiry| Ending { app: app.name.clone(), ends, expiry }))
}
