//! IMAP and POP3 replies.

use super::row::{
    Part::{Code, Words},
    Row, documented, observed,
};

const CONNECTED: &str = "Switch the protocol on and grant the mailbox: Set-CASMailbox <mailbox> \
    -ImapEnabled $true -PopEnabled $true; Add-MailboxPermission -Identity <mailbox> -User <user, or \
    $sp.Id of the app> -AccessRights FullAccess. If it worked before, let the client connect less \
    often.";

/// Where the token is an app's.
pub(super) const BY_APP: &[Row] = &[observed(
    &[Words("user is authenticated but not connected")],
    "User is authenticated but not connected",
    "The app's token is valid, but Exchange opens no mailbox for it: the app has no permission on this mailbox, IMAP is off, or there are too many connections.",
    "Add-MailboxPermission -Identity <mailbox> -User $sp.Id -AccessRights FullAccess, with the Id of \
     the enterprise application; Set-CASMailbox <mailbox> -ImapEnabled $true. If it worked before, \
     let the client connect less often.",
)];

/// Where the token is a user's own.
pub(super) const BY_USER: &[Row] = &[
    observed(
        &[Words("user is authenticated but not connected")],
        "User is authenticated but not connected",
        "The user's token is valid, but Exchange opens no mailbox for it: no licence or mailbox, IMAP is off, no right on a shared mailbox, or too many connections.",
        "Set-CASMailbox <mailbox> -ImapEnabled $true; for another's mailbox Add-MailboxPermission \
         -Identity <mailbox> -User <user> -AccessRights FullAccess. If it worked before, let the \
         client connect less often.",
    ),
    documented(
        &[Words("no authenticate failed")],
        "NO AUTHENTICATE failed",
        "Exchange Online does not accept this user's token for this mailbox, or IMAP is switched off for it.",
        "Set-CASMailbox <mailbox> -ImapEnabled $true; grant admin consent to IMAP.AccessAsUser.All; \
         for another's mailbox Add-MailboxPermission -Identity <mailbox> -User <user> -AccessRights \
         FullAccess",
    ),
    documented(
        &[Words("authentication failure: unknown user name or bad password")],
        "-ERR Authentication failure",
        "Exchange Online does not accept this user's token for this mailbox, or POP3 is switched off for it.",
        "Set-CASMailbox <mailbox> -PopEnabled $true; grant admin consent to POP.AccessAsUser.All; for \
         another's mailbox Add-MailboxPermission -Identity <mailbox> -User <user> -AccessRights \
         FullAccess",
    ),
    documented(
        &[Code("535"), Code("5.7.3")],
        "535 5.7.3",
        "Exchange Online does not accept this user's token for this mailbox.",
        "Grant admin consent to SMTP.Send, and look whether the user has a mailbox. To send for a \
         shared mailbox the login is the user's own: Add-RecipientPermission -Identity <shared> \
         -Trustee <user> -AccessRights SendAs.",
    ),
];

pub(super) const ROWS: &[Row] = &[
    documented(
        &[Words("no authenticate failed")],
        "NO AUTHENTICATE failed",
        "Exchange Online does not accept this token for this mailbox, or IMAP is switched off for it.",
        "As for 535 5.7.3: New-ServicePrincipal -AppId $sp.AppId -ObjectId $sp.Id and \
         Add-MailboxPermission -Identity <mailbox> -User $sp.Id -AccessRights FullAccess; and \
         Set-CASMailbox <mailbox> -ImapEnabled $true",
    ),
    observed(
        &[Words("user is authenticated but not connected")],
        "User is authenticated but not connected",
        "The token is valid, but opens no mailbox: no permission, IMAP off, or too many connections.",
        CONNECTED,
    ),
    observed(
        &[Words("accesstokenexpired")],
        "BYE AccessTokenExpired",
        "The session's token has expired, as it does after an hour or so. This is normal.",
        "Have the client connect again; mailwicket has a new token by then.",
    ),
    documented(
        &[Words("authentication failure: unknown user name or bad password")],
        "-ERR Authentication failure",
        "Exchange Online does not accept this token for this mailbox, or POP3 is switched off for it.",
        "Give the app POP.AccessAsApp and Add-MailboxPermission -Identity <mailbox> -User $sp.Id \
         -AccessRights FullAccess; and Set-CASMailbox <mailbox> -PopEnabled $true",
    ),
    observed(
        &[Words("basic authentication is disabled")],
        "Basic authentication is disabled",
        "A password reached Microsoft, where passwords are no longer accepted.",
        "Point the mail client at mailwicket, which sends a token instead.",
    ),
    observed(
        &[Words("no login failed")],
        "NO LOGIN failed",
        "A password reached Microsoft, where passwords are no longer accepted.",
        "Point the mail client at mailwicket, which sends a token instead.",
    ),
    observed(
        &[Words("logon failure: unknown user name or bad password")],
        "-ERR Logon failure",
        "A password reached Microsoft, where passwords are no longer accepted.",
        "Point the mail client at mailwicket, which sends a token instead.",
    ),
    observed(
        &[Words("protocol error. connection is closed. 10")],
        "-ERR Protocol error 10",
        "The POP3 login was sent in one line, or its token is longer than the server takes.",
        "Let mailwicket do the login; if it did, reduce the token's size: fewer group claims.",
    ),
    observed(
        &[Words("protocol error. 19")],
        "-ERR Protocol error 19",
        "The POP3 server does not know this command.",
        "Look for something between that mangles POP3, and for commands the client should not send.",
    ),
    observed(
        &[Words("request is throttled")],
        "Request is throttled",
        "The mailbox has used up its budget of requests.",
        "Let the client work less often and over fewer connections; wait for the time it names.",
    ),
    observed(
        &[Words("connection is closed. 13")],
        "BYE Connection is closed. 13",
        "The server ended a session that was idle. This is normal.",
        "Have the client connect again.",
    ),
    observed(
        &[Words("connection closed. 14")],
        "BYE Connection closed. 14",
        "The server ended the session after an error.",
        "Look at the reply before this one, which names the cause.",
    ),
    observed(
        &[Words("server unavailable.")],
        "Server Unavailable",
        "The mailbox's server is away.",
        "Try again in some minutes.",
    ),
    observed(
        &[Words("command received in invalid state")],
        "BAD Command received in Invalid state",
        "The client gave a command that is not legal now, as a rule after a failed login.",
        "Look at the login before it.",
    ),
];
