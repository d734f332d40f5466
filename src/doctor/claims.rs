//! What a token says, beside what it should say for one protocol at Exchange Online.
//!
//! Pure. Sources: Microsoft, "Authenticate an IMAP, POP or SMTP connection using OAuth" for scopes
//! and roles, "SMTP app RBAC onboarding" for tokens without a role; the audiences of the clouds are
//! those that mailwicket asks for by default, and the application ids of the two resources.

use crate::{
    config::{EntraApp, Grant, Listener},
    mail::Protocol,
    session::probe::Probed,
    token::claims::Claims,
};

/// Something about a token that should be looked at.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Remark {
    /// Whether no login is to be expected with it.
    pub(super) grave: bool,
    pub(super) error: String,
    pub(super) remedy: String,
}

/// "Office 365 Exchange Online", as audience of tokens of version 2.0.
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";
/// Microsoft Graph, by its URIs in all clouds and its application id.
const GRAPH: [&str; 6] = [
    "graph.microsoft.com",
    "graph.microsoft.us",
    "dod-graph.microsoft.us",
    "microsoftgraph.chinacloudapi.cn",
    "graph.windows.net",
    "00000003-0000-0000-c000-000000000000",
];

/// A cloud: endings of its mail servers, and the audiences of its Exchange.
struct Cloud {
    hosts: &'static [&'static str],
    audiences: &'static [&'static str],
}

/// What is known; the sources for the Department of Defense disagree, so either of the two is taken there.
const CLOUDS: [Cloud; 3] = [
    Cloud {
        hosts: &["office365.com", "outlook.com", "office.com"],
        audiences: &["outlook.office365.com", "outlook.office.com"],
    },
    Cloud {
        hosts: &["office365.us"],
        audiences: &["outlook.office365.us", "outlook-dod.office365.us"],
    },
    Cloud { hosts: &["partner.outlook.cn"], audiences: &["partner.outlook.cn"] },
];

/// What the token says, in one sentence.
pub(super) fn summary(claims: &Claims) -> String {
    let Claims { audience, app_id, object_id, tenant_id, roles, scopes, user } = claims;
    let audience = audience.as_deref().unwrap_or("nobody named");
    let named = [
        ("user", user.as_deref()),
        ("app", app_id.as_deref()),
        ("object id", object_id.as_deref()),
        ("tenant", tenant_id.as_deref()),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    let whose: Vec<_> = std::iter::once(audience.to_owned()).chain(named).collect();
    let allowed: Vec<_> = roles.iter().chain(scopes).map(String::as_str).collect();
    let allows = match &allowed[..] {
        [] => "it names no permission".to_owned(),
        allowed => format!("it allows {}", allowed.join(" ")),
    };
    format!("the token is for {}; {allows}", whose.join(", "))
}

/// What of the token does not fit the app, the user, or this listener.
pub(super) fn judge(claims: &Claims, probed: &Probed, listener: &Listener) -> Vec<Remark> {
    let Probed { app, user, .. } = probed;
    let mut remarks = Vec::new();
    remarks.extend(audience(claims, app, &listener.upstream.host));
    let is_for_exchange = remarks.is_empty();
    remarks.extend(tenant(claims, app));
    remarks.extend(client(claims, app));
    if app.is_app_only() {
        remarks.extend(role(claims, app, listener.protocol).filter(|_| is_for_exchange));
    } else {
        remarks.extend(scope(claims, app, listener.protocol).filter(|_| is_for_exchange));
        remarks.extend(person(claims, user));
    }
    remarks
}

fn audience(claims: &Claims, app: &EntraApp, host: &str) -> Option<Remark> {
    let audience = claims.audience.as_deref()?;
    let name = audience.to_ascii_lowercase();
    let name = name.trim_start_matches("https://").trim_end_matches('/');
    let is_below = |host: &str, domain: &str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let host = host.to_ascii_lowercase();
    let cloud = CLOUDS.iter().find(|cloud| cloud.hosts.iter().any(|known| is_below(&host, known)));
    let is_exchange_of = |cloud: &Cloud| cloud.audiences.contains(&name);
    if name == EXCHANGE || cloud.is_some_and(is_exchange_of) {
        return None;
    }
    let key = if matches!(app.grant, Grant::ManagedIdentity { .. }) { "resource" } else { "scope" };
    let remedy =
        format!("leave {key} out of [entra.{}]: the default is for Exchange Online", app.name);
    let elsewhere = CLOUDS.iter().any(is_exchange_of);
    let error = match (GRAPH.contains(&name), elsewhere, cloud) {
        (true, ..) => {
            format!(
                "the token is for Microsoft Graph ({audience}), and mail servers take none of those"
            )
        }
        (_, true, None) => return None, // a server of one's own, which takes Exchange's tokens
        (_, true, Some(_)) => {
            let error =
                format!("the token is for {audience}, the Exchange of another cloud than {host}'s");
            let remedy = format!(
                "set cloud in [entra.{}] to the one the mailboxes are in, and leave authority, scope and upstream out",
                app.name
            );
            return Some(Remark { grave: true, error, remedy });
        }
        (_, false, _) => format!("the token is for {audience}, and not for Exchange Online"),
    };
    Some(Remark { grave: cloud.is_some(), error, remedy })
}

fn tenant(claims: &Claims, app: &EntraApp) -> Option<Remark> {
    let tenant = claims.tenant_id.as_deref().filter(|_| is_guid(&app.tenant))?;
    (!tenant.eq_ignore_ascii_case(&app.tenant)).then(|| Remark {
        grave: true,
        error: format!("the token is of tenant {tenant}, and not of {}", app.tenant),
        remedy: format!(
            "set tenant in [entra.{}] to the Directory (tenant) ID that the mailboxes are in",
            app.name
        ),
    })
}

/// The machine's own identity has no name in the configuration.
fn client(claims: &Claims, app: &EntraApp) -> Option<Remark> {
    let client = claims.app_id.as_deref().filter(|_| !app.client_id.is_empty())?;
    (!client.eq_ignore_ascii_case(&app.client_id)).then(|| Remark {
        grave: true,
        error: format!("the token is app {client}'s, and not {}'s", app.client_id),
        remedy: format!(
            "set client_id in [entra.{}] to the Application (client) ID that Exchange knows; with authority set, look whether that is Entra",
            app.name
        ),
    })
}

fn role(claims: &Claims, app: &EntraApp, protocol: Protocol) -> Option<Remark> {
    let needed = match protocol {
        Protocol::Smtp => "SMTP.SendAsApp",
        Protocol::Imap => "IMAP.AccessAsApp",
        Protocol::Pop3 => "POP.AccessAsApp",
    };
    if has(&claims.roles, needed) {
        return None;
    }
    let grant = if matches!(app.grant, Grant::ManagedIdentity { .. }) {
        format!(
            "assign {needed} of Office 365 Exchange Online to the managed identity (New-MgServicePrincipalAppRoleAssignment; the portal has no page for it)"
        )
    } else {
        format!(
            "in Entra, API permissions of the app, add {needed}: APIs my organization uses, Office 365 Exchange Online, Application permissions; then grant admin consent"
        )
    };
    let error = format!("the token has no {needed}");
    Some(match protocol {
        // RBAC for Applications puts nothing into the token, and is for submission only.
        Protocol::Smtp => Remark {
            grave: false,
            error,
            remedy: format!(
                "right where the app is allowed by RBAC for Applications in Exchange; otherwise {grant}"
            ),
        },
        Protocol::Imap | Protocol::Pop3 => Remark { grave: true, error, remedy: grant },
    })
}

fn scope(claims: &Claims, app: &EntraApp, protocol: Protocol) -> Option<Remark> {
    let needed = match protocol {
        Protocol::Smtp => "SMTP.Send",
        Protocol::Imap => "IMAP.AccessAsUser.All",
        Protocol::Pop3 => "POP.AccessAsUser.All",
    };
    if has(&claims.scopes, needed) {
        return None;
    }
    let again = if app.grant.needs_sign_in() { ", and sign in again" } else { "" };
    Some(Remark {
        grave: true,
        error: format!("the token has no {needed}"),
        remedy: format!(
            "in Entra, API permissions of the app, add {needed} (delegated) and grant consent; scope in [entra.{}], where it is set, must ask for it{again}",
            app.name
        ),
    })
}

/// A name to log in with and an address may differ, and still be of one person.
fn person(claims: &Claims, user: &str) -> Option<Remark> {
    let who = claims.user.as_deref().filter(|_| user.contains('@'))?;
    (!who.eq_ignore_ascii_case(user)).then(|| Remark {
        grave: false,
        error: format!("the token is {who}'s"),
        remedy: format!("right if that is whom {user} stands for; otherwise sign in as {user}"),
    })
}

fn has(permissions: &[String], needed: &str) -> bool {
    permissions.iter().any(|permission| permission.eq_ignore_ascii_case(needed))
}

/// Whether it is an id of Entra's.
pub(super) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, octet)| match place {
            8 | 13 | 18 | 23 => octet == b'-',
            _ => octet.is_ascii_hexdigit(),
        })
}
