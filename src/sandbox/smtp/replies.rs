//! The words of Exchange Online's submission server, as documented or observed. A comment marks
//! what is only known from Exchange Server or not known at all.

use std::net::IpAddr;

use crate::sandbox::Profile;
use crate::sandbox::exchange_auth::Refusal;
use crate::sandbox::frontend::Frontend;
use crate::sandbox::moment::{Moment, random_hex};

pub(super) const STARTTLS_READY: &str = "220 2.0.0 SMTP server ready";
pub(super) const AUTHENTICATED: &str = "235 2.7.0 Authentication successful";
pub(super) const SENDER_OK: &str = "250 2.1.0 Sender OK";
pub(super) const RECIPIENT_OK: &str = "250 2.1.5 Recipient OK";
pub(super) const START_INPUT: &str = "354 Start mail input; end with <CRLF>.<CRLF>";
pub(super) const RESETTING: &str = "250 2.0.0 Resetting";
pub(super) const NOOP: &str = "250 2.0.0 OK";
pub(super) const CLOSING: &str = "221 2.0.0 Service closing transmission channel";
/// From Exchange Server.
pub(super) const CANNOT_VERIFY: &str = "252 2.1.5 Cannot VRFY user";
/// From Exchange Server.
pub(super) const HELP: &str = "214-This server supports the following commands:\r\n\
                               214 HELO EHLO STARTTLS RCPT DATA RSET MAIL QUIT HELP AUTH BDAT";

pub(super) const NOT_AVAILABLE: &str = "421 4.3.2 Service not available";
pub(super) const NOT_ACTIVE: &str = "421 4.3.2 Service not active";
pub(super) const TEMPORARY_ERROR: &str =
    "451 4.7.0 Temporary server error. Please try again later. PRX2";
pub(super) const TEMPORARY_AUTH: &str = "454 4.7.0 Temporary authentication failure";
/// Postfix's words for an inline AUTH line that it has cut at 2048 octets.
pub(super) const SHORT_LINES: &str =
    "535 5.7.8 Error: authentication failed: Invalid base64 data in initial response";

// All below get the suffix of the profile.
pub(super) const TIMEOUT: &str = "451 4.7.0 Timeout waiting for client input";
pub(super) const INVALID_DOMAIN: &str = "501 5.5.4 Invalid domain name";
pub(super) const UNKNOWN_MECHANISM: &str = "504 5.7.4 Unrecognized authentication type";
pub(super) const HELLO_FIRST: &str = "503 5.5.2 Send hello first";
pub(super) const NOT_AUTHENTICATED: &str = "530 5.7.57 Client not authenticated to send mail.";
pub(super) const NOT_IMPLEMENTED: &str = "502 5.3.3 Command not implemented";
/// The four below are from Exchange Server.
pub(super) const NEED_MAIL: &str = "503 5.5.2 Need mail command";
pub(super) const NEED_RCPT: &str = "503 5.5.2 Need rcpt command";
pub(super) const SENDER_TWICE: &str = "503 5.5.2 Sender already specified";
pub(super) const INVALID_ARGUMENTS: &str = "501 5.5.4 Invalid arguments";
/// The literals of the three below are not known; codes as in RFC 3207, 4954 and 3030.
pub(super) const TLS_TWICE: &str = "503 5.5.2 Only one STARTTLS command can be issued per session";
pub(super) const AUTH_TWICE: &str = "503 5.5.2 Already authenticated";
pub(super) const BINARY_BY_DATA: &str = "503 5.5.2 BINARYMIME requires BDAT";
/// Not known for Exchange Online; its answer to an endless line.
pub(super) const LINE_TOO_LONG: &str = "500 5.5.2 Line too long";
/// Not known for Exchange Online; RFC 5321 section 4.5.3.1.10.
pub(super) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients";

const BAD_TOKEN: &str = "535 5.7.3 Authentication unsuccessful";
const MAILBOX_OFF: &str = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.";
const TENANT_OFF: &str = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.";
const BASIC_OFF: &str =
    "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.";
const WRONG_PASSWORD: &str =
    "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.";
const CRITERIA: &str = "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator.";

/// The words for a refused AUTH, still without the suffix.
pub(super) fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadToken => BAD_TOKEN,
        Refusal::MailboxOff => MAILBOX_OFF,
        Refusal::TenantOff => TENANT_OFF,
        Refusal::BasicOff => BASIC_OFF,
        Refusal::WrongPassword => WRONG_PASSWORD,
        Refusal::Criteria => CRITERIA,
    }
}

// All below get `[Hostname=...]`.
pub(super) const CONCURRENT: &str = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.";
/// From Exchange Server.
pub(super) const TOO_LARGE: &str = "552 5.3.4 Message size exceeds fixed maximum message size";
pub(super) const HEADER_TOO_LARGE: &str = "552 5.3.4 Header size exceeds fixed maximum size";

/// The front end that a session has met: it names itself in most of its replies.
pub(super) struct Voice {
    profile: Profile,
    frontend: String,
    backend: String,
    /// 16 hexadecimal digits.
    id: String,
    clock_offset: i64,
}

impl Voice {
    pub(super) fn new(profile: Profile, clock_offset: i64) -> Self {
        let Frontend { outside, inside } = Frontend::any();
        Self {
            profile,
            frontend: outside,
            backend: inside,
            id: format!("08DE{}", random_hex(6).to_uppercase()),
            clock_offset,
        }
    }

    pub(super) fn greeting(&self) -> String {
        let time = self.now().banner();
        let host = &self.frontend;
        let greeting = format!("220 {host} Microsoft ESMTP MAIL Service ready at {time}");
        match self.profile {
            Profile::Exo2023 => greeting,
            Profile::Exo2026 => format!("{greeting} [{}]", self.id),
        }
    }

    /// The reply to EHLO. `starttls` is the line that stands at the place of STARTTLS and AUTH.
    pub(super) fn ehlo(&self, peer: IpAddr, size: u64, starttls: Option<&str>) -> String {
        let mut lines = vec![
            format!("{} Hello [{peer}]", self.frontend),
            format!("SIZE {size}"),
            "PIPELINING".to_owned(),
            "DSN".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        lines.extend(starttls.map(str::to_owned));
        lines.extend(["8BITMIME", "BINARYMIME", "CHUNKING"].map(str::to_owned));
        lines.push(String::new());
        format!("250-{}250 SMTPUTF8", lines.join("\r\n250-").trim_end_matches("250-"))
    }

    pub(super) fn helo(&self, peer: IpAddr) -> String {
        format!("250 {} Hello [{peer}]", self.frontend)
    }

    /// An error with the suffix `[HOST]` or `[HOST time id]`.
    pub(super) fn error(&self, text: &str) -> String {
        match self.profile {
            Profile::Exo2023 => format!("{text} [{}]", self.backend),
            Profile::Exo2026 => {
                let host = self.backend.to_uppercase();
                format!("{text} [{host} {} {}]", self.now().iso(), self.id)
            }
        }
    }

    pub(super) fn unrecognized(&self, verb: &str) -> String {
        let verb: String = verb.chars().filter(char::is_ascii_graphic).take(64).collect();
        self.error(&format!("500 5.3.3 Unrecognized command '{verb}'"))
    }

    /// MAIL FROM without login; the server remembers the refusal that went before.
    pub(super) fn not_authenticated(&self, refusal: Option<&str>) -> String {
        match refusal {
            Some(refusal) => self.error(&format!("{NOT_AUTHENTICATED} Error: {refusal}")),
            None => self.error(NOT_AUTHENTICATED),
        }
    }

    pub(super) fn chunk(octets: u64) -> String {
        format!("250 2.6.0 CHUNK received OK, {octets} octets")
    }

    /// A verdict at the end of DATA, with `[Hostname=...]`.
    pub(super) fn verdict(&self, text: &str) -> String {
        format!("{text} [Hostname={}]", self.backend)
    }

    pub(super) fn accepted(&self, message_id: Option<&str>) -> String {
        match message_id {
            Some(id) => self.verdict(&format!("250 2.0.0 OK {id}")),
            None => self.verdict(&format!("250 2.0.0 OK <{}@{}>", random_hex(16), self.backend)),
        }
    }

    /// The app may log in but has no right on the mailbox.
    pub(super) fn logon_failure(&self) -> String {
        let diagnostics = self.diagnostics(&format!(
            "Cannot open mailbox. Server = {}, user = /o=ExchangeLabs/ou=Exchange Administrative \
             Group (FYDIBOHF23SPDLT)/cn=Configuration/cn=Servers/cn={}/cn=Microsoft System \
             Attendant, maximum attempts reached.",
            self.backend, self.backend,
        ));
        self.verdict(&format!(
            "430 4.2.0 STOREDRV; mailbox logon failure; STOREDRV.Submission.Exception:ConnectionFailedTransientException.MapiExceptionLogonFailed; Failed to process message due to a transient exception with message {diagnostics}"
        ))
    }

    pub(super) fn send_as_denied(&self, mailbox: &str, from: &str) -> String {
        let diagnostics = self.diagnostics("Cannot submit message.");
        self.verdict(&format!(
            "554 5.2.252 SendAsDenied; {mailbox} not allowed to send as {from}; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception with message {diagnostics}"
        ))
    }

    pub(super) fn quota_exceeded(&self) -> String {
        let diagnostics = self.diagnostics("Cannot submit message.");
        self.verdict(&format!(
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException.MapiExceptionSubmissionQuotaExceeded; Failed to process message due to a permanent exception with message {diagnostics}"
        ))
    }

    pub(super) fn mailbox_full(&self) -> String {
        let diagnostics = self.diagnostics("Cannot save changes made to an item.");
        self.verdict(&format!(
            "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded; Failed to process message due to a permanent exception with message {diagnostics}"
        ))
    }

    /// The diagnostics that make these lines longer than a kilobyte; clients with a buffer of 512
    /// or 1000 octets meet them in life.
    fn diagnostics(&self, what: &str) -> String {
        let traces = (0..60)
            .map(|number| format!(" 0.{}:{};", 35_250 + 411 * number, random_hex(4)))
            .collect::<Vec<_>>()
            .concat();
        format!("[BeginDiagnosticData]{what}{traces} 255.1494:{}[EndDiagnosticData]", self.id)
    }

    fn now(&self) -> Moment {
        Moment::now(self.clock_offset)
    }
}
