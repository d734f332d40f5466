//! What may go wrong on purpose. A fault is armed on the world and strikes until its strikes are
//! used up, or for ever.

use std::time::Duration;

/// A fault of one of the servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The token endpoint misbehaves.
    Token(TokenFault),
    /// The submission server misbehaves.
    Smtp(SmtpFault),
    /// The IMAP server misbehaves.
    Imap(ImapFault),
    /// The POP3 server misbehaves.
    Pop3(Pop3Fault),
    /// The proxy misbehaves.
    Proxy(ProxyFault),
    /// The machine's managed identity endpoint misbehaves.
    Machine(MachineFault),
}

/// Faults of the managed identity endpoint; each strike is one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MachineFault {
    /// 404: the endpoint is being updated.
    Updating,
    /// 410: the same, for up to 70 seconds.
    Gone,
    /// 429.
    Throttled,
    /// 500 in the endpoint's JSON shape.
    ServerError,
    /// The request is read and never answered.
    Hang,
}

/// Faults of the token endpoint; each strike is one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenFault {
    /// 429 `temporarily_unavailable`, with `Retry-After` in seconds where given.
    Throttled(Option<u32>),
    /// 503 with an HTML page.
    ServiceUnavailable,
    /// The request is read and never answered.
    Hang,
    /// 200, and JSON that ends in the middle.
    TruncatedJson,
    /// 200 with a token and no `expires_in`.
    NoExpiresIn,
    /// 200 with all numbers as strings.
    NumbersAsStrings,
    /// 200 with an HTML page, as some proxies answer.
    HtmlPage,
    /// The connection is reset instead of an answer.
    Reset,
    /// 400 `invalid_grant` (AADSTS70000).
    InvalidGrant,
    /// 400 `invalid_grant`, loop detected (AADSTS50196).
    LoopDetected,
    /// 400 `slow_down` (RFC 8628 section 3.5), as a device that polls too fast is answered.
    SlowDown,
}

/// Faults of the submission server; each strike is one connection, command or login, as named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SmtpFault {
    /// The greeting comes this late.
    BannerDelayed(Duration),
    /// The greeting comes octet by octet.
    BannerByteByByte,
    /// `421 4.3.2 Service not available` instead of a greeting.
    ServiceNotAvailable,
    /// The connection closes before a greeting.
    DropOnConnect,
    /// The EHLO reply comes in two writes, which are two TLS records after STARTTLS.
    EhloSplit,
    /// STARTTLS is not offered, and answered with 500.
    NoStartTls,
    /// STARTTLS in the list is overwritten with `XXXXXXXA`, as some inspection devices do.
    MangledStartTls,
    /// A reply of no one follows `220 2.0.0` in clear text (CVE-2011-0411).
    BytesBehindStartTls,
    /// The continuation is `334` without the blank behind it.
    BarePrompt,
    /// A refused token is first answered with `334` and a JSON challenge, as Gmail does.
    ErrorChallenge,
    /// `454 4.7.0 Temporary authentication failure` to AUTH.
    TemporaryAuthFailure,
    /// Inline AUTH lines over 2048 octets are cut and called invalid, in Postfix's words.
    ShortAuthLines,
    /// A good token is refused with 535 5.7.3.
    RejectToken,
    /// The connection closes on AUTH.
    DropOnAuth,
    /// `421 4.3.2 Service not active` and the end, in the middle of DATA.
    CloseMidData,
    /// The connection closes after the end of DATA without a verdict.
    DropAfterData,
    /// `451 4.7.0 Temporary server error` to MAIL FROM.
    TemporaryServerError,
}

/// Faults of the IMAP server; each strike is one connection, command or login, as named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ImapFault {
    /// The connection closes before the TLS handshake.
    DropOnConnect,
    /// The greeting comes this late.
    BannerDelayed(Duration),
    /// The greeting comes octet by octet, each in a TLS record of its own.
    BannerByteByByte,
    /// The greeting is `* PREAUTH`.
    Preauth,
    /// The greeting is `* BYE Connection is closed. 13`.
    ByeGreeting,
    /// SASL-IR is not offered, and an initial response is a bad command; for the connection.
    NoSaslIr,
    /// The continuation of AUTHENTICATE is `+` without the blank behind it.
    BarePrompt,
    /// A refused token is first answered with `+` and a JSON challenge, as Gmail does.
    ErrorChallenge,
    /// A good token is refused with `NO AUTHENTICATE failed.`
    RejectToken,
    /// The connection closes on AUTHENTICATE.
    DropOnAuth,
    /// `NO Server Unavailable. 15` to AUTHENTICATE.
    ServerUnavailable,
    /// `NO Request is throttled` with a backoff time to AUTHENTICATE, then `* BYE`.
    ThrottledAuth,
    /// `BAD Request is throttled` with a backoff time to a command behind the login, then `* BYE`.
    ThrottledCommand,
    /// The mailbox cannot be opened, in the words of the profile, as where too many connections
    /// are open.
    NotConnected,
    /// Two untagged lines come before the OK to AUTHENTICATE.
    UntaggedBeforeReply,
    /// A refused LOGIN or AUTHENTICATE is followed by `* BYE` and the end.
    ByeAfterRefusal,
    /// The reply to FETCH comes in pieces of seven octets, each in a TLS record of its own.
    SplitFetch,
    /// The connection closes in the middle of the reply to FETCH.
    DropMidFetch,
}

/// Faults of the POP3 server; each strike is one connection, command or login, as named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pop3Fault {
    /// The connection closes before the TLS handshake.
    DropOnConnect,
    /// The greeting comes this late.
    BannerDelayed(Duration),
    /// The greeting comes octet by octet, each in a TLS record of its own.
    BannerByteByByte,
    /// The continuation of AUTH is `+` without the blank behind it.
    BarePrompt,
    /// A refused token is first answered with `+` and a JSON challenge, as Gmail does.
    ErrorChallenge,
    /// `-ERR Protocol error. Connection is closed. 10` to AUTH, and the end.
    ProtocolError,
    /// `-ERR [SYS/TEMP]` to AUTH (RFC 3206).
    TemporaryFailure,
    /// `-ERR [IN-USE]` to AUTH (RFC 2449).
    InUse,
    /// A good token is refused.
    RejectToken,
    /// The connection closes on AUTH.
    DropOnAuth,
    /// The connection closes in the middle of the reply to RETR.
    DropMidRetr,
}

/// Faults of the proxy; each strike is one CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProxyFault {
    /// A 407 carries `Connection: close` and a body, and the connection ends.
    CloseOn407,
    /// A 407 has no body and the connection lives on.
    EmptyOn407,
    /// The 200 and the target's first bytes come in one segment.
    GlueGreeting,
    /// The reply comes octet by octet.
    ByteByByte,
    /// 502 and the end, in Zscaler's form.
    BadGateway,
    /// 200 at once, then the end: a proxy that connects lazily and fails.
    EarlyOkThenClose,
    /// 503 with squid's page for a target that cannot be reached.
    ConnectFailed,
    /// The request is read and never answered.
    Hang,
    /// 200 and a page to log in, as a captive portal answers everything.
    LoginPage,
    /// The connection closes without an answer.
    CloseUnanswered,
}

impl From<TokenFault> for Fault {
    fn from(fault: TokenFault) -> Self {
        Self::Token(fault)
    }
}

impl From<SmtpFault> for Fault {
    fn from(fault: SmtpFault) -> Self {
        Self::Smtp(fault)
    }
}

impl From<ImapFault> for Fault {
    fn from(fault: ImapFault) -> Self {
        Self::Imap(fault)
    }
}

impl From<Pop3Fault> for Fault {
    fn from(fault: Pop3Fault) -> Self {
        Self::Pop3(fault)
    }
}

impl From<MachineFault> for Fault {
    fn from(fault: MachineFault) -> Self {
        Self::Machine(fault)
    }
}

impl From<ProxyFault> for Fault {
    fn from(fault: ProxyFault) -> Self {
        Self::Proxy(fault)
    }
}

/// The faults that wait for their moment, in the order in which they were armed.
#[derive(Default)]
pub(super) struct Armed(Vec<(Fault, Option<u32>)>);

impl Armed {
    pub(super) fn arm(&mut self, fault: Fault, strikes: Option<u32>) {
        self.0.push((fault, strikes));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn holds(&self, fault: &Fault) -> bool {
        self.0.iter().any(|(armed, _)| armed == fault)
    }

    /// The first armed fault that `pick` wants; it has struck once more.
    pub(super) fn strike<T>(&mut self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let (at, picked) = self
            .0
            .iter()
            .enumerate()
            .find_map(|(at, (fault, _))| pick(fault).map(|picked| (at, picked)))?;
        if let Some((_, Some(left))) = self.0.get_mut(at) {
            *left = left.saturating_sub(1);
        }
        self.0.retain(|(_, left)| *left != Some(0));
        Some(picked)
    }
}
