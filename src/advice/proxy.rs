//! What HTTP proxies answer to CONNECT, and how interference with TLS shows.

use super::{
    Advice,
    row::{
        Part::{Code, Words},
        Row, documented, observed,
    },
};

const PORTS: &str = "Ask the proxy team to allow CONNECT to login.microsoftonline.com:443, \
    smtp.office365.com:587 and outlook.office365.com:993 and 995. In Squid: add 587, 993 and 995 to \
    SSL_ports and Safe_ports, limited to these hosts.";
const LOGIN: &str = "Set outbound.username and outbound.password, or give the process a Kerberos ticket. \
    mailwicket speaks Negotiate, NTLM (version 2), Digest and Basic, and takes the strongest on offer.";
const WAY_OUT: &str = "Ask the proxy team whether the proxy itself can resolve and reach the host and \
    port.";
const TRUST: &str = "If the issuer is a proxy that opens TLS, add its CA by outbound.ca_file or have \
    these hosts exempted; otherwise update the system's certificates and check the clock.";

/// The statuses, RFC 9110 section 15, as proxies use them.
pub(super) const STATUSES: &[(&[u16], Advice)] = &[
    (
        &[301, 302, 303, 307, 308],
        Advice {
            code: "proxy 303",
            cause: "The proxy sends to a web page, as a rule to log in or to accept terms.",
            remedy: "Have this machine or the mail hosts exempted from the page; a mail session cannot \
                 show it.",
        },
    ),
    (
        &[400],
        Advice {
            code: "proxy 400",
            cause: "The proxy does not understand the request.",
            remedy: "Check that outbound.proxy names an HTTP proxy and its port.",
        },
    ),
    (
        &[403],
        Advice {
            code: "proxy 403",
            cause: "The proxy forbids CONNECT to this host or port. Many allow port 443 only, as Squid \
                does by default.",
            remedy: PORTS,
        },
    ),
    (
        &[404, 405, 501],
        Advice {
            code: "proxy 405",
            cause: "What answers is no proxy for CONNECT.",
            remedy: "Check that outbound.proxy names the proxy's host and port, not those of a web server.",
        },
    ),
    (
        &[407],
        Advice {
            code: "proxy 407",
            cause: "The proxy wants a login: none was given, or it was wrong, or of another scheme.",
            remedy: LOGIN,
        },
    ),
    (
        &[429],
        Advice {
            code: "proxy 429",
            cause: "The proxy limits how often it is used.",
            remedy: "Try again later; ask the proxy team for a higher limit.",
        },
    ),
    (
        &[500, 502],
        Advice {
            code: "proxy 502",
            cause: "The proxy failed on its way to the host, or refuses the port in this form.",
            remedy: PORTS,
        },
    ),
    (
        &[503],
        Advice {
            code: "proxy 503",
            cause: "The proxy could not connect to the host or resolve its name.",
            remedy: WAY_OUT,
        },
    ),
    (
        &[504],
        Advice {
            code: "proxy 504",
            cause: "The proxy got no answer from the host in time.",
            remedy: WAY_OUT,
        },
    ),
];

/// What particular products say.
pub(super) const PHRASES: &[Row] = &[
    documented(
        &[Words("err_access_denied")],
        "squid ERR_ACCESS_DENIED",
        "Squid's rules forbid CONNECT to this host or port; as shipped they allow port 443 only.",
        PORTS,
    ),
    documented(
        &[Words("err_cache_access_denied")],
        "squid ERR_CACHE_ACCESS_DENIED",
        "Squid wants a login: none was given, or it was wrong, or of another scheme.",
        LOGIN,
    ),
    documented(
        &[Words("err_connect_fail")],
        "squid ERR_CONNECT_FAIL",
        "Squid could not connect to the host.",
        WAY_OUT,
    ),
    documented(
        &[Words("err_dns_fail")],
        "squid ERR_DNS_FAIL",
        "Squid could not resolve the host's name.",
        WAY_OUT,
    ),
    observed(
        &[Words("tunnel forbidden")],
        "403 Tunnel Forbidden",
        "Apache Traffic Server forbids CONNECT to this port (its setting connect_ports).",
        PORTS,
    ),
    observed(
        &[Words("forbidden port")],
        "403 Forbidden port",
        "Polipo forbids CONNECT to this port (its setting tunnelAllowedPorts).",
        PORTS,
    ),
    observed(&[Words("forefront tmg")], "407 Forefront TMG", "Forefront TMG wants a login.", LOGIN),
    observed(
        &[Words("specified ssl port is not allowed")],
        "502 Proxy Error (TMG)",
        "Forefront TMG or ISA Server forbids CONNECT to this port (its tunnel port range).",
        PORTS,
    ),
    observed(
        &[Words("zscaler")],
        "Zscaler",
        "Zscaler refuses or opens the connection.",
        "Ask for CONNECT to the mail hosts and ports to be allowed, and for these hosts to be exempted \
         from TLS inspection.",
    ),
    observed(
        &[Words("network error (tcp_error)")],
        "ProxySG tcp_error",
        "Blue Coat ProxySG could not connect to the host.",
        WAY_OUT,
    ),
    observed(
        &[Words("tcp_denied"), Code("407")],
        "ProxySG TCP_DENIED 407",
        "The proxy wants a login: none was given, or it was wrong, or of another scheme.",
        LOGIN,
    ),
    observed(
        &[Words("netskope")],
        "Netskope",
        "Netskope redirects to a page to log in.",
        "Have the mail hosts exempted from the page; a mail session cannot show it.",
    ),
    observed(
        &[Words("certificate verify failed")],
        "certificate verify failed",
        "The certificate of the server is not trusted: interception by a proxy, or old roots.",
        TRUST,
    ),
    observed(
        &[Words("unknownissuer")],
        "UnknownIssuer",
        "The certificate of the server is not trusted: interception by a proxy, or old roots.",
        TRUST,
    ),
    observed(
        &[Words("wrong version number")],
        "wrong version number",
        "One side spoke TLS where the other spoke plain text.",
        "Port 587 wants security = \"starttls\"; ports 465, 993 and 995 want security = \"tls\".",
    ),
];
