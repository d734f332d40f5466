//! `grant`: how an app gets its tokens, and which keys belong to which way.

use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;

use super::{
    super::{
        Grant, IdentitySource,
        form::{host_of, is_loopback, loopback_redirect, split_url},
    },
    Checker,
    app::Written,
};

/// How long an accepted password is believed, where the file does not say.
const ACCEPTED_FOR: Duration = Duration::from_secs(12 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Where virtual machines ask; no name, so that no resolver can lead elsewhere.
const IMDS: &str = "http://169.254.169.254";

/// `grant = "..."`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    App,
    Password,
    Browser,
    Device,
    Identity,
    Workload,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::App, Self::Password, Self::Browser, Self::Device, Self::Identity, Self::Workload];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::App => "client_credentials",
            Self::Password => "password",
            Self::Browser => "authorization_code",
            Self::Device => "device_code",
            Self::Identity => "managed_identity",
            Self::Workload => "workload_identity",
        }
    }

    pub(super) fn is_interactive(self) -> bool {
        matches!(self, Self::Browser | Self::Device)
    }

    pub(super) fn is_app_only(self) -> bool {
        matches!(self, Self::App | Self::Identity | Self::Workload)
    }

    /// What is asked for beside the mail: a refresh token, and where somebody signs in, who it was.
    pub(super) fn standing_scopes(self) -> &'static [&'static str] {
        match self {
            Self::App | Self::Identity | Self::Workload => &[],
            Self::Password => &["offline_access"],
            Self::Browser | Self::Device => &["offline_access", "openid", "profile"],
        }
    }
}

impl Checker<'_> {
    /// The kind of grant, after a look at the keys that do not belong to it.
    pub(super) fn kind(&mut self, written: Written<'_>, has_vault: bool) -> Option<Kind> {
        let given = &written.table.grant;
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == given.get_ref()) else {
            let names: Vec<_> =
                Kind::ALL.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
            let words = format!(
                "{}: \"{}\" is no grant; write one of {}",
                written.key("grant"),
                given.get_ref(),
                names.join(", ")
            );
            self.problems.at(given.span(), words);
            return None;
        };
        if kind.is_interactive() && !has_vault {
            let words = format!(
                "{}: \"{}\" keeps what a sign-in gives in the vault; add a line [vault]",
                written.key("grant"),
                kind.name()
            );
            self.problems.at(given.span(), words);
        }
        self.unfit_keys(written, kind);
        Some(kind)
    }

    fn unfit_keys(&mut self, written: Written<'_>, kind: Kind) {
        let table = written.table;
        let has_credential = !matches!(kind, Kind::Identity | Kind::Workload);
        let rows = [
            ("client_secret", table.client_secret.as_ref().map(Spanned::span), has_credential),
            ("certificate", table.certificate.as_ref().map(Spanned::span), has_credential),
            ("token_file", table.token_file.as_ref().map(Spanned::span), kind == Kind::Workload),
            (
                "identity_endpoint",
                table.identity_endpoint.as_ref().map(Spanned::span),
                kind == Kind::Identity,
            ),
            ("scope", table.scope.as_ref().map(Spanned::span), kind != Kind::Identity),
            ("resource", table.resource.as_ref().map(Spanned::span), !kind.is_interactive()),
            ("redirect_uri", table.redirect_uri.as_ref().map(Spanned::span), kind == Kind::Browser),
            (
                "password_accepted_for",
                table.password_accepted_for.as_ref().map(Spanned::span),
                kind == Kind::Password,
            ),
        ];
        for (key, span, fits) in rows {
            if let Some(span) = span.filter(|_| !fits) {
                let words = format!(
                    "{} does not belong to grant = \"{}\"; remove it",
                    written.key(key),
                    kind.name()
                );
                self.problems.at(span, words);
            }
        }
        if let (Some(day), None) = (&table.client_secret_expires, &table.client_secret) {
            let words = format!(
                "{} without client_secret; remove it (a certificate says itself when it ends)",
                written.key("client_secret_expires")
            );
            self.problems.at(day.span(), words);
        }
    }

    /// A key that does no harm and does nothing.
    pub(super) fn not_used<T>(&mut self, given: &Spanned<T>, key: &str, kind: Kind) {
        let words = format!("{key} is not used with grant = \"{}\"", kind.name());
        self.problems.warn(given.span(), &words);
    }

    pub(super) fn grant(&mut self, written: Written<'_>, kind: Option<Kind>) -> Option<Grant> {
        let table = written.table;
        // With a grant that is none, what else is wrong is told all the same.
        let credential = self.credential(written, kind);
        match kind? {
            Kind::App | Kind::Workload => {
                Some(Grant::ClientCredentials { credential: credential?? })
            }
            Kind::Password => {
                let accepted_for = self.duration(
                    table.password_accepted_for.as_ref(),
                    &written.key("password_accepted_for"),
                    ACCEPTED_FOR,
                    MINUTE..=WEEK,
                );
                Some(Grant::Password { credential: credential?, accepted_for })
            }
            Kind::Browser => {
                let redirect_uri =
                    self.redirect_uri(&written.key("redirect_uri"), table.redirect_uri.as_ref());
                Some(Grant::AuthorizationCode {
                    credential: credential?,
                    redirect_uri: redirect_uri?,
                })
            }
            Kind::Device => Some(Grant::DeviceCode { credential: credential? }),
            Kind::Identity => Some(Grant::ManagedIdentity { source: self.identity(written)? }),
        }
    }

    fn redirect_uri(&mut self, key: &str, given: Option<&Spanned<String>>) -> Option<String> {
        let Some(given) = given else { return Some("http://localhost".to_owned()) };
        let value = given.get_ref().trim();
        if let Err(why) = loopback_redirect(value) {
            let words = format!(
                "{key}: {why}; write \"http://localhost\", with a :PORT or a /path if the app has them"
            );
            self.problems.at(given.span(), words);
            return None;
        }
        Some(value.to_owned())
    }

    /// Where a managed identity's tokens come from: the file, else what the platform says.
    fn identity(&mut self, written: Written<'_>) -> Option<IdentitySource> {
        let key = written.key("identity_endpoint");
        if let Some(given) = &written.table.identity_endpoint {
            let value = given.get_ref().trim().trim_end_matches('/');
            let parts = split_url(value)
                .and_then(|(scheme, authority)| Some((scheme, host_of(authority)?)));
            let fine = match parts {
                Some(("https", _)) => true,
                Some(("http", host)) => host == "169.254.169.254" || is_loopback(host),
                _ => false,
            };
            if fine {
                return Some(IdentitySource::Imds(value.to_owned()));
            }
            let words = format!(
                "{key} must be https://HOST (http only for this machine and 169.254.169.254); leave it out for \"{IMDS}\""
            );
            self.problems.at(given.span(), words);
            return None;
        }
        let endpoint = self.variable_of_azure("IDENTITY_ENDPOINT");
        let header = self.variable_of_azure("IDENTITY_HEADER").map(SecretString::from);
        let unknown = ["IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"]
            .into_iter()
            .find(|variable| self.variable_of_azure(variable).is_some());
        let words = match (endpoint, header, unknown) {
            (None, _, _) => return Some(IdentitySource::Imds(IMDS.to_owned())),
            (Some(_), _, Some(variable)) => format!(
                "{}: Azure Arc's and Service Fabric's identities ({variable} is set) are not available in this version; use \"client_credentials\" with a certificate",
                written.key("grant")
            ),
            (Some(_), None, None) => format!(
                "{}: IDENTITY_ENDPOINT is set and IDENTITY_HEADER is not; App Service sets both, so hand both on to mailwicket, or write identity_endpoint = \"{IMDS}\"",
                written.key("grant")
            ),
            (Some(endpoint), Some(header), None) => {
                let legal = ["http://", "https://"].iter().any(|s| endpoint.starts_with(s))
                    && endpoint.bytes().all(|octet| octet.is_ascii_graphic());
                if legal {
                    return Some(IdentitySource::AppService { endpoint, header });
                }
                format!(
                    "{}: the environment's IDENTITY_ENDPOINT is no URL; mend or unset it",
                    written.key("grant")
                )
            }
        };
        self.problems.at(written.table.grant.span(), words);
        None
    }
}
