use std::{net::Ipv4Addr, sync::Arc};

use super::{
    Findings, Verdict,
    claims::{is_guid, judge, summary},
    commands::for_refusal,
    walk::describe,
};
use crate::{
    config::{EntraApp, Grant, IdentitySource, Listener, Security, Upstream},
    mail::Protocol,
    session::probe::{Place, Probe, Probed, Seen, Trouble},
    token::claims::Claims,
};

const TENANT: &str = "9c7f2a4e-51d3-4b8a-8f0e-2d6b1c3a5e70";
const CLIENT: &str = "1b2e6f0c-7a44-4c1d-9d35-0f8e5a6b7c81";
const OBJECT: &str = "6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42";

fn listener(protocol: Protocol, host: &str) -> Listener {
    let security = Security::Tls;
    Listener {
        protocol,
        bind: (Ipv4Addr::LOCALHOST, 0).into(),
        upstream: Upstream { host: host.to_owned(), port: 1, security },
        allow: vec![],
        tls: None,
        account: None,
        pass_tokens: false,
    }
}

fn probed(grant: Grant, user: &str) -> Probed {
    let app = EntraApp {
        tenant: TENANT.to_owned(),
        client_id: CLIENT.to_owned(),
        ..(*EntraApp::sample(grant)).clone()
    };
    Probed {
        user: user.to_owned(),
        mailbox: user.to_owned(),
        app: Arc::new(app),
        token: Seen::Nothing,
        outcome: Ok(Probe::LoggedIn),
    }
}

fn of_app() -> Grant {
    Grant::of_app("secret")
}

fn by_device() -> Grant {
    Grant::DeviceCode { credential: None }
}

fn list(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// A token that fits an app's every listener in the global cloud.
fn app_claims() -> Claims {
    Claims {
        audience: Some("https://outlook.office365.com".to_owned()),
        app_id: Some(CLIENT.to_ascii_uppercase()),
        object_id: Some(OBJECT.to_owned()),
        tenant_id: Some(TENANT.to_owned()),
        roles: list("SMTP.SendAsApp IMAP.AccessAsApp POP.AccessAsApp"),
        ..Claims::default()
    }
}

fn user_claims() -> Claims {
    Claims {
        audience: Some("https://outlook.office.com".to_owned()),
        user: Some("Ann@contoso.com".to_owned()),
        roles: vec![],
        scopes: list("SMTP.Send IMAP.AccessAsUser.All POP.AccessAsUser.All"),
        ..app_claims()
    }
}

const SMTP: (Protocol, &str) = (Protocol::Smtp, "smtp.office365.com");
const IMAP: (Protocol, &str) = (Protocol::Imap, "outlook.office365.com");
const POP3: (Protocol, &str) = (Protocol::Pop3, "outlook.office365.com");
const OWN: (Protocol, &str) = (Protocol::Imap, "mail.example");

type Change = fn(&mut Claims);

/// A listener, a server's reply, whether the token is an app's, the lines.
type Refusal<'a> = ((Protocol, &'a str), &'a str, bool, &'a [&'a str]);

/// Whether it is grave, words of the error, words of the remedy.
type Expected = Option<(bool, &'static str, &'static str)>;

#[test]
fn what_a_token_says_is_compared_with_what_it_should_say() {
    fn aud(claims: &mut Claims, audience: &str) {
        claims.audience = Some(audience.to_owned());
    }
    let graph_error = "Microsoft Graph (https://graph.microsoft.com)";
    let of_an_app: &[((Protocol, &str), Change, Expected)] = &[
        (SMTP, |_| {}, None),
        (IMAP, |_| {}, None),
        (POP3, |_| {}, None),
        (IMAP, |c| aud(c, "https://outlook.office.com/"), None),
        (IMAP, |c| aud(c, "00000002-0000-0ff1-ce00-000000000000"), None),
        (
            IMAP,
            |c| aud(c, "https://graph.microsoft.com"),
            Some((true, graph_error, "leave scope out of [entra.contoso]")),
        ),
        (
            SMTP,
            |c| aud(c, "00000003-0000-0000-c000-000000000000"),
            Some((true, "Microsoft Graph", "leave scope out")),
        ),
        (
            OWN,
            |c| aud(c, "https://graph.microsoft.com"),
            Some((false, "Microsoft Graph", "leave scope out")),
        ),
        (
            SMTP,
            |c| aud(c, "https://partner.outlook.cn"),
            Some((true, "another cloud than smtp.office365.com's", "set cloud in")),
        ),
        (
            (Protocol::Smtp, "smtp.partner.outlook.cn"),
            |c| aud(c, "https://partner.outlook.cn"),
            None,
        ),
        (
            (Protocol::Imap, "outlook-dod.office365.us"),
            |c| aud(c, "https://outlook.office365.us"),
            None,
        ),
        ((Protocol::Imap, "notoffice365.com"), |c| aud(c, "https://partner.outlook.cn"), None),
        (
            IMAP,
            |c| aud(c, "api://mine"),
            Some((true, "for api://mine, and not for Exchange", "leave scope out")),
        ),
        (OWN, |c| aud(c, "api://mine"), Some((false, "for api://mine", "leave scope out"))),
        (IMAP, |c| c.audience = None, None),
        (
            SMTP,
            |c| c.roles = list("IMAP.AccessAsApp"),
            Some((false, "no SMTP.SendAsApp", "RBAC for Applications")),
        ),
        (
            IMAP,
            |c| c.roles = vec![],
            Some((true, "no IMAP.AccessAsApp", "Application permissions")),
        ),
        (
            POP3,
            |c| c.roles = list("IMAP.AccessAsApp"),
            Some((true, "no POP.AccessAsApp", "admin consent")),
        ),
        (
            IMAP,
            |c| c.tenant_id = Some(OBJECT.to_owned()),
            Some((true, "of tenant 6d0b4b0e", "set tenant")),
        ),
        (IMAP, |c| c.tenant_id = None, None),
        (
            IMAP,
            |c| c.app_id = Some(OBJECT.to_owned()),
            Some((true, "app 6d0b4b0e", "set client_id")),
        ),
    ];
    let of_a_user: &[((Protocol, &str), Change, Expected)] = &[
        (SMTP, |_| {}, None),
        (IMAP, |_| {}, None),
        (POP3, |_| {}, None),
        (
            SMTP,
            |c| c.scopes = list("IMAP.AccessAsUser.All"),
            Some((true, "no SMTP.Send", "sign in again")),
        ),
        (
            IMAP,
            |c| c.scopes = list("SMTP.Send"),
            Some((true, "no IMAP.AccessAsUser.All", "(delegated)")),
        ),
        (POP3, |c| c.scopes = vec![], Some((true, "no POP.AccessAsUser.All", "[entra.contoso]"))),
        (
            IMAP,
            |c| c.user = Some("bob@contoso.com".to_owned()),
            Some((false, "bob@contoso.com's", "sign in as ann@contoso.com")),
        ),
        (IMAP, |c| c.user = None, None),
    ];
    let mut ran = 0;
    for (rows, grant, claims) in
        [(of_an_app, of_app(), app_claims()), (of_a_user, by_device(), user_claims())]
    {
        for ((protocol, host), change, expected) in rows {
            let mut claims = claims.clone();
            change(&mut claims);
            let remarks = judge(
                &claims,
                &probed(grant.clone(), "ann@contoso.com"),
                &listener(*protocol, host),
            );
            match (&remarks[..], expected) {
                ([], None) => {}
                ([remark], Some((grave, error, remedy))) => assert!(
                    remark.grave == *grave
                        && remark.error.contains(error)
                        && remark.remedy.contains(remedy),
                    "{expected:?}: {remark:?}"
                ),
                _ => panic!("row {ran}: {expected:?}: {remarks:?}"),
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 29);
}

#[test]
fn some_configurations_say_nothing_to_compare_with() {
    let source = IdentitySource::Imds("http://localhost".to_owned());
    let mut machine = probed(Grant::ManagedIdentity { source }, "ann@contoso.com");
    let app = Arc::make_mut(&mut machine.app);
    (app.client_id, app.tenant) = (String::new(), String::new());
    let imap = listener(Protocol::Imap, "outlook.office365.com");
    assert_eq!(judge(&app_claims(), &machine, &imap), vec![]);
    let claims = Claims { roles: vec![], ..app_claims() };
    let remark = judge(&claims, &machine, &imap).remove(0);
    assert!(remark.remedy.contains("New-MgServicePrincipalAppRoleAssignment"), "{remark:?}");

    let mut by_domain = probed(of_app(), "ann@contoso.com");
    Arc::make_mut(&mut by_domain.app).tenant = "contoso.com".to_owned();
    assert_eq!(judge(&app_claims(), &by_domain, &imap), vec![]);
    // A short name is nobody's address.
    assert_eq!(judge(&user_claims(), &probed(by_device(), "scan"), &imap), vec![]);
}

#[test]
fn what_a_token_says_fits_one_sentence() {
    assert_eq!(
        summary(&user_claims()),
        "the token is for https://outlook.office.com, user Ann@contoso.com, app \
         1B2E6F0C-7A44-4C1D-9D35-0F8E5A6B7C81, object id 6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42, tenant \
         9c7f2a4e-51d3-4b8a-8f0e-2d6b1c3a5e70; it allows SMTP.Send IMAP.AccessAsUser.All \
         POP.AccessAsUser.All"
    );
    assert_eq!(
        summary(&Claims::default()),
        "the token is for nobody named; it names no permission"
    );
}

#[test]
fn the_lines_for_an_administrator_are_filled_in() {
    let principal = format!(
        "New-ServicePrincipal -AppId {} -ObjectId {OBJECT} -DisplayName mailwicket",
        CLIENT.to_ascii_uppercase()
    );
    let permission = format!(
        "Add-MailboxPermission -Identity info@contoso.com -User {OBJECT} -AccessRights FullAccess"
    );
    let (principal, permission) = (principal.as_str(), permission.as_str());
    let switch_smtp =
        "Set-CASMailbox -Identity info@contoso.com -SmtpClientAuthenticationDisabled $false";
    let switch_imap = "Set-CASMailbox -Identity info@contoso.com -ImapEnabled $true";
    let switch_pop3 = "Set-CASMailbox -Identity info@contoso.com -PopEnabled $true";
    let delegate = "Add-MailboxPermission -Identity info@contoso.com -User Ann@contoso.com -AccessRights FullAccess";
    let send_as = "Add-RecipientPermission -Identity info@contoso.com -Trustee Ann@contoso.com -AccessRights SendAs";
    let off = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.";
    let criteria = "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully.";
    let refused = "535 5.7.3 Authentication unsuccessful [X]";
    let failed = "NO AUTHENTICATE failed.";
    let not_connected = "BAD User is authenticated but not connected.";
    let pop3 = "-ERR Authentication failure: unknown user name or bad password.";
    let rows: [Refusal<'_>; 10] = [
        (SMTP, refused, true, &[principal, permission, switch_smtp]),
        (IMAP, failed, true, &[principal, permission, switch_imap]),
        (POP3, pop3, true, &[principal, permission, switch_pop3]),
        (IMAP, not_connected, true, &[permission, switch_imap]),
        (SMTP, off, true, &[switch_smtp]),
        (SMTP, criteria, true, &[]),
        (SMTP, refused, false, &[send_as]),
        (SMTP, off, false, &[switch_smtp]),
        (IMAP, not_connected, false, &[delegate, switch_imap]),
        (POP3, pop3, false, &[delegate, switch_pop3]),
    ];
    let mut ran = 0;
    for ((protocol, host), reply, by_app, expected) in rows {
        let claims = if by_app { app_claims() } else { user_claims() };
        let listener = listener(protocol, host);
        let lines = for_refusal(reply, &listener, "info@contoso.com", by_app, Some(&claims));
        let expected = match expected {
            [] => vec![],
            lines => [&["Connect-ExchangeOnline"], lines].concat(),
        };
        assert_eq!(lines, expected, "{reply}");
        ran += 1;
    }
    assert_eq!(ran, 10);
    let imap = listener(Protocol::Imap, "outlook.office365.com");
    assert!(for_refusal(failed, &imap, "info@contoso.com", true, None).is_empty(), "no ids");
    let own = for_refusal(failed, &imap, "ann@contoso.com", false, Some(&user_claims()));
    assert_eq!(own[1..], ["Set-CASMailbox -Identity ann@contoso.com -ImapEnabled $true"]);
}

#[test]
fn an_id_is_told_from_what_is_none() {
    assert!(is_guid(TENANT) && is_guid(&OBJECT.to_ascii_uppercase()));
    let mut ran = 0;
    for text in
        ["", "contoso.com", &TENANT[1..], &TENANT.replace('-', "0"), &TENANT.replace('9', "$")]
    {
        assert!(!is_guid(text), "{text}");
        ran += 1;
    }
    assert_eq!(ran, 5);
}

#[test]
fn a_login_that_works_outweighs_what_its_token_says() {
    let imap = listener(Protocol::Imap, "outlook.office365.com");
    let claims = Claims { roles: vec![], ..app_claims() };
    let seen = Seen::Claims(Box::new(claims));
    let broken = Trouble {
        error: "the way is closed".to_owned(),
        cause: None,
        remedy: None,
        place: Place::Between,
    };
    let mut ran = 0;
    for (outcome, token, verdicts) in [
        (Ok(Probe::LoggedIn), seen.clone(), "ok warn ok"),
        (Err(broken.clone()), seen, "ok FAIL FAIL"),
        (Ok(Probe::LoggedIn), Seen::Opaque, "ok ok"),
        (Err(broken), Seen::Nothing, "FAIL"),
    ] {
        let probed = Probed { token, outcome, ..probed(of_app(), "ann@contoso.com") };
        let mut findings = Findings::default();
        describe(Ok(probed), &imap, "ann@contoso.com", &mut findings);
        let marks = findings.0.iter().map(|finding| match finding.verdict {
            Verdict::Fine => "ok",
            Verdict::Warning(_) => "warn",
            Verdict::Failure(_) => "FAIL",
        });
        assert_eq!(marks.collect::<Vec<_>>().join(" "), verdicts, "{:?}", findings.0);
        ran += 1;
    }
    assert_eq!(ran, 4);
}
