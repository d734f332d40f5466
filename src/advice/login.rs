//! SMTP replies up to the login, and those about who may send at all.

use super::row::{
    Part::{Code, Words},
    Row, documented, observed,
};

pub(super) const ROWS: &[Row] = &[
    documented(
        &[Code("535"), Code("5.7.3")],
        "535 5.7.3",
        "Exchange Online does not accept this token for this mailbox, or the password is wrong.",
        "Check the token's aud and roles. For an app: Connect-ExchangeOnline; Connect-MgGraph -Scopes \
         Application.Read.All; $sp = Get-MgServicePrincipal -Filter \"appId eq '<client_id>'\"; \
         New-ServicePrincipal -AppId $sp.AppId -ObjectId $sp.Id -DisplayName mailwicket; \
         Add-MailboxPermission -Identity <mailbox> -User $sp.Id -AccessRights FullAccess. The object \
         id is that of the enterprise application, not of the app registration. It may take an hour \
         to work.",
    ),
    observed(
        &[Code("5.7.139")],
        "535 5.7.139",
        "A policy of the organisation refused the login; the words behind the comma name it.",
        "Read the sentence behind the code, and the sign-in log of Microsoft Entra for this user or \
         app.",
    ),
    observed(
        &[Code("5.7.139"), Words("smtpclientauthentication is disabled for the tenant")],
        "535 5.7.139 (tenant)",
        "SMTP AUTH is switched off for the whole organisation. This holds for OAuth too.",
        "Switch it on for this mailbox, which overrides the organisation: Set-CASMailbox <mailbox> \
         -SmtpClientAuthenticationDisabled $false",
    ),
    observed(
        &[Code("5.7.139"), Words("smtpclientauthentication is disabled for the mailbox")],
        "535 5.7.139 (mailbox)",
        "SMTP AUTH is switched off for this mailbox. It is checked before the token is looked at.",
        "Set-CASMailbox <mailbox> -SmtpClientAuthenticationDisabled $false, then wait up to an hour.",
    ),
    observed(
        &[Code("5.7.139"), Words("basic authentication is disabled")],
        "535 5.7.139 (basic)",
        "A password reached Microsoft, where passwords are no longer accepted.",
        "Point the mail client at mailwicket, which sends a token instead. If it is, report the way \
         this client logs in.",
    ),
    observed(
        &[Code("5.7.139"), Words("security defaults policy")],
        "535 5.7.139 (security defaults)",
        "The organisation's security defaults block this kind of login.",
        "Use grant = \"client_credentials\", or have the administrator replace security defaults by \
         Conditional Access with an exception for this account.",
    ),
    observed(
        &[Code("5.7.139"), Words("did not meet the criteria to be authenticated")],
        "535 5.7.139 (criteria)",
        "A Conditional Access policy refused the login: location, device, multi-factor or kind of \
         client.",
        "Find the attempt in the sign-in log of Microsoft Entra; exclude the account from the policy, \
         or name the outgoing address as a trusted location.",
    ),
    observed(
        &[Code("5.7.139"), Words("user credentials were incorrect")],
        "535 5.7.139 (credentials)",
        "A password reached Microsoft, and it was wrong.",
        "Point the mail client at mailwicket, so that a token is used; check the user name.",
    ),
    documented(
        &[Code("5.7.139"), Words("federated sts service was unreachable")],
        "535 5.7.139 (federation)",
        "A federated user's password was tried, and the organisation's sign-in service (AD FS) could \
         not be reached.",
        "Use OAuth through mailwicket; a federated user cannot use passwords here. Otherwise have AD \
         FS made reachable.",
    ),
    documented(
        &[Code("5.7.139"), Words("federated sts url does not support https")],
        "535 5.7.139 (federation without HTTPS)",
        "A federated user's password was tried, and the sign-in service (AD FS) of the organisation \
         lacks HTTPS.",
        "Use OAuth through mailwicket, or have the AD FS endpoint moved to HTTPS.",
    ),
    documented(
        &[Code("550"), Code("5.7.30")],
        "550 5.7.30",
        "Microsoft no longer accepts passwords for client submission.",
        "Point the mail client at mailwicket, which sends a token instead.",
    ),
    documented(
        &[Code("5.7.57")],
        "530 5.7.57",
        "The client tried to send without having logged in, or went on after a refused login.",
        "Switch authentication on in the client, and give it a user and password; look for a refused \
         login just before.",
    ),
    documented(
        &[Words("client was not authenticated to send anonymous mail")],
        "530 5.7.57 (older form)",
        "The client tried to send without having logged in.",
        "Switch authentication on in the client, and give it a user and password.",
    ),
    observed(
        &[Code("504"), Code("5.7.4")],
        "504 5.7.4",
        "The server does not offer this way to log in, or not before TLS.",
        "Connect through mailwicket with AUTH LOGIN or PLAIN; upstream security must be starttls or \
         tls.",
    ),
    observed(
        &[Code("421"), Code("4.7.66")],
        "421 4.7.66",
        "The connection to Microsoft used TLS 1.0 or 1.1, which are refused.",
        "Let mailwicket talk to Microsoft (it uses TLS 1.2 or newer), and the old client to \
         mailwicket.",
    ),
    observed(
        &[Code("454"), Code("4.7.0")],
        "454 4.7.0",
        "The login failed for a temporary reason.",
        "Try again later; if it lasts, look at the service health of Microsoft 365 and the log of \
         mailwicket.",
    ),
    observed(
        &[Code("501"), Code("5.5.124")],
        "501 5.5.124",
        "The high-volume mail service does not accept the user name in the login.",
        "Use the whole address of the high-volume account as user or mailbox.",
    ),
    observed(
        &[Code("501"), Code("5.5.127")],
        "501 5.5.127",
        "The high-volume mail service wants a token that lives for another 10 minutes at least.",
        "Set token_expiry_margin = \"15m\" for this app.",
    ),
    observed(
        &[Code("503"), Code("5.5.2")],
        "503 5.5.2",
        "A command came before EHLO or HELO.",
        "Have the client begin with EHLO; something between may have swallowed it.",
    ),
    observed(
        &[Code("501"), Code("5.5.4")],
        "501 5.5.4",
        "The name that the client gave in EHLO is no valid domain.",
        "Set a proper host name in the client, such as its own name without trailing dots.",
    ),
    observed(
        &[Code("500"), Code("5.3.3")],
        "500 5.3.3",
        "The server does not know this command.",
        "Look for something between that mangles SMTP, and for commands the client should not send.",
    ),
];
