//! `[entra.NAME]`: which app, in which tenant of which cloud, at which authority.
//!
//! How it proves who it is stands in `credential`, its grant in `grant`, what tokens are for in
//! `audience`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use toml::Spanned;

use super::{
    super::{
        Date, EntraApp,
        file::{self, Day},
        form::{host_of, is_guid, is_loopback, split_url},
    },
    Checker,
    cloud::Cloud,
    grant::Kind,
};

/// The apps that are usable, and the cloud of each app.
#[derive(Default)]
pub(super) struct Apps {
    pub(super) usable: BTreeMap<String, Arc<EntraApp>>,
    pub(super) clouds: Vec<Cloud>,
}

/// One table and its name, for messages.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) name: &'a str,
    pub(super) table: &'a file::Entra,
}

impl Written<'_> {
    /// A key's full name.
    pub(super) fn key(self, key: &str) -> String {
        format!("entra.{}.{key}", self.name)
    }
}

impl Checker<'_> {
    pub(super) fn apps(
        &mut self,
        tables: &BTreeMap<String, Spanned<file::Entra>>,
        has_vault: bool,
    ) -> Apps {
        if tables.is_empty() {
            self.problems
                .general("no [entra.NAME] table; add one with tenant, client_id and grant");
        }
        let mut apps = Apps::default();
        for (name, table) in tables {
            let written = Written { name, table: table.get_ref() };
            let kind = self.kind(written, has_vault);
            let cloud = self.cloud(written, kind);
            apps.clouds.extend(cloud);
            if let Some(app) = self.app(written, kind, cloud) {
                apps.usable.insert(name.clone(), Arc::new(app));
            }
        }
        apps
    }

    fn app(
        &mut self,
        written: Written<'_>,
        kind: Option<Kind>,
        cloud: Option<Cloud>,
    ) -> Option<EntraApp> {
        let table = written.table;
        let tenant = self.tenant(written, kind, cloud);
        let client_id = self.client_id(written, kind);
        let authority = self.authority(written, kind, cloud);
        let audience = self.audience(written, kind, cloud, tenant.as_deref());
        let grant = self.grant(written, kind);
        let secret_expires = match &table.client_secret_expires {
            Some(day) => self.day(&written.key("client_secret_expires"), day).map(Some),
            None => Some(None),
        };
        let margin = self.duration(
            table.token_expiry_margin.as_ref(),
            &written.key("token_expiry_margin"),
            Duration::from_secs(600),
            Duration::ZERO..=Duration::from_secs(45 * 60),
        );
        Some(EntraApp {
            name: written.name.to_owned(),
            tenant: tenant?,
            client_id: client_id?,
            grant: grant?,
            authority: authority?,
            audience: audience?,
            token_expiry_margin: margin,
            secret_expires: secret_expires?,
        })
    }

    /// The cloud written; where none is, the tenant of all personal accounts says as much.
    fn cloud(&mut self, written: Written<'_>, kind: Option<Kind>) -> Option<Cloud> {
        let table = written.table;
        let cloud = match &table.cloud {
            None => {
                let tenant = table.tenant.as_ref().map(|tenant| tenant.get_ref().trim());
                let personal =
                    tenant.is_some_and(|tenant| tenant.eq_ignore_ascii_case("consumers"));
                if personal { Cloud::Personal } else { Cloud::Global }
            }
            Some(given) => {
                let Some(cloud) = Cloud::of(given.get_ref()) else {
                    let words = format!(
                        "{}: \"{}\" is no cloud; write {}",
                        written.key("cloud"),
                        given.get_ref(),
                        Cloud::NAMES
                    );
                    self.problems.at(given.span(), words);
                    return None;
                };
                cloud
            }
        };
        if let Some(kind) = kind.filter(|kind| cloud == Cloud::Personal && !kind.is_interactive()) {
            let words = format!(
                "{}: personal accounts cannot be reached with \"{}\"; write \"device_code\" or \"authorization_code\"",
                written.key("grant"),
                kind.name()
            );
            self.problems.at(table.grant.span(), words);
        }
        Some(cloud)
    }

    fn tenant(
        &mut self,
        written: Written<'_>,
        kind: Option<Kind>,
        cloud: Option<Cloud>,
    ) -> Option<String> {
        let key = written.key("tenant");
        let (span, value) = match &written.table.tenant {
            Some(tenant) if kind == Some(Kind::Identity) => {
                self.not_used(tenant, &key, Kind::Identity);
                return Some(String::new());
            }
            Some(tenant) => (tenant.span(), tenant.get_ref().clone()),
            None if kind == Some(Kind::Identity) => return Some(String::new()),
            None if cloud == Some(Cloud::Personal) => return Some("consumers".to_owned()),
            None => {
                let example =
                    "the Directory (tenant) ID or a domain such as \"contoso.onmicrosoft.com\"";
                (
                    written.table.grant.span(),
                    self.inherited_or_missing(written, kind, "tenant", "AZURE_TENANT_ID", example)?,
                )
            }
        };
        let value = value.trim().to_ascii_lowercase();
        let legal = !value.is_empty()
            && value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet));
        if !legal {
            let words = format!(
                "{key} is no tenant; write the Directory (tenant) ID or a domain such as \"contoso.onmicrosoft.com\""
            );
            self.problems.at(span, words);
            return None;
        }
        let words = match (value.as_str(), kind, cloud) {
            // All but a sign-in is refused for these already.
            ("organizations", _, Some(Cloud::Personal)) => format!(
                "{key}: \"organizations\" holds no personal accounts; leave tenant out with cloud = \"personal\""
            ),
            ("consumers", _, Some(cloud)) if cloud.is_national() => format!(
                "{key}: there are no personal accounts in cloud = \"{}\"; write the Directory (tenant) ID",
                cloud.name()
            ),
            (_, _, Some(Cloud::Personal)) => return Some(value),
            ("common" | "consumers", Some(Kind::Password), _)
            | ("common" | "consumers" | "organizations", Some(Kind::App | Kind::Workload), _) => {
                format!(
                    "{key}: \"{value}\" does not work with this grant; write the Directory (tenant) ID"
                )
            }
            _ => return Some(value),
        };
        self.problems.at(span, words);
        None
    }

    fn client_id(&mut self, written: Written<'_>, kind: Option<Kind>) -> Option<String> {
        let (span, value) = match &written.table.client_id {
            Some(id) => (id.span(), id.get_ref().clone()),
            // The machine's own identity has a name only within Azure.
            None if kind == Some(Kind::Identity) => return Some(String::new()),
            None => {
                let example = "the Application (client) ID";
                (
                    written.table.grant.span(),
                    self.inherited_or_missing(
                        written,
                        kind,
                        "client_id",
                        "AZURE_CLIENT_ID",
                        example,
                    )?,
                )
            }
        };
        let value = value.trim();
        if is_guid(value) {
            return Some(value.to_ascii_lowercase());
        }
        let words = format!(
            "{} is no application ID; copy the Application (client) ID, such as \"00000000-0000-0000-0000-000000000000\"",
            written.key("client_id")
        );
        self.problems.at(span, words);
        None
    }

    /// What the environment says in place of a key, as Azure's workload identity sets it.
    fn inherited_or_missing(
        &mut self,
        written: Written<'_>,
        kind: Option<Kind>,
        key: &str,
        variable: &str,
        example: &str,
    ) -> Option<String> {
        let workload = kind == Some(Kind::Workload);
        let found = workload.then(|| self.variable_of_azure(variable)).flatten();
        if found.is_none() {
            let or = if workload { format!(", or set {variable}") } else { String::new() };
            let words = format!("{} is missing; write {example}{or}", written.key(key));
            self.problems.at(written.table.grant.span(), words);
        }
        found
    }

    /// A variable that the platform sets; an empty one counts as none.
    pub(super) fn variable_of_azure(&self, variable: &str) -> Option<String> {
        let value = (self.environment)(variable)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// `https://host[:port]`, or `http` to this machine, for a simulated Entra.
    fn authority(
        &mut self,
        written: Written<'_>,
        kind: Option<Kind>,
        cloud: Option<Cloud>,
    ) -> Option<String> {
        let table = written.table;
        let key = written.key("authority");
        let (span, value) = if let Some(given) = &table.authority {
            if kind == Some(Kind::Identity) {
                self.not_used(given, &key, Kind::Identity);
            }
            (given.span(), given.get_ref().clone())
        } else {
            let inherits = kind == Some(Kind::Workload) && table.cloud.is_none();
            let inherited =
                inherits.then(|| self.variable_of_azure("AZURE_AUTHORITY_HOST")).flatten();
            match inherited {
                Some(value) => (table.grant.span(), value),
                None => return Some(cloud?.authority().to_owned()),
            }
        };
        let value = value.trim().trim_end_matches('/');
        let parts =
            split_url(value).and_then(|(scheme, authority)| Some((scheme, host_of(authority)?)));
        let fine = match parts {
            Some(("https", _)) => true,
            Some(("http", host)) => is_loopback(host),
            _ => false,
        };
        if !fine {
            let words = format!(
                "{key} must be https://HOST (http only for this machine), such as \"https://login.microsoftonline.com/\""
            );
            self.problems.at(span, words);
            return None;
        }
        if let Some(cloud) = cloud.filter(|cloud| cloud.authority() != value)
            && Cloud::ALL.iter().any(|other| other.authority() == value)
        {
            let words = format!(
                "{key}: {value} is not the authority of cloud = \"{}\", whose scope and mail servers are used; write cloud instead of authority",
                cloud.name()
            );
            self.problems.warn(span, &words);
        }
        Some(value.to_owned())
    }

    fn day(&mut self, key: &str, given: &Spanned<Day>) -> Option<Date> {
        let day = match given.get_ref() {
            Day::Quoted(text) => text.trim().parse().ok(),
            Day::Bare(datetime) => datetime.date.and_then(|date| {
                let year = i16::try_from(date.year).ok()?;
                let (month, day) = (i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?);
                Date::new(year, month, day).ok()
            }),
        };
        if day.is_none() {
            self.problems
                .at(given.span(), format!("{key} is no day; write such as \"2027-03-01\""));
        }
        day
    }
}
