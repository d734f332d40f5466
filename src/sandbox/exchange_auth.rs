//! Who may log in to Exchange Online: the order of decisions that its replies give away, for
//! submission, IMAP and POP3. It says why, each server has its own words for it.
//!
//! Submission looks at the mailbox's switch before the token, and at the rights of an app on the
//! mailbox not at all: they show at the end of DATA. IMAP accepts a good token first and finds
//! then that the mailbox cannot be opened.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::entra::jwt;
use crate::sandbox::world::{App, Directory, Mailbox, World};

/// What someone logs in to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    Submission,
    Imap,
    Pop3,
}

impl Service {
    /// The delegated and the application permission.
    fn permissions(self) -> (&'static str, &'static str) {
        match self {
            Self::Submission => ("SMTP.Send", "SMTP.SendAsApp"),
            Self::Imap => ("IMAP.AccessAsUser.All", "IMAP.AccessAsApp"),
            Self::Pop3 => ("POP.AccessAsUser.All", "POP.AccessAsApp"),
        }
    }

    fn enabled(self, mailbox: &Mailbox) -> bool {
        match self {
            Self::Submission => true,
            Self::Imap => !mailbox.imap_disabled,
            Self::Pop3 => !mailbox.pop_disabled,
        }
    }
}

/// Someone who has logged in.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    /// The mailbox that was named.
    pub(super) mailbox: String,
    /// Whether the mailbox can be opened.
    pub(super) may_open: bool,
    /// When the token expires, in seconds since 1970; none with a password.
    pub(super) expires: Option<u64>,
}

/// Why someone may not log in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The response or the token is no good, or not for this.
    BadToken,
    /// The mailbox's SMTP AUTH switch is off.
    MailboxOff,
    /// The tenant's SMTP AUTH switch is off.
    TenantOff,
    /// Passwords are not taken.
    BasicOff,
    WrongPassword,
    /// Conditional Access.
    Criteria,
}

/// The user name and the token in the base64 of an XOAUTH2 response: `user=` address
/// `^Aauth=Bearer ` token `^A^A`.
pub(super) fn read_response(response: &[u8]) -> Option<(String, String)> {
    let decoded = STANDARD.decode(response).ok()?;
    let (user, token) = std::str::from_utf8(&decoded)
        .ok()?
        .strip_prefix("user=")?
        .strip_suffix("\x01\x01")?
        .split_once("\x01auth=Bearer ")?;
    Some((user.to_owned(), token.to_owned()))
}

/// Judges the base64 of an XOAUTH2 response.
pub(super) fn by_token(
    world: &World,
    service: Service,
    response: &[u8],
) -> Result<Principal, Refusal> {
    let (user, token) = read_response(response).ok_or(Refusal::BadToken)?;
    let now = world.now();
    world.directory(|directory| {
        if service == Service::Submission {
            check_switch(directory, &user)?;
        }
        let claims = jwt::verify_access(world.key(), &token).ok_or(Refusal::BadToken)?;
        let audience = claims.aud.trim_end_matches('/');
        let for_exchange =
            audience == "https://outlook.office365.com" || audience == "https://outlook.office.com";
        let tenant = directory.tenant_of(&user).ok_or(Refusal::BadToken)?;
        let mailbox = directory.mailbox(&user).ok_or(Refusal::BadToken)?;
        if !for_exchange || claims.exp <= now || claims.nbf > now || tenant.id != claims.tid {
            return Err(Refusal::BadToken);
        }
        let may_open = if let Some(upn) = &claims.upn {
            by_user(service, mailbox, upn, claims.scp.as_deref().unwrap_or_default())?
        } else {
            let app = directory.app(&claims.tid, &claims.appid).ok_or(Refusal::BadToken)?;
            by_app(service, mailbox, app, &claims.roles)?
        };
        if mailbox.access_blocked {
            return Err(Refusal::Criteria);
        }
        Ok(Principal {
            mailbox: mailbox.address.clone(),
            may_open: may_open && service.enabled(mailbox),
            expires: Some(claims.exp),
        })
    })
}

/// Whether a user with this scope may open the mailbox.
fn by_user(service: Service, mailbox: &Mailbox, upn: &str, scope: &str) -> Result<bool, Refusal> {
    let (delegated, _) = service.permissions();
    let entitled = upn.eq_ignore_ascii_case(&mailbox.address) || holds(mailbox, upn);
    if !scope.split(' ').any(|scope| scope == delegated) {
        return Err(Refusal::BadToken);
    }
    if service == Service::Submission && !entitled {
        return Err(Refusal::BadToken);
    }
    Ok(entitled)
}

/// Whether an app with these roles may open the mailbox.
fn by_app(
    service: Service,
    mailbox: &Mailbox,
    app: &App,
    roles: &[String],
) -> Result<bool, Refusal> {
    let (_, application) = service.permissions();
    let allowed = |address: &String| address.eq_ignore_ascii_case(&mailbox.address);
    // With RBAC for Applications, which is for submission only, the token carries no role, and
    // needs none.
    let by_scope = service == Service::Submission && app.rbac_mailboxes.iter().any(allowed);
    let by_role = roles.iter().any(|role| role == application);
    if !app.known_to_exchange || !(by_role || by_scope) {
        return Err(Refusal::BadToken);
    }
    Ok(by_scope || holds(mailbox, &app.object_id))
}

/// Whether `who` has `FullAccess`.
fn holds(mailbox: &Mailbox, who: &str) -> bool {
    mailbox.full_access.iter().any(|held| held.eq_ignore_ascii_case(who))
}

/// Judges the two base64 answers of AUTH LOGIN, which only submission still knows.
pub(super) fn by_password(
    world: &World,
    user: &[u8],
    password: &[u8],
) -> Result<Principal, Refusal> {
    let text = |line: &[u8]| {
        let decoded = STANDARD.decode(line).map_err(|_| Refusal::BadToken)?;
        String::from_utf8(decoded).map_err(|_| Refusal::BadToken)
    };
    let (user, password) = (text(user)?, text(password)?);
    world.directory(|directory| {
        check_switch(directory, &user)?;
        if !directory.tenant_of(&user).is_some_and(|tenant| tenant.basic_auth) {
            return Err(Refusal::BasicOff);
        }
        let known = directory.user(&user).is_some_and(|known| known.password == password);
        let mailbox = directory.mailbox(&user).filter(|_| known).ok_or(Refusal::WrongPassword)?;
        if mailbox.access_blocked {
            return Err(Refusal::Criteria);
        }
        Ok(Principal { mailbox: mailbox.address.clone(), may_open: true, expires: None })
    })
}

/// Whether the mailbox may send as this address.
pub(super) fn may_send_as(world: &World, mailbox: &str, from: &str) -> bool {
    world.directory(|directory| {
        mailbox.eq_ignore_ascii_case(from)
            || directory.mailbox(mailbox).is_some_and(|mailbox| {
                mailbox.send_as.iter().any(|address| address.eq_ignore_ascii_case(from))
            })
    })
}

/// The SMTP AUTH switch: the mailbox's, where set, beats the tenant's.
fn check_switch(directory: &Directory, user: &str) -> Result<(), Refusal> {
    let of_mailbox = directory.mailbox(user).and_then(|mailbox| mailbox.smtp_auth_disabled);
    let of_tenant = directory.tenant_of(user).is_some_and(|tenant| tenant.smtp_auth_disabled);
    match (of_mailbox, of_tenant) {
        (Some(true), _) => Err(Refusal::MailboxOff),
        (None, true) => Err(Refusal::TenantOff),
        _ => Ok(()),
    }
}
