//! The tenant that the sandbox starts with.

use crate::sandbox::world::directory::{
    App, AppSecret, Directory, Mailbox, Managed, Standing, Tenant, User,
};

/// The directory id of contoso.
pub const TENANT_ID: &str = "9c7f2a4e-51d3-4b8a-8f0e-2d6b1c3a5e70";
/// The domain by which configurations name the tenant.
pub const TENANT_DOMAIN: &str = "contoso.onmicrosoft.com";
/// The confidential app: client credentials, [`APP_ROLES`].
pub const APP_ID: &str = "1b2e6f0c-7a44-4c1d-9d35-0f8e5a6b7c81";
/// Its client secret.
pub const APP_SECRET: &str = "sbx8Q~contoso.client.secret.value.4demo-7Hq";
/// The object id of its enterprise application.
pub const APP_OBJECT_ID: &str = "6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42";
/// The public app: ROPC without a secret.
pub const PUBLIC_APP_ID: &str = "c4d5e6f7-0a1b-4c2d-8e3f-4a5b6c7d8e92";
/// What the confidential app may do in its own name.
pub const APP_ROLES: [&str; 3] = ["SMTP.SendAsApp", "IMAP.AccessAsApp", "POP.AccessAsApp"];
/// What both apps may do in the name of a user.
pub const SCOPES: [&str; 3] = ["SMTP.Send", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All"];
/// The shared mailbox: no user of its own; the app and `erp` have `FullAccess`.
pub const SHARED_MAILBOX: &str = "info@contoso.com";
/// The machine's own managed identity, which may do what the confidential app may.
pub const MANAGED_ID: &str = "e7a1b2c3-4d5e-4f60-8172-93a4b5c6d7e8";
/// The object id of its service principal.
pub const MANAGED_OBJECT_ID: &str = "3c9d8e7f-6a5b-4c4d-b3e2-f1a0b9c8d7e6";
/// What `IDENTITY_HEADER` is, where the machine plays App Service.
pub const IDENTITY_HEADER: &str = "SBX-853B9A84-5BFA-4B22-A3F3-0B9A43D9AD8A";
/// The password of every user whose line below names no other.
pub const PASSWORD: &str = "Sandbox-Passw0rd!";

/// Users by name, and what stands in their way.
const USERS: [(&str, Standing); 15] = [
    ("scanner", Standing::Fine),
    ("erp", Standing::Fine),
    ("disabled", Standing::Fine),
    ("norights", Standing::Fine),
    ("blocked", Standing::Fine),
    ("smtponly", Standing::Fine),
    ("throttled", Standing::Fine),
    ("unavailable", Standing::Fine),
    ("mfa", Standing::MfaRequired),
    ("enrol", Standing::MfaEnrolment),
    ("locked", Standing::Locked),
    ("leaver", Standing::Disabled),
    ("federated", Standing::Federated),
    ("expired", Standing::PasswordExpired),
    ("policy", Standing::Blocked),
];

/// `scanner` and `erp` work with both apps; `disabled` has SMTP AUTH off; the app has no right on
/// `norights`; Conditional Access refuses `blocked` at Exchange; `smtponly` has IMAP and POP off;
/// to IMAP and POP3 `throttled` and `unavailable` are what their names say; the other names say
/// what stands in the way at Entra. [`SHARED_MAILBOX`] is there besides. All are at `@contoso.com` with [`PASSWORD`].
pub(super) fn directory() -> Directory {
    let upn = |name: &str| format!("{name}@contoso.com");
    let mailbox = |name: &str| Mailbox {
        address: upn(name),
        smtp_auth_disabled: (name == "disabled").then_some(true),
        full_access: if name == "norights" {
            vec![]
        } else {
            vec![APP_OBJECT_ID.to_owned(), MANAGED_OBJECT_ID.to_owned()]
        },
        send_as: if name == "erp" { vec![upn("invoices")] } else { vec![] },
        access_blocked: name == "blocked",
        imap_disabled: name == "smtponly",
        pop_disabled: name == "smtponly",
        throttled: name == "throttled",
        unavailable: name == "unavailable",
        ..Mailbox::default()
    };
    let shared = Mailbox {
        address: SHARED_MAILBOX.to_owned(),
        full_access: vec![APP_OBJECT_ID.to_owned(), upn("erp")],
        ..Mailbox::default()
    };
    let user = |(number, (name, standing)): (usize, &(&str, Standing))| User {
        upn: upn(name),
        object_id: format!("a0000000-0000-4000-8000-{:012x}", number + 1),
        tenant: TENANT_ID.to_owned(),
        password: PASSWORD.to_owned(),
        standing: *standing,
        ..User::default()
    };
    Directory {
        tenants: vec![Tenant {
            id: TENANT_ID.to_owned(),
            domains: vec![TENANT_DOMAIN.to_owned(), "contoso.com".to_owned()],
            ..Tenant::default()
        }],
        apps: vec![
            App {
                tenant: TENANT_ID.to_owned(),
                client_id: APP_ID.to_owned(),
                object_id: APP_OBJECT_ID.to_owned(),
                name: "Contoso mail relay".to_owned(),
                secrets: vec![
                    AppSecret { value: APP_SECRET.to_owned(), expired: false },
                    AppSecret { value: format!("{APP_SECRET}-of-last-year"), expired: true },
                ],
                roles: APP_ROLES.map(str::to_owned).to_vec(),
                scopes: SCOPES.map(str::to_owned).to_vec(),
                redirect_uris: vec!["http://localhost".to_owned()],
                known_to_exchange: true,
                ..App::default()
            },
            App {
                tenant: TENANT_ID.to_owned(),
                client_id: PUBLIC_APP_ID.to_owned(),
                object_id: "f1a2b3c4-d5e6-4f70-8a91-b2c3d4e5f6a7".to_owned(),
                name: "Contoso mail sign-in".to_owned(),
                public: true,
                scopes: SCOPES.map(str::to_owned).to_vec(),
                redirect_uris: vec!["http://localhost".to_owned()],
                ..App::default()
            },
            App {
                tenant: TENANT_ID.to_owned(),
                client_id: MANAGED_ID.to_owned(),
                object_id: MANAGED_OBJECT_ID.to_owned(),
                name: "Contoso mail machine".to_owned(),
                managed: Some(Managed::System),
                roles: APP_ROLES.map(str::to_owned).to_vec(),
                known_to_exchange: true,
                ..App::default()
            },
        ],
        users: USERS.iter().enumerate().map(user).collect(),
        mailboxes: USERS.iter().map(|(name, _)| mailbox(name)).chain([shared]).collect(),
    }
}
