//! SMTP replies to a message: sender, recipients, content, limits, and sessions that end.

use super::row::{
    Part::{Code, Codes, Words},
    Row, documented, observed,
};

const SEND_AS: &str = "Add-RecipientPermission -Identity <From address> -Trustee <user, or $sp.Id of \
    the app> -AccessRights SendAs; or make the From address that of the mailbox. It may take an hour. \
    Do not retry: repeated refusals get the mailbox throttled.";
const THROTTLED: &str = "Find and stop the program whose messages keep failing, then wait; or send \
    from another mailbox. Microsoft's support cannot lift it.";
const REPUTATION: &str = "Have the administrator look for a compromised account or app, and unblock \
    the sender in the Microsoft 365 Defender portal, under Restricted entities.";

pub(super) const ROWS: &[Row] = &[
    observed(
        &[Code("554"), Code("5.2.252")],
        "554 5.2.252",
        "The message's From address is not the mailbox, and there is no right to send as it.",
        SEND_AS,
    ),
    observed(
        &[Words("sendasdenied")],
        "554 5.2.0 SendAsDenied",
        "The message's From address is not the mailbox, and there is no right to send as it.",
        SEND_AS,
    ),
    documented(
        &[Code("550"), Code("5.7.60")],
        "550 5.7.60",
        "The client may not send as this sender.",
        SEND_AS,
    ),
    documented(
        &[Code("550"), Code("5.2.251")],
        "550 5.2.251",
        "The whole mailbox is throttled, because messages kept failing on a full mailbox.",
        THROTTLED,
    ),
    documented(
        &[Code("550"), Code("5.2.252")],
        "550 5.2.252",
        "The whole mailbox is throttled, because messages kept failing for lack of the right to send \
         as their sender.",
        THROTTLED,
    ),
    documented(
        &[Code("550"), Code("5.2.253")],
        "550 5.2.253",
        "The whole mailbox is throttled, because messages kept failing for lack of a valid licence.",
        THROTTLED,
    ),
    documented(
        &[Code("550"), Code("5.2.254")],
        "550 5.2.254",
        "The whole mailbox is throttled, because messages kept having too many recipients.",
        THROTTLED,
    ),
    documented(
        &[Code("550"), Code("5.2.255")],
        "550 5.2.255",
        "The whole mailbox is throttled, because messages kept having invalid recipients.",
        THROTTLED,
    ),
    documented(
        &[Words("sender throttled")],
        "550 5.2.25x",
        "The whole mailbox is throttled, because messages of some program kept failing.",
        THROTTLED,
    ),
    observed(
        &[Words("mapiexceptionlogonfailed")],
        "430 4.2.0",
        "The token was accepted, but the app may not open this mailbox. It looks temporary and is \
         not.",
        "Add-MailboxPermission -Identity <mailbox> -User $sp.Id -AccessRights FullAccess, with $sp = \
         Get-MgServicePrincipal -Filter \"appId eq '<client_id>'\"; check that the user is a mailbox.",
    ),
    observed(
        &[Code("432"), Code("4.3.2")],
        "432 4.3.2",
        "More than three messages at one time for one mailbox.",
        "Let the program send over fewer connections, or spread it over more mailboxes; retrying \
         works.",
    ),
    documented(
        &[Code("432"), Words("sender thread limit exceeded")],
        "432 4.3.2 (thread limit)",
        "More than three messages at one time for one mailbox.",
        "Let the program send over fewer connections, or spread it over more mailboxes; retrying \
         works.",
    ),
    documented(
        &[Words("submissionquotaexceeded")],
        "554 5.2.0 SubmissionQuotaExceeded",
        "The mailbox has sent to 10,000 recipients within a day, the limit.",
        "Wait, spread the mail over more mailboxes, or use a service made for bulk mail.",
    ),
    documented(
        &[Code("5.2.2"), Words("submission quota")],
        "5.2.2 submission quota",
        "The mailbox has sent to 10,000 recipients within a day, the limit.",
        "Wait, spread the mail over more mailboxes, or use a service made for bulk mail.",
    ),
    documented(
        &[Code("554"), Code("5.2.2")],
        "554 5.2.2",
        "The sending mailbox is full, as a rule with sent items, so the message cannot be stored.",
        "Empty Sent Items, or set a retention policy for this mailbox.",
    ),
    observed(
        &[Code("502"), Code("5.3.3")],
        "502 5.3.3",
        "The server refused a command it had offered; seen with SMTPUTF8 at smtp-mail.outlook.com.",
        "Send without SMTPUTF8: addresses and headers in ASCII.",
    ),
    observed(
        &[Code("552"), Code("5.3.4")],
        "552 5.3.4",
        "The message's headers are larger than the server takes.",
        "Shorten the headers: fewer recipients in To and Cc, fewer custom headers.",
    ),
    documented(
        &[Words("barelinefeedsareillegal")],
        "SMTPSEND.BareLinefeedsAreIllegal",
        "The message has line feeds without carriage returns, which a server on its way refuses.",
        "Have the program end every line of the message with CR LF.",
    ),
    documented(
        &[Code("451"), Words("temporary server error")],
        "451 4.7.0 PRX",
        "Exchange Online's front end could not reach the mailbox's server.",
        "Try again later; if it lasts, check that the mailbox exists, is licensed and is no group.",
    ),
    observed(
        &[Code("451"), Words("timeout waiting for client input")],
        "451 4.7.0 (idle)",
        "The client was silent for some 5 minutes, and the server ended the session.",
        "Nothing is wrong; have the client open a new connection, or keep its idle time below 5 \
         minutes.",
    ),
    observed(
        &[Code("421"), Code("4.3.2")],
        "421 4.3.2",
        "The server is in maintenance or about to stop.",
        "Try again in some minutes.",
    ),
    observed(
        &[Code("421"), Code("4.4.1")],
        "421 4.4.1",
        "The session reached the server's limit of duration, some 20 minutes.",
        "Have the client open a new connection for further messages.",
    ),
    documented(
        &[Codes("4.7.", 500, 699)],
        "451 4.7.500-699",
        "Exchange Online slows this address or organisation down.",
        "Send less and retry later; if it lasts, have the sending address's reputation checked.",
    ),
    documented(
        &[Codes("4.7.", 850, 899)],
        "451 4.7.850-899",
        "Exchange Online slows this address or organisation down, for its reputation.",
        "Send less and retry later; if it lasts, have the sending address's reputation checked.",
    ),
    documented(
        &[Code("5.7.705")],
        "550 5.7.705",
        "The organisation is restricted: it was seen to send spam.",
        REPUTATION,
    ),
    documented(
        &[Code("5.7.708")],
        "550 5.7.708",
        "Mail from this address is not accepted; common with trial and new organisations.",
        REPUTATION,
    ),
    documented(
        &[Code("5.7.750")],
        "550 5.7.750",
        "The organisation sent from domains that are not registered with it, and is blocked.",
        "Register the sending domains in the Microsoft 365 admin centre, then ask support to unblock.",
    ),
    documented(
        &[Codes("5.7.", 501, 513)],
        "550 5.7.501-513",
        "Access is denied: the sender or its address is banned or was seen to send spam.",
        REPUTATION,
    ),
    documented(
        &[Code("5.1.8")],
        "550 5.1.8",
        "The account is blocked as a sender of spam (bad outbound sender).",
        REPUTATION,
    ),
    documented(
        &[Code("5.1.90")],
        "550 5.1.90",
        "The mailbox has reached its daily limit of recipients.",
        "Wait a day, or spread the mail over more mailboxes.",
    ),
    documented(
        &[Codes("5.2.", 121, 122)],
        "550 5.2.121-122",
        "The recipient got too many messages within the hour.",
        "Send less to this recipient and retry later.",
    ),
    documented(
        &[Code("5.7.64")],
        "550 5.7.64",
        "TenantAttribution: the server cannot tell whose mail it relays, as a rule for a connector.",
        "Log in through mailwicket instead of using a connector, or correct the connector.",
    ),
    documented(
        &[Words("tenant external recipient rate limit")],
        "TERRL",
        "The organisation has reached its daily limit of recipients outside.",
        "Wait up to a day, send less, or buy licences, by which the limit is measured.",
    ),
    documented(
        &[Words("tenant has exceeded its daily limit")],
        "TERRL (older words)",
        "The organisation has reached its daily limit of recipients outside.",
        "Wait up to a day, send less, or buy licences, by which the limit is measured.",
    ),
];
