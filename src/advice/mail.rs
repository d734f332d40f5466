//! What mail servers' replies mean: Exchange Online's, as documented and as observed.

use super::{Advice, Pattern};

pub(super) const REPLIES: &[Pattern] = &[
    Pattern {
        parts: &["535 5.7.3"],
        advice: Advice {
            code: "535 5.7.3",
            cause: "Exchange Online does not accept this token for this mailbox: wrong object id, no mailbox permission, wrong scope, or rights that are not in force yet",
            remedy: "check that New-ServicePrincipal was given the enterprise application's object id ((Get-MgServicePrincipal -Filter \"appId eq 'CLIENT_ID'\").Id), then Add-MailboxPermission -Identity MAILBOX -User THAT_ID -AccessRights FullAccess; wait up to an hour after a change",
        },
    },
    Pattern {
        parts: &["5.7.139"],
        advice: Advice {
            code: "535 5.7.139",
            cause: "a policy of the tenant or mailbox refuses this login; the sentence in the reply says which",
            remedy: "read the sentence after the comma, and the sign-in log in Entra",
        },
    },
    Pattern {
        parts: &["5.7.139", "is disabled for the tenant"],
        advice: Advice {
            code: "535 5.7.139 (tenant)",
            cause: "SMTP AUTH is switched off for the tenant; the switch counts for OAuth too",
            remedy: "for this mailbox: Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false (it outweighs the tenant's setting)",
        },
    },
    Pattern {
        parts: &["5.7.139", "is disabled for the mailbox"],
        advice: Advice {
            code: "535 5.7.139 (mailbox)",
            cause: "SMTP AUTH is switched off for this mailbox; the switch counts for OAuth too",
            remedy: "Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false, then wait a few minutes",
        },
    },
    Pattern {
        parts: &["5.7.139", "basic authentication is disabled"],
        advice: Advice {
            code: "535 5.7.139 (basic)",
            cause: "a password reached Microsoft: the client went past mailwicket",
            remedy: "point the client at mailwicket's port",
        },
    },
    Pattern {
        parts: &["5.7.139", "security defaults"],
        advice: Advice {
            code: "535 5.7.139 (security defaults)",
            cause: "security defaults block legacy authentication",
            remedy: "point the client at mailwicket's port; if it already is, exclude the mailbox by Conditional Access instead of security defaults",
        },
    },
    Pattern {
        parts: &["5.7.139", "did not meet the criteria"],
        advice: Advice {
            code: "535 5.7.139 (policy)",
            cause: "Conditional Access does not let this sign-in through",
            remedy: "look at the sign-in log in Entra and exclude the mailbox or app from the policy",
        },
    },
    Pattern {
        parts: &["5.7.139", "credentials were incorrect"],
        advice: Advice {
            code: "535 5.7.139 (credentials)",
            cause: "a wrong password reached Microsoft: the client went past mailwicket",
            remedy: "point the client at mailwicket's port",
        },
    },
    Pattern {
        parts: &["5.7.139", "federated sts"],
        advice: Advice {
            code: "535 5.7.139 (federated)",
            cause: "the login of a federated user with a password failed at the federation service",
            remedy: "point the client at mailwicket's port; tokens do not take that way",
        },
    },
    Pattern {
        parts: &["550 5.7.30"],
        advice: Advice {
            code: "550 5.7.30",
            cause: "Exchange Online no longer takes passwords for sending",
            remedy: "point the client at mailwicket's port",
        },
    },
    Pattern {
        parts: &["504 5.7.4"],
        advice: Advice {
            code: "504 5.7.4",
            cause: "the mechanism is not offered, or AUTH came before TLS",
            remedy: "point the client at mailwicket's port",
        },
    },
    Pattern {
        parts: &["530 5.7.57"],
        advice: Advice {
            code: "530 5.7.57",
            cause: "the client sends without having logged in",
            remedy: "switch authentication on in the client; some clients go on silently when a login fails",
        },
    },
    Pattern {
        parts: &["5.7.57", "client was not authenticated"],
        advice: Advice {
            code: "530 5.7.57",
            cause: "the client sends without having logged in",
            remedy: "switch authentication on in the client; some clients go on silently when a login fails",
        },
    },
    Pattern {
        parts: &["421 4.7.66"],
        advice: Advice {
            code: "421 4.7.66",
            cause: "the client speaks TLS 1.0 or 1.1 to Microsoft",
            remedy: "point the client at mailwicket's port, which speaks modern TLS for it",
        },
    },
    Pattern {
        parts: &["501 5.5.124"],
        advice: Advice {
            code: "501 5.5.124",
            cause: "the high-volume service does not accept the user name",
            remedy: "check the mailbox name",
        },
    },
    Pattern {
        parts: &["501 5.5.127"],
        advice: Advice {
            code: "501 5.5.127",
            cause: "the high-volume service wants a token with ten minutes left",
            remedy: "set token_expiry_margin to \"15m\"",
        },
    },
    Pattern {
        parts: &["454 4.7.0"],
        advice: Advice {
            code: "454 4.7.0",
            cause: "authentication is out of order for the moment",
            remedy: "try again later",
        },
    },
    Pattern {
        parts: &["432 4.3.2"],
        advice: Advice {
            code: "432 4.3.2",
            cause: "more than three messages at a time were being sent for one mailbox",
            remedy: "send fewer in parallel, or spread them over several mailboxes",
        },
    },
    Pattern {
        parts: &["554 5.2.252", "sendasdenied"],
        advice: Advice {
            code: "554 5.2.252",
            cause: "the mailbox may not send with this From address",
            remedy: "send as the mailbox itself, or Add-RecipientPermission FROM -Trustee ID -AccessRights SendAs (up to an hour); do not retry",
        },
    },
    Pattern {
        parts: &["554 5.2.0", "sendasdenied"],
        advice: Advice {
            code: "554 5.2.0 (SendAsDenied)",
            cause: "the mailbox may not send with this From address",
            remedy: "send as the mailbox itself, or Add-RecipientPermission FROM -Trustee ID -AccessRights SendAs (up to an hour); do not retry",
        },
    },
    Pattern {
        parts: &["550 5.7.60"],
        advice: Advice {
            code: "550 5.7.60",
            cause: "the mailbox may not send with this From address",
            remedy: "send as the mailbox itself, or Add-RecipientPermission FROM -Trustee ID -AccessRights SendAs (up to an hour); do not retry",
        },
    },
    Pattern {
        parts: &["430 4.2.0"],
        advice: Advice {
            code: "430 4.2.0",
            cause: "the token was accepted but the mailbox cannot be opened; it looks passing and is not",
            remedy: "Add-MailboxPermission MAILBOX -User ID -AccessRights FullAccess; check that the mailbox exists and has a licence",
        },
    },
    Pattern {
        parts: &["mapiexceptionlogonfailed"],
        advice: Advice {
            code: "430 4.2.0",
            cause: "the token was accepted but the mailbox cannot be opened; it looks passing and is not",
            remedy: "Add-MailboxPermission MAILBOX -User ID -AccessRights FullAccess; check that the mailbox exists and has a licence",
        },
    },
    Pattern {
        parts: &["submissionquotaexceeded"],
        advice: Advice {
            code: "554 5.2.0 (quota)",
            cause: "the mailbox has sent to 10,000 recipients today",
            remedy: "wait, or spread over several mailboxes",
        },
    },
    Pattern {
        parts: &["554 5.2.2"],
        advice: Advice {
            code: "554 5.2.2",
            cause: "the sending mailbox is full: sent mail is stored in it",
            remedy: "empty Sent Items, or set a retention policy",
        },
    },
    Pattern {
        parts: &["552 5.3.4"],
        advice: Advice {
            code: "552 5.3.4",
            cause: "the message, or its header, is larger than allowed",
            remedy: "make it smaller, or raise the mailbox's MaxSendSize",
        },
    },
    Pattern {
        parts: &["502 5.3.3"],
        advice: Advice {
            code: "502 5.3.3",
            cause: "the server does not take this command, although it may have offered it (SMTPUTF8)",
            remedy: "switch internationalised addresses off in the client",
        },
    },
    Pattern {
        parts: &["451 4.7.0", "temporary server error"],
        advice: Advice {
            code: "451 4.7.0",
            cause: "Exchange Online has a passing fault, or the mailbox has no licence",
            remedy: "try again later; if it stays, check the mailbox's licence",
        },
    },
    Pattern {
        parts: &["451 4.7.0", "timeout waiting"],
        advice: Advice {
            code: "451 4.7.0 (timeout)",
            cause: "the client said nothing for too long",
            remedy: "let the client send faster, or log in only when it has something to send",
        },
    },
    Pattern {
        parts: &["421 4.3.2"],
        advice: Advice {
            code: "421 4.3.2",
            cause: "the service is not available for the moment",
            remedy: "try again later",
        },
    },
    Pattern {
        parts: &["421 4.4.1"],
        advice: Advice {
            code: "421 4.4.1",
            cause: "the session lasted too long",
            remedy: "let the client end sessions sooner",
        },
    },
    Pattern {
        parts: &["4.7.500"],
        advice: Advice {
            code: "451 4.7.500",
            cause: "Exchange Online throttles this address or tenant",
            remedy: "send less for a while; check whether the tenant is abused",
        },
    },
    Pattern {
        parts: &["451 4.7.5"],
        advice: Advice {
            code: "451 4.7.500",
            cause: "Exchange Online throttles this address or tenant",
            remedy: "send less for a while; check whether the tenant is abused",
        },
    },
    Pattern {
        parts: &["451 4.7.6"],
        advice: Advice {
            code: "451 4.7.500",
            cause: "Exchange Online throttles this address or tenant",
            remedy: "send less for a while; check whether the tenant is abused",
        },
    },
    Pattern {
        parts: &["451 4.7.8"],
        advice: Advice {
            code: "451 4.7.850",
            cause: "Exchange Online throttles this address or tenant",
            remedy: "send less for a while; check whether the tenant is abused",
        },
    },
    Pattern {
        parts: &["5.7.705"],
        advice: Advice {
            code: "550 5.7.705",
            cause: "the tenant is blocked from sending, as a source of spam",
            remedy: "find what was abused, then ask Microsoft to lift the block",
        },
    },
    Pattern {
        parts: &["5.7.708"],
        advice: Advice {
            code: "550 5.7.708",
            cause: "mail from this address is not accepted",
            remedy: "ask Microsoft's support to unblock; usual for new or trial tenants",
        },
    },
    Pattern {
        parts: &["5.7.750"],
        advice: Advice {
            code: "550 5.7.750",
            cause: "mail from domains that are not the tenant's was blocked",
            remedy: "register the domain in the tenant",
        },
    },
    Pattern {
        parts: &["550 5.7.5"],
        advice: Advice {
            code: "550 5.7.501-513",
            cause: "the account or tenant is blocked from sending",
            remedy: "unblock the account in the Defender portal, and find what was abused",
        },
    },
    Pattern {
        parts: &["5.1.8"],
        advice: Advice {
            code: "550 5.1.8",
            cause: "the account is blocked as a source of spam",
            remedy: "unblock the account in the Defender portal, and find what was abused",
        },
    },
    Pattern {
        parts: &["5.1.90"],
        advice: Advice {
            code: "550 5.1.90",
            cause: "the account has sent to too many recipients today",
            remedy: "wait, or spread over several mailboxes",
        },
    },
    Pattern {
        parts: &["5.2.121"],
        advice: Advice {
            code: "550 5.2.121",
            cause: "the recipient receives too much from this sender",
            remedy: "send less",
        },
    },
    Pattern {
        parts: &["5.2.122"],
        advice: Advice {
            code: "550 5.2.122",
            cause: "the recipient receives too much",
            remedy: "send less",
        },
    },
    Pattern {
        parts: &["5.7.64"],
        advice: Advice {
            code: "550 5.7.64",
            cause: "the connection could not be attributed to a tenant",
            remedy: "send by client submission, as mailwicket does, not to the MX host",
        },
    },
    Pattern {
        parts: &["tenant external recipient rate limit"],
        advice: Advice {
            code: "tenant external recipient rate limit",
            cause: "the tenant has sent to too many recipients outside within a day",
            remedy: "wait, or get more licences",
        },
    },
    Pattern {
        parts: &["sender throttled"],
        advice: Advice {
            code: "550 5.2.251-255",
            cause: "one misconfigured program kept failing, and Exchange now blocks the whole mailbox for SMTP AUTH",
            remedy: "stop that program, mend it, and wait, or use another mailbox",
        },
    },
    Pattern {
        parts: &["barelinefeedsareillegal"],
        advice: Advice {
            code: "SMTPSEND.BareLinefeedsAreIllegal",
            cause: "the message holds a line feed without a carriage return",
            remedy: "mend the sender; CHUNKING on the way to the recipient would take it",
        },
    },
    Pattern {
        parts: &["authenticate failed"],
        advice: Advice {
            code: "AUTHENTICATE failed",
            cause: "IMAP's form of 535 5.7.3: this token is not accepted for this mailbox",
            remedy: "as 535 5.7.3; and Set-CASMailbox MAILBOX -ImapEnabled $true",
        },
    },
    Pattern {
        parts: &["login failed"],
        advice: Advice {
            code: "LOGIN failed",
            cause: "a password reached Microsoft: the client went past mailwicket",
            remedy: "point the client at mailwicket's port",
        },
    },
    Pattern {
        parts: &["basic authentication is disabled"],
        advice: Advice {
            code: "Basic authentication is disabled",
            cause: "a password reached Microsoft: the client went past mailwicket",
            remedy: "point the client at mailwicket's port",
        },
    },
    Pattern {
        parts: &["user is authenticated but not connected"],
        advice: Advice {
            code: "User is authenticated but not connected",
            cause: "the token is good and the mailbox cannot be opened: protocol switched off, no FullAccess, another mailbox than the token's, or too many connections",
            remedy: "Set-CASMailbox MAILBOX -ImapEnabled $true; Add-MailboxPermission MAILBOX -User ID -AccessRights FullAccess; let clients connect less often",
        },
    },
    Pattern {
        parts: &["accesstokenexpired"],
        advice: Advice {
            code: "Session invalidated - AccessTokenExpired",
            cause: "the normal end of a long session: its token has expired",
            remedy: "nothing: the client connects again",
        },
    },
    Pattern {
        parts: &["request is throttled"],
        advice: Advice {
            code: "Request is throttled",
            cause: "the mailbox's budget is used up",
            remedy: "let clients ask less often; wait as long as the reply says",
        },
    },
    Pattern {
        parts: &["server unavailable. 15"],
        advice: Advice {
            code: "Server Unavailable. 15",
            cause: "the mailbox's server is away for the moment",
            remedy: "try again later",
        },
    },
    Pattern {
        parts: &["authentication failure: unknown user name or bad password"],
        advice: Advice {
            code: "Authentication failure",
            cause: "POP3's form of 535 5.7.3: this token is not accepted for this mailbox",
            remedy: "as 535 5.7.3; and Set-CASMailbox MAILBOX -PopEnabled $true",
        },
    },
    Pattern {
        parts: &["protocol error. connection is closed"],
        advice: Advice {
            code: "POP3 Protocol error",
            cause: "the server did not accept how the token was sent, or the token is longer than 4,096 characters",
            remedy: "ask for a smaller token: fewer group claims in the app registration",
        },
    },
];
