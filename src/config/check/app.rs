//! `[entra.NAME]`: which app, by which grant, at which authority.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::{
    super::{
        Audience, Credential, EntraApp, Grant,
        file::{self, Secret},
        form::{host_of, is_guid, is_loopback, split_url},
    },
    Checker,
};

/// How long an accepted password is believed, where the file does not say.
const ACCEPTED_FOR: Duration = Duration::from_secs(12 * 3600);

impl Checker<'_> {
    pub(super) fn apps(
        &mut self,
        tables: &BTreeMap<String, Spanned<file::Entra>>,
    ) -> BTreeMap<String, Arc<EntraApp>> {
        if tables.is_empty() {
            self.problems
                .general("no [entra.NAME] table; add one with tenant, client_id and grant");
        }
        let mut apps = BTreeMap::new();
        for (name, table) in tables {
            if let Some(app) = self.app(name, table.get_ref()) {
                apps.insert(name.clone(), Arc::new(app));
            }
        }
        apps
    }

    fn app(&mut self, name: &str, table: &file::Entra) -> Option<EntraApp> {
        let later = [
            (&table.certificate, "certificate"),
            (&table.redirect_uri, "redirect_uri"),
            (&table.cloud, "cloud"),
        ];
        for (key, word) in later {
            self.not_yet(key.as_ref(), &format!("entra.{name}.{word}"));
        }
        let grant = self.grant(name, table);
        let tenant = self.tenant(name, &table.tenant, grant.as_ref());
        let client_id = self.client_id(name, &table.client_id);
        let authority = match &table.authority {
            None => Some("https://login.microsoftonline.com".to_owned()),
            Some(given) => self.authority(name, given),
        };
        let scope = self.scope(name, table.scope.as_ref(), grant.as_ref());
        let margin = self.duration(
            table.token_expiry_margin.as_ref(),
            &format!("entra.{name}.token_expiry_margin"),
            Duration::from_secs(600),
            Duration::ZERO..=Duration::from_secs(45 * 60),
        );
        Some(EntraApp {
            name: name.to_owned(),
            tenant: tenant?,
            client_id: client_id?,
            grant: grant?,
            authority: authority?,
            audience: Audience::Scope(scope?),
            token_expiry_margin: margin,
            secret_expires: None,
        })
    }

    fn grant(&mut self, name: &str, table: &file::Entra) -> Option<Grant> {
        let secret = table
            .client_secret
            .as_ref()
            .map(|secret| (secret.span(), self.app_secret(name, secret)));
        match table.grant.get_ref().as_str() {
            "client_credentials" => {
                if let Some((_, secret)) = secret {
                    let credential = Credential::Secrets(vec![secret?]);
                    Some(Grant::ClientCredentials { credential })
                } else {
                    let words = format!(
                        "entra.{name}.client_secret is missing; grant = \"client_credentials\" needs it, such as {{ file = \"client_secret.txt\" }}"
                    );
                    self.problems.at(table.grant.span(), words);
                    None
                }
            }
            "password" => {
                let credential = match secret {
                    Some((_, secret)) => Some(Credential::Secrets(vec![secret?])),
                    None => None,
                };
                Some(Grant::Password { credential, accepted_for: ACCEPTED_FOR })
            }
            later @ ("authorization_code" | "device_code" | "managed_identity"
            | "workload_identity") => {
                let words = format!(
                    "entra.{name}.grant: \"{later}\" is not available in this version; use \"client_credentials\" or \"password\""
                );
                self.problems.at(table.grant.span(), words);
                None
            }
            other => {
                let words = format!(
                    "entra.{name}.grant: \"{other}\" is no grant; write \"client_credentials\" or \"password\""
                );
                self.problems.at(table.grant.span(), words);
                None
            }
        }
    }

    fn app_secret(&mut self, name: &str, secret: &Spanned<Secret>) -> Option<SecretString> {
        let key = format!("entra.{name}.client_secret");
        let value = self.secret(&key, secret)?;
        if is_guid(value.expose_secret()) {
            let words = format!(
                "{key} looks like the secret's ID; Entra wants its Value, which is shown once, when the secret is made"
            );
            self.problems.warn(secret.span(), &words);
        }
        Some(value)
    }

    fn tenant(
        &mut self,
        name: &str,
        tenant: &Spanned<String>,
        grant: Option<&Grant>,
    ) -> Option<String> {
        let value = tenant.get_ref().trim().to_ascii_lowercase();
        let legal = !value.is_empty()
            && value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet));
        if !legal {
            let words = format!(
                "entra.{name}.tenant is no tenant; write the Directory (tenant) ID or a domain such as \"contoso.onmicrosoft.com\""
            );
            self.problems.at(tenant.span(), words);
            return None;
        }
        let shared = matches!(value.as_str(), "common" | "consumers")
            || (value == "organizations" && matches!(grant, Some(Grant::ClientCredentials { .. })));
        if shared {
            let words = format!(
                "entra.{name}.tenant: \"{value}\" does not work with this grant; write the Directory (tenant) ID"
            );
            self.problems.at(tenant.span(), words);
            return None;
        }
        Some(value)
    }

    fn client_id(&mut self, name: &str, id: &Spanned<String>) -> Option<String> {
        let value = id.get_ref().trim();
        if is_guid(value) {
            return Some(value.to_ascii_lowercase());
        }
        let words = format!(
            "entra.{name}.client_id is no application ID; copy the Application (client) ID, such as \"00000000-0000-0000-0000-000000000000\""
        );
        self.problems.at(id.span(), words);
        None
    }

    /// `https://host[:port]`, or `http` to this machine, for a simulated Entra.
    fn authority(&mut self, name: &str, given: &Spanned<String>) -> Option<String> {
        let value = given.get_ref().trim().trim_end_matches('/');
        let parts =
            split_url(value).and_then(|(scheme, authority)| Some((scheme, host_of(authority)?)));
        let fine = match parts {
            Some(("https", _)) => true,
            Some(("http", host)) => is_loopback(host),
            _ => false,
        };
        if fine {
            return Some(value.to_owned());
        }
        let words = format!(
            "entra.{name}.authority must be https://HOST (http only for this machine), such as \"https://login.microsoftonline.com/\""
        );
        self.problems.at(given.span(), words);
        None
    }

    fn scope(
        &mut self,
        name: &str,
        given: Option<&Spanned<String>>,
        grant: Option<&Grant>,
    ) -> Option<String> {
        let by_password = matches!(grant?, Grant::Password { .. });
        let Some(given) = given else {
            let scope = if by_password {
                "https://outlook.office.com/.default offline_access"
            } else {
                "https://outlook.office365.com/.default"
            };
            return Some(scope.to_owned());
        };
        let words: Vec<_> = given.get_ref().split_whitespace().collect();
        if words.is_empty() {
            self.problems.at(
                given.span(),
                format!("entra.{name}.scope is empty; leave it out for the default"),
            );
            return None;
        }
        let mut scope = words.join(" ");
        if by_password && !words.contains(&"offline_access") {
            scope.push_str(" offline_access"); // for renewing without the password
        }
        Some(scope)
    }
}
