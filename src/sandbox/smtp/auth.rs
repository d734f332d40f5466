//! Who may log in: the order of decisions that Exchange Online's replies give away. The mailbox's
//! switch is looked at before the token; rights of an app on the mailbox are not looked at here
//! at all, they show at the end of DATA.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::entra::jwt;
use crate::sandbox::moment::Moment;
use crate::sandbox::smtp::replies;
use crate::sandbox::world::{Directory, World};

/// Someone who has logged in.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    /// The mailbox that mail is sent from.
    pub(super) mailbox: String,
    /// Whether the mailbox can be opened.
    pub(super) may_open: bool,
}

/// Judges the base64 of an XOAUTH2 response: `user=` address `^Aauth=Bearer ` token `^A^A`.
/// The error is the reply, still without its suffix.
pub(super) fn by_token(world: &World, response: &[u8]) -> Result<Principal, &'static str> {
    let decoded = STANDARD.decode(response).map_err(|_| replies::BAD_TOKEN)?;
    let decoded = std::str::from_utf8(&decoded).map_err(|_| replies::BAD_TOKEN)?;
    let (user, token) = decoded
        .strip_prefix("user=")
        .and_then(|rest| rest.strip_suffix("\x01\x01"))
        .and_then(|rest| rest.split_once("\x01auth=Bearer "))
        .ok_or(replies::BAD_TOKEN)?;
    let now = Moment::now(world.tuning().clock_offset).unix();
    world.directory(|directory| {
        check_switch(directory, user)?;
        let claims = jwt::verify_access(world.key(), token).ok_or(replies::BAD_TOKEN)?;
        let audience = claims.aud.trim_end_matches('/');
        let for_exchange =
            audience == "https://outlook.office365.com" || audience == "https://outlook.office.com";
        let tenant = directory.tenant_of(user).ok_or(replies::BAD_TOKEN)?;
        let mailbox = directory.mailbox(user).ok_or(replies::BAD_TOKEN)?;
        if !for_exchange || claims.exp <= now || claims.nbf > now || tenant.id != claims.tid {
            return Err(replies::BAD_TOKEN);
        }
        let held =
            |who: &str| mailbox.full_access.iter().any(|held| held.eq_ignore_ascii_case(who));
        let may_open = if let Some(upn) = &claims.upn {
            let scope = claims.scp.as_deref().unwrap_or_default();
            let own = upn.eq_ignore_ascii_case(&mailbox.address);
            if !scope.split(' ').any(|scope| scope == "SMTP.Send") || !(own || held(upn)) {
                return Err(replies::BAD_TOKEN);
            }
            true
        } else {
            let app = directory.app(&claims.tid, &claims.appid).ok_or(replies::BAD_TOKEN)?;
            let allowed = |address: &String| address.eq_ignore_ascii_case(&mailbox.address);
            // With RBAC for Applications the token carries no role, and needs none.
            let by_scope = app.rbac_mailboxes.iter().any(allowed);
            let by_role = claims.roles.iter().any(|role| role == "SMTP.SendAsApp");
            if !app.known_to_exchange || !(by_role || by_scope) {
                return Err(replies::BAD_TOKEN);
            }
            by_scope || held(&app.object_id)
        };
        if mailbox.access_blocked {
            return Err(replies::CRITERIA);
        }
        Ok(Principal { mailbox: mailbox.address.clone(), may_open })
    })
}

/// Judges the two base64 answers of AUTH LOGIN.
pub(super) fn by_password(
    world: &World,
    user: &[u8],
    password: &[u8],
) -> Result<Principal, &'static str> {
    let text = |line: &[u8]| {
        let decoded = STANDARD.decode(line).map_err(|_| replies::BAD_TOKEN)?;
        String::from_utf8(decoded).map_err(|_| replies::BAD_TOKEN)
    };
    let (user, password) = (text(user)?, text(password)?);
    world.directory(|directory| {
        check_switch(directory, &user)?;
        if !directory.tenant_of(&user).is_some_and(|tenant| tenant.basic_auth) {
            return Err(replies::BASIC_OFF);
        }
        let known = directory.user(&user).is_some_and(|known| known.password == password);
        let mailbox = directory.mailbox(&user).filter(|_| known).ok_or(replies::WRONG_PASSWORD)?;
        if mailbox.access_blocked {
            return Err(replies::CRITERIA);
        }
        Ok(Principal { mailbox: mailbox.address.clone(), may_open: true })
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
fn check_switch(directory: &Directory, user: &str) -> Result<(), &'static str> {
    let of_mailbox = directory.mailbox(user).and_then(|mailbox| mailbox.smtp_auth_disabled);
    let of_tenant = directory.tenant_of(user).is_some_and(|tenant| tenant.smtp_auth_disabled);
    match (of_mailbox, of_tenant) {
        (Some(true), _) => Err(replies::MAILBOX_OFF),
        (None, true) => Err(replies::TENANT_OFF),
        _ => Ok(()),
    }
}
