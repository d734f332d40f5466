//! Lines of PowerShell for an administrator of Exchange, with everything filled in.
//!
//! Microsoft's own instructions have placeholders, and the object id is what people get wrong most:
//! the one of the app registration where Exchange wants the enterprise application's. The token
//! has the right one. Nothing gets into a line that could be more than one word of it: ids are ids,
//! names are quoted. Pure.
//!
//! Source: Microsoft, "Authenticate an IMAP, POP or SMTP connection using OAuth" and the reference
//! of the Exchange PowerShell module.

use super::claims::is_guid;
use crate::{config::Listener, mail::Protocol, token::claims::Claims};

/// What could help where the provider refused user and token with this reply. Empty where nothing
/// is known, or where it is no matter of Exchange's switches and permissions.
pub(super) fn for_refusal(
    reply: &str,
    listener: &Listener,
    mailbox: &str,
    by_app: bool,
    claims: Option<&Claims>,
) -> Vec<String> {
    let Some(name) = quoted(mailbox) else { return Vec::new() };
    let reply = reply.to_ascii_lowercase();
    let switch = switch(listener.protocol, &name);
    let mut lines = if reply.contains("smtpclientauthentication is disabled") {
        vec![switch]
    } else if reply.contains("5.7.139") {
        Vec::new() // a policy of Entra's
    } else if by_app {
        let is_known = reply.contains("authenticated but not connected");
        claims.map(|claims| for_app(claims, &name, is_known, switch)).unwrap_or_default()
    } else {
        let user = claims.and_then(|claims| claims.user.as_deref()).unwrap_or(mailbox);
        for_user(listener.protocol, user, mailbox, &name, switch)
    };
    if !lines.is_empty() {
        lines.insert(0, connect(&listener.upstream.host));
    }
    lines
}

/// `is_known`: Exchange has accepted the token, so it knows the app.
fn for_app(claims: &Claims, name: &str, is_known: bool, switch: String) -> Vec<String> {
    let id = |claim: &Option<String>| claim.clone().filter(|id| is_guid(id));
    let (Some(app), Some(object)) = (id(&claims.app_id), id(&claims.object_id)) else {
        return Vec::new();
    };
    let permission =
        format!("Add-MailboxPermission -Identity {name} -User {object} -AccessRights FullAccess");
    let mut lines = vec![permission, switch];
    if !is_known {
        let principal =
            format!("New-ServicePrincipal -AppId {app} -ObjectId {object} -DisplayName mailwicket");
        lines.insert(0, principal);
    }
    lines
}

/// What the user lacks on another's mailbox, and the mailbox's switch. Submission's switch has a
/// refusal of its own.
fn for_user(
    protocol: Protocol,
    user: &str,
    mailbox: &str,
    name: &str,
    switch: String,
) -> Vec<String> {
    let is_own = user.eq_ignore_ascii_case(mailbox);
    let Some(user) = quoted(user) else { return Vec::new() };
    let mut lines = Vec::new();
    if !is_own {
        lines.push(match protocol {
            Protocol::Smtp => format!(
                "Add-RecipientPermission -Identity {name} -Trustee {user} -AccessRights SendAs"
            ),
            Protocol::Imap | Protocol::Pop3 => format!(
                "Add-MailboxPermission -Identity {name} -User {user} -AccessRights FullAccess"
            ),
        });
    }
    if protocol != Protocol::Smtp {
        lines.push(switch);
    }
    lines
}

fn switch(protocol: Protocol, name: &str) -> String {
    let switch = match protocol {
        Protocol::Smtp => "-SmtpClientAuthenticationDisabled $false",
        Protocol::Imap => "-ImapEnabled $true",
        Protocol::Pop3 => "-PopEnabled $true",
    };
    format!("Set-CASMailbox -Identity {name} {switch}")
}

/// The organisation's door, by the cloud of its mail server.
fn connect(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let environment = if host.ends_with("partner.outlook.cn") {
        " -ExchangeEnvironmentName O365China"
    } else if host == "outlook-dod.office365.us" {
        " -ExchangeEnvironmentName O365USGovDoD"
    } else if host.ends_with("office365.us") {
        " -ExchangeEnvironmentName O365USGovGCCHigh"
    } else {
        ""
    };
    format!("Connect-ExchangeOnline{environment}")
}

/// The name as one word of a command. `None` for what is no name.
fn quoted(name: &str) -> Option<String> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return None;
    }
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-+@".contains(&octet);
    let begins_plain = name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    if begins_plain && name.bytes().all(is_plain) {
        return Some(name.to_owned());
    }
    // PowerShell takes all of these for single quotes, and two of them for one that is meant.
    let mut word = String::from("'");
    for letter in name.chars() {
        word.push(letter);
        if matches!(letter, '\'' | '\u{2018}'..='\u{201b}') {
            word.push(letter);
        }
    }
    word.push('\'');
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_whatever_is_in_it() {
        let rows = [
            ("scanner@contoso.com", Some("scanner@contoso.com")),
            ("a.b+c_d-e@x.example", Some("a.b+c_d-e@x.example")),
            ("o'brien@contoso.com", Some("'o''brien@contoso.com'")),
            ("o\u{2019}brien@contoso.com", Some("'o\u{2019}\u{2019}brien@contoso.com'")),
            ("-User", Some("'-User'")),
            ("@splat", Some("'@splat'")),
            ("a;Remove-Mailbox b", Some("'a;Remove-Mailbox b'")),
            ("$(x)@contoso.com", Some("'$(x)@contoso.com'")),
            ("a\nb", None),
            ("", None),
        ];
        let mut ran = 0;
        for (name, expected) in rows {
            assert_eq!(quoted(name).as_deref(), expected, "{name}");
            ran += 1;
        }
        assert_eq!(ran, 10);
    }

    #[test]
    fn each_cloud_has_its_door() {
        let rows = [
            ("smtp.office365.com", "Connect-ExchangeOnline"),
            (
                "smtp.partner.outlook.cn",
                "Connect-ExchangeOnline -ExchangeEnvironmentName O365China",
            ),
            (
                "outlook-dod.office365.us",
                "Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovDoD",
            ),
            (
                "smtp.office365.us",
                "Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovGCCHigh",
            ),
        ];
        for (host, line) in rows {
            assert_eq!(connect(host), line, "{host}");
        }
    }

    #[test]
    fn ids_that_are_none_get_into_no_line() {
        let claims = Claims {
            app_id: Some("$(Remove-Mailbox x)".to_owned()),
            object_id: Some("6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42".to_owned()),
            ..Claims::default()
        };
        assert!(for_app(&claims, "x", false, String::new()).is_empty());
    }
}
