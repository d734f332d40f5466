//! Who there is: tenants, app registrations, users and mailboxes, as data that anyone may change.
//!
//! The secrets in here open nothing but the sandbox.

pub use crate::sandbox::world::federated::Federated;

/// Everything that Entra and Exchange look up.
#[derive(Clone, Default)]
pub struct Directory {
    /// The tenants that exist.
    pub tenants: Vec<Tenant>,
    /// The app registrations.
    pub apps: Vec<App>,
    /// The users.
    pub users: Vec<User>,
    /// The mailboxes.
    pub mailboxes: Vec<Mailbox>,
}

/// A tenant of Entra and its Exchange organisation.
#[derive(Clone, Default)]
pub struct Tenant {
    /// The directory id, a GUID in lower case.
    pub id: String,
    /// The domain names that lead to it.
    pub domains: Vec<String>,
    /// `Set-TransportConfig -SmtpClientAuthenticationDisabled`.
    pub smtp_auth_disabled: bool,
    /// Whether AUTH LOGIN with the user's password still works.
    pub basic_auth: bool,
}

/// An app registration with its service principal.
#[derive(Clone, Default)]
pub struct App {
    /// The directory id of its tenant.
    pub tenant: String,
    /// The application id.
    pub client_id: String,
    /// The object id of the enterprise application, by which Exchange knows it.
    pub object_id: String,
    /// The name that people see.
    pub name: String,
    /// "Allow public client flows": it needs no secret, and may not send one.
    pub public: bool,
    /// Its client secrets.
    pub secrets: Vec<AppSecret>,
    /// Its certificates, in DER form, whose keys sign assertions (RSA only).
    pub certificates: Vec<Vec<u8>>,
    /// Its federated credentials: whose tokens are assertions.
    pub federated: Vec<Federated>,
    /// Whether it is a managed identity, which has no credential and is asked for at the machine.
    pub managed: Option<Managed>,
    /// Granted application permissions, such as `SMTP.SendAsApp`.
    pub roles: Vec<String>,
    /// Consented delegated permissions, such as `SMTP.Send`.
    pub scopes: Vec<String>,
    /// Registered redirect addresses; of `http://localhost` any port is taken.
    pub redirect_uris: Vec<String>,
    /// Sign-in of the enterprise application is switched off.
    pub disabled: bool,
    /// `New-ServicePrincipal` was run in Exchange with the right object id.
    pub known_to_exchange: bool,
    /// Mailboxes allowed by RBAC for Applications, which puts no role into the token.
    pub rbac_mailboxes: Vec<String>,
}

/// Which of the machine's managed identities it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Managed {
    /// The machine's own, which is meant where a request names none.
    System,
    /// One that is assigned to the machine, and meant where a request names its id.
    User,
}

/// A client secret.
#[derive(Clone, Default)]
pub struct AppSecret {
    /// Its value.
    pub value: String,
    /// Whether it has run out.
    pub expired: bool,
}

/// A user.
#[derive(Clone, Default)]
pub struct User {
    /// The user principal name.
    pub upn: String,
    /// The object id.
    pub object_id: String,
    /// The directory id of the user's tenant.
    pub tenant: String,
    /// The password; after a change raise `generation` too.
    pub password: String,
    /// What stands in the way of a sign-in.
    pub standing: Standing,
    /// Refresh tokens of an earlier generation are revoked (AADSTS50173).
    pub generation: u32,
    /// Wrong passwords in a row.
    pub failures: u32,
}

/// What stands in the way of a user's sign-in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Standing {
    /// Nothing.
    #[default]
    Fine,
    /// The account is disabled (AADSTS50057).
    Disabled,
    /// Smart lockout (AADSTS50053).
    Locked,
    /// No password in the cloud: federated or passwordless (AADSTS50056).
    Federated,
    /// The password has expired (AADSTS50055).
    PasswordExpired,
    /// Multifactor authentication is due (AADSTS50076).
    MfaRequired,
    /// The user must first enrol for multifactor authentication (AADSTS50079).
    MfaEnrolment,
    /// Conditional Access blocks the sign-in (AADSTS53003).
    Blocked,
}

/// A mailbox.
#[allow(clippy::struct_excessive_bools)] // switches that an administrator sets one by one
#[derive(Clone, Default)]
pub struct Mailbox {
    /// The primary address.
    pub address: String,
    /// `Set-CASMailbox -SmtpClientAuthenticationDisabled`; where set it beats the tenant's switch.
    pub smtp_auth_disabled: Option<bool>,
    /// `Set-CASMailbox -ImapEnabled $false`.
    pub imap_disabled: bool,
    /// `Set-CASMailbox -PopEnabled $false`.
    pub pop_disabled: bool,
    /// Its requests for IMAP and POP3 are throttled for now.
    pub throttled: bool,
    /// The server that holds it is away: `NO Server Unavailable. 15`.
    pub unavailable: bool,
    /// Who has `FullAccess`: object ids of service principals, or principal names of users.
    pub full_access: Vec<String>,
    /// Addresses other than its own that it may send as.
    pub send_as: Vec<String>,
    /// Conditional Access refuses its logins although the token is good.
    pub access_blocked: bool,
    /// Sent Items has no room.
    pub full: bool,
    /// The day's recipients are used up.
    pub quota_exceeded: bool,
}

impl Directory {
    /// The tenant by directory id or domain name.
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| {
            tenant.id.eq_ignore_ascii_case(name)
                || tenant.domains.iter().any(|domain| domain.eq_ignore_ascii_case(name))
        })
    }

    /// The app of this tenant (a directory id) with this application id.
    pub fn app(&self, tenant: &str, client_id: &str) -> Option<&App> {
        self.apps
            .iter()
            .find(|app| app.tenant == tenant && app.client_id.eq_ignore_ascii_case(client_id))
    }

    /// The app with this application id, to be changed.
    pub fn app_mut(&mut self, client_id: &str) -> Option<&mut App> {
        self.apps.iter_mut().find(|app| app.client_id.eq_ignore_ascii_case(client_id))
    }

    /// The user with this principal name.
    pub fn user(&self, upn: &str) -> Option<&User> {
        self.users.iter().find(|user| user.upn.eq_ignore_ascii_case(upn))
    }

    /// The user with this principal name, to be changed.
    pub fn user_mut(&mut self, upn: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.upn.eq_ignore_ascii_case(upn))
    }

    /// The mailbox with this address.
    pub fn mailbox(&self, address: &str) -> Option<&Mailbox> {
        self.mailboxes.iter().find(|mailbox| mailbox.address.eq_ignore_ascii_case(address))
    }

    /// The mailbox with this address, to be changed.
    pub fn mailbox_mut(&mut self, address: &str) -> Option<&mut Mailbox> {
        self.mailboxes.iter_mut().find(|mailbox| mailbox.address.eq_ignore_ascii_case(address))
    }

    /// The tenant that an address belongs to, by its domain.
    pub fn tenant_of(&self, address: &str) -> Option<&Tenant> {
        self.tenant(address.rsplit_once('@')?.1)
    }
}
