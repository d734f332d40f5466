use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Replies as servers send them, and the row that must explain each.
const REPLIES: &[(&str, &str)] = &[
    (
        "535 5.7.3 Authentication unsuccessful [LO2P265CA0511.GBRP265.PROD.OUTLOOK.COM 2024-03-14T00:58:28.419Z 08DC432AD9175861]",
        "535 5.7.3",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.",
        "535 5.7.139 (tenant)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.",
        "535 5.7.139 (mailbox)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [X]",
        "535 5.7.139 (basic)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator.",
        "535 5.7.139 (security defaults)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator.",
        "535 5.7.139 (criteria)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.",
        "535 5.7.139 (credentials)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, federated STS service was unreachable.",
        "535 5.7.139 (federation)",
    ),
    (
        "535 5.7.139 Authentication unsuccessful, the federated STS URL does not support HTTPS.",
        "535 5.7.139 (federation without HTTPS)",
    ),
    ("535 5.7.139 Authentication unsuccessful, something new.", "535 5.7.139"),
    ("550 5.7.30 Basic authentication is not supported for Client Submission.", "550 5.7.30"),
    ("504 5.7.4 Unrecognized authentication type", "504 5.7.4"),
    ("530 5.7.57 Client not authenticated to send mail. [X]", "530 5.7.57"),
    (
        "530 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM",
        "530 5.7.57 (older form)",
    ),
    (
        "530 5.7.57 Client not authenticated to send mail. Error: 535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
        "535 5.7.139 (mailbox)",
    ),
    (
        "530 5.7.57 Client not authenticated to send mail. Error: 535 5.7.3 Authentication unsuccessful [X]",
        "535 5.7.3",
    ),
    (
        "530 5.7.57 Client not authenticated to send mail. Error: 535 5.7.139 Authentication unsuccessful, something new.",
        "535 5.7.139",
    ),
    ("530 5.7.57 Client not authenticated to send mail. Error: 599 unheard of", "530 5.7.57"),
    (
        "421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client to support TLS 1.2.",
        "421 4.7.66",
    ),
    ("454 4.7.0 Temporary authentication failure", "454 4.7.0"),
    ("501 5.5.124 Invalid XOAUTH2 auth data - User address provided is not valid.", "501 5.5.124"),
    ("501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon", "501 5.5.127"),
    ("503 5.5.2 Send hello first", "503 5.5.2"),
    ("501 5.5.4 Invalid domain name [X]", "501 5.5.4"),
    ("500 5.3.3 Unrecognized command 'xxx' [X]", "500 5.3.3"),
    (
        "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
        "432 4.3.2",
    ),
    ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "432 4.3.2 (thread limit)"),
    (
        "554 5.2.252 SendAsDenied; a@b not allowed to send as c@d; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed",
        "554 5.2.252",
    ),
    (
        "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed",
        "554 5.2.0 SendAsDenied",
    ),
    ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", "550 5.7.60"),
    ("550 5.2.251 Sender throttled due to continuous mailbox full errors", "550 5.2.251"),
    ("550 5.2.252 Sender throttled due to continuous send as denied errors", "550 5.2.252"),
    ("550 5.2.253 Sender throttled due to continuous invalid licence errors", "550 5.2.253"),
    ("550 5.2.254 Sender throttled due to continuous too many recipients errors", "550 5.2.254"),
    ("550 5.2.255 Sender throttled due to continuous invalid recipients errors", "550 5.2.255"),
    ("Sender throttled due to continuous failures", "550 5.2.25x"),
    (
        "430 4.2.0 STOREDRV; mailbox logon failure; STOREDRV.Submission.Exception:ConnectionFailedTransientException.MapiExceptionLogonFailed; Failed",
        "430 4.2.0",
    ),
    (
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        "554 5.2.0 SubmissionQuotaExceeded",
    ),
    ("554 5.2.2 Submission quota exceeded", "5.2.2 submission quota"),
    (
        "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
        "554 5.2.2",
    ),
    ("502 5.3.3 Command not implemented", "502 5.3.3"),
    ("552 5.3.4 Header size exceeds fixed maximum size", "552 5.3.4"),
    (
        "SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds",
        "SMTPSEND.BareLinefeedsAreIllegal",
    ),
    ("451 4.7.0 Temporary server error. Please try again later. PRX2", "451 4.7.0 PRX"),
    ("451 4.7.0 Timeout waiting for client input [HOST]", "451 4.7.0 (idle)"),
    ("421 4.3.2 Service not available", "421 4.3.2"),
    ("421 4.4.1 Connection timed out. Total session duration: 00:20:55.2872355", "421 4.4.1"),
    ("451 4.7.500 (AS123) Access denied, please try again later", "451 4.7.500-699"),
    ("451 4.7.699 Access denied, please try again later", "451 4.7.500-699"),
    ("451 4.7.850 Access denied, please try again later", "451 4.7.850-899"),
    ("550 5.7.705 Access denied, tenant has exceeded threshold", "550 5.7.705"),
    (
        "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP",
        "550 5.7.708",
    ),
    (
        "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains",
        "550 5.7.750",
    ),
    ("550 5.7.501 Access denied, spam abuse detected", "550 5.7.501-513"),
    ("550 5.7.513 Service unavailable, recipient banned", "550 5.7.501-513"),
    ("550 5.1.8 Access denied, bad outbound sender", "550 5.1.8"),
    (
        "550 5.1.90 Your message can't be sent because you've reached your daily recipient limit",
        "550 5.1.90",
    ),
    ("550 5.2.121 Recipient's per hour message receive limit exceeded", "550 5.2.121-122"),
    ("550 5.2.122 The recipient has exceeded their limit", "550 5.2.121-122"),
    ("550 5.7.64 TenantAttribution; Relay Access Denied", "550 5.7.64"),
    ("Your message can't be sent: (tenant external recipient rate limit)", "TERRL"),
    ("your tenant has exceeded its daily limit for sending email", "TERRL (older words)"),
    ("A1 NO AUTHENTICATE failed.", "NO AUTHENTICATE failed"),
    ("A3 BAD User is authenticated but not connected.", "User is authenticated but not connected"),
    ("* BYE Session invalidated - AccessTokenExpired", "BYE AccessTokenExpired"),
    (
        "-ERR Authentication failure: unknown user name or bad password.",
        "-ERR Authentication failure",
    ),
    ("A2 NO Basic authentication is disabled.", "Basic authentication is disabled"),
    ("A2 NO LOGIN failed.", "NO LOGIN failed"),
    ("-ERR Logon failure: unknown user name or bad password.", "-ERR Logon failure"),
    ("-ERR Protocol error. Connection is closed. 10", "-ERR Protocol error 10"),
    ("-ERR Protocol error. 19", "-ERR Protocol error 19"),
    (
        "A1 NO Request is throttled. Suggested Backoff Time: 299961 milliseconds",
        "Request is throttled",
    ),
    ("* BYE Connection is closed. 13", "BYE Connection is closed. 13"),
    ("* BYE Connection closed. 14", "BYE Connection closed. 14"),
    ("A1 NO Server Unavailable. 15", "Server Unavailable"),
    ("-ERR Server Unavailable. 21", "Server Unavailable"),
    ("A1 BAD Command received in Invalid state.", "BAD Command received in Invalid state"),
];

/// All numbers of Microsoft's list that can come from the token endpoint in this program's use.
const AADSTS: &[u32] = &[
    700_021, 700_023, 7_000_215, 7_000_222, 7_000_218, 700_025, 700_016, 700_027, 50_012, 700_024,
    700_030, 70_021, 700_211, 700_212, 700_213, 7_000_112, 70_001, 70_002, 90_002, 900_023, 90_038,
    90_019, 50_059, 9_001_023, 90_124, 90_130, 50_194, 900_144, 9_002_313, 900_561, 9_002_326,
    9_002_327, 9_002_332, 50_034, 50_053, 50_055, 50_056, 50_057, 50_076, 50_079, 50_072, 50_074,
    50_078, 50_105, 50_126, 50_158, 50_173, 50_196, 53_000, 53_001, 53_002, 53_003, 530_032,
    530_034, 530_035, 54_005, 65_001, 65_002, 65_004, 650_052, 650_054, 650_057, 70_000, 70_008,
    700_082, 700_084, 70_043, 700_003, 70_011, 1_002_012, 70_003, 70_016, 70_018, 70_019, 70_020,
    500_011, 500_014, 50_001, 1_002_016, 90_055, 90_006, 90_024, 90_033, 90_090, 50_033, 50_087,
    90_012, 500_021, 500_022, 50_002,
];

const PROXY: &[(&str, &str)] = &[
    ("HTTP/1.1 403 Forbidden X-Squid-Error: ERR_ACCESS_DENIED 0", "squid ERR_ACCESS_DENIED"),
    ("X-Squid-Error: ERR_CACHE_ACCESS_DENIED 0", "squid ERR_CACHE_ACCESS_DENIED"),
    ("HTTP/1.1 503 X-Squid-Error: ERR_CONNECT_FAIL 111", "squid ERR_CONNECT_FAIL"),
    ("ERR_DNS_FAIL", "squid ERR_DNS_FAIL"),
    ("HTTP/1.1 403 Tunnel Forbidden", "403 Tunnel Forbidden"),
    ("HTTP/1.1 403 Forbidden port", "403 Forbidden port"),
    (
        "HTTP/1.1 407 Proxy Authentication Required ( Forefront TMG requires authorization",
        "407 Forefront TMG",
    ),
    ("HTTP/1.1 502 Proxy Error ( The specified SSL port is not allowed", "502 Proxy Error (TMG)"),
    ("Server: Zscaler/6.2", "Zscaler"),
    ("Network Error (tcp_error)", "ProxySG tcp_error"),
    ("TCP_DENIED 407 0 CONNECT tcp://smtp.office365.com:587/", "ProxySG TCP_DENIED 407"),
    ("HTTP/1.1 303 See Other Via: Netskope", "Netskope"),
    ("SSL: certificate verify failed", "certificate verify failed"),
    ("invalid peer certificate: UnknownIssuer", "UnknownIssuer"),
    ("ssl3_get_record: wrong version number", "wrong version number"),
    ("proxy proxy.corp.example:8080 answered 403 to CONNECT smtp.office365.com:587", "proxy 403"),
    ("HTTP/1.0 407 Proxy Authentication Required", "proxy 407"),
    ("HTTP/1.1 303 See Other", "proxy 303"),
    ("the proxy said 502", "proxy 502"),
    ("HTTP/1.1 503 Service Unavailable", "proxy 503"),
    ("504 from the proxy", "proxy 504"),
    ("407", "proxy 407"),
];

/// What managed identity endpoints say.
const MACHINE: &[(&str, &str)] = &[
    ("invalid_request: Identity not found", "managed identity: Identity not found"),
    (
        "HTTP 400: Unable to load requested managed identity.",
        "managed identity: Unable to load requested managed identity",
    ),
    (
        "No Managed Identity was found for specified ClientId/ResourceId/PrincipalId.",
        "managed identity: No Managed Identity was found",
    ),
    (
        "bad_request_102: Required metadata header not specified",
        "managed identity: bad_request_102",
    ),
    (
        "unknown_source: Unknown Source http://169.254.169.254/metadata",
        "managed identity: unknown_source",
    ),
];

fn codes(found: &[&Advice]) -> Vec<&'static str> {
    found.iter().map(|advice| advice.code).collect()
}

fn all() -> Vec<&'static Advice> {
    let rows = replies().chain(proxy::PHRASES).map(|row| &row.advice);
    let statuses = proxy::STATUSES.iter().map(|(_, advice)| advice);
    let machine = entra::machine::ROWS.iter().map(|row| &row.advice);
    rows.chain(entra::rows().map(|row| &row.advice)).chain(statuses).chain(machine).collect()
}

#[test]
fn every_reply_is_explained_by_its_own_row() {
    assert_eq!(REPLIES.len(), 77);
    for (reply, code) in REPLIES {
        for reply in [(*reply).to_owned(), reply.to_uppercase(), reply.to_lowercase()] {
            let found = for_reply(&reply).map(|advice| advice.code);
            assert_eq!(found, Some(*code), "{reply}");
        }
    }
    let reached: HashSet<&str> = REPLIES.iter().map(|(_, code)| *code).collect();
    for row in replies() {
        assert!(reached.contains(row.advice.code), "no reply reaches {}", row.advice.code);
    }
}

#[test]
fn every_entra_code_is_explained() {
    assert_eq!(AADSTS.len(), 90);
    for code in AADSTS {
        let advice = for_aadsts(*code).unwrap_or_else(|| panic!("{code} is missing"));
        assert!(advice.code.contains(&code.to_string()), "{code}: {}", advice.code);
    }
    let rows: usize = entra::rows().map(|row| row.codes.len()).sum();
    assert_eq!(rows, AADSTS.len(), "each code once");
    assert_eq!(for_aadsts(1), None);
}

#[test]
fn every_refusal_of_a_managed_identity_is_explained() {
    for (text, code) in MACHINE {
        assert_eq!(for_managed_identity(text).map(|it| it.code), Some(*code), "{text}");
        assert_eq!(codes(&explain(text)), [*code], "{text}");
    }
    assert_eq!(MACHINE.len(), entra::machine::ROWS.len());
    assert_eq!(for_managed_identity("invalid_request: something new"), None);
}

#[test]
fn every_proxy_answer_is_explained() {
    assert_eq!(PROXY.len(), 22);
    for (text, code) in PROXY {
        assert_eq!(codes(&explain(text)), [*code], "{text}");
    }
    for status in [303, 400, 403, 405, 407, 429, 502, 503, 504] {
        assert_eq!(for_proxy_status(status).map(|it| it.code), Some(&*format!("proxy {status}")));
    }
    assert_eq!(for_proxy_status(200), None);
}

#[test]
fn no_row_is_empty_long_or_doubled() {
    let rows = all();
    assert!(rows.len() > 140, "{}", rows.len());
    let mut seen = HashSet::new();
    for Advice { code, cause, remedy } in rows {
        assert!(seen.insert(*code), "{code} twice");
        assert!(!code.is_empty() && cause.len() > 20 && remedy.len() > 10, "{code}");
        assert!(cause.len() <= 160, "{code}: {}", cause.len());
        assert!(cause.ends_with('.'), "{code}: {cause}");
        assert!(![cause, remedy].iter().any(|text| text.contains("  ")), "{code}: a gap");
    }
}

#[test]
fn what_is_not_known_is_not_explained() {
    for text in
        ["", " ", "250 2.0.0 OK", "220 ready", "5.7.30", "5.7.31", "15.7.3", "5.7.3.1", "535"]
    {
        assert_eq!(for_reply(text), None, "{text}");
    }
    for text in ["", "hello", "127.0.0.1:50034", "id-70000", "access 403", "sent 503 messages"] {
        assert!(explain(text).is_empty(), "{text}: {:?}", explain(text));
    }
}

#[test]
fn free_text_is_searched() {
    let rows: &[(&str, &[&str])] = &[
        ("AADSTS7000215", &["AADSTS7000215"]),
        ("aadsts7000215: Invalid client secret provided.", &["AADSTS7000215"]),
        ("7000215", &["AADSTS7000215"]),
        ("{\"error_codes\":[7000215],\"x\":\"AADSTS7000215: Invalid\"}", &["AADSTS7000215"]),
        ("AADSTS50126 and (AADSTS50053)", &["AADSTS50126", "AADSTS50053"]),
        ("log: 535 5.7.3 Authentication\n unsuccessful", &["535 5.7.3"]),
        ("554 5.2.252\nSendAsDenied;", &["554 5.2.252", "554 5.2.0 SendAsDenied"]),
        ("432 4.3.2 x\n550 5.7.60 y\n432 4.3.2 x", &["432 4.3.2", "550 5.7.60"]),
        ("535\n5.7.139 Authentication unsuccessful,", &["535 5.7.139"]),
    ];
    assert_eq!(rows.len(), 9);
    for (text, expected) in rows {
        assert_eq!(codes(&explain(text)), *expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), code: u32, status: u16) {
        let _ = (for_reply(&text), explain(&text), for_aadsts(code), for_proxy_status(status));
    }

    #[test]
    fn no_likely_text_makes_it_panic(text in "((AADSTS)?[0-9]{0,12}|error: 5|İ|[ .:5-]){0,12}") {
        let _ = (for_reply(&text), explain(&text));
    }

    #[test]
    fn a_reply_is_found_within_any_log_line(before in "[a-z ]{0,20}", row in 0..REPLIES.len()) {
        let (reply, code) = REPLIES[row];
        let found = for_reply(&format!("{before} {reply}")).map(|advice| advice.code);
        prop_assert_eq!(found, Some(code));
    }
}
