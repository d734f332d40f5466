//! An app registration in Entra, and how it gets its tokens: `[entra.NAME]`.
//!
//! The closed sets of grants and credentials are enums, so that nothing further down can forget
//! one. Data only: it must never know how a token is asked for.

#[cfg(test)]
use std::sync::Arc;
use std::{fmt, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// A secret that ends is told of when fewer days than this are left.
const EXPIRY_NOTICE: i32 = 31;

/// One Entra app registration: `[entra.NAME]`.
#[derive(Clone, Debug)]
pub struct EntraApp {
    /// The table's name.
    pub name: String,
    /// Tenant id or domain, or `consumers` for personal accounts.
    pub tenant: String,
    /// Application (client) id. For [`Grant::ManagedIdentity`] the user-assigned identity's, and
    /// empty for the machine's own.
    pub client_id: String,
    /// How tokens are got.
    pub grant: Grant,
    /// The authority's base URL, without a trailing slash. `http` only for a loopback host.
    pub authority: String,
    /// What tokens are for.
    pub audience: Audience,
    /// How long before expiry a token is renewed.
    pub token_expiry_margin: Duration,
    /// The day on which the client secret ends, where the file says so.
    pub secret_expires: Option<Date>,
}

impl EntraApp {
    /// The URL of the token endpoint: v2.0, or v1.0 where a resource is named in place of a scope.
    pub fn token_url(&self) -> String {
        let version = match self.audience {
            Audience::Scope(_) => "v2.0/",
            Audience::Resource(_) => "",
        };
        format!("{}/{}/oauth2/{version}token", self.authority, self.tenant)
    }

    /// The URL of the v2.0 authorization endpoint (RFC 6749 section 3.1).
    pub fn authorize_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/authorize", self.authority, self.tenant)
    }

    /// The URL of the v2.0 device authorization endpoint (RFC 8628 section 3.1).
    pub fn device_code_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/devicecode", self.authority, self.tenant)
    }

    /// An app for tests, with everything but the grant made up.
    #[cfg(test)]
    pub(crate) fn sample(grant: Grant) -> Arc<Self> {
        Arc::new(Self {
            name: "contoso".to_owned(),
            tenant: "contoso.example".to_owned(),
            client_id: "client".to_owned(),
            grant,
            authority: "https://localhost".to_owned(),
            audience: Audience::Scope("scope/.default".to_owned()),
            token_expiry_margin: Duration::from_secs(600),
            secret_expires: None,
        })
    }

    /// Whether the app itself is the identity, and not each of its users.
    pub fn is_app_only(&self) -> bool {
        matches!(self.grant, Grant::ClientCredentials { .. } | Grant::ManagedIdentity { .. })
    }
}

/// A calendar day (UTC).
pub type Date = jiff::civil::Date;

/// An end that is near, or past. `Display` says so as the rest of a sentence: "expires on ...".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// The last day.
    pub day: Date,
    /// How many days are left; below 0 when it is over.
    pub left: i32,
}

impl Expiry {
    /// The end on that day, if it is within 30 days of `today`, or over.
    pub fn soon(day: Date, today: Date) -> Option<Self> {
        let left = today.until(day).map_or(i32::MAX, |span| span.get_days());
        (left < EXPIRY_NOTICE).then_some(Self { day, left })
    }

    /// Whether it is past.
    pub fn is_over(self) -> bool {
        self.left < 0
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.day;
        match self.left {
            2.. => write!(f, "expires on {day}, in {} days", self.left),
            1 => write!(f, "expires on {day}, tomorrow"),
            0 => write!(f, "expires on {day}, today"),
            _ => write!(f, "has expired on {day}"),
        }
    }
}

/// What a token is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// The scope as sent; for grants that give a refresh token it includes `offline_access`.
    Scope(String),
    /// The resource of the v1.0 endpoint, which Entra operated by 21Vianet is asked by password
    /// with, and [`Grant::ManagedIdentity`] always.
    Resource(String),
}

/// How an app gets its tokens.
#[derive(Clone, Debug)]
pub enum Grant {
    /// OAuth 2.0 client credentials (RFC 6749 section 4.4): one token of the app for all mailboxes.
    /// `client_credentials`, and `workload_identity` with [`Credential::Federated`].
    ClientCredentials {
        /// How the app proves who it is.
        credential: Credential,
    },
    /// Resource-owner password credentials (RFC 6749 section 4.3): a token for each user, for the
    /// password that the user typed.
    Password {
        /// How the app proves who it is; none for a public client.
        credential: Option<Credential>,
        /// How long an accepted password is believed before Entra is asked again.
        accepted_for: Duration,
    },
    /// A user signs in once in a browser (RFC 6749 section 4.1, RFC 7636); from then on the refresh
    /// token in the vault does.
    AuthorizationCode {
        /// How the app proves who it is; none for a public client.
        credential: Option<Credential>,
        /// Where the browser comes back to: `http://localhost[:PORT][/PATH]`. Without a port a free
        /// one is taken, which Entra lets pass for `localhost`.
        redirect_uri: String,
    },
    /// The same, on any device that has a browser (RFC 8628).
    DeviceCode {
        /// How the app proves who it is; none for a public client.
        credential: Option<Credential>,
    },
    /// The identity of the Azure machine or service that mailwicket runs on.
    ManagedIdentity {
        /// Where it is asked for.
        source: IdentitySource,
    },
}

impl Grant {
    /// Client credentials with this secret, for tests.
    #[cfg(test)]
    pub(crate) fn of_app(secret: &str) -> Self {
        Self::ClientCredentials { credential: Credential::Secrets(vec![secret.into()]) }
    }

    /// A public client's password grant, for tests.
    #[cfg(test)]
    pub(crate) fn by_password() -> Self {
        Self::Password { credential: None, accepted_for: Duration::from_secs(12 * 3600) }
    }

    /// Whether a person must have signed in with `mailwicket sign-in` first.
    pub fn needs_sign_in(&self) -> bool {
        matches!(self, Self::AuthorizationCode { .. } | Self::DeviceCode { .. })
    }

    /// The app's credential, where it has one.
    pub fn credential(&self) -> Option<&Credential> {
        match self {
            Self::ClientCredentials { credential } => Some(credential),
            Self::Password { credential, .. }
            | Self::AuthorizationCode { credential, .. }
            | Self::DeviceCode { credential } => credential.as_ref(),
            Self::ManagedIdentity { .. } => None,
        }
    }

    /// Its name in `proxy.toml`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials { credential: Credential::Federated { .. } } => {
                "workload_identity"
            }
            Self::ClientCredentials { .. } => "client_credentials",
            Self::Password { .. } => "password",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::DeviceCode { .. } => "device_code",
            Self::ManagedIdentity { .. } => "managed_identity",
        }
    }
}

/// How an app proves to Entra who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Client secrets, at least one: during a rotation the next is tried where one is refused.
    Secrets(Vec<SecretString>),
    /// A certificate's private key signs an assertion (RFC 7523). The files are read anew for each
    /// request, so that a renewed certificate is used at once.
    Certificate(CertificateFiles),
    /// A token of another issuer, such as Kubernetes, is the assertion. The file is read anew for
    /// each request, because its issuer replaces it every hour or so.
    Federated {
        /// The file that holds it.
        token_file: PathBuf,
    },
}

/// Where a certificate and its private key are.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// PEM file of the certificate, or a PKCS#12 file (`.pfx`, `.p12`) of both.
    pub certificate: PathBuf,
    /// PEM file of the private key; `None` where it is in the first file.
    pub key: Option<PathBuf>,
    /// What the key or the PKCS#12 file is encrypted with.
    pub password: Option<SecretString>,
}

/// Where a managed identity's tokens come from (Microsoft: "How to use managed identities").
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// The instance metadata service of a virtual machine; its base URL, without a trailing slash.
    Imds(String),
    /// App Service, Functions and Container Apps.
    AppService {
        /// `IDENTITY_ENDPOINT`
        endpoint: String,
        /// `IDENTITY_HEADER`: whoever knows it gets tokens, so it is a secret.
        header: SecretString,
    },
}
