//! What a proxy's answer to CONNECT means.

use super::Advice;

pub(super) const STATUSES: &[(u16, Advice)] = &[
    (
        400,
        Advice {
            code: "proxy 400",
            cause: "the proxy did not understand the CONNECT request",
            remedy: "check that outbound.proxy names an HTTP proxy and not a web server or another service",
        },
    ),
    (
        403,
        Advice {
            code: "proxy 403",
            cause: "the proxy forbids this host or port; squid's shipped rules allow CONNECT to port 443 only",
            remedy: "ask the proxy's owners to allow CONNECT to login.microsoftonline.com:443 and to the mail host: \
                     smtp.office365.com:587, outlook.office365.com:993 and :995; in squid the ports belong in \
                     SSL_ports and Safe_ports",
        },
    ),
    (
        404,
        Advice {
            code: "proxy 404",
            cause: "what answered is no proxy: it looked for a page",
            remedy: "check outbound.proxy; it names a web server",
        },
    ),
    (
        405,
        Advice {
            code: "proxy 405",
            cause: "what answered does not do CONNECT",
            remedy: "check outbound.proxy; ask for a proxy that tunnels",
        },
    ),
    (
        407,
        Advice {
            code: "proxy 407",
            cause: "the proxy wants a login, or does not accept the one it got",
            remedy: "set username and password in [outbound]; this version speaks Basic to the proxy",
        },
    ),
    (
        429,
        Advice {
            code: "proxy 429",
            cause: "the proxy limits how often it may be asked",
            remedy: "ask the proxy's owners to raise the limit for this machine",
        },
    ),
    (
        500,
        Advice {
            code: "proxy 500",
            cause: "the proxy failed",
            remedy: "look at the proxy's log for this CONNECT",
        },
    ),
    (
        502,
        Advice {
            code: "proxy 502",
            cause: "the proxy could not reach the host, or blocks it and says so with this status (Zscaler does)",
            remedy: "ask the proxy's owners whether the host and port are allowed, and whether the proxy resolves and reaches it",
        },
    ),
    (
        503,
        Advice {
            code: "proxy 503",
            cause: "the proxy could not resolve or reach the host (squid: ERR_DNS_FAIL, ERR_CONNECT_FAIL)",
            remedy: "ask the proxy's owners to check DNS and the firewall behind the proxy for this host and port",
        },
    ),
    (
        504,
        Advice {
            code: "proxy 504",
            cause: "the host did not answer the proxy in time",
            remedy: "ask the proxy's owners to check the firewall behind the proxy for this host and port",
        },
    ),
    (
        302,
        Advice {
            code: "proxy 302",
            cause: "the proxy sends to a sign-in page, which a program cannot use",
            remedy: "ask for a rule that lets this machine through without the page",
        },
    ),
    (
        303,
        Advice {
            code: "proxy 303",
            cause: "the proxy sends to a sign-in page, which a program cannot use",
            remedy: "ask for a rule that lets this machine through without the page",
        },
    ),
];
